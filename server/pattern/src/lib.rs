//! Patterns over JSON events: the language of quamina, at the revision that Tinkerbell's server uses. Pure.
//!
//! A pattern is a JSON object that mirrors the event. Its keys are combined with AND, and each leaf is a list of
//! alternatives. Arrays of the event need no key. Two fields below the same array must match in the same element.
//!
//! The answers are quamina's, its oddities included. A rule must not install a machine here that Tinkerbell leaves alone.
//! Some patterns that quamina accepts by mistake are refused: text after the object, a key that occurs twice, a bare `}` in
//! a regexp, and `*\` at the end of a wildcard.

mod fields;
mod fold;
mod glob;
mod leaf;
mod parse;
mod regexp;

use std::fmt;

use serde_json::Value;

use crate::fields::{Fields, Tree};
use crate::leaf::Alternative;

/// Longer patterns are refused.
pub const MAX_LENGTH: usize = 64 << 10;
/// How deep objects and lists may be nested.
pub const MAX_DEPTH: usize = 32;
/// The most leaves of one pattern.
pub const MAX_LEAVES: usize = 256;

/// What is wrong with a pattern, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The position, such as `cpu.processors.vendor[1]` or `line 1, column 5`.
    pub place: String,
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.place, self.message)
    }
}

impl std::error::Error for Fault {}

/// One pattern: its leaves by path. The keys of a path are joined with a line feed, because quamina joins and sorts them
/// so.
#[derive(Debug, Clone)]
pub struct Pattern(Vec<(String, Vec<Alternative>)>);

impl Pattern {
    /// # Errors
    /// When the text is not a pattern.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        parse::pattern(text).map(Self)
    }

    #[must_use]
    pub fn matches(&self, event: &Value) -> bool {
        matching([self], event) == [0]
    }

    /// Whether a way through the event's fields matches each leaf in turn. quamina goes through both in the order of the
    /// paths, and compares array positions of neighbours only.
    fn leads_through(&self, fields: &Fields) -> bool {
        // An empty list of alternatives matches everything.
        let leaves: Vec<_> = self.0.iter().filter(|(_, alternatives)| !alternatives.is_empty()).collect();
        let is_met_by_absence = |leaf: usize| {
            let leaf = leaves.get(leaf);
            leaf.is_some_and(|(path, alternatives)| alternatives == &[Alternative::Exists(false)] && fields.at(path).is_empty())
        };
        let after_absent = |leaf: usize| (leaf..leaves.len()).find(|leaf| !is_met_by_absence(*leaf)).unwrap_or(leaves.len());
        let meeting = |leaf: usize| -> Vec<_> {
            let Some((path, alternatives)) = leaves.get(leaf) else { return Vec::new() };
            let met = |value: &Value| alternatives.iter().any(|alternative| alternative.matches(value));
            fields.at(path).iter().filter(|field| met(field.value)).collect()
        };
        let mut leaf = after_absent(0);
        if leaf == leaves.len() {
            return !leaves.is_empty();
        }
        let mut reached = meeting(leaf);
        while !reached.is_empty() {
            let next = after_absent(leaf + 1);
            if next == leaves.len() {
                let by_existence = leaves.get(leaf).is_some_and(|(_, alternatives)| alternatives == &[Alternative::Exists(true)]);
                // Absence after `exists: true` is checked only if a later field of the event follows.
                return leaf + 1 == next || !by_existence || reached.iter().any(|field| fields.has_one_after(field));
            }
            let following = meeting(next);
            reached = following.into_iter().filter(|field| reached.iter().any(|before| before.goes_with(field))).collect();
            leaf = next;
        }
        false
    }
}

/// The indexes of the patterns that match. All patterns are needed at once: a field that one of them names counts as a
/// field of the event for every pattern.
#[must_use]
pub fn matching<'p>(patterns: impl IntoIterator<Item = &'p Pattern>, event: &Value) -> Vec<usize> {
    let patterns: Vec<&Pattern> = patterns.into_iter().collect();
    let tree = Tree::of(patterns.iter().flat_map(|pattern| &pattern.0).map(|(path, _)| path.as_str()));
    let fields = Fields::of(event, &tree);
    let leads = |pattern: &&Pattern| pattern.leads_through(&fields);
    patterns.iter().enumerate().filter(|(_, pattern)| leads(pattern)).map(|(index, _)| index).collect()
}
