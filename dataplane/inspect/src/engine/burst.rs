//! Frames as they were received: taken apart, then handed on in their order.
//!
//! A frame mostly waits for memory: its own headers, which the port's [`Pool::warm`] brings in, and the state of its connection,
//! of which there is more than a cache holds. So the frames of a burst are taken apart first, and a little of the state of each
//! connection is read, one after the other without looking at it: the processor waits for many at once. Only then is each frame
//! judged. What one frame does to a connection that a later one of the burst belongs to, that one sees.

use super::{Engine, Io};
use crate::flow::{FlowKey, KeyHash};
use crate::frame::{Frame, Memory, Pool, Sealed};
use crate::scan::Matcher;
use crate::unit::{Instant, PortId};
use crate::wire::{self, Malformed, Packet, Segment};

/// Frames that there is room for from the beginning: a port's burst, and as many from other workers.
pub(super) const USUAL: usize = 128;

/// A received frame, taken apart.
#[derive(Debug)]
pub(super) struct Arrival {
    ingress: PortId,
    frame: Frame,
    packet: Result<Packet, Malformed>,
    /// Which connection it is of, if it is of one.
    flow: Option<(FlowKey, KeyHash)>,
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
        let mut arrivals = core::mem::take(&mut self.arrivals);
        for (ingress, frame) in frames {
            let packet = wire::parse(pool.bytes(&frame), self.shared.checksums());
            let flow = match &packet {
                Ok(Packet::Tcp(segment)) => Some(self.flow_of(segment)),
                _ => None,
            };
            arrivals.push(Arrival { ingress, frame, packet, flow });
        }
        if arrivals.len() > 1 {
            let hashes = || arrivals.iter().filter_map(|arrival| Some(arrival.flow?.1));
            self.table.warm(hashes, |flow| flow.warm());
        }
        for arrival in arrivals.drain(..) {
            self.arrive(now, arrival, pool, out);
        }
        self.arrivals = arrivals;
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
        let packet = wire::parse(pool.bytes(&frame), self.shared.checksums());
        self.arrive(now, Arrival { ingress, frame, packet, flow: None }, pool, out);
    }

    pub(super) fn flow_of(&self, segment: &Segment) -> (FlowKey, KeyHash) {
        let (key, _) = FlowKey::new(segment);
        (key, self.table.hash(&key))
    }

    fn arrive<M: Memory>(
        &mut self,
        now: Instant,
        Arrival { ingress, frame, packet, flow }: Arrival,
        pool: &mut Pool<M>,
        out: &mut Vec<(PortId, Sealed)>,
    ) {
        let mut io = Io { now, pool, out };
        let queued = io.out.len();
        self.shared.counters.received(ingress, frame.len());
        match packet {
            Ok(Packet::Tcp(segment)) => {
                let (key, hash) = flow.unwrap_or_else(|| self.flow_of(&segment));
                self.tcp(ingress, (segment, key, hash), frame, &mut io);
            }
            Ok(Packet::OtherIp(packet)) => {
                if self.lets_through(ingress, &packet, io.pool.bytes(&frame), now) {
                    self.shared.counters.frames_forwarded += 1;
                    io.forward(ingress.other(), frame);
                }
            }
            Ok(Packet::NotIp | Packet::Neighbor) => {
                self.shared.counters.frames_forwarded += 1;
                io.forward(ingress.other(), frame);
            }
            Ok(Packet::Fragment(fragment)) => self.fragment(ingress, fragment, frame, &mut io),
            Err(Malformed::Checksum) => self.shared.counters.dropped_checksum += 1,
            Err(_) => self.shared.counters.dropped_malformed += 1,
        }
        for (egress, sealed) in &io.out[queued..] {
            self.shared.counters.transmitted(*egress, sealed.len());
        }
    }
}
