//! The state of one session: whose turn it is, and what the next octets of each side are.

use core::ops::Range;

use super::chunk::{Chunk, Chunks};
use super::command::{AUTH_LINE_LIMIT, Head, LINE_LIMIT, Verb, auth_is_one_step, trim, word};
use super::content::{Piece, Scanner};
use super::ext::{Advertised, CHUNKING, PIPELINING, is_binary};
use super::line::{Line, fault_in, first_line, without_end};
use super::outstanding::{Expects, Outstanding, Overflow};
use super::reply::Reader;
use super::sasl::ExchangeLine;
use crate::shelf::Shelf;

/// What the client's next octets are. Lengths are octets of the bytes just given, and never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientEvent {
    /// Their meaning depends on a reply that is still to come. Give them again after it.
    Blocked,
    /// The same, of a BDAT line, which clients may send so early.
    Early,
    /// A part of a command line, without its LF. [`Session::line`] has what is known of the line.
    Partial(usize),
    /// What completes a command line, and what it is. The caller must say what became of it with [`Session::command`].
    Command(usize, Head),
    /// A part of a line of an AUTH exchange, which is no command; or the whole. Needs no answer.
    Exchange(usize),
    /// Text of a message.
    Text(usize),
    /// A stuffed dot of a message, or what may become its end of data.
    Dot(usize),
    /// Octets of a chunk (BDAT); `true` when they complete it, and the caller must confirm with [`Session::end_chunk`].
    Chunk(usize, bool),
    /// What completes the end of data. The caller must confirm with [`Session::end_of_data`].
    EndOfData(usize),
    /// What completes something that some server takes for the end of data.
    Smuggling(usize),
    /// The start of TLS, as it must be after an accepted STARTTLS; `true` when enough of it has been seen.
    Tls(usize, bool),
    /// The start of what an AUTH mechanism encrypts.
    Layer(usize),
    /// Something that must not pass.
    Fault(Fault),
}

/// What must not pass. Positions are octets of the line, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A CR or LF that is not part of CRLF, found at this position of a line (RFC 5321, 2.3.8). Two servers would see two
    /// different commands.
    LineEnd(usize),
    /// NUL or another control character at this position of a line (RFC 5321, 4.1.2).
    Octet(usize),
    /// A line of an AUTH exchange that is neither base64 nor `*` (RFC 4954, section 4); of this many octets, CRLF included.
    Base64(usize),
    /// One whose base64 does not come in groups of four; likewise.
    OddBase64(usize),
    /// The line has more octets than this, its limit.
    TooLong(usize),
    /// A line must be remembered and there is no room.
    NoRoom,
    /// What follows an accepted STARTTLS is no TLS.
    NoTls,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Lines of the client are commands.
    Command,
    /// The next line is part of an AUTH exchange.
    Exchange,
    /// Octets are content.
    Content,
    /// Octets are content, as many as BDAT said.
    Chunk,
    /// A TLS record must come; this many octets of it have.
    Tls(u8),
    /// The next octet tells whether an AUTH that has succeeded began to encrypt.
    Layer,
}

/// One session.
#[derive(Debug)]
pub struct Session {
    pub(super) outstanding: Outstanding,
    pub(super) reply: Reader,
    /// The reply line just completed has an odd code.
    pub(super) reply_is_odd: bool,
    /// Parts of the client's and of the server's line that came in earlier calls.
    pub(super) held: [Option<Box<Line>>; 2],
    /// Octets of the line so far; no line is longer than 65,535 octets ([`AuthLines::limit`]).
    pub(super) line_len: u16,
    pub(super) scanner: Scanner,
    pub(super) phase: Phase,
    pub(super) chunks: Chunks,
    /// The client's last octet was a CR.
    cr: bool,
    /// What the client says next depends on the replies outstanding.
    pub(super) waits: bool,
    /// What the server offers.
    pub(super) advertised: Advertised,
    /// An EHLO or HELO has left: what the server offered before is void once it agrees.
    anew: bool,
    /// The AUTH under way may end in encryption.
    pub(super) layered: bool,
    /// The line of an AUTH exchange under way.
    exchange: ExchangeLine,
    /// The command that left last must be the last of a group (RFC 2920, 3.1).
    ends_group: bool,
}

