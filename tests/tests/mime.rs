//! MIME facts of real mails, compared with those that Python's `email` finds: type, transfer encoding and name of every part,
//! in the order of the message. Where the two differ, `mime_differences.toml` says why, and who is right.
//!
//! The mails are those of `POSTERN_CORPUS`, in `eml/`; without them the test says "skipped".
#![forbid(unsafe_code)]

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use artifact::settings::Decode;
use inspect::mime::{FieldText, Message, Sink};
use inspect::shelf::Shelf;
use serde::Deserialize;
use support::workspace::root;

#[derive(Deserialize)]
struct Table {
    difference: Vec<Row>,
}

/// What is said of one mail.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    mail: String,
    /// Facts that each of the two finds.
    postern: usize,
    python: usize,
    what: Difference,
    right: Right,
    why: String,
}

#[derive(Deserialize, Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
enum Difference {
    /// Fields are found, or read, by one alone.
    Fields,
    /// Of the same field Python reads another type than the text that Postern examines begins with.
    Type,
    /// Of the same field Python reads a name that the text Postern examines does not have literally.
    Name,
}

#[derive(Deserialize, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Right {
    Postern,
    Python,
    /// The standards leave it open, or the question does not arise for a reader.
    Both,
}

/// What is compared.
#[derive(Debug, PartialEq, Eq, Clone)]
enum Fact {
    Type(String),
    Encoding(String),
}

#[derive(Default)]
struct Facts(Vec<Fact>);

fn text(octets: &[u8]) -> String {
    octets.iter().copied().map(char::from).collect()
}

