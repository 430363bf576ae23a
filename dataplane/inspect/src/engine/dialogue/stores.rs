//! What busy sessions borrow from their worker.

use super::reading::Reading;
use super::report::Audit;
use super::tls_memory::TlsMemory;
use crate::mime::Field;
use crate::shelf::Shelf;
use crate::smtp::Line;

/// How many of each may be out at once: what peers can make a worker hold beyond the sessions themselves.
/// A session that needs one more is refused with `421 4.3.2`, and counted as the decision `RESOURCE_EXHAUSTED`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Lines that came in part, of 2.3 KiB each.
    pub lines: usize,
    /// Messages that are read as MIME, of 1.8 KiB each.
    pub messages: usize,
    /// Headers of messages and parts that are being read, of 8 KiB each.
    pub fields: usize,
    /// Sessions whose transactions are reported (audit trail), of 0.5 KiB each. Beyond it the session goes on, its
    /// transactions are counted as lost records.
    pub audits: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { lines: 16_384, messages: 65_536, fields: 8_192, audits: 65_536 }
    }
}

/// The shelves of one worker.
#[derive(Debug)]
pub struct Stores {
    pub(super) lines: Shelf<Line>,
    pub(super) messages: Shelf<Reading>,
    pub(super) fields: Shelf<Field>,
    pub(super) audits: Shelf<Audit>,
    pub(super) tls: TlsMemory,
}

impl Stores {
    /// Empty shelves; boxes are made when first needed, and used again.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            lines: Shelf::new(limits.lines),
            messages: Shelf::new(limits.messages),
            fields: Shelf::new(limits.fields),
            audits: Shelf::new(limits.audits),
            tls: TlsMemory::default(),
        }
    }

    /// Boxes that are out, of all kinds. 0 when every session has ended.
    #[must_use]
    pub fn out_count(&self) -> usize {
        self.lines.out_count() + self.messages.out_count() + self.fields.out_count() + self.audits.out_count()
    }
}

impl Default for Stores {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}
