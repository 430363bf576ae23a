//! Frames as they were received: taken apart, then handed on in their order.
//!
//! A frame mostly waits for memory: its own headers and octets, and the state of its connection, of which there is more than a
//! cache holds. So nothing is read before it was asked for some frames ahead, and the processor waits for many at once. The frames of
//! a burst are taken apart first as far as to know their connection, while the headers of some behind them come; with each hash its
//! place in the index is asked for, then the first line of the slot that stands there. Only then is each frame judged, while the
//! other lines of the connections of some behind it come, the queues of the next ones, and the octets of the next one. What one frame
//! does to a connection that a later one of the burst belongs to, that one sees: a slot that was found early is looked at again.

use super::flow::{Flow, Lane};
use super::{Engine, Io, lane, order, plain};
use crate::flow::{FlowKey, Guess, KeyHash, Table};
use crate::frame::{Frame, Memory, Pool, Sealed};
use crate::scan::Matcher;
use crate::unit::{Instant, PortId};
use crate::wire::{self, Malformed, Outline, Packet, Segment};

/// Frames that there is room for from the beginning: a port's burst, and as many from other workers.
pub(super) const USUAL: usize = 128;

/// Frames whose headers are under way while one is taken apart: as many cache lines as a processor waits for at once.
const AHEAD: usize = 8;

/// Frames ahead at which the state of a connection is asked for, and at which its queues are: time enough for memory to come, and not
/// so much that what came is gone again.
const NEAR: usize = 6;
const NEXT: usize = 3;

/// Cache lines of a connection, and those that a segment needs of which no octet is read.
const FLOW_LINES: usize = Table::<Flow>::lines(size_of::<Flow>());
const CARRIED_LINES: usize = Table::<Flow>::lines(core::mem::offset_of!(Flow, dialogue));

/// A received frame, as far as it is taken apart.
#[derive(Debug)]
pub(super) struct Arrival {
    ingress: PortId,
    /// Where it stands and which connection it is of, if it is a whole TCP segment; what else it is, is found out later.
    tcp: Option<Known>,
    /// Whether its octets will probably be read: mostly those of a connection that is not inspected are not.
    is_read: bool,
}

/// A TCP segment of which the connection is known and nothing else yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    outline: Outline,
    key: FlowKey,
    hash: KeyHash,
    guess: Guess,
    /// Whether its sender is the lower end of the key.
    is_from_low: bool,
}

impl<X: Matcher> Engine<X> {
    /// Takes received frames, each with the port it came by, and appends what is to be transmitted, in order, to `out`.
    pub fn receive_burst<M: Memory>(
        &mut self,
        now: Instant,
        frames: impl Iterator<Item = (PortId, Frame)>,
        pool: &mut Pool<M>,
        out: &mut Vec<(PortId, Sealed)>,
    ) {
        let (mut arrivals, mut received) = core::mem::take(&mut self.arrivals);
        let queued = out.len();
        for (ingress, frame) in frames {
            arrivals.push(Arrival { ingress, tcp: None, is_read: true });
            received.push(frame);
        }
        for frame in received.iter().take(AHEAD) {
            pool.prefetch_headers(frame);
        }
        for (place, (arrival, frame)) in arrivals.iter_mut().zip(&received).enumerate() {
            if let Some(coming) = received.get(place + AHEAD) {
                pool.prefetch_headers(coming);
            }
            let bytes = pool.bytes(frame);
            self.shared.counters.received(arrival.ingress, bytes.len());
            // Two calls: what makes a plain one's key and hash need not look whether it is one of IPv4.
            arrival.tcp = match wire::plain_outline(bytes, self.shared.checksums()) {
                Some(outline) => Some(self.known(outline)),
                None => self.odd(bytes),
            };
        }
        for arrival in &mut arrivals {
            if let Some(known) = &mut arrival.tcp {
                known.guess = self.table.guess(known.hash);
                self.table.prefetch(known.guess, 0..1);
            }
        }
        let mut frames = received.drain(..);
        for step in 0..arrivals.len() + NEAR {
            if let Some(coming) = arrivals.get_mut(step) {
                coming.is_read = self.approach(coming);
            }
            if let Some(coming) = step.checked_sub(NEAR - NEXT).and_then(|place| arrivals.get(place))
                && coming.is_read
                && let Some(known) = &coming.tcp
                && let Some(flow) = self.table.guessed(known.guess)
            {
                flow.prefetch_queues();
            }
            let Some(place) = step.checked_sub(NEAR) else { continue };
            let Some(frame) = frames.next() else { break };
            if let (Some(next), Some(octets)) = (arrivals.get(place + 1), frames.as_slice().first())
                && next.is_read
            {
                pool.prefetch(octets);
            }
            self.arrive(&arrivals[place], frame, &mut Io { now, pool, out });
        }
        drop(frames);
        arrivals.clear();
        self.arrivals = (arrivals, received);
        self.finish(&mut Io { now, pool, out });
        self.shared.sent(&out[queued..]);
    }

