//! Finds what is kept for a connection.
//!
//! Two parts. The index is an array of 8-octet entries, at least two per flow there may be: a hash and the number of a
//! slot, found by linear probing from where the hash points. Eight entries share a cache line, so a search mostly costs one
//! miss. Removing shifts later entries of the run back, so that there are no tombstones and the index never decays.
//! The slots hold key and value side by side; they are made in chunks as they are first needed, and used again later.
//!
//! The hash is SipHash-1-3 with a key that peers do not know: they cannot choose ports and addresses that collide
//! (Crosby and Wallach, "Denial of Service via Algorithmic Complexity Attacks", 2003).

use core::ops::Range;

use siphasher::sip::SipHasher13;

use super::FlowKey;

/// Slots that are allocated at once.
const CHUNK_LEN: usize = 1024;

/// Names a flow as long as it is in its table; afterwards it names nothing, even when its slot is used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FlowIndex {
    pub(super) slot: u32,
    pub(super) generation: u32,
}

/// There are as many flows as there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// Octets of a cache line.
const LINE_LEN: usize = 64;

/// The slot that a key's flow probably has, at the time of the guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guess(u32);

impl Default for Guess {
    /// None.
    fn default() -> Self {
        Self(u32::MAX)
    }
}

/// A key's hash in one table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyHash(u32);

/// Values by connection, at most a fixed number.
pub struct Table<F> {
    hasher: SipHasher13,
    /// The hash in the upper half, the slot's number plus one in the lower; 0 is free. A power of two long.
    index: Box<[u64]>,
    /// All but the last are full.
    chunks: Vec<Vec<Slot<F>>>,
    /// First slot of the list of vacant ones.
    vacant: Option<u32>,
    len: usize,
    limit: usize,
}

/// One cache line for what a search reads, and the value from there on: the line after it comes along.
#[repr(C, align(64))]
struct Slot<F> {
    key: FlowKey,
    hash: KeyHash,
    generation: u32,
    content: Content<F>,
}

enum Content<F> {
    Occupied(F),
    /// Next vacant slot.
    Vacant(Option<u32>),
}

