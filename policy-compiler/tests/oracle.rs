//! Cisco's dialect, as it is compiled, against Rust's `regex`: two engines that know nothing of each other.
//!
//! Patterns are made as trees and written twice from them: in Cisco's dialect for the compiler, in that of
//! `regex` for the oracle. Both must find them in the same texts, however a text is cut into pieces.
#![forbid(unsafe_code)]

use artifact::smtp::{Database, Region};
use posternc::ast::Text;
use posternc::hyperscan::{Expression, PIECE_LEN, database, loses_matches, search, version};
use posternc::pattern::parse;
use posternc::source::Span;
use proptest::prelude::*;

/// A pattern before anybody wrote it.
#[derive(Debug, Clone)]
enum Tree {
    /// A character, and how it is spelled: 0 plain, 1 hexadecimal, 2 octal.
    Octet(u8, u8),
    Dot,
    Class(bool, Vec<(u8, u8)>),
    Sequence(Vec<Tree>),
    Either(Vec<Tree>),
    Repeated(Box<Tree>, &'static str),
}

impl Tree {
    fn cisco(&self) -> String {
        match self {
            Tree::Octet(octet, 1) => format!("\\x{octet:02x}"),
            Tree::Octet(octet, 2) => format!("\\{octet:03o}"),
            Tree::Octet(b'\r', _) => "\\r".into(),
            Tree::Octet(b'\n', _) => "\\n".into(),
            Tree::Octet(octet, _) if octet.is_ascii_alphanumeric() => char::from(*octet).to_string(),
            Tree::Octet(octet, _) if octet.is_ascii_graphic() => format!("\\{}", char::from(*octet)),
            Tree::Octet(octet, _) => format!("\\x{octet:02X}"),
            Tree::Dot => ".".into(),
            Tree::Class(negated, ranges) => {
                let inside: String =
                    ranges.iter().map(|(low, high)| format!("\\x{low:02x}-\\{high:03o}")).collect();
                format!("[{}{inside}]", if *negated { "^" } else { "" })
            }
            Tree::Sequence(trees) => trees.iter().map(Tree::cisco).collect(),
            Tree::Either(trees) => {
                format!("({})", trees.iter().map(Tree::cisco).collect::<Vec<_>>().join("|"))
            }
            Tree::Repeated(tree, how) => format!("({}){how}", tree.cisco()),
        }
    }

