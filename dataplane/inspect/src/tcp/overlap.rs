//! Who wins when the same place of a stream is sent twice: the octets that left first.
//!
//! Ptacek and Newsham (1998) showed that receivers disagree about overlaps, so a gateway that lets a second version
//! pass has inspected something else than what is delivered. Whatever the sender sends again is overwritten with what
//! was forwarded; receivers then see one version only, whichever they prefer.

use crate::frame::{Memory, Pool};
use crate::tcp::queue::Queues;
use crate::unit::StreamOffset;

/// Overwrites `bytes`, which claim to stand at `offset`, with the remembered octets of that place. The caller has cut
/// off what the receiver acknowledged (it is forgotten) and what was not yet forwarded.
///
/// Returns how many octets were different.
pub fn restore<M: Memory>(queues: &Queues, pool: &Pool<M>, offset: StreamOffset, bytes: &mut [u8]) -> usize {
    let end = offset.advance(bytes.len());
    let first = queues.remembered.partition_point(|entry| entry.end() <= offset);
    let mut different = 0;
    for entry in queues.remembered.range(first..) {
        if entry.offset >= end {
            break;
        }
        let from = entry.offset.max(offset);
        let to = entry.end().min(end);
        let source = &entry.bytes(pool)[(from.0 - entry.offset.0) as usize..(to.0 - entry.offset.0) as usize];
        let target = &mut bytes[(from.0 - offset.0) as usize..(to.0 - offset.0) as usize];
        if source != target {
            different += source.iter().zip(target.iter()).filter(|(mine, theirs)| mine != theirs).count();
            target.copy_from_slice(source);
        }
    }
    different
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::VecMemory;
    use crate::tcp::queue::Remembered;

    fn remember(pool: &mut Pool<VecMemory>, queues: &mut Queues, offset: u64, bytes: &[u8]) {
        let mut frame = pool.alloc(0, bytes.len()).unwrap();
        pool.bytes_mut(&mut frame).copy_from_slice(bytes);
        let sealed = pool.seal(frame);
        queues.remembered.push_back(Remembered::new(StreamOffset(offset), sealed, 0, bytes.len() as u16));
    }

    #[test]
    fn what_left_first_wins_in_any_pieces() {
        let mut pool = VecMemory::pool(8, 64);
        let mut queues = Queues::default();
        remember(&mut pool, &mut queues, 100, b"xxxxxxxx\r\n");
        remember(&mut pool, &mut queues, 110, b"NOOP\r\n");
        let original = b"EVIL foo\r\nNOOP\r\n";
        let forwarded = b"xxxxxxxx\r\nNOOP\r\n";
        for from in 0..original.len() {
            for to in from..=original.len() {
                let mut piece = original[from..to].to_vec();
                restore(&queues, &pool, StreamOffset(100 + from as u64), &mut piece);
                assert_eq!(piece, &forwarded[from..to]);
            }
        }
        let mut same = *b"NOOP";
        assert_eq!(restore(&queues, &pool, StreamOffset(110), &mut same), 0);
        let mut other = *b"QUIT";
        assert_eq!(restore(&queues, &pool, StreamOffset(110), &mut other), 4);
    }
}
