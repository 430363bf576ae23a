//! Headers: their fields, one after the other, and what they say of the body.

use core::ops::Range;

use memchr::{memchr, memchr2, memchr3};

use super::{Message, NoRoom, Phase, Sink};
use crate::mime::content_type::Kind;
use crate::mime::field::{FIELD_LEN, Field, FieldText, name};
use crate::names::Names;
use crate::shelf::Shelf;

/// Fields that a message's own header may have once (RFC 5322, 3.6; RFC 2045, 4 to 6).
const ONCE: Names<14> = Names::new([
    b"Bcc",
    b"Cc",
    b"Content-Transfer-Encoding",
    b"Content-Type",
    b"Date",
    b"From",
    b"In-Reply-To",
    b"MIME-Version",
    b"Message-ID",
    b"References",
    b"Reply-To",
    b"Sender",
    b"Subject",
    b"To",
]);
/// Where two of them stand in it.
const CONTENT_TRANSFER_ENCODING: usize = 2;
const CONTENT_TYPE: usize = 3;

/// How far octets are known to have no NUL, `$` and `*`: looked for in more of them than one field has.
#[derive(Debug, Default)]
struct Plain {
    until: usize,
}

impl Plain {
    /// Octets that are looked at once.
    const STEP: usize = 512;

    /// Whether these octets have none. They are asked for in their order.
    fn has(&mut self, bytes: &[u8], octets: Range<usize>) -> bool {
        if self.until < octets.end {
            let step = &bytes[octets.start..bytes.len().min(octets.end.max(octets.start + Self::STEP))];
            self.until = octets.start + memchr3(0, b'$', b'*', step).unwrap_or(step.len());
        }
        octets.end <= self.until
    }
}

