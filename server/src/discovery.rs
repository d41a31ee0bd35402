//! Discovery: an unknown agent on a network that the operator named becomes a Hardware, which waits for approval.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use api::Attributes;
use jiff::Timestamp;
use log::{info, warn};
use machine::Chain;
use model::{API_VERSION, AgentId, Auto, Dhcp, Disk, Hardware, HardwareSpec, Interface, Kind, Mac, Metadata, Netboot};
use proto::AgentAttributes;

use crate::agents::{Facts, MAX_ATTRIBUTES, Source};
use crate::change::encoded;
use crate::intent;
use crate::service::Server;
use crate::store::{StoreError, Transaction};
use crate::view::{View, key, machine_key};

/// What Tinkerbell calls them.
pub const ATTRIBUTES: &str = "tinkerbell.org/agent-attributes";
const LABEL: &str = "tinkerbell.org/auto-discovered";
const NAMESPACE: &str = "default";

/// Machines that wait for approval, and their attributes in bytes.
const MOST: usize = 1000;
const MOST_BYTES: usize = 16 << 20;
/// Machines that one address makes known while this process runs.
const SHARE: usize = 64;
const QUIET: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub struct Discovery {
    by_source: Mutex<HashMap<Source, usize>>,
    complained: Mutex<Option<Instant>>,
}

impl Server {
    /// An agent asks for work. Its machine is made known, and gets a workflow, where the operator wants that. True if an
    /// object names the agent.
    pub(crate) async fn met(&self, id: &AgentId, address: Option<SocketAddr>, reported: Option<&AgentAttributes>) -> bool {
        let mut is_known = self.agent_called(id, address, reported);
        if !is_known && self.is_discovered(address) {
            match self.discover(id, address, reported).await {
                Ok(true) => is_known = self.agent_called(id, address, reported),
                Ok(false) => {}
                Err(reason) => warn!("agent={id} its machine could not be stored: {}", Chain(&reason)),
            }
        }
        if is_known {
            self.enrol(id, address, reported).await;
        }
        is_known
    }

