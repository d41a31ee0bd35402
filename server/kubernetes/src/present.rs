//! A stored object as clients see it: with uid, resourceVersion and generation.

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::resources::{Family, Plain, Resource};

/// The revisions of an object's first and latest write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Revisions {
    pub created: u64,
    pub modified: u64,
}

/// An object as clients see it.
#[must_use]
pub fn present(resource: &Resource, stored: Value, revisions: Revisions) -> Value {
    let mut stored = match resource.family {
        Family::Plain(_, Plain::NewEvent) => new_event(stored),
        _ => stored,
    };
    let Some(object) = stored.as_object_mut() else { return stored };
    object.insert("apiVersion".to_owned(), json!(resource.api_version()));
    object.insert("kind".to_owned(), json!(resource.kind));
    let fields = object.entry("metadata").or_insert_with(|| json!({}));
    if let Some(fields) = fields.as_object_mut() {
        metadata(resource, fields, revisions);
    }
    stored
}

/// The metadata of an object as clients see it.
pub fn metadata(resource: &Resource, metadata: &mut Map<String, Value>, revisions: Revisions) {
    metadata.insert("uid".to_owned(), uid(resource, metadata, revisions.created).into());
    if !resource.namespaced {
        metadata.remove("namespace");
    }
    for key in ["creationTimestamp", "deletionTimestamp"] {
        if let Some(time) = metadata.get(key).and_then(Value::as_str).and_then(|text| text.parse::<Timestamp>().ok()) {
            metadata.insert(key.to_owned(), seconds(time).into());
        }
    }
    if metadata.contains_key("deletionTimestamp") {
        metadata.insert("deletionGracePeriodSeconds".to_owned(), json!(0));
    }
    if revisions.modified > 0 {
        metadata.insert("resourceVersion".to_owned(), revisions.modified.to_string().into());
    }
    if resource.counts_generations() {
        metadata.entry("generation").or_insert_with(|| json!(1));
    }
}

/// As Kubernetes writes times.
#[must_use]
pub fn seconds(time: Timestamp) -> String {
    format!("{time:.0}")
}

/// Follows from the first write, so it never changes and needs no place in the store. A new object of the same name has
/// another one.
fn uid(resource: &Resource, metadata: &Map<String, Value>, created: u64) -> String {
    let text = |key: &str| metadata.get(key).and_then(Value::as_str).unwrap_or_default();
    // Both views of an event are the same object.
    let kind = if resource.kind == "Event" { "Event".to_owned() } else { resource.qualified() };
    let seed = [kind.as_str(), text("namespace"), text("name"), text("creationTimestamp"), &created.to_string()].join("\0");
    let hash = Sha256::digest(seed.as_bytes());
    let digit = |half: u8| char::from(*b"0123456789abcdef".get(usize::from(half)).unwrap_or(&b'0'));
    let hex: String = hash.iter().take(16).flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect();
    // Version 8 of RFC 9562 leaves the meaning of the bits to its maker.
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!("{}-{}-8{}-a{}-{}", part(0, 8), part(8, 12), part(13, 16), part(17, 20), part(20, 32))
}

/// What the store keeps of an object that is kept as it is.
#[must_use]
pub fn stored(resource: &Resource, object: &Value) -> Value {
    let mut object = match resource.family {
        Family::Plain(_, Plain::NewEvent) => core_event(object.clone()),
        _ => object.clone(),
    };
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|key, _| !matches!(key.as_str(), "uid" | "resourceVersion" | "selfLink" | "deletionGracePeriodSeconds"));
    }
    object
}

/// Names of fields of `v1` and of `events.k8s.io/v1`.
const EVENT_NAMES: [(&str, &str); 7] = [
    ("message", "note"),
    ("involvedObject", "regarding"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

fn renamed(mut event: Value, names: impl Iterator<Item = (&'static str, &'static str)>) -> Value {
    if let Some(event) = event.as_object_mut() {
        for (from, to) in names {
            if let Some(value) = event.remove(from) {
                event.insert(to.to_owned(), value);
            }
        }
    }
    event
}

fn new_event(event: Value) -> Value {
    renamed(event, EVENT_NAMES.into_iter())
}

fn core_event(event: Value) -> Value {
    let mut event = renamed(event, EVENT_NAMES.into_iter().map(|(core, new)| (new, core)));
    if let Some(fields) = event.as_object_mut() {
        fields.insert("apiVersion".to_owned(), json!("v1"));
        if let (None, Some(component)) = (fields.get("source"), fields.get("reportingComponent").cloned()) {
            fields.insert("source".to_owned(), json!({"component": component}));
        }
        if let (None, Some(time)) = (fields.get("lastTimestamp"), fields.get("eventTime").cloned()) {
            let second = time.as_str().and_then(|text| text.parse::<Timestamp>().ok()).map(seconds);
            fields.extend(second.map(|second| ("lastTimestamp".to_owned(), json!(second))));
        }
    }
    event
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::find;

    #[test]
    fn an_old_object_gets_what_clients_need() {
        let hardware = find("tinkerbell.org", "v1alpha1", "hardware").unwrap();
        let stored = json!({"metadata": {"name": "m", "namespace": "a", "creationTimestamp": "2026-01-02T03:04:05.123456789Z"}, "spec": {}});
        let shown = |created| present(hardware, stored.clone(), Revisions { created, modified: 12 });
        let first = shown(7);
        assert_eq!(first["metadata"]["resourceVersion"], "12");
        assert_eq!(first["metadata"]["generation"], 1);
        assert_eq!(first["metadata"]["creationTimestamp"], "2026-01-02T03:04:05Z");
        let uid = first["metadata"]["uid"].as_str().unwrap();
        assert_eq!((uid.len(), uid.as_bytes()[14], uid.as_bytes()[19]), (36, b'8', b'a'));
        assert_eq!(shown(7), first);
        assert_ne!(shown(8)["metadata"]["uid"], first["metadata"]["uid"], "deleted and created anew");
    }

    #[test]
    fn an_event_is_the_same_in_both_groups() {
        let (core, new) = (find("", "v1", "events").unwrap(), find("events.k8s.io", "v1", "events").unwrap());
        let posted = json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e", "namespace": "a", "uid": "x"},
            "eventTime": "2026-01-02T03:04:05.000006Z", "note": "n", "regarding": {"name": "w1"}, "reportingController": "c",
        });
        let kept = stored(new, &posted);
        let expected = json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": "e", "namespace": "a"},
            "eventTime": "2026-01-02T03:04:05.000006Z", "message": "n", "involvedObject": {"name": "w1"},
            "reportingComponent": "c", "source": {"component": "c"}, "lastTimestamp": "2026-01-02T03:04:05Z",
        });
        assert_eq!(kept, expected);
        let (one, other) = (present(core, kept.clone(), Revisions::default()), present(new, kept, Revisions::default()));
        assert_eq!((&one["message"], &one["metadata"]), (&other["note"], &other["metadata"]));
    }
}
