//! The machine behind a MAC, and what it shall boot. Every [`MachineSource`] answers with these types.

mod addresses;
mod file;
mod hardware;
mod place;
mod remote;
mod remote_leases;
mod upstream;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use dhcp::v4::Route;
use futures_util::future::BoxFuture;
use model::{Hardware, Mac, ObjectName};

use devices::modalias::Device;

pub(crate) use addresses::{Addresses, with_addresses};
pub use api::BootState;
pub use file::FileSource;
pub use place::{Git, Place, PlaceError};
pub use remote::{Login, RemoteSource};
pub use remote_leases::event as lease_event;
pub use upstream::Upstream;

/// One network interface of a machine, with what DHCP and the boot script need of its Hardware.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootInterface {
    pub mac: Mac,
    /// The name of its Hardware, for people.
    pub name: String,
    /// The agent's name: `agentID`, else the MAC.
    pub agent_id: String,
    /// `None` if the Hardware has no IPv4 address here, or disables DHCP.
    pub reservation: Option<Reservation>,
    /// `None` if the Hardware has no IPv6 address here, or disables DHCP.
    pub reservation6: Option<Reservation6>,
    /// The Hardware has `disableDhcp`: silence in every mode.
    pub dhcp_disabled: bool,
    pub netboot_allowed: bool,
    /// Options 66 and 67 as the Hardware has them, wherever its address comes from. They replace the netboot logic.
    pub custom_boot: Option<CustomBoot>,
    pub boot: BootState,
    pub facility: Option<String>,
    pub vlan_id: Option<u16>,
    /// `dhcp.arch`: the processor, in Tinkerbell's words.
    pub arch: Option<String>,
    pub ipxe: Ipxe,
    pub osie: Osie,
    /// The configuration that PXELINUX and U-Boot get instead of a generated one.
    pub pxelinux: Option<String>,
    pub rpi: Option<RaspberryPi>,
    /// As the agent reported them at an earlier boot; empty before the first.
    pub devices: Vec<Device>,
    /// Driver packs that the machine gets whatever its devices are: the annotation `thimble/packs` of its Hardware.
    pub packs: Vec<String>,
}

impl BootInterface {
    /// A machine without Hardware, which boots the ramdisk to be discovered.
    #[must_use]
    pub fn unknown(mac: Mac) -> Self {
        Self {
            mac,
            name: "unknown machine".to_owned(),
            agent_id: mac.to_string(),
            reservation: None,
            reservation6: None,
            dhcp_disabled: false,
            netboot_allowed: true,
            custom_boot: None,
            boot: BootState::Wait { reason: "it is discovered".to_owned() },
            facility: None,
            vlan_id: None,
            arch: None,
            ipxe: Ipxe::default(),
            osie: Osie::default(),
            pxelinux: None,
            rpi: None,
            devices: Vec::new(),
            packs: Vec::new(),
        }
    }

    /// Adds the devices that the agent has reported. A text that is not a modalias is left out.
    #[must_use]
    pub fn with_devices(mut self, modaliases: &[String]) -> Self {
        self.devices.extend(modaliases.iter().filter_map(|text| Device::of_modalias(text)));
        self
    }
}

/// What DHCP hands out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    pub address: Ipv4Addr,
    pub netmask: Ipv4Addr,
    pub gateway: Option<Ipv4Addr>,
    /// Seconds.
    pub lease_time: Option<u32>,
    pub hostname: Option<String>,
    pub domain_name: Option<String>,
    pub name_servers: Vec<Ipv4Addr>,
    pub time_servers: Vec<Ipv4Addr>,
    pub routes: Vec<Route>,
}

/// What DHCPv6 hands out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation6 {
    pub address: Ipv6Addr,
    /// Seconds.
    pub lease_time: Option<u32>,
    pub domain_name: Option<String>,
    pub name_servers: Vec<Ipv6Addr>,
    pub time_servers: Vec<Ipv6Addr>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomBoot {
    pub tftp_server_name: String,
    pub boot_file_name: String,
}

