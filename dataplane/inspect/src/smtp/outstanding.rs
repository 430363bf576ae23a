//! Commands that the server has not answered yet.

/// Commands without a reply that a session may have. A client that sends more without waiting is out of step.
pub const OUTSTANDING_LIMIT: usize = 4096;

/// Runs of equal entries among them; a transaction in one flight has about four.
pub const OUTSTANDING_RUNS: usize = 24;

/// What a reply will be the answer to, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Expects {
    /// A command whose reply changes nothing.
    #[default]
    Plain,
    /// The connection itself: the banner.
    Banner,
    /// EHLO: keywords follow, and the transaction is forgotten.
    Ehlo,
    /// HELO: no extensions, and the transaction is forgotten.
    Helo,
    /// RSET with arguments: the transaction is forgotten when the server agrees.
    Forget,
    /// RCPT.
    Rcpt,
    /// MAIL or RSET: when the server agrees, the transaction has no recipients.
    Fresh,
    /// MAIL with BODY=BINARYMIME.
    Binary,
    /// A chunk that is not its message's last.
    Chunk,
    /// The last chunk of a message.
    LastChunk,
    /// DATA: 354 opens the content.
    Data,
    /// The end of data.
    EndOfData,
    /// AUTH, or a line of its exchange: 334 asks for one more.
    Auth,
    /// STARTTLS: 220 opens TLS.
    StartTls,
}

/// Too many commands without a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overflow;

/// A queue in which equal neighbours share one place, so that hundreds of RCPTs fit.
///
/// Invariant: `runs[first..first + len]`, around the end, are in use and not empty; neighbours differ.
#[derive(Debug, Default)]
pub struct Outstanding {
    kinds: [Expects; OUTSTANDING_RUNS],
    counts: [u16; OUTSTANDING_RUNS],
    first: u8,
    len: u8,
    total: u16,
}

impl Outstanding {
    /// Adds a command.
    ///
    /// # Errors
    /// [`Overflow`] when [`OUTSTANDING_LIMIT`] or [`OUTSTANDING_RUNS`] is reached; nothing was added.
    #[inline]
    pub fn push(&mut self, kind: Expects) -> Result<(), Overflow> {
        if usize::from(self.total) == OUTSTANDING_LIMIT {
            return Err(Overflow);
        }
        let last = self.index(self.len.wrapping_sub(1));
        if self.len > 0 && self.kinds[last] == kind {
            self.counts[last] += 1;
        } else if usize::from(self.len) == OUTSTANDING_RUNS {
            return Err(Overflow);
        } else {
            let next = self.index(self.len);
            self.kinds[next] = kind;
            self.counts[next] = 1;
            self.len += 1;
        }
        self.total += 1;
        self.invariants();
        Ok(())
    }

    /// Whether another command can be added, whatever it is.
    #[must_use]
    pub fn has_room(&self) -> bool {
        usize::from(self.total) < OUTSTANDING_LIMIT && usize::from(self.len) < OUTSTANDING_RUNS
    }

    /// The command that the next reply answers.
    #[must_use]
    pub fn first(&self) -> Option<Expects> {
        (self.len > 0).then(|| self.kinds[usize::from(self.first)])
    }

    /// Whether a command of this kind is without reply.
    #[must_use]
    pub fn contains(&self, kind: Expects) -> bool {
        (0..self.len).any(|position| self.kinds[self.index(position)] == kind)
    }

    /// Takes it out.
    #[inline]
    pub fn pop(&mut self) -> Option<Expects> {
        let kind = self.first()?;
        let first = usize::from(self.first);
        self.counts[first] -= 1;
        self.total -= 1;
        if self.counts[first] == 0 {
            self.first = self.index(1) as u8;
            self.len -= 1;
        }
        self.invariants();
        Some(kind)
    }

    /// Whether every command has its reply.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Commands without a reply.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.total)
    }

    fn index(&self, position: u8) -> usize {
        (usize::from(self.first) + usize::from(position)) % OUTSTANDING_RUNS
    }

    fn invariants(&self) {
        if cfg!(debug_assertions) {
            let runs: Vec<_> = (0..self.len).map(|position| self.index(position)).collect();
            let total: usize = runs.iter().map(|run| usize::from(self.counts[*run])).sum();
            assert_eq!(total, usize::from(self.total));
            assert!(runs.iter().all(|run| self.counts[*run] > 0));
            assert!(runs.windows(2).all(|pair| self.kinds[pair[0]] != self.kinds[pair[1]]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hundreds_of_recipients_take_one_place() {
        let mut queue = Outstanding::default();
        queue.push(Expects::Plain).unwrap();
        for _ in 0..200 {
            queue.push(Expects::Rcpt).unwrap();
        }
        queue.push(Expects::Data).unwrap();
        assert!(queue.contains(Expects::Data) && !queue.contains(Expects::Auth));
        assert_eq!((queue.len(), queue.pop()), (202, Some(Expects::Plain)));
        for _ in 0..200 {
            assert_eq!(queue.pop(), Some(Expects::Rcpt));
        }
        assert_eq!((queue.pop(), queue.pop()), (Some(Expects::Data), None));
    }

    #[test]
    fn both_budgets_hold_and_refuse_without_harm() {
        let mut queue = Outstanding::default();
        while queue.push(Expects::Rcpt).is_ok() {}
        assert_eq!(queue.len(), OUTSTANDING_LIMIT);
        let mut queue = Outstanding::default();
        let kinds = [Expects::Plain, Expects::Rcpt];
        let mut pushed = 0;
        while queue.push(kinds[pushed % 2]).is_ok() {
            pushed += 1;
        }
        assert_eq!(pushed, OUTSTANDING_RUNS);
        for round in 0..100 {
            assert_eq!(queue.pop(), Some(kinds[round % 2]), "the ring goes around");
            queue.push(kinds[round % 2]).unwrap();
        }
    }
}