impl Sink for Facts {
    fn field(&mut self, _: &FieldText<'_>) {}
    fn header_end(&mut self, _: u64) {}
    fn content_type(&mut self, value: &[u8]) {
        self.0.push(Fact::Type(text(value)));
    }
    fn encoding(&mut self, token: &[u8], ambiguous: bool) {
        // Without a token it is a doubt about the entity, no field.
        if !(token.is_empty() && ambiguous) {
            self.0.push(Fact::Encoding(text(token)));
        }
    }
    fn text(&mut self, _: &[u8]) {}
    fn text_end(&mut self) {}
}

/// What the core finds in a mail whose lines end as on the wire.
fn found(mail: &[u8]) -> Vec<Fact> {
    let mut fields = Shelf::new(1);
    let mut message = Message::default();
    message.restart(Decode::Off, &mut fields);
    let mut facts = Facts::default();
    for line in mail.split(|byte| *byte == b'\n') {
        let line = [line.strip_suffix(b"\r").unwrap_or(line), b"\r\n"].concat();
        message.push(&line, &mut fields, &mut facts).expect("there is room for a field");
    }
    message.finish(&mut fields, &mut facts).expect("there is room for a field");
    facts.0
}

/// What Python finds in one mail.
#[derive(Deserialize)]
struct Answer {
    mail: PathBuf,
    facts: Vec<Vec<Option<String>>>,
}

fn python(mails: &[PathBuf]) -> Vec<Answer> {
    let mut program = Command::new(root().join("deploy/python"))
        .arg(root().join("tests/mime_facts.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python runs");
    let mut input = program.stdin.take().expect("its input");
    let names: String = mails.iter().fold(String::new(), |mut names, path| {
        let _ = writeln!(names, "{}", path.display());
        names
    });
    let writer = std::thread::spawn(move || input.write_all(names.as_bytes()));
    let output = program.wait_with_output().expect("its output");
    writer.join().expect("the writer ends").expect("it takes the names");
    assert!(output.status.success(), "mime_facts.py failed");
    let text = String::from_utf8(output.stdout).expect("JSON is UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("an answer is JSON")).collect()
}

/// How the two differ about one mail, and the first place where they do.
fn difference(ours: &[Fact], theirs: &[Vec<Option<String>>]) -> Option<(Difference, String)> {
    let word = |fact: &[Option<String>], at: usize| fact.get(at).cloned().flatten().unwrap_or_default();
    let as_facts = theirs.iter().map(|fact| match word(fact, 0).as_str() {
        "type" => Fact::Type(word(fact, 1)),
        _ => Fact::Encoding(word(fact, 1)),
    });
    let as_facts: Vec<_> = as_facts.collect();
    if ours != as_facts {
        let at = ours.iter().zip(&as_facts).take_while(|(one, other)| one == other).count();
        return Some((
            Difference::Fields,
            format!("fact {at}: we {:?}, Python {:?}", ours.get(at), as_facts.get(at)),
        ));
    }
    for (ours, theirs) in ours.iter().zip(theirs) {
        let Fact::Type(value) = ours else { continue };
        let kind = word(theirs, 2);
        if !value.to_ascii_lowercase().starts_with(&kind) {
            return Some((Difference::Type, format!("{value:?} is for Python {kind:?}")));
        }
        let name = word(theirs, 3);
        if !value.contains(&name) {
            return Some((Difference::Name, format!("{value:?} has for Python the name {name:?}")));
        }
    }
    None
}

fn mails(folder: &Path, mails_found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            mails(&path, mails_found);
        } else if path.extension().is_none_or(|extension| extension != "tsv") {
            mails_found.push(path);
        }
    }
}

#[test]
fn types_encodings_and_names_agree_with_python_or_the_table_says_why() {
    let corpus =
        std::env::var_os("POSTERN_CORPUS").map_or_else(|| root().join("../shared/corpus"), PathBuf::from);
    let folder = corpus.join("eml");
    let mut paths = Vec::new();
    mails(&folder, &mut paths);
    paths.sort();
    if paths.is_empty() {
        println!("skipped: no mail in {} (POSTERN_CORPUS says where it is)", folder.display());
        return;
    }
    let table =
        std::fs::read_to_string(root().join("tests/mime_differences.toml")).expect("the table is there");
    let table: Table = toml::from_str(&table).expect("the table is well-formed");
    let mut rows: BTreeMap<&str, &Row> = BTreeMap::new();
    for row in &table.difference {
        assert!(row.why.len() > 20, "{}: why?", row.mail);
        assert!(rows.insert(&row.mail, row).is_none(), "{} stands twice in the table", row.mail);
    }
    let (mut wrong, mut agreed, mut facts, mut known) = (Vec::new(), 0, 0, BTreeMap::new());
    for answer in python(&paths) {
        let mail = answer.mail.strip_prefix(&folder).expect("a mail of the folder").display().to_string();
        let ours = found(&std::fs::read(&answer.mail).expect("the mail can be read"));
        facts += ours.len();
        let said = difference(&ours, &answer.facts);
        let counts = (ours.len(), answer.facts.len());
        match (said, rows.remove(mail.as_str())) {
            (None, None) => agreed += 1,
            (Some((what, _)), Some(row)) if (row.what, row.postern, row.python) == (what, counts.0, counts.1) => {
                *known.entry((what, format!("{:?}", row.right))).or_insert(0) += 1;
            }
            (Some((what, how)), _) => wrong.push(format!(
                "{mail}: differs in {what:?}, {} facts here and {} there, and the table does not say so: {how}",
                counts.0, counts.1
            )),
            (None, Some(row)) => wrong.push(format!("{mail}: no difference any more ({})", row.why)),
        }
    }
    wrong.extend(rows.into_keys().map(|mail| format!("{mail}: in the table, not in the corpus")));
    println!("{agreed} of {} mails agree, {facts} facts; known differences: {known:?}", paths.len());
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn what_differs_is_noticed() {
    let mail =
        b"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: image/gif;\n name=\"a.gif\"\n\
        Content-Transfer-Encoding: BASE64 (x)\n\nR0lG\n--b--\n";
    let ours = found(mail);
    assert_eq!(
        ours,
        [
            Fact::Type("multipart/mixed; boundary=b".into()),
            Fact::Type("image/gif; name=\"a.gif\"".into()),
            Fact::Encoding("BASE64".into())
        ]
    );
    let fact = |words: &[&str]| words.iter().map(|word| Some((*word).to_owned())).collect::<Vec<_>>();
    let outer = fact(&["type", "multipart/mixed; boundary=b", "multipart/mixed"]);
    let inner = |kind, name| fact(&["type", "image/gif; name=\"a.gif\"", kind, name]);
    let encoding = fact(&["encoding", "BASE64"]);
    let differs = |theirs: &[Vec<Option<String>>]| difference(&ours, theirs).map(|(what, _)| what);
    assert_eq!(differs(&[outer.clone(), inner("image/gif", "a.gif"), encoding.clone()]), None);
    assert_eq!(
        differs(&[outer.clone(), inner("image/gif", "b.gif"), encoding.clone()]),
        Some(Difference::Name)
    );
    assert_eq!(
        differs(&[outer.clone(), inner("text/plain", "a.gif"), encoding.clone()]),
        Some(Difference::Type)
    );
    assert_eq!(differs(&[outer, encoding]), Some(Difference::Fields));
}