    fn oracle(&self, lines: bool) -> String {
        match self {
            Tree::Octet(octet, _) => format!("\\x{octet:02X}"),
            Tree::Dot if lines => "[^\\n]".into(),
            Tree::Dot => "(?s:.)".into(),
            Tree::Class(negated, ranges) => {
                let inside: String =
                    ranges.iter().map(|(low, high)| format!("\\x{low:02X}-\\x{high:02X}")).collect();
                format!("[{}{inside}]", if *negated { "^" } else { "" })
            }
            Tree::Sequence(trees) => trees.iter().map(|tree| tree.oracle(lines)).collect(),
            Tree::Either(trees) => {
                let trees: Vec<String> = trees.iter().map(|tree| tree.oracle(lines)).collect();
                format!("(?:{})", trees.join("|"))
            }
            Tree::Repeated(tree, how) => format!("(?:{}){how}", tree.oracle(lines)),
        }
    }
}

/// Few letters, so that patterns and texts meet; line ends, cases, NUL and octets beyond ASCII.
const ALPHABET: &[u8] = b"abABx1@.\r\n\0\xe9";

fn tree() -> impl Strategy<Value = Tree> {
    let octet = (proptest::sample::select(ALPHABET), 0u8..3).prop_map(|(octet, how)| Tree::Octet(octet, how));
    let range = (proptest::sample::select(ALPHABET), proptest::sample::select(ALPHABET));
    let class =
        (any::<bool>(), proptest::collection::vec(range.prop_map(|(a, b)| (a.min(b), a.max(b))), 1..3));
    let leaf = prop_oneof![6 => octet, 1 => Just(Tree::Dot), 1 => class.prop_map(|(n, r)| Tree::Class(n, r))];
    leaf.prop_recursive(3, 12, 4, |inner| {
        let how = proptest::sample::select(vec!["*", "+", "?", "{2}", "{1,}", "{0,}", "{3,}"]);
        prop_oneof![
            2 => proptest::collection::vec(inner.clone(), 1..4).prop_map(Tree::Sequence),
            1 => proptest::collection::vec(inner.clone(), 1..4).prop_map(Tree::Either),
            1 => (inner, how).prop_map(|(tree, how)| Tree::Repeated(Box::new(tree), how)),
        ]
    })
}

/// Longest text of the random test: several times what the library takes at once.
const TEXT_LEN: usize = 80;

/// Longest text behind a run of one octet: a match that only the last octets of a call make up.
const TAIL_LEN: usize = 16;

fn text() -> impl Strategy<Value = Vec<u8>> {
    let octet = || proptest::sample::select(ALPHABET);
    let run = (octet(), 0..=TEXT_LEN - TAIL_LEN).prop_map(|(octet, len)| vec![octet; len]);
    let tail = proptest::collection::vec(octet(), 0..=TAIL_LEN);
    prop_oneof![
        proptest::collection::vec(octet(), 0..=TEXT_LEN),
        (run, tail).prop_map(|(run, tail)| [run, tail].concat()),
    ]
}

/// A database of one pattern, as the compiler makes it.
fn made(pattern: &str, region: Region) -> Result<Database, String> {
    let mut found = Vec::new();
    let line = Text { text: pattern.into(), span: Span::new(0, pattern.len()) };
    let pattern_read = parse(&line, false, &mut found).ok_or_else(|| format!("{pattern}: {found:?}"))?;
    let expressions = [Expression { pattern: pattern_read, id: 3 }];
    database(&expressions, region).map_err(|refusal| format!("{pattern}: {refusal:?}"))
}

/// Whether the compiled pattern is found, with the text in these pieces.
fn compiled(pattern: &str, region: Region, pieces: &[&[u8]]) -> Result<bool, String> {
    made(pattern, region).map(|database| is_found(&database, pieces))
}

fn is_found(database: &Database, pieces: &[&[u8]]) -> bool {
    search(database, pieces).expect("it is the library's own database") == [3]
}

/// The text cut at these places.
fn pieces<'a>(text: &'a [u8], cuts: &[proptest::sample::Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
    places.sort_unstable();
    let mut start = 0;
    let mut pieces: Vec<&[u8]> = Vec::new();
    for place in places.into_iter().chain([text.len()]) {
        pieces.push(&text[start..place]);
        start = place;
    }
    pieces
}

fn oracle(pattern: &str, text: &[u8]) -> bool {
    let regex = regex::bytes::RegexBuilder::new(pattern).unicode(false).build();
    regex.unwrap_or_else(|error| panic!("{pattern}: {error}")).is_match(text)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_find_the_same(
        body in tree(),
        other in proptest::option::of(tree()),
        (start, end, nocase) in any::<(bool, bool, bool)>(),
        texts in proptest::collection::vec(text(), 6),
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..5),
    ) {
        let mut cisco = format!("{}{}{}", if start { "^" } else { "" }, body.cisco(), if end { "$" } else { "" });
        if let Some(other) = &other {
            cisco = format!("{cisco}|{}", other.cisco());
        }
        if nocase {
            cisco.push_str(" nocase");
        }
        for (region, lines) in [(Region::Header, false), (Region::Body, true)] {
            // The end of a line stands before CR LF, before LF, or where the text ends.
            let (first, last) = if lines { ("(?m:^)", "(?:\\r?(?:\\n|\\z))") } else { ("\\A", "\\z") };
            let mut expected = format!("{}{}{}", if start { first } else { "" }, body.oracle(lines), if end { last } else { "" });
            if let Some(other) = &other {
                expected = format!("{expected}|{}", other.oracle(lines));
            }
            if nocase {
                expected = format!("(?i:{expected})");
            }
            let database = made(&cisco, region);
            for text in &texts {
                // Behind the last line end there is no line; `regex` sees an empty one.
                let end = if lines { text.iter().rposition(|octet| *octet != b'\n').map_or(0, |at| at + 1) } else { text.len() };
                let text = &text[..end];
                match &database {
                    Ok(database) => prop_assert_eq!(
                        is_found(database, &pieces(text, &cuts)), oracle(&expected, text),
                        "{} as {} in {:?}, {:?} cut at {:?}", cisco, expected, region, text, cuts
                    ),
                    // What can never be found is refused, and the oracle must not find it either.
                    Err(why) => {
                        prop_assert!(why.contains("never match"), "{}", why);
                        prop_assert!(!oracle(&expected, text));
                    }
                }
            }
        }
    }
}

