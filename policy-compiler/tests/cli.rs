//! The program as scripts use it: output, exit codes, files.
#![forbid(unsafe_code)]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use artifact::format::Artifact;

const FIRST_LIGHT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/policies/first-light.policy");

/// A directory of its own for each test, removed at its end.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory for the test");
        Self(path)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text).expect("a file for the test");
        path
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn posternc(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_posternc")).args(arguments).output().expect("the program runs")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const BAD: &str = "zone secruity inside\nclass-map type inspect smtp é\n match cmd vreb X\n";

#[test]
fn check_says_everything_about_every_file() {
    let place = Place::new("check");
    let bad = place.file("bad.policy", BAD);
    let output = posternc(&["check", FIRST_LIGHT, &bad]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(out(&output), format!("{FIRST_LIGHT}: good\n{bad}: 2 errors\n"));
    assert!(err(&output).contains("error[P0004]: `secruity` is not expected here"), "{}", err(&output));
    assert!(!err(&output).contains('\u{1b}'), "no colour into a pipe");
    assert_eq!(posternc(&["check", FIRST_LIGHT]).status.code(), Some(0));
}

#[test]
fn check_json_is_a_list_of_findings() {
    let place = Place::new("json");
    let bad = place.file("bad.policy", BAD);
    let output = posternc(&["check", "--json", &bad, FIRST_LIGHT]);
    assert_eq!(output.status.code(), Some(1));
    let list: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let first = &list[0];
    assert_eq!(first["file"], bad);
    assert_eq!((&first["code"], &first["severity"]), (&"P0004".into(), &"error".into()));
    assert_eq!((&first["line"], &first["column"], &first["end_column"]), (&1.into(), &6.into(), &14.into()));
    assert_eq!(first["help"][0], "did you mean `security`?");
    assert_eq!(list.as_array().map(Vec::len), Some(2));
}

#[test]
fn compile_writes_the_same_artifact_each_time() {
    let place = Place::new("compile");
    let (one, two) = (place.path("one.postern"), place.path("two.postern"));
    for path in [&one, &two] {
        let output = posternc(&["compile", FIRST_LIGHT, "-o", path]);
        assert_eq!(output.status.code(), Some(0), "{}", err(&output));
        assert!(out(&output).starts_with(path.as_str()));
    }
    let bytes = fs::read(&one).unwrap();
    assert_eq!(bytes, fs::read(&two).unwrap());
    let artifact = Artifact::read(&bytes).unwrap();
    assert_eq!(artifact.policy.source.name, "first-light.policy");
    assert_eq!(artifact.policy.source.text, fs::read_to_string(FIRST_LIGHT).unwrap());
    assert!(!PathBuf::from(format!("{one}.new")).exists());
}

#[test]
fn compile_writes_nothing_for_a_bad_policy() {
    let place = Place::new("nothing");
    let bad = place.file("bad.policy", BAD);
    let path = place.path("bad.postern");
    let output = posternc(&["compile", &bad, "-o", &path]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        err(&output).ends_with(&format!("posternc: {bad}: 2 errors, nothing written\n")),
        "{}",
        err(&output)
    );
    assert!(!PathBuf::from(path).exists());
}

/// A key of RFC 8410 section 10.3.
const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";

#[test]
fn compile_signs() {
    let place = Place::new("sign");
    let (key, path) = (place.file("key.pem", KEY), place.path("signed.postern"));
    let output = posternc(&["compile", FIRST_LIGHT, "-o", &path, "--sign", &key]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let artifact = Artifact::read(&fs::read(&path).unwrap()).unwrap();
    // The public key of the same section.
    let public = "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1";
    let hex: String = artifact.signed_by.unwrap().iter().map(|octet| format!("{octet:02x}")).collect();
    assert_eq!(hex, public);
    assert!(out(&posternc(&["explain", &path])).contains(public));
    let output = posternc(&["compile", FIRST_LIGHT, "-o", &path, "--sign", FIRST_LIGHT]);
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("is not an ed25519 private key in PEM"), "{}", err(&output));
}

/// Without what depends on the version of the matcher library: its name, the sizes of its databases.
fn without_sizes(text: &str) -> String {
    let mut said = String::new();
    for line in text.lines() {
        if line.starts_with("Databases: ") {
            said.push_str("Databases: ...");
        } else if line.starts_with("This version of the matcher library") {
            continue;
        } else if line.starts_with("  Database over") || line.starts_with("  State per flow") {
            let line = line.split(", scanned in pieces").next().unwrap_or_default();
            let digits = line.split(|c: char| c.is_ascii_digit()).filter(|part| !part.is_empty());
            said.push_str(&digits.collect::<Vec<_>>().join("N"));
        } else {
            said.push_str(line);
        }
        said.push('\n');
    }
    said
}

#[test]
fn explain_policies_artifacts_and_codes() {
    let place = Place::new("explain");
    let path = place.path("one.postern");
    assert_eq!(posternc(&["compile", FIRST_LIGHT, "-o", &path]).status.code(), Some(0));
    let (text, artifact) = (posternc(&["explain", FIRST_LIGHT]), posternc(&["explain", &path]));
    assert_eq!(out(&text), out(&artifact));
    let said = without_sizes(&out(&text));
    let expected = include_str!("golden/explain-first-light.out");
    if std::env::var_os("POSTERN_BLESS").is_some() {
        let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/explain-first-light.out");
        fs::write(golden, said).unwrap();
    } else {
        assert_eq!(said, expected);
    }
    let decoding = fs::read_to_string(FIRST_LIGHT).expect("the policy is there").replace(
        "policy-map type inspect smtp mail-policy\n",
        "policy-map type inspect smtp mail-policy\n parameters\n  decode both\n",
    );
    let said = out(&posternc(&["explain", &place.file("decoding.policy", &decoding)]));
    assert!(said.contains("is searched decoded by body patterns (decode both)."), "{said}");
    let code = posternc(&["explain", "p12"]);
    assert_eq!(code.status.code(), Some(0));
    assert!(out(&code).starts_with("P0012: "), "{}", out(&code));
    let unknown = posternc(&["explain", "P9999"]);
    assert_eq!(
        (unknown.status.code(), err(&unknown).as_str()),
        (Some(2), "posternc: there is no code `P9999`\n")
    );
}

#[test]
fn every_command_takes_misplaced_lines_when_told_to() {
    let place = Place::new("compat");
    let pinhole = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/cisco-pinhole.policy");
    let zones = "zone security a\nzone security b\nzone-pair security ab source a destination b\nservice-policy type inspect c1\n";
    let text = fs::read_to_string(pinhole).unwrap();
    let policy = place.file("pinhole.policy", &format!("{text}{zones}"));
    let (path, dialogue) = (place.path("pinhole.postern"), place.file("one.dialogue", "C: EHLO a.example\n"));
    let commands: [(&[&str], i32); 4] = [
        (&["check", &policy], 0),
        (&["compile", &policy, "-o", &path], 0),
        (&["explain", &policy], 0),
        // Read, and then there is nothing to test: the pinhole has no SMTP policy.
        (&["test", &policy, &dialogue], 1),
    ];
    for (command, code) in commands {
        let refused = posternc(command);
        assert_eq!(refused.status.code(), Some(1), "{command:?}");
        assert!(err(&refused).contains("error[P0009]"), "{command:?}: {}", err(&refused));
        let taken = posternc(&[command, &["--seed-compat"]].concat());
        assert_eq!(taken.status.code(), Some(code), "{command:?}: {}", err(&taken));
        assert!(err(&taken).contains("warning[P0055]") && !err(&taken).contains("error["), "{command:?}");
        match command[0] {
            "test" => assert!(err(&taken).contains("it inspects no SMTP"), "{}", err(&taken)),
            "explain" => assert!(
                out(&taken).contains("protocol smtp (class c1, line 4) -> followed as a session, its answers let back, not read"),
                "{}",
                out(&taken)
            ),
            _ => {}
        }
    }
    assert!(PathBuf::from(path).exists());
}

#[test]
fn damaged_artifacts_and_missing_files_are_named() {
    let place = Place::new("damaged");
    let path = place.path("one.postern");
    assert_eq!(posternc(&["compile", FIRST_LIGHT, "-o", &path]).status.code(), Some(0));
    let mut bytes = fs::read(&path).unwrap();
    bytes[500] ^= 1;
    fs::write(&path, bytes).unwrap();
    let output = posternc(&["explain", &path]);
    let expected = format!("posternc: {path}: damaged: the digest at its end is not that of its octets\n");
    assert_eq!((output.status.code(), err(&output)), (Some(1), expected));
    let output = posternc(&["check", &path]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("this is an artifact, not a policy text"));
    let missing = place.path("missing.policy");
    let output = posternc(&["check", &missing]);
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).starts_with(&format!("posternc: {missing}: No such file")), "{}", err(&output));
    let latin = place.path("latin.policy");
    fs::write(&latin, b"zone security a\nzone security \xe9\n").unwrap();
    let output = posternc(&["check", &latin]);
    let expected = format!("posternc: {latin}:2: the text is not UTF-8\n");
    assert_eq!((output.status.code(), err(&output)), (Some(1), expected));
}

#[test]
fn help_is_complete_and_wrong_usage_is_two() {
    for command in ["check", "compile", "explain", "test"] {
        let output = posternc(&[command, "--help"]);
        assert_eq!(output.status.code(), Some(0));
        assert!(
            out(&output).contains("--seed-compat")
                && out(&output).contains("Accept the misplaced lines of Cisco's own SMTP examples"),
            "{command} has the option"
        );
        assert!(out(&output).contains(&format!("\n  posternc {command} ")), "{command} has an example");
        assert_eq!(posternc(&[command]).status.code(), Some(2), "{command} without arguments");
    }
    assert_eq!(posternc(&["--help"]).status.code(), Some(0));
    assert_eq!(posternc(&["--version"]).status.code(), Some(0));
    assert_eq!(posternc(&["frobnicate"]).status.code(), Some(2));
}