    /// Whether machines at this address may make themselves known.
    pub(crate) fn is_discovered(&self, address: Option<SocketAddr>) -> bool {
        address.is_some_and(|address| self.0.config.discovery.iter().any(|network| network.contains(address.ip())))
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
            return Ok(false); // of an agent with a similar id
        }
        let source = Source::from(address);
        if let Some(full) = self.is_full(&view, &hardware, source) {
            self.complain(id, address, full);
            return Ok(false);
        }
        let mut transaction = Transaction::default().put(key(Kind::Hardware, &name), 0, encoded(&hardware)?);
        // What an earlier Hardware of this name was, an installed machine for instance, it still is.
        if !view.machines.contains_key(&name) {
            let from = address.map(|address| address.ip().to_string()).unwrap_or_default();
            transaction = transaction.put(machine_key(&name), 0, encoded(&intent::discovered(&from, Timestamp::now()))?);
        }
        match self.commit(transaction).await {
            Err(StoreError::Conflict { .. }) => return Ok(self.view().knows_agent(id)),
            done => done?,
        };
        *self.0.discovery.by_source.lock().unwrap_or_else(PoisonError::into_inner).entry(source).or_default() += 1;
        let address = address.map(|address| address.to_string()).unwrap_or_default();
        info!("hardware={name} agent={id} address={address} was discovered; `thimble machine approve {name}` takes it in");
        Ok(true)
    }

    fn is_full(&self, view: &View, new: &Hardware, source: Source) -> Option<String> {
        if view.discovered.len() >= MOST {
            return Some(format!("{MOST} machines wait for approval"));
        }
        let by_one = self.0.discovery.by_source.lock().unwrap_or_else(PoisonError::into_inner).get(&source).copied();
        if by_one.is_some_and(|count| count >= SHARE) {
            return Some(format!("its address has made {SHARE} machines known"));
        }
        let size = |hardware: &Hardware| hardware.metadata.annotations.get(ATTRIBUTES).map_or(0, String::len);
        let waiting = view.discovered.iter().filter_map(|name| view.hardware.get(name));
        let bytes = waiting.map(|stored| size(&stored.object)).sum::<usize>() + size(new);
        (bytes > MOST_BYTES).then(|| format!("the machines that wait for approval take {MOST_BYTES} bytes"))
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

/// As Tinkerbell makes it, and allowed to boot from the network, so that it can come back. MACs of other machines are left
/// out.
fn hardware(id: &AgentId, attributes: Option<&Attributes>, is_taken: impl Fn(Mac) -> bool) -> Option<Hardware> {
    let mut metadata = Metadata { name: name_of("discovery-", id)?, namespace: NAMESPACE.to_owned(), ..Metadata::default() };
    metadata.labels.insert(LABEL.to_owned(), "true".to_owned());
    metadata.annotations.extend(annotation(attributes));
    metadata.creation_timestamp = Some(Timestamp::now());
    let disks = attributes.iter().flat_map(|attributes| &attributes.block_devices);
    let disks = disks.filter(|disk| disk.size.as_ref().is_some_and(|size| !size.is_empty()));
    let disks = disks.filter_map(|disk| Some(Disk { device: format!("/dev/{}", machine::said(disk.name.as_ref()?, 64)) }));
    let mut macs: Vec<Mac> = Vec::new();
    for link in attributes.iter().flat_map(|attributes| &attributes.network_interfaces) {
        if let Some(mac) = link.mac.as_ref().and_then(|mac| mac.parse().ok())
            && !is_taken(mac)
            && !macs.contains(&mac)
        {
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
        disks: disks.collect(),
        interfaces: macs.into_iter().map(interface).collect(),
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

/// The name of an object that is made for an agent, by Tinkerbell's rule.
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
mod tests {
    use api::{Block, Link};

    use super::*;

    #[test]
    fn names_are_tinkerbells() {
        for (id, name) in [
            ("52:54:00:12:34:56", Some("discovery-52-54-00-12-34-56")),
            ("Node_7", Some("discovery-node-7")),
            ("a..b", Some("discovery-a-b")),
            ("a:", Some("discovery-a-e")),
            (" x ", Some("discovery-x")),
            ("é", Some("discovery-e")),
            ("  ", None),
        ] {
            assert_eq!(name_of("discovery-", &AgentId::from(id)).as_deref(), name, "{id}");
        }
        assert_eq!(name_of("discovery-", &AgentId("x".repeat(253))).unwrap().len(), 63);
    }

    #[test]
    fn a_discovered_machine_has_its_disks_and_interfaces() {
        let disk = |name: &str, size: &str| Block {
            name: Some(name.to_owned()),
            size: Some(size.to_owned()).filter(|size| !size.is_empty()),
            ..Block::default()
        };
        let link = |mac: &str| Link { mac: Some(mac.to_owned()), ..Link::default() };
        let attributes = Attributes {
            block_devices: vec![disk("sda", "16GB"), disk("sr0", ""), disk("nvme0n1", "1TB")],
            network_interfaces: ["52:54:00:00:00:01", "nonsense", "", "52:54:00:00:00:02", "52:54:00:00:00:01"].map(link).into(),
            ..Attributes::default()
        };
        let taken: Mac = "52:54:00:00:00:02".parse().unwrap();
        let found = hardware(&AgentId::from("A:1"), Some(&attributes), |mac| mac == taken).unwrap();
        let devices: Vec<&str> = found.spec.disks.iter().map(|disk| disk.device.as_str()).collect();
        assert_eq!((devices, found.spec.macs().count()), (vec!["/dev/sda", "/dev/nvme0n1"], 1));
        assert_eq!(found.metadata.labels[LABEL], "true");
        assert!(found.metadata.annotations[ATTRIBUTES].contains("nvme0n1"));
        assert_eq!((found.metadata.name.as_str(), found.spec.agent_id.as_deref()), ("discovery-a-1", Some("A:1")));
    }
}
