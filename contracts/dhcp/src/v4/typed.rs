//! Readers that give options their types. A value of the wrong length or form counts as absent: a client that sends
//! a broken option is treated as if it had not sent it.

use std::net::Ipv4Addr;
use std::str;

use super::options::code;
use super::{MessageType, Options, Packet};
use crate::name::{self, Names};

/// One classless static route (RFC 3442). A `router` of 0.0.0.0 means the destination is on the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    pub destination: Ipv4Addr,
    pub prefix: u8,
    pub router: Ipv4Addr,
}

/// Sub-options of option 82.
const LINK_SELECTION: u8 = 5;
const SERVER_ID_OVERRIDE: u8 = 11;

fn address(value: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(value).ok().map(Ipv4Addr::from)
}

impl Options {
    pub fn u16(&self, code: u8) -> Option<u16> {
        self.get(code)?.try_into().ok().map(u16::from_be_bytes)
    }

    pub fn u32(&self, code: u8) -> Option<u32> {
        self.get(code)?.try_into().ok().map(u32::from_be_bytes)
    }

    pub fn ip(&self, code: u8) -> Option<Ipv4Addr> {
        <[u8; 4]>::try_from(self.get(code)?).ok().map(Ipv4Addr::from)
    }

    /// The whole addresses of a list.
    pub fn ips(&self, code: u8) -> Vec<Ipv4Addr> {
        let (addresses, _) = self.get(code).unwrap_or_default().as_chunks::<4>();
        addresses.iter().copied().map(Ipv4Addr::from).collect()
    }

    /// Text without the NULs some clients append.
    pub fn text(&self, code: u8) -> Option<&str> {
        let text = str::from_utf8(self.get(code)?).ok()?.trim_end_matches('\0');
        (!text.is_empty()).then_some(text)
    }

    pub fn set_classless_routes(&mut self, routes: &[Route]) -> &mut Self {
        let mut bytes = Vec::new();
        for route in routes {
            let prefix = route.prefix.min(32);
            bytes.push(prefix);
            bytes.extend(route.destination.octets().into_iter().take(usize::from(prefix.div_ceil(8))));
            bytes.extend(route.router.octets());
        }
        if bytes.is_empty() {
            self.remove(code::CLASSLESS_ROUTES);
            return self;
        }
        self.set(code::CLASSLESS_ROUTES, bytes)
    }

    pub fn set_domain_search(&mut self, names: &[impl AsRef<str>]) -> &mut Self {
        let bytes = name::encode(names);
        if bytes.is_empty() {
            self.remove(code::DOMAIN_SEARCH);
            return self;
        }
        self.set(code::DOMAIN_SEARCH, bytes)
    }
}

impl Packet {
    pub fn message_type(&self) -> Option<MessageType> {
        match self.options.get(code::MESSAGE_TYPE)? {
            &[byte] => MessageType::from_byte(byte),
            _ => None,
        }
    }

    pub fn requested_ip(&self) -> Option<Ipv4Addr> {
        self.options.ip(code::REQUESTED_IP)
    }

    pub fn server_id(&self) -> Option<Ipv4Addr> {
        self.options.ip(code::SERVER_ID)
    }

    /// Seconds; `u32::MAX` is forever.
    pub fn lease_time(&self) -> Option<u32> {
        self.options.u32(code::LEASE_TIME)
    }

    /// T1: when to ask the server that gave the lease.
    pub fn renewal_time(&self) -> Option<u32> {
        self.options.u32(code::RENEWAL_TIME)
    }

    /// T2: when to ask any server.
    pub fn rebinding_time(&self) -> Option<u32> {
        self.options.u32(code::REBINDING_TIME)
    }

    pub fn subnet_mask(&self) -> Option<Ipv4Addr> {
        self.options.ip(code::SUBNET_MASK)
    }

    /// The subnet mask as a prefix length. `None` if its ones are not contiguous.
    pub fn prefix_len(&self) -> Option<u8> {
        let mask = self.subnet_mask()?.to_bits();
        (mask.leading_ones() + mask.trailing_zeros() == 32).then_some(mask.leading_ones() as u8)
    }

    pub fn routers(&self) -> Vec<Ipv4Addr> {
        self.options.ips(code::ROUTERS)
    }

    pub fn dns_servers(&self) -> Vec<Ipv4Addr> {
        self.options.ips(code::DNS_SERVERS)
    }

    pub fn ntp_servers(&self) -> Vec<Ipv4Addr> {
        self.options.ips(code::NTP_SERVERS)
    }

    pub fn broadcast_address(&self) -> Option<Ipv4Addr> {
        self.options.ip(code::BROADCAST_ADDRESS)
    }

    pub fn hostname(&self) -> Option<&str> {
        self.options.text(code::HOSTNAME)
    }

    pub fn domain_name(&self) -> Option<&str> {
        self.options.text(code::DOMAIN_NAME)
    }

    /// The names that are whole. [`Self::domain_search_with_faults`] says what is wrong with the others.
    pub fn domain_search(&self) -> Vec<String> {
        self.domain_search_with_faults().names
    }

    pub fn domain_search_with_faults(&self) -> Names {
        self.options.get(code::DOMAIN_SEARCH).map(name::decode).unwrap_or_default()
    }

