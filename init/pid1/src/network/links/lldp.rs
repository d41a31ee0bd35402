//! LLDP frames (IEEE 802.1AB), which name the switch and the port at the other end. The result is safe to log: control
//! characters are replaced, and no text is longer than one field of a frame.

use std::fmt::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr};

const END: u8 = 0;
const CHASSIS: u8 = 1;
const PORT: u8 = 2;
const TTL: u8 = 3;
const SYSTEM: u8 = 5;
const ORGANISATION: u8 = 127;
/// IEEE 802.1, "port VLAN ID".
const PORT_VLAN: [u8; 4] = [0x00, 0x80, 0xc2, 1];

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    pub port: String,
    pub chassis: String,
    pub system: Option<String>,
    /// The VLAN of untagged frames.
    pub vlan: Option<u16>,
    /// For how many seconds this is valid. 0 means that the neighbour leaves.
    pub ttl: u16,
}

impl Neighbour {
    /// Parses the bytes after the Ethernet header. `None` if the frame is not LLDP, or is cut off.
    pub fn decode(frame: &[u8]) -> Option<Self> {
        let (chassis, rest) = field(frame, CHASSIS)?;
        let (port, rest) = field(rest, PORT)?;
        let (ttl, mut rest) = field(rest, TTL)?;
        let mut neighbour = Self {
            chassis: identity(chassis, &[4], &[5])?,
            port: identity(port, &[3], &[4])?,
            ttl: u16::from_be_bytes(*ttl.first_chunk()?),
            system: None,
            vlan: None,
        };
        while let Some((kind, value, after)) = next(rest).filter(|(kind, ..)| *kind != END) {
            match kind {
                SYSTEM => neighbour.system = Some(text(value)).filter(|name| !name.is_empty()),
                ORGANISATION => neighbour.vlan = neighbour.vlan.or_else(|| vlan(value)),
                _ => {}
            }
            rest = after;
        }
        Some(neighbour)
    }

    /// The entry for the file that the agent reads.
    pub fn on(&self, link: &str) -> machine::Neighbour {
        machine::Neighbour {
            link: link.to_owned(),
            port: Some(self.port.clone()),
            chassis: Some(self.chassis.clone()),
            system: self.system.clone(),
            vlan: self.vlan,
        }
    }
}

impl fmt::Display for Neighbour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.port, self.chassis)?;
        self.system.iter().try_for_each(|system| write!(f, " ({system})"))
    }
}

/// The type in 7 bits, and the length in 9.
fn next(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<2>()?;
    let header = u16::from_be_bytes(*header);
    let (value, rest) = rest.split_at_checked(usize::from(header & 0x1ff))?;
    Some((u8::try_from(header >> 9).ok()?, value, rest))
}

/// The first three fields come in a fixed order.
fn field(bytes: &[u8], kind: u8) -> Option<(&[u8], &[u8])> {
    next(bytes).filter(|(found, ..)| *found == kind).map(|(_, value, rest)| (value, rest))
}

/// A subtype, then a MAC, an address or text.
fn identity(value: &[u8], mac: &[u8], network: &[u8]) -> Option<String> {
    let (subtype, id) = value.split_first()?;
    let name = match id {
        _ if mac.contains(subtype) => hexadecimal(id),
        [1, a, b, c, d] if network.contains(subtype) => Ipv4Addr::new(*a, *b, *c, *d).to_string(),
        [2, rest @ ..] if network.contains(subtype) && rest.len() == 16 => {
            Ipv6Addr::from(<[u8; 16]>::try_from(rest).ok()?).to_string()
        }
        id if is_text(id) => text(id),
        id => hexadecimal(id),
    };
    (!name.is_empty()).then_some(name)
}

fn is_text(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| !text.trim_end_matches('\0').chars().any(char::is_control))
}

fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (index, byte) in bytes.iter().enumerate() {
        let colon = if index > 0 { ":" } else { "" };
        let _ = write!(text, "{colon}{byte:02x}"); // writing to a String cannot fail
    }
    text
}

/// Any bytes as text for one line of a log.
fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let clean = |c: char| if c.is_control() || (c.is_whitespace() && c != ' ') { '?' } else { c };
    text.trim_end_matches('\0').trim().chars().map(clean).collect()
}

fn vlan(value: &[u8]) -> Option<u16> {
    let (name, rest) = value.split_first_chunk::<4>()?;
    let id = u16::from_be_bytes(*rest.first_chunk()?);
    (*name == PORT_VLAN && (1..=4094).contains(&id)).then_some(id)
}

#[cfg(test)]
#[path = "lldp_tests.rs"]
mod tests;