impl Default for Session {
    fn default() -> Self {
        let mut outstanding = Outstanding::default();
        let _ = outstanding.push(Expects::Banner);
        Self {
            outstanding,
            reply: Reader::default(),
            reply_is_odd: false,
            held: [None, None],
            line_len: 0,
            scanner: Scanner::default(),
            phase: Phase::Command,
            chunks: Chunks::default(),
            cr: false,
            waits: true,
            advertised: Advertised::default(),
            anew: false,
            layered: false,
            exchange: ExchangeLine::default(),
            ends_group: false,
        }
    }
}

/// What a policy says of AUTH lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuthLines {
    /// Octets they may have, CRLF included.
    pub limit: usize,
    /// Base64 in an exchange must come in groups of four.
    pub groups_of_four: bool,
}

impl Default for AuthLines {
    fn default() -> Self {
        Self { limit: AUTH_LINE_LIMIT, groups_of_four: false }
    }
}

const CLIENT: usize = 0;
pub(super) const SERVER: usize = 1;

impl Session {
    /// What `bytes` of the client, which are not empty, start with.
    #[inline]
    pub fn client(&mut self, bytes: &[u8], auth: AuthLines, lines: &mut Shelf<Line>) -> ClientEvent {
        if self.waits && !self.outstanding.is_empty() {
            return ClientEvent::Blocked;
        }
        match self.phase {
            Phase::Command => self.command_piece(bytes, auth, lines),
            Phase::Exchange => self.exchange_piece(bytes, auth),
            Phase::Content => match self.scanner.next(bytes) {
                Piece::Text(len) => ClientEvent::Text(len),
                Piece::Dot(len) => ClientEvent::Dot(len),
                Piece::End(len) => ClientEvent::EndOfData(len),
                Piece::Smuggling(len) => ClientEvent::Smuggling(len),
            },
            Phase::Chunk => {
                let (len, complete) = self.chunks.take(bytes.len() as u64);
                ClientEvent::Chunk(len as usize, complete)
            }
            Phase::Tls(seen) => self.tls_piece(bytes, seen),
            // RFC 4422, 3.7: what is encrypted comes in buffers behind their length, four octets of which the first is 0
            // for all shorter than 16 MiB. A command begins with no such octet.
            Phase::Layer if bytes[0] == 0 => ClientEvent::Layer(bytes.len()),
            Phase::Layer => {
                self.phase = Phase::Command;
                self.command_piece(bytes, auth, lines)
            }
        }
    }

    #[inline]
    fn command_piece(&mut self, bytes: &[u8], auth: AuthLines, lines: &mut Shelf<Line>) -> ClientEvent {
        let (piece, complete) = first_line(bytes);
        let start = self.line_len();
        if start > 0 || !complete {
            let Some(held) = hold(&mut self.held[CLIENT], lines) else {
                return ClientEvent::Fault(Fault::NoRoom);
            };
            held.append(piece);
        }
        let line = self.held[CLIENT].as_ref().map_or(piece, |held| held.bytes());
        let len = start + piece.len();
        let head = complete.then(|| Head::of(without_end(line)));
        if !self.outstanding.is_empty() && head.is_some_and(|head| self.is_early(head.verb)) {
            if let Some(held) = self.held[CLIENT].as_deref_mut() {
                held.truncate(start);
            }
            return ClientEvent::Early;
        }
        let fault = match head {
            // What was counted is all of it, and as it should be.
            Some(head) if start == 0 && head.octets.are_printable() && piece.ends_with(b"\r\n") => None,
            _ => fault_in(piece, self.cr).map(|wrong| wrong.behind(start)),
        };
        // No limit is shorter.
        if fault.is_some() || len > LINE_LIMIT {
            let limit = line_limit(line, &self.advertised, auth);
            match fault {
                Some(wrong) if wrong.at < limit => return ClientEvent::Fault(wrong.fault()),
                _ if len > limit => return ClientEvent::Fault(Fault::TooLong(limit)),
                _ => {}
            }
        }
        self.line_len = len as u16;
        self.cr = head.is_none() && piece.ends_with(b"\r");
        match head {
            Some(head) => ClientEvent::Command(piece.len(), head),
            None => ClientEvent::Partial(piece.len()),
        }
    }

