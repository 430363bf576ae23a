//! Rust source as tokens: enough to find paths and keywords, blind to comments, strings and characters.

use std::path::Path;

use super::workspace::root;

/// A source file, its name relative to the project.
#[derive(Debug, Clone)]
pub struct Source {
    pub name: String,
    pub text: String,
}

impl Source {
    /// Reads a file by its name relative to the project.
    pub fn read(name: &str) -> Self {
        let text =
            std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        Self { name: name.to_owned(), text }
    }

    /// Every Rust file below a folder, in order.
    pub fn under(folder: &str) -> Vec<Source> {
        let mut names = Vec::new();
        collect(&root().join(folder), &mut names);
        names.sort();
        names.iter().map(|name| Source::read(name)).collect()
    }

    /// The module that the file is, below its `src`: `["tcp", "overlap"]`; `["lib"]` for the root.
    pub fn module_path(&self) -> Vec<String> {
        let inner = self.name.rsplit_once("src/").map_or(self.name.as_str(), |(_, inner)| inner);
        let mut path: Vec<_> = inner.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
        if path.len() > 1 && path.last().is_some_and(|last| last == "mod") {
            path.pop();
        }
        path
    }

    /// Whether the whole file is tests.
    pub fn is_test(&self) -> bool {
        let name = &self.name;
        name.ends_with("/tests.rs")
            || name.split('/').any(|folder| ["tests", "benches", "examples"].contains(&folder))
    }

    /// The text up to its test module, which by habit stands last.
    pub fn without_tests(&self) -> String {
        if self.is_test() && !self.name.starts_with("tests/src") {
            return String::new();
        }
        let mut lines = Vec::new();
        let mut rest = self.text.lines().peekable();
        while let Some(line) = rest.next() {
            let next = rest.peek().map_or("", |next| next.trim_start());
            if line.trim() == "#[cfg(test)]"
                && (next.starts_with("mod ") || next.starts_with("pub mod "))
                && next.contains('{')
            {
                break;
            }
            lines.push(line);
        }
        lines.join("\n")
    }
}

fn collect(folder: &Path, names: &mut Vec<String>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            let name = entry.file_name();
            if !name.to_string_lossy().starts_with("target") {
                collect(&path, names);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root()).unwrap_or(&path);
            names.push(name.to_string_lossy().into_owned());
        }
    }
}

/// Identifiers, and every other visible character for itself (`::` as one).
pub fn tokens(text: &str) -> Vec<String> {
    let bytes: Vec<char> = text.chars().collect();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        at += match rest {
            ['/', '/', ..] => rest.iter().position(|c| *c == '\n').unwrap_or(rest.len()),
            ['/', '*', ..] => block_comment_len(rest),
            ['"', ..] => string_len(rest),
            ['r', '"' | '#', ..] | ['b', 'r', '"' | '#', ..] if raw_string_len(rest) > 0 => {
                raw_string_len(rest)
            }
            ['b' | 'c', '"', ..] => 1 + string_len(&rest[1..]),
            ['\'', ..] => char_or_lifetime_len(rest),
            [':', ':', ..] => {
                found.push("::".to_owned());
                2
            }
            [c, ..] if c.is_alphanumeric() || *c == '_' => {
                let len = rest.iter().position(|c| !(c.is_alphanumeric() || *c == '_')).unwrap_or(rest.len());
                found.push(rest[..len].iter().collect());
                len
            }
            [c, ..] => {
                if !c.is_whitespace() {
                    found.push(c.to_string());
                }
                1
            }
            [] => break,
        };
    }
    found
}

fn block_comment_len(text: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        match text[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn string_len(text: &[char]) -> usize {
    let mut at = 1;
    while at < text.len() && text[at] != '"' {
        at += if text[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(text.len())
}

/// 0 when it is not a raw string after all (`r#ident`).
fn raw_string_len(text: &[char]) -> usize {
    let start = text.iter().position(|c| *c == 'r').unwrap_or(0) + 1;
    let hashes = text[start..].iter().take_while(|c| **c == '#').count();
    if text.get(start + hashes) != Some(&'"') {
        return 0;
    }
    let end: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    let body = start + hashes + 1;
    let len = text[body..]
        .windows(end.len())
        .position(|window| window == end)
        .unwrap_or(text.len() - body - hashes.min(text.len() - body));
    (body + len + end.len()).min(text.len())
}

fn char_or_lifetime_len(text: &[char]) -> usize {
    match text {
        ['\'', '\\', ..] => text[2..].iter().skip(1).position(|c| *c == '\'').map_or(text.len(), |at| at + 4),
        ['\'', _, '\'', ..] => 3,
        _ => 1,
    }
}

/// Every path that begins with `root`, without it: `use root::{a, b::c}` gives `a` and `b::c`.
pub fn paths_from(tokens: &[String], root: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for at in 0..tokens.len() {
        if tokens[at] == root && tokens.get(at + 1).is_some_and(|next| next == "::") {
            tree(tokens, at + 2, &mut Vec::new(), &mut found);
        }
    }
    found
}

/// Every path that begins at the root of the crate, written with `crate` or, in module `module`, with enough `super`s.
pub fn crate_paths(tokens: &[String], module: &[String]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let is_path = tokens.get(at + 1).is_some_and(|next| next == "::");
        if is_path && tokens[at] == "crate" {
            at = tree(tokens, at + 2, &mut Vec::new(), &mut found);
        } else if is_path && tokens[at] == "super" {
            let mut above = module.len();
            while tokens.get(at).is_some_and(|token| token == "super")
                && tokens.get(at + 1).is_some_and(|next| next == "::")
            {
                above = above.saturating_sub(1);
                at += 2;
            }
            let mut prefix = module[..above].to_vec();
            at = tree(tokens, at, &mut prefix, &mut found);
        } else {
            at += 1;
        }
    }
    found
}

/// Reads a use-tree at `at`; returns the place behind it.
fn tree(tokens: &[String], mut at: usize, prefix: &mut Vec<String>, found: &mut Vec<Vec<String>>) -> usize {
    let depth = prefix.len();
    loop {
        match tokens.get(at).map(String::as_str) {
            Some("{") => {
                at += 1;
                while tokens.get(at).is_some_and(|token| token != "}") {
                    at = tree(tokens, at, &mut prefix.clone(), found);
                    while tokens.get(at).is_some_and(|token| token != "," && token != "}") {
                        at += 1;
                    }
                    if tokens.get(at).is_some_and(|token| token == ",") {
                        at += 1;
                    }
                }
                at += 1;
                break;
            }
            Some("self" | "*") => {
                found.push(prefix.clone());
                at += 1;
                break;
            }
            Some(word) if word.starts_with(|c: char| c.is_alphabetic() || c == '_') => {
                prefix.push(word.to_owned());
                at += 1;
                if tokens.get(at).is_some_and(|token| token == "::") {
                    at += 1;
                } else {
                    found.push(prefix.clone());
                    break;
                }
            }
            // `::<T>` of a generic call, or the end of the text.
            _ => {
                found.push(prefix.clone());
                break;
            }
        }
    }
    prefix.truncate(depth);
    at
}
