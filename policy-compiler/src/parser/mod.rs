//! Lines into a [`Config`].
//!
//! The language has modes: `class-map ...` enters one, a line that only the enclosing mode knows
//! leaves it. A line that cannot be read costs that line; one that should have entered a mode costs
//! the lines under it too, which would only be read wrongly. So one run reports every mistake.

mod access_list;
mod class_map;
mod compat;
mod defence;
mod inspect;
mod parameter_map;
mod policy_map;
mod terminal;
mod zone;

use crate::ast::Config;
use crate::code::Code;
use crate::compile::Options;
use crate::cursor::{Cursor, Resolved, ambiguous, resolve};
use crate::diagnostic::{Diagnostic, nearest};
use crate::lexer;
use crate::source::{SourceFile, Span};
use crate::token::{Line, Token};

/// Longest name of a class map, policy map, zone or regex map (characters).
const MAX_NAME_LEN: usize = 205;

/// What a file says, and what is wrong with how it says it.
#[must_use]
pub fn parse(file: &SourceFile, options: Options) -> (Config, Vec<Diagnostic>) {
    let (lines, diagnostics) = lexer::lines(file);
    let mut parser = Parser {
        config: Config::default(),
        mode: Mode::Global,
        diagnostics,
        options,
        prompt_reported: false,
    };
    for line in &lines {
        if parser.line(line) == Flow::End {
            break;
        }
    }
    compat::rearrange(&mut parser.config, &mut parser.diagnostics);
    (parser.config, parser.diagnostics)
}

/// Where lines belong; numbers are indexes into the lists of [`Config`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Global,
    RegexMap(usize),
    InspectMap(usize),
    SmtpClass(usize),
    TopClass(usize),
    SmtpPolicy(usize),
    SmtpUse(usize, usize),
    SmtpParameters(usize),
    TopPolicy(usize),
    TopUse(usize, usize),
    Zone,
    ZonePair(usize),
    Interface(usize),
    AccessList(usize, access_list::Form),
    /// Under a line that could not be read.
    Lost,
    /// Under a line that removed what it names.
    Removed,
}

#[derive(PartialEq, Eq)]
enum Flow {
    Continue,
    End,
}

const GLOBAL: &[&str] = &[
    "access-list",
    "class-map",
    "configure",
    "enable",
    "end",
    "exit",
    "hostname",
    "interface",
    "ip",
    "ipv6",
    "parameter-map",
    "policy-map",
    "service",
    "version",
    "zone",
    "zone-pair",
];

impl Mode {
    /// The mode that `exit` leads to.
    fn parent(self) -> Mode {
        match self {
            Mode::SmtpUse(policy, _) | Mode::SmtpParameters(policy) => Mode::SmtpPolicy(policy),
            Mode::TopUse(policy, _) => Mode::TopPolicy(policy),
            _ => Mode::Global,
        }
    }

    /// First words of the lines it takes.
    fn commands(self) -> &'static [&'static str] {
        match self {
            Mode::Global => GLOBAL,
            Mode::RegexMap(_) => &["description", "end", "exit", "pattern"],
            Mode::InspectMap(_) => parameter_map::COMMANDS,
            Mode::SmtpClass(_) | Mode::TopClass(_) => &["description", "end", "exit", "match"],
            Mode::SmtpPolicy(_) => &["class", "description", "end", "exit", "match", "parameters"],
            Mode::SmtpUse(..) => {
                &["allow", "drop", "end", "exit", "inspect", "log", "mask", "pass", "reset", "service-policy"]
            }
            Mode::SmtpParameters(_) => &[
                "alert",
                "allow-verbs",
                "audit-trail",
                "auth",
                "auth-line-limit",
                "base",
                "chunking",
                "decode",
                "eight-bit",
                "end",
                "end-of-data",
                "exit",
                "limit",
                "max-data",
                "relay-probes",
                "sasl-layers",
                "signature",
                "starttls",
                "synchronization",
            ],
            Mode::TopPolicy(_) => &["class", "description", "end", "exit"],
            Mode::TopUse(..) => &[
                "allow",
                "drop",
                "end",
                "exit",
                "inspect",
                "log",
                "mask",
                "pass",
                "police",
                "reset",
                "service-policy",
            ],
            Mode::Zone => &["description", "end", "exit"],
            Mode::ZonePair(_) => &["description", "end", "exit", "service-policy"],
            Mode::Interface(_) => zone::INTERFACE_COMMANDS,
            Mode::AccessList(..) => &["deny", "end", "exit", "permit", "remark"],
            Mode::Lost | Mode::Removed => &[],
        }
    }

    /// What it is called in a message.
    fn name(self) -> &'static str {
        match self {
            Mode::Global => "at the top level",
            Mode::RegexMap(_) => "in a `parameter-map type regex`",
            Mode::InspectMap(_) => "in a `parameter-map type inspect`",
            Mode::SmtpClass(_) => "in a `class-map type inspect smtp`",
            Mode::TopClass(_) => "in a `class-map type inspect`",
            Mode::SmtpPolicy(_) | Mode::SmtpUse(..) => "in a `policy-map type inspect smtp`",
            Mode::SmtpParameters(_) => "in a `parameters` block",
            Mode::TopPolicy(_) | Mode::TopUse(..) => "in a `policy-map type inspect`",
            Mode::Zone => "in a `zone security`",
            Mode::ZonePair(_) => "in a `zone-pair security`",
            Mode::Interface(_) => "in an `interface`",
            Mode::AccessList(..) => "in an access list",
            Mode::Lost | Mode::Removed => "here",
        }
    }
}

