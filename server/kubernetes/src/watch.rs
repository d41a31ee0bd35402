//! Events of a watch: what a change means to a client that sees only what its selectors select.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::request::{Form, Include};
use crate::resources::Resource;
use crate::selector::Filter;
use crate::status::Status;
use crate::table;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Added,
    Modified,
    Deleted,
}

impl Event {
    const fn word(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// What a change is to a client, and which object it gets. What leaves the selection is deleted for it.
#[must_use]
pub fn seen<'o>(old: Option<&'o Value>, new: Option<&'o Value>, filter: &Filter) -> Option<(Event, &'o Value)> {
    let selected = |object: &&Value| filter.selects(object);
    match (old.filter(selected), new.filter(selected)) {
        (None, Some(new)) => Some((Event::Added, new)),
        (Some(_), Some(new)) => Some((Event::Modified, new)),
        // An object that stays shows itself as it is now.
        (Some(old), None) => Some((Event::Deleted, new.unwrap_or(old))),
        (None, None) => None,
    }
}

/// Writes the lines of one watch.
#[derive(Debug)]
pub struct Lines {
    resource: &'static Resource,
    form: Form,
    include: Include,
    /// The next Table is the first one.
    first: bool,
}

impl Lines {
    #[must_use]
    pub const fn new(resource: &'static Resource, form: Form, include: Include) -> Self {
        Self { resource, form, include, first: true }
    }

    pub fn event(&mut self, event: Event, object: Value, now: Timestamp) -> String {
        let object = table::one(self.resource, object, self.form, self.include, self.first, now);
        self.first = false;
        line(event.word(), &object)
    }

    #[must_use]
    pub fn bookmark(&self, revision: u64, ends_initial_events: bool) -> String {
        line("BOOKMARK", &table::bookmark(self.resource, revision, ends_initial_events, self.form))
    }
}

/// The last line of a watch that cannot go on.
#[must_use]
pub fn error(status: &Status) -> String {
    line("ERROR", &status.body())
}

#[derive(Serialize)]
struct Line<'a> {
    object: &'a Value,
    #[serde(rename = "type")]
    kind: &'a str,
}

fn line(kind: &str, object: &Value) -> String {
    let mut line = serde_json::to_string(&Line { object, kind }).unwrap_or_default();
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resources::find;

    #[test]
    fn entering_and_leaving_a_selection_are_events() {
        let hardware = find("tinkerbell.org", "v1alpha1", "hardware").unwrap();
        let filter = Filter::parse(hardware, Some("rack=7"), None).unwrap();
        let of = |rack: &str| json!({"metadata": {"labels": {"rack": rack}}});
        let (inside, outside) = (of("7"), of("8"));
        for (case, old, new, expected) in [
            ("created inside", None, Some(&inside), Some(Event::Added)),
            ("created outside", None, Some(&outside), None),
            ("changed inside", Some(&inside), Some(&inside), Some(Event::Modified)),
            ("enters", Some(&outside), Some(&inside), Some(Event::Added)),
            ("leaves", Some(&inside), Some(&outside), Some(Event::Deleted)),
            ("deleted inside", Some(&inside), None, Some(Event::Deleted)),
            ("deleted outside", Some(&outside), None, None),
        ] {
            assert_eq!(seen(old, new, &filter).map(|(event, _)| event), expected, "{case}");
        }
    }

    #[test]
    fn columns_come_with_the_first_event_only() {
        let hardware = find("tinkerbell.org", "v1alpha1", "hardware").unwrap();
        let mut lines = Lines::new(hardware, Form::Table("meta.k8s.io/v1"), Include::Metadata);
        let mut columns = || {
            let line = lines.event(Event::Added, json!({"metadata": {"name": "m"}}), Timestamp::UNIX_EPOCH);
            let event: Value = serde_json::from_str(&line).unwrap();
            assert!(line.ends_with('\n'));
            event["object"]["columnDefinitions"].is_array()
        };
        assert_eq!([columns(), columns()], [true, false]);
        let whole = Lines::new(hardware, Form::Whole, Include::Metadata).bookmark(7, true);
        assert!(
            whole.starts_with(r#"{"object":{"apiVersion":"tinkerbell.org/v1alpha1","kind":"Hardware","metadata":{"annotations""#),
            "{whole}"
        );
    }
}
