//! A message, read as its octets come.

use std::sync::LazyLock;

use artifact::settings::Decode;
use memchr::memchr;
use memchr::memmem::Finder;

use super::boundary::{Boundaries, DELIMITER_LIMIT, Delimiter};
use super::content_type::Kind;
use super::decoding::Decoder;
use super::entity::Entity;
use super::field::{Field, FieldText};
use crate::shelf::Shelf;

mod header;

/// A hyphen that starts a line.
static HYPHEN: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\n-"));

/// Who hears what is found, in the order of the message.
pub trait Sink {
    /// A field of the message's own header, unfolded, `Name: value`. Fields longer than [`super::FIELD_LEN`] come in
    /// several pieces.
    fn field(&mut self, field: &FieldText<'_>);
    /// A field of the header of a part, likewise.
    fn part_field(&mut self, _field: &FieldText<'_>) {}
    /// The message's own header is complete; octets through its empty line, stuffed dots included.
    fn header_end(&mut self, len: u64);
    /// The value of a Content-Type field, of the message or of a part.
    fn content_type(&mut self, value: &[u8]);
    /// Readers may divide or decode the message in different ways, for a reason that is no encoding.
    fn ambiguous(&mut self) {}
    /// A field of the message's own header that may stand there once came again (RFC 5322, 3.6; RFC 2045).
    fn duplicate(&mut self) {}
    /// The token of a Content-Transfer-Encoding field, of the message or of a part; `ambiguous` when readers may
    /// differ about how the entity is encoded or divided.
    fn encoding(&mut self, token: &[u8], ambiguous: bool);
    /// Octets of a text that is not encoded or was decoded, line ends included; those of one part follow each other.
    fn text(&mut self, text: &[u8]);
    /// The text is complete.
    fn text_end(&mut self);
}

/// A header must be read and there is no [`Field`] to read it with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRoom;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    /// The header of the message, or of a part.
    #[default]
    Header,
    /// Octets that are text.
    Text,
    /// Octets that are text when they are decoded.
    Encoded,
    /// Octets that are not text.
    Opaque,
}

/// A message under way.
#[derive(Debug, Default)]
pub struct Message {
    phase: Phase,
    entity: Entity,
    boundaries: Boundaries,
    field: Option<Box<Field>>,
    /// Which encoded text is given out decoded.
    decode: Decode,
    /// That of the text under way.
    decoder: Option<Decoder>,
    /// Nothing of the message's own header is complete yet, or it is under way.
    own_header_ended: bool,
    /// Octets of it, and how many there were at the start of the line.
    header_len: u64,
    header_len_at_line: u64,
    /// A line of the header under way is complete.
    begun: bool,
    /// Something in the header under way was no field.
    doubtful: bool,
    /// Fields of [`ONCE`] that its own header has, one bit each.
    once: u16,
    /// The last octet was not a line end.
    in_line: bool,
    /// Text was given out and not ended.
    in_text: bool,
    /// A line that may be a delimiter.
    candidate: Candidate,
}

#[derive(Debug)]
struct Candidate {
    len: usize,
    bytes: [u8; DELIMITER_LIMIT],
}

impl Default for Candidate {
    fn default() -> Self {
        Self { len: 0, bytes: [0; DELIMITER_LIMIT] }
    }
}

impl Message {
    /// Ready for a new message, whose encoded text is given out as `decode` says.
    pub fn restart(&mut self, decode: Decode, fields: &mut Shelf<Field>) {
        fields.give_from(&mut self.field);
        // Boundaries and octets of a line behind their lengths are left as they are: they are most of it.
        // Every part is named, so that a new one is not forgotten here.
        let Self {
            phase,
            entity,
            boundaries,
            field: _,
            decode: decoded,
            decoder,
            own_header_ended,
            header_len,
            header_len_at_line,
            begun,
            doubtful,
            once,
            in_line,
            in_text,
            candidate,
        } = self;
        boundaries.truncate(0);
        candidate.len = 0;
        (*phase, *entity, *decoded, *decoder) = (Phase::default(), Entity::default(), decode, None);
        (*header_len, *header_len_at_line, *once) = (0, 0, 0);
        for flag in [own_header_ended, begun, doubtful, in_line, in_text] {
            *flag = false;
        }
    }

    /// A dot was left out in front of the next octets.
    pub fn skip_dot(&mut self) {
        self.header_len += u64::from(!self.own_header_ended);
    }

