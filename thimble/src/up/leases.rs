//! The leases of a site for the pools of a boots in the same process as the server.

use std::net::Ipv4Addr;

use boots::SourceError;
use boots::dhcp::{Answer, Change, Changes, Lease, Put, SharedLeases, Stored};
use server::store::StoreError;
use server::{LeaseChange, LeaseChanges, Server, StoredLease};

#[derive(Clone)]
pub struct InProcess(pub Server);

impl std::fmt::Debug for InProcess {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("InProcess")
    }
}

fn failed(reason: StoreError) -> SourceError {
    SourceError::Other(reason.into())
}

/// `None` for an object that a person wrote wrong.
fn stored(lease: StoredLease) -> Option<Stored> {
    Some(Stored { lease: serde_json::from_value(lease.spec).ok()?, version: lease.version })
}

impl SharedLeases for InProcess {
    fn list(&self) -> Answer<'_, (Vec<Stored>, u64)> {
        Box::pin(async {
            let (leases, version) = self.0.dhcp_leases().await.map_err(failed)?;
            Ok((leases.into_iter().filter_map(stored).collect(), version))
        })
    }

    fn get(&self, address: Ipv4Addr) -> Answer<'_, Option<Stored>> {
        Box::pin(async move {
            let Some(found) = self.0.dhcp_lease(address).await.map_err(failed)? else { return Ok(None) };
            let wrong = || SourceError::Other(format!("DHCPLease {address} is not a lease of boots; remove the object").into());
            stored(found).map(Some).ok_or_else(wrong)
        })
    }

    fn put<'a>(&'a self, lease: &'a Lease, seen: Option<u64>) -> Answer<'a, Put> {
        Box::pin(async move {
            let spec = serde_json::to_value(lease).map_err(|reason| SourceError::Other(reason.into()))?;
            let written = self.0.put_dhcp_lease(lease.address, spec, seen).await.map_err(failed)?;
            Ok(written.map_or(Put::Conflict, Put::Done))
        })
    }

    fn watch(&self, after: u64) -> Answer<'_, Box<dyn Changes>> {
        Box::pin(async move {
            let changes = self.0.watch_dhcp_leases(after).map_err(failed)?;
            Ok(Box::new(Watch(changes)) as Box<dyn Changes>)
        })
    }
}

struct Watch(LeaseChanges);

impl Changes for Watch {
    fn next(&mut self) -> Answer<'_, Option<Change>> {
        Box::pin(async {
            loop {
                let change = match self.0.next().await {
                    None => return Ok(None),
                    Some(change) => change.map_err(failed)?,
                };
                let change = match change {
                    LeaseChange::Put(lease) => stored(lease).map(Change::Put),
                    LeaseChange::Gone(lease) => stored(lease).map(Change::Gone),
                };
                if change.is_some() {
                    return Ok(change);
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(mac: &str) -> Lease {
        let text = format!(r#"{{"address":"192.0.2.5","mac":"{mac}","state":"bound","since":1,"until":2}}"#);
        serde_json::from_str(&text).unwrap()
    }

    #[tokio::test]
    async fn of_two_that_write_one_address_one_is_told_of_the_conflict() {
        let server = Server::open(server::Config::default()).await.unwrap();
        let (one, other) = (InProcess(server.clone()), InProcess(server));
        let mut changes = other.watch(other.list().await.unwrap().1).await.unwrap();
        let (first, second) = (lease("02:00:00:00:00:01"), lease("02:00:00:00:00:02"));
        let Put::Done(version) = one.put(&first, None).await.unwrap() else { panic!("nothing was there") };
        assert_eq!(other.put(&second, None).await.unwrap(), Put::Conflict);
        assert_eq!(other.get(first.address).await.unwrap(), Some(Stored { lease: first.clone(), version }));
        assert_eq!(changes.next().await.unwrap(), Some(Change::Put(Stored { lease: first, version })));
        assert!(matches!(other.put(&second, Some(version)).await.unwrap(), Put::Done(later) if later > version));
        assert_eq!(one.list().await.unwrap().0.len(), 1);
    }
}
