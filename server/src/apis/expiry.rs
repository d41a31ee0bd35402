//! Events go after an hour, or the oldest ones before: controllers write them without end.

use std::sync::Weak;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use log::warn;
use machine::Chain;
use serde_json::Value;

use crate::service::{Inner, Server};
use crate::store::{KeyValue, StoreError, Transaction};

const EVENTS: &str = "core/events/";
const EVERY: Duration = Duration::from_secs(300);
const KEPT: SignedDuration = SignedDuration::from_hours(1);
const MOST: usize = 5000;
/// Deletions of one transaction.
const TOGETHER: usize = 500;

/// Until the server is dropped.
pub async fn run(server: Weak<Inner>) {
    loop {
        tokio::time::sleep(EVERY).await;
        let Some(inner) = server.upgrade() else { return };
        let server = Server(inner);
        if server.leads()
            && let Err(reason) = sweep(&server, Timestamp::now()).await
        {
            warn!("old events stay for now: {}", Chain(&reason));
        }
    }
}

async fn sweep(server: &Server, now: Timestamp) -> Result<(), StoreError> {
    let (pairs, _) = server.0.store.list(EVENTS).await?;
    for some in expired(&pairs, now).chunks(TOGETHER.min(server.0.store.most_writes())) {
        let gone = some.iter().fold(Transaction::default(), |transaction, key| transaction.remove(*key));
        server.commit(gone).await?;
    }
    Ok(())
}

/// Keys of the events that go.
fn expired(pairs: &[KeyValue], now: Timestamp) -> Vec<&str> {
    let mut dated: Vec<(Option<Timestamp>, &str)> = pairs.iter().map(|pair| (latest(&pair.value), pair.key.as_str())).collect();
    dated.sort();
    let surplus = dated.len().saturating_sub(MOST);
    let is_old = |time: &Option<Timestamp>| time.is_none_or(|time| now.duration_since(time) > KEPT);
    dated.iter().enumerate().filter(|(index, (time, _))| *index < surplus || is_old(time)).map(|(_, (_, key))| *key).collect()
}

/// When the event was last seen.
fn latest(value: &[u8]) -> Option<Timestamp> {
    let event: Value = serde_json::from_slice(value).ok()?;
    let places = ["/lastTimestamp", "/eventTime", "/series/lastObservedTime", "/metadata/creationTimestamp"];
    places.iter().filter_map(|place| event.pointer(place)?.as_str()?.parse().ok()).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_events_go_and_of_too_many_the_oldest() {
        let now: Timestamp = "2026-01-02T03:00:00Z".parse().unwrap();
        let event = |key: &str, time: &str| KeyValue {
            key: key.to_owned(),
            value: format!("{{\"lastTimestamp\":\"{time}\",\"metadata\":{{\"creationTimestamp\":\"2026-01-01T00:00:00Z\"}}}}")
                .into_bytes(),
            created: 1,
            modified: 1,
        };
        let few = [event("old", "2026-01-02T01:00:00Z"), event("new", "2026-01-02T02:30:00Z"), event("broken", "x")];
        assert_eq!(expired(&few, now), ["broken", "old"]);
        let many: Vec<KeyValue> = (0..MOST + 2)
            .map(|number| event(&number.to_string(), if number == 7 { "2026-01-02T02:29:00Z" } else { "2026-01-02T02:30:00Z" }))
            .collect();
        let gone = expired(&many, now);
        assert_eq!((gone.len(), gone[0]), (2, "7"));
    }
}