/// `netboot.ipxe`: a script or a program of the operator's own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ipxe {
    pub url: Option<String>,
    pub contents: Option<String>,
    pub binary: Option<String>,
}

/// `netboot.osie`: another installation environment for this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Osie {
    pub base_url: Option<String>,
    pub kernel: Option<String>,
    pub initrd: Option<String>,
    pub kernel_params: Vec<String>,
}

/// `netboot.rpi`: the files of a Raspberry Pi.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RaspberryPi {
    /// The last eight digits of its serial number, which are the folder of its files.
    pub serial: String,
    /// The content of `config.txt`.
    pub config_txt: Option<String>,
    /// Where the firmware's files are, below the folder of boot programs or below the files.
    pub firmware_path: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("the Hardware files cannot be used")]
    Files(#[from] model::FilesError),
    #[error("cannot ask the server at {url} for the machine")]
    Unreachable {
        url: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("the server answered {status} to {url}: {body}")]
    Refused { url: String, status: u16, body: String },
    #[error("the answer to {url} does not describe a machine")]
    Nonsense {
        url: String,
        #[source]
        source: serde_json::Error,
    },
    #[error(
        "the token for {url} can be sent over https:// only; is it the line that `thimble token create --role boots` printed?"
    )]
    Login { url: String },
    #[error("cannot prepare TLS with the server at {url}")]
    Tls {
        url: String,
        #[source]
        source: trust::TrustError,
    },
    #[error("several Hardware have the address {address}: {}", names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    Ambiguous { address: IpAddr, names: Vec<ObjectName> },
    #[error(transparent)]
    Other(Box<dyn std::error::Error + Send + Sync>),
}

pub type SourceFuture<'a> = BoxFuture<'a, Result<Option<BootInterface>, SourceError>>;

pub type HardwareFuture<'a> = BoxFuture<'a, Result<Option<Arc<Hardware>>, SourceError>>;

/// Finds machines. The answer `None` means that boots stays silent.
pub trait MachineSource: Send + Sync + 'static {
    fn machine(&self, mac: Mac) -> SourceFuture<'_>;

    /// The machine whose reservation has this address.
    fn machine_at(&self, address: IpAddr) -> SourceFuture<'_>;

    /// The Hardware of the only machine with this address, for its metadata. A source need not have any.
    fn hardware_at(&self, _address: IpAddr) -> HardwareFuture<'_> {
        Box::pin(async { Ok(None) })
    }

    /// The Hardware with this MAC.
    fn hardware_with(&self, _mac: Mac) -> HardwareFuture<'_> {
        Box::pin(async { Ok(None) })
    }

    /// The same by the name of the Hardware.
    fn hardware_named(&self, _name: &ObjectName) -> HardwareFuture<'_> {
        Box::pin(async { Ok(None) })
    }

    /// Beside another DHCP server: a known machine has this address of it, or an unknown one. A source need not remember that.
    fn heard(&self, _mac: Option<Mac>, _address: Ipv4Addr) {}

    /// An installed system announced itself. False if nobody knows the machine.
    fn booted(&self, mac: Mac, text: String) -> BoxFuture<'_, Result<bool, SourceError>> {
        Box::pin(async move {
            let known = self.machine(mac).await?;
            log::info!("{mac} has booted its installed system: {text}");
            Ok(known.is_some())
        })
    }
}

/// The machine behind an address, for events. They also show the address, so a source that fails costs a debug line.
pub async fn mac_at(source: &dyn MachineSource, address: IpAddr) -> Option<Mac> {
    known_at(source, address).await.map(|machine| machine.mac)
}

pub async fn known_at(source: &dyn MachineSource, address: IpAddr) -> Option<BootInterface> {
    match source.machine_at(address).await {
        Ok(machine) => machine,
        Err(error) => {
            log::debug!("{address}: unknown machine: {}", ::machine::Chain(&error));
            None
        }
    }
}
