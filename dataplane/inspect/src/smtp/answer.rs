//! The server's half of a session: its replies, matched with commands.

use super::command::word;
use super::content::Scanner;
use super::ext::{Keyword, LOOKED_AT};
use super::line::Line;
use super::line::first_line;
use super::outstanding::Expects;
use super::reply::REPLY_LINE_LIMIT;
use super::session::{Phase, SERVER, Session, hold};
use crate::shelf::Shelf;

/// What the server's next octets are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerEvent {
    /// A part of a reply line, without its LF; `true` if it is one that carries an EHLO keyword, of which
    /// [`Session::reply_line`] has what is known.
    Partial(usize, bool),
    /// What completes a reply line; the same. The caller must call [`Session::reply`] next.
    Line(usize, bool),
    /// Not a reply.
    Malformed,
    /// A line has to be remembered and there is no room.
    NoRoom,
    /// Octets where the server must be silent: behind the 220 of STARTTLS, before the client's TLS.
    NoTls,
}

/// A complete reply and what it meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// Its code, 200 to 599.
    pub code: u16,
    /// To what.
    pub to: Answered,
}

/// What a reply was the answer to, and what follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// Something that changes nothing.
    Plain,
    /// EHLO: accepted, its keywords have been said and the mail transaction is forgotten.
    Greeted,
    /// HELO or RSET: accepted, the mail transaction is forgotten.
    Forgotten,
    /// AUTH, which failed or was given up.
    AuthFailed,
    /// RCPT; `refused` when because of its address.
    Rcpt {
        /// Whether the recipient counts as invalid.
        refused: bool,
    },
    /// DATA: content follows.
    Data,
    /// The end of data, or the last chunk.
    EndOfData,
    /// A chunk that was not its message's last; the server does not want it, nor those that follow it.
    ChunkRefused,
    /// STARTTLS: TLS follows.
    StartTls,
    /// Nothing: no command was without reply.
    Unsolicited,
    /// Something to which this code is no answer (a 354 that nobody asked for, a 250 to DATA): client, server and
    /// gateway do not agree about what comes next. So is any reply before a chunk is complete, where the server must be silent.
    OutOfStep,
}

impl Session {
    /// Whether the reply under way has begun to come but not ended.
    #[must_use]
    pub fn is_replying(&self) -> bool {
        !self.reply.is_idle()
    }

    /// Octets of the server's line so far, the last part included.
    #[must_use]
    pub fn reply_line_len(&self) -> u32 {
        self.reply.line_len()
    }

    /// Complete lines of the reply under way.
    #[must_use]
    pub fn reply_line_count(&self) -> u16 {
        self.reply.line_count()
    }

    /// What `bytes` of the server, which are not empty, start with.
    #[inline]
    pub fn server(&mut self, bytes: &[u8], lines: &mut Shelf<Line>) -> ServerEvent {
        if matches!(self.phase, Phase::Tls(_)) {
            return ServerEvent::NoTls;
        }
        let (piece, complete) = first_line(bytes);
        let split = self.reply.line_len() > 0;
        if self.reply.read(piece).is_err() {
            return ServerEvent::Malformed;
        }
        // RFC 5321, 4.1.1.1: the first line of the reply has the server's name, each further one a keyword.
        let keyword = self.reply.goes_on_positively() && self.outstanding.first() == Some(Expects::Ehlo);
        if keyword && (split || !complete) {
            let Some(held) = hold(&mut self.held[SERVER], lines) else { return ServerEvent::NoRoom };
            held.append(piece);
        }
        if complete {
            ServerEvent::Line(piece.len(), keyword)
        } else {
            ServerEvent::Partial(piece.len(), keyword)
        }
    }

    /// The server's line as far as it is known, when `piece` is its last part and it carries a keyword.
    #[must_use]
    pub fn reply_line<'a>(&'a self, piece: &'a [u8]) -> &'a [u8] {
        self.held[SERVER].as_ref().map_or(piece, |held| held.bytes())
    }

    /// The reply line just completed leaves for the client. If it was the last of its reply: what that meant.
    #[inline]
    pub fn reply(&mut self, lines: &mut Shelf<Line>) -> Option<Answer> {
        lines.give_from(&mut self.held[SERVER]);
        let last = self.reply.is_last();
        let code = self.reply.code();
        let refused = self.reply.refuses_address();
        self.reply_is_odd = self.reply.is_odd();
        self.reply.end_line();
        last.then(|| Answer { code, to: self.answered(code, refused) })
    }

