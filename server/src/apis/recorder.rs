//! Events of Kubernetes' kind for what happens to workflows and machines: `kubectl describe` shows them. They are written
//! beside the work, once a second at most. So an event may be lost, and no report waits for one.

mod notes;

use std::collections::HashMap;
use std::sync::Weak;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kubernetes::Resource;
use kubernetes::present::{seconds, stored};
use kubernetes::resources::{THIMBLE, TINKERBELL, find};
use log::warn;
use machine::Chain;
use model::ObjectName;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use self::notes::{About, Note, notes};
use super::plain;
use crate::events::Reader;
use crate::service::{Inner, Server};
use crate::store::{StoreError, Transaction};

/// The pause in which events are collected for one write.
const EVERY: Duration = Duration::from_secs(1);
/// Events of one write.
const TOGETHER: usize = 500;
/// Different events of one object in an hour. A machine may fail without end.
const MOST: u32 = 25;
const WITHIN: SignedDuration = SignedDuration::from_hours(1);
/// Objects whose events are counted.
const COUNTED: usize = 16_384;
const COMPONENT: &str = "thimble";

/// Until the server is dropped.
pub async fn run(server: Weak<Inner>, mut reader: Reader) {
    let mut known = Known::default();
    let mut works = true;
    while let Some(event) = reader.next().await {
        let mut found = notes(&event);
        let end = Instant::now() + EVERY;
        while found.len() < TOGETHER
            && let Ok(Some(event)) = timeout_at(end, reader.next()).await
        {
            found.extend(notes(&event));
        }
        if found.is_empty() {
            continue;
        }
        let Some(inner) = server.upgrade() else { return };
        let server = Server(inner);
        // Every server of the store sees the same changes, and one of them writes.
        if !server.leads() {
            continue;
        }
        let written = write(&server, &mut known, found).await;
        if let Err(reason) = &written
            && works
        {
            warn!("events for kubectl are lost until the store can be written: {}", Chain(reason));
        }
        works = written.is_ok();
    }
}

async fn write(server: &Server, known: &mut Known, notes: Vec<Note>) -> Result<(), StoreError> {
    let Some(events) = find("", "v1", "events") else { return Ok(()) };
    let mut puts: HashMap<String, Value> = HashMap::new();
    for note in notes {
        let Some((resource, uid)) = server.subject(&note).await else { continue };
        let Some(seen) = known.see(&note, &uid) else { continue };
        let object = event(resource, &uid, &note, seen);
        let name = ObjectName::new(&note.name.namespace, format!("{}.{:x}", note.name.name, seen.number));
        puts.insert(plain::key("core/events/", &name), stored(events, &object));
    }
    let puts: Vec<_> = puts.into_iter().collect();
    for some in puts.chunks(server.0.store.most_writes()) {
        let write = |all: Transaction, (key, event): &(String, Value)| all.write(key, event.to_string().into_bytes());
        server.commit(some.iter().fold(Transaction::default(), write)).await?;
    }
    Ok(())
}

impl Server {
    /// The object that an event is about, with its uid; nothing if it was deleted meanwhile.
    async fn subject(&self, note: &Note) -> Option<(&'static Resource, String)> {
        let versions: &[&str] = if note.about == About::Workflow { &["v1alpha2", "v1alpha1"] } else { &["v1alpha1"] };
        for version in versions {
            let group = if note.about == About::MachineState { THIMBLE } else { TINKERBELL };
            let resource = find(group, version, note.about.plural())?;
            if let Ok(Some(object)) = self.object(resource, &note.name).await {
                let uid = object.pointer("/metadata/uid").and_then(Value::as_str)?;
                return Some((resource, uid.to_owned()));
            }
        }
        None
    }
}

fn event(resource: &Resource, uid: &str, note: &Note, seen: Seen) -> Value {
    let ObjectName { namespace, name } = &note.name;
    json!({
        "metadata": {"name": format!("{name}.{:x}", seen.number), "namespace": namespace, "creationTimestamp": seconds(seen.first)},
        "involvedObject": {
            "apiVersion": resource.api_version(), "kind": resource.kind, "namespace": namespace, "name": name, "uid": uid,
        },
        "type": if note.warns { "Warning" } else { "Normal" }, "reason": note.reason, "message": note.message,
        "count": seen.count, "firstTimestamp": seconds(seen.first), "lastTimestamp": seconds(note.at),
        "source": {"component": COMPONENT}, "reportingComponent": COMPONENT, "reportingInstance": "",
    })
}

/// What this process has written of each object. The same event again is counted, not repeated.
#[derive(Default)]
struct Known(HashMap<String, Object>);

struct Object {
    since: Timestamp,
    seen: Vec<(u64, Seen)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    /// Makes the name of the event.
    number: u64,
    first: Timestamp,
    count: u32,
}

impl Known {
    /// `None` if the object has had too many events already.
    fn see(&mut self, note: &Note, uid: &str) -> Option<Seen> {
        if self.0.len() >= COUNTED && !self.0.contains_key(uid) {
            self.0.retain(|_, object| note.at.duration_since(object.since) < WITHIN);
            if self.0.len() >= COUNTED {
                self.0.clear();
            }
        }
        let object = self.0.entry(uid.to_owned()).or_insert_with(|| Object { since: note.at, seen: Vec::new() });
        if note.at.duration_since(object.since).abs() >= WITHIN {
            *object = Object { since: note.at, seen: Vec::new() };
        }
        let content = note.content();
        if let Some((_, seen)) = object.seen.iter_mut().find(|(known, _)| *known == content) {
            seen.count = seen.count.saturating_add(1);
            return Some(*seen);
        }
        if object.seen.len() >= MOST as usize {
            return None;
        }
        let seen = Seen { number: note.number, first: note.at, count: 1 };
        object.seen.push((content, seen));
        Some(seen)
    }
}

#[cfg(test)]
mod tests;
