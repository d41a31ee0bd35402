//! The machine's network interfaces, from `/sys/class/net`, and the order in which to try them.

use std::fmt;
use std::fs;
use std::path::Path;

use cmdline::{Arguments, HwAddr};

use super::bond::has_member;
use crate::network::reach::Rank;

pub const SYSFS: &str = "/sys/class/net";
const ARPHRD_ETHER: &str = "1";
/// Drivers of a BMC's private link to the host. It answers DHCP quickly and does not reach the server.
const BMC_DRIVERS: [&str; 5] = ["cdc_ether", "cdc_ncm", "cdc_eem", "cdc_subset", "rndis_host"];

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub name: String,
    pub index: u32,
    pub mac: HwAddr,
    pub up: bool,
    pub carrier: bool,
    /// How often the carrier has come. This also changes if a cable is unplugged and plugged in between two checks.
    pub ups: u32,
    driver: Option<String>,
    /// The index of the link below a VLAN. `iflink` in sysfs does not show it: for some kinds it is an index in another
    /// namespace.
    pub parent: Option<u32>,
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.mac)
    }
}

impl Link {
    pub fn read(sysfs: &Path, name: &str) -> Option<Self> {
        let directory = sysfs.join(name);
        let attribute = |attribute: &str| fs::read_to_string(directory.join(attribute)).ok().map(|text| text.trim().to_owned());
        if attribute("type")? != ARPHRD_ETHER || directory.join("master").exists() {
            return None; // a member of a bond is not used as a link
        }
        let flags = attribute("flags").and_then(|text| u32::from_str_radix(text.trim_start_matches("0x"), 16).ok());
        let driver = fs::read_link(directory.join("device/driver")).ok();
        Some(Self {
            name: name.to_owned(),
            index: attribute("ifindex")?.parse().ok()?,
            mac: attribute("address")?.parse().ok()?,
            up: flags? & 1 != 0,
            carrier: attribute("carrier").is_some_and(|text| text == "1"), // unreadable while the link is down
            ups: attribute("carrier_up_count").and_then(|text| text.parse().ok()).unwrap_or_default(),
            driver: driver.and_then(|path| Some(path.file_name()?.to_str()?.to_owned())),
            parent: None,
        })
    }

    pub fn above(self, parent: &Link) -> Self {
        Self { parent: Some(parent.index), ..self }
    }

    /// Whether this is `parent` or a VLAN above it.
    pub fn is_on(&self, parent: &Link) -> bool {
        self.index == parent.index || self.parent == Some(parent.index)
    }

    fn is_bmc(&self) -> bool {
        self.driver.as_deref().is_some_and(|driver| BMC_DRIVERS.contains(&driver))
    }
}

/// Every usable Ethernet link, in the kernel's order. VLANs are left out, because this program makes those it needs.
pub fn scan(sysfs: &Path, arguments: &Arguments) -> Vec<Link> {
    let entries = fs::read_dir(sysfs).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let bonded = |link: &Link| arguments.bond.as_ref().is_some_and(|bond| bond.name == link.name || has_member(bond, link));
    let allowed = |link: &Link| arguments.interfaces.is_empty() || arguments.interfaces.contains(&link.name) || bonded(link);
    let found = names.filter(|name| !name.contains('.')).filter_map(|name| Link::read(sysfs, &name));
    let mut links: Vec<Link> = found.filter(allowed).collect();
    links.sort_by_key(|link| link.index);
    links
}

/// Also true for a link that [`scan`] leaves out, such as a member of a bond.
pub fn exists(index: u32) -> bool {
    nix::net::if_::if_indextoname(index).is_ok()
}

/// The bond of `bond=` counts as the NIC that booted, which is one of its members.
pub fn rank(link: &Link, arguments: &Arguments) -> Rank {
    let bond = arguments.bond.as_ref();
    match arguments.hw_addr {
        Some(mac) if mac == link.mac => Rank::Boot,
        _ if bond.is_some_and(|bond| bond.name == link.name) => Rank::Boot,
        _ if link.is_bmc() => Rank::Bmc,
        _ => Rank::Plain,
    }
}

/// The kernel allows 15 bytes. If the parent's name is too long, its index is used.
pub fn vlan_name(parent: &Link, id: u16) -> String {
    let name = format!("{}.{id}", parent.name);
    if name.len() < 16 { name } else { format!("if{}.{id}", parent.index) }
}