    /// Whether a command must not leave before the replies to those before it are known: BDAT, where it is offered.
    fn is_early(&self, verb: Verb) -> bool {
        verb == Verb::Bdat && self.advertised.has(CHUNKING)
    }

    /// The client's line as far as it is known, when `piece` is its last part; at most [`super::line::LINE_HELD`] octets.
    #[must_use]
    pub fn line<'a>(&'a self, piece: &'a [u8]) -> &'a [u8] {
        self.held[CLIENT].as_ref().map_or(piece, |held| held.bytes())
    }

    /// Octets of the client's line so far, the last part included.
    #[must_use]
    pub fn line_len(&self) -> usize {
        usize::from(self.line_len)
    }

    /// The command line just completed leaves for the server as `verb`, or as [`Verb::Other`] if it was overwritten.
    /// `line` is what else matters of it.
    ///
    /// # Errors
    /// [`Overflow`] when too many commands are without reply; it must not leave.
    #[inline]
    pub fn command(&mut self, verb: Verb, line: Shape, lines: &mut Shelf<Line>) -> Result<(), Overflow> {
        let expects = match verb {
            Verb::Data => Expects::Data,
            Verb::Ehlo => Expects::Ehlo,
            Verb::Helo => Expects::Helo,
            Verb::Rset if !line.obeyed => Expects::Forget,
            Verb::Mail if line.binary => Expects::Binary,
            Verb::Mail | Verb::Rset => Expects::Fresh,
            Verb::Rcpt => Expects::Rcpt,
            Verb::Auth => Expects::Auth,
            Verb::StartTls => Expects::StartTls,
            Verb::Bdat | Verb::Quit | Verb::Other => Expects::Plain,
        };
        match (verb, line.chunk) {
            (Verb::Bdat, Some(chunk)) => {
                self.begin_chunk(chunk);
                if chunk.len == 0 {
                    self.end_chunk()?;
                }
            }
            _ => self.outstanding.push(expects)?,
        }
        self.chunks.open &= verb != Verb::Rset;
        self.anew |= matches!(verb, Verb::Ehlo | Verb::Helo);
        self.layered = verb == Verb::Auth && line.layered;
        self.ends_group = line.ends_group;
        // RFC 2920, 3.1: these must be the last of a group, because what follows depends on their reply.
        self.waits = match verb {
            Verb::Data | Verb::Ehlo | Verb::Helo | Verb::StartTls => true,
            Verb::Auth => !line.one_step,
            Verb::Rset => !line.obeyed,
            _ => false,
        };
        self.end_line(lines);
        Ok(())
    }

    fn end_line(&mut self, lines: &mut Shelf<Line>) {
        lines.give_from(&mut self.held[CLIENT]);
        self.line_len = 0;
        self.cr = false;
    }

    fn exchange_piece(&mut self, bytes: &[u8], auth: AuthLines) -> ClientEvent {
        let (piece, complete) = first_line(bytes);
        let start = self.line_len();
        let limit = auth.limit;
        match fault_in(piece, self.cr).map(|wrong| wrong.behind(start)) {
            Some(wrong) if wrong.at < limit => return ClientEvent::Fault(wrong.fault()),
            _ if start + piece.len() > limit => return ClientEvent::Fault(Fault::TooLong(limit)),
            _ => {}
        }
        self.exchange.push(piece);
        if complete {
            let len = start + piece.len();
            match core::mem::take(&mut self.exchange) {
                line if !line.is_legal() => return ClientEvent::Fault(Fault::Base64(len)),
                line if auth.groups_of_four && !line.is_whole() => {
                    return ClientEvent::Fault(Fault::OddBase64(len));
                }
                _ => {}
            }
        }
        self.line_len += piece.len() as u16;
        self.cr = piece.ends_with(b"\r");
        if complete {
            // The queue is empty here: the exchange began with its last reply.
            let _ = self.outstanding.push(Expects::Auth);
            self.waits = true;
            self.line_len = 0;
            self.cr = false;
            self.phase = Phase::Command;
        }
        ClientEvent::Exchange(piece.len())
    }

