//! The steps in memory. Known machines have places of their own, so invented addresses push out nothing but each other.

use std::collections::{HashMap, HashSet, VecDeque};

use api::{BootStep, StepKind};
use jiff::Timestamp;
use logs::escaped;
use model::Mac;
use serde::{Deserialize, Serialize};

/// The most known machines, and the most steps of all of them.
pub const PLACES: usize = 16_384;
pub const TOTAL: usize = 131_072;
/// The steps of one machine: at least while many machines share the total, and at most.
pub const LEAST: usize = 8;
pub const MOST: usize = 48;
/// The most machines without Hardware, and the steps of one.
pub const STRANGERS: usize = 1024;
const OF_STRANGER: usize = 4;
/// The highest number of a step that a file may have, so that the numbers after it do not end.
const HIGHEST: u64 = u64::MAX / 2;
/// The most characters of a text.
const LONGEST: usize = 200;

#[derive(Debug, Default)]
pub struct Book {
    known: HashMap<Mac, Kept>,
    strangers: HashMap<Mac, Kept>,
    changed: HashSet<Mac>,
}

/// Steps with consecutive numbers.
#[derive(Debug, Default)]
struct Kept {
    steps: VecDeque<BootStep>,
    /// The number of the next step.
    next: u64,
    /// Steps from this number on are not in the file as they are.
    unsaved: u64,
}

/// A step in the file.
#[derive(Debug, Serialize, Deserialize)]
struct Record<'a> {
    mac: Mac,
    known: bool,
    number: u64,
    #[serde(flatten)]
    step: std::borrow::Cow<'a, BootStep>,
}

impl Kept {
    fn push(&mut self, step: BootStep, most: usize) {
        match self.steps.back_mut() {
            Some(last) if last.says_the_same(&step) => {
                last.count = last.count.saturating_add(step.count);
                last.until = Some(step.latest());
                self.unsaved = self.unsaved.min(self.next - 1);
            }
            _ => match self.joined(&step).and_then(|at| Some((at, self.steps.remove(at)?))) {
                // It becomes the last one, and takes the number of the last one.
                Some((at, earlier)) => {
                    let first = self.first() - 1;
                    self.unsaved = self.unsaved.min(first + at as u64);
                    self.steps.push_back(join(earlier, step));
                }
                None => {
                    self.unsaved = self.unsaved.min(self.next);
                    self.next += 1;
                    self.steps.push_back(step);
                }
            },
        }
        while self.steps.len() > most.max(1) {
            self.steps.pop_front();
        }
    }

    /// A system that runs reads any number of files, and renews its lease between them. Its steps share a few places, because the
    /// boot before them shall stay.
    fn joined(&self, step: &BootStep) -> Option<usize> {
        let most = places(step.kind)?;
        let running = self.steps.iter().enumerate().rev().take_while(|(_, one)| places(one.kind).is_some());
        let alike: Vec<(usize, &BootStep)> = running.filter(|(_, one)| one.kind == step.kind).collect();
        let same = alike.iter().find(|(_, one)| one.says_the_same(step));
        same.or_else(|| alike.first().filter(|_| alike.len() >= most)).map(|(at, _)| *at)
    }

    fn heard(&self) -> Option<Timestamp> {
        self.steps.back().map(BootStep::latest)
    }

    fn first(&self) -> u64 {
        self.next - self.steps.len() as u64
    }

    fn numbered(&self, from: u64) -> impl Iterator<Item = (u64, &BootStep)> {
        (self.first()..).zip(&self.steps).filter(move |(number, _)| *number >= from)
    }
}

/// The steps of a running system, and how many of a kind stand side by side.
const fn places(kind: StepKind) -> Option<usize> {
    match kind {
        StepKind::File => Some(1),
        StepKind::FileRefused | StepKind::BrokenOff | StepKind::Acknowledged => Some(4),
        _ => None,
    }
}

/// The later one, counted with the earlier one.
fn join(earlier: BootStep, later: BootStep) -> BootStep {
    let (count, until) = (earlier.count.saturating_add(later.count), Some(later.latest()));
    let is_of_several = !earlier.says_the_same(&later) && later.kind == StepKind::File;
    let why = if is_of_several || earlier.why == SEVERAL { SEVERAL.to_owned() } else { later.why };
    BootStep { at: earlier.at, until, count, why, ..later }
}

/// Why a step of many files names one.
const SEVERAL: &str = "the latest of several files";

/// Machines say such a thing again and again, and only its first time in a boot is a step.
const fn is_once_in_a_boot(kind: StepKind) -> bool {
    matches!(kind, StepKind::Log | StepKind::Agent)
}

/// A renewed lease does not begin a boot.
const fn belongs_to_a_new_boot(kind: StepKind) -> bool {
    matches!(kind, StepKind::Offered | StepKind::Nbp | StepKind::Script | StepKind::Kernel | StepKind::Ramdisk)
}

impl Book {
    /// True if nothing was waiting to be written before it.
    pub fn add(&mut self, mac: Mac, is_known: bool, step: BootStep) -> bool {
        if is_once_in_a_boot(step.kind) && !self.is_news(mac, step.kind) {
            return false;
        }
        let has_place = is_known || self.known.contains_key(&mac);
        let most = if has_place { self.share() } else { OF_STRANGER };
        self.place(mac, has_place).push(bounded(step), most);
        let was_quiet = self.changed.is_empty();
        self.changed.insert(mac);
        was_quiet
    }

    pub fn is_news(&self, mac: Mac, kind: StepKind) -> bool {
        let found = self.of(mac).rev().find(|step| step.kind == kind || belongs_to_a_new_boot(step.kind));
        found.is_none_or(|step| step.kind != kind)
    }

