//! DHCP packets in Ethernet frames, as a machine without an address sends and receives them (RFC 791, RFC 768). Pure.

use std::net::Ipv4Addr;

const IPV4: [u8; 2] = [0x08, 0x00];
const UDP: u8 = 17;
const ETHERNET: usize = 14;
const IP: usize = 20;
const HEADERS: usize = ETHERNET + IP + 8;

/// A UDP datagram and its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram<'a> {
    pub source: ([u8; 6], Ipv4Addr, u16),
    pub destination: ([u8; 6], Ipv4Addr, u16),
    pub payload: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// `None` if it is longer than a packet can be.
    #[must_use]
    pub fn encode(&self) -> Option<Vec<u8>> {
        let length = u16::try_from(self.payload.len() + HEADERS - ETHERNET).ok()?;
        let udp = u16::try_from(self.payload.len() + 8).ok()?;
        let mut frame = Vec::with_capacity(HEADERS + self.payload.len());
        frame.extend(self.destination.0);
        frame.extend(self.source.0);
        frame.extend(IPV4);
        frame.extend([0x45, 0]);
        frame.extend(length.to_be_bytes());
        frame.extend([0, 0, 0, 0, 64, UDP, 0, 0]);
        frame.extend(self.source.1.octets());
        frame.extend(self.destination.1.octets());
        let sum = checksum(frame.get(ETHERNET..)?);
        frame.get_mut(ETHERNET + 10..ETHERNET + 12)?.copy_from_slice(&sum.to_be_bytes());
        frame.extend(self.source.2.to_be_bytes());
        frame.extend(self.destination.2.to_be_bytes());
        frame.extend(udp.to_be_bytes());
        frame.extend([0, 0]); // UDP without a checksum, as boot ROMs send it
        frame.extend(self.payload);
        Some(frame)
    }

    /// `None` if the frame is not a whole UDP datagram of IPv4.
    #[must_use]
    pub fn decode(frame: &'a [u8]) -> Option<Self> {
        let (destination, rest) = frame.split_first_chunk::<6>()?;
        let (source, rest) = rest.split_first_chunk::<6>()?;
        let packet = rest.strip_prefix(&IPV4)?;
        let header_length = usize::from(packet.first()? & 0x0f) * 4;
        let (header, _) = packet.split_at_checked(header_length.max(IP))?;
        let is_fragment = header.get(6)? & 0x3f != 0 || *header.get(7)? != 0;
        if header.first()? >> 4 != 4 || *header.get(9)? != UDP || is_fragment {
            return None;
        }
        let total = usize::from(u16::from_be_bytes(*header.get(2..)?.first_chunk()?));
        let (ports, payload) = packet.get(header_length.max(IP)..total)?.split_first_chunk::<8>()?;
        let [s0, s1, d0, d1, ..] = *ports;
        let address = |at: usize| header.get(at..)?.first_chunk::<4>().map(|octets| Ipv4Addr::from(*octets));
        Some(Self {
            source: (*source, address(12)?, u16::from_be_bytes([s0, s1])),
            destination: (*destination, address(16)?, u16::from_be_bytes([d0, d1])),
            payload,
        })
    }
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(pair.first().copied().unwrap_or(0)) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16) // as: the loop leaves 16 bits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(payload: &[u8]) -> Datagram<'_> {
        Datagram {
            source: ([2, 0, 0, 0, 0, 1], Ipv4Addr::UNSPECIFIED, 68),
            destination: ([0xff; 6], Ipv4Addr::BROADCAST, 67),
            payload,
        }
    }

    #[test]
    fn a_datagram_survives_its_frame_and_its_header_has_the_right_checksum() {
        for length in [0, 1, 300, 1472] {
            let payload = vec![7; length];
            let frame = datagram(&payload).encode().unwrap();
            assert_eq!(checksum(&frame[ETHERNET..ETHERNET + IP]), 0);
            assert_eq!(Datagram::decode(&frame), Some(datagram(&payload)));
        }
        assert_eq!(datagram(&[0; 65_600]).encode(), None);
    }

    #[test]
    fn whatever_arrives_is_a_datagram_or_nothing() {
        let frame = datagram(b"hello").encode().unwrap();
        for length in 0..frame.len() {
            assert_eq!(Datagram::decode(&frame[..length]), None, "{length}");
        }
        for place in 0..frame.len() {
            for byte in [0, 0xff] {
                let mut broken = frame.clone();
                broken[place] = byte;
                let _ = Datagram::decode(&broken); // it does not panic
            }
        }
    }
}