/// What a defective library misses when it is given whole texts (see [`loses_matches`]): small sets of weak patterns,
/// and texts that they match.
const FRAGILE: &[(&str, &str)] = &[
    ("(1a$|bc)", "bc"),
    ("(ba+|abcA)", "abcA"),
    ("(ba+|abcA)", "ba"),
    ("[^a]b", "cb"),
    ("(a|ac|A)", "A"),
    ("(casino|bitcoin) nocase", "bitCoin"),
];

/// The end of a text, or of one of its pieces, anywhere in a match or behind it: it is found. In calls of any length
/// a defective library does not find it, and any other must.
#[test]
fn the_end_of_a_text_and_the_library() {
    let mut missed = Vec::new();
    for (pattern, text) in FRAGILE {
        for region in [Region::Sender, Region::Body] {
            let database = made(pattern, region).expect("it compiles");
            let whole = Database { piece_len: 0, ..database.clone() };
            for len in 0..64 {
                let mut all = vec![b'Z'; len];
                all.extend_from_slice(text.as_bytes());
                if !pattern.contains('$') {
                    all.extend_from_slice(&[b'Z'; 20]);
                }
                for cut in len..=all.len() {
                    let pieces = [&all[..cut], &all[cut..]];
                    assert!(
                        is_found(&database, &pieces),
                        "{pattern} in {region:?}: {text} at {len}, cut at {cut}"
                    );
                    if !is_found(&whole, &pieces) {
                        missed.push((pattern, len, cut));
                    }
                }
            }
        }
    }
    println!("in whole texts, library {} misses {} of these matches", version(), missed.len());
    if loses_matches(&version()) {
        assert!(!missed.is_empty(), "library {} is sound: give it whole texts", version());
    } else {
        assert!(missed.is_empty(), "library {} misses {missed:?}", version());
    }
}

#[test]
fn versions_that_lose_matches() {
    for version in ["5.4.9 2023-03-23", "5.4.8 2022-09-13", "5.4.11 2023-11-19", "unknown", ""] {
        assert!(loses_matches(version), "{version}");
    }
    for version in ["5.4.2 2023-04-19", "5.4.0 2021-01-26", "5.2.1 2019-10-13", "5.4.12 2025-06-11"] {
        assert!(!loses_matches(version), "{version}");
    }
}

/// A set of plain texts for bodies, as most are, is scanned at full speed whatever the library; one that the library
/// would lose is not, nor one that cannot be tried out.
#[test]
fn bodies_of_plain_texts_are_scanned_whole() {
    let read = |text: &String| {
        let line = Text { text: text.clone(), span: Span::new(0, text.len()) };
        parse(&line, false, &mut Vec::new()).expect("a pattern")
    };
    let piece_len = |patterns: &[String]| {
        let expressions: Vec<Expression> =
            (0..).zip(patterns).map(|(id, text)| Expression { pattern: read(text), id }).collect();
        database(&expressions, Region::Body).expect("it compiles").piece_len
    };
    let words =
        ["casino royale nocase", "lucky winner", "wire transfer", "buy now, pay never nocase", "EICAR-TEST"];
    let words = words.map(str::to_owned).to_vec();
    let many: Vec<String> =
        (0..100u32).map(|n| format!("{} number {n}", words[n as usize % 5].replace(" nocase", ""))).collect();
    assert_eq!((piece_len(&words), piece_len(&many)), (0, 0));
    let in_pieces = if loses_matches(&version()) { PIECE_LEN } else { 0 };
    for fragile in ["(ba+|abcA)", "casino +royale", "casi"] {
        let expected = if fragile == "casi" { 0 } else { in_pieces };
        assert_eq!(piece_len(&[fragile.to_owned()]), expected, "{fragile}");
    }
    // All texts have a pair of octets in the same place, for which the library would skip ahead without decoys.
    let alike: Vec<String> = (0..100).map(|n| format!("account number #{n};")).collect();
    assert_eq!(piece_len(&alike), 0);
}