impl<F> core::fmt::Debug for Table<F> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        // Neither the values nor the hash key.
        f.debug_struct("Table").field("len", &self.len).field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl<F> Table<F> {
    /// An empty table for `limit` flows, at least 1 and at most 2^30. `hash_key` must be unpredictable where peers are.
    ///
    /// # Panics
    /// When the limit is larger.
    #[must_use]
    pub fn new(limit: usize, hash_key: &[u8; 16]) -> Self {
        assert!(limit <= 1 << 30, "a flow table of at most 2^30 flows");
        let limit = limit.max(1);
        Self {
            hasher: SipHasher13::new_with_key(hash_key),
            // At most half full: runs stay short, and a search always ends at a free entry.
            index: vec![0; (limit * 2).next_power_of_two()].into_boxed_slice(),
            chunks: Vec::with_capacity(limit.div_ceil(CHUNK_LEN)),
            vacant: None,
            len: 0,
            limit,
        }
    }

    /// Flows there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Flows there may be.
    #[must_use]
    pub const fn limit(&self) -> usize {
        self.limit
    }

    /// The hash of a key here, for [`Table::lookup_hashed`].
    #[must_use]
    #[inline]
    pub fn hash(&self, key: &FlowKey) -> KeyHash {
        KeyHash(key.hash_with(|octets| self.hasher.hash(octets)) as u32)
    }

    /// The flow of this key.
    #[must_use]
    #[inline]
    pub fn lookup(&self, key: &FlowKey) -> Option<FlowIndex> {
        self.lookup_hashed(self.hash(key), key)
    }

    /// The flow of this key, whose hash is known.
    #[must_use]
    #[inline]
    pub fn lookup_hashed(&self, hash: KeyHash, key: &FlowKey) -> Option<FlowIndex> {
        let mut at = self.home(hash);
        loop {
            let entry = self.index[at];
            if entry == 0 {
                return None;
            }
            if (entry >> 32) as u32 == hash.0 {
                let number = entry as u32 - 1;
                let slot = self.slot(number)?;
                if slot.key.is(key) {
                    return Some(FlowIndex { slot: number, generation: slot.generation });
                }
            }
            at = self.after(at);
        }
    }

    /// Asks for the memory where a search for a hash begins, and does not wait.
    #[inline]
    pub fn prefetch_index(&self, hash: KeyHash) {
        prefetch_index::prefetch_index(&self.index, self.home(hash));
    }

    /// Which slot the flow with this hash has, if it stands where the search begins and nobody else has the hash.
    #[must_use]
    #[inline]
    pub fn guess(&self, hash: KeyHash) -> Guess {
        let entry = self.index[self.home(hash)];
        Guess(if (entry >> 32) as u32 == hash.0 { (entry as u32).wrapping_sub(1) } else { u32::MAX })
    }

    /// Cache lines of a slot up to so many octets of its value; the first one has the key.
    #[must_use]
    pub const fn lines(octets: usize) -> usize {
        (core::mem::offset_of!(Slot<F>, content) + octets).div_ceil(LINE_LEN)
    }

    /// Asks for some cache lines of a slot, and does not wait.
    #[inline]
    pub fn prefetch(&self, guess: Guess, lines: Range<usize>) {
        if let Some(slot) = self.slot(guess.0) {
            // Counted in words from one in the first line: nothing is read, so it does not matter what stands there.
            let word = core::slice::from_ref(&slot.generation);
            for line in lines {
                prefetch_index::prefetch_index(word, line * (LINE_LEN / size_of::<u32>()));
            }
        }
    }

    /// The flow of the slot, whosever it is.
    #[must_use]
    #[inline]
    pub fn guessed(&self, guess: Guess) -> Option<&F> {
        match &self.slot(guess.0)?.content {
            Content::Occupied(flow) => Some(flow),
            Content::Vacant(_) => None,
        }
    }

    /// The flow of this key, whose hash is known; found at once if the guess is right.
    #[must_use]
    #[inline]
    pub fn lookup_guessed(&self, guess: Guess, hash: KeyHash, key: &FlowKey) -> Option<FlowIndex> {
        match self.slot(guess.0) {
            Some(Slot { key: found, generation, content: Content::Occupied(_), .. }) if found.is(key) => {
                Some(FlowIndex { slot: guess.0, generation: *generation })
            }
            _ => self.lookup_hashed(hash, key),
        }
    }

    /// Puts a flow in whose key has none: look it up first.
    ///
    /// # Errors
    /// [`Full`] when there are as many flows as there may be.
    pub fn insert(&mut self, key: FlowKey, flow: F) -> Result<FlowIndex, Full> {
        self.insert_hashed(self.hash(&key), key, flow)
    }

    /// The same for a key whose hash is known.
    ///
    /// # Errors
    /// [`Full`] when there are as many flows as there may be.
    pub fn insert_hashed(&mut self, hash: KeyHash, key: FlowKey, flow: F) -> Result<FlowIndex, Full> {
        debug_assert!(self.lookup(&key).is_none() && self.hash(&key) == hash, "a second flow of one key");
        if self.len == self.limit {
            return Err(Full);
        }
        let index = match self.vacant {
            Some(number) => self.reuse(number, key, hash, flow),
            None => self.append(key, hash, flow),
        };
        let mut at = self.home(hash);
        while self.index[at] != 0 {
            at = self.after(at);
        }
        self.index[at] = u64::from(hash.0) << 32 | u64::from(index.slot + 1);
        self.len += 1;
        Ok(index)
    }

    fn reuse(&mut self, number: u32, key: FlowKey, hash: KeyHash, flow: F) -> FlowIndex {
        let slot = &mut self.chunks[number as usize / CHUNK_LEN][number as usize % CHUNK_LEN];
        let Content::Vacant(next) = slot.content else {
            unreachable!("an occupied slot in the list of vacant ones")
        };
        let generation = slot.generation;
        *slot = Slot { key, hash, generation, content: Content::Occupied(flow) };
        self.vacant = next;
        FlowIndex { slot: number, generation }
    }

    fn append(&mut self, key: FlowKey, hash: KeyHash, flow: F) -> FlowIndex {
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK_LEN) {
            // The first chunk of a small table is no larger than the table.
            self.chunks.push(Vec::with_capacity(CHUNK_LEN.min(self.limit)));
        }
        let before = (self.chunks.len() - 1) * CHUNK_LEN;
        let chunk = self.chunks.last_mut().expect("one was pushed");
        chunk.push(Slot { key, hash, generation: 0, content: Content::Occupied(flow) });
        FlowIndex { slot: (before + chunk.len() - 1) as u32, generation: 0 }
    }

    /// Takes a flow out; `None` if it is out already.
    pub fn remove(&mut self, index: FlowIndex) -> Option<F> {
        let vacant = self.vacant;
        let slot = self.slot_mut(index)?;
        let hash = slot.hash;
        let content = core::mem::replace(&mut slot.content, Content::Vacant(vacant));
        slot.generation = slot.generation.wrapping_add(1);
        self.vacant = Some(index.slot);
        self.len -= 1;
        self.unlink(hash, index.slot);
        match content {
            Content::Occupied(flow) => Some(flow),
            Content::Vacant(_) => unreachable!("slot_mut gives occupied ones only"),
        }
    }

    /// Frees the index entry of a slot, and moves the entries after it that may come nearer to their home.
    fn unlink(&mut self, hash: KeyHash, slot: u32) {
        let mut hole = self.home(hash);
        while self.index[hole] as u32 != slot + 1 {
            assert!(self.index[hole] != 0, "every flow has an index entry");
            hole = self.after(hole);
        }
        let mask = self.index.len() - 1;
        let mut at = hole;
        loop {
            at = self.after(at);
            let entry = self.index[at];
            if entry == 0 {
                break;
            }
            // It may move back if its home is not between the hole and itself.
            let home = self.home(KeyHash((entry >> 32) as u32));
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(hole) & mask {
                self.index[hole] = entry;
                hole = at;
            }
        }
        self.index[hole] = 0;
    }

    /// A flow; `None` once it was removed.
    #[must_use]
    #[inline]
    pub fn get(&self, index: FlowIndex) -> Option<&F> {
        match self.slot(index.slot)? {
            Slot { generation, content: Content::Occupied(flow), .. } if *generation == index.generation => {
                Some(flow)
            }
            _ => None,
        }
    }

    /// A flow, to be changed; `None` once it was removed.
    #[must_use]
    #[inline]
    pub fn get_mut(&mut self, index: FlowIndex) -> Option<&mut F> {
        match &mut self.slot_mut(index)?.content {
            Content::Occupied(flow) => Some(flow),
            Content::Vacant(_) => None,
        }
    }

    /// The key of a flow; `None` once it was removed.
    #[must_use]
    pub fn key(&self, index: FlowIndex) -> Option<&FlowKey> {
        self.get(index)?;
        Some(&self.slot(index.slot)?.key)
    }

    /// All flows, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = (FlowIndex, &FlowKey, &F)> {
        self.from(0)
    }

    /// All flows whose slot is `first` or after it: to look at all of them in pieces, or at some from an arbitrary place
    /// on. Slots are numbered from 0, and their number is below [`Table::limit`]; see [`FlowIndex::slot`].
    pub fn from(&self, first: usize) -> impl Iterator<Item = (FlowIndex, &FlowKey, &F)> {
        let in_first = first % CHUNK_LEN;
        let chunks = self.chunks.iter().enumerate().skip(first / CHUNK_LEN);
        chunks.flat_map(move |(number, chunk)| {
            let skipped = if number == first / CHUNK_LEN { in_first } else { 0 };
            chunk.iter().enumerate().skip(skipped).filter_map(move |(offset, slot)| match &slot.content {
                Content::Occupied(flow) => {
                    let index =
                        FlowIndex { slot: (number * CHUNK_LEN + offset) as u32, generation: slot.generation };
                    Some((index, &slot.key, flow))
                }
                Content::Vacant(_) => None,
            })
        })
    }

    #[inline]
    fn slot(&self, number: u32) -> Option<&Slot<F>> {
        self.chunks.get(number as usize / CHUNK_LEN)?.get(number as usize % CHUNK_LEN)
    }

    /// An occupied slot of this generation.
    #[inline]
    fn slot_mut(&mut self, index: FlowIndex) -> Option<&mut Slot<F>> {
        let number = index.slot as usize;
        let slot = self.chunks.get_mut(number / CHUNK_LEN)?.get_mut(number % CHUNK_LEN)?;
        let is_it = slot.generation == index.generation && matches!(slot.content, Content::Occupied(_));
        is_it.then_some(slot)
    }

    /// Where the search for a hash begins.
    #[inline]
    fn home(&self, hash: KeyHash) -> usize {
        hash.0 as usize & (self.index.len() - 1)
    }

    #[inline]
    fn after(&self, at: usize) -> usize {
        (at + 1) & (self.index.len() - 1)
    }
}

