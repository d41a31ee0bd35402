//! An address belongs to one machine, and fits its netmask and gateway.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use model::{AgentId, Hardware, Ip, Kind, Mac, Mistake, ObjectName};

use super::{Planner, mistake};
use crate::view::agents_of;

impl Planner<'_> {
    /// If two machines had the same address, one machine's system could go to the other.
    pub(super) fn addresses(&mut self) {
        let mut found = Vec::new();
        let (mut macs, mut addresses) = (BTreeMap::new(), BTreeMap::new());
        for (name, hardware) in &self.hardware {
            let mut twins = BTreeSet::new();
            for mac in hardware.spec.macs() {
                if !is_one_interface(hardware, mac) {
                    let hint = "an interface may have two entries, one with an IPv4 and one with an IPv6 address";
                    found.push(mistake(Kind::Hardware, name, format!("has {mac} on two interfaces"), Some(hint)));
                    twins.insert(name.clone());
                }
                let Some(owner) = macs.insert(mac, name.clone()).or_else(|| self.stored_owner(name, mac)) else { continue };
                found.push(mistake(Kind::Hardware, name, format!("has {mac}, which is Hardware {owner}'s"), None));
                twins.insert(owner);
            }
            for address in hardware.spec.addresses().filter(|address| !address.is_unspecified()) {
                // Several interfaces of one machine may share an address.
                let other = addresses.insert(address, name.clone()).filter(|owner| owner != name);
                let other = other.or_else(|| self.stored_address_owner(name, address));
                // Two machines that share a MAC were reported already.
                if let Some(owner) = other.filter(|owner| !twins.contains(owner)) {
                    let hint = "give each machine a different address";
                    let message = format!("has the address {address}, which is Hardware {owner}'s");
                    found.push(mistake(Kind::Hardware, name, message, Some(hint)));
                }
                if self.rules.addresses.contains(&address) {
                    let message = format!("has the address {address}, which belongs to the server");
                    found.push(mistake(Kind::Hardware, name, message, Some("give the machine another address")));
                }
            }
            let networks = hardware.spec.interfaces.iter().filter_map(|interface| interface.dhcp.as_ref()?.ip.as_ref());
            found.extend(networks.filter_map(wrong).map(|(message, hint)| mistake(Kind::Hardware, name, message, Some(hint))));
        }
        found.extend(self.twice_used_agents());
        self.refused.extend(found);
    }

    /// An agent's id is one machine's: the work of one machine would run on another.
    fn twice_used_agents(&self) -> Vec<Mistake> {
        let (mut found, mut owners) = (Vec::new(), BTreeMap::new());
        for (name, hardware) in &self.hardware {
            for agent in agents_of(hardware) {
                let agent = canonical(&agent);
                let has = |other: &Hardware| agents_of(other).iter().any(|own| canonical(own) == agent);
                let other = owners.insert(agent.clone(), name.clone()).filter(|owner| owner != name);
                let other = other.or_else(|| self.other(name, self.view.agent_owners(&agent), has));
                let Some(owner) = other else { continue };
                // One MAC on two machines has been named already.
                let mac: Option<Mac> = agent.0.parse().ok();
                let is_mac_of = |hardware: &Hardware| mac.is_some_and(|mac| hardware.spec.macs().any(|own| own == mac));
                if is_mac_of(hardware) && self.hardware_as_it_will_be(&owner).is_some_and(is_mac_of) {
                    continue;
                }
                let message = format!("has the agent {agent}, which is Hardware {owner}'s");
                found.push(mistake(Kind::Hardware, name, message, Some("give each machine an agentID of its own")));
            }
        }
        found
    }

    /// Another stored Hardware that has it, and will still have it.
    fn stored_owner(&self, name: &ObjectName, mac: Mac) -> Option<ObjectName> {
        self.other(name, self.view.macs_owners(mac), |hardware| hardware.spec.macs().any(|other| other == mac))
    }

    fn stored_address_owner(&self, name: &ObjectName, address: IpAddr) -> Option<ObjectName> {
        let owners = self.view.address_owners(address);
        self.other(name, owners, |hardware| hardware.spec.addresses().any(|other| other == address))
    }

    fn other<'o>(
        &self,
        name: &ObjectName,
        mut owners: impl Iterator<Item = &'o ObjectName>,
        still: impl Fn(&Hardware) -> bool,
    ) -> Option<ObjectName> {
        owners.find(|owner| *owner != name && self.hardware.get(owner).is_none_or(&still)).cloned()
    }
}

