//! The four rings: one producer, one consumer, one of them the kernel.
//!
//! A ring is a power of two of slots and two counters that only go up (and wrap): `producer`, how many slots
//! were ever filled, and `consumer`, how many were ever emptied. Each side writes its own counter and reads the
//! other's: a store with release order after the slots were written or read, a load with acquire order before
//! they are (`net/xdp/xsk_queue.h`, the diagram at the top). Both counters are cached here and the shared
//! ones touched once per burst.
//!
//! | ring | we are | slot | meaning |
//! | --- | --- | --- | --- |
//! | [`Fill`] | producer | position | receive into this chunk |
//! | [`Rx`] | consumer | [`Descriptor`] | a frame was received here |
//! | [`Tx`] | producer | [`Descriptor`] | transmit this |
//! | [`Completion`] | consumer | position | this was transmitted |
//!
//! Nothing the kernel writes into a counter makes us leave the slots: an index is always masked, and a distance
//! between counters greater than the ring counts as a full one.

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::Error;
use crate::mapping::Mapping;

/// Where a frame is in the umem (`struct xdp_desc`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Descriptor {
    /// Position of the frame's first octet in the umem.
    pub position: u64,
    /// Octets.
    pub len: u32,
    /// `XDP_PKT_CONTD` and the like; 0 as we use it.
    pub options: u32,
}

const _: () = assert!(size_of::<Descriptor>() == size_of::<libc::xdp_desc>());

/// What a slot can hold: integers only, so that whatever the other side writes is a value of the type.
pub trait Slot: Copy + Send + private::Slot {}

impl Slot for u64 {}
impl Slot for Descriptor {}

mod private {
    pub trait Slot {}
    impl Slot for u64 {}
    impl Slot for super::Descriptor {}
}

/// Where the parts of a ring are in its mapping, in octets (`struct xdp_ring_offset`).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    pub(crate) producer: usize,
    pub(crate) consumer: usize,
    pub(crate) flags: usize,
    pub(crate) slots: usize,
}

/// What both sides of a ring share.
#[derive(Debug)]
struct Shared<T> {
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: NonNull<AtomicU32>,
    slots: NonNull<T>,
    len: u32,
    /// Keeps the four pointers valid.
    _mapping: Arc<Mapping>,
}

// SAFETY: the pointers go into the mapping, which `_mapping` keeps alive wherever the value is moved.
unsafe impl<T: Slot> Send for Shared<T> {}

impl<T: Slot> Shared<T> {
    /// # Errors
    /// When a part of the ring would be outside the mapping or not aligned, or `len` is not a power of two.
    fn new(mapping: Arc<Mapping>, layout: Layout, len: u32) -> Result<Self, Error> {
        let fits = |offset: usize, octets: usize, align: usize| {
            offset.is_multiple_of(align) && offset.checked_add(octets).is_some_and(|end| end <= mapping.len())
        };
        let counters = [layout.producer, layout.consumer, layout.flags];
        if !len.is_power_of_two()
            || !counters.iter().all(|offset| fits(*offset, 4, align_of::<AtomicU32>()))
            || !fits(layout.slots, len as usize * size_of::<T>(), align_of::<T>())
        {
            return Err(Error::invalid("lay out ring", "the kernel's ring offsets do not fit its mapping"));
        }
        let start = mapping.start();
        // SAFETY: checked above: each offset is inside the mapping, whose start is page-aligned, and aligned for its type.
        let (producer, consumer, flags, slots) = unsafe {
            (
                start.add(layout.producer).cast(),
                start.add(layout.consumer).cast(),
                start.add(layout.flags).cast(),
                start.add(layout.slots).cast(),
            )
        };
        Ok(Self { producer, consumer, flags, slots, len, _mapping: mapping })
    }

    fn producer(&self) -> &AtomicU32 {
        // SAFETY: valid and aligned as checked in `new`; everybody, the kernel included, uses it atomically.
        unsafe { self.producer.as_ref() }
    }

    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as in `producer`.
        unsafe { self.consumer.as_ref() }
    }

    fn flags(&self) -> &AtomicU32 {
        // SAFETY: as in `producer`.
        unsafe { self.flags.as_ref() }
    }

    fn slot(&self, index: u32) -> NonNull<T> {
        // SAFETY: masked, so one of the `len` slots that `new` found inside the mapping.
        unsafe { self.slots.add((index & (self.len - 1)) as usize) }
    }
}

