//! Every example and task of Cisco's two documents passes `posternc check --seed-compat`, and without it either passes too or
//! is told what to write instead.
//!
//! Names are ours, but for those of the ESMTP document's own example.
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Tasks of the Cisco SMTP inspection (AIC) document: whether a regex map is needed, lines of the class, actions.
const TASKS: &[(bool, &[&str], &str)] = &[
    (true, &["sender address regex map"], "log\nreset"),
    (false, &["recipient count gt 50"], "reset"),
    (false, &["recipient invalid count gt 5"], "reset"),
    (true, &["recipient address regex map"], "log\nreset"),
    (false, &["cmd verb ATRN", "cmd verb ETRN", "cmd verb BDAT", "cmd verb XPRIVATE"], "mask"),
    (false, &["header length gt 8000"], "reset"),
    (false, &["cmd line length gt 1000"], "reset"),
    (false, &["cmd-line length gt 1000"], "reset"),
    (false, VERBS, "reset"),
    (true, &["mime content-type regex map"], "log"),
    (false, &["mime encoding unknown"], "log"),
    (false, &["mime encoding base64", "mime encoding x-uuencode", "mime encoding x-private"], "log"),
    (true, &["body regex map"], "log"),
    (true, &["header regex map"], "reset"),
    (false, &["reply ehlo 8BITMIME", "reply ehlo XPRIVATE"], "log\nmask"),
    (false, &["cmd verb VRFY"], "log"),
];

/// The verbs its syntax lists.
const VERBS: &[&str] = &[
    "cmd verb AUTH",
    "cmd verb DATA",
    "cmd verb EHLO",
    "cmd verb ETRN",
    "cmd verb EXPN",
    "cmd verb HELO",
    "cmd verb HELP",
    "cmd verb MAIL",
    "cmd verb NOOP",
    "cmd verb QUIT",
    "cmd verb RCPT",
    "cmd verb RSET",
    "cmd verb SAML",
    "cmd verb SEND",
    "cmd verb SOML",
    "cmd verb STARTTLS",
    "cmd verb VERB",
    "cmd verb VRFY",
];

/// Commands of the Cisco ESMTP firewall document: its example, and its task with all options.
const RULES: &[&str] = &[
    "Router# configure terminal\nRouter(config)# ip inspect name mail-guard esmtp timeout 30\n",
    "Router> enable\nRouter# configure terminal\nRouter(config)# ip inspect name test esmtp\n\
     Router(config)# interface ethernet0\nRouter(config-if)# ip inspect test in\n",
    "configure terminal\nip inspect name mail-guard esmtp timeout 30\n",
    "enable\nconfigure terminal\nip inspect name test esmtp\ninterface ethernet0\nip inspect test in\n",
    "ip inspect name test smtp alert on audit-trail off max-data 1000 timeout 30\ninterface ethernet0\nip inspect test out\n",
];

/// A task with its steps in order, `enable` and `exit` included.
fn task(mode: &str, (map, lines, actions): &(bool, &[&str], &str)) -> String {
    let mut text = "enable\nconfigure terminal\n".to_owned();
    if *map {
        text.push_str("parameter-map type regex map\npattern buy.now\nexit\n");
    }
    text.push_str(&format!("class-map type inspect smtp {mode}wanted\n"));
    for line in *lines {
        text.push_str(&format!("match {line}\n"));
    }
    text.push_str("exit\npolicy-map type inspect smtp policy\nclass type inspect smtp wanted\n");
    text.push_str(actions);
    text.push('\n');
    text
}

/// Every example, as files in a folder of their own.
fn examples(place: &Path) -> Vec<PathBuf> {
    fs::create_dir_all(place).expect("a directory for the test");
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut files: Vec<PathBuf> = fs::read_dir(golden)
        .expect("the golden directory")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "policy"))
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("cisco-")))
        .collect();
    assert!(files.len() >= 4, "default policy, pinhole, preventing ESMTP, long MAIL: {files:?}");
    let mut texts: Vec<String> = RULES.iter().map(|text| (*text).to_owned()).collect();
    for one in TASKS {
        // The syntax has three headers; verbs that must all hold at once are a contradiction.
        let alone = one.1.len() == 1;
        let modes: &[&str] = if alone { &["", "match-all ", "match-any "] } else { &["match-any "] };
        texts.extend(modes.iter().map(|mode| task(mode, one)));
    }
    for (at, text) in texts.iter().enumerate() {
        let path = place.join(format!("{at}.policy"));
        fs::write(&path, text).expect("a file for the test");
        files.push(path);
    }
    files
}

/// A folder of this process.
fn place(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()))
}

#[test]
fn examples_of_ciscos_documents_pass() {
    let place = place("examples");
    let files = examples(&place);
    let output = Command::new(env!("CARGO_BIN_EXE_posternc"))
        .args(["check", "--seed-compat"])
        .args(&files)
        .output()
        .expect("the program runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let verdicts = String::from_utf8_lossy(&output.stdout).into_owned();
    fs::remove_dir_all(&place).expect("the directory of the test");
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert_eq!(verdicts.lines().filter(|line| line.contains(": good")).count(), files.len(), "{verdicts}");
    // Two examples are taken for the top level: the default policy's class, the pinhole's class and policy.
    assert_eq!(said.matches("[P0055]").count(), 3, "{said}");
    // Two are written as a terminal showed them.
    assert_eq!(said.matches("warning[P0010]").count(), 2, "{said}");
}

#[test]
fn without_the_option_each_passes_or_is_told_what_to_write() {
    let place = place("strict-examples");
    let mut refused = 0;
    for file in examples(&place) {
        let output = Command::new(env!("CARGO_BIN_EXE_posternc"))
            .args(["check"])
            .arg(&file)
            .output()
            .expect("the program runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let errors: Vec<&str> = said.split("error[").skip(1).collect();
        refused += usize::from(!errors.is_empty());
        assert_eq!(output.status.success(), errors.is_empty(), "{said}");
        for error in errors {
            assert!(error.starts_with("P0009]") || error.starts_with("P0010]"), "{said}");
            assert!(error.contains("= help: "), "no advice: {said}");
            assert!(error.contains("--seed-compat"), "the option is not named: {said}");
        }
    }
    fs::remove_dir_all(&place).expect("the directory of the test");
    // The default policy, the pinhole, and what is written with prompts.
    assert_eq!(refused, 4);
}
