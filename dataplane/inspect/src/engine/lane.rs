//! The short way of frames whose octets are nobody's business.
//!
//! Of a pinhole, and of a session behind STARTTLS, no octet is read, so none has to be put in order, held or remembered. What
//! stays is the connection: its ends, the numbers by which a RST or a FIN is judged, its idle time, its counts. A plain
//! frame that continues its stream changes these and leaves. Every other one takes the long way: SYN, FIN, RST, URG and ECN, IP
//! options and extension headers, reserved bits, few hops, TCP options beside timestamps (SACK), a sequence number that is
//! not the next one, an acknowledgement that is older or newer than what is on its way, octets beyond window or MSS. And all
//! frames do while something is remembered or held, masked octets that the receiver has not acknowledged above all.
//!
//! The checksum of IPv4's header is verified, that of TCP is not: the receiver does that, and to do it here brings the whole frame
//! in from memory. It is no defence against somebody who writes frames, since he writes right checksums; so what a
//! frame could do with a wrong one, it could do with a right one, and nothing depends on its octets. What noise can
//! do heals itself. A wrong sequence number is not the next one, and the long way drops the frame. A frame that the receiver refuses
//! is sent again, under a number that is not the next one: the long way takes it, and does not cut off what
//! seems acknowledged. A wrong acknowledgement stands between two right ones, a wrong window allows more than there is until the
//! connection ends, and a wrong timestamp is in what the gateway says itself until the next frame; the long way of such a
//! connection does not judge by timestamps (RFC 7323 leaves that to receivers). RST and SYN move nothing
//! unless they are verified, and where they may stand is decided by numbers that stood in a frame which continued its stream.

use super::flow::{Flow, Lane, Stage};
use super::{Io, Shared, Uninspected};
use crate::frame::{Frame, Memory};
use crate::tcp::Stream;
use crate::unit::{Direction, PortId};
use crate::wire::{Flags, Outline, tcp};

/// Which way plain frames of a connection may take from now on.
#[inline]
pub(super) fn lane(flow: &Flow, uninspected: Uninspected) -> Lane {
    let is_read = flow.dialogue.is_some() || uninspected == Uninspected::Normalize;
    let is_numbered = || flow.closing.is_none() && !flow.is_loose;
    let is_at_rest = || flow.streams.iter().all(Stream::is_at_rest);
    let is_ending = flow.streams.iter().any(|stream| stream.finished);
    match flow.stage {
        Stage::PickedUp if !is_read => Lane::Unnumbered,
        Stage::Established if is_read && !is_ending && is_numbered() => {
            if is_at_rest() {
                Lane::Read
            } else {
                Lane::Closed
            }
        }
        Stage::Established if !is_read && !is_ending && flow.closing.is_none() => {
            let is_empty = flow.streams.iter().all(|stream| stream.queues.is_none());
            if is_empty { Lane::Numbered } else { Lane::Closed }
        }
        Stage::SynReceived | Stage::Established | Stage::Finished if is_numbered() && is_at_rest() => {
            Lane::Turning
        }
        _ => Lane::Closed,
    }
}

/// What a plain frame says: it has ACK and perhaps other flags that may stand beside it, comes from whom it says, and nothing in its
/// headers is odd.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plain<'f> {
    pub header: tcp::Header<&'f [u8; tcp::HEADER_LEN]>,
    /// The TCP options.
    pub list: &'f [u8],
    /// Octets of payload.
    pub len: usize,
    pub direction: Direction,
}

impl<'f> Plain<'f> {
    /// Reads a frame; `None` if it is not plain.
    #[inline(always)]
    pub fn new<X>(
        flow: &Flow,
        shared: &Shared<X>,
        ingress: PortId,
        (outline, is_from_low): (&Outline, bool),
        frame: &'f [u8],
        beside: Flags,
    ) -> Option<Self> {
        let is_from_client = ingress == flow.client_port;
        let octets = outline.tcp(frame);
        let header = tcp::Header(octets.first_chunk()?);
        let list = octets.get(tcp::HEADER_LEN..header.header_len())?;
        let is_plain = (header.flags().without(beside) == Flags::ACK)
            & (header.reserved() == 0)
            & (header.urgent() == 0)
            & !outline.untidy
            & (outline.ttl >= shared.config.ttl_floor)
            & (is_from_client == (is_from_low == flow.client_is_low));
        let direction = if is_from_client { Direction::ClientToServer } else { Direction::ServerToClient };
        is_plain.then_some(Self { header, list, len: octets.len() - header.header_len(), direction })
    }
}

/// Lets a frame leave if it may take the short way; gives it back if not, and nothing has changed.
#[inline]
pub(super) fn carry<X, M: Memory>(
    flow: &mut Flow,
    shared: &mut Shared<X>,
    ingress: PortId,
    seen: (&Outline, bool),
    mut frame: Frame,
    io: &mut Io<'_, M>,
) -> Result<(), Frame> {
    let Some(plain) = Plain::new(flow, shared, ingress, seen, io.pool.bytes(&frame), Flags::PSH) else {
        return Err(frame);
    };
    let Plain { header, list, len, direction } = plain;
    if flow.lane == Lane::Numbered {
        let (there, back) = flow.both(direction);
        let Some(stamps) = tcp::plain(list) else { return Err(frame) };
        let fits = there.is_continued_by(header.seq(), len) & back.is_confirmed_by(header.ack());
        if !fits || stamps.is_some() != flow.agreement.timestamps {
            return Err(frame);
        }
        let (there, back) = flow.both(direction);
        back.confirmed(header.ack(), header.window());
        there.carried(len, header.window(), stamps.map(|stamps| stamps.value));
        flow.is_loose = true;
    }
    flow.last_heard = io.now;
    flow.totals.bytes[direction.index()] += len as u64;
    flow.totals.packets[direction.index()] += 1;
    shared.carried(&flow.tag, len as u64, io.now);
    shared.counters.forwarded(false);
    // Octets behind the packet are of no packet.
    frame.truncate(usize::from(seen.0.end));
    io.forward(flow.egress(direction), frame);
    Ok(())
}