/// The side that fills slots.
#[derive(Debug)]
pub struct Producer<T> {
    shared: Shared<T>,
    /// Slots filled, of which those since the last [`Producer::submit`] are not yet shown to the other side.
    filled: u32,
    /// What the other side had emptied when last looked.
    emptied: u32,
}

impl<T: Slot> Producer<T> {
    pub(crate) fn new(mapping: Arc<Mapping>, layout: Layout, len: u32) -> Result<Self, Error> {
        let shared = Shared::new(mapping, layout, len)?;
        let filled = shared.producer().load(Ordering::Relaxed);
        let emptied = shared.consumer().load(Ordering::Acquire);
        Ok(Self { shared, filled, emptied })
    }

    /// Slots of the ring.
    #[must_use]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> u32 {
        self.shared.len
    }

    /// Slots that can be filled; the other side's counter is read only if fewer than `wanted` are known.
    pub fn room(&mut self, wanted: u32) -> u32 {
        let known = self.shared.len.saturating_sub(self.filled.wrapping_sub(self.emptied));
        if known >= wanted {
            return known;
        }
        self.shared.len.saturating_sub(self.pending())
    }

    /// Slots that were filled and that the other side has not emptied.
    pub fn pending(&mut self) -> u32 {
        // Acquire: the other side has read a slot before we fill it again.
        self.emptied = self.shared.consumer().load(Ordering::Acquire);
        self.filled.wrapping_sub(self.emptied).min(self.shared.len)
    }

    /// Fills a slot; false if there is none. The other side sees it after [`Producer::submit`].
    pub fn push(&mut self, item: T) -> bool {
        if self.room(1) == 0 {
            return false;
        }
        // SAFETY: a valid slot. It is between `filled` and `emptied + len`, so the other side does not look at it
        // until `submit`.
        unsafe { self.shared.slot(self.filled).write(item) };
        self.filled = self.filled.wrapping_add(1);
        true
    }

    /// Shows what was filled to the other side.
    pub fn submit(&mut self) {
        // Release: the slots are written before the counter says so.
        self.shared.producer().store(self.filled, Ordering::Release);
    }

    /// Whether the kernel asks to be woken after a submit (`XDP_RING_NEED_WAKEUP`).
    #[must_use]
    pub fn needs_wakeup(&self) -> bool {
        self.shared.flags().load(Ordering::Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }
}

/// The side that empties slots.
#[derive(Debug)]
pub struct Consumer<T> {
    shared: Shared<T>,
    /// Slots emptied, of which those since the last [`Consumer::release`] are not yet given back.
    emptied: u32,
    /// What the other side had filled when last looked.
    filled: u32,
}

impl<T: Slot> Consumer<T> {
    pub(crate) fn new(mapping: Arc<Mapping>, layout: Layout, len: u32) -> Result<Self, Error> {
        let shared = Shared::new(mapping, layout, len)?;
        let emptied = shared.consumer().load(Ordering::Relaxed);
        let filled = shared.producer().load(Ordering::Acquire);
        Ok(Self { shared, emptied, filled })
    }

    /// Slots that are filled. Looks at the other side's counter.
    pub fn available(&mut self) -> u32 {
        // Acquire: the slots are read after the counter that says they are there.
        self.filled = self.shared.producer().load(Ordering::Acquire);
        self.filled.wrapping_sub(self.emptied).min(self.shared.len)
    }

    /// Empties a slot. `None` if none was filled when last looked and now.
    pub fn pop(&mut self) -> Option<T> {
        if self.filled == self.emptied && self.available() == 0 {
            return None;
        }
        // SAFETY: a valid slot, filled (the counter was loaded with acquire), and not filled again before `release`. Any
        // bit pattern is a valid `T` (integers only).
        let item = unsafe { self.shared.slot(self.emptied).read() };
        self.emptied = self.emptied.wrapping_add(1);
        Some(item)
    }

    /// Gives emptied slots back to the other side.
    pub fn release(&mut self) {
        // Release: the slots were read before the counter says so.
        self.shared.consumer().store(self.emptied, Ordering::Release);
    }
}

/// Chunks for the kernel to receive into.
pub type Fill = Producer<u64>;
/// Frames the kernel received.
pub type Rx = Consumer<Descriptor>;
/// Frames for the kernel to transmit.
pub type Tx = Producer<Descriptor>;
/// Frames the kernel has transmitted.
pub type Completion = Consumer<u64>;

