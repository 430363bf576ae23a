//! Recipients as nearly every client says them, and their replies, read in one step: most lines of sessions with many.

use artifact::smtp::Region;

use super::reading::block;
use super::report;
use super::{Context, Dialogue, Gate};
use crate::scan::{CriterionSet, Matcher};
use crate::smtp::ext::STARTTLS;
use crate::smtp::session::Shape;
use crate::smtp::signature::is_decode_alias;
use crate::smtp::{Verb, path};

/// Recipients that have left, and what is known of the next line.
#[derive(Debug, Default)]
pub(super) struct Recipients {
    /// Octets of their lines.
    pub len: usize,
    /// The line behind them is a recipient, too, in which this was found.
    pub hits: Option<CriterionSet>,
}

impl Dialogue {
    /// Passes on the RCPT lines at the start of `bytes` that have nothing about them that session or policy could ask about, but patterns
    /// that are not found in them: for such a line [`Dialogue::client`] would do exactly this. It stops at the first that is not so.
    #[inline]
    pub(super) fn usual_recipients<X: Matcher>(
        &mut self,
        bytes: &[u8],
        context: &mut Context<'_, X>,
    ) -> Recipients {
        let mut passed = Recipients::default();
        let rules = context.rules;
        while self.session.takes_usual_recipient()
            && rules.passes_usual_recipient(self.facts.recipient_count)
            && let Some(usual) = path::usual_recipient(&bytes[passed.len..])
            && !is_decode_alias(&bytes[passed.len..][usual.path.clone()])
        {
            if rules.asks(Region::Recipient) {
                let path = &bytes[passed.len..][usual.path];
                let hits = block(context.matcher, context.counters, self.smtp, Region::Recipient, path);
                if !hits.is_empty() {
                    passed.hits = Some(hits);
                    return passed;
                }
            }
            if self.session.command(Verb::Rcpt, Shape::default(), &mut context.stores.lines).is_err() {
                return passed;
            }
            self.facts.recipient_count += 1;
            self.early = false;
            report::count_command(context.counters, Verb::Rcpt);
            passed.len += usual.len;
        }
        passed
    }

    /// Passes on the replies at the start of `bytes` that accept senders and recipients, where no rule counts refused ones, and lines that
    /// offer extensions which nobody asks about: for such a line [`Dialogue::server`] would do exactly this. It
    /// stops at the first that is not so.
    #[inline]
    pub(super) fn usual_replies<X>(&mut self, bytes: &[u8], context: &mut Context<'_, X>) -> usize {
        let mut passed = 0;
        if self.gate != Gate::Open || context.rules.counts_refused() {
            return passed;
        }
        while let Some(len) = self.session.welcome(&bytes[passed..]) {
            report::count_reply(context.counters, 250);
            passed += len;
        }
        let passes = |keyword: &[u8]| context.rules.passes_usual_keyword(keyword);
        while let Some((len, keyword)) = self.session.offer(&bytes[passed..], passes) {
            self.offers_tls |= keyword == STARTTLS;
            context.journal.set_enhanced(self.enhanced_status_codes());
            passed += len;
        }
        passed
    }
}
