//! Beside another DHCP server: which machine has an address, as its own requests say. Firmware that reads a file names no MAC.
//!
//! A request can be forged, so this counts for what boots and for the history, which a MAC in a path opens as well. It does not
//! count for metadata.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, PoisonError};

use dhcp::v4::{MessageType, Packet};
use model::Mac;

use crate::machine::Addresses;

/// One address for each known machine, so it does not grow.
#[derive(Debug, Default)]
pub struct Heard(Mutex<Both>);

#[derive(Debug, Default)]
struct Both {
    by_address: HashMap<Ipv4Addr, Mac>,
    by_mac: HashMap<Mac, Ipv4Addr>,
}

impl Heard {
    fn note(&self, mac: Mac, address: Ipv4Addr) {
        let mut both = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = both.by_mac.insert(mac, address) {
            both.by_address.remove(&old);
        }
        if let Some(other) = both.by_address.insert(address, mac).filter(|other| *other != mac) {
            both.by_mac.remove(&other);
        }
    }

    /// It is an unknown machine's now.
    fn forget(&self, address: Ipv4Addr) {
        let mut both = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mac) = both.by_address.remove(&address) {
            both.by_mac.remove(&mac);
        }
    }
}

impl Addresses for Heard {
    fn mac(&self, address: IpAddr) -> Option<Mac> {
        let IpAddr::V4(address) = address.to_canonical() else { return None };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).by_address.get(&address).copied()
    }

    fn heard(&self, mac: Option<Mac>, address: Ipv4Addr) {
        match mac {
            Some(mac) => self.note(mac, address),
            None => self.forget(address),
        }
    }
}

/// The address that the client has, or has chosen of another server's offer.
pub(super) fn address(request: &Packet) -> Option<Ipv4Addr> {
    let chosen = match request.message_type()? {
        MessageType::Request | MessageType::Inform if !request.ciaddr.is_unspecified() => request.ciaddr,
        MessageType::Request => request.requested_ip()?,
        _ => return None,
    };
    let is_of_a_host = !chosen.is_unspecified() && !chosen.is_broadcast() && !chosen.is_multicast() && !chosen.is_loopback();
    is_of_a_host.then_some(chosen)
}

#[cfg(test)]
mod tests {
    use dhcp::v4::code;

    use super::*;

    #[test]
    fn a_request_says_which_address_its_client_has() {
        let with = |kind, ciaddr: [u8; 4], requested: Option<[u8; 4]>| {
            let mut request = Packet::request(kind, 0, [2, 0, 0, 0, 0, 1]);
            request.ciaddr = ciaddr.into();
            if let Some(requested) = requested {
                request.options.set_ip(code::REQUESTED_IP, requested.into());
            }
            address(&request)
        };
        let (none, ten) = ([0; 4], Ipv4Addr::new(10, 0, 0, 9));
        assert_eq!(with(MessageType::Request, none, Some([10, 0, 0, 9])), Some(ten), "on port 67");
        assert_eq!(with(MessageType::Request, [10, 0, 0, 9], None), Some(ten), "on port 4011, or to renew");
        assert_eq!(with(MessageType::Discover, none, Some([10, 0, 0, 9])), None, "it does not have it yet");
        for of_no_host in [[127, 0, 0, 1], [255; 4], [224, 0, 0, 1], none] {
            assert_eq!(with(MessageType::Request, none, Some(of_no_host)), None);
        }
    }

    #[test]
    fn an_address_belongs_to_the_machine_that_asked_for_it_last() {
        let heard = Heard::default();
        let [one, two] = [Mac::new([2, 0, 0, 0, 0, 1]), Mac::new([2, 0, 0, 0, 0, 2])];
        let [first, second] = [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)];
        heard.note(one, first);
        heard.note(one, first);
        assert_eq!(heard.mac(first.to_ipv6_mapped().into()), Some(one));
        heard.note(one, second);
        assert_eq!([first, second].map(|address| heard.mac(address.into())), [None, Some(one)], "a machine has one");
        heard.note(two, second);
        assert_eq!(heard.mac(second.into()), Some(two));
        heard.note(one, first);
        assert_eq!([first, second].map(|address| heard.mac(address.into())), [Some(one), Some(two)]);
        heard.forget(first);
        heard.forget(first);
        assert_eq!([first, second].map(|address| heard.mac(address.into())), [None, Some(two)], "an unknown machine has it now");
    }
}