    /// The next octets.
    ///
    /// # Errors
    /// [`NoRoom`]; what they hold was not looked at to the end.
    pub fn push(
        &mut self,
        bytes: &[u8],
        fields: &mut Shelf<Field>,
        sink: &mut impl Sink,
    ) -> Result<(), NoRoom> {
        let mut bytes = bytes;
        while let Some(first) = bytes.first() {
            let may_delimit = !self.in_line && *first == b'-' && !self.boundaries.is_empty();
            let taken = if self.candidate.len > 0 || may_delimit {
                self.gather(bytes, fields, sink)?
            } else if self.phase == Phase::Header {
                self.header(bytes, fields, sink)?
            } else {
                self.body(bytes, sink)
            };
            bytes = &bytes[taken..];
        }
        Ok(())
    }

    /// The message is complete.
    ///
    /// # Errors
    /// As for [`Message::push`].
    pub fn finish(&mut self, fields: &mut Shelf<Field>, sink: &mut impl Sink) -> Result<(), NoRoom> {
        self.give_up_candidate(fields, sink)?;
        if self.phase == Phase::Header {
            self.end_field(sink);
            self.end_header(sink);
        }
        self.end_text(sink);
        fields.give_from(&mut self.field);
        Ok(())
    }

    /// A line that starts like a delimiter is kept until it is known whether it is one.
    fn gather(
        &mut self,
        bytes: &[u8],
        fields: &mut Shelf<Field>,
        sink: &mut impl Sink,
    ) -> Result<usize, NoRoom> {
        let line = &bytes[..memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1)];
        let Candidate { len, bytes: kept } = &mut self.candidate;
        let taken = line.len().min(DELIMITER_LIMIT - *len);
        kept[*len..*len + taken].copy_from_slice(&line[..taken]);
        *len += taken;
        let line = &kept[..*len];
        if line.ends_with(b"\n") {
            if let Some(delimiter) = self.boundaries.delimiter(line) {
                self.candidate.len = 0;
                self.delimited(delimiter, sink);
                return Ok(taken);
            }
        } else if line.len() < DELIMITER_LIMIT && (line.starts_with(b"--") || line == b"-") {
            return Ok(taken);
        }
        self.give_up_candidate(fields, sink)?;
        Ok(taken)
    }

    /// What was kept is part of the entity after all.
    fn give_up_candidate(&mut self, fields: &mut Shelf<Field>, sink: &mut impl Sink) -> Result<(), NoRoom> {
        let len = core::mem::take(&mut self.candidate.len);
        if len == 0 {
            return Ok(());
        }
        let bytes = self.candidate.bytes;
        let mut line = &bytes[..len];
        while !line.is_empty() {
            let taken = if self.phase == Phase::Header {
                self.header(line, fields, sink)?
            } else {
                self.give_text(line, sink);
                self.in_line = !line.ends_with(b"\n");
                line.len()
            };
            line = &line[taken..];
        }
        Ok(())
    }

    fn delimited(&mut self, delimiter: Delimiter, sink: &mut impl Sink) {
        if self.phase == Phase::Header {
            self.end_field(sink);
        }
        self.end_text(sink);
        let inside = delimiter.level + usize::from(!delimiter.closes);
        self.boundaries.truncate(inside);
        let digest = self.boundaries.is_digest(delimiter.level);
        let kind = if digest { Kind::Message } else { Kind::Text };
        self.entity = Entity::of_kind(kind);
        (self.in_line, self.begun, self.doubtful) = (false, false, false);
        self.phase = if delimiter.closes { Phase::Text } else { Phase::Header };
    }

    /// Takes what comes before the next line that may be a delimiter.
    fn body(&mut self, bytes: &[u8], sink: &mut impl Sink) -> usize {
        // Attachments have no hyphen before the one that ends them.
        let hyphen = if self.boundaries.is_empty() { None } else { memchr(b'-', bytes) };
        let next = hyphen.and_then(|at| {
            let at = at.saturating_sub(1);
            HYPHEN.find(&bytes[at..]).map(|found| at + found + 1)
        });
        let taken = next.unwrap_or(bytes.len());
        self.give_text(&bytes[..taken], sink);
        self.in_line = bytes[taken - 1] != b'\n';
        taken
    }

    fn give_text(&mut self, text: &[u8], sink: &mut impl Sink) {
        if self.phase == Phase::Text {
            self.in_text = true;
            sink.text(text);
        } else if let Some(decoder) = &mut self.decoder {
            decoder.push(text, |text| {
                self.in_text = true;
                sink.text(text);
            });
        }
    }

