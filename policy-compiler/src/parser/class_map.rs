//! `class-map type inspect [smtp]` and its `match` lines.

use artifact::model::Mode as Combine;

use super::{MAX_NAME_LEN, Mode, Parser, misplaced, remove};
use crate::ast::{Name, Set, SmtpClassMap, SmtpMatch, TopClassMap, TopMatch, TopTest};
use crate::code::Code;
use crate::cursor::{Cursor, Resolved, ambiguous, listing, resolve};
use crate::diagnostic::{Diagnostic, nearest};
use crate::kind::{KINDS, MatchKind};
use crate::protocol;
use crate::source::Span;

impl Parser {
    pub(super) fn class_map(&mut self, negated: bool, cursor: &mut Cursor<'_, '_>) -> Option<()> {
        cursor.keywords(&["type", "inspect"])?;
        let smtp = is_smtp_header(cursor);
        let stated = stated_mode(cursor);
        let name = cursor.name("class-map", MAX_NAME_LEN)?;
        cursor.finish()?;
        if name.text == crate::ast::CLASS_DEFAULT {
            cursor.report(
                Diagnostic::error(Code::BAD_NAME, name.span, "`class-default` is reserved")
                    .label("it takes what no other class does, and has no matches of its own"),
            );
            return None;
        }
        // Neither keyword: all must hold, as `show` prints it for such classes.
        let mode = stated.unwrap_or(Set { value: Combine::All, span: name.span });
        let entered = if smtp {
            if negated {
                remove(&mut self.config.smtp_classes, cursor, |class| class.name.text == name.text);
            } else {
                self.config.smtp_classes.push(SmtpClassMap {
                    name,
                    mode,
                    matches: Vec::new(),
                    misplaced: Vec::new(),
                    spoiled: false,
                });
            }
            Mode::SmtpClass(self.config.smtp_classes.len().saturating_sub(1))
        } else {
            if negated {
                remove(&mut self.config.top_classes, cursor, |class| class.name.text == name.text);
            } else {
                self.config.top_classes.push(TopClassMap { name, mode, matches: Vec::new(), spoiled: false });
            }
            Mode::TopClass(self.config.top_classes.len().saturating_sub(1))
        };
        self.enter(negated, entered);
        Some(())
    }

    pub(super) fn smtp_match(
        &mut self,
        class: usize,
        removed: bool,
        cursor: &mut Cursor<'_, '_>,
    ) -> Option<()> {
        if cursor.peek().is_some_and(|token| resolve(token.text, &["protocol"]) != Resolved::None) {
            return self.misplaced_protocol(class, removed, cursor);
        }
        let not = cursor.peek().filter(|token| token.text.eq_ignore_ascii_case("not"));
        if let Some(not) = not {
            cursor.advance();
            self.extension(not.span, "`match not` in a `class-map type inspect smtp`", cursor);
        }
        let kind = smtp_kind(cursor)?;
        let argument = kind.parse(cursor)?;
        cursor.finish()?;
        let span = cursor.taken();
        let line = SmtpMatch { negated: not.is_some(), kind, argument, span };
        let matches = &mut self.config.smtp_classes.get_mut(class)?.matches;
        let same = |other: &SmtpMatch| other.text() == line.text();
        if removed {
            remove(matches, cursor, same);
        } else if let Some(other) = matches.iter().find(|other| same(other)) {
            cursor.report(repeated(span, other.span));
        } else {
            matches.push(line);
        }
        Some(())
    }

    pub(super) fn top_match(
        &mut self,
        class: usize,
        removed: bool,
        cursor: &mut Cursor<'_, '_>,
    ) -> Option<()> {
        let negated = cursor.optional(&["not"]).is_some();
        let test = top_test(cursor)?;
        cursor.finish()?;
        let span = cursor.taken();
        if let TopTest::Protocol(protocol, true) = &test {
            cursor.report(
                Diagnostic::warning(Code::NO_EFFECT, span, "`extended` has no effect in this gateway")
                    .help(format!("`match protocol {}` means both SMTP and ESMTP", protocol.name))
                    .help("`base smtp` or `base esmtp` in a `parameters` block of the SMTP policy sets what is legal"),
            );
        }
        let line = TopMatch { negated, test, span };
        let matches = &mut self.config.top_classes.get_mut(class)?.matches;
        let same = |other: &TopMatch| other.text() == line.text();
        if removed {
            remove(matches, cursor, same);
        } else if let Some(other) = matches.iter().find(|other| same(other)) {
            cursor.report(repeated(span, other.span));
        } else {
            matches.push(line);
        }
        Some(())
    }

    /// Something that Cisco's routers do not have: refused when they are to be imitated to the letter.
    pub(super) fn extension(&self, span: Span, what: &str, cursor: &mut Cursor<'_, '_>) {
        if self.options.strict_cisco {
            cursor.report(
                Diagnostic::error(
                    Code::STRICT_CISCO,
                    span,
                    format!("{what} is an extension of this gateway"),
                )
                .help("leave `--strict-cisco` out to use it"),
            );
        }
    }
}

impl SmtpMatch {
    /// The line as `show` prints it, without `match`, abbreviations written out.
    #[must_use]
    pub fn text(&self) -> String {
        let not = if self.negated { "not " } else { "" };
        format!("{not}{} {}", self.kind.keywords().join(" "), self.argument)
    }
}

