//! Counters over atomics, and Prometheus' text format 0.0.4.
//!
//! Each value of a label is a `&'static str`, so no client of the network can make a series.

#![forbid(unsafe_code)]

mod page;
mod text;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub use page::{Family, Kind, rows};
pub use text::{CONTENT_TYPE, Text};

/// Bounds of a histogram in seconds. The bucket without a bound is added.
pub type Bounds = &'static [(&'static str, f64)];

/// A counter for each pair of words. What has other words is counted under the last ones.
#[derive(Debug)]
pub struct Counters {
    rows: &'static [&'static str],
    columns: &'static [&'static str],
    cells: Box<[AtomicU64]>,
}

impl Counters {
    #[must_use]
    pub fn of(rows: &'static [&'static str], columns: &'static [&'static str]) -> Self {
        Self { rows, columns, cells: zeros(rows.len() * columns.len()) }
    }

    /// For a family with one label.
    #[must_use]
    pub fn by(rows: &'static [&'static str]) -> Self {
        Self::of(rows, &[""])
    }

    pub fn add(&self, row: &str, column: &str) {
        let place =
            |words: &[&str], word: &str| words.iter().position(|known| *known == word).unwrap_or(words.len().saturating_sub(1));
        let cell = place(self.rows, row) * self.columns.len() + place(self.columns, column);
        if let Some(cell) = self.cells.get(cell) {
            cell.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Of two labels only the pairs that occurred are written.
    pub fn write(&self, text: &mut Text, family: &'static Family) {
        text.family(family);
        let pairs = self.rows.iter().flat_map(|row| self.columns.iter().map(move |column| (*row, *column)));
        for ((row, column), cell) in pairs.zip(&self.cells) {
            let count = cell.load(Ordering::Relaxed);
            match family.labels.len() {
                1 => text.sample(&[row], count),
                _ if count > 0 => text.sample(&[row, column], count),
                _ => {}
            }
        }
    }
}

/// How long things took, for each word.
#[derive(Debug)]
pub struct Histograms {
    words: &'static [&'static str],
    bounds: Bounds,
    each: Box<[Histogram]>,
}

#[derive(Debug)]
struct Histogram {
    /// The last one has no bound.
    buckets: Box<[AtomicU64]>,
    microseconds: AtomicU64,
}

impl Histograms {
    #[must_use]
    pub fn by(words: &'static [&'static str], bounds: Bounds) -> Self {
        let one = |_: &&str| Histogram { buckets: zeros(bounds.len() + 1), microseconds: AtomicU64::new(0) };
        Self { words, bounds, each: words.iter().map(one).collect() }
    }

    /// A word that is not in the table is not counted.
    pub fn add(&self, word: &str, took: Duration) {
        let place = self.words.iter().position(|known| *known == word);
        let Some(one) = place.and_then(|place| self.each.get(place)) else { return };
        let seconds = took.as_secs_f64();
        let bucket = self.bounds.iter().position(|(_, bound)| seconds <= *bound).unwrap_or(self.bounds.len());
        if let Some(bucket) = one.buckets.get(bucket) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        one.microseconds.fetch_add(u64::try_from(took.as_micros()).unwrap_or(0), Ordering::Relaxed);
    }

    pub fn write(&self, text: &mut Text, family: &'static Family) {
        text.family(family);
        for (word, one) in self.words.iter().zip(&self.each) {
            let labels: &[&'static str] = if family.labels.is_empty() { &[] } else { std::slice::from_ref(word) };
            let names = self.bounds.iter().map(|(name, _)| *name).chain(["+Inf"]);
            let mut count = 0;
            for (bound, bucket) in names.zip(&one.buckets) {
                count += bucket.load(Ordering::Relaxed);
                text.bucket(labels, bound, count);
            }
            let seconds = Duration::from_micros(one.microseconds.load(Ordering::Relaxed)).as_secs_f64();
            text.sum(labels, seconds, count);
        }
    }
}

fn zeros(count: usize) -> Box<[AtomicU64]> {
    (0..count).map(|_| AtomicU64::new(0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    static CALLS: Family = Family::counter("x_calls_total", "Calls.", &["method", "code"]);
    static BOOTS: Family = Family::counter("x_boots_total", "Boots.", &["step"]);
    static TOOK: Family = Family::histogram("x_took_seconds", "How long it took.", &["result"]);

    #[test]
    fn what_a_client_invents_is_counted_as_other() {
        let calls = Counters::of(&["Get", "other"], &["OK", "other"]);
        calls.add("Get", "OK");
        calls.add("Get", "OK");
        for invented in ["\"}\nevil 1", "", "get"] {
            calls.add(invented, invented);
        }
        let mut text = Text::default();
        calls.write(&mut text, &CALLS);
        let expected = "# HELP x_calls_total Calls.\n# TYPE x_calls_total counter\nx_calls_total{method=\"Get\",code=\"OK\"} 2\n\
                        x_calls_total{method=\"other\",code=\"other\"} 3\n";
        assert_eq!(text.into_string(), expected);
    }

    #[test]
    fn a_family_with_one_label_shows_its_zeros() {
        let boots = Counters::by(&["offered", "other"]);
        boots.add("offered", "");
        let mut text = Text::default();
        boots.write(&mut text, &BOOTS);
        assert!(text.into_string().ends_with("x_boots_total{step=\"offered\"} 1\nx_boots_total{step=\"other\"} 0\n"));
    }

    #[test]
    fn buckets_of_a_histogram_count_what_is_at_most_their_bound() {
        let took = Histograms::by(&["SUCCESS"], &[("0.1", 0.1), ("1", 1.0)]);
        for milliseconds in [50, 100, 700, 5000] {
            took.add("SUCCESS", Duration::from_millis(milliseconds));
        }
        took.add("invented", Duration::ZERO);
        let mut text = Text::default();
        took.write(&mut text, &TOOK);
        let text = text.into_string();
        for line in [
            "x_took_seconds_bucket{result=\"SUCCESS\",le=\"0.1\"} 2",
            "x_took_seconds_bucket{result=\"SUCCESS\",le=\"1\"} 3",
            "x_took_seconds_bucket{result=\"SUCCESS\",le=\"+Inf\"} 4",
            "x_took_seconds_sum{result=\"SUCCESS\"} 5.85",
            "x_took_seconds_count{result=\"SUCCESS\"} 4",
        ] {
            assert!(text.lines().any(|one| one == line), "{line} is not in {text}");
        }
        assert!(!text.contains("invented"));
    }
}
