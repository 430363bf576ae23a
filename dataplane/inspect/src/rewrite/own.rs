//! Segments the gateway makes itself, in the name of one side toward the other: a 5xx and FIN, a RST, an
//! acknowledgement. They carry what a real stack would have sent at that point (sequence numbers,
//! timestamps), so that the other side takes them for its peer's.

use crate::frame::{Memory, Pool, Sealed};
use crate::unit::Direction;
use crate::wire::emit::{self, Outgoing, Template, Toward};
use crate::wire::{Flags, Options, SackBlock, Timestamps};

/// What a segment of the gateway's own says.
#[derive(Debug, Clone, Copy)]
pub struct Own<'a> {
    /// The way it goes: it is made in the name of this direction's sender.
    pub direction: Direction,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number; 0 without ACK.
    pub ack: u32,
    /// Flags.
    pub flags: Flags,
    /// Window, unscaled.
    pub window: u16,
    /// Timestamps, where the connection has them.
    pub timestamps: Option<Timestamps>,
    /// Ranges that wait, where the connection has SACK.
    pub sack: &'a [SackBlock],
    /// Payload.
    pub payload: &'a [u8],
}

/// A made frame and where its payload starts.
#[derive(Debug)]
pub struct Made {
    /// The frame.
    pub sealed: Sealed,
    /// First octet of the payload.
    pub payload_start: u16,
}

/// Makes the frame from a template of the client's SYN; `None` when no chunk is free or the payload does not
/// fit one.
pub fn make<M: Memory>(template: &Template, own: &Own<'_>, pool: &mut Pool<M>) -> Option<Made> {
    let toward = match own.direction {
        Direction::ClientToServer => Toward::Receiver,
        Direction::ServerToClient => Toward::Sender,
    };
    let outgoing = Outgoing {
        seq: own.seq,
        ack: own.ack,
        flags: own.flags,
        window: own.window,
        options: Options { timestamps: own.timestamps, ..Options::default() },
        sack: own.sack,
        payload: own.payload,
    };
    let len = emit::emit_len(template, &outgoing);
    let mut frame = pool.alloc(0, len)?;
    emit::emit(template, toward, &outgoing, pool.bytes_mut(&mut frame));
    Some(Made { sealed: pool.seal(frame), payload_start: (len - own.payload.len()) as u16 })
}