/// Takes `smtp` after `type inspect`. In full: anything shorter is a name.
pub(super) fn is_smtp_header(cursor: &mut Cursor<'_, '_>) -> bool {
    match cursor.peek() {
        Some(token) if token.text.eq_ignore_ascii_case("smtp") => {
            cursor.advance();
            true
        }
        _ => false,
    }
}

fn stated_mode(cursor: &mut Cursor<'_, '_>) -> Option<Set<Combine>> {
    let token = cursor.peek()?;
    // In full: `match-a` would be ambiguous, and anything shorter could be a name.
    let value = match token.text.to_ascii_lowercase().as_str() {
        "match-any" => Combine::Any,
        "match-all" => Combine::All,
        _ => return None,
    };
    cursor.advance();
    Some(Set { value, span: token.span })
}

/// Walks the keywords of all kinds, word by word.
fn smtp_kind(cursor: &mut Cursor<'_, '_>) -> Option<&'static dyn MatchKind> {
    let mut left: Vec<(&'static dyn MatchKind, &'static [&'static str])> =
        KINDS.iter().map(|kind| (*kind, kind.keywords())).collect();
    // Other spellings are taken, but not abbreviated, and never in the way of the usual ones.
    let first = cursor.peek().map_or("", |token| token.text);
    let aliases = KINDS.iter().flat_map(|kind| kind.aliases().iter().map(|words| (*kind, *words)));
    left.extend(
        aliases.filter(|(_, words)| words.first().is_some_and(|word| word.eq_ignore_ascii_case(first))),
    );
    for depth in 0.. {
        let mut next: Vec<&'static str> =
            left.iter().filter_map(|(_, words)| words.get(depth).copied()).collect();
        next.dedup();
        if next.is_empty() {
            break;
        }
        next.sort_unstable();
        next.dedup();
        let Some(token) = cursor.peek() else {
            cursor.missing(&listing(&next));
            return None;
        };
        let word = match resolve(token.text, &next) {
            Resolved::One(word) => word,
            Resolved::Several(several) => {
                cursor.report(ambiguous(token, &several));
                return None;
            }
            Resolved::None => {
                if depth == 0 && is_top_match(token.text) {
                    let message = belongs_above(token.text);
                    misplaced(cursor, message, BELONGS_ABOVE);
                    return None;
                }
                cursor.report(unknown_match(token, &next));
                return None;
            }
        };
        cursor.advance();
        left.retain(|(_, words)| words.get(depth) == Some(&word));
    }
    left.first().map(|(kind, _)| *kind)
}

fn unknown_match(token: crate::token::Token<'_>, next: &[&'static str]) -> Diagnostic {
    let diagnostic = Diagnostic::error(
        Code::UNEXPECTED_WORD,
        token.span,
        format!("`{}` is not expected here", token.text),
    )
    .label(format!("expected {}", listing(next)));
    match nearest(token.text, next.iter().copied()) {
        Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
        None => diagnostic,
    }
}

/// A line of a top-level class in an SMTP class.
pub(super) fn belongs_above(keyword: &str) -> String {
    format!("`match {keyword}` belongs in a top-level class")
}

/// What to do about it.
pub(super) const BELONGS_ABOVE: &str = "put it into a `class-map type inspect NAME` (without `smtp`), and use that class in a \
    `policy-map type inspect` with `inspect` and `service-policy smtp POLICY`";

const TOP_MATCHES: &[&str] = &["access-group", "class-map", "protocol"];

fn is_top_match(word: &str) -> bool {
    matches!(resolve(word, TOP_MATCHES), Resolved::One(_))
}

fn top_test(cursor: &mut Cursor<'_, '_>) -> Option<TopTest> {
    if let Some(token) = cursor.peek()
        && resolve(token.text, TOP_MATCHES) == Resolved::None
        && KINDS
            .iter()
            .any(|kind| kind.keywords().first().is_some_and(|word| word.eq_ignore_ascii_case(token.text)))
    {
        let message = format!("`match {}` asks about mail, and belongs in an SMTP class", token.text);
        misplaced(
            cursor,
            message,
            "put it into a `class-map type inspect smtp NAME`, and use that class in a `policy-map type inspect smtp`",
        );
        return None;
    }
    match cursor.keyword(TOP_MATCHES)? {
        "access-group" => {
            let _ = cursor.optional(&["name"]);
            Some(TopTest::AccessGroup(cursor.name("access list", 64)?))
        }
        "class-map" => Some(TopTest::ClassMap(cursor.name("class-map", MAX_NAME_LEN)?)),
        _ => {
            let name = cursor.keyword(&protocol::names())?;
            let extended = name == protocol::SMTP.name && cursor.optional(&["extended"]).is_some();
            let _ = cursor.optional(&["signature"]);
            Some(TopTest::Protocol(protocol::by_name(name)?, extended))
        }
    }
}

fn repeated(span: Span, first: Span) -> Diagnostic {
    Diagnostic::warning(Code::REPEATED, span, "this says again what the class already says")
        .at(first, "said here first")
        .help("remove one of them")
}

/// The name of a class used in a policy, and whether it is the default one.
pub(super) fn used_class(what: &str, smtp: bool, cursor: &mut Cursor<'_, '_>) -> Option<Name> {
    let token = cursor.peek();
    if token.is_some_and(|token| token.text == crate::ast::CLASS_DEFAULT) {
        return cursor.name(what, MAX_NAME_LEN);
    }
    if cursor.optional(&["type"]).is_some() {
        cursor.keyword(&["inspect"])?;
        if smtp {
            cursor.keyword(&["smtp"])?;
        }
    }
    cursor.name(what, MAX_NAME_LEN)
}
