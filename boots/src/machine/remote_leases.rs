//! The leases of a site at its servers, as objects of the kind `DHCPLease`.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Response, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::SourceError;
use super::upstream::Upstream;
use crate::dhcp::{Answer, Change, Changes, Lease, Put, SharedLeases, Stored};

/// A list of a large site takes longer than an answer about one machine.
const OF_A_LIST: Duration = Duration::from_secs(30);
/// The server ends a watch that is older, so one that is silent for longer is dead.
const OF_A_WATCH: Duration = Duration::from_secs(600);
/// A lease has a few hundred bytes.
const LONGEST_LINE: usize = 64 << 10;

#[derive(Debug)]
pub struct RemoteLeases(pub(super) Arc<Upstream>);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    resource_version: String,
}

#[derive(Deserialize)]
struct Object {
    metadata: Metadata,
    spec: Lease,
}

#[derive(Deserialize)]
struct List {
    metadata: Metadata,
    /// Each by itself, so that one that a person wrote wrong spoils no other.
    #[serde(default)]
    items: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Event {
    r#type: String,
    object: serde_json::Value,
}

/// The version, if the server writes versions as numbers.
fn version(metadata: &Metadata) -> Option<u64> {
    metadata.resource_version.parse().ok()
}

fn stored(object: serde_json::Value) -> Option<Stored> {
    let object: Object = serde_json::from_value(object).ok()?;
    Some(Stored { version: version(&object.metadata)?, lease: object.spec })
}

/// A line of a watch. `None` for one that says nothing of a lease. An error ends the watch.
///
/// # Errors
/// When the server says that the watch cannot go on, or writes something else than events.
pub fn event(line: &[u8]) -> Result<Option<Change>, Box<dyn std::error::Error + Send + Sync>> {
    let event: Event = serde_json::from_slice(line)?;
    Ok(match event.r#type.as_str() {
        "ADDED" | "MODIFIED" => stored(event.object).map(Change::Put),
        "DELETED" => stored(event.object).map(Change::Gone),
        "ERROR" => return Err(event.object.get("message").and_then(|message| message.as_str()).unwrap_or("ERROR").into()),
        _ => None,
    })
}

impl SharedLeases for RemoteLeases {
    fn list(&self) -> Answer<'_, (Vec<Stored>, u64)> {
        Box::pin(async {
            let said = self.0.call(api::paths::DHCP_LEASES, |client, url| client.get(url).timeout(OF_A_LIST)).await?;
            if !said.status.is_success() {
                return Err(said.refused());
            }
            let list: List = said.json()?;
            let version = version(&list.metadata).unwrap_or_default();
            Ok((list.items.into_iter().filter_map(stored).collect(), version))
        })
    }

    fn get(&self, address: Ipv4Addr) -> Answer<'_, Option<Stored>> {
        Box::pin(async move {
            let said = self.0.call(&api::paths::dhcp_lease(address), |client, url| client.get(url)).await?;
            match said.status {
                StatusCode::NOT_FOUND => Ok(None),
                status if status.is_success() => {
                    let wrong = || SourceError::Other(format!("{} is not a lease of boots; remove the object", said.url).into());
                    stored(said.json()?).map(Some).ok_or_else(wrong)
                }
                _ => Err(said.refused()),
            }
        })
    }

    fn put<'a>(&'a self, lease: &'a Lease, seen: Option<u64>) -> Answer<'a, Put> {
        Box::pin(async move {
            let mut object = json!({
                "apiVersion": "thimble.dev/v1alpha1", "kind": "DHCPLease", "metadata": {"name": lease.address.to_string()},
                "spec": lease,
            });
            let said = match seen {
                None => self.0.call(api::paths::DHCP_LEASES, |client, url| client.post(url).json(&object)).await?,
                Some(version) => {
                    object["metadata"]["resourceVersion"] = json!(version.to_string());
                    let path = api::paths::dhcp_lease(lease.address);
                    self.0.call(&path, |client, url| client.put(url).json(&object)).await?
                }
            };
            match said.status {
                // Somebody removed the lease that was seen.
                StatusCode::CONFLICT | StatusCode::NOT_FOUND => Ok(Put::Conflict),
                status if status.is_success() => {
                    let nonsense = || SourceError::Other(format!("{} has no version of the lease", said.url).into());
                    stored(said.json()?).map(|stored| Put::Done(stored.version)).ok_or_else(nonsense)
                }
                _ => Err(said.refused()),
            }
        })
    }

    fn watch(&self, after: u64) -> Answer<'_, Box<dyn Changes>> {
        Box::pin(async move {
            let path = format!("{}?watch=true&resourceVersion={after}", api::paths::DHCP_LEASES);
            let response = self.0.open(&path, OF_A_WATCH).await?;
            Ok(Box::new(Watch { response, unread: Vec::new() }) as Box<dyn Changes>)
        })
    }
}

struct Watch {
    response: Response,
    unread: Vec<u8>,
}

impl Changes for Watch {
    fn next(&mut self) -> Answer<'_, Option<Change>> {
        Box::pin(async {
            loop {
                if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = self.unread.drain(..=end).collect();
                    match event(&line).map_err(SourceError::Other)? {
                        Some(change) => return Ok(Some(change)),
                        None => continue,
                    }
                }
                if self.unread.len() > LONGEST_LINE {
                    return Err(SourceError::Other("a line of the leases has no end".into()));
                }
                let url = self.response.url().to_string();
                match self.response.chunk().await.map_err(|source| SourceError::Unreachable { url, source })? {
                    Some(bytes) => self.unread.extend_from_slice(&bytes),
                    None => return Ok(None),
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: &str = r#"{"address":"192.0.2.5","mac":"02:00:00:00:00:01","state":"bound","since":1,"until":2}"#;

    #[test]
    fn only_events_about_leases_are_changes() {
        let line = |kind: &str, spec: &str| {
            format!(r#"{{"type":"{kind}","object":{{"metadata":{{"name":"x","resourceVersion":"7"}},"spec":{spec}}}}}"#)
        };
        let expected = Stored { lease: serde_json::from_str(LEASE).unwrap(), version: 7 };
        for (kind, spec, change) in [
            ("ADDED", LEASE, Some(Change::Put(expected.clone()))),
            ("MODIFIED", LEASE, Some(Change::Put(expected.clone()))),
            ("DELETED", LEASE, Some(Change::Gone(expected))),
            ("BOOKMARK", "{}", None),
            ("ADDED", r#"{"address":"of a person"}"#, None),
        ] {
            assert_eq!(event(line(kind, spec).as_bytes()).unwrap(), change, "{kind} {spec}");
        }
        let gone = event(br#"{"type":"ERROR","object":{"code":410,"message":"too old resource version"}}"#).unwrap_err();
        assert_eq!(gone.to_string(), "too old resource version");
        assert!(event(b"<html>").is_err());
    }
}
