//! Machines by addresses that their Hardware does not have: those of pools, of another DHCP server, and those made from MACs.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use model::{Mac, ObjectName};

use super::{HardwareFuture, MachineSource, SourceError, SourceFuture};

/// Knows who has an address.
pub trait Addresses: Send + Sync + 'static {
    fn mac(&self, address: IpAddr) -> Option<Mac>;

    /// Whether the machine at such an address may read its metadata, if its Hardware has no address at all.
    fn proves_machine(&self) -> bool {
        false
    }

    /// As [`MachineSource::heard`].
    fn heard(&self, _mac: Option<Mac>, _address: Ipv4Addr) {}
}

/// The same source, which also finds machines by what `known` says, in this order.
#[must_use]
pub fn with_addresses(inner: Arc<dyn MachineSource>, known: Vec<Arc<dyn Addresses>>) -> Arc<dyn MachineSource> {
    if known.is_empty() { inner } else { Arc::new(WithAddresses { inner, known }) }
}

struct WithAddresses {
    inner: Arc<dyn MachineSource>,
    known: Vec<Arc<dyn Addresses>>,
}

impl MachineSource for WithAddresses {
    fn machine(&self, mac: Mac) -> SourceFuture<'_> {
        self.inner.machine(mac)
    }

    fn machine_at(&self, address: IpAddr) -> SourceFuture<'_> {
        Box::pin(async move {
            let mut found = self.inner.machine_at(address).await?;
            for mac in self.known.iter().filter_map(|known| known.mac(address)) {
                if found.is_some() {
                    break;
                }
                found = self.inner.machine(mac).await?;
            }
            Ok(found)
        })
    }

    fn hardware_at(&self, address: IpAddr) -> HardwareFuture<'_> {
        Box::pin(async move {
            let found = self.inner.hardware_at(address).await?;
            let proven = || self.known.iter().filter(|known| known.proves_machine()).find_map(|known| known.mac(address));
            match (found, proven()) {
                // A machine with an address of its own shows itself by that one. On the network of a pool anybody can have its MAC.
                (None, Some(mac)) => {
                    Ok(self.inner.hardware_with(mac).await?.filter(|hardware| hardware.spec.addresses().next().is_none()))
                }
                (found, _) => Ok(found),
            }
        })
    }

    fn hardware_with(&self, mac: Mac) -> HardwareFuture<'_> {
        self.inner.hardware_with(mac)
    }

    fn hardware_named(&self, name: &ObjectName) -> HardwareFuture<'_> {
        self.inner.hardware_named(name)
    }

    fn heard(&self, mac: Option<Mac>, address: Ipv4Addr) {
        self.known.iter().for_each(|known| known.heard(mac, address));
        self.inner.heard(mac, address);
    }

    fn booted(&self, mac: Mac, text: String) -> BoxFuture<'_, Result<bool, SourceError>> {
        self.inner.booted(mac, text)
    }
}