    /// RFC 8446, 5.1: the first record is of type handshake (22) and its version starts with 3.
    fn tls_piece(&mut self, bytes: &[u8], seen: u8) -> ClientEvent {
        const RECORD: [u8; 2] = [0x16, 0x03];
        let expected = &RECORD[usize::from(seen)..];
        let len = expected.len().min(bytes.len());
        if bytes[..len] != expected[..len] {
            return ClientEvent::Fault(Fault::NoTls);
        }
        self.phase = Phase::Tls(seen + len as u8);
        ClientEvent::Tls(len, len == expected.len())
    }

    /// A chunk follows. Its command has no reply before its last octet has left, so it is not among those without one.
    pub fn begin_chunk(&mut self, chunk: Chunk) {
        self.chunks.begin(chunk);
        self.chunks.open = true;
        self.phase = Phase::Chunk;
    }

    /// The last octet of a chunk leaves for the server.
    ///
    /// # Errors
    /// [`Overflow`] when too many commands are without reply; it must not leave.
    pub fn end_chunk(&mut self) -> Result<(), Overflow> {
        let last = self.chunks.is_last();
        self.outstanding.push(if last { Expects::LastChunk } else { Expects::Chunk })?;
        self.chunks.open = !last;
        self.phase = Phase::Command;
        Ok(())
    }

    /// Whether the chunk under way is its message's last.
    #[must_use]
    pub fn is_last_chunk(&self) -> bool {
        self.chunks.is_last()
    }

    /// Whether a message in chunks has begun and neither ended nor been given up.
    #[must_use]
    pub fn is_chunking(&self) -> bool {
        self.chunks.open
    }

    /// Whether the server is known to take a chunk for what it is; meaningful where every command has its reply.
    #[must_use]
    pub fn takes_chunks(&self) -> bool {
        self.chunks.ready
    }

    /// Whether the message under way is binary, or may be by a reply that is still to come.
    #[must_use]
    pub fn is_binary(&self) -> bool {
        self.chunks.binary || self.outstanding.contains(Expects::Binary)
    }

    /// The end of data just found leaves for the server.
    ///
    /// # Errors
    /// [`Overflow`] when too many commands are without reply; it must not leave.
    pub fn end_of_data(&mut self) -> Result<(), Overflow> {
        self.outstanding.push(Expects::EndOfData)?;
        self.phase = Phase::Command;
        Ok(())
    }

    /// Whether the client's octets are content of a message.
    #[must_use]
    pub fn in_content(&self) -> bool {
        matches!(self.phase, Phase::Content | Phase::Chunk)
    }

    /// Whether the client's octets are those of a chunk.
    #[must_use]
    pub fn in_chunk(&self) -> bool {
        self.phase == Phase::Chunk
    }

    /// What matters of a command line, without its CRLF, beyond its verb. The parameters of MAIL begin at `parameters`.
    #[must_use]
    #[inline]
    pub fn shape(&self, verb: Verb, line: &[u8], parameters: usize) -> Shape {
        let rest = |from: usize| line.get(from..).unwrap_or_default();
        match verb {
            Verb::Rset => Shape {
                obeyed: trim(rest(word(line).end)).is_empty() && !self.outstanding.contains(Expects::Auth),
                ..Shape::default()
            },
            Verb::Auth => Shape { one_step: auth_is_one_step(line), ..Shape::default() },
            Verb::Bdat => Shape { chunk: Chunk::parse(line).ok(), ..Shape::default() },
            Verb::Mail => Shape { binary: is_binary(rest(parameters)), ..Shape::default() },
            _ => Shape::default(),
        }
    }

