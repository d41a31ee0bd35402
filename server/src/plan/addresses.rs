//! Addresses are one machine's each, and make sense together.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use model::{Hardware, Ip, Kind, Mac, ObjectName};

use super::{Planner, mistake};

impl Planner<'_> {
    /// One address on two machines would send one machine's system to the other.
    pub(super) fn addresses(&mut self) {
        let mut found = Vec::new();
        let (mut macs, mut addresses) = (BTreeMap::new(), BTreeMap::new());
        for (name, hardware) in &self.hardware {
            let mut twins = BTreeSet::new();
            for mac in hardware.spec.macs() {
                let Some(owner) = macs.insert(mac, name.clone()).or_else(|| self.stored_owner(name, mac)) else { continue };
                let other = format!("has {mac}, which is Hardware {owner}'s");
                let message = if owner == *name { format!("has {mac} on two interfaces") } else { other };
                found.push(mistake(Kind::Hardware, name, message, None));
                twins.insert(owner);
            }
            for address in hardware.spec.addresses().filter(|address| !address.is_unspecified()) {
                // Several interfaces of one machine may share an address.
                let other = addresses.insert(address, name.clone()).filter(|owner| owner != name);
                let other = other.or_else(|| self.stored_address_owner(name, address));
                // The same machine twice has been named already.
                if let Some(owner) = other.filter(|owner| !twins.contains(owner)) {
                    let hint = "give each machine an address of its own";
                    let message = format!("has the address {address}, which is Hardware {owner}'s");
                    found.push(mistake(Kind::Hardware, name, message, Some(hint)));
                }
                if self.rules.addresses.contains(&address) {
                    let message = format!("has the address {address}, which is the server's own");
                    found.push(mistake(Kind::Hardware, name, message, Some("give the machine another address")));
                }
            }
            let networks = hardware.spec.interfaces.iter().filter_map(|interface| interface.dhcp.as_ref()?.ip.as_ref());
            found.extend(networks.filter_map(wrong).map(|(message, hint)| mistake(Kind::Hardware, name, message, Some(hint))));
        }
        self.refused.extend(found);
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

/// What is wrong with an address, its netmask and its gateway, and what to do.
fn wrong(ip: &Ip) -> Option<(String, &'static str)> {
    let address = ip.address.filter(|address| !address.is_unspecified())?;
    if address.is_loopback() || address.is_multicast() || address == IpAddr::from([255; 4]) {
        return Some((format!("has {address}, which is not the address of a machine"), "give a unicast address"));
    }
    let bits = bits(address);
    let prefix = match ip.netmask {
        None => None,
        Some(mask) if mask.is_ipv4() != address.is_ipv4() => {
            return Some((format!("has the netmask {mask} for the address {address}"), "both are IPv4, or both are IPv6"));
        }
        Some(mask) => match prefix_of(mask) {
            Some(prefix) if prefix > 0 => Some(prefix),
            _ => return Some((format!("{mask} is not a netmask"), "such as 255.255.255.0")),
        },
    };
    // Without a netmask boots gives out /24.
    let prefix = prefix.or(address.is_ipv4().then_some(24))?;
    let host_bits = if address.is_ipv4() { 32 - prefix } else { 128 - prefix };
    let network = |address: IpAddr| self::bits(address).checked_shr(host_bits).unwrap_or(0);
    if address.is_ipv4() && host_bits >= 2 {
        let ones = (1_u128 << host_bits) - 1;
        if [0, ones].contains(&(bits & ones)) {
            let message = format!("has {address}, which is the network's or the broadcast address of its /{prefix}");
            return Some((message, "choose an address of a host, or correct the netmask"));
        }
    }
    let gateway = ip.gateway.filter(|gateway| !gateway.is_unspecified())?;
    if gateway == address {
        return Some((format!("has itself, {address}, as gateway"), "name the router, or leave the gateway out"));
    }
    // A /32 reaches its gateway by a route to the link, as some providers have it. IPv6 routers are often link-local.
    let reachable = host_bits == 0 || address.is_ipv6() || network(gateway) == network(address);
    if gateway.is_ipv4() != address.is_ipv4() || !reachable {
        let message = format!("has the gateway {gateway}, which is outside the network of {address}/{prefix}");
        return Some((message, "correct the gateway or the netmask"));
    }
    None
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

/// The length of a netmask whose ones are all in front.
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