impl FlowIndex {
    /// Number of the slot, below [`Table::limit`]. Other flows have had it, or will.
    #[must_use]
    pub const fn slot(self) -> usize {
        self.slot as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Endpoint, Vlan};
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn key(number: u32) -> FlowKey {
        let client =
            Endpoint::new(core::net::Ipv4Addr::from_bits(0x0a00_0000 | number >> 12).into(), number as u16);
        let server = Endpoint::new(core::net::Ipv4Addr::LOCALHOST.into(), 25);
        FlowKey::between(Vlan { outer: (number >> 4) as u16, inner: 0 }, &client, &server).0
    }

    impl<F> Table<F> {
        /// What must hold after every change.
        fn invariants(&self) {
            let entries: Vec<_> = (0..self.index.len()).filter(|&at| self.index[at] != 0).collect();
            assert_eq!(entries.len(), self.len, "an index entry per flow");
            assert_eq!(self.iter().count(), self.len, "an occupied slot per flow");
            assert!(self.len <= self.limit);
            for at in entries {
                let entry = self.index[at];
                let slot = self.slot(entry as u32 - 1).unwrap();
                assert!(matches!(slot.content, Content::Occupied(_)));
                assert_eq!(slot.hash, KeyHash((entry >> 32) as u32));
                assert_eq!(slot.hash, self.hash(&slot.key));
                let mut on_the_way = self.home(slot.hash);
                while on_the_way != at {
                    assert_ne!(self.index[on_the_way], 0, "no gap between an entry's home and itself");
                    on_the_way = self.after(on_the_way);
                }
            }
            let mut vacant = self.vacant;
            let mut vacant_count = 0;
            while let Some(number) = vacant {
                let Content::Vacant(next) = self.slot(number).unwrap().content else { panic!("occupied") };
                vacant = next;
                vacant_count += 1;
            }
            assert_eq!(
                vacant_count + self.len,
                self.chunks.iter().map(Vec::len).sum::<usize>(),
                "no slot is lost"
            );
        }
    }

