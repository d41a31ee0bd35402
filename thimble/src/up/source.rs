//! The server as boots' source of machines, when both are one process.

use std::net::IpAddr;

use boots::{BootState, Machine, MachineSource, SourceFuture};
use model::Mac;
use server::Server;

pub struct InProcess(pub Server);

impl MachineSource for InProcess {
    fn machine(&self, mac: Mac) -> SourceFuture<'_> {
        let machine = self.0.machine(mac).and_then(|known| {
            let devices = self.modaliases(&known);
            Some(Machine::from_hardware(&known.hardware, mac, state(known.boot))?.with_devices(&devices))
        });
        Box::pin(async { Ok(machine) })
    }

    fn machine_at(&self, address: IpAddr) -> SourceFuture<'_> {
        let known = self.0.machine_by_address(address);
        let machine = known.and_then(|known| {
            let devices = self.modaliases(&known);
            Some(Machine::from_hardware_at(&known.hardware, address, state(known.boot))?.with_devices(&devices))
        });
        Box::pin(async { Ok(machine) })
    }
}

impl InProcess {
    fn modaliases(&self, known: &server::Machine) -> Vec<String> {
        self.0.agent_of(known).map(|(_, agent)| agent.modaliases).unwrap_or_default()
    }
}

fn state(state: server::BootState) -> BootState {
    match state {
        server::BootState::Install { .. } => BootState::Install,
        server::BootState::Local { reason } => BootState::Local { reason },
        server::BootState::Wait { reason } => BootState::Wait { reason },
    }
}