    /// Never below 68, which is the minimum of an IPv4 link (RFC 2132 section 5.1).
    pub fn mtu(&self) -> Option<u16> {
        self.options.u16(code::INTERFACE_MTU).filter(|&mtu| mtu >= 68)
    }

    /// Option 121. If there are any, the routers of option 3 are to be ignored (RFC 3442).
    pub fn classless_routes(&self) -> Vec<Route> {
        self.options.get(code::CLASSLESS_ROUTES).and_then(routes).unwrap_or_default()
    }

    pub fn client_id(&self) -> Option<&[u8]> {
        self.options.get(code::CLIENT_ID)
    }

    /// The largest UDP payload that the sender takes. Option 57 counts the IP and UDP headers too, and is never below 576
    /// (RFC 2132 section 9.10). The default is 576 as well (RFC 2131 section 2).
    pub fn max_payload(&self) -> usize {
        usize::from(self.options.u16(code::MAX_MESSAGE_SIZE).unwrap_or(576).max(576)) - 28
    }

    pub fn parameter_list(&self) -> &[u8] {
        self.options.get(code::PARAMETER_LIST).unwrap_or_default()
    }

    /// Option 56: why a server refuses.
    pub fn message(&self) -> Option<&str> {
        self.options.text(code::MESSAGE)
    }

    /// Option 60, such as `PXEClient:Arch:00007:UNDI:003016`.
    pub fn vendor_class(&self) -> &[u8] {
        self.options.get(code::VENDOR_CLASS).unwrap_or_default()
    }

    /// Option 77 names `class`, either alone (as iPXE sends it) or in a list with lengths (RFC 3004).
    pub fn has_user_class(&self, class: &[u8]) -> bool {
        let Some(value) = self.options.get(code::USER_CLASS) else { return false };
        if value.strip_suffix(&[0]).unwrap_or(value) == class {
            return true;
        }
        let mut rest = value;
        while let Some((&len, after)) = rest.split_first() {
            let Some((entry, after)) = after.split_at_checked(usize::from(len)) else { return false };
            if entry == class {
                return true;
            }
            rest = after;
        }
        false
    }

    /// Option 93: the architectures the client can boot, best first (RFC 4578).
    pub fn client_archs(&self) -> Vec<u16> {
        let (archs, _) = self.options.get(code::CLIENT_ARCH).unwrap_or_default().as_chunks::<2>();
        archs.iter().copied().map(u16::from_be_bytes).collect()
    }

    /// A sub-option of option 82, which a relay adds (RFC 3046).
    pub fn relay_option(&self, number: u8) -> Option<&[u8]> {
        let mut rest = self.options.get(code::RELAY_AGENT)?;
        while let [tag, len, after @ ..] = rest {
            let (value, after) = after.split_at_checked(usize::from(*len))?;
            if *tag == number {
                return Some(value);
            }
            rest = after;
        }
        None
    }

    /// An address on the client's network, if the packet came through a relay or names a network: the relay's link selection
    /// (RFC 3527), the client's subnet selection (RFC 3011), else the relay's own address.
    pub fn remote_link(&self) -> Option<Ipv4Addr> {
        let selected = self.relay_option(LINK_SELECTION).and_then(address);
        let asked = || self.options.ip(code::SUBNET_SELECTION);
        let relay = || Some(self.giaddr);
        selected.or_else(asked).or_else(relay).filter(|link| !link.is_unspecified())
    }

    /// The address that the relay wants to be the server's for its clients (RFC 5107).
    pub fn server_id_override(&self) -> Option<Ipv4Addr> {
        self.relay_option(SERVER_ID_OVERRIDE).and_then(address).filter(|server| !server.is_unspecified())
    }

    /// Option 97 of type 0: the machine's UUID as its firmware has it.
    pub fn client_uuid(&self) -> Option<[u8; 16]> {
        match self.options.get(code::CLIENT_UUID)? {
            [0, uuid @ ..] => uuid.try_into().ok(),
            _ => None,
        }
    }

    /// A feature or setting in option 175, by its number.
    pub fn ipxe(&self, feature: u8) -> Option<&[u8]> {
        let mut rest = self.options.get(code::IPXE)?;
        loop {
            match rest {
                [code::PAD, after @ ..] => rest = after,
                [tag, len, after @ ..] if *tag != code::END => {
                    let (value, after) = after.split_at_checked(usize::from(*len))?;
                    if *tag == feature {
                        return Some(value);
                    }
                    rest = after;
                }
                _ => return None,
            }
        }
    }

    /// The boot file: the header's, or option 67's where the header has none.
    pub fn boot_file(&self) -> Option<&str> {
        match self.file.is_empty() {
            true => self.options.text(code::BOOT_FILE_NAME),
            false => self.file.as_str(),
        }
    }
}

pub(crate) fn routes(mut bytes: &[u8]) -> Option<Vec<Route>> {
    let mut routes = Vec::new();
    while let Some((&prefix, rest)) = bytes.split_first() {
        let significant = usize::from(prefix.div_ceil(8));
        let (given, rest) = rest.split_at_checked(significant)?;
        let mut destination = [0; 4];
        destination.get_mut(..significant)?.copy_from_slice(given); // longer than 4 bytes: prefix over 32
        let (&router, rest) = rest.split_first_chunk::<4>()?;
        routes.push(Route { destination: destination.into(), prefix, router: router.into() });
        bytes = rest;
    }
    Some(routes)
}
