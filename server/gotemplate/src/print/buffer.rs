//! A text that is made piece by piece, within the budget.

use crate::budget::{Budget, Clock};

/// Collects text. Text that exceeds the budget is dropped, and `finish` reports that.
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    limit: usize,
    /// Looked at now and then.
    clock: Clock,
    pushes: usize,
    pub(super) full: bool,
}

/// Pushes between two looks at the clock.
const GLANCE: usize = 1 << 12;

impl Buffer {
    pub(crate) fn new(budget: &Budget, limit: usize) -> Self {
        Self { bytes: Vec::new(), limit, clock: budget.clock(), pushes: 0, full: false }
    }

    pub(crate) fn push(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        self.pushes += 1;
        self.full |= self.bytes.len() + bytes.len() > self.limit;
        self.full |= self.pushes.is_multiple_of(GLANCE) && self.clock.is_over();
        if !self.full {
            self.bytes.extend_from_slice(bytes);
        }
    }

    pub(super) fn fill(&mut self, byte: u8, count: usize) {
        self.full |= self.bytes.len().saturating_add(count) > self.limit;
        if !self.full {
            self.bytes.resize(self.bytes.len() + count, byte);
        }
    }

    pub(super) fn room(&self) -> usize {
        self.limit.saturating_sub(self.bytes.len())
    }

    pub(crate) fn is_full(&self) -> bool {
        self.full
    }

    pub(crate) fn finish(self, budget: &Budget) -> Result<Vec<u8>, String> {
        if self.full && self.clock.is_over() {
            budget.work(GLANCE as u64)?;
        }
        budget.take(if self.full { usize::MAX } else { self.bytes.len() })?;
        budget.read(self.bytes.len())?;
        Ok(self.bytes)
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}
