//! A policy text.

use artifact::format::Artifact;
use posternc::compile::{Options, compile};
use posternc::source::SourceFile;

/// Longest text (octets): patterns take their time to compile.
const TEXT_LEN: usize = 4096;

/// Compiles, shows everything in every way, and reads back what came of it. The first octet is the options.
///
/// # Panics
/// When a promise is broken.
pub fn run(data: &[u8]) {
    let Some((how, text)) = data.split_first() else { return };
    let text = String::from_utf8_lossy(&text[..text.len().min(TEXT_LEN)]).into_owned();
    let file = SourceFile::new("any.policy", text.clone());
    let options = Options { strict_cisco: how & 1 != 0, seed_compat: how & 2 != 0 };
    let compiled = compile(&file, options);
    let (errors, _) = compiled.counts();
    assert_eq!(compiled.artifact.is_none(), errors > 0, "an artifact if and only if there is no error");
    for found in &compiled.diagnostics {
        assert!(text.get(found.span.start..found.span.end).is_some(), "{found:?}");
        assert!(found.render(&file, false).contains(&found.code.to_string()));
        let _ = serde_json::to_string(&found.record(&file)).unwrap_or_else(|error| panic!("{error}"));
    }
    let Some(artifact) = compiled.artifact else { return };
    assert_eq!(Artifact::read(&artifact.write()).as_ref(), Ok(&artifact));
    assert!(!posternc::explain::artifact(&artifact).is_empty());
    if how & 4 != 0 {
        let again = compile(&file, options).artifact.map(|again| again.write());
        assert_eq!(again, Some(artifact.write()), "the same text, another artifact");
    }
}