#[test]
fn the_table_of_the_dialect() {
    let field = Region::Sender;
    let cases: &[(&str, &[&str], &[&str])] = &[
        ("d.g", &["dog", "doggonnit", "d\ng"], &["dg", "Dog"]),
        ("do|ag", &["do", "ag", "dog", "bag"], &["dg"]),
        ("d(o|a)g", &["dog", "dag"], &["do", "ag"]),
        ("lo?se", &["lse", "lose"], &["loose"]),
        ("lo*se", &["lse", "lose", "loooose"], &["la"]),
        ("lo+se", &["lose", "loose"], &["lse"]),
        ("ab(xy){3}z", &["abxyxyxyz"], &["abxyxyz", "abxyxyxyxyz"]),
        ("ab(xy){2,}z", &["abxyxyz", "abxyxyxyz"], &["abxyz"]),
        ("[abc]x", &["ax", "cx"], &["dx"]),
        ("[^abc]x", &["dx"], &["ax"]),
        ("[a-c]x", &["bx"], &["-x"]),
        ("[-ac]x", &["-x"], &["bx"]),
        ("[ac-]x", &["-x"], &["bx"]),
        ("^start", &["start here"], &["a start"]),
        ("end$", &["the end"], &["the end."]),
        ("^$", &[""], &["a", "\n"]),
        ("\" two words \"", &["a two words b"], &["two words"]),
        ("\" q\\\" \"", &["a q\" b"], &["q\""]),
        ("two words", &["two words"], &["two  words"]),
        ("\\x41\\102\\.", &["AB."], &["ABx"]),
        ("a\\r\\nb\\t\\fc", &["a\r\nb\t\u{c}c"], &["a\nb"]),
        ("\\q\\*", &["q*"], &["\\q"]),
        ("*deals\\.com", &["x@deals.com", "deals.com"], &["dealsxcom"]),
        ("Subject:*lottery*", &["Subject:::lotter", "Subjectlotteryy"], &["Subject: x lottery"]),
        ("cats", &["cats"], &["Cats"]),
        ("cats nocase", &["CATS", "cAtS"], &["cat"]),
        ("\"nocase\"", &["nocase"], &["NOCASE"]),
        ("[cC][aA]t", &["CAt"], &["CAT"]),
        ("é+", &["ééé"], &["e"]),
        (".*", &["", "x"], &[]),
    ];
    for (pattern, found, missed) in cases {
        for text in *found {
            assert_eq!(compiled(pattern, field, &[text.as_bytes()]), Ok(true), "`{pattern}` in {text:?}");
        }
        for text in *missed {
            assert_eq!(compiled(pattern, field, &[text.as_bytes()]), Ok(false), "`{pattern}` in {text:?}");
        }
    }
}

#[test]
fn a_body_has_lines() {
    let cases: &[(&str, &[u8], bool)] = &[
        ("^two", b"one\r\ntwo\r\n", true),
        ("^two", b"one two\r\n", false),
        ("one$", b"one\r\ntwo\r\n", true),
        ("one$", b"one two\r\n", false),
        ("one.two", b"one\ntwo", false),
        ("one.*two", b"one\r\ntwo\r\n", false),
        ("one\\r\\ntwo", b"one\r\ntwo\r\n", true),
        ("one[^x]*two", b"one\r\ntwo\r\n", true),
        ("two$", b"one\r\ntwo", true),
    ];
    for (pattern, text, expected) in cases {
        for cut in 0..=text.len() {
            let pieces = [&text[..cut], &text[cut..]];
            assert_eq!(compiled(pattern, Region::Body, &pieces), Ok(*expected), "`{pattern}` cut at {cut}");
        }
    }
}
