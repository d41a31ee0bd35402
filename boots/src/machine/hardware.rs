//! From a Hardware object to the machine behind one of its interfaces.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dhcp::v4::Route;
use model::{Dhcp, Hardware, Interface, Mac};

use super::{BootInterface, BootState, CustomBoot, Ipxe, Osie, RaspberryPi, Reservation, Reservation6};

impl BootInterface {
    /// The machine behind the interface `mac` of a Hardware. `None` if it does not have that interface.
    #[must_use]
    pub fn from_hardware(hardware: &Hardware, mac: Mac, boot: BootState) -> Option<Self> {
        // One with an IPv6 address comes second, and boots as the first one says.
        let interface = hardware.spec.entries(mac).min_by_key(|entry| entry.has_ipv6())?;
        let dhcp = interface.dhcp.as_ref()?;
        let netboot = hardware.spec.entries(mac).find_map(|entry| entry.netboot.clone()).unwrap_or_default();
        let (ipxe, osie) = (netboot.ipxe.unwrap_or_default(), netboot.osie.unwrap_or_default());
        let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        Some(Self {
            mac,
            name: hardware.metadata.name.clone(),
            agent_id: text(&hardware.spec.agent_id).unwrap_or_else(|| mac.to_string()),
            reservation: reservation(interface, dhcp),
            reservation6: hardware.spec.entries(mac).find_map(reservation6),
            dhcp_disabled: interface.disable_dhcp == Some(true),
            netboot_allowed: netboot.allow_pxe == Some(true),
            custom_boot: custom_boot(dhcp),
            boot,
            facility: facility(hardware),
            vlan_id: dhcp.vlan_id.as_deref().and_then(|id| id.parse().ok()),
            arch: text(&dhcp.arch),
            ipxe: Ipxe { url: text(&ipxe.url), contents: text(&ipxe.contents), binary: text(&ipxe.binary) },
            osie: Osie {
                base_url: text(&osie.base_url),
                kernel: text(&osie.kernel),
                initrd: text(&osie.initrd),
                kernel_params: osie.kernel_params,
            },
            pxelinux: netboot.pxelinux.map(|pxelinux| pxelinux.config).filter(|config| !config.is_empty()),
            rpi: netboot.rpi.map(|rpi| RaspberryPi {
                serial: rpi.serial_num.to_ascii_lowercase(),
                config_txt: text(&rpi.config_txt),
                firmware_path: text(&rpi.firmware_path),
            }),
            devices: Vec::new(),
            packs: packs(hardware),
        })
    }

    /// The machine of a server's answer. An answer without a MAC needs the address that was asked for.
    #[must_use]
    pub fn known(answer: &api::Machine, address: Option<IpAddr>) -> Option<Self> {
        let (hardware, boot) = (&answer.hardware, answer.boot.clone());
        let machine = match (answer.mac, address) {
            (Some(mac), _) => Self::from_hardware(hardware, mac, boot),
            (None, Some(address)) => Self::from_hardware_at(hardware, address, boot),
            (None, None) => None,
        }?;
        let modaliases = answer.agent.as_ref().map(|agent| agent.modaliases.as_slice());
        Some(machine.with_devices(modaliases.unwrap_or_default()))
    }

    /// The machine whose interface has this address.
    #[must_use]
    pub fn from_hardware_at(hardware: &Hardware, address: IpAddr, boot: BootState) -> Option<Self> {
        let has = |dhcp: &Dhcp| dhcp.ip.as_ref().and_then(|ip| ip.address) == Some(address);
        let dhcp = hardware.spec.interfaces.iter().filter_map(|interface| interface.dhcp.as_ref()).find(|dhcp| has(dhcp))?;
        Self::from_hardware(hardware, dhcp.mac?, boot)
    }
}

fn reservation(interface: &Interface, dhcp: &Dhcp) -> Option<Reservation> {
    if interface.disable_dhcp == Some(true) {
        return None;
    }
    let ip = dhcp.ip.as_ref()?;
    Some(Reservation {
        address: ip.address.and_then(v4)?,
        netmask: ip.netmask.and_then(v4).unwrap_or(Ipv4Addr::new(255, 255, 255, 0)),
        gateway: ip.gateway.and_then(v4),
        lease_time: dhcp.lease_time.filter(|&seconds| seconds > 0),
        hostname: dhcp.hostname.clone(),
        domain_name: dhcp.domain_name.clone(),
        name_servers: dhcp.name_servers.iter().copied().filter_map(v4).collect(),
        time_servers: dhcp.time_servers.iter().copied().filter_map(v4).collect(),
        routes: dhcp.classless_static_routes.iter().filter_map(route).collect(),
    })
}

fn reservation6(entry: &Interface) -> Option<Reservation6> {
    let dhcp = entry.dhcp.as_ref().filter(|_| entry.disable_dhcp != Some(true))?;
    Some(Reservation6 {
        address: dhcp.ip.as_ref()?.address.and_then(v6)?,
        lease_time: dhcp.lease_time.filter(|&seconds| seconds > 0),
        domain_name: dhcp.domain_name.clone().filter(|name| !name.is_empty()),
        name_servers: dhcp.name_servers.iter().copied().filter_map(v6).collect(),
        time_servers: dhcp.time_servers.iter().copied().filter_map(v6).collect(),
    })
}

fn custom_boot(dhcp: &Dhcp) -> Option<CustomBoot> {
    match (&dhcp.tftp_server_name, &dhcp.boot_file_name) {
        (Some(server), Some(file)) if !server.is_empty() && !file.is_empty() => {
            Some(CustomBoot { tftp_server_name: server.clone(), boot_file_name: file.clone() })
        }
        _ => None,
    }
}

fn v4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) if !address.is_unspecified() => Some(address),
        _ => None,
    }
}

fn v6(address: IpAddr) -> Option<Ipv6Addr> {
    match address {
        IpAddr::V6(address) if !address.is_unspecified() => Some(address),
        _ => None,
    }
}

fn route(route: &model::Route) -> Option<Route> {
    let (destination, prefix) = route.destination_descriptor.split_once('/')?;
    let IpAddr::V4(router) = route.router else { return None };
    let prefix: u8 = prefix.parse().ok().filter(|&prefix| prefix <= 32)?;
    Some(Route { destination: destination.parse().ok()?, prefix, router })
}

/// Names, separated by commas or blanks.
const PACKS: &str = "thimble/packs";

fn packs(hardware: &Hardware) -> Vec<String> {
    let text = hardware.metadata.annotations.get(PACKS).map(String::as_str).unwrap_or_default();
    text.split([',', ' ', '\n']).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn facility(hardware: &Hardware) -> Option<String> {
    let code = hardware.spec.metadata.as_ref()?.get("facility")?.get("facility_code")?.as_str()?;
    (!code.is_empty()).then(|| code.to_owned())
}
