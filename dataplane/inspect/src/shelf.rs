//! Boxes that sessions borrow and give back, so that nothing is allocated after warm-up.
//!
//! A worker has one [`Shelf`] for each kind of bulky state that only busy sessions need: a half-received line,
//! a message being read. How many may be out at once is the shelf's limit: the memory that peers can make a worker hold.

/// Boxes of one kind.
#[derive(Debug)]
pub struct Shelf<T> {
    free: Vec<Box<T>>,
    out_count: usize,
    limit: usize,
}

impl<T: Default> Shelf<T> {
    /// A shelf of which at most `limit` boxes may be out at once. They are made when first needed.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { free: Vec::new(), out_count: 0, limit }
    }

    /// Takes a box; its content is whatever its last user left. `None` when the limit is reached.
    pub fn take(&mut self) -> Option<Box<T>> {
        if self.out_count >= self.limit {
            return None;
        }
        self.out_count += 1;
        Some(self.free.pop().unwrap_or_default())
    }

    /// Gives a box back. One that is dropped instead stays counted as out.
    pub fn give(&mut self, item: Box<T>) {
        self.out_count = self.out_count.saturating_sub(1);
        self.free.push(item);
    }

    /// Gives a box back, if there is one.
    pub fn give_from(&mut self, slot: &mut Option<Box<T>>) {
        if let Some(item) = slot.take() {
            self.give(item);
        }
    }

    /// Boxes that are out.
    #[must_use]
    pub fn out_count(&self) -> usize {
        self.out_count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_come_back_and_the_limit_holds() {
        let mut shelf = Shelf::<u64>::new(2);
        let mut one = shelf.take();
        let two = shelf.take().unwrap();
        assert!(shelf.take().is_none());
        let address = std::ptr::from_ref(&*two);
        shelf.give(two);
        assert!(std::ptr::eq(&*shelf.take().unwrap(), address), "made once, used again");
        shelf.give_from(&mut one);
        assert!(one.is_none());
        assert_eq!(shelf.out_count(), 1);
    }
}
