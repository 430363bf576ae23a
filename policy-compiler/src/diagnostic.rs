//! What is wrong with a policy, and how it is shown.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde::Serialize;

use crate::code::Code;
use crate::source::{SourceFile, Span};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The policy is not compiled.
    Error,
    /// Legal, but hardly meant.
    Warning,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Which sort; `posternc explain` tells more.
    pub code: Code,
    /// How bad.
    pub severity: Severity,
    /// One sentence without a full stop.
    pub message: String,
    /// Where.
    pub span: Span,
    /// What stands there.
    pub label: Option<String>,
    /// Other places that have to do with it.
    pub secondary: Vec<(Span, String)>,
    /// What to do.
    pub help: Vec<String>,
    /// What to know.
    pub notes: Vec<String>,
}

impl Diagnostic {
    /// An error.
    #[must_use]
    pub fn error(code: Code, span: Span, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: Severity::Error,
            message: message.into(),
            span,
            label: None,
            secondary: Vec::new(),
            help: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// A warning.
    #[must_use]
    pub fn warning(code: Code, span: Span, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, span, message) }
    }

    /// With a text at the place itself.
    #[must_use]
    pub fn label(mut self, text: impl Into<String>) -> Self {
        self.label = Some(text.into());
        self
    }

    /// With another place.
    #[must_use]
    pub fn at(mut self, span: Span, text: impl Into<String>) -> Self {
        self.secondary.push((span, text.into()));
        self
    }

    /// With advice.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help.push(text.into());
        self
    }

    /// With background.
    #[must_use]
    pub fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push(text.into());
        self
    }

    /// As text, in the shape of rustc's messages, ending with a line end.
    #[must_use]
    pub fn render(&self, file: &SourceFile, colour: bool) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let span = self.span.start..self.span.end;
        let primary = AnnotationKind::Primary.span(span).label(self.label.as_deref());
        let secondary = self
            .secondary
            .iter()
            .map(|(span, text)| AnnotationKind::Context.span(span.start..span.end).label(text.as_str()));
        let snippet = Snippet::source(file.text.as_str())
            .path(file.name.as_str())
            .annotation(primary)
            .annotations(secondary);
        let code = self.code.to_string();
        let group: Group<'_> = level
            .primary_title(self.message.as_str())
            .id(code.as_str())
            .element(snippet)
            .elements(self.help.iter().map(|text| Level::HELP.message(text.as_str())))
            .elements(self.notes.iter().map(|text| Level::NOTE.message(text.as_str())));
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let mut text = renderer.render(&[group]);
        text.push('\n');
        text
    }

    /// As one object for `--json`.
    #[must_use]
    pub fn record<'a>(&'a self, file: &'a SourceFile) -> Record<'a> {
        let place = |span: Span, text: Option<&'a str>| {
            let (start, end) = (file.position(span.start), file.position(span.end));
            Place { line: start.line, column: start.column, end_line: end.line, end_column: end.column, text }
        };
        Record {
            file: &file.name,
            code: self.code.to_string(),
            severity: self.severity,
            message: &self.message,
            at: place(self.span, self.label.as_deref()),
            related: self.secondary.iter().map(|(span, text)| place(*span, Some(text))).collect(),
            help: &self.help,
            notes: &self.notes,
        }
    }
}

/// A diagnostic as `check --json` prints it.
#[derive(Debug, Serialize)]
pub struct Record<'a> {
    file: &'a str,
    code: String,
    severity: Severity,
    message: &'a str,
    #[serde(flatten)]
    at: Place<'a>,
    related: Vec<Place<'a>>,
    help: &'a [String],
    notes: &'a [String],
}

/// Lines and columns from 1, columns in characters, the end exclusive.
#[derive(Debug, Serialize)]
struct Place<'a> {
    line: u32,
    column: u32,
    end_line: u32,
    end_column: u32,
    #[serde(rename = "label", skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
}

/// The name nearest to a mistyped one, if one is near enough to be meant.
#[must_use]
pub fn nearest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_ascii_lowercase();
    // A name of one or two letters is near to every other.
    let allowed = match word.chars().count() {
        0..=2 => 0,
        len => (len / 3).max(1),
    };
    names
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&lower, &name.to_ascii_lowercase()), name))
        .filter(|&(distance, _)| distance <= allowed)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, name)| name)
}
