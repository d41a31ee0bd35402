//! Interfaces in a VRF. By the kernel's default no socket hears what comes by them, except one that is bound to such an interface.

use std::path::Path;

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

/// The VRF of an interface.
#[must_use]
pub fn of(interface: &str) -> Option<String> {
    let path = Path::new("/sys/class/net").join(interface).join("master");
    let is_vrf = std::fs::read_to_string(path.join("uevent")).ok()?.lines().any(|line| line == "DEVTYPE=vrf");
    let master = std::fs::read_link(&path).ok()?;
    is_vrf.then(|| master.file_name().map(|name| name.to_string_lossy().into_owned())).flatten()
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

    #[test]
    fn the_vrf_of_a_process_is_in_the_name_of_its_cgroup() {
        assert_eq!(own("0::/user.slice/vrf/red\n").as_deref(), Some("red"));
        assert_eq!(own("1:name=x:/\n0::/system.slice/thimble.service\n"), None);
    }
}
