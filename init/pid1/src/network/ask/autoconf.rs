//! The addresses and routes that the kernel makes from router advertisements (RFC 4862), read from `/proc/net`.

use std::net::{IpAddr, Ipv6Addr};

use crate::network::lease::{Lease, default_route};

pub const ADDRESSES: &str = "/proc/net/if_inet6";
pub const ROUTES: &str = "/proc/net/ipv6_route";
const GLOBAL: u32 = 0;
const LINK: u32 = 0x20;
const TENTATIVE_OR_DUPLICATE: u32 = 0x40 | 0x08;

/// A usable address of the link, and its router.
pub fn lease(addresses: &str, routes: &str, index: u32, link: &str) -> Option<Lease> {
    let global = addresses.lines().filter_map(|line| usable(line, index)).find(|(_, _, scope)| *scope == GLOBAL);
    let (address, prefix, _) = global?;
    let gateway = router(routes, link);
    Some(Lease {
        address: address.into(),
        prefix,
        routes: gateway.map(|gateway| default_route(IpAddr::V6(gateway))).into_iter().collect(),
        dns: Vec::new(),
        ntp: Vec::new(),
        search: Vec::new(),
        hostname: None,
        mtu: None,
        server: None,
        times: None,
        by_kernel: true,
        routed_by_kernel: true,
    })
}

/// The router of the kernel's default route over the link.
pub fn router(routes: &str, link: &str) -> Option<Ipv6Addr> {
    routes.lines().find_map(|line| gateway(line, link))
}

/// Whether the link may send: the kernel has made its link-local address, and no other host has it.
pub fn has_link_local(addresses: &str, index: u32) -> bool {
    addresses.lines().any(|line| usable(line, index).is_some_and(|(_, _, scope)| scope == LINK))
}

/// The fields: address, index, prefix length, scope, flags, name. All but the last are hexadecimal.
fn usable(line: &str, index: u32) -> Option<(Ipv6Addr, u8, u32)> {
    let mut fields = line.split_whitespace();
    let address = u128::from_str_radix(fields.next()?, 16).ok()?;
    let mut number = || u32::from_str_radix(fields.next()?, 16).ok();
    let (on, prefix, scope, flags) = (number()?, number()?, number()?, number()?);
    let usable = on == index && flags & TENTATIVE_OR_DUPLICATE == 0;
    usable.then_some((Ipv6Addr::from_bits(address), u8::try_from(prefix).ok()?, scope))
}

/// The fields: destination and length, source and length, next hop, metric, references, use, flags, name.
fn gateway(line: &str, link: &str) -> Option<Ipv6Addr> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [destination, length, _, _, hop, .., name] = fields[..] else { return None };
    let hop = u128::from_str_radix(hop, 16).ok()?;
    let is_default = length == "00" && destination.bytes().all(|digit| digit == b'0');
    (is_default && hop != 0 && name == link).then(|| Ipv6Addr::from_bits(hop))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTE: &str = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 \
        fe800000000000000000000000000001 00000400 00000001 00000000 00000003     eth0\n";

    #[test]
    fn an_address_counts_only_once_the_kernel_may_use_it() {
        let global = "fd000000000000000000000000000005";
        for (case, addresses, expected) in [
            ("usable", format!("{global} 02 40 00 00     eth0\n"), Some("fd00::5/64 gateway fe80::1 dns none")),
            ("tentative", format!("{global} 02 40 00 40     eth0\n"), None),
            ("duplicate", format!("{global} 02 40 00 88     eth0\n"), None),
            ("another link's", format!("{global} 03 40 00 00     eth1\n"), None),
            ("link-local", "fe800000000000000000000000000005 02 40 20 80     eth0\n".to_owned(), None),
            ("nonsense", "zz 02\n\n02".to_owned(), None),
        ] {
            let lease = lease(&addresses, ROUTE, 2, "eth0").map(|lease| lease.to_string());
            assert_eq!(lease.as_deref(), expected, "{case}");
        }
        assert_eq!(router(ROUTE, "eth1"), None);
    }

    #[test]
    fn a_link_may_send_once_its_link_local_address_is_ready() {
        for (flags, expected) in [("80", true), ("c0", false), ("88", false)] {
            let addresses = format!("fe800000000000000000000000000005 02 40 20 {flags}     eth0\n");
            assert_eq!((has_link_local(&addresses, 2), has_link_local(&addresses, 3)), (expected, false), "{flags}");
        }
    }
}
