//! What the protocol itself says of a command that the policy's classes let through.

use artifact::defence::RelayProbes;
use artifact::smtp::Base;

use super::Context;
use super::conduct::Conduct;
use super::report::Judged;
use super::ruling::Ruling;
use crate::anomaly::Anomaly;
use crate::event::{Kind, ReplyCode};
use crate::smtp::chunk::{CHUNK_LIMIT, Chunk};
use crate::smtp::ext::{self, Invalid, SMTPUTF8, Scope, Wrong};
use crate::smtp::octets::Octets;
use crate::smtp::path::Place;
use crate::smtp::session::Shape;
use crate::smtp::{Session, Verb, argument, command, relay, sasl};
use crate::unit::Direction;

/// First words of protocols that are not SMTP: a web page that makes a browser talk to a mail server, a proxy that says
/// whom it speaks for (HAProxy), another protocol on the wrong port.
const FOREIGN: [&[u8]; 13] = [
    b"CONNECT", b"COPY", b"DELETE", b"GET", b"HEAD", b"OPTIONS", b"PATCH", b"POST", b"PRI", b"PROXY", b"PUT",
    b"SSH", b"TRACE",
];

/// Whether a first word is of a protocol that is not SMTP. What follows it is no command, and is not to reach the server as one.
pub(super) fn is_foreign(line: &[u8], name: &[u8]) -> bool {
    FOREIGN.iter().any(|word| {
        word.eq_ignore_ascii_case(name) || (*word == b"SSH" && line.get(..4) == Some(b"SSH-".as_slice()))
    })
}

/// A command that the policy's classes let through.
pub(super) struct Asked<'a> {
    pub verb: Verb,
    /// Without its CRLF.
    pub line: &'a [u8],
    /// What octets it has.
    pub octets: Octets,
    /// Where path and parameters of MAIL or RCPT stand.
    pub place: &'a Place,
    /// What the session needs to know of it.
    pub shape: Shape,
    /// Of the line.
    pub offset: u64,
}

/// What the protocol says of it.
pub(super) fn protocol<X>(
    asked: &Asked<'_>,
    session: &Session,
    conduct: &mut Conduct,
    context: &mut Context<'_, X>,
) -> Ruling {
    let Asked { verb, line, octets, place, offset, .. } = *asked;
    if !octets.are_printable()
        && !line.is_ascii()
        && let Some(ruling) = eight_bit(asked, session, conduct, context)
    {
        return ruling;
    }
    match verb {
        Verb::Mail if context.rules.requires_tls() => {
            return Ruling::Close(Kind::SmtpTlsRequired, None, ReplyCode::TlsRequired);
        }
        Verb::Auth if context.rules.auth_requires_tls() => {
            return Ruling::Close(Kind::SmtpTlsRequired, None, ReplyCode::AuthNeedsTls);
        }
        Verb::Rcpt => match context.rules.relay_probes() {
            RelayProbes::Allow => {}
            _ if !relay::is_probe(&line[place.path.clone()], octets) => {}
            RelayProbes::Log => {
                conduct.anomaly(Anomaly::RelayProbe, Direction::ClientToServer, offset, context);
            }
            RelayProbes::Refuse => return Ruling::Close(Kind::SmtpRelayProbe, None, ReplyCode::Recipient),
        },
        Verb::Bdat => return bdat(asked, session),
        // RFC 3030, 3: what is binary cannot be sent as lines.
        Verb::Data if session.is_binary() => {
            return Ruling::Close(Kind::SmtpOutOfSync, None, ReplyCode::BadSequence);
        }
        _ => {}
    }
    let scope = match context.rules.base() {
        Base::Smtp => Scope::Nothing,
        Base::Esmtp => Scope::Supported,
        Base::None => Scope::Advertised,
    };
    let checked = match verb {
        Verb::Mail | Verb::Rcpt => ext::check(line, place.end, verb, scope, session.advertised()),
        _ => argument::check(line, verb, session.advertised()),
    };
    if let Err(Invalid { at, why }) = checked {
        let reply = match why {
            Wrong::Unknown => ReplyCode::UnknownParameter,
            Wrong::Value if verb == Verb::Auth => ReplyCode::Base64,
            Wrong::Value => ReplyCode::BadParameter,
        };
        // What follows the mechanism of an AUTH is a password.
        let judged = if verb == Verb::Auth {
            Judged::command(offset, line, line.len())
        } else {
            Judged::octets(Direction::ClientToServer, offset + at.start as u64, &line[at])
        };
        return Ruling::Refuse(Kind::SmtpInvalidParameter, judged, reply);
    }
    if verb == Verb::Auth && !is_private(line) {
        let mechanism = command::words(line).nth(1).unwrap_or_default();
        if context.rules.mechanisms().is_masked(mechanism) {
            let judged = Judged::octets(Direction::ClientToServer, offset, mechanism);
            return Ruling::Refuse(Kind::SmtpInvalidParameter, judged, ReplyCode::Mechanism);
        }
    }
    Ruling::Pass
}