    fn end_text(&mut self, sink: &mut impl Sink) {
        if let Some(decoder) = self.decoder.take() {
            decoder.finish(|text| {
                self.in_text = true;
                sink.text(text);
            });
        }
        if core::mem::take(&mut self.in_text) {
            sink.text_end();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{DEPTH_LIMIT, FIELD_LEN};
    use super::*;

    /// What was found, one line each; neighbouring text joined.
    #[derive(Default)]
    struct Found {
        lines: Vec<String>,
        text: Vec<u8>,
    }

    impl Found {
        fn push(&mut self, what: &str, octets: &[u8]) {
            self.lines.push(format!("{what} {}", octets.escape_ascii()));
        }
    }

    impl Sink for Found {
        fn field(&mut self, field: &FieldText<'_>) {
            assert!(!field.plain || !field.text.iter().any(|byte| b"\0\r$*".contains(byte)));
            assert!(field.text.starts_with(field.name));
            self.push("field", field.text);
        }
        fn header_end(&mut self, len: u64) {
            self.lines.push(format!("header {len}"));
        }
        fn content_type(&mut self, value: &[u8]) {
            self.push("type", value);
        }
        fn encoding(&mut self, token: &[u8], ambiguous: bool) {
            self.push(if ambiguous { "ambiguous" } else { "encoding" }, token);
        }
        fn text(&mut self, text: &[u8]) {
            self.text.extend_from_slice(text);
        }
        fn text_end(&mut self) {
            let text = core::mem::take(&mut self.text);
            self.push("text", &text);
        }
    }

    fn read(pieces: &[&[u8]]) -> Vec<String> {
        read_as(Decode::Off, pieces)
    }

    fn read_as(decode: Decode, pieces: &[&[u8]]) -> Vec<String> {
        let mut fields = Shelf::new(1);
        let mut message = Message::default();
        message.restart(decode, &mut fields);
        let mut found = Found::default();
        for piece in pieces {
            message.push(piece, &mut fields, &mut found).unwrap();
        }
        message.finish(&mut fields, &mut found).unwrap();
        assert_eq!(fields.out_count(), 0);
        found.lines
    }

    /// Reads over every cut and octet by octet; what is found must be the same.
    fn found(message: &str) -> Vec<String> {
        found_as(Decode::Off, message)
    }

    fn found_as(decode: Decode, message: &str) -> Vec<String> {
        let message = message.replace('\n', "\r\n").into_bytes();
        let whole = read_as(decode, &[&message]);
        for cut in 1..message.len() {
            assert_eq!(read_as(decode, &[&message[..cut], &message[cut..]]), whole, "cut at {cut}");
        }
        assert_eq!(read_as(decode, &message.chunks(1).collect::<Vec<_>>()), whole, "octet by octet");
        whole
    }

    /// What is found as text, decoded.
    fn texts(decode: Decode, message: &str) -> Vec<String> {
        let mut lines = found_as(decode, message);
        lines.retain(|line| line.starts_with("text"));
        lines
    }

    #[test]
    fn fields_are_unfolded_and_text_follows_the_empty_line() {
        assert_eq!(
            found("Subject: a\n\tb\n c\nTo: x\n\nHello\n-- \nme\n"),
            ["field Subject: a\\tb c", "field To: x", "header 29", "text Hello\\r\\n-- \\r\\nme\\r\\n"]
        );
    }

    #[test]
    fn odd_octets_and_line_ends_are_found_wherever_they_are_cut() {
        let long = "x".repeat(700);
        for (header, expected) in [
            ("A: $1\r\nB: 2\nC: *\r\n\r\n", &["field A: $1", "field B: 2", "field C: *", "header 20"][..]),
            ("A: 1\0\r\nB: 2\r\n\n", &["field A: 1\\x00", "field B: 2", "header 14"]),
            ("A: 1\r\r\nB: 2\r3\r\n\r\n", &["field A: 1", "field B: 2\\r3", "header 17"]),
            ("to: 1\r\nTo : 2\r\n\tx\r\n \r\nTO:3", &["field to: 1", "field To : 2\\tx ", "field TO:3"]),
            (&format!("A: {long}\nB: $\nC: 3\nD: *\n\n"), &["field B: $", "field C: 3", "field D: *"]),
        ] {
            let whole = read(&[header.as_bytes()]);
            for cut in 1..header.len() {
                let (left, right) = header.as_bytes().split_at(cut);
                assert_eq!(read(&[left, right]), whole, "{header:?} cut at {cut}");
            }
            assert!(expected.iter().all(|line| whole.iter().any(|found| found == line)), "{whole:?}");
        }
    }

    #[test]
    fn what_is_no_field_ends_the_header() {
        assert_eq!(found("Hello\nthere: x\n"), ["header 0", "text Hello\\r\\nthere: x\\r\\n"]);
        assert_eq!(found("A: b\nHello\n\nx\n"), ["field A: b", "header 6", "text Hello\\r\\n\\r\\nx\\r\\n"]);
        assert_eq!(found(" A: b\n"), ["header 0", "text  A: b\\r\\n"]);
        assert_eq!(found("\nA: b\n"), ["header 2", "text A: b\\r\\n"]);
        assert_eq!(found("A: b\n"), ["field A: b", "header 6"]);
        assert_eq!(found("\n"), ["header 2"]);
        assert_eq!(found(""), ["header 0"]);
    }

    #[test]
    fn a_header_with_something_else_in_it_is_read_both_ways() {
        assert_eq!(
            found(
                " \nA: b\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: a/b\n\nx\n--b--\n"
            ),
            [
                "header 0",
                "type multipart/mixed; boundary=b",
                "text  \\r\\nA: b\\r\\nContent-Type: multipart/mixed; boundary=b\\r\\n\\r\\n",
                "type a/b"
            ]
        );
    }

    #[test]
    fn a_separator_of_mailboxes_may_stand_in_front() {
        assert_eq!(
            found(">From a@b Thu\nContent-Type: message/rfc822\n\nFrom x y\nContent-Type: a/b\n\nx\n"),
            ["field Content-Type: message/rfc822", "type message/rfc822", "header 47", "type a/b"]
        );
        assert_eq!(found("A: b\nFrom x y\n"), ["field A: b", "header 6", "text From x y\\r\\n"]);
    }

    #[test]
    fn parts_of_nested_multiparts() {
        assert_eq!(
            found(
                "Content-Type: multipart/mixed;\n boundary=out\n\npre\n--out\n\nplain\n--out\n\
                 Content-Type: multipart/alternative; boundary=\"in\"\n\n--in\nContent-Type: text/html\n\
                 Content-Transfer-Encoding: 8bit\n\n<p>\n--in\nContent-Type: image/gif; name=x\n\
                 Content-Transfer-Encoding: base64\n\nR0lG\n--in--\n--out\n\
                 Content-Type: text/plain\nContent-Transfer-Encoding: quoted-printable\n\n=41\n--out--\nafter\n"
            ),
            [
                "field Content-Type: multipart/mixed; boundary=out",
                "type multipart/mixed; boundary=out",
                "header 49",
                "text pre\\r\\n",
                "text plain\\r\\n",
                "type multipart/alternative; boundary=\\\"in\\\"",
                "type text/html",
                "encoding 8bit",
                "text <p>\\r\\n",
                "type image/gif; name=x",
                "encoding base64",
                "type text/plain",
                "encoding quoted-printable",
                "text after\\r\\n",
            ]
        );
    }

    #[test]
    fn encoded_text_is_decoded_where_it_is_asked_for() {
        let message = "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Transfer-Encoding: Base64\n\n\
             Zm9v\n-YmFy\n--bx\nZg==\n--b\nContent-Type: text/html\nContent-Transfer-Encoding: quoted-printable\n\n\
             --=41=\n--b\nContent-Type: image/gif\nContent-Transfer-Encoding: base64\n\nZm9v\n--b\n\
             Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nZm9v\n--b\n\nZm9v=41\n--b--\n=41\n";
        // `--bx` is no delimiter, so its letters are text: `bxZg`.
        let base64 = "text foobaro\\x16`";
        let quoted = "text --A";
        let plain = ["text Zm9v=41\\r\\n", "text =41\\r\\n"];
        assert_eq!(texts(Decode::Off, message), plain);
        assert_eq!(texts(Decode::Base64, message), [base64, plain[0], plain[1]]);
        assert_eq!(texts(Decode::QuotedPrintable, message), [quoted, plain[0], plain[1]]);
        assert_eq!(texts(Decode::Both, message), [base64, quoted, plain[0], plain[1]]);
    }

    #[test]
    fn of_several_encodings_none_is_preferred_then_the_first_that_is_decoded() {
        let with = |encodings: [&str; 2]| {
            let header = encodings.map(|encoding| format!("Content-Transfer-Encoding: {encoding}\n"));
            texts(Decode::Both, &(header.concat() + "\nZm9v=41"))
        };
        assert_eq!(with(["base64", "7bit"]), ["text Zm9v=41"]);
        assert_eq!(with(["8bit", "quoted-printable"]), ["text Zm9v=41"]);
        assert_eq!(with(["x-odd", "quoted-printable"]), ["text Zm9vA"]);
        assert_eq!(with(["quoted-printable", "base64"]), ["text Zm9vA"]);
        assert_eq!(with(["base64", "x-odd"]), ["text foo\\xe3"]);
        assert!(with(["x-odd", "x-other"]).is_empty());
        assert_eq!(with(["x-odd", "binary"]), ["text Zm9v=41"]);
    }

    #[test]
    fn what_is_doubtful_in_a_header_and_what_is_decoded_are_two_texts() {
        assert_eq!(
            texts(Decode::Both, "odd\nContent-Transfer-Encoding: base64\n\nZm9v\n"),
            ["text odd\\r\\nContent-Transfer-Encoding: base64\\r\\n\\r\\n", "text foo"]
        );
    }

    #[test]
    fn a_new_message_knows_nothing_of_the_one_before() {
        let mut fields = Shelf::new(1);
        let (mut message, mut found) = (Message::default(), Found::default());
        message.restart(Decode::Both, &mut fields);
        message.push(b"Content-Transfer-Encoding: base64\n\nZm9", &mut fields, &mut found).unwrap();
        message.restart(Decode::Both, &mut fields);
        message.push(b"\nplain", &mut fields, &mut found).unwrap();
        message.finish(&mut fields, &mut found).unwrap();
        assert_eq!(found.lines.last().unwrap(), "text plain");
    }

    #[test]
    fn a_message_in_a_message_has_its_own_header() {
        assert_eq!(
            found(
                "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: message/rfc822\n\n\
                 Subject: inner\nContent-Type: text/plain\n\n-- x\ninner text\n--b--\n"
            )[3..],
            ["type message/rfc822", "type text/plain", "text -- x\\r\\ninner text\\r\\n"]
        );
    }

    #[test]
    fn parts_of_a_digest_are_messages() {
        assert_eq!(
            found(
                "Content-Type: multipart/digest; boundary=b\n\n--b\n\nContent-Type: a/b\n\nx\n--b\nContent-Type: text/plain\n\ny\n--b--\n"
            )[3..],
            ["type a/b", "type text/plain", "text y\\r\\n"]
        );
    }

    #[test]
    fn a_delimiter_ends_a_header_too() {
        assert_eq!(
            found(
                "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: a/b\n--b\n\nx\n-bx\n--bx\n"
            )[3..],
            ["type a/b", "text x\\r\\n-bx\\r\\n--bx\\r\\n"]
        );
    }

    #[test]
    fn where_readers_differ_more_is_inspected() {
        assert_eq!(
            found("Content-Type: multipart/mixed\n\n--b\nx\n")[2..],
            ["header 33", "ambiguous ", "text --b\\r\\nx\\r\\n"]
        );
        assert_eq!(
            found(
                "Content-Type: image/gif\nContent-Type: text/plain\nContent-Transfer-Encoding: base64\n\
                   Content-Transfer-Encoding: 7bit\n\nx\n"
            )[2..],
            [
                "field Content-Type: text/plain",
                "type text/plain",
                "ambiguous ",
                "field Content-Transfer-Encoding: base64",
                "encoding base64",
                "field Content-Transfer-Encoding: 7bit",
                "ambiguous 7bit",
                "header 121",
                "text x\\r\\n",
            ]
        );
    }

    #[test]
    fn lines_may_end_in_lf_alone() {
        assert_eq!(
            read(&[b"A: b\n c\nContent-Type: multipart/x; boundary=b\n\n--b\n\nx\n--b--\n"])[3..],
            ["header 47", "text x\\n"]
        );
    }

    #[test]
    fn long_fields_and_lines_come_in_pieces() {
        let long = "a".repeat(FIELD_LEN);
        let lines = read(&[format!("To: {long}end\r\n\r\n").as_bytes()]);
        assert_eq!(lines.len(), 3);
        assert!(lines[1].starts_with("field To:aaa") && lines[1].ends_with("aend"));
        let lines = read(&[long.as_bytes(), b"-b\r\n"]);
        assert_eq!(lines, ["header 0".to_owned(), format!("text {long}-b\\r\\n")]);
    }

    #[test]
    fn depth_is_bounded() {
        let mut message = String::new();
        for level in 0..=DEPTH_LIMIT {
            message += &format!("Content-Type: multipart/x; boundary=b{level}\r\n\r\n--b{level}\r\n");
        }
        let lines = read(&[message.as_bytes()]);
        assert_eq!(lines[lines.len() - 2..], ["ambiguous ", "text --b10\\r\\n"]);
    }

    #[test]
    fn without_room_for_a_field_nothing_is_read() {
        let mut fields = Shelf::new(0);
        let mut message = Message::default();
        assert_eq!(message.push(b"A: b", &mut fields, &mut Found::default()), Err(NoRoom));
    }
}
