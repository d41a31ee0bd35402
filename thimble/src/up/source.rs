//! The server as boots' source of machines, if both are in one process.

use std::net::IpAddr;

use boots::{BootInterface, HardwareFuture, MachineSource, SourceError, SourceFuture};
use model::{Mac, ObjectName};
use server::{Booting, Server};

pub struct InProcess(pub Server);

impl MachineSource for InProcess {
    fn machine(&self, mac: Mac) -> SourceFuture<'_> {
        Box::pin(async move {
            self.0.hurried().await;
            Ok(self.0.booting(mac).and_then(interface))
        })
    }

    fn machine_at(&self, address: IpAddr) -> SourceFuture<'_> {
        Box::pin(async move {
            self.0.hurried().await;
            Ok(self.0.booting_at(address).and_then(interface))
        })
    }

    fn hardware_at(&self, address: IpAddr) -> HardwareFuture<'_> {
        let found = self.0.only_hardware_at(address).map_err(|names| SourceError::Ambiguous { address, names });
        Box::pin(async { found })
    }

    fn hardware_with(&self, mac: Mac) -> HardwareFuture<'_> {
        let found = self.0.hardware_with(mac);
        Box::pin(async { Ok(found) })
    }

    fn hardware_named(&self, name: &ObjectName) -> HardwareFuture<'_> {
        let found = self.0.hardware_named(name);
        Box::pin(async { Ok(found) })
    }
}

fn interface(Booting { hardware, mac, boot, modaliases }: Booting) -> Option<BootInterface> {
    Some(BootInterface::from_hardware(&hardware, mac, boot)?.with_devices(&modaliases))
}
