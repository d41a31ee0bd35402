//! The server as boots' source of machines, if both are in one process.

use std::net::IpAddr;

use boots::{BootInterface, MachineSource, SourceFuture};
use model::Mac;
use server::Server;

pub struct InProcess(pub Server);

impl MachineSource for InProcess {
    fn machine(&self, mac: Mac) -> SourceFuture<'_> {
        let machine = self.0.machine(mac).and_then(|known| BootInterface::known(&known, None));
        Box::pin(async { Ok(machine) })
    }

    fn machine_at(&self, address: IpAddr) -> SourceFuture<'_> {
        let machine = self.0.machine_by_address(address).and_then(|known| BootInterface::known(&known, Some(address)));
        Box::pin(async { Ok(machine) })
    }
}
