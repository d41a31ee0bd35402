//! What is removed, and when: old segments, segments of a source that takes more than its share, and the oldest ones when all
//! together take too much.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::index::{Index, cost};
use crate::source::Source;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// A segment that has this size is followed by a new one.
    pub segment: u64,
    /// The most bytes of all segments.
    pub total: u64,
    /// The most bytes of one source.
    pub each: u64,
    pub age: Duration,
    /// Nothing is written while the file system has less room than this, because the store needs it.
    pub keep_free: u64,
}

impl Limits {
    /// For all segments together. A source has an eighth of it.
    #[must_use]
    pub fn of(total: u64, age: Duration) -> Self {
        let segment = (8 << 20).min(total / 16).max(4 << 10);
        Self { segment, total, each: (total / 8).max(2 * segment), age, keep_free: 256 << 20 }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::of(1 << 30, Duration::from_secs(30 * 86_400))
    }
}

/// The next segment to remove, if there is one.
#[must_use]
pub fn surplus(index: &Index, limits: &Limits, now: Timestamp) -> Option<(Source, u64)> {
    let age = SignedDuration::try_from(limits.age).unwrap_or(SignedDuration::MAX);
    let oldest = index.oldest().filter(|(_, segment)| now.duration_since(segment.newest) > age);
    let found = oldest.or_else(|| {
        let (largest, bytes) = index.largest()?;
        let is_over = index.bytes() > limits.total;
        // A flooding source pushes out its own lines. Only if no source has several segments, the oldest one of all goes.
        let takes_much = bytes > limits.each || (is_over && bytes > limits.segment.saturating_mul(2));
        match (takes_much, is_over) {
            (true, _) => index.segments(largest).next().map(|segment| (largest, segment)),
            (false, true) => index.oldest(),
            (false, false) => None,
        }
    });
    found.map(|(source, segment)| (source.clone(), segment.number))
}

/// Whether there is room for a batch on the file system.
#[must_use]
pub fn has_room(limits: &Limits, free: u64, batch: usize) -> bool {
    free >= limits.keep_free.saturating_add(cost(u64::try_from(batch).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::Segment;

    const MIB: u64 = 1 << 20;
    const DAY: i64 = 86_400;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn workflow(name: &str) -> Source {
        Source::Workflow(name.to_owned())
    }

    /// Segments as (source, number, MiB, day of the newest line).
    fn index(segments: &[(&str, u64, u64, i64)]) -> Index {
        let mut index = Index::default();
        for (source, number, length, day) in segments {
            index.add(&workflow(source), Segment { number: *number, length: length * MIB, newest: at(day * DAY) });
        }
        index
    }

    fn limits() -> Limits {
        Limits::of(64 * MIB, Duration::from_secs(30 * 86_400))
    }

    #[test]
    fn segments_go_by_age_then_by_share_then_by_size() {
        assert_eq!((limits().segment, limits().each), (4 * MIB, 8 * MIB));
        let small: Vec<(String, u64, u64, i64)> = (0..20).map(|n| (format!("w{n}"), 1, 4, 30 - n)).collect();
        let small: Vec<(&str, u64, u64, i64)> = small.iter().map(|(name, a, b, c)| (name.as_str(), *a, *b, *c)).collect();
        for (case, segments, expected) in [
            ("all is well", vec![("a", 1, 4, 30), ("b", 1, 4, 30)], None),
            ("too old", vec![("a", 1, 1, 30), ("b", 1, 1, 0), ("b", 2, 1, 30)], Some(("b", 1))),
            ("exactly as old as allowed", vec![("b", 1, 1, 1)], None),
            (
                "more than its share",
                vec![("a", 1, 4, 1), ("flood", 7, 4, 30), ("flood", 8, 4, 30), ("flood", 9, 4, 30)],
                Some(("flood", 7)),
            ),
            ("too much of many", small, Some(("w19", 1))),
        ] {
            let found = surplus(&index(&segments), &limits(), at(31 * DAY));
            assert_eq!(found, expected.map(|(source, number)| (workflow(source), number)), "{case}");
        }
    }

    #[test]
    fn a_flooding_source_never_pushes_out_the_lines_of_others() {
        let mut index = index(&[("quiet", 1, 1, 1), ("other", 1, 1, 1)]);
        for number in 1..1000 {
            index.add(&workflow("flood"), Segment { number, length: 4 * MIB, newest: at(2 * DAY) });
            while let Some((source, number)) = surplus(&index, &limits(), at(2 * DAY)) {
                assert_eq!(source, workflow("flood"));
                index.remove(&source, number);
            }
            assert!(index.bytes() <= 10 * MIB);
        }
    }

    #[test]
    fn nothing_is_written_without_room_for_the_store() {
        let limits = limits();
        assert!(has_room(&limits, limits.keep_free + 4096, 100) && !has_room(&limits, limits.keep_free + 4095, 100));
    }
}
