//! Writing the text format.

use std::fmt::Write;

use crate::page::Family;

pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// An answer to a scrape. Samples belong to the latest family.
#[derive(Debug, Default)]
pub struct Text {
    out: String,
    family: Option<&'static Family>,
}

impl Text {
    pub fn family(&mut self, family: &'static Family) {
        let Family { name, kind, help, .. } = family;
        self.family = Some(family);
        let _ = writeln!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}"); // a String takes everything
    }

    /// `labels` are the values of the family's labels, in order.
    pub fn sample(&mut self, labels: &[&'static str], value: u64) {
        self.line("", labels, None, format_args!("{value}"));
    }

    /// A value that is not a whole number.
    pub fn real(&mut self, labels: &[&'static str], value: f64) {
        self.line("", labels, None, format_args!("{value}"));
    }

    pub(crate) fn bucket(&mut self, labels: &[&'static str], bound: &'static str, count: u64) {
        self.line("_bucket", labels, Some(bound), format_args!("{count}"));
    }

    pub(crate) fn sum(&mut self, labels: &[&'static str], sum: f64, count: u64) {
        self.line("_sum", labels, None, format_args!("{sum}"));
        self.line("_count", labels, None, format_args!("{count}"));
    }

    fn line(&mut self, suffix: &str, labels: &[&'static str], bound: Option<&'static str>, value: std::fmt::Arguments<'_>) {
        let Some(family) = self.family else { return };
        let names = family.labels.iter().copied().zip(labels.iter().copied()).chain(bound.map(|bound| ("le", bound)));
        let pairs: Vec<String> = names.map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        let labels = if pairs.is_empty() { String::new() } else { format!("{{{}}}", pairs.join(",")) };
        let _ = writeln!(self.out, "{}{suffix}{labels} {value}", family.name);
    }

    #[must_use]
    pub fn into_string(self) -> String {
        self.out
    }
}
