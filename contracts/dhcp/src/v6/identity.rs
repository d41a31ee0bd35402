//! What says which machine a client is: the MAC in a DUID, and the one in an address.

use std::net::Ipv6Addr;

/// Types of DUIDs that have the address of a link (RFC 8415, 11.2 and 11.4).
const LINK_LAYER_TIME: u16 = 1;
const LINK_LAYER: u16 = 3;
const ETHERNET: u16 = 1;
/// The bit that says in an interface identifier that the vendor gave the address (RFC 4291, appendix A).
const UNIVERSAL: u8 = 2;

/// The MAC in a DUID. It may be the one of another card of the same machine.
pub fn duid_mac(duid: &[u8]) -> Option<[u8; 6]> {
    let ([t0, t1, h0, h1], rest) = duid.split_first_chunk::<4>()?;
    if u16::from_be_bytes([*h0, *h1]) != ETHERNET {
        return None;
    }
    match u16::from_be_bytes([*t0, *t1]) {
        LINK_LAYER => rest.try_into().ok(),
        LINK_LAYER_TIME => rest.get(4..)?.try_into().ok(),
        _ => None,
    }
}

/// The MAC that an address was made from. Addresses with random identifiers have none.
pub fn eui64_mac(address: Ipv6Addr) -> Option<[u8; 6]> {
    let [_, _, _, _, _, _, _, _, a, b, c, 0xff, 0xfe, d, e, f] = address.octets() else { return None };
    let mac = [a ^ UNIVERSAL, b, c, d, e, f];
    (mac[0] & 1 == 0 && mac != [0; 6]).then_some(mac)
}

/// The address of this MAC in a network whose prefix has 64 bits at most.
pub fn eui64(prefix: Ipv6Addr, mac: [u8; 6]) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac;
    let identifier = u64::from_be_bytes([a ^ UNIVERSAL, b, c, 0xff, 0xfe, d, e, f]);
    Ipv6Addr::from_bits(prefix.to_bits() & !u128::from(u64::MAX) | u128::from(identifier))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [0x52, 0x54, 0, 0x77, 0, 1];

    #[test]
    fn a_duid_has_the_mac_of_an_ethernet_link_or_none() {
        for (case, duid, mac) in [
            ("link layer", &[&[0, 3, 0, 1], &MAC[..]].concat(), Some(MAC)),
            ("link layer and time", &[&[0, 1, 0, 1, 9, 9, 9, 9], &MAC[..]].concat(), Some(MAC)),
            ("InfiniBand", &[&[0, 3, 0, 32], &MAC[..]].concat(), None),
            ("a UUID", &[&[0, 4], &[7; 16][..]].concat(), None),
            ("cut off", &vec![0, 3, 0, 1, 2], None),
            ("too long", &[&[0, 3, 0, 1, 0], &MAC[..]].concat(), None),
            ("nothing", &Vec::new(), None),
        ] {
            assert_eq!(duid_mac(duid), mac, "{case}");
        }
    }

    #[test]
    fn an_address_is_made_from_a_mac_and_read_back() {
        let address = eui64("fd00:77::5".parse().unwrap(), MAC);
        assert_eq!(address, "fd00:77::5054:ff:fe77:1".parse::<Ipv6Addr>().unwrap());
        assert_eq!(eui64_mac(address), Some(MAC));
        for other in ["fe80::1", "fd00::fd54:ff:fe77:1", "fd00::200:ff:fe00:0"] {
            assert_eq!(eui64_mac(other.parse().unwrap()), None, "{other}");
        }
    }
}