struct Parser {
    config: Config,
    mode: Mode,
    diagnostics: Vec<Diagnostic>,
    options: Options,
    prompt_reported: bool,
}

impl Parser {
    fn line(&mut self, line: &Line<'_>) -> Flow {
        let Some(line) = self.typed(line) else { return Flow::Continue };
        // The cursor borrows the list of findings, the parser the rest of itself.
        let mut found = std::mem::take(&mut self.diagnostics);
        let flow = self.read(&line, &mut Cursor::new(&line, &mut found));
        self.diagnostics = found;
        flow
    }

    fn read(&mut self, line: &Line<'_>, cursor: &mut Cursor<'_, '_>) -> Flow {
        let negated = cursor.peek().is_some_and(|token| token.text.eq_ignore_ascii_case("no"));
        if negated {
            cursor.advance();
        }
        let Some(first) = cursor.peek() else {
            if negated {
                cursor.missing("a command");
            }
            return Flow::Continue;
        };
        let Some((mode, command)) = self.resolve(first, line, cursor) else { return Flow::Continue };
        cursor.advance();
        self.mode = mode;
        match command {
            "end" => return Flow::End,
            "exit" => self.mode = mode.parent(),
            _ => {
                let before = cursor.diagnostics.len();
                let entered = self.command(mode, command, negated, cursor);
                if entered.is_none() && cursor.diagnostics.len() == before {
                    // A line of a firewall's policy is never dropped without a word.
                    debug_assert!(false, "a line was dropped in silence");
                    cursor.report(Diagnostic::error(
                        Code::UNEXPECTED_WORD,
                        line.span,
                        "this line cannot be read",
                    ));
                }
                if entered.is_none() {
                    self.spoil(mode);
                    if enters_mode(mode, command) {
                        self.mode = Mode::Lost;
                    }
                }
            }
        }
        Flow::Continue
    }

    /// Which command a word means, in this mode or in one around it.
    fn resolve(
        &mut self,
        word: Token<'_>,
        line: &Line<'_>,
        cursor: &mut Cursor<'_, '_>,
    ) -> Option<(Mode, &'static str)> {
        let lost = matches!(self.mode, Mode::Lost | Mode::Removed);
        if lost && line.indented {
            return None;
        }
        if let Mode::AccessList(..) = self.mode
            && word.text.bytes().all(|octet| octet.is_ascii_digit())
        {
            // `10 permit ...`: entries may be numbered.
            cursor.advance();
            let Some(command) = cursor.peek() else {
                cursor.missing("`permit` or `deny`");
                return None;
            };
            return self.resolve(command, line, cursor);
        }
        let mut modes = vec![self.mode];
        while let Some(&mode) = modes.last()
            && mode != Mode::Global
        {
            modes.push(mode.parent());
        }
        let exact = modes.iter().find_map(|&mode| {
            let command = mode.commands().iter().find(|command| command.eq_ignore_ascii_case(word.text))?;
            Some((mode, *command))
        });
        if exact.is_some() {
            return exact;
        }
        for &mode in &modes {
            match resolve(word.text, mode.commands()) {
                Resolved::One(command) => return Some((mode, command)),
                Resolved::Several(several) => {
                    cursor.report(ambiguous(word, &several));
                    return None;
                }
                Resolved::None => {}
            }
        }
        if lost {
            return None;
        }
        cursor.report(self.unknown(word, &modes));
        self.spoil(self.mode);
        // Lines under a mistyped `class-map` would be read as belonging to what came before it.
        if !line.indented {
            self.mode = Mode::Lost;
        }
        None
    }

    fn unknown(&self, word: Token<'_>, modes: &[Mode]) -> Diagnostic {
        let here = self.mode.commands();
        let mut diagnostic = Diagnostic::error(
            Code::UNKNOWN_COMMAND,
            word.span,
            format!("`{}` is not a command {}", word.text, self.mode.name()),
        );
        let known = modes.iter().flat_map(|mode| mode.commands().iter().copied());
        diagnostic = match nearest(word.text, known) {
            Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
            None => {
                let commands: Vec<&str> =
                    here.iter().copied().filter(|c| !matches!(*c, "end" | "exit")).collect();
                diagnostic.help(format!("known are {}", crate::cursor::listing(&commands)))
            }
        };
        diagnostic
    }

