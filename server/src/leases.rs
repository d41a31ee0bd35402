//! The leases of DHCP pools for boots in the same process. They are objects of the kind `DHCPLease`, as boots on other hosts write
//! them, so all boots of a site share them.

use std::net::Ipv4Addr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::change::encoded;
use crate::service::Server;
use crate::store::{KeyValue, StoreError, Transaction, Watch};

const PREFIX: &str = "dhcp/leases/";

/// A lease and the revision of its last write.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredLease {
    pub spec: Value,
    pub version: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub enum LeaseChange {
    Put(StoredLease),
    Gone(StoredLease),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Object {
    api_version: String,
    kind: String,
    metadata: Value,
    spec: Value,
}

fn read(pair: &KeyValue) -> Option<StoredLease> {
    let object: Object = serde_json::from_slice(&pair.value).ok()?;
    Some(StoredLease { spec: object.spec, version: pair.modified })
}

impl Server {
    /// All leases, and the revision up to which they are complete.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn dhcp_leases(&self) -> Result<(Vec<StoredLease>, u64), StoreError> {
        let (pairs, revision) = self.0.store.list(PREFIX).await?;
        Ok((pairs.iter().filter_map(read).collect(), revision))
    }

    /// # Errors
    /// When the store fails.
    pub async fn dhcp_lease(&self, address: Ipv4Addr) -> Result<Option<StoredLease>, StoreError> {
        Ok(self.0.store.get(&key(address)).await?.as_ref().and_then(read))
    }

    /// Writes a lease over the version that was seen, and returns its new one. `None` if another writer was faster.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn put_dhcp_lease(&self, address: Ipv4Addr, spec: Value, seen: Option<u64>) -> Result<Option<u64>, StoreError> {
        let before = self.0.store.get(&key(address)).await?;
        if before.as_ref().map(|pair| pair.modified) != seen {
            return Ok(None);
        }
        let before = before.and_then(|pair| serde_json::from_slice::<Object>(&pair.value).ok());
        let metadata = before.map_or_else(
            || serde_json::json!({"name": address.to_string(), "creationTimestamp": format!("{:.0}", Timestamp::now())}),
            |object| object.metadata,
        );
        let object = Object { api_version: "thimble.dev/v1alpha1".to_owned(), kind: "DHCPLease".to_owned(), metadata, spec };
        let transaction = Transaction::default().put(key(address), seen.unwrap_or(0), encoded(&object)?);
        match self.0.store.commit(transaction).await {
            Err(StoreError::Conflict { .. }) => Ok(None),
            done => done.map(Some),
        }
    }

    /// # Errors
    /// When changes after this revision are no longer kept.
    pub fn watch_dhcp_leases(&self, after: u64) -> Result<LeaseChanges, StoreError> {
        self.0.store.watch(after).map(LeaseChanges)
    }
}

fn key(address: Ipv4Addr) -> String {
    format!("{PREFIX}{address}")
}

/// The changes in order.
pub struct LeaseChanges(Watch);

impl LeaseChanges {
    /// `None` once the store is closed.
    ///
    /// # Errors
    /// If this reader was too slow.
    pub async fn next(&mut self) -> Option<Result<LeaseChange, StoreError>> {
        loop {
            let change = match self.0.next().await? {
                Ok(change) => change,
                Err(reason) => return Some(Err(reason)),
            };
            if !change.key.starts_with(PREFIX) {
                continue;
            }
            let is_gone = change.pair.is_none();
            let found = change.pair.or(change.previous).and_then(|pair| read(&pair));
            match found {
                Some(lease) if is_gone => {
                    return Some(Ok(LeaseChange::Gone(StoredLease { version: change.revision, ..lease })));
                }
                Some(lease) => return Some(Ok(LeaseChange::Put(lease))),
                None => {} // a person wrote it wrong
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kubernetes::Family;
    use kubernetes::resources::{THIMBLE, find};
    use serde_json::json;

    use super::*;
    use crate::service::Config;
    use crate::store::Memory;

    #[tokio::test]
    async fn a_lease_is_written_over_the_version_that_was_seen_only_and_each_change_is_shown() {
        let server = Server::on(Arc::new(Memory::default()), Config::default()).await.unwrap();
        let address = Ipv4Addr::new(192, 0, 2, 5);
        let (none, revision) = server.dhcp_leases().await.unwrap();
        assert_eq!(none, []);
        let mut changes = server.watch_dhcp_leases(revision).unwrap();
        let first = server.put_dhcp_lease(address, json!({"n": 1}), None).await.unwrap().unwrap();
        assert_eq!(server.put_dhcp_lease(address, json!({"n": 2}), None).await.unwrap(), None, "there is one by now");
        assert_eq!(server.put_dhcp_lease(address, json!({"n": 2}), Some(first + 1)).await.unwrap(), None);
        let second = server.put_dhcp_lease(address, json!({"n": 3}), Some(first)).await.unwrap().unwrap();
        assert_eq!(server.dhcp_lease(address).await.unwrap(), Some(StoredLease { spec: json!({"n": 3}), version: second }));
        server.0.store.commit(Transaction::default().delete(key(address), second)).await.unwrap();
        let put = |n: u64, version| LeaseChange::Put(StoredLease { spec: json!({"n": n}), version });
        assert_eq!(changes.next().await.unwrap().unwrap(), put(1, first));
        assert_eq!(changes.next().await.unwrap().unwrap(), put(3, second));
        let gone = changes.next().await.unwrap().unwrap();
        assert!(matches!(gone, LeaseChange::Gone(lease) if lease.version > second));
    }

    #[test]
    fn the_leases_are_where_the_api_has_them() {
        let resource = find(THIMBLE, "v1alpha1", "dhcpleases").unwrap();
        assert!(matches!(resource.family, Family::Plain(PREFIX, _)), "{:?}", resource.family);
    }
}
