//! The workspace as cargo and git know it.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::source::Source;

/// A package of ours.
#[derive(Debug)]
pub struct Package {
    pub name: String,
    pub dependencies: Vec<Dependency>,
    /// Root files of its library and programs, relative to the project.
    pub roots: Vec<String>,
}

/// One line of a dependency table.
#[derive(Debug)]
pub struct Dependency {
    pub name: String,
    pub is_dev: bool,
}

/// The project's folder.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the project").to_path_buf()
}

/// Our packages, from `cargo metadata`; needs no network.
pub fn packages() -> Vec<Package> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let done = Command::new(cargo)
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&done.stdout).expect("cargo metadata is JSON");
    let list = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    list(&metadata["packages"])
        .iter()
        .map(|package| Package {
            name: text(&package["name"]),
            dependencies: list(&package["dependencies"])
                .iter()
                .map(|dependency| Dependency {
                    name: text(&dependency["name"]),
                    is_dev: dependency["kind"] == "dev",
                })
                .collect(),
            roots: list(&package["targets"])
                .iter()
                .filter(|target| list(&target["kind"]).iter().any(|kind| *kind == "lib" || *kind == "bin"))
                .map(|target| relative(&text(&target["src_path"])))
                .collect(),
        })
        .collect()
}

fn relative(path: &str) -> String {
    let path = Path::new(path);
    path.strip_prefix(root()).unwrap_or(path).to_string_lossy().into_owned()
}

/// Every Rust file of the project, tests included.
pub fn rust_sources() -> Vec<Source> {
    let found = Source::under("");
    assert!(found.len() > 20, "only {} Rust files: is this the whole project?", found.len());
    found
}

/// Names of committed (or to be committed) files; `None` outside of git.
pub fn committed_files() -> Option<Vec<String>> {
    let done = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output().ok()?;
    let names = String::from_utf8(done.stdout).ok().filter(|_| done.status.success())?;
    let names: Vec<String> = names.split('\0').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    (!names.is_empty()).then_some(names)
}
