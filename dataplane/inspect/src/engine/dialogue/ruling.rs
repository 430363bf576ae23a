//! What is done about a command line that does not pass as it is.

use core::ops::Range;

use super::report::Judged;
use super::{Context, Dialogue};
use crate::event::{Action, Kind, ReplyCode};
use crate::rewrite::mask;
use crate::scan::Matcher;
use crate::smtp::Verb;
use crate::smtp::line::without_end;
use crate::smtp::session::Shape;
use crate::verdict::Cause;

/// What is done about a command line.
pub(super) enum Ruling {
    Pass,
    /// Overwrite it; `Some` is the class that wants it, `None` the base.
    Mask(Option<Cause>),
    Close(Kind, Option<Cause>, ReplyCode),
    /// Refuse it for this part of it.
    Refuse(Kind, Judged, ReplyCode),
}

/// A command line that is overwritten.
pub(super) struct Overwritten<'a> {
    /// Its last part, and where that stands in the client's stream.
    pub piece: &'a mut [u8],
    pub here: u64,
    /// Where its verb stands, as far as that was judged.
    pub verb_at: Range<usize>,
    /// Parts of it were overwritten before, from this letter of the verb on.
    pub masking: Option<u16>,
}

impl Dialogue {
    /// A refused BDAT has its chunk all the same, of which its sender reads no reply before it is sent.
    pub(super) fn swallow_chunk(&mut self, offered: bool, shape: Shape) {
        if let Some(chunk) = shape.chunk.filter(|chunk| offered && chunk.len > 0) {
            self.session.begin_chunk(chunk);
        }
    }

    /// Overwrites a command line, or refuses it where that would not change what it is.
    pub(super) fn overwrite<X: Matcher>(
        &mut self,
        cause: Option<Cause>,
        judged: &Judged,
        Overwritten { piece, here, verb_at, masking }: Overwritten<'_>,
        context: &mut Context<'_, X>,
    ) -> Result<(), ReplyCode> {
        let kind = if cause.is_some() { Kind::SmtpMatch } else { Kind::SmtpInvalidCommand };
        let start = self.session.line_len() - piece.len();
        let line = without_end(self.session.line(piece));
        let name = &line[verb_at.clone()];
        let illegal = context.rules.verbs().illegal_from(name, true).unwrap_or(name.len());
        let from = match (start, masking) {
            (0, _) | (_, Some(_)) => Some(0),
            // Overwriting must change the verb, or the server might execute the line all the same.
            _ => Some((verb_at.start + illegal).max(start))
                .filter(|from| *from <= verb_at.end && *from < line.len())
                .map(|from| from - start),
        };
        let Some(from) = from else {
            let reply = if cause.is_some() { ReplyCode::Policy } else { ReplyCode::NotImplemented };
            context.decision(kind, judged, cause, Action::Close, Some(reply));
            return Err(reply);
        };
        self.sent(Verb::Other, Shape::default(), piece, here, context)?;
        mask::command(&mut piece[from..]);
        context.counters.smtp_masked_commands += 1;
        context.decision(kind, judged, cause, Action::Mask, None);
        Ok(())
    }
}