    /// A keyword of the reply to EHLO is shown to the client: octets `at` of the server's line that `piece` completes.
    pub fn advertise(&mut self, piece: &[u8], at: Range<usize>) {
        self.greeted();
        let line = self.held[SERVER].as_ref().map_or(piece, |held| held.bytes());
        self.advertised.add(line.get(at).unwrap_or_default());
    }

    /// What the server offers, as far as the client was shown it.
    #[must_use]
    pub fn advertised(&self) -> &Advertised {
        &self.advertised
    }

    /// The server agrees to EHLO or HELO: what it offered before is void (RFC 5321, 4.1.4).
    pub(super) fn greeted(&mut self) {
        if core::mem::take(&mut self.anew) {
            self.advertised.clear();
        }
    }

    /// Whether the client's line is part of an AUTH exchange.
    #[must_use]
    pub fn in_exchange(&self) -> bool {
        self.phase == Phase::Exchange
    }

    /// Whether a command that begins now comes too early: the one before it ends its group, or the server does not take groups
    /// (RFC 2920, 3.1), and there are replies to come.
    #[must_use]
    pub fn is_out_of_turn(&self) -> bool {
        !self.outstanding.is_empty() && (self.ends_group || !self.advertised.has(PIPELINING))
    }

    /// Whether a RCPT that begins now, and is nothing but a recipient, leaves as any other would: a command is what comes next, and
    /// nothing about its turn is to be said.
    #[must_use]
    #[inline]
    pub fn takes_usual_recipient(&self) -> bool {
        let waits = self.waits && !self.outstanding.is_empty();
        self.phase == Phase::Command
            && self.line_len == 0
            && !waits
            && !self.chunks.open
            && !self.is_out_of_turn()
            && self.outstanding.has_room()
    }

    /// Whether every command has its reply.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.outstanding.is_empty()
    }

    /// Whether the reply line just completed has a code that RFC 5321, 4.2 does not know, or another than the lines before it.
    #[must_use]
    pub fn reply_is_odd(&self) -> bool {
        self.reply_is_odd
    }

    /// Gives back what is held.
    pub fn end(&mut self, lines: &mut Shelf<Line>) {
        for held in &mut self.held {
            lines.give_from(held);
        }
    }
}

/// What a session needs to know of a command line beyond its verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shape {
    /// A RSET that is obeyed by every server: it has no arguments (with them it is refused, RFC 5321, 4.1.1.5), and
    /// cannot be taken for a line of an AUTH exchange.
    pub obeyed: bool,
    /// An AUTH that other commands may follow at once.
    pub one_step: bool,
    /// What BDAT announces.
    pub chunk: Option<Chunk>,
    /// MAIL says that the message is binary.
    pub binary: bool,
    /// An AUTH whose mechanism may encrypt what follows, which is let through.
    pub layered: bool,
    /// No command may follow before its reply, though the session could go on.
    pub ends_group: bool,
}

/// The limit of a line. Its verb counts only if it ends within [`LINE_LIMIT`], so that the answer does not depend on how
/// much of the line is known.
fn line_limit(line: &[u8], advertised: &Advertised, auth: AuthLines) -> usize {
    let head = &line[..line.len().min(LINE_LIMIT)];
    let verb = word(head);
    if verb.end == head.len() {
        return LINE_LIMIT;
    }
    match Verb::new(&head[verb]) {
        Verb::Auth => auth.limit,
        verb => advertised.line_limit(verb),
    }
}

pub(super) fn hold<'a>(slot: &'a mut Option<Box<Line>>, lines: &mut Shelf<Line>) -> Option<&'a mut Line> {
    if slot.is_none() {
        let mut line = lines.take()?;
        line.clear();
        *slot = Some(line);
    }
    slot.as_deref_mut()
}