/// What the machine waits for, in a form that an operator can check.
pub fn missing(links: &[Link], arguments: &Arguments) -> String {
    let with_carrier: Vec<String> = links.iter().filter(|link| link.carrier).map(Link::to_string).collect();
    if let Some(ipam) = &arguments.ipam {
        return format!("carrier on {}, the interface that ipam= names", ipam.mac);
    }
    if !with_carrier.is_empty() {
        return format!("a DHCP answer on {}", with_carrier.join(", "));
    }
    if links.is_empty() {
        return match arguments.interfaces.join(", ") {
            names if names.is_empty() => "a network interface. Is its driver in the ramdisk?".to_owned(),
            names => format!("network interface {names}, the only one that interface= allows"),
        };
    }
    let names: Vec<String> = links.iter().map(Link::to_string).collect();
    format!("carrier on {}: no cable, or the switch port is off", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    const MAC: HwAddr = HwAddr([2, 0, 0, 0, 0, 1]);

    fn link(name: &str, carrier: bool, driver: Option<&str>) -> Link {
        Link {
            name: name.to_owned(),
            index: 2,
            mac: MAC,
            up: true,
            carrier,
            ups: 0,
            driver: driver.map(str::to_owned),
            parent: None,
        }
    }

    fn add(sysfs: &Path, name: &str, attributes: &[(&str, &str)]) {
        fs::create_dir_all(sysfs.join(name).join("device")).unwrap();
        for (attribute, value) in attributes {
            fs::write(sysfs.join(name).join(attribute), format!("{value}\n")).unwrap();
        }
    }

    #[test]
    fn sysfs_is_read_into_ethernet_links_in_the_kernels_order() {
        let sysfs = tempfile::tempdir().unwrap();
        let mac = ("address", "02:00:00:00:00:01");
        add(sysfs.path(), "lo", &[("type", "772"), ("ifindex", "1"), ("address", "00:00:00:00:00:00"), ("flags", "0x9")]);
        add(sysfs.path(), "eth1", &[("type", "1"), ("ifindex", "3"), mac, ("flags", "0x1002")]);
        add(sysfs.path(), "eth0", &[("type", "1"), ("ifindex", "2"), mac, ("flags", "0x1003"), ("carrier", "1")]);
        add(sysfs.path(), "eth0.100", &[("type", "1"), ("ifindex", "4"), mac, ("flags", "0x1003"), ("carrier", "1")]);
        add(sysfs.path(), "gone", &[("type", "1")]);
        symlink("../../bus/pci/drivers/virtio_net", sysfs.path().join("eth0/device/driver")).unwrap();

        let down = Link { index: 3, up: false, ..link("eth1", false, None) };
        assert_eq!(scan(sysfs.path(), &Arguments::default()), [link("eth0", true, Some("virtio_net")), down.clone()]);
        assert_eq!(scan(sysfs.path(), &Arguments::parse("interface=eth1,eth7").arguments), [down]);
        let bond = Arguments::parse("interface=eth7 bond=bond0:eth1,02-00-00-00-00-01").arguments;
        assert_eq!(scan(sysfs.path(), &bond).len(), 2, "interface= leaves a bond its members");
        symlink("../bond0", sysfs.path().join("eth1/master")).unwrap();
        fs::create_dir(sysfs.path().join("bond0")).unwrap();
        assert_eq!(scan(sysfs.path(), &bond).len(), 1, "a member of a bond is not used as a link");
        assert_eq!(scan(&sysfs.path().join("nowhere"), &Arguments::default()), []);
    }

    #[test]
    fn a_vlan_is_only_on_its_parent() {
        let parent = link("enp175s0f1np1", true, None);
        let other = Link { index: 3, ..link("eth1", true, None) };
        for (link, name) in [(&parent, "if2.4094"), (&other, "eth1.4094")] {
            assert_eq!(vlan_name(link, 4094), name);
        }
        let vlan = Link { index: 9, parent: Some(2), ..link("if2.4094", true, None) };
        assert!(vlan.is_on(&parent) && vlan.is_on(&vlan) && parent.is_on(&parent));
        assert!(!vlan.is_on(&other) && !parent.is_on(&other) && !parent.is_on(&vlan));
    }

    #[test]
    fn the_nic_that_booted_goes_first_and_a_bmc_last() {
        let other = HwAddr([2, 0, 0, 0, 0, 9]);
        let line = |mac: Option<HwAddr>| mac.map(|mac| format!("hw_addr={mac}")).unwrap_or_default() + " bond=bond0:eth0,eth1";
        for (case, link, wanted, expected) in [
            ("the one that booted", link("eth0", true, None), Some(MAC), Rank::Boot),
            ("another one", link("eth0", true, None), Some(other), Rank::Plain),
            ("any, if hw_addr= is missing", link("eth0", true, None), None, Rank::Plain),
            ("a BMC's private link", link("usb0", true, Some("cdc_ether")), None, Rank::Bmc),
            ("a bond of the arguments", link("bond0", true, None), Some(other), Rank::Boot),
            ("a USB adapter that booted", link("usb0", true, Some("cdc_ncm")), Some(MAC), Rank::Boot),
        ] {
            assert_eq!(rank(&link, &Arguments::parse(&line(wanted)).arguments), expected, "{case}");
        }
    }

    #[test]
    fn what_is_missing_is_reported_by_name() {
        let any = Arguments::default();
        let one = Arguments::parse("interface=eth7").arguments;
        let fixed = Arguments::parse("ipam=02-00-00-00-00-07::10.0.0.5:24:::::").arguments;
        for (links, arguments, expected) in [
            (vec![], &any, "a network interface. Is its driver in the ramdisk?"),
            (vec![link("eth0", true, None)], &fixed, "carrier on 02:00:00:00:00:07, the interface that ipam= names"),
            (vec![], &one, "network interface eth7, the only one that interface= allows"),
            (vec![link("eth0", false, None)], &any, "carrier on eth0 (02:00:00:00:00:01): no cable, or the switch port is off"),
            (vec![link("eth0", true, None), link("eth1", false, None)], &any, "a DHCP answer on eth0 (02:00:00:00:00:01)"),
        ] {
            assert_eq!(missing(&links, arguments), expected);
        }
    }
}
