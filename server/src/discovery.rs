//! Discovery: an unknown agent on a network that the operator named gets a Hardware, which waits for approval.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use api::Attributes;
use jiff::Timestamp;
use log::{info, warn};
use machine::Chain;
use model::{API_VERSION, AgentId, Auto, Dhcp, Disk, Hardware, HardwareSpec, Interface, Kind, Mac, Metadata, Netboot};
use proto::AgentAttributes;

use crate::agents::{Facts, MAX_ATTRIBUTES, Source, fits};
use crate::change::encoded;
use crate::intent;
use crate::service::Server;
use crate::store::{StoreError, Transaction};
use crate::view::{View, key, machine_key};

/// Tinkerbell's name of the annotation.
pub const ATTRIBUTES: &str = "tinkerbell.org/agent-attributes";
const LABEL: &str = "tinkerbell.org/auto-discovered";
const NAMESPACE: &str = "default";

/// The most machines that wait for approval, and the most bytes of their attributes.
const MOST: usize = 1000;
const MOST_BYTES: usize = 16 << 20;
/// Machines of one address that wait in any case. It gets further places as long as others have as many.
const SHARE: usize = 64;
/// Of one machine. More come from an agent that invents them.
const MOST_LINKS: usize = 64;
const MOST_DISKS: usize = 256;
/// What an interface or a disk takes beside the attributes that it comes from.
const RECORD: usize = 128;
const QUIET: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub struct Discovery {
    complained: Mutex<Option<Instant>>,
}

impl Server {
    /// An agent asks for work. If the operator allows it, its machine is discovered, and gets a workflow. True if an object
    /// names the agent.
    pub(crate) async fn met(&self, id: &AgentId, address: Option<SocketAddr>, reported: Option<&AgentAttributes>) -> bool {
        let mut is_known = self.agent_called(id, address, reported);
        if !is_known && self.is_discovered(address) {
            match self.discover(id, address, reported).await {
                Ok(true) => is_known = self.agent_called(id, address, reported),
                Ok(false) => {}
                Err(reason) => warn!("agent={id} the discovered machine could not be stored: {}", Chain(&reason)),
            }
        }
        if is_known {
            self.enrol(id, address, reported).await;
        }
        is_known
    }

    /// Whether machines at this address may be discovered.
    pub(crate) fn is_discovered(&self, address: Option<SocketAddr>) -> bool {
        address.is_some_and(|address| self.0.config().discovery.iter().any(|network| network.contains(address.ip())))
    }

    async fn discover(
        &self,
        id: &AgentId,
        address: Option<SocketAddr>,
        reported: Option<&AgentAttributes>,
    ) -> Result<bool, StoreError> {
        let view = self.snapshot();
        let attributes = reported.map(|reported| Facts::from(reported).attributes);
        let Some(hardware) = hardware(id, attributes.as_ref(), |mac| view.by_mac(mac).is_some()) else { return Ok(false) };
        let name = hardware.name();
        if view.hardware.contains_key(&name) {
            return Ok(false); // another agent with a similar id has this name
        }
        if let Some(full) = self.is_full(&view, &hardware, address) {
            self.complain(id, address, full);
            return Ok(false);
        }
        let mut transaction = Transaction::default().put(key(Kind::Hardware, &name), 0, encoded(&hardware)?);
        // If an earlier Hardware had this name, the machine keeps its state. It may be installed.
        if !view.machines.contains_key(&name) {
            let from = address.map(|address| address.ip().to_string()).unwrap_or_default();
            transaction = transaction.put(machine_key(&name), 0, encoded(&intent::discovered(&from, Timestamp::now()))?);
        }
        match self.commit(transaction).await {
            Err(StoreError::Conflict { .. }) => return Ok(self.view().knows_agent(id)),
            done => done?,
        };
        let address = address.map(|address| address.to_string()).unwrap_or_default();
        info!("hardware={name} agent={id} address={address} was discovered and waits for `thimble machine approve {name}`");
        Ok(true)
    }

    fn is_full(&self, view: &View, new: &Hardware, address: Option<SocketAddr>) -> Option<String> {
        let free = MOST.saturating_sub(view.discovered.len());
        if free == 0 {
            return Some(format!("{MOST} machines wait for approval"));
        }
        let waiting = || view.discovered.iter().filter_map(|name| view.hardware.get(name)).map(|stored| &*stored.object);
        let bytes = waiting().map(size).sum::<usize>() + size(new);
        if bytes > MOST_BYTES {
            return Some(format!("the machines that wait for approval take {MOST_BYTES} bytes"));
        }
        // On this host itself only the operator starts agents.
        let source = address.filter(|address| !address.ip().to_canonical().is_loopback()).map(|at| Source::from(Some(at)))?;
        let agents = waiting().filter_map(|hardware| hardware.spec.agent_id.clone()).map(AgentId);
        let addresses = agents.filter_map(|agent| self.0.agents.last_call(&agent)?.0);
        let own = addresses.filter(|address| Source::from(Some(*address)) == source).count();
        (own >= SHARE && own >= free).then(|| format!("{own} machines of its address wait for approval"))
    }

