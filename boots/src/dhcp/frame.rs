//! A reply to a client without an address, as an Ethernet frame to its hardware address (RFC 2131 section 4.1). No ARP could find
//! it, and a broadcast would wake every other host. Pure.

use std::net::SocketAddrV4;

const ETHERTYPE: [u8; 2] = [0x08, 0x00];
const IP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
const UDP: u8 = 17;
const HOPS: u8 = 64;
const DO_NOT_FRAGMENT: [u8; 2] = [0x40, 0x00];

/// Where a frame comes from and goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    pub from: ([u8; 6], SocketAddrV4),
    pub to: ([u8; 6], SocketAddrV4),
}

/// The UDP datagram in its IPv4 packet (RFC 791, RFC 768) in its frame. `None` if it is longer than any packet.
#[must_use]
pub fn frame(ends: Ends, payload: &[u8]) -> Option<Vec<u8>> {
    let Ends { from: (source, from), to: (destination, to) } = ends;
    let udp_length = u16::try_from(UDP_HEADER + payload.len()).ok()?;
    let length = udp_length.checked_add(u16::try_from(IP_HEADER).ok()?)?;

    let mut header = [0; IP_HEADER];
    header[0] = 0x45; // version 4, five words
    header[2..4].copy_from_slice(&length.to_be_bytes());
    header[6..8].copy_from_slice(&DO_NOT_FRAGMENT);
    (header[8], header[9]) = (HOPS, UDP);
    header[12..16].copy_from_slice(&from.ip().octets());
    header[16..20].copy_from_slice(&to.ip().octets());
    let sum = checksum(&[&header]);
    header[10..12].copy_from_slice(&sum.to_be_bytes());

    let mut udp = [0; UDP_HEADER];
    udp[0..2].copy_from_slice(&from.port().to_be_bytes());
    udp[2..4].copy_from_slice(&to.port().to_be_bytes());
    udp[4..6].copy_from_slice(&udp_length.to_be_bytes());
    let protocol = u16::from(UDP).to_be_bytes();
    let sum = match checksum(&[&header[12..20], &protocol, &udp_length.to_be_bytes(), &udp, payload]) {
        0 => u16::MAX, // 0 would say that there is no checksum
        sum => sum,
    };
    udp[6..8].copy_from_slice(&sum.to_be_bytes());
    Some([&destination[..], &source, &ETHERTYPE, &header, &udp, payload].concat())
}

/// The Internet checksum (RFC 1071). All parts but the last have an even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let word = |pair: &[u8]| u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0));
    let mut sum: u64 = parts.iter().flat_map(|part| part.chunks(2)).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends() -> Ends {
        Ends {
            from: ([2, 0, 0, 0, 0, 1], "10.0.0.1:67".parse().unwrap()),
            to: ([2, 0, 0, 0, 0, 9], "10.0.0.9:68".parse().unwrap()),
        }
    }

    /// Over all words with their checksum it is 0.
    #[test]
    fn both_checksums_are_right_for_any_length() {
        for length in [0, 1, 2, 300, 301, 1472] {
            let payload: Vec<u8> = (0..length).map(|n| (n * 7) as u8).collect();
            let frame = frame(ends(), &payload).unwrap();
            assert_eq!(frame[..14], [2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1, 8, 0], "destination first");
            let (header, datagram) = frame[14..].split_at(IP_HEADER);
            assert_eq!(checksum(&[header]), 0, "{length}");
            assert_eq!(u16::from_be_bytes([header[2], header[3]]) as usize, IP_HEADER + UDP_HEADER + length);
            let length_of_udp = (datagram.len() as u16).to_be_bytes();
            assert_eq!(checksum(&[&header[12..20], &[0, UDP], &length_of_udp, datagram]), 0, "{length}");
            assert_eq!((&datagram[..4], &datagram[8..]), (&[0, 67, 0, 68][..], &payload[..]));
        }
    }

    /// The example that textbooks compute: 192.168.0.1 sends UDP to 192.168.0.199.
    #[test]
    fn a_known_header_has_its_checksum() {
        let header = [0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0, 0, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0, 0xc7];
        assert_eq!(checksum(&[&header]), 0xb861);
    }

    #[test]
    fn a_sum_of_zero_is_written_as_its_other_zero() {
        let with = |last: [u8; 2]| frame(ends(), &last).unwrap();
        let sum = |frame: &[u8]| u16::from_be_bytes([frame[40], frame[41]]);
        let whole = sum(&with([0, 0]));
        assert_eq!(sum(&with(whole.to_be_bytes())), u16::MAX);
    }

    #[test]
    fn what_no_packet_can_hold_has_no_frame() {
        assert!(frame(ends(), &[0; 65_507]).is_some());
        assert!(frame(ends(), &[0; 65_508]).is_none());
    }
}
