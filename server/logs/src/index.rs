//! The segments of all sources, in memory.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jiff::Timestamp;

use crate::source::Source;

/// What file systems give to a file at least.
const BLOCK: u64 = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    pub number: u64,
    pub length: u64,
    /// When its last line was written.
    pub newest: Timestamp,
}

/// Ordered twice more: by the age of segments, and by the size of sources.
#[derive(Debug, Default)]
pub struct Index {
    sources: BTreeMap<Source, Kept>,
    ages: BTreeSet<(Timestamp, Source, u64)>,
    sizes: BTreeSet<(u64, Source)>,
    bytes: u64,
}

#[derive(Debug, Default)]
struct Kept {
    segments: VecDeque<Segment>,
    bytes: u64,
}

/// What a file of this length takes.
#[must_use]
pub const fn cost(length: u64) -> u64 {
    length.div_ceil(BLOCK).saturating_mul(BLOCK)
}

impl Index {
    /// Adds a segment, or replaces the one with its number. Its number is that of the newest segment, or a higher one.
    pub fn add(&mut self, source: &Source, segment: Segment) {
        self.change(source, |segments| match segments.back_mut() {
            Some(last) if last.number == segment.number => *last = segment,
            _ => segments.push_back(segment),
        });
    }

    pub fn remove(&mut self, source: &Source, number: u64) {
        self.change(source, |segments| segments.retain(|segment| segment.number != number));
    }

    fn change(&mut self, source: &Source, change: impl FnOnce(&mut VecDeque<Segment>)) {
        let mut kept = self.sources.remove(source).unwrap_or_default();
        self.sizes.remove(&(kept.bytes, source.clone()));
        self.bytes = self.bytes.saturating_sub(kept.bytes);
        let before: Vec<Segment> = kept.segments.iter().copied().collect();
        change(&mut kept.segments);
        for segment in &before {
            if !kept.segments.contains(segment) {
                self.ages.remove(&(segment.newest, source.clone(), segment.number));
            }
        }
        for segment in kept.segments.iter().filter(|segment| !before.contains(segment)) {
            self.ages.insert((segment.newest, source.clone(), segment.number));
        }
        if kept.segments.is_empty() {
            return;
        }
        kept.bytes = kept.segments.iter().map(|segment| cost(segment.length)).sum();
        self.bytes += kept.bytes;
        self.sizes.insert((kept.bytes, source.clone()));
        self.sources.insert(source.clone(), kept);
    }

    /// Oldest first.
    pub fn segments(&self, source: &Source) -> impl DoubleEndedIterator<Item = Segment> + '_ {
        self.sources.get(source).into_iter().flat_map(|kept| kept.segments.iter().copied())
    }

    /// The sources of workflows whose name begins so.
    pub fn workflows<'i>(&'i self, begin: &'i str) -> impl Iterator<Item = &'i Source> + 'i {
        let from = Source::Workflow(begin.to_owned());
        let is_one = move |source: &&Source| matches!(source, Source::Workflow(name) if name.starts_with(begin));
        self.sources.range(from..).map(|(source, _)| source).take_while(is_one)
    }

    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The segment that was written to least recently.
    #[must_use]
    pub fn oldest(&self) -> Option<(&Source, Segment)> {
        let (_, source, number) = self.ages.first()?;
        let segment = self.segments(source).find(|segment| segment.number == *number)?;
        Some((source, segment))
    }

    /// The source that takes most, and how much.
    #[must_use]
    pub fn largest(&self) -> Option<(&Source, u64)> {
        self.sizes.last().map(|(bytes, source)| (source, *bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_orders_follow_every_change() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let [one, two] = ["one", "two"].map(|name| Source::Machine(name.to_owned()));
        let mut index = Index::default();
        index.add(&one, Segment { number: 1, length: 10, newest: at(1) });
        index.add(&two, Segment { number: 4, length: 5000, newest: at(2) });
        assert_eq!(index.bytes(), 3 * 4096);
        assert_eq!(index.largest(), Some((&two, 2 * 4096)));
        assert_eq!(index.oldest().map(|(source, segment)| (source, segment.number)), Some((&one, 1)));
        index.add(&one, Segment { number: 1, length: 9000, newest: at(3) });
        assert_eq!(index.segments(&one).map(|segment| segment.length).collect::<Vec<_>>(), [9000]);
        assert_eq!(index.largest(), Some((&one, 3 * 4096)));
        assert_eq!(index.oldest().map(|(source, _)| source), Some(&two));
        index.remove(&two, 4);
        index.remove(&one, 1);
        assert_eq!((index.bytes(), index.oldest(), index.largest()), (0, None, None));
    }
}