    /// Reads a line in the midst of the reply to EHLO that offers a known extension whose keyword passes as it stands, if `bytes` begin with
    /// one: its length, and which. For such a line [`Session::server`], [`Session::advertise`] and [`Session::reply`]
    /// would do exactly this.
    #[inline]
    pub fn offer(&mut self, bytes: &[u8], passes: impl FnOnce(&[u8]) -> bool) -> Option<(usize, Keyword)> {
        if !self.reply.goes_on_with(250)
            || self.outstanding.first() != Some(Expects::Ehlo)
            || matches!(self.phase, Phase::Tls(_))
        {
            return None;
        }
        let text = bytes.strip_prefix(b"250-")?;
        let name = &text[word(text)];
        let keyword = Keyword::named(name)?;
        let len = whole_line(bytes)?;
        if keyword.meets(LOOKED_AT) || !passes(name) {
            return None;
        }
        self.reply.pass_line();
        self.greeted();
        self.advertised.add_known(keyword);
        Some((len, keyword))
    }

    /// Reads a line that is all of a reply which agrees to MAIL or RSET, or to a recipient, if `bytes` begin with one: its length. For
    /// such a line [`Session::server`] and [`Session::reply`] would do exactly this.
    #[inline]
    pub fn welcome(&mut self, bytes: &[u8]) -> Option<usize> {
        if !matches!(self.outstanding.first(), Some(Expects::Rcpt | Expects::Fresh))
            || !self.reply.is_idle()
            || !matches!(self.phase, Phase::Command | Phase::Content)
            || !bytes.starts_with(b"250 ")
        {
            return None;
        }
        let len = whole_line(bytes)?;
        let answered = self.answered(250, false);
        debug_assert!(matches!(answered, Answered::Plain | Answered::Rcpt { refused: false }));
        Some(len)
    }

    fn answered(&mut self, code: u16, refused: bool) -> Answered {
        if self.in_chunk() {
            return Answered::OutOfStep;
        }
        let to = self.outstanding.pop();
        let positive = matches!(code, 200..300);
        let answered = match (to, code) {
            (Some(Expects::Data), 354) => {
                self.phase = Phase::Content;
                self.scanner = Scanner::default();
                Answered::Data
            }
            (Some(Expects::Auth), 334) if self.outstanding.is_empty() && self.line_len == 0 => {
                self.phase = Phase::Exchange;
                Answered::Plain
            }
            // Whoever asks for more must have been asked something that has more. A 334 behind whose AUTH other commands
            // have begun to leave takes those for its exchange.
            (_, 300..400) | (Some(Expects::Data), 200..300) => Answered::OutOfStep,
            (Some(Expects::StartTls), 220) => {
                self.phase = Phase::Tls(0);
                Answered::StartTls
            }
            (Some(Expects::StartTls), 200..300) => Answered::OutOfStep,
            (Some(Expects::Ehlo), _) if positive => {
                self.greeted();
                self.chunks.forget();
                Answered::Greeted
            }
            (Some(Expects::Helo), _) if positive => {
                self.greeted();
                self.chunks.forget();
                Answered::Forgotten
            }
            (Some(Expects::Auth), _) if positive => {
                if self.layered && self.outstanding.is_empty() && self.line_len == 0 {
                    self.phase = Phase::Layer;
                }
                Answered::Plain
            }
            (Some(Expects::Auth), _) => Answered::AuthFailed,
            (Some(Expects::Forget), _) if positive => {
                self.chunks.forget();
                Answered::Forgotten
            }
            (Some(kind @ (Expects::Fresh | Expects::Binary)), _) if positive => {
                self.chunks.forget();
                self.chunks.binary = kind == Expects::Binary;
                Answered::Plain
            }
            (Some(Expects::Rcpt), _) => {
                self.chunks.ready |= positive;
                Answered::Rcpt { refused }
            }
            (Some(Expects::Chunk), _) if !positive => {
                self.chunks.forget();
                self.chunks.open = false;
                Answered::ChunkRefused
            }
            (Some(Expects::EndOfData | Expects::LastChunk), _) => {
                self.chunks.forget();
                Answered::EndOfData
            }
            // RFC 5321, 4.2.2: 421 may be said at any time.
            (None, 421) => Answered::Plain,
            (None, _) => Answered::Unsolicited,
            (Some(_), _) => Answered::Plain,
        };
        if self.outstanding.is_empty() {
            self.waits = false;
        }
        answered
    }
}

/// Length of the line that `bytes` begin with, if all of it is there and it is no longer than lines of replies are.
fn whole_line(bytes: &[u8]) -> Option<usize> {
    let len = memchr::memchr(b'\n', bytes)? + 1;
    (len <= REPLY_LINE_LIMIT as usize).then_some(len)
}
