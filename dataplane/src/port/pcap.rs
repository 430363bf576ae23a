//! Two ports whose frames come from a capture, and go to another.
//!
//! A capture says nothing of ports: [`Placement`] decides by which port a frame came in. One frame is received at a
//! time, and time is the capture's, so that the same input gives the same output.

use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;

use inspect::frame::{Frame, Memory, Pool, Sealed};
use inspect::unit::PortId;

use super::Port;
use super::capture::{CaptureError, Reader, Writer};
use crate::placement::Placement;

/// What both ports share: the capture, its next frame, the output, the time.
struct Tape<'r, W: Write> {
    reader: Reader<'r>,
    placement: Placement,
    output: Option<Writer<W>>,
    now: u64,
    /// Port and octets of the frame that was read and not yet received.
    next: Option<PortId>,
    frame: Vec<u8>,
    tally: Tally,
}

/// What became of the packets of a capture before the engine saw them, and what came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Packets read.
    pub read: u64,
    /// Packets that are no IP, or too short for their link type, and so became no frame.
    pub unreadable: u64,
    /// Packets longer than a chunk.
    pub too_long: u64,
    /// Packets that found no free chunk.
    pub no_chunk: u64,
    /// Frames transmitted.
    pub written: u64,
}

/// One side of the gateway, played from a capture.
pub struct PcapPort<'r, W: Write> {
    tape: Rc<RefCell<Tape<'r, W>>>,
    side: PortId,
}

/// Moves a capture on.
pub struct Player<'r, W: Write>(Rc<RefCell<Tape<'r, W>>>);

/// Both ports of a gateway that plays a capture, and what moves it on.
pub fn open<'r, W: Write>(
    reader: Reader<'r>,
    placement: Placement,
    output: Option<Writer<W>>,
) -> (Player<'r, W>, [PcapPort<'r, W>; 2]) {
    let tape =
        Tape { reader, placement, output, now: 0, next: None, frame: Vec::new(), tally: Tally::default() };
    let tape = Rc::new(RefCell::new(tape));
    let ports = PortId::ALL.map(|side| PcapPort { tape: Rc::clone(&tape), side });
    (Player(tape), ports)
}

impl<W: Write> Player<'_, W> {
    /// Reads up to the next frame and says when it was captured, in nanoseconds since 1970; `None` at the end. Time never
    /// goes back: a packet that is earlier than the one before counts as of the same time.
    ///
    /// # Errors
    /// What is wrong with the capture.
    pub fn advance(&mut self) -> Result<Option<u64>, CaptureError> {
        let mut tape = self.0.borrow_mut();
        let tape = &mut *tape;
        loop {
            let Some(packet) = tape.reader.next_packet()? else {
                tape.next = None;
                return Ok(None);
            };
            tape.tally.read += 1;
            tape.now = tape.now.max(packet.nanos);
            let Some((header, rest)) = packet.link.to_ethernet(packet.octets) else {
                tape.tally.unreadable += 1;
                continue;
            };
            tape.frame.clear();
            tape.frame.extend_from_slice(header.octets());
            tape.frame.extend_from_slice(rest);
            tape.next = Some(tape.placement.place(&tape.frame));
            return Ok(Some(tape.now));
        }
    }

    /// Sets the time that frames are written with, for those the gateway makes between two of the capture.
    pub fn set_time(&mut self, nanos: u64) {
        self.0.borrow_mut().now = nanos;
    }

    /// What became of the packets so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.0.borrow().tally
    }

    /// Makes what was written reach its file.
    ///
    /// # Errors
    /// When it does not.
    pub fn finish(&mut self) -> io::Result<()> {
        self.0.borrow_mut().output.as_mut().map_or(Ok(()), Writer::flush)
    }
}

impl<M: Memory, W: Write> Port<M> for PcapPort<'_, W> {
    fn receive(&mut self, pool: &mut Pool<M>, into: &mut Vec<Frame>, limit: usize) -> io::Result<usize> {
        let mut tape = self.tape.borrow_mut();
        if tape.next != Some(self.side) || limit == 0 {
            return Ok(0);
        }
        tape.next = None;
        let len = tape.frame.len();
        if len > pool.memory().chunk_len() {
            tape.tally.too_long += 1;
            return Ok(0);
        }
        let Some(mut frame) = pool.alloc(0, len) else {
            tape.tally.no_chunk += 1;
            return Ok(0);
        };
        pool.bytes_mut(&mut frame).copy_from_slice(&tape.frame);
        into.push(frame);
        Ok(1)
    }

    fn transmit(&mut self, pool: &Pool<M>, frame: Sealed) -> Result<(), Sealed> {
        // Written at once, so that the frames of both ports stay in order. An error sticks to the writer and comes
        // back from `flush`.
        let mut tape = self.tape.borrow_mut();
        let now = tape.now;
        tape.tally.written += 1;
        if let Some(output) = &mut tape.output {
            let _ = output.write(now, pool.sealed(&frame));
        }
        Ok(())
    }

    fn flush(&mut self, _: &mut Pool<M>) -> io::Result<()> {
        match &self.tape.borrow().output {
            Some(output) => output.check(),
            None => Ok(()),
        }
    }
}

impl<W: Write> Drop for Tape<'_, W> {
    fn drop(&mut self) {
        // `finish` has already told about an error.
        if let Some(output) = &mut self.output {
            let _ = output.flush();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::sample::pcap;
    use inspect::frame::VecMemory;

    #[test]
    fn frames_are_received_by_their_port_and_written_in_order() {
        // Two UDP packets, there and back.
        let there =
            [&[0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0, 9, 0, 7][..], &[0; 4]]
                .concat();
        let back =
            [&[0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1, 0, 7, 0, 9][..], &[0; 4]]
                .concat();
        let file = pcap(101, &[(5, 0, &there), (4, 0, &back), (6, 0, b"\0no IP")]);
        let reader = Reader::new(file.as_slice()).unwrap();
        let mut pool = VecMemory::pool(4, 2048);
        let mut out = Vec::new();
        {
            let writer = Writer::new(&mut out).unwrap();
            let (mut player, mut ports) = open(reader, Placement::by_initiator(&[25]), Some(writer));
            let mut frames = Vec::new();
            for (time, side) in [(5_000_000_000, 0), (5_000_000_000, 1)] {
                assert_eq!(player.advance().unwrap(), Some(time), "time does not go back");
                assert_eq!(ports[1 - side].receive(&mut pool, &mut frames, 8).unwrap(), 0);
                assert_eq!(ports[side].receive(&mut pool, &mut frames, 8).unwrap(), 1);
                let frame = pool.seal(frames.pop().unwrap());
                ports[1 - side].transmit(&pool, frame).unwrap();
                ports[1 - side].flush(&mut pool).unwrap();
            }
            assert_eq!(player.advance().unwrap(), None);
            assert_eq!(player.tally(), Tally { read: 3, unreadable: 1, written: 2, ..Tally::default() });
            player.finish().unwrap();
        }
        let mut reader = Reader::new(out.as_slice()).unwrap();
        assert_eq!(&reader.next_packet().unwrap().unwrap().octets[14..], there);
        assert_eq!(&reader.next_packet().unwrap().unwrap().octets[14..], back);
        assert_eq!(reader.next_packet().unwrap(), None);
    }
}