    /// Takes one received frame: a burst of one.
    pub fn receive<M: Memory>(
        &mut self,
        now: Instant,
        ingress: PortId,
        frame: Frame,
        pool: &mut Pool<M>,
        out: &mut Vec<(PortId, Sealed)>,
    ) {
        self.receive_burst(now, core::iter::once((ingress, frame)), pool, out);
    }

    /// What a burst's frames have left to be done once for all of them.
    fn finish<M: Memory>(&mut self, io: &mut Io<'_, M>) {
        self.shared.settle_carried(io.now);
        for (index, direction) in self.owing.drain(..) {
            if let Some(flow) = self.table.get_mut(index) {
                order::settle(flow, &mut self.shared, direction, io);
            }
        }
    }

    /// Asks for the state of a frame's connection, whose first line is there. Says whether the frame's octets will be read.
    #[inline]
    fn approach(&self, arrival: &Arrival) -> bool {
        let Some(known) = &arrival.tcp else { return true };
        let Some(flow) = self.table.guessed(known.guess) else { return true };
        let is_read = !matches!(flow.lane, Lane::Numbered | Lane::Unnumbered);
        self.table.prefetch(known.guess, 1..if is_read { FLOW_LINES } else { CARRIED_LINES });
        is_read
    }

    #[inline]
    fn known(&self, outline: Outline) -> Known {
        let (key, is_from_low) = FlowKey::of(outline.vlan, outline.addresses, outline.ports);
        let hash = self.table.hash(&key);
        self.table.prefetch_index(hash);
        Known { outline, key, hash, guess: Guess::default(), is_from_low }
    }

    /// Takes a frame apart that is not plain.
    #[inline(never)]
    fn odd(&self, frame: &[u8]) -> Option<Known> {
        wire::outline(frame, self.shared.checksums()).map(|outline| self.known(outline))
    }

    #[inline]
    fn arrive<M: Memory>(&mut self, arrival: &Arrival, frame: Frame, io: &mut Io<'_, M>) {
        match &arrival.tcp {
            Some(known) => self.known_segment(arrival.ingress, known, frame, io),
            None => self.other(arrival.ingress, frame, io),
        }
    }

    fn known_segment<M: Memory>(
        &mut self,
        ingress: PortId,
        known: &Known,
        mut frame: Frame,
        io: &mut Io<'_, M>,
    ) {
        let index = self.table.lookup_guessed(known.guess, known.hash, &known.key);
        if let Some(index) = index
            && let Some(flow) = self.table.get_mut(index)
            && flow.lane != Lane::Closed
        {
            let seen = (&known.outline, known.is_from_low);
            let shared = &mut self.shared;
            let taken = match flow.lane {
                Lane::Read => plain::follow(flow, shared, ingress, seen, frame, io)
                    .or_else(|back| plain::turn(flow, shared, ingress, seen, back, io)),
                Lane::Turning => plain::turn(flow, shared, ingress, seen, frame, io),
                _ => lane::carry(flow, shared, ingress, seen, frame, io).map(|()| None),
            };
            match taken {
                Ok(None) => return,
                Ok(Some((earlier, fate))) => return self.follow_up(index, earlier, fate, io.now),
                Err(back) => frame = back,
            }
        }
        match wire::segment(io.pool.bytes(&frame), &known.outline, self.shared.checksums()) {
            Ok(segment) => self.tcp(ingress, segment, (known.hash, known.key), index, frame, io),
            Err(malformed) => self.malformed(malformed),
        }
    }

    /// Takes a frame that is no whole TCP segment, or not a well-formed one.
    #[cold]
    fn other<M: Memory>(&mut self, ingress: PortId, frame: Frame, io: &mut Io<'_, M>) {
        match wire::parse(io.pool.bytes(&frame), self.shared.checksums()) {
            Ok(Packet::Tcp(segment)) => self.segment(ingress, segment, frame, io),
            Ok(Packet::OtherIp(packet)) => {
                if self.lets_through(ingress, &packet, io.pool.bytes(&frame), io.now) {
                    self.shared.counters.frames_forwarded += 1;
                    io.forward(ingress.other(), frame);
                }
            }
            Ok(Packet::NotIp | Packet::Neighbor) => {
                self.shared.counters.frames_forwarded += 1;
                io.forward(ingress.other(), frame);
            }
            Ok(Packet::Fragment(fragment)) => self.fragment(ingress, fragment, frame, io),
            Err(malformed) => self.malformed(malformed),
        }
    }

    /// Takes a segment, of whichever connection it is.
    pub(super) fn segment<M: Memory>(
        &mut self,
        ingress: PortId,
        segment: Segment,
        frame: Frame,
        io: &mut Io<'_, M>,
    ) {
        let (key, _) = FlowKey::new(&segment);
        let hash = self.table.hash(&key);
        self.tcp(ingress, segment, (hash, key), self.table.lookup_hashed(hash, &key), frame, io);
    }

    fn malformed(&mut self, malformed: Malformed) {
        match malformed {
            Malformed::Checksum => self.shared.counters.dropped_checksum += 1,
            Malformed::Truncated | Malformed::BadField => self.shared.counters.dropped_malformed += 1,
        }
    }
}
