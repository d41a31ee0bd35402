//! Network interfaces from `/sys/class/net`.

use std::path::Path;

use proto::{Neighbour, Network};

use super::{names, numa_node, read_word};

/// ARPHRD_LOOPBACK
const LOOPBACK: &str = "772";

/// `lldp` is the content of [`machine::files::LLDP`].
pub fn interfaces(net: &Path, lldp: &str) -> Vec<Network> {
    let names = names(net).into_iter().filter(|name| name != "bonding_masters");
    let real = names.filter(|name| read_word(&net.join(name).join("type")).is_none_or(|t| t != LOOPBACK));
    real.map(|name| Network { neighbour: neighbour(lldp, &name), ..interface(&net.join(&name), name) }).collect()
}

fn neighbour(lldp: &str, link: &str) -> Option<Neighbour> {
    let machine::Neighbour { port, chassis, system, vlan, .. } =
        machine::Neighbour::parse(lldp).find(|neighbour| neighbour.link == link)?;
    Some(Neighbour { port, chassis, system, vlan: vlan.map(u32::from) })
}

/// Only a permanent hardware address identifies an interface (`addr_assign_type` 0). Capabilities would need ethtool.
fn interface(path: &Path, name: String) -> Network {
    let permanent = read_word(&path.join("addr_assign_type")).as_deref() == Some("0");
    let speed = read_word(&path.join("speed")).and_then(|s| s.parse::<u32>().ok()).filter(|s| *s > 0);
    Network {
        name: Some(name),
        mac: read_word(&path.join("address")).filter(|_| permanent),
        speed: speed.map(|mbit| format!("{mbit}Mb/s")),
        enabled_capabilities: Vec::new(),
        neighbour: None,
        numa_node: numa_node(&path.join("device")),
    }
}