/// Whether the entries of this MAC are those of one interface: one of each family at most.
fn is_one_interface(hardware: &Hardware, mac: Mac) -> bool {
    let six = |is_six: bool| hardware.spec.entries(mac).filter(|entry| entry.has_ipv6() == is_six).count();
    six(true) <= 1 && six(false) <= 1
}

/// A MAC in one notation.
fn canonical(agent: &AgentId) -> AgentId {
    agent.0.parse::<Mac>().map_or_else(|_| agent.clone(), |mac| AgentId(mac.to_string()))
}

/// Not the address of a machine, in any network.
fn is_of_no_machine(address: IpAddr) -> bool {
    let reserved = match address {
        IpAddr::V4(address) => matches!(address.octets().first(), Some(0 | 240..)),
        IpAddr::V6(_) => false,
    };
    reserved || address.is_loopback() || address.is_multicast()
}

/// What is wrong with an address, its netmask and its gateway, and what to do.
fn wrong(ip: &Ip) -> Option<(String, &'static str)> {
    let address = ip.address.filter(|address| !address.is_unspecified())?;
    if let IpAddr::V6(six) = address
        && let Some(four) = six.to_ipv4_mapped()
    {
        return Some((format!("has {address}, which is {four} in another notation"), "write IPv4 addresses as such"));
    }
    if is_of_no_machine(address) {
        return Some((format!("has {address}, which is not the address of a machine"), "give a unicast address"));
    }
    let bits = self::bits(address);
    let prefix = match ip.netmask {
        None => None,
        Some(mask) if mask.is_ipv4() != address.is_ipv4() => {
            return Some((
                format!("has the netmask {mask} for the address {address}"),
                "use an IPv4 netmask for IPv4, and an IPv6 netmask for IPv6",
            ));
        }
        Some(mask) => match prefix_of(mask) {
            Some(prefix) if prefix > 0 => Some(prefix),
            _ => return Some((format!("{mask} is not a netmask"), "write a netmask such as 255.255.255.0")),
        },
    };
    // boots uses /24 if the Hardware has no netmask.
    let prefix = prefix.or(address.is_ipv4().then_some(24))?;
    let host_bits = if address.is_ipv4() { 32 - prefix } else { 128 - prefix };
    let network = |address: IpAddr| self::bits(address).checked_shr(host_bits).unwrap_or(0);
    if is_of_the_network(bits, host_bits, address.is_ipv4()) {
        let message = format!("has {address}, which is the network's or the broadcast address of its /{prefix}");
        return Some((message, "choose an address of a host, or correct the netmask"));
    }
    let gateway = ip.gateway.filter(|gateway| !gateway.is_unspecified())?;
    let of_the_network = gateway.is_ipv4() && is_of_the_network(self::bits(gateway), host_bits, true);
    if is_of_no_machine(gateway) || of_the_network {
        return Some((format!("has the gateway {gateway}, which is not the address of a router"), "correct the gateway"));
    }
    if gateway == address {
        return Some((format!("has itself, {address}, as gateway"), "name the router, or leave the gateway out"));
    }
    // Some providers use a /32, which reaches its gateway by a route to the link. IPv6 routers often have link-local
    // addresses.
    let reachable = host_bits == 0 || address.is_ipv6() || network(gateway) == network(address);
    if gateway.is_ipv4() != address.is_ipv4() || !reachable {
        let message = format!("has the gateway {gateway}, which is outside the network of {address}/{prefix}");
        return Some((message, "correct the gateway or the netmask"));
    }
    None
}