/// A BDAT that the policy lets through. Every earlier command has its reply.
fn bdat(asked: &Asked<'_>, session: &Session) -> Ruling {
    let Asked { line, shape, offset, .. } = *asked;
    let wrong = match (shape.chunk, Chunk::parse(line)) {
        (Some(chunk), _) if chunk.len <= CHUNK_LIMIT => None,
        (_, Err(wrong)) => Some(wrong),
        (_, Ok(_)) => Some("BDAT ".len()..line.len()),
    };
    match wrong {
        Some(at) => {
            let start = offset + at.start as u64;
            let judged = Judged::octets(Direction::ClientToServer, start, &line[at]);
            Ruling::Refuse(Kind::SmtpInvalidParameter, judged, ReplyCode::BadParameter)
        }
        // No recipient, or a chunk that the server did not want: it may take this one for commands.
        None if !session.takes_chunks() => Ruling::Close(Kind::SmtpOutOfSync, None, ReplyCode::BadSequence),
        None => Ruling::Pass,
    }
}

/// Octets of 128 and more (RFC 5321, 4.1.2; RFC 6531, 3.4).
fn eight_bit<X>(
    asked: &Asked<'_>,
    session: &Session,
    conduct: &mut Conduct,
    context: &mut Context<'_, X>,
) -> Option<Ruling> {
    let Asked { verb, line, offset, .. } = *asked;
    if !context.rules.eight_bit_needs_smtputf8() {
        return None;
    }
    if matches!(verb, Verb::Ehlo | Verb::Helo) {
        // Computers are named by their owners, and servers do not mind.
        conduct.anomaly(Anomaly::EightBitGreeting, Direction::ClientToServer, offset, context);
        return None;
    }
    let offered = session.advertised().has(SMTPUTF8);
    let asks = || command::words(line).any(|word| word.eq_ignore_ascii_case(b"SMTPUTF8"));
    let reply = match verb {
        _ if core::str::from_utf8(line).is_err() => ReplyCode::Octet,
        Verb::Mail if offered && asks() => return None,
        Verb::Rcpt if offered => return None,
        Verb::Other if offered && asks() => return None,
        Verb::Mail | Verb::Rcpt => ReplyCode::NeedsSmtpUtf8,
        _ => ReplyCode::Octet,
    };
    Some(Ruling::Close(Kind::SmtpInvalidCommand, None, reply))
}

/// Exchange's own AUTH, none of whose mechanisms hides what follows.
fn is_private(line: &[u8]) -> bool {
    !line[command::word(line)].eq_ignore_ascii_case(b"AUTH")
}

/// Whether an AUTH that is let through may hide what follows.
pub(super) fn may_hide(verb: Verb, line: &[u8]) -> bool {
    verb == Verb::Auth
        && !is_private(line)
        && sasl::is_layered(command::words(line).nth(1).unwrap_or_default())
}

/// RFC 2920, 3.1: commands that must be the last of a group, among those after which the session could go on.
pub(super) fn ends_group(verb: Verb, name: &[u8]) -> bool {
    const LAST: [&[u8]; 3] = [b"EXPN", b"NOOP", b"VRFY"];
    match verb {
        Verb::Quit => true,
        Verb::Other => LAST.iter().any(|word| word.eq_ignore_ascii_case(name)),
        _ => false,
    }
}
