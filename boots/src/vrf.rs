//! Interfaces in a VRF. By the kernel's default no socket hears what comes by them, except one that is bound to such an interface.

use std::collections::HashMap;

use ::machine::Chain;
use nix::libc::{IFLA_IFNAME, IFLA_INFO_KIND, IFLA_LINKINFO, IFLA_MASTER, RTM_GETLINK, RTM_NEWLINK};

use crate::netlink;

/// What the kernel says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kernel {
    /// `net.ipv4.tcp_l3mdev_accept` and `net.ipv4.udp_l3mdev_accept`.
    pub tcp_accepts: bool,
    pub udp_accepts: bool,
    /// This process runs by `ip vrf exec`, in this VRF.
    pub own: Option<String>,
}

impl Kernel {
    #[must_use]
    pub fn read() -> Self {
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let is_on = |name: &str| text(&format!("/proc/sys/net/ipv4/{name}")).trim() == "1";
        Self {
            tcp_accepts: is_on("tcp_l3mdev_accept"),
            udp_accepts: is_on("udp_l3mdev_accept"),
            own: own(&text("/proc/self/cgroup")),
        }
    }
}

/// `ip vrf exec` makes a cgroup for each VRF.
fn own(cgroup: &str) -> Option<String> {
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::"))?;
    let (_, name) = path.rsplit_once("/vrf/")?;
    Some(name.to_owned())
}

/// `struct ifinfomsg`. The second word is the index.
const LINKS: netlink::Table = netlink::Table { get: RTM_GETLINK, new: RTM_NEWLINK, family: 0, fixed: 16 };

/// The interfaces that are in a VRF, each with its VRF. Only netlink says which device is one.
#[must_use]
pub fn members() -> HashMap<String, String> {
    let mut links = Vec::new();
    let read = LINKS.read(|fixed, attributes| {
        links.extend(link(fixed, attributes));
        true
    });
    if let Err(error) = read {
        log::debug!("the interfaces of this host cannot be read: {}", Chain(&error));
    }
    of_links(&links)
}

#[derive(Debug, Default)]
struct NetworkLink {
    index: u32,
    name: String,
    master: Option<u32>,
    is_vrf: bool,
}

fn link(fixed: &[u8], attributes: &[u8]) -> Option<NetworkLink> {
    let text = |value: &[u8]| String::from_utf8_lossy(value).trim_end_matches('\0').to_owned();
    let mut link = NetworkLink { index: netlink::word(fixed.get(4..)?)?, ..NetworkLink::default() };
    for (kind, value) in netlink::attributes(attributes) {
        match kind {
            IFLA_IFNAME => link.name = text(value),
            IFLA_MASTER => link.master = netlink::word(value),
            IFLA_LINKINFO => {
                link.is_vrf = netlink::attributes(value).any(|(kind, value)| kind == IFLA_INFO_KIND && text(value) == "vrf");
            }
            _ => {}
        }
    }
    Some(link)
}

fn of_links(links: &[NetworkLink]) -> HashMap<String, String> {
    let vrf = |index: u32| links.iter().find(|link| link.index == index && link.is_vrf);
    links.iter().filter_map(|link| Some((link.name.clone(), vrf(link.master?)?.name.clone()))).collect()
}

/// What machines behind an interface of a VRF do not reach. `None` if they reach everything. Pure.
#[must_use]
pub fn unheard(vrf: &str, is_bound: bool, kernel: &Kernel) -> Option<&'static str> {
    if kernel.own.as_deref() == Some(vrf) {
        return None;
    }
    match (kernel.tcp_accepts, kernel.udp_accepts || is_bound) {
        (true, true) => None,
        (false, true) => Some("HTTP, the workflow service and all else by TCP"),
        (true, false) => Some("DHCP, TFTP and syslog"),
        (false, false) => Some("anything"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_settings_say_what_is_not_heard() {
        let kernel = |tcp_accepts, udp_accepts| Kernel { tcp_accepts, udp_accepts, own: None };
        for (kernel, is_bound, expected) in [
            (kernel(false, false), false, Some("anything")),
            (kernel(false, false), true, Some("HTTP, the workflow service and all else by TCP")),
            (kernel(true, false), false, Some("DHCP, TFTP and syslog")),
            (kernel(true, false), true, None),
            (kernel(true, true), false, None),
            (Kernel { own: Some("red".to_owned()), ..kernel(false, false) }, false, None),
            (Kernel { own: Some("blue".to_owned()), ..kernel(false, false) }, false, Some("anything")),
        ] {
            assert_eq!(unheard("red", is_bound, &kernel), expected, "{kernel:?} {is_bound}");
        }
    }

    /// As Linux 6.1 sends them.
    #[test]
    fn an_interface_is_in_the_vrf_that_is_its_master() {
        let fixed = |index: u32| [&[0; 4], &index.to_ne_bytes()[..], &[0; 8]].concat();
        let device = |index, name: &[u8], kind: &[u8]| {
            let kind = netlink::made::attribute(IFLA_INFO_KIND, kind);
            netlink::made::message(RTM_NEWLINK, &fixed(index), &[(IFLA_IFNAME, name), (IFLA_LINKINFO, &kind)])
        };
        let port = |index, name: &[u8], master: u32| {
            netlink::made::message(RTM_NEWLINK, &fixed(index), &[(IFLA_IFNAME, name), (IFLA_MASTER, &master.to_ne_bytes())])
        };
        let table = [
            port(1, b"lo\0", 0),
            port(2, b"e0\0", 4),
            port(3, b"e1\0", 5),
            device(4, b"red\0", b"vrf\0"),
            device(5, b"br0\0", b"bridge\0"),
        ];
        let mut links = Vec::new();
        let all = LINKS.take(&table.concat(), &mut |fixed, attributes| {
            links.extend(link(fixed, attributes));
            true
        });
        assert!(all && links.len() == 5, "{links:?}");
        assert_eq!(of_links(&links), HashMap::from([("e0".to_owned(), "red".to_owned())]));
        assert!(!members().contains_key("lo"), "the table of this host can be read");
    }

    #[test]
    fn the_vrf_of_a_process_is_in_the_name_of_its_cgroup() {
        assert_eq!(own("0::/user.slice/vrf/red\n").as_deref(), Some("red"));
        assert_eq!(own("1:name=x:/\n0::/system.slice/thimble.service\n"), None);
    }
}
