//! What is known of a machine, by any of its names.

use std::net::IpAddr;
use std::sync::Arc;

use api::{Agent, BootState, Booted, Machine, What};
use jiff::Timestamp;
use log::info;
use model::{AgentId, Hardware, Mac, ObjectName};

use crate::boot::boot_state;
use crate::change::encoded;
use crate::discovery::inventory;
use crate::logs::running;
use crate::machines::find;
use crate::service::Server;
use crate::store::StoreError;
use crate::view::View;

/// What boots asks of a machine, with every packet and every file.
pub struct Booting {
    pub hardware: Arc<Hardware>,
    pub mac: Mac,
    pub boot: BootState,
    /// Of the devices that its agent reported.
    pub modaliases: Vec<String>,
}

impl Server {
    /// What the machine with this MAC should boot now.
    #[must_use]
    pub fn booting(&self, mac: Mac) -> Option<Booting> {
        let view = self.view();
        let hardware = &view.by_mac(mac)?.object;
        Some(self.boots_as(&view, hardware, mac))
    }

    /// Like `booting`, by the address in its Hardware.
    #[must_use]
    pub fn booting_at(&self, address: IpAddr) -> Option<Booting> {
        let view = self.view();
        let hardware = &view.by_address(address)?.object;
        Some(self.boots_as(&view, hardware, mac_at(hardware, address)?))
    }

    fn boots_as(&self, view: &View, hardware: &Arc<Hardware>, mac: Mac) -> Booting {
        let modaliases = ids(hardware).find_map(|id| self.0.agents.modaliases(&id)).unwrap_or_default();
        Booting { hardware: Arc::clone(hardware), mac, boot: boot_state(view, hardware, Some(mac)), modaliases }
    }

    /// The machine with this MAC, and what it should boot now. The last announcement of its system is left out.
    #[must_use]
    pub fn machine(&self, mac: Mac) -> Option<Machine> {
        let view = self.view();
        Some(self.known(&view, &view.by_mac(mac)?.object, Some(mac)))
    }

    /// Like `machine`, by the address in its Hardware, for requests that do not contain a MAC.
    #[must_use]
    pub fn machine_by_address(&self, address: IpAddr) -> Option<Machine> {
        let view = self.view();
        let hardware = &view.by_address(address)?.object;
        let same_address =
            view.address_owners(address).filter(|name| **name != hardware.name()).map(ToString::to_string).collect();
        Some(Machine { same_address, ..self.known(&view, hardware, mac_at(hardware, address)) })
    }

    /// Like `machine`, by MAC, IP address or the name of its Hardware.
    #[must_use]
    pub fn machine_named(&self, text: &str) -> Option<Machine> {
        if let Ok(mac) = text.parse() {
            return self.machine(mac);
        }
        if let Ok(address) = text.parse() {
            return self.machine_by_address(address);
        }
        let view = self.view();
        let hardware = find(&view, text)?;
        let mac = hardware.spec.macs().next();
        Some(self.known(&view, hardware, mac))
    }

    /// The Hardware of the only machine with this address.
    ///
    /// # Errors
    /// The names of all Hardware that have it, if there are several. Only a store of an earlier version can have them.
    pub fn only_hardware_at(&self, address: IpAddr) -> Result<Option<Arc<Hardware>>, Vec<ObjectName>> {
        let view = self.view();
        let names: Vec<ObjectName> = view.address_owners(address).cloned().collect();
        match names.as_slice() {
            [] => Ok(None),
            [only] => Ok(view.hardware.get(only).map(|stored| Arc::clone(&stored.object))),
            _ => Err(names),
        }
    }

    #[must_use]
    pub fn hardware_with(&self, mac: Mac) -> Option<Arc<Hardware>> {
        self.view().by_mac(mac).map(|stored| Arc::clone(&stored.object))
    }

    #[must_use]
    pub fn hardware_named(&self, name: &ObjectName) -> Option<Arc<Hardware>> {
        self.view().hardware.get(name).map(|stored| Arc::clone(&stored.object))
    }

    /// The agent that called from this machine.
    pub(crate) fn agent_of(&self, hardware: &Hardware) -> Option<Agent> {
        let mut agent = ids(hardware).find_map(|id| self.0.agents.get(&id))?;
        agent.attributes = agent.attributes.or_else(|| inventory(hardware));
        Some(agent)
    }

    fn known(&self, view: &View, hardware: &Hardware, mac: Option<Mac>) -> Machine {
        let progress = running(view, hardware).and_then(|(workflow, ..)| workflow.status.progress.clone());
        Machine {
            mac,
            boot: boot_state(view, hardware, mac),
            state: view.machines.get(&hardware.name()).map(|stored| api::MachineState::clone(&stored.object)),
            queue: self.queue_of(view, &hardware.name(), Timestamp::now()),
            agent: self.agent_of(hardware).map(|agent| Agent { progress, ..agent }),
            hardware: hardware.clone(),
            booted: None,
            same_address: Vec::new(),
            last_step: self.last_step(hardware),
        }
    }

    /// The installed system of a machine announced itself.
    ///
    /// # Errors
    /// `Ok(false)` if the machine is not known, and an error when the store fails.
    pub async fn booted(&self, mac: Mac, text: String) -> Result<bool, StoreError> {
        if self.machine(mac).is_none() {
            return Ok(false);
        }
        info!("mac={mac} the installed system is up: {text}");
        let booted = Booted { time: Timestamp::now(), text: text.clone() };
        self.replace(&format!("/booted/{mac}"), Some(&encoded(&booted)?)).await?;
        self.publish(What::Booted { mac, text });
        Ok(true)
    }

    /// When and how the installed system last announced itself.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn last_booted(&self, mac: Mac) -> Result<Option<Booted>, StoreError> {
        let pair = self.0.store.get(&format!("/booted/{mac}")).await?;
        Ok(pair.and_then(|pair| serde_json::from_slice(&pair.value).ok()))
    }
}

/// The MAC of the interface with this address.
fn mac_at(hardware: &Hardware, address: IpAddr) -> Option<Mac> {
    let mut dhcp = hardware.spec.interfaces.iter().filter_map(|interface| interface.dhcp.as_ref());
    dhcp.find(|dhcp| dhcp.mac.is_some() && dhcp.ip.as_ref().and_then(|ip| ip.address) == Some(address))?.mac
}

/// The names under which its agent may call.
fn ids(hardware: &Hardware) -> impl Iterator<Item = AgentId> {
    let spec = &hardware.spec;
    spec.agent_id.iter().cloned().chain(spec.macs().map(|mac| mac.to_string())).map(AgentId)
}