impl Message {
    /// Takes lines of a header, or a part of one.
    pub(super) fn header(
        &mut self,
        bytes: &[u8],
        fields: &mut Shelf<Field>,
        sink: &mut impl Sink,
    ) -> Result<usize, NoRoom> {
        if !self.in_line {
            self.header_len_at_line = self.header_len;
            let folds = matches!(bytes.first(), Some(b' ' | b'\t'));
            match self.field.as_deref_mut() {
                Some(field) if folds && !field.is_empty() => field.fold(),
                _ => {
                    self.end_field(sink);
                    let taken = self.whole_lines(bytes, sink);
                    if taken > 0 {
                        if self.phase != Phase::Header {
                            fields.give_from(&mut self.field);
                        }
                        return Ok(taken);
                    }
                }
            }
        }
        let piece = &bytes[..memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1)];
        if self.field.is_none() {
            let mut field = fields.take().ok_or(NoRoom)?;
            field.clear();
            self.field = Some(field);
        }
        let Some(field) = self.field.as_deref_mut() else { return Ok(piece.len()) };
        if field.room() == 0 {
            if field.is_one_line() && !field.find_name() {
                self.not_a_field(sink);
            } else {
                self.give_kept(sink);
                if let Some(field) = self.field.as_deref_mut() {
                    field.slide();
                }
            }
            return Ok(0);
        }
        let taken = piece.len().min(field.room());
        field.append(&piece[..taken]);
        if self.doubtful {
            self.in_text = true;
            sink.text(&piece[..taken]);
        }
        self.in_line = piece[taken - 1] != b'\n';
        self.header_len += if self.own_header_ended { 0 } else { taken as u64 };
        if !self.in_line && field.is_nearly_empty_line() {
            sink.ambiguous();
        }
        if !self.in_line && field.is_one_line() {
            if field.is_blank() {
                field.clear();
                self.end_header(sink);
                if self.phase != Phase::Header {
                    fields.give_from(&mut self.field);
                }
            } else if !field.find_name() {
                self.not_a_field(sink);
            }
        }
        Ok(taken)
    }

    /// The line under way is no field. For Postfix, Exim and Sendmail the header ended before it, for other readers it goes on:
    /// from here to its empty line it is read both ways, as text and as a header.
    fn not_a_field(&mut self, sink: &mut impl Sink) {
        let Some(line) = self.field.as_deref_mut() else { return };
        let is_separator = !self.begun && is_mailbox_line(line.bytes());
        if !is_separator && !self.doubtful {
            self.doubtful = true;
            self.in_text = true;
            sink.ambiguous();
            if !self.own_header_ended {
                self.own_header_ended = true;
                sink.header_end(self.header_len_at_line);
            }
            sink.text(line.bytes());
        }
        line.clear();
        self.begun = true;
    }

    /// Takes lines that need not be kept, as most: fields of one line that are known to be complete by the octet behind them, and
    /// the empty line, at which it stops. Stops before anything else, too.
    fn whole_lines(&mut self, bytes: &[u8], sink: &mut impl Sink) -> usize {
        let own = u64::from(!self.own_header_ended);
        let mut plain = Plain::default();
        let mut at = 0;
        while !self.doubtful
            && let Some(len) = memchr2(b'\r', b'\n', &bytes[at..])
        {
            let end = at + len;
            let next = match bytes[end..] {
                [b'\n', ..] => end + 1,
                [b'\r', b'\n', ..] => end + 2,
                _ => break,
            };
            if len == 0 {
                self.header_len += own * next as u64;
                self.end_header(sink);
                return next;
            }
            let text = &bytes[at..end];
            let is_complete = bytes.get(next).is_some_and(|next| !matches!(next, b' ' | b'\t'));
            if !is_complete || len >= FIELD_LEN {
                break;
            }
            let (known, name) = match ONCE.at_start(text, b':') {
                Some((index, name)) => (Some(index), name),
                None => match name(text) {
                    Some(name) => (ONCE.position(name), name),
                    None => break,
                },
            };
            let plain = plain.has(bytes, at..end);
            self.give(&FieldText { text, name, is_start: true, plain }, known, sink);
            at = next;
            // It may be a delimiter.
            if bytes[at] == b'-' && !self.boundaries.is_empty() {
                break;
            }
        }
        self.header_len += own * at as u64;
        self.header_len_at_line = self.header_len;
        at
    }

    /// The field under way is complete, if there is one.
    pub(super) fn end_field(&mut self, sink: &mut impl Sink) {
        if self.field.as_deref().is_some_and(|field| !field.is_empty()) {
            self.give_kept(sink);
            if let Some(field) = self.field.as_deref_mut() {
                field.clear();
            }
        }
    }

    /// Gives the field under way, or a piece of it.
    fn give_kept(&mut self, sink: &mut impl Sink) {
        let Some(mut field) = self.field.take() else { return };
        field.find_name();
        let (text, name, is_start) = (field.text(), field.name(), field.is_start());
        self.give(&FieldText { text, name, is_start, plain: false }, ONCE.position(name), sink);
        self.field = Some(field);
    }

    /// Gives a field, or a piece of it, whose name stands at this place of [`ONCE`].
    fn give(&mut self, field: &FieldText<'_>, known: Option<usize>, sink: &mut impl Sink) {
        self.begun = true;
        if !self.own_header_ended {
            sink.field(field);
        } else {
            sink.part_field(field);
        }
        // NUL, or CR inside a line.
        if !field.plain && memchr2(0, b'\r', field.text).is_some() {
            sink.ambiguous();
        }
        let Some(index) = known else { return };
        if !self.own_header_ended && field.is_start {
            if self.once & (1 << index) != 0 {
                sink.duplicate();
            }
            self.once |= 1 << index;
        }
        match index {
            CONTENT_TYPE => self.entity.content_type(field.value(), field.is_start, sink),
            CONTENT_TRANSFER_ENCODING if field.is_start => {
                self.entity.transfer_encoding(field.value(), self.decode, sink);
            }
            _ => {}
        }
    }

    /// The header is complete: what its body is.
    pub(super) fn end_header(&mut self, sink: &mut impl Sink) {
        if !self.own_header_ended {
            self.own_header_ended = true;
            sink.header_end(self.header_len);
        }
        let entity = core::mem::take(&mut self.entity);
        (self.begun, self.doubtful) = (false, false);
        self.phase = match entity.kind {
            Kind::Multipart | Kind::Digest => {
                let digest = entity.kind == Kind::Digest;
                let alike =
                    entity.boundary.is_some_and(|boundary| self.boundaries.is_like_another(&boundary));
                let followed =
                    entity.boundary.is_some_and(|boundary| self.boundaries.push(&boundary, digest));
                if alike {
                    sink.ambiguous();
                }
                if !followed {
                    sink.encoding(b"", true);
                }
                Phase::Text
            }
            Kind::Message if !entity.encoded => Phase::Header,
            Kind::Text if !entity.encoded => Phase::Text,
            Kind::Text if entity.decoder.is_some() => {
                // What was doubtful in the header is another text.
                self.end_text(sink);
                self.decoder = entity.decoder;
                Phase::Encoded
            }
            Kind::Message | Kind::Text | Kind::Other => Phase::Opaque,
        };
        self.in_line = false;
    }
}

/// The separator of mailbox files, which mail programs sometimes leave in front of a header (`From a@b Thu Jan 1 ...`,
/// maybe behind `>`). Servers and readers skip it there.
fn is_mailbox_line(line: &[u8]) -> bool {
    let quoted = line.iter().take_while(|byte| **byte == b'>').count();
    line[quoted..].starts_with(b"From ")
}
