//! The limits of one rendering. Every function asks here before it takes memory, so no template can exhaust the server.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::value::Cells;

/// The limits of one rendering. Real templates stay far below them.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of rendered text.
    pub output: usize,
    /// Bytes of all values that are made, whether or not they are still in use.
    pub memory: usize,
    /// Units of work: evaluated nodes, and bytes that functions read.
    pub steps: u64,
    pub time: Duration,
    /// How deep nodes, templates that call each other, and values may be nested.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { output: 256 << 10, memory: 64 << 20, steps: 5_000_000, time: Duration::from_secs(5), depth: 2_000 }
    }
}

pub struct Budget {
    limits: Limits,
    memory: Cell<usize>,
    steps: Cell<u64>,
    deadline: Instant,
    stop: Arc<AtomicBool>,
    spent: Cell<bool>,
    /// Every map that was made. A template can put a map into itself, so all maps are emptied at the end to free such
    /// rings.
    maps: RefCell<Vec<Cells>>,
}

impl Budget {
    #[must_use]
    pub fn new(limits: Limits, stop: Arc<AtomicBool>) -> Self {
        let deadline = Instant::now() + limits.time;
        Self {
            limits,
            memory: Cell::new(0),
            steps: Cell::new(0),
            deadline,
            stop,
            spent: Cell::new(false),
            maps: RefCell::default(),
        }
    }

    /// Whether the rendering ended because it reached a limit.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.spent.get()
    }

    pub(crate) fn clock(&self) -> Clock {
        Clock { deadline: self.deadline, stop: Arc::clone(&self.stop) }
    }

    fn exceeded(&self, message: String) -> Result<(), String> {
        self.spent.set(true);
        Err(message)
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Call this before allocating the bytes.
    pub(crate) fn take(&self, bytes: usize) -> Result<(), String> {
        let memory = self.memory.get().saturating_add(bytes);
        if memory > self.limits.memory {
            return self.exceeded(format!("the template needs more than {} MiB of memory", self.limits.memory >> 20));
        }
        self.memory.set(memory);
        Ok(())
    }

    pub(crate) fn remaining(&self) -> usize {
        self.limits.memory.saturating_sub(self.memory.get())
    }

    pub(crate) fn step(&self) -> Result<(), String> {
        self.work(1)
    }

    /// Reading this many bytes costs less than evaluating that many nodes.
    pub(crate) fn read(&self, bytes: usize) -> Result<(), String> {
        self.work(1 + bytes as u64 / 64)
    }

    pub(crate) fn work(&self, units: u64) -> Result<(), String> {
        let before = self.steps.get();
        let after = before.saturating_add(units);
        self.steps.set(after);
        if after > self.limits.steps {
            return self.exceeded(format!("the template needs more than {} steps; does it loop?", self.limits.steps));
        }
        if before >> 8 != after >> 8 {
            if self.stop.load(Ordering::Relaxed) {
                return Err("rendering was stopped".to_owned());
            }
            if Instant::now() > self.deadline {
                return self.exceeded(format!("the template takes longer than {:?}", self.limits.time));
            }
        }
        Ok(())
    }

    pub(crate) fn remember(&self, map: &Cells) {
        self.maps.borrow_mut().push(Cells::clone(map));
    }
}

/// The time that is left, for what has no budget at hand.
pub(crate) struct Clock {
    deadline: Instant,
    stop: Arc<AtomicBool>,
}

impl Clock {
    pub(crate) fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || Instant::now() > self.deadline
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        for map in self.maps.borrow_mut().drain(..) {
            drop(std::mem::take(&mut *map.borrow_mut()));
        }
    }
}
