//! Facts of a session and the rules of its policy → what is done.
//!
//! SMTP tells its facts bit by bit, so a policy is asked at *events*: a command line, a keyword of the EHLO reply, the reply to RCPT, a
//! header field, a piece of a body, the end of data. At each event the criteria whose datum was just decided are compared
//! ([`Observation`]); every class that they made true is looked at in the order of the policy. All of them log; the first
//! with an action that decides wins; `allow` ends the search, for this event only.
//!
//! What was true stays true for the mail transaction (until RSET, EHLO, HELO or the end of data), so a match-all class over
//! a sender and a MIME type becomes true with the last of the two. Verbs, line lengths and keywords are true only for their
//! event; refused recipients for the whole connection.
//!
//! `match not` is decided with its datum: for each verb, path, keyword, Content-Type or encoding that comes; but for what
//! adds up (counts, lengths, header fields, body text) only when no more can come: at DATA, the end of the header, the end of data.

mod legal;
mod observe;
mod rules;
mod words;

pub use rules::{MAX_CLASSES, ODD_BASE64, Rules, Wants};
pub use words::Words;

use artifact::smtp::{Region, Terminal};

use crate::scan::CriterionSet;

/// What is known of a session, and of its mail transaction.
#[derive(Debug, Default)]
pub struct Facts {
    /// Criteria that became true in this transaction, or connection for those of that scope.
    held: CriterionSet,
    /// Classes that logged in this transaction.
    logged: CriterionSet,
    /// RCPT commands of this transaction.
    pub recipient_count: u32,
    /// Recipients that the server refused on this connection.
    pub refused_count: u32,
    /// Octets of this transaction's content.
    pub content_len: u64,
    /// Octets of the contents of all messages before.
    pub earlier_len: u64,
}

/// What one event decided.
#[derive(Debug, Clone, Copy, Default)]
pub struct Observation {
    decided: CriterionSet,
    hits: CriterionSet,
    /// Classes without criteria are asked even if nothing was decided.
    always_asked: bool,
}

impl Observation {
    /// Whether no class need be asked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.decided.is_empty() && !self.always_asked
    }

    /// A scan of a region is complete: the criteria in `hits` were found, the region's others not.
    pub fn scanned(&mut self, rules: &Rules, region: Region, hits: &CriterionSet) {
        if hits.is_empty() && rules.is_silent(region) {
            return;
        }
        self.decided.union(rules.region(region));
        self.hits.union(hits);
    }

    /// A scan of a region goes on: the criteria in `hits` were found, nothing can be said of others.
    pub fn found(&mut self, hits: &CriterionSet) {
        self.decided.union(hits);
        self.hits.union(hits);
    }

    /// A scan of a region in pieces is over and found `hits` in all: what is negated and was not found is true.
    pub fn ended(&mut self, rules: &Rules, region: Region, hits: &CriterionSet) {
        self.decided.union(&rules.negated_in(region));
        self.hits.union(&rules.negated_in(region).intersection(hits));
    }

    /// Adds what another decided at the same moment.
    pub fn merge(&mut self, other: &Observation) {
        self.decided.union(&other.decided);
        self.hits.union(&other.hits);
    }

    fn test(&mut self, criterion: u16, holds: bool) {
        self.decided.insert(criterion);
        if holds {
            self.hits.insert(criterion);
        }
    }
}

/// A class, and the criterion that made it true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cause {
    /// Index into the policy's classes.
    pub class: u16,
    /// Index into its criteria; `None` for a class without.
    pub criterion: Option<u16>,
}

/// What is to be done about an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// No class decided: it passes.
    Pass,
    /// A class allows it.
    Allow,
    /// A class wants it overwritten.
    Mask(Cause),
    /// A class wants the session refused.
    Reset(Cause),
}

/// A class that only reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Noted {
    /// Which, and why.
    pub cause: Cause,
    /// Whether it also allows.
    pub allows: bool,
}