/// The host part is empty, which in IPv6 means any router of the network (RFC 4291 2.6.1), or all ones: IPv4's broadcast.
const fn is_of_the_network(bits: u128, host_bits: u32, is_ipv4: bool) -> bool {
    let Some(end) = 1_u128.checked_shl(host_bits) else { return bits == 0 };
    let host = bits & (end - 1);
    host_bits >= 2 && (host == 0 || (is_ipv4 && host == end - 1))
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

/// The length of a netmask whose one bits are all in front.
fn prefix_of(mask: IpAddr) -> Option<u32> {
    let (ones, length) = match mask {
        IpAddr::V4(mask) => (u32::from(mask).leading_ones(), u32::from(mask).count_ones()),
        IpAddr::V6(mask) => (u128::from(mask).leading_ones(), u128::from(mask).count_ones()),
    };
    (ones == length).then_some(ones)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_fits_its_netmask_and_its_gateway() {
        for (address, netmask, gateway, expected) in [
            ("10.0.0.20", "255.255.255.0", "10.0.0.1", None),
            ("10.0.0.20", "", "10.0.0.1", None),
            ("10.0.0.20", "255.255.255.0", "", None),
            ("10.0.0.20", "255.255.255.255", "192.0.2.1", None),
            ("10.0.0.20", "255.255.255.254", "10.0.0.21", None),
            ("0.0.0.0", "255.0.255.0", "", None),
            ("fd00::2", "ffff:ffff:ffff:ffff::", "fe80::1", None),
            ("10.0.0.20", "255.0.255.0", "", Some("255.0.255.0 is not a netmask")),
            ("10.0.0.20", "0.0.0.0", "", Some("0.0.0.0 is not a netmask")),
            ("10.0.0.20", "0.0.0.255", "", Some("0.0.0.255 is not a netmask")),
            ("10.0.0.20", "ffff::", "", Some("has the netmask ffff:: for the address 10.0.0.20")),
            ("10.0.0.0", "255.255.255.0", "", Some("which is the network's or the broadcast address of its /24")),
            ("10.0.1.255", "255.255.254.0", "", Some("which is the network's or the broadcast address of its /23")),
            ("10.0.0.20", "255.255.255.0", "10.0.1.1", Some("outside the network of 10.0.0.20/24")),
            ("10.0.0.20", "", "10.0.1.1", Some("outside the network of 10.0.0.20/24")),
            ("10.0.0.20", "255.255.255.0", "fd00::1", Some("outside the network of 10.0.0.20/24")),
            ("10.0.0.20", "255.255.255.0", "10.0.0.20", Some("has itself, 10.0.0.20, as gateway")),
            ("224.0.0.5", "", "", Some("which is not the address of a machine")),
            ("127.0.0.1", "", "", Some("which is not the address of a machine")),
            ("255.255.255.255", "", "", Some("which is not the address of a machine")),
            ("0.1.2.3", "", "", Some("which is not the address of a machine")),
            ("240.0.0.1", "", "", Some("which is not the address of a machine")),
            ("::1", "", "", Some("which is not the address of a machine")),
            ("ff02::5", "", "", Some("which is not the address of a machine")),
            ("::ffff:10.0.0.20", "", "", Some("which is 10.0.0.20 in another notation")),
            ("fd00::", "ffff:ffff:ffff:ffff::", "", Some("which is the network's or the broadcast address of its /64")),
            ("fd00::ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff::", "", None),
            ("fd00::2", "ffff:ffff:ffff:ffff::", "10.0.0.1", Some("outside the network of fd00::2/64")),
            ("fd00::2", "ffff::ffff", "", Some("ffff::ffff is not a netmask")),
            ("10.0.0.20", "255.255.255.0", "10.0.0.255", Some("which is not the address of a router")),
            ("10.0.0.20", "255.255.255.0", "10.0.0.0", Some("which is not the address of a router")),
            ("10.0.0.20", "255.255.255.0", "127.0.0.1", Some("which is not the address of a router")),
            ("10.0.0.20", "255.255.255.255", "10.0.0.255", None),
        ] {
            let of = |text: &str| (!text.is_empty()).then(|| text.parse().unwrap());
            let ip = Ip { address: of(address), netmask: of(netmask), gateway: of(gateway), family: None };
            let found = wrong(&ip).map(|(message, _)| message);
            let case = format!("{address} {netmask} {gateway}: {found:?}");
            match expected {
                None => assert_eq!(found, None, "{case}"),
                Some(expected) => assert!(found.is_some_and(|found| found.contains(expected)), "{case}"),
            }
        }
    }
}