    fn command(
        &mut self,
        mode: Mode,
        command: &'static str,
        negated: bool,
        cursor: &mut Cursor<'_, '_>,
    ) -> Option<()> {
        if matches!(command, "description" | "remark") {
            cursor.skip();
            return Some(());
        }
        match mode {
            Mode::Global => self.global(command, negated, cursor),
            Mode::RegexMap(index) => self.pattern(index, negated, cursor),
            Mode::InspectMap(index) => self.inspect_value(index, command, negated, cursor),
            Mode::SmtpClass(index) => self.smtp_match(index, negated, cursor),
            Mode::TopClass(index) => self.top_match(index, negated, cursor),
            Mode::SmtpPolicy(index) => self.smtp_policy_line(index, command, negated, cursor),
            Mode::SmtpUse(policy, used) => self.smtp_action(policy, used, command, negated, cursor),
            Mode::SmtpParameters(index) => self.smtp_parameter(index, command, negated, cursor),
            Mode::TopPolicy(index) => self.top_use(index, negated, cursor),
            Mode::TopUse(policy, used) => self.top_action(policy, used, command, negated, cursor),
            Mode::Zone => None,
            Mode::ZonePair(index) => self.zone_pair_policy(index, negated, cursor),
            Mode::Interface(index) => self.interface_line(index, command, negated, cursor),
            Mode::AccessList(index, form) => self.access_entry(index, form, command, negated, cursor),
            Mode::Lost | Mode::Removed => None,
        }
    }

    fn global(&mut self, command: &'static str, negated: bool, cursor: &mut Cursor<'_, '_>) -> Option<()> {
        match command {
            "parameter-map" => self.parameter_map(negated, cursor),
            "class-map" => self.class_map(negated, cursor),
            "policy-map" => self.policy_map(negated, cursor),
            "zone" => self.zone(negated, cursor),
            "zone-pair" => self.zone_pair(negated, cursor),
            "interface" => self.interface(negated, cursor),
            "ip" => self.global_ip(negated, cursor),
            "ipv6" => self.global_ipv6(negated, cursor),
            "access-list" => self.numbered_access_list(negated, cursor),
            // Lines of a saved configuration that have nothing to do with what passes.
            _ => {
                cursor.skip();
                Some(())
            }
        }
    }

    /// Notes that a line of this mode could not be read: nobody is to complain that it is missing.
    fn spoil(&mut self, mode: Mode) {
        let config = &mut self.config;
        let spoiled = match mode {
            Mode::RegexMap(index) => config.regex_maps.get_mut(index).map(|map| &mut map.spoiled),
            Mode::SmtpClass(index) => config.smtp_classes.get_mut(index).map(|class| &mut class.spoiled),
            Mode::TopClass(index) => config.top_classes.get_mut(index).map(|class| &mut class.spoiled),
            Mode::SmtpPolicy(index) => config.smtp_policies.get_mut(index).map(|policy| &mut policy.spoiled),
            Mode::SmtpUse(policy, used) => {
                let policy = config.smtp_policies.get_mut(policy);
                policy.and_then(|policy| policy.uses.get_mut(used)).map(|used| &mut used.spoiled)
            }
            Mode::TopUse(policy, used) => {
                let policy = config.top_policies.get_mut(policy);
                policy.and_then(|policy| policy.uses.get_mut(used)).map(|used| &mut used.spoiled)
            }
            Mode::ZonePair(index) => config.zone_pairs.get_mut(index).map(|pair| &mut pair.spoiled),
            Mode::AccessList(index, _) => config.access_lists.get_mut(index).map(|list| &mut list.spoiled),
            _ => None,
        };
        if let Some(spoiled) = spoiled {
            *spoiled = true;
        }
    }

    /// After a header: lines that follow belong to `mode`, or to nothing if it was removed.
    fn enter(&mut self, negated: bool, mode: Mode) {
        self.mode = if negated { Mode::Removed } else { mode };
    }
}

/// Whether the lines under this one belong to it.
fn enters_mode(mode: Mode, command: &str) -> bool {
    match mode {
        Mode::Global => {
            matches!(
                command,
                "parameter-map" | "class-map" | "policy-map" | "zone" | "zone-pair" | "interface"
            )
        }
        Mode::SmtpPolicy(_) | Mode::TopPolicy(_) => matches!(command, "class" | "parameters"),
        _ => false,
    }
}

/// `no` of something that is not there.
fn nothing_to_remove(span: Span) -> Diagnostic {
    Diagnostic::warning(Code::NOTHING_TO_REMOVE, span, "there is nothing here that this could remove")
        .help("a `no` line removes what an earlier line of the same file said")
}

/// Takes out what `same` holds for; says so if there was nothing.
fn remove<T>(items: &mut Vec<T>, cursor: &mut Cursor<'_, '_>, same: impl Fn(&T) -> bool) {
    let before = items.len();
    items.retain(|item| !same(item));
    if items.len() == before {
        let span = cursor.taken();
        cursor.report(nothing_to_remove(span));
    }
}

/// A line that stands in the wrong mode.
fn misplaced(cursor: &mut Cursor<'_, '_>, message: String, help: &str) {
    cursor.skip();
    let span = cursor.taken();
    cursor.report(Diagnostic::error(Code::MISPLACED, span, message).help(help));
}
