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
use crate::unit::{Direction, PortId};
use crate::wire::{Flags, Outline, tcp};

/// Which frames of a connection may take the short way from now on.
pub(super) fn lane(flow: &Flow, uninspected: Uninspected) -> Lane {
    if flow.dialogue.is_some() || uninspected == Uninspected::Normalize {
        return Lane::Closed;
    }
    let is_at_rest = || flow.streams.iter().all(|stream| stream.queues.is_none() && !stream.finished);
    match flow.stage {
        Stage::PickedUp => Lane::Unnumbered,
        Stage::Established if flow.closing.is_none() && is_at_rest() => Lane::Numbered,
        _ => Lane::Closed,
    }
}

/// Lets a frame leave if it may take the short way; gives it back if not, and nothing has changed.
#[inline]
pub(super) fn carry<X, M: Memory>(
    flow: &mut Flow,
    shared: &mut Shared<X>,
    ingress: PortId,
    (outline, is_from_low): (&Outline, bool),
    mut frame: Frame,
    io: &mut Io<'_, M>,
) -> Result<(), Frame> {
    let is_from_client = ingress == flow.client_port;
    let direction = if is_from_client { Direction::ClientToServer } else { Direction::ServerToClient };
    let octets = outline.tcp(io.pool.bytes(&frame));
    let Some(fixed) = octets.first_chunk() else { return Err(frame) };
    let header = tcp::Header(fixed);
    let Some(list) = octets.get(tcp::HEADER_LEN..header.header_len()) else { return Err(frame) };
    let len = octets.len() - header.header_len();
    let is_plain = (header.flags().without(Flags::PSH) == Flags::ACK)
        & (header.reserved() == 0)
        & (header.urgent() == 0)
        & !outline.untidy
        & (outline.ttl >= shared.config.ttl_floor)
        & (is_from_client == (is_from_low == flow.client_is_low));
    if !is_plain {
        return Err(frame);
    }
    if flow.lane == Lane::Numbered {
        let [client, server] = &mut flow.streams;
        let (there, back) = if is_from_client { (client, server) } else { (server, client) };
        let Some(stamps) = tcp::plain(list) else { return Err(frame) };
        let fits = (stamps.is_some() == flow.agreement.timestamps)
            & there.is_continued_by(header.seq(), len)
            & back.is_confirmed_by(header.ack());
        if !fits {
            return Err(frame);
        }
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
    frame.truncate(usize::from(outline.end));
    io.forward(flow.egress(direction), frame);
    Ok(())
}