impl Facts {
    /// The mail transaction is over, or was given up.
    pub fn end_transaction(&mut self, rules: &Rules) {
        self.held =
            if self.refused_count > 0 { rules.connection_scope(&self.held) } else { CriterionSet::EMPTY };
        self.logged = CriterionSet::EMPTY;
        self.recipient_count = 0;
        self.earlier_len = self.earlier_len.saturating_add(self.content_len);
        self.content_len = 0;
    }
}

impl Rules {
    /// Asks the policy about an event. `note` hears of classes that log and do nothing else, or allow; each once a
    /// transaction.
    pub fn judge(&self, facts: &mut Facts, seen: &Observation, mut note: impl FnMut(Noted)) -> Outcome {
        if seen.is_empty() {
            return Outcome::Pass;
        }
        let now = self.truth(seen);
        // Nearly every event: nothing became true.
        if now.is_empty() && !self.catches_all {
            return Outcome::Pass;
        }
        let mut held = facts.held;
        held.union(&now);
        let mut outcome = Outcome::Pass;
        for (index, class) in self.classes().iter().enumerate() {
            if !class.is_true(&now, &held) {
                continue;
            }
            let class_index = index as u16;
            let cause = Cause { class: class_index, criterion: class.cause(&now) };
            let first_time = !facts.logged.contains(class_index);
            let decides = outcome == Outcome::Pass;
            match class.terminal {
                Some(Terminal::Reset) if decides => outcome = Outcome::Reset(cause),
                Some(Terminal::Mask) if decides => outcome = Outcome::Mask(cause),
                terminal => {
                    let allows = terminal == Some(Terminal::Allow) && decides;
                    if class.log && first_time {
                        note(Noted { cause, allows });
                    }
                    if allows {
                        outcome = Outcome::Allow;
                    }
                }
            }
            if class.log {
                facts.logged.insert(class_index);
            }
            if outcome == Outcome::Allow {
                break;
            }
        }
        // What was overwritten never reached the server: it is no fact of the transaction.
        if !matches!(outcome, Outcome::Mask(_)) {
            facts.held.union(&self.lasting(&now));
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use artifact::model::Mode;
    use artifact::smtp::{Base, Criterion, SmtpClass, SmtpPolicy, Test};

    use super::*;

    /// Mode, tests with whether they are negated, `log`, and the action that decides.
    type Class<'a> = (Mode, &'a [(bool, Test)], bool, Option<Terminal>);

    fn policy(classes: &[Class<'_>]) -> Rules {
        let mut policy = SmtpPolicy::new("p", Base::None);
        for (mode, tests, log, terminal) in classes {
            let mut criteria = vec![];
            for (negated, test) in *tests {
                criteria.push(policy.criteria.len() as u16);
                policy.criteria.push(Criterion {
                    negated: *negated,
                    test: test.clone(),
                    text: String::new(),
                    line: 0,
                });
            }
            let class = SmtpClass {
                name: "c".into(),
                mode: *mode,
                criteria,
                log: *log,
                terminal: *terminal,
                line: 0,
            };
            policy.classes.push(class);
        }
        Rules::new(&policy)
    }

    fn verb(name: &str) -> Test {
        Test::CommandVerb(name.into())
    }

    fn ask(rules: &Rules, facts: &mut Facts, seen: &Observation) -> (Outcome, Vec<u16>) {
        let mut noted = vec![];
        let outcome = rules.judge(facts, seen, |note| noted.push(note.cause.class));
        (outcome, noted)
    }

    #[test]
    fn the_first_class_that_decides_wins_and_all_log() {
        let noop = [(false, verb("NOOP"))];
        let rules = policy(&[
            (Mode::Any, &noop, true, None),
            (Mode::Any, &noop, false, Some(Terminal::Mask)),
            (Mode::Any, &noop, true, Some(Terminal::Reset)),
        ]);
        let mut facts = Facts::default();
        let mask = Outcome::Mask(Cause { class: 1, criterion: Some(1) });
        assert_eq!(ask(&rules, &mut facts, &rules.command(b"noop", 6)), (mask, vec![0, 2]));
        assert_eq!(ask(&rules, &mut facts, &rules.command(b"noop", 6)), (mask, vec![]), "once a transaction");
        facts.end_transaction(&rules);
        assert_eq!(ask(&rules, &mut facts, &rules.command(b"NOOP", 6)).1, [0, 2]);
        assert_eq!(ask(&rules, &mut facts, &rules.command(b"QUIT", 6)), (Outcome::Pass, vec![]));
    }

    #[test]
    fn class_default_is_asked_last_and_about_every_command() {
        let rules = policy(&[
            (Mode::Any, &[(false, verb("HELO"))], false, Some(Terminal::Allow)),
            (Mode::Any, &[], false, Some(Terminal::Mask)),
        ]);
        let mut facts = Facts::default();
        assert_eq!(ask(&rules, &mut facts, &rules.command(b"HELO", 6)).0, Outcome::Allow);
        let mask = Outcome::Mask(Cause { class: 1, criterion: None });
        assert_eq!(ask(&rules, &mut facts, &rules.command(b"EHLO", 6)).0, mask);
        assert!(rules.verbs().is_masked(b"EHLO") && !rules.verbs().is_masked(b"helo"));
        assert_eq!(
            ask(&rules, &mut facts, &rules.keyword(b"SIZE")).0,
            Outcome::Pass,
            "nobody asks about keywords"
        );
    }

    #[test]
    fn refused_recipients_outlive_the_transaction_others_do_not() {
        let both = [(false, Test::RecipientInvalidCount(1)), (false, Test::SenderAddress)];
        let rules = policy(&[(Mode::All, &both, false, Some(Terminal::Reset))]);
        let mut sender = CriterionSet::EMPTY;
        sender.insert(1);
        let mut mail = Observation::default();
        mail.scanned(&rules, Region::Sender, &sender);
        let mut facts = Facts::default();
        assert_eq!(ask(&rules, &mut facts, &mail).0, Outcome::Pass);
        facts.end_transaction(&rules);
        facts.refused_count = 2;
        let reply = rules.recipient_reply(&facts);
        assert_eq!(ask(&rules, &mut facts, &reply).0, Outcome::Pass);
        facts.end_transaction(&rules);
        let reset = Outcome::Reset(Cause { class: 0, criterion: Some(1) });
        assert_eq!(ask(&rules, &mut facts, &mail).0, reset);
    }

    #[test]
    fn a_verb_is_foreseen_as_masked_only_where_no_class_before_may_decide_otherwise() {
        let rules = policy(&[
            (Mode::Any, &[(false, Test::SenderAddress)], false, Some(Terminal::Reset)),
            (
                Mode::All,
                &[(false, verb("HELP")), (false, Test::CommandLineLength(9))],
                false,
                Some(Terminal::Allow),
            ),
            (Mode::Any, &[(false, Test::Header), (false, Test::RecipientCount(3))], true, None),
            (
                Mode::Any,
                &[(false, verb("MAIL")), (false, verb("HELP")), (false, verb("EVIL"))],
                false,
                Some(Terminal::Mask),
            ),
        ]);
        let masked = |word: &str| rules.verbs().is_masked(word.as_bytes());
        assert!(masked("EVIL"));
        assert!(!masked("MAIL"), "its sender may refuse the session");
        assert!(!masked("HELP"), "a long line is allowed");
        assert!(!masked("NOOP"));
    }

    #[test]
    fn what_was_masked_is_no_fact() {
        let rules = policy(&[
            (Mode::Any, &[(false, verb("MAIL"))], false, Some(Terminal::Mask)),
            (
                Mode::All,
                &[(false, Test::SenderAddress), (false, Test::RecipientCount(0))],
                false,
                Some(Terminal::Reset),
            ),
        ]);
        let mut facts = Facts::default();
        let mut hits = CriterionSet::EMPTY;
        hits.insert(1);
        let mut seen = rules.command(b"MAIL", 20);
        seen.scanned(&rules, Region::Sender, &hits);
        assert!(matches!(ask(&rules, &mut facts, &seen).0, Outcome::Mask(_)));
        facts.recipient_count = 1;
        let mut seen = rules.command(b"RCPT", 20);
        rules.recipient(&facts, &mut seen);
        assert_eq!(ask(&rules, &mut facts, &seen).0, Outcome::Pass);
    }
}