/// Both sides of a ring in plain memory, as tests play the kernel.
///
/// # Errors
/// When `len` is not a power of two or there is no memory.
pub fn pair<T: Slot>(len: u32) -> Result<(Producer<T>, Consumer<T>), Error> {
    let layout = Layout { producer: 0, consumer: 64, flags: 128, slots: 192 };
    let mapping = Arc::new(Mapping::anonymous(layout.slots + len as usize * size_of::<T>())?);
    let producer = Producer::new(Arc::clone(&mapping), layout, len)?;
    Ok((producer, Consumer::new(mapping, layout, len)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_submitted_is_seen_in_order() {
        let (mut producer, mut consumer) = pair::<u64>(4).unwrap();
        assert!(consumer.pop().is_none());
        for item in 1..=4 {
            assert!(producer.push(item));
        }
        assert!(!producer.push(5), "full");
        assert!(consumer.pop().is_none(), "not submitted");
        producer.submit();
        assert_eq!((consumer.available(), consumer.pop(), consumer.pop()), (4, Some(1), Some(2)));
        assert_eq!(producer.room(1), 0, "not released");
        consumer.release();
        assert_eq!((producer.room(1), producer.pending()), (2, 2));
        assert!(producer.push(5) && producer.push(6) && !producer.push(7));
        producer.submit();
        assert_eq!([(); 4].map(|()| consumer.pop()), [Some(3), Some(4), Some(5), Some(6)]);
        assert!(consumer.pop().is_none());
    }

    #[test]
    fn counters_wrap() {
        let (mut producer, mut consumer) = pair::<u64>(2).unwrap();
        for counter in [producer.shared.producer(), producer.shared.consumer()] {
            counter.store(u32::MAX - 1, Ordering::Relaxed);
        }
        (producer.filled, producer.emptied) = (u32::MAX - 1, u32::MAX - 1);
        (consumer.filled, consumer.emptied) = (u32::MAX - 1, u32::MAX - 1);
        for round in 0..5 {
            assert!(producer.push(round) && producer.push(round + 100) && !producer.push(0));
            producer.submit();
            assert_eq!(
                [consumer.pop(), consumer.pop(), consumer.pop()],
                [Some(round), Some(round + 100), None]
            );
            consumer.release();
        }
    }

    #[test]
    fn a_kernel_that_writes_nonsense_into_its_counter_does_no_harm() {
        let (producer, mut consumer) = pair::<u64>(4).unwrap();
        producer.shared.producer().store(1000, Ordering::Relaxed);
        assert_eq!(consumer.available(), 4);
        for _ in 0..2000 {
            let _ = consumer.pop();
            consumer.release();
        }
        let (mut producer, _consumer) = pair::<u64>(4).unwrap();
        assert!(producer.push(1));
        producer.shared.consumer().store(77, Ordering::Relaxed);
        assert_eq!((producer.room(1000), producer.pending()), (0, 4), "counts as full");
    }

    #[test]
    fn two_threads_agree() {
        let (mut producer, mut consumer) = pair::<Descriptor>(64).unwrap();
        const COUNT: u64 = 200_000;
        let writer = std::thread::spawn(move || {
            let mut next = 0;
            while next < COUNT {
                while next < COUNT
                    && producer.push(Descriptor { position: next, len: next as u32, options: 0 })
                {
                    next += 1;
                }
                producer.submit();
                std::thread::yield_now();
            }
        });
        let mut next = 0;
        while next < COUNT {
            while let Some(item) = consumer.pop() {
                assert_eq!((item.position, item.len), (next, next as u32));
                next += 1;
            }
            consumer.release();
            std::thread::yield_now();
        }
        writer.join().unwrap();
    }

    #[test]
    fn a_layout_outside_its_mapping_is_refused() {
        let mapping = Arc::new(Mapping::anonymous(4096).unwrap());
        let good = Layout { producer: 0, consumer: 64, flags: 128, slots: 192 };
        assert!(Producer::<u64>::new(Arc::clone(&mapping), good, 256).is_ok());
        assert!(Producer::<u64>::new(Arc::clone(&mapping), good, 512).is_err());
        assert!(Producer::<u64>::new(Arc::clone(&mapping), good, 100).is_err());
        for bad in [
            Layout { producer: 4094, ..good },
            Layout { consumer: 2, ..good },
            Layout { flags: usize::MAX - 3, ..good },
            Layout { slots: 196, ..good },
        ] {
            assert!(Consumer::<u64>::new(Arc::clone(&mapping), bad, 4).is_err());
        }
    }
}
