//! What a single segment may look like when it leaves, whatever it carries.
//!
//! A header has room for much that receivers read differently, or that makes some of them drop what others take. Nothing of
//! it is of use to a mail session, so it is overwritten in place; the rules are those of Handley, Paxson and Kreibich
//! ("Network Intrusion Detection: Evasion, Traffic Normalization, and End-to-End Protocol Semantics", 2001, appendix) and
//! of the RFCs that stand above each. A plain segment costs a few comparisons.

use super::Shared;
use super::flow::Flow;
use crate::anomaly::Anomaly;
use crate::tcp::Stream;
use crate::tcp::seq::SeqNum;
use crate::unit::Direction;
use crate::wire::{Flags, Segment, Timestamps, edit};

/// Bits that say nothing to most segments.
const RARE: Flags = Flags::URG.with(Flags::ECE).with(Flags::CWR);

/// Overwrites what may not leave. Returns whether anything changed; the checksums are then wrong.
pub(super) fn normalize<X>(
    flow: &mut Flow,
    shared: &mut Shared<X>,
    direction: Direction,
    segment: &mut Segment,
    frame: &mut [u8],
) -> bool {
    let is_plain = !segment.options.unwanted
        & !segment.untidy
        & (segment.flags.0 & RARE.0 == 0)
        & (segment.urgent == 0)
        & (segment.options.sack.count == 0)
        & (segment.flags.syn() | (segment.options.timestamps.is_some() == flow.agreement.timestamps))
        & (segment.ttl >= shared.config.ttl_floor);
    if is_plain { false } else { normalize_odd(flow, shared, direction, segment, frame) }
}

#[cold]
fn normalize_odd<X>(
    flow: &mut Flow,
    shared: &mut Shared<X>,
    direction: Direction,
    segment: &mut Segment,
    frame: &mut [u8],
) -> bool {
    let mut is_changed = false;
    let ttl_floor = shared.config.ttl_floor;
    let mut note = |flow: &mut Flow, anomaly| {
        is_changed = true;
        let offset = flow.stream(direction).next();
        shared.anomaly(flow, anomaly, direction, offset);
    };
    // A segment that dies behind the gateway was seen here and by no receiver (Handley and others 2001, "TTL").
    if segment.ttl < ttl_floor {
        edit::set_ttl(frame, segment, ttl_floor);
        note(flow, Anomaly::LowTtl);
    }
    // RFC 9293 section 3.1: reserved bits "must be zero in generated segments"; RFC 7126 for IPv4 options.
    if segment.untidy && edit::tidy(frame, segment) {
        note(flow, Anomaly::Untidy);
    }
    // RFC 3168 section 6.1: only after both SYNs have said so.
    let ecn = Flags::ECE.with(Flags::CWR);
    if !segment.flags.syn() && !flow.agreement.ecn && segment.flags.0 & ecn.0 != 0 {
        let flags = segment.flags.without(ecn);
        edit::set_flags(frame, segment, flags);
        note(flow, Anomaly::Untidy);
    }
    // What an urgent octet is, and whether it is one, no two systems agree on (RFC 6093); SMTP has none.
    if edit::clear_urgent(frame, segment) {
        note(flow, Anomaly::Urgent);
    }
    // Those of `wire::tcp::may_pass` stay: MSS, window scale and SACK-permitted on SYN, timestamps, SACK.
    if segment.options.unwanted && edit::sanitize_options(frame, segment) {
        note(flow, Anomaly::UnwantedOption);
    }
    if segment.flags.syn() {
        return is_changed;
    }
    // RFC 7323 section 3.2: "TSopt MUST NOT be sent" where the SYNs have not both had it.
    if !flow.agreement.timestamps && edit::remove_timestamps(frame, segment) {
        note(flow, Anomaly::UnwantedOption);
    }
    if segment.options.sack.count > 0 && !may_sack(flow, direction, segment, frame) {
        edit::remove_sack(frame, segment);
        note(flow, Anomaly::BadSack);
    }
    is_changed
}

/// Whether the SACK blocks can be true: agreed on, each a range of what was forwarded to their sender. One below the
/// acknowledged octets says that something came twice (RFC 2883).
fn may_sack(flow: &mut Flow, direction: Direction, segment: &Segment, frame: &[u8]) -> bool {
    let stream = flow.stream(direction.reverse());
    let end = SeqNum(stream.end_seq());
    segment.sack_blocks(frame).all(|block| {
        SeqNum(block.right).ahead_of(SeqNum(block.left)) > 0 && end.ahead_of(SeqNum(block.right)) >= 0
    }) && flow.agreement.sack
}

/// Whether the timestamps are those of a segment that its receiver would take.
#[inline]
pub(super) fn check_timestamps(
    flow: &Flow,
    direction: Direction,
    stamps: Option<Timestamps>,
) -> Result<(), Anomaly> {
    if !flow.agreement.timestamps {
        return Ok(());
    }
    // "If a non-<RST> segment is received without a TSopt, a TCP SHOULD silently drop the segment" (RFC 7323 section 3.2):
    // some do and some do not.
    let Some(stamps) = stamps else { return Err(Anomaly::MissingTimestamp) };
    if flow.is_loose {
        // The last ones that came were not verified.
        return Ok(());
    }
    are_timely(&flow.streams[direction.index()], &flow.streams[direction.reverse().index()], stamps)
}

/// The same where both SYNs had timestamps and the last ones of both streams, that of the segment and the one back, were verified.
#[inline]
pub(super) fn are_timely(there: &Stream, back: &Stream, stamps: Timestamps) -> Result<(), Anomaly> {
    let (mine, theirs) = (SeqNum(there.timestamp), SeqNum(back.newest_timestamp));
    // PAWS (RFC 7323 section 5.3). Section 5.5's exception for streams that were silent for 24 days is not needed: no idle
    // time of a policy is longer than half of the clock's range.
    if mine.ahead_of(SeqNum(stamps.value)) > 0 {
        return Err(Anomaly::OldTimestamp);
    }
    // Nobody echoes what was not sent; 0 is what some send who have nothing to echo.
    if stamps.echo != 0 && SeqNum(stamps.echo).ahead_of(theirs) > 0 {
        return Err(Anomaly::BadEcho);
    }
    Ok(())
}

/// Gives a segment that waited the timestamp of what filled the gap, where timestamps are otherwise left alone: its receiver would
/// take it for a very old one (PAWS). What filled the gap was verified, so its timestamp is true.
pub(super) fn catch_up(flow: &Flow, direction: Direction, segment: &mut Segment, frame: &mut [u8]) {
    let newest = flow.streams[direction.index()].timestamp;
    let is_old = |value: u32| SeqNum(newest).ahead_of(SeqNum(value)) > 0;
    if flow.is_loose && segment.options.timestamps.is_some_and(|stamps| is_old(stamps.value)) {
        edit::set_timestamp(frame, segment, newest);
        edit::fix_checksums(frame, segment);
    }
}
