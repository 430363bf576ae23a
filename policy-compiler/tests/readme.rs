//! The worked examples of the project's README: each policy does to its dialogue what is printed there.
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Text between two lines of three backquotes.
fn blocks(text: &str) -> Vec<&str> {
    text.split("\n```\n").skip(1).step_by(2).collect()
}

#[test]
fn examples_of_the_readme_do_what_it_says() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = fs::read_to_string(readme).expect("the README");
    let place = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("readme-{}", std::process::id()));
    fs::create_dir_all(&place).expect("a directory for the test");
    let (mut policy, mut dialogue, mut shown) = ("", "", Vec::new());
    for block in blocks(&readme) {
        let first = block.lines().next().unwrap_or_default();
        if block.contains("policy-map type inspect") || block.starts_with("ip inspect name") {
            policy = block;
        } else if first.starts_with("S: ") {
            dialogue = block;
        } else if first.ends_with(".dialogue") && !first.contains(' ') {
            let write = |name: &str, text: &str| {
                fs::write(place.join(name), format!("{text}\n")).expect("a file for the test");
            };
            write("mail.policy", policy);
            write(first, dialogue);
            let output = Command::new(env!("CARGO_BIN_EXE_posternc"))
                .args(["test", "mail.policy", first])
                .current_dir(&place)
                .output()
                .expect("the program runs");
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert_eq!(said.trim_end(), block, "{first}: {}", String::from_utf8_lossy(&output.stderr));
            shown.push(policy.starts_with("ip inspect name"));
        }
    }
    fs::remove_dir_all(&place).expect("the directory of the test");
    assert_eq!(shown, [false, true], "one example of each form");
}
