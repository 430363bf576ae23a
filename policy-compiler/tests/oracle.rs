//! Cisco's dialect, as it is compiled, against Rust's `regex`: two engines that know nothing of each other.
//!
//! Patterns are made as trees and written twice from them: in Cisco's dialect for the compiler, in that of
//! `regex` for the oracle. Both must find them in the same texts, however a text is cut into pieces.
#![forbid(unsafe_code)]

use artifact::smtp::{Database, Region};
use posternc::ast::Text;
use posternc::hyperscan::{Expression, database, search};
use posternc::pattern::{Pattern, parse};
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
const TEXT_LEN: usize = 300;

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

fn pattern(text: &str) -> Result<Pattern, String> {
    let mut found = Vec::new();
    let line = Text { text: text.into(), span: Span::new(0, text.len()) };
    parse(&line, false, &mut found).ok_or_else(|| format!("{text}: {found:?}"))
}

/// A database of one pattern, as the compiler makes it.
fn made(pattern: &str, region: Region) -> Result<Database, String> {
    let expressions = [Expression { pattern: self::pattern(pattern)?, id: 3 }];
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// How the library looks for a pattern depends on the others of its set.
    #[test]
    fn both_find_the_same_of_a_set(
        bodies in proptest::collection::vec(tree(), 2..12),
        texts in proptest::collection::vec(text(), 6),
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..5),
    ) {
        // What can never be found is refused.
        let read: Vec<(Expression, String)> = bodies
            .iter()
            .enumerate()
            .filter_map(|(id, body)| Some((Expression { pattern: pattern(&body.cisco()).ok()?, id: id as u32 }, body.oracle(true))))
            .collect();
        prop_assume!(!read.is_empty());
        let expressions: Vec<Expression> = read.iter().map(|(expression, _)| expression.clone()).collect();
        let Ok(database) = database(&expressions, Region::Body) else { return Ok(()) };
        for text in &texts {
            let expected: Vec<u32> =
                read.iter().filter(|(_, regex)| oracle(regex, text)).map(|(expression, _)| expression.id).collect();
            let found = search(&database, &pieces(text, &cuts)).expect("it is the library's own database");
            prop_assert_eq!(found, expected, "{:?} in {:?} cut at {:?}", bodies, text, cuts);
        }
    }
}

/// What Vectorscan 5.4.9, as it was released, misses: small sets of weak patterns, and texts that they match.
const FRAGILE: &[(&str, &str)] = &[
    ("(1a$|bc)", "bc"),
    ("(ba+|abcA)", "abcA"),
    ("(ba+|abcA)", "ba"),
    ("[^a]b", "cb"),
    ("(a|ac|A)", "A"),
    ("(casino|bitcoin) nocase", "bitCoin"),
];

/// The end of a text, or of one of its pieces, anywhere in a match or behind it: it is found.
#[test]
fn nothing_is_lost_where_a_piece_ends() {
    for (pattern, text) in FRAGILE {
        for region in [Region::Sender, Region::Body] {
            let database = made(pattern, region).expect("it compiles");
            for len in 0..150 {
                let mut all = vec![b'Z'; len];
                all.extend_from_slice(text.as_bytes());
                if !pattern.contains('$') {
                    all.extend_from_slice(&[b'Z'; 20]);
                }
                for cut in len..=all.len() {
                    assert!(
                        is_found(&database, &[&all[..cut], &all[cut..]]),
                        "{pattern} in {region:?}: {text} at {len}, cut at {cut}"
                    );
                }
            }
        }
    }
}

/// Vectorscan 5.4.6 to 5.4.12 end the process at a text of more than 255 octets, if what is looked for ends in a text:
/// they look for that from behind (VectorCamp/vectorscan pull request 392).
#[test]
fn long_texts_do_no_harm() {
    for (pattern, end) in [(".*ab", "ab"), ("x.*abc nocase", "aBC"), ("[a-c]+z.*yz$", "yz")] {
        let database = made(pattern, Region::Header).expect("it compiles");
        for len in [200, 254, 255, 256, 1000, 70_000] {
            let text = [b"xaz", vec![b'Z'; len].as_slice(), end.as_bytes()].concat();
            assert!(is_found(&database, &[&text]), "{pattern} behind {len}");
            assert!(!is_found(&database, &[&text[..text.len() - 1]]), "{pattern} behind {len}");
        }
    }
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
