//! Sequence numbers: 32 bits that wrap (RFC 9293 section 3.4).

use crate::unit::StreamOffset;

/// A TCP sequence number. Compared only through its distance to another, never by value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SeqNum(pub u32);

impl SeqNum {
    /// The number this many octets on.
    #[must_use]
    pub const fn add(self, octets: u64) -> SeqNum {
        SeqNum(self.0.wrapping_add(octets as u32))
    }

    /// How far this is ahead of `other`: negative when it is behind. Right as long as the two are
    /// less than 2 GiB apart, which windows of at most 1 GiB guarantee (RFC 7323 section 2.3).
    #[must_use]
    pub const fn ahead_of(self, other: SeqNum) -> i64 {
        self.0.wrapping_sub(other.0) as i32 as i64
    }
}

/// Offset of `seq` in a stream whose octet `near` has number `near_seq`. Negative only for what stands
/// before the stream's first octet (a SYN, a keep-alive on a connection without data).
#[must_use]
pub fn unwrap(seq: SeqNum, near_seq: SeqNum, near: StreamOffset) -> i64 {
    // Streams of 8 EiB do not exist, so the cast cannot wrap.
    near.0 as i64 + seq.ahead_of(near_seq)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_goes_over_the_wrap() {
        assert_eq!(SeqNum(2).ahead_of(SeqNum(u32::MAX)), 3);
        assert_eq!(SeqNum(u32::MAX).ahead_of(SeqNum(2)), -3);
        assert_eq!(SeqNum(u32::MAX).add(3), SeqNum(2));
        let five_gib = StreamOffset(5 << 30);
        let start = SeqNum(77);
        let here = start.add(five_gib.0);
        assert_eq!(unwrap(here.add(10), here, five_gib), (5 << 30) + 10);
        assert_eq!(unwrap(SeqNum(here.0.wrapping_sub(10)), here, five_gib), (5 << 30) - 10);
    }
}