    #[derive(Debug, Clone)]
    enum Op {
        Insert(u32),
        Lookup(u32),
        Remove(u32),
        Change(u32, u64),
        UseStale(prop::sample::Index),
    }

    fn op() -> impl Strategy<Value = Op> {
        let number = 0u32..24;
        prop_oneof![
            4 => number.clone().prop_map(Op::Insert),
            2 => number.clone().prop_map(Op::Lookup),
            3 => number.clone().prop_map(Op::Remove),
            1 => (number, any::<u64>()).prop_map(|(number, value)| Op::Change(number, value)),
            1 => any::<prop::sample::Index>().prop_map(Op::UseStale),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn behaves_as_a_map(
            limit in 1usize..20,
            hash_key: [u8; 16],
            ops in proptest::collection::vec(op(), 1..200),
        ) {
            let mut table = Table::new(limit, &hash_key);
            let mut model: HashMap<u32, (FlowIndex, u64)> = HashMap::new();
            let mut stale = Vec::new();
            let mut guesses = vec![Guess::default()];
            for op in ops {
                match op {
                    Op::Insert(number) if !model.contains_key(&number) => match table.insert(key(number), 0) {
                        Ok(index) => {
                            model.insert(number, (index, 0));
                        }
                        Err(Full) => prop_assert_eq!(model.len(), limit),
                    },
                    Op::Insert(number) | Op::Lookup(number) => {
                        let expected = model.get(&number).copied();
                        prop_assert_eq!(table.lookup(&key(number)), expected.map(|it| it.0));
                        let hash = table.hash(&key(number));
                        guesses.push(table.guess(hash));
                        // Old guesses and those for others do no harm.
                        for guess in &guesses {
                            let found = table.lookup_guessed(*guess, hash, &key(number));
                            prop_assert_eq!(found, expected.map(|it| it.0));
                        }
                        if let Some((index, value)) = expected {
                            prop_assert_eq!(table.get(index), Some(&value));
                            prop_assert_eq!(table.key(index), Some(&key(number)));
                        }
                    }
                    Op::Remove(number) => {
                        if let Some((index, value)) = model.remove(&number) {
                            prop_assert_eq!(table.remove(index), Some(value));
                            stale.push(index);
                        }
                    }
                    Op::Change(number, value) => {
                        if let Some(it) = model.get_mut(&number) {
                            it.1 = value;
                            *table.get_mut(it.0).unwrap() = value;
                        }
                    }
                    Op::UseStale(which) => {
                        if !stale.is_empty() {
                            let index = *which.get(&stale);
                            prop_assert_eq!(table.get(index), None);
                            prop_assert_eq!(table.get_mut(index), None);
                            prop_assert_eq!(table.key(index), None);
                            prop_assert_eq!(table.remove(index), None);
                        }
                    }
                }
                table.invariants();
                prop_assert_eq!(table.len(), model.len());
            }
            for (number, (index, value)) in &model {
                prop_assert!(table.iter().any(|it| it == (*index, &key(*number), value)));
            }
        }
    }

    #[test]
    fn many_flows_in_several_chunks() {
        let limit = 3 * CHUNK_LEN + 7;
        let mut table = Table::new(limit, &[7; 16]);
        let indexes: Vec<_> =
            (0..limit as u32).map(|number| table.insert(key(number), number).unwrap()).collect();
        assert_eq!(table.insert(key(u32::MAX), 0), Err(Full));
        table.invariants();
        let mut right = 0;
        for (number, &index) in (0..).zip(&indexes) {
            assert_eq!(table.lookup(&key(number)), Some(index));
            right += usize::from(table.guess(table.hash(&key(number))).0 == index.slot);
        }
        assert!(right > limit / 2, "{right} guesses of {limit} are right");
        let numbers: Vec<_> =
            table.from(CHUNK_LEN + 5).map(|(index, _, number)| (index.slot(), *number)).collect();
        assert_eq!(numbers.len(), limit - CHUNK_LEN - 5);
        assert_eq!(numbers[0], (CHUNK_LEN + 5, (CHUNK_LEN + 5) as u32));
        assert_eq!(table.from(limit).count(), 0);
        assert_eq!(table.from(usize::MAX).count(), 0);
        for &index in indexes.iter().rev() {
            assert!(table.remove(index).is_some());
        }
        table.invariants();
        assert!(table.is_empty() && table.index.iter().all(|&entry| entry == 0));
        for number in 0..limit as u32 {
            table.insert(key(number), number).unwrap();
        }
        assert_eq!(table.chunks.len(), 4, "slots are used again");
    }

    /// What an attacker tries who knows how an unkeyed table would hash: keys that all collide under one hash key spread
    /// under another.
    #[test]
    fn colliding_keys_do_not_collide_under_another_hash_key() {
        let known = Table::<()>::new(1024, &[0; 16]);
        let colliding: Vec<_> = (0..).filter(|&n| known.home(known.hash(&key(n))) < 4).take(512).collect();
        let mut secret = Table::new(1024, b"nobody knows it.");
        for &number in &colliding {
            secret.insert(key(number), ()).unwrap();
        }
        let mut longest = 0;
        let mut run = 0;
        for &entry in &secret.index {
            run = if entry == 0 { 0 } else { run + 1 };
            longest = longest.max(run);
        }
        assert!(longest < 32, "a run of {longest} entries at a quarter full");
        // And where they do collide, everything is still found, and removed.
        let mut known = known;
        let indexes: Vec<_> =
            colliding.iter().map(|&number| known.insert(key(number), ()).unwrap()).collect();
        known.invariants();
        for (&number, &index) in colliding.iter().zip(&indexes).step_by(2) {
            assert_eq!(known.lookup(&key(number)), Some(index));
            known.remove(index).unwrap();
            assert_eq!(known.lookup(&key(number)), None);
        }
        known.invariants();
    }

    #[test]
    fn flows_of_one_hash_are_told_apart() {
        let mut table = Table::new(2, &[7; 16]);
        let mut seen = HashMap::new();
        // 32 bits of hash, so a pair is to be expected among 2^16 keys.
        let (one, other) = (0..)
            .find_map(|number| {
                seen.insert(table.hash(&key(number)).0, number).map(|earlier| (earlier, number))
            })
            .unwrap();
        let first = table.insert(key(one), "one").unwrap();
        assert_eq!(table.lookup(&key(other)), None);
        let second = table.insert(key(other), "other").unwrap();
        assert_eq!((table.lookup(&key(one)), table.lookup(&key(other))), (Some(first), Some(second)));
        assert_eq!(table.remove(first), Some("one"));
        assert_eq!((table.lookup(&key(one)), table.lookup(&key(other))), (None, Some(second)));
    }

    #[test]
    fn a_slot_costs_little_beside_its_value() {
        assert_eq!(size_of::<Slot<[u64; 9]>>(), 128, "56 octets, rounded up to a cache line");
    }
}
