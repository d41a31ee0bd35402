//! The option area: a map from code to value. Values may be longer than 255 bytes; on the wire they are split and
//! joined again (RFC 3396). [`super::forms`] has the rule for options that come more than once.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::forms::{Fault, FaultKind, Values};

/// Option codes by the names of their RFCs.
pub mod code {
    pub const PAD: u8 = 0;
    pub const SUBNET_MASK: u8 = 1;
    pub const ROUTERS: u8 = 3;
    pub const DNS_SERVERS: u8 = 6;
    pub const LOG_SERVERS: u8 = 7;
    pub const HOSTNAME: u8 = 12;
    pub const DOMAIN_NAME: u8 = 15;
    pub const ROOT_PATH: u8 = 17;
    pub const INTERFACE_MTU: u8 = 26;
    pub const BROADCAST_ADDRESS: u8 = 28;
    pub const NTP_SERVERS: u8 = 42;
    pub const VENDOR_SPECIFIC: u8 = 43;
    pub const REQUESTED_IP: u8 = 50;
    pub const LEASE_TIME: u8 = 51;
    pub const OVERLOAD: u8 = 52;
    pub const MESSAGE_TYPE: u8 = 53;
    pub const SERVER_ID: u8 = 54;
    pub const PARAMETER_LIST: u8 = 55;
    pub const MESSAGE: u8 = 56;
    pub const MAX_MESSAGE_SIZE: u8 = 57;
    pub const RENEWAL_TIME: u8 = 58;
    pub const REBINDING_TIME: u8 = 59;
    pub const VENDOR_CLASS: u8 = 60;
    pub const CLIENT_ID: u8 = 61;
    pub const TFTP_SERVER_NAME: u8 = 66;
    pub const BOOT_FILE_NAME: u8 = 67;
    pub const USER_CLASS: u8 = 77;
    pub const RELAY_AGENT: u8 = 82;
    /// RFC 4388: seconds since the client's last packet.
    pub const LAST_TRANSACTION: u8 = 91;
    /// RFC 4388: all addresses of one client.
    pub const ASSOCIATED_IP: u8 = 92;
    pub const CLIENT_ARCH: u8 = 93;
    pub const CLIENT_NDI: u8 = 94;
    pub const CLIENT_UUID: u8 = 97;
    /// RFC 3011: the network to choose an address from.
    pub const SUBNET_SELECTION: u8 = 118;
    pub const DOMAIN_SEARCH: u8 = 119;
    pub const CLASSLESS_ROUTES: u8 = 121;
    /// Etherboot's encapsulated options: the mark of an iPXE.
    pub const IPXE: u8 = 175;
    pub const END: u8 = 255;
}

/// Options of one packet, each code once. `OVERLOAD` never appears: it describes the encoding, not the content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options(BTreeMap<u8, Vec<u8>>);

impl Options {
    pub fn get(&self, code: u8) -> Option<&[u8]> {
        self.0.get(&code).map(Vec::as_slice)
    }

    pub fn contains(&self, code: u8) -> bool {
        self.0.contains_key(&code)
    }

    /// Replaces the value. `PAD`, `END` and `OVERLOAD` have no value and are left out.
    pub fn set(&mut self, code: u8, value: impl Into<Vec<u8>>) -> &mut Self {
        if !matches!(code, code::PAD | code::END | code::OVERLOAD) {
            self.0.insert(code, value.into());
        }
        self
    }

    pub fn set_u8(&mut self, code: u8, value: u8) -> &mut Self {
        self.set(code, [value])
    }

    pub fn set_u16(&mut self, code: u8, value: u16) -> &mut Self {
        self.set(code, value.to_be_bytes())
    }

    pub fn set_u32(&mut self, code: u8, value: u32) -> &mut Self {
        self.set(code, value.to_be_bytes())
    }

    pub fn set_ip(&mut self, code: u8, value: Ipv4Addr) -> &mut Self {
        self.set(code, value.octets())
    }

    /// Sets a list of addresses; an empty list removes the option, whose length must not be zero (RFC 2132).
    pub fn set_ips(&mut self, code: u8, values: &[Ipv4Addr]) -> &mut Self {
        if values.is_empty() {
            self.0.remove(&code);
            return self;
        }
        let bytes: Vec<u8> = values.iter().flat_map(Ipv4Addr::octets).collect();
        self.set(code, bytes)
    }

    pub fn set_text(&mut self, code: u8, value: &str) -> &mut Self {
        self.set(code, value.as_bytes())
    }

    pub fn remove(&mut self, code: u8) -> Option<Vec<u8>> {
        self.0.remove(&code)
    }

    pub fn iter(&self) -> impl Iterator<Item = (u8, &[u8])> {
        self.0.iter().map(|(&code, value)| (code, value.as_slice()))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// What one packet's areas hold: of each code the value that counts.
    pub(crate) fn of(mut values: Values) -> (Self, Vec<Fault>) {
        let mut options = Self::default();
        while let Some((code, value)) = values.pop() {
            options.set(code, value);
        }
        (options, values.faults)
    }

    /// Codes in the order in which they are sent. The message type is first, since some ROMs look no further, and the relay
    /// agent is last (RFC 3046).
    pub(crate) fn wire_order(&self) -> impl Iterator<Item = (u8, &[u8])> {
        let is_edge = |code| matches!(code, code::MESSAGE_TYPE | code::RELAY_AGENT);
        let one = |code| self.0.get_key_value(&code).map(|(&code, value)| (code, value.as_slice()));
        one(code::MESSAGE_TYPE)
            .into_iter()
            .chain(self.iter().filter(move |&(code, _)| !is_edge(code)))
            .chain(one(code::RELAY_AGENT))
    }
}

/// Reads one area (options, file or sname) up to `END` or its last byte. An option that is cut off ends it, too.
pub(crate) fn read_area(area: &[u8], values: &mut Values) {
    let mut rest = area;
    while let Some((&code, after)) = rest.split_first() {
        rest = match code {
            code::PAD => after,
            code::END => return,
            _ => {
                let announced = after.first().copied();
                let behind = after.get(1..).unwrap_or_default();
                let Some((value, behind)) = announced.and_then(|len| behind.split_at_checked(usize::from(len))) else {
                    values.faults.push(Fault { code, kind: FaultKind::CutOff { announced, there: behind.len() } });
                    return;
                };
                values.add(code, value);
                behind
            }
        };
    }
}

/// Appends an option, in several pieces if its value is longer than 255 bytes.
pub(crate) fn put(out: &mut Vec<u8>, code: u8, value: &[u8]) {
    let mut put_piece = |piece: &[u8]| {
        out.push(code);
        out.push(piece.len() as u8); // at most 255: an empty value or a chunk of 255
        out.extend_from_slice(piece);
    };
    if value.is_empty() {
        put_piece(value);
    }
    value.chunks(255).for_each(put_piece);
}

/// The bytes that `put` will need.
pub(crate) fn wire_len(value: &[u8]) -> usize {
    value.len() + 2 * value.len().div_ceil(255).max(1)
}