    fn complain(&self, id: &AgentId, address: Option<SocketAddr>, why: String) {
        let mut last = self.0.discovery.complained.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| last.elapsed() >= QUIET) {
            *last = Some(Instant::now());
            let address = address.map(|address| address.to_string()).unwrap_or_default();
            warn!("agent={id} address={address} is not discovered: {why}; approve or delete some (`thimble machine list`)");
        }
    }
}

/// What a machine takes of the budget.
fn size(hardware: &Hardware) -> usize {
    let attributes = hardware.metadata.annotations.get(ATTRIBUTES).map_or(0, String::len);
    attributes + RECORD * (hardware.spec.interfaces.len() + hardware.spec.disks.len())
}

/// What a discovered machine reported when it was met.
pub fn inventory(hardware: &Hardware) -> Option<Attributes> {
    serde_json::from_str(hardware.metadata.annotations.get(ATTRIBUTES)?).ok()
}

/// As Tinkerbell makes it, and allowed to boot from the network, so that it can come back. MACs of other machines are left
/// out.
fn hardware(id: &AgentId, attributes: Option<&Attributes>, is_taken: impl Fn(Mac) -> bool) -> Option<Hardware> {
    let attributes = attributes.filter(|attributes| fits(attributes)); // all of them, or none
    let mut metadata = Metadata { name: name_of("discovery-", id)?, namespace: NAMESPACE.to_owned(), ..Metadata::default() };
    metadata.labels.insert(LABEL.to_owned(), "true".to_owned());
    metadata.annotations.extend(annotation(attributes));
    metadata.creation_timestamp = Some(Timestamp::now());
    let disks = attributes.iter().flat_map(|attributes| &attributes.block_devices);
    let disks = disks.filter(|disk| disk.size.as_ref().is_some_and(|size| !size.is_empty()));
    let disks = disks.filter_map(|disk| Some(Disk { device: format!("/dev/{}", machine::said(disk.name.as_ref()?, 64)) }));
    // An agent is named after the interface that booted it.
    let links = attributes.iter().flat_map(|attributes| &attributes.network_interfaces).filter_map(|link| link.mac.as_ref());
    let mut macs: Vec<Mac> = Vec::new();
    for mac in std::iter::once(&id.0).chain(links).filter_map(|mac| mac.parse().ok()) {
        if !is_taken(mac) && !macs.contains(&mac) {
            macs.push(mac);
        }
    }
    let netboot = Netboot { allow_pxe: Some(true), ..Netboot::default() };
    let interface = |mac| Interface {
        dhcp: Some(Dhcp { mac: Some(mac), ..Dhcp::default() }),
        netboot: Some(netboot.clone()),
        ..Interface::default()
    };
    let spec = HardwareSpec {
        agent_id: Some(id.0.clone()),
        auto: Some(Auto { enrollment_enabled: Some(false) }),
        disks: disks.take(MOST_DISKS).collect(),
        interfaces: macs.into_iter().take(MOST_LINKS).map(interface).collect(),
        ..HardwareSpec::default()
    };
    let kind = Kind::Hardware.to_string();
    Some(Hardware { api_version: API_VERSION.to_owned(), kind, metadata, spec, status: model::HardwareStatus::default() })
}

/// The attributes for `metadata.annotations`, unless they are too long.
pub fn annotation(attributes: Option<&Attributes>) -> Option<(String, String)> {
    let text = serde_json::to_string(attributes?).ok()?;
    (text.len() <= MAX_ATTRIBUTES).then(|| (ATTRIBUTES.to_owned(), text))
}

/// The name of an object for an agent, by Tinkerbell's rule.
pub fn name_of(prefix: &str, id: &AgentId) -> Option<String> {
    const LONGEST: usize = 63;
    let id = id.0.trim();
    let end = if id.ends_with(|last: char| last.is_ascii_alphanumeric()) { "" } else { "e" };
    let mut name = String::new();
    for letter in prefix.chars().chain(id.chars()).chain(end.chars()) {
        let letter = if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' };
        if letter != '-' || !name.ends_with('-') {
            name.push(letter);
        }
    }
    name.truncate(LONGEST);
    (!id.is_empty()).then(|| name.trim_matches('-').to_owned())
}

#[cfg(test)]
mod tests;
