//! Fragments: put together, judged as the packet they are of, and sent on.
//!
//! TCP leaves as whole segments, none in a packet larger than the largest fragment that came: that size made its way here,
//! and no fragment is left for anybody behind the gateway to put together otherwise. Other protocols leave as the fragments
//! that came, once all of them are here and none overlaps.

use super::{Engine, Io};
use crate::fragment::{Datagram, Outcome};
use crate::frame::{Frame, Memory};
use crate::scan::Matcher;
use crate::unit::PortId;
use crate::wire::emit::{self, Outgoing, Template, Toward};
use crate::wire::{self, Checksums, Flags, Fragment, Malformed, Packet, SackBlock, Segment, edit};

/// Octets of a packet that every link carries (RFC 8200 section 5; for IPv4, what every host accepts, RFC 791 section
/// 3.1): segments are not made smaller than this, however small the fragments were.
const PACKET_LEN: [usize; 2] = [576, 1280];

impl<X: Matcher> Engine<X> {
    /// Takes a fragment.
    pub(super) fn fragment<M: Memory>(
        &mut self,
        ingress: PortId,
        fragment: Fragment,
        frame: Frame,
        io: &mut Io<'_, M>,
    ) {
        let shared = &mut self.shared;
        shared.counters.fragments_received += 1;
        match self.fragments.receive(io.now, ingress, fragment, frame, io.pool) {
            Outcome::Waits | Outcome::Duplicate => {}
            Outcome::Spoiled => shared.counters.dropped_fragment += 1,
            Outcome::Dropped(anomaly) => {
                shared.counters.dropped_fragment += 1;
                shared.counters.anomaly(anomaly);
            }
            Outcome::Whole => {
                shared.counters.datagrams_reassembled += 1;
                let mut datagram = self.fragments.take();
                self.datagram(ingress, &mut datagram, io);
                self.fragments.put_back(datagram);
            }
        }
        self.shared.counters.datagrams_evicted = self.fragments.evicted_count;
    }

    fn datagram<M: Memory>(&mut self, ingress: PortId, datagram: &mut Datagram, io: &mut Io<'_, M>) {
        match wire::parse(&datagram.bytes, self.shared.checksums()) {
            Ok(Packet::Tcp(segment)) => {
                // Room for the segments that take their place.
                datagram.frames.clear();
                self.segments(ingress, &segment, datagram, io);
            }
            Ok(Packet::OtherIp(packet)) => {
                if self.lets_through(ingress, &packet, &datagram.bytes, io.now) {
                    for frame in datagram.frames.drain(..) {
                        self.shared.counters.frames_forwarded += 1;
                        io.forward(ingress.other(), frame);
                    }
                }
            }
            Err(Malformed::Checksum) => self.shared.counters.dropped_checksum += 1,
            // Fragments of fragments, and neighbour discovery in fragments (RFC 6980 section 5).
            Ok(_) | Err(_) => self.shared.counters.dropped_malformed += 1,
        }
    }

    /// Takes a segment that came in fragments, in pieces that are whole segments.
    fn segments<M: Memory>(
        &mut self,
        ingress: PortId,
        segment: &Segment,
        datagram: &Datagram,
        io: &mut Io<'_, M>,
    ) {
        let payload = segment.payload(&datagram.bytes);
        let template = Template::capture(&datagram.bytes, segment);
        let mut sack = [SackBlock::default(); 4];
        let mut sack_count = 0;
        for (place, block) in sack.iter_mut().zip(segment.sack_blocks(&datagram.bytes)) {
            *place = block;
            sack_count += 1;
        }
        let mut outgoing = Outgoing {
            seq: segment.seq,
            ack: segment.ack,
            flags: segment.flags,
            window: segment.window,
            options: segment.options,
            sack: &sack[..sack_count],
            payload: &[],
        };
        let headers_len = emit::emit_len(&template, &outgoing) - usize::from(segment.ip_start);
        let packet_len = datagram.largest.max(PACKET_LEN[usize::from(segment.is_v6)]);
        let room = packet_len.saturating_sub(headers_len).max(1);
        // Octets on SYN and RST go nowhere, so one piece shows that there were some.
        let whole = if segment.flags.syn() || segment.flags.rst() {
            &payload[..payload.len().min(room)]
        } else {
            payload
        };
        let mut rest = whole;
        loop {
            let (piece, after) = rest.split_at(rest.len().min(room));
            outgoing.payload = piece;
            outgoing.flags = if after.is_empty() {
                segment.flags
            } else {
                segment.flags.without(Flags::FIN.with(Flags::PSH))
            };
            let Some(mut frame) = io.pool.alloc(0, emit::emit_len(&template, &outgoing)) else {
                self.shared.counters.dropped_no_frame += 1;
                return;
            };
            let bytes = io.pool.bytes_mut(&mut frame);
            emit::emit(&template, Toward::Receiver, &outgoing, bytes);
            let Ok(Packet::Tcp(mut made)) = wire::parse(bytes, Checksums::Trust) else {
                self.shared.counters.dropped_malformed += 1;
                return;
            };
            // Their sender did not mind fragments, and nobody would tell it about a smaller link.
            self.identification = self.identification.wrapping_add(1);
            edit::set_fragmentable(bytes, &mut made, self.identification);
            self.segment(ingress, made, frame, io);
            if after.is_empty() {
                return;
            }
            outgoing.seq = outgoing.seq.wrapping_add(piece.len() as u32);
            rest = after;
        }
    }

    /// Gives up fragments that have waited too long.
    pub(super) fn expire_fragments(&mut self, io: &Io<'_, impl Memory>) {
        self.fragments.expire(io.now);
        self.shared.counters.datagrams_expired = self.fragments.expired_count;
    }
}
