//! Hardware: what is known of a machine before its first boot.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Mac, ObjectName, Resource};

pub type Hardware = Resource<HardwareSpec, HardwareStatus>;

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HardwareSpec {
    #[serde(rename = "agentID", skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto: Option<Auto>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bmc_ref: Option<BmcRef>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<Disk>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<Interface>,
    /// Instance metadata with Tinkerbell's JSON names; its keys are checked, its values pass through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Value>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub references: BTreeMap<String, Reference>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub resources: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tink_version: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vendor_data: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HardwareStatus {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// What a BMC controller reports; kept as it comes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attributes: Option<Value>,
}

/// Another object, whose content templates see as `.references.NAME` if a Policy allows it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Reference {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The plural in small letters: `hardware`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
}

impl Reference {
    /// Without a namespace it is that of the object that refers.
    #[must_use]
    pub fn object_name(&self, from: &str) -> ObjectName {
        ObjectName::new(self.namespace.as_deref().unwrap_or(from), &self.name)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Auto {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enrollment_enabled: Option<bool>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BmcRef {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_group: Option<String>,
    pub kind: String,
    pub name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Disk {
    pub device: String,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Interface {
    /// Do not answer DHCP for this interface.
    #[serde(rename = "disableDhcp", skip_serializing_if = "Option::is_none")]
    pub disable_dhcp: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dhcp: Option<Dhcp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netboot: Option<Netboot>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub isoboot: Option<Isoboot>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Dhcp {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain_name: Option<String>,
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_time: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub name_servers: Vec<IpAddr>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub time_servers: Vec<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uefi: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iface_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<Ip>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vlan_id: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub classless_static_routes: Vec<Route>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tftp_server_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_file_name: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Ip {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netmask: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// `10.1.0.0/16`: checked when the object was read.
    pub destination_descriptor: String,
    pub router: IpAddr,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Netboot {
    #[serde(rename = "allowPXE", skip_serializing_if = "Option::is_none")]
    pub allow_pxe: Option<bool>,
    #[serde(rename = "allowWorkflow", skip_serializing_if = "Option::is_none")]
    pub allow_workflow: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipxe: Option<Ipxe>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub osie: Option<Osie>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pxelinux: Option<Pxelinux>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpi: Option<Rpi>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Ipxe {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contents: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub binary: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Osie {
    #[serde(rename = "baseURL", skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initrd: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kernel_params: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Pxelinux {
    pub config: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rpi {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_txt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub firmware_path: Option<String>,
    pub serial_num: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Isoboot {
    #[serde(rename = "sourceISO", skip_serializing_if = "Option::is_none")]
    pub source_iso: Option<String>,
}

impl HardwareSpec {
    /// The interface that carries this address.
    #[must_use]
    pub fn interface(&self, mac: Mac) -> Option<&Interface> {
        self.interfaces.iter().find(|interface| interface.dhcp.as_ref().is_some_and(|dhcp| dhcp.mac == Some(mac)))
    }

    /// Its entries: one, or one with an IPv4 address and one with an IPv6 address.
    pub fn entries(&self, mac: Mac) -> impl Iterator<Item = &Interface> {
        self.interfaces.iter().filter(move |interface| interface.mac() == Some(mac))
    }

    /// Each MAC once.
    pub fn macs(&self) -> impl Iterator<Item = Mac> + '_ {
        let earlier = |at: usize, mac: Mac| self.interfaces.iter().take(at).any(|interface| interface.mac() == Some(mac));
        let all = self.interfaces.iter().enumerate().filter_map(|(at, interface)| Some((at, interface.mac()?)));
        all.filter(move |(at, mac)| !earlier(*at, *mac)).map(|(_, mac)| mac)
    }

    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.interfaces.iter().filter_map(|interface| interface.dhcp.as_ref()?.ip.as_ref()?.address)
    }
}

impl Interface {
    #[must_use]
    pub fn mac(&self) -> Option<Mac> {
        self.dhcp.as_ref()?.mac
    }

    #[must_use]
    pub fn has_ipv6(&self) -> bool {
        self.dhcp.as_ref().and_then(|dhcp| dhcp.ip.as_ref()?.address).is_some_and(|address| address.is_ipv6())
    }

    /// Whether this interface may boot from the network; without a `netboot` part it may not.
    #[must_use]
    pub fn may_netboot(&self) -> bool {
        self.netboot.as_ref().is_some_and(|netboot| netboot.allow_pxe == Some(true))
    }
}