    pub fn of(&self, mac: Mac) -> impl DoubleEndedIterator<Item = &BootStep> {
        self.known.get(&mac).or_else(|| self.strangers.get(&mac)).into_iter().flat_map(|kept| &kept.steps)
    }

    #[must_use]
    pub fn similar(&self, mac: Mac) -> Vec<Mac> {
        let mut found: Vec<Mac> = self.strangers.keys().filter(|other| is_similar(mac, **other)).copied().collect();
        found.sort_unstable();
        found
    }

    /// How many steps each known machine may have.
    fn share(&self) -> usize {
        (TOTAL / self.known.len().max(1)).clamp(LEAST, MOST)
    }

    fn place(&mut self, mac: Mac, is_known: bool) -> &mut Kept {
        if !is_known {
            make_room(&mut self.strangers, STRANGERS, mac, &mut self.changed);
            return self.strangers.entry(mac).or_default();
        }
        make_room(&mut self.known, PLACES, mac, &mut self.changed);
        let before = self.strangers.remove(&mac);
        self.known.entry(mac).or_insert_with(|| Kept { unsaved: 0, ..before.unwrap_or_default() })
    }

    #[must_use]
    pub fn has_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Nobody writes them.
    pub fn forget_changes(&mut self) {
        self.changed.clear();
    }

    /// The lines for what has changed since the last call.
    pub fn take_changes(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        for mac in std::mem::take(&mut self.changed) {
            let (kept, known) = match self.known.get_mut(&mac) {
                Some(kept) => (kept, true),
                None => match self.strangers.get_mut(&mac) {
                    Some(kept) => (kept, false),
                    None => continue, // pushed out meanwhile
                },
            };
            kept.numbered(kept.unsaved).for_each(|(number, step)| encode(mac, known, number, step, &mut out));
            kept.unsaved = kept.next;
        }
        out
    }

    /// All machines that have steps.
    #[must_use]
    pub fn macs(&self) -> Vec<Mac> {
        self.known.keys().chain(self.strangers.keys()).copied().collect()
    }

    /// The lines for everything of these machines, which then counts as written.
    pub fn whole(&mut self, macs: &[Mac]) -> Vec<u8> {
        let mut out = Vec::new();
        for mac in macs {
            self.changed.remove(mac);
            let (kept, known) = match self.known.get_mut(mac) {
                Some(kept) => (kept, true),
                None => match self.strangers.get_mut(mac) {
                    Some(kept) => (kept, false),
                    None => continue, // pushed out meanwhile
                },
            };
            kept.numbered(0).for_each(|(number, step)| encode(*mac, known, number, step, &mut out));
            kept.unsaved = kept.next;
        }
        out
    }

    /// Takes a line of the file. One that is not of these is skipped.
    pub fn replay(&mut self, line: &[u8]) {
        let Ok(Record { mac, known, number, step }) = serde_json::from_slice::<Record<'_>>(line) else { return };
        if number > HIGHEST {
            return;
        }
        let known = known || self.known.contains_key(&mac);
        let (most, step) = (if known { self.share() } else { OF_STRANGER }, bounded(step.into_owned()));
        let kept = self.place(mac, known);
        // A step that was written again replaces it and those behind it, which follow in the file.
        let stays = number.saturating_sub(kept.first());
        kept.steps.truncate(usize::try_from(stays).unwrap_or(usize::MAX));
        kept.steps.push_back(step);
        kept.next = number + 1;
        // Numbers are consecutive in memory.
        while kept.steps.len() > most || kept.steps.len() as u64 > kept.next {
            kept.steps.pop_front();
        }
        kept.unsaved = kept.next;
    }
}

fn encode(mac: Mac, known: bool, number: u64, step: &BootStep, out: &mut Vec<u8>) {
    let start = out.len();
    match serde_json::to_writer(&mut *out, &Record { mac, known, number, step: std::borrow::Cow::Borrowed(step) }) {
        Ok(()) => out.push(b'\n'),
        Err(_) => out.truncate(start), // never: writing to memory does not fail
    }
}

/// Machines choose parts of the texts.
fn bounded(mut step: BootStep) -> BootStep {
    for text in [&mut step.asked, &mut step.answered, &mut step.why, &mut step.file] {
        if text.len() > LONGEST || !machine::is_harmless(text) || text.contains('\t') {
            // An escape is longer than its letter. What the file has is bounded again when it is read, and stays the same.
            let cut: String = escaped(text, LONGEST).chars().take(LONGEST).collect();
            *text = cut.trim_end().to_owned();
        }
    }
    step
}

/// If a new machine has no place, the most idle eighth goes at once: a search for each would cost more than its answer.
fn make_room(machines: &mut HashMap<Mac, Kept>, most: usize, mac: Mac, changed: &mut HashSet<Mac>) {
    if machines.len() < most || machines.contains_key(&mac) {
        return;
    }
    let mut idle: Vec<_> = machines.iter().map(|(mac, kept)| (kept.heard(), *mac)).collect();
    let (eighth, ..) = idle.select_nth_unstable(most / 8);
    for (_, mac) in eighth {
        machines.remove(mac);
        changed.remove(mac);
    }
}

fn is_similar(one: Mac, other: Mac) -> bool {
    let digits = |mac: Mac| mac.bytes().into_iter().flat_map(|byte| [byte >> 4, byte & 15]);
    one != other && digits(one).zip(digits(other)).filter(|(one, other)| one != other).count() <= 2
}

#[cfg(test)]
mod tests;
