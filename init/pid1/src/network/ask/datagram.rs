//! UDP in IPv4, for a packet socket (RFC 791, RFC 768). The kernel does not check these packets.

use std::net::Ipv4Addr;

use dhcp::v4::{CLIENT_PORT, SERVER_PORT};

const IP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
const UDP: u8 = 17;
const TIME_TO_LIVE: u8 = 64;
const MORE_FRAGMENTS_AND_OFFSET: u16 = 0x3fff;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram<'a> {
    pub source: Ipv4Addr,
    pub payload: &'a [u8],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("its IP header is cut off")]
    CutOff,
    #[error("it is not IPv4")]
    Version,
    #[error("the checksum of its IP header is wrong")]
    HeaderChecksum,
    #[error("it is not for a DHCP client")]
    NotForUs,
    #[error("it is a fragment of a longer packet")]
    Fragment,
    #[error("its length in the {0} header is {1} bytes, but it has {2}")]
    Length(&'static str, usize, usize),
    #[error("its UDP checksum is wrong")]
    Checksum,
}

/// `summed` means that the sender's kernel has set the checksum. Between virtual machines of one host, it is left to a
/// network card that does not exist.
pub fn read(packet: &[u8], summed: bool) -> Result<Datagram<'_>, Malformed> {
    let fixed: &[u8; IP_HEADER] = packet.first_chunk().ok_or(Malformed::CutOff)?;
    let [version, _, total_a, total_b, _, _, fragment_a, fragment_b, _, protocol, _, _, s0, s1, s2, s3, t0, t1, t2, t3] = *fixed;
    if version >> 4 != 4 {
        return Err(Malformed::Version);
    }
    let length = usize::from(version & 0xf) * 4;
    let header = packet.get(..length).filter(|_| length >= IP_HEADER).ok_or(Malformed::CutOff)?;
    if sum(0, header) != 0xffff {
        return Err(Malformed::HeaderChecksum);
    }
    if protocol != UDP {
        return Err(Malformed::NotForUs);
    }
    if u16::from_be_bytes([fragment_a, fragment_b]) & MORE_FRAGMENTS_AND_OFFSET != 0 {
        return Err(Malformed::Fragment);
    }
    let total = usize::from(u16::from_be_bytes([total_a, total_b]));
    // After this length come the bytes with which Ethernet pads a short frame.
    let udp = packet.get(length..total).ok_or(Malformed::Length("IP", total, packet.len()))?;
    let ([_, _, port_a, port_b, len_a, len_b, sum_a, sum_b], _) =
        udp.split_first_chunk::<UDP_HEADER>().ok_or(Malformed::Length("IP", total, packet.len()))?;
    if u16::from_be_bytes([*port_a, *port_b]) != CLIENT_PORT {
        return Err(Malformed::NotForUs);
    }
    let announced = usize::from(u16::from_be_bytes([*len_a, *len_b]));
    let udp_packet = udp.get(..announced).ok_or(Malformed::Length("UDP", announced, udp.len()))?;
    let payload = udp_packet.get(UDP_HEADER..).ok_or(Malformed::Length("UDP", announced, udp.len()))?;
    let [source, target] = [[s0, s1, s2, s3], [t0, t1, t2, t3]].map(Ipv4Addr::from);
    let is_summed = summed && [*sum_a, *sum_b] != [0, 0];
    if is_summed && sum(pseudo_header(source, target, announced), udp_packet) != 0xffff {
        return Err(Malformed::Checksum);
    }
    Ok(Datagram { source, payload })
}

/// A packet from the client to any server of the link.
pub fn write(source: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    let target = Ipv4Addr::BROADCAST;
    let length = UDP_HEADER + payload.len();
    let [total, udp_length] = [IP_HEADER + length, length].map(|length| u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
    let mut udp = [CLIENT_PORT.to_be_bytes(), SERVER_PORT.to_be_bytes(), udp_length, [0, 0]].concat();
    udp.extend_from_slice(payload);
    let checksum = match !sum(pseudo_header(source, target, length), &udp) {
        0 => 0xffff, // 0 means no checksum
        checksum => checksum,
    };
    put(&mut udp, 6, checksum);
    let mut packet = vec![0x45, 0, total[0], total[1], 0, 0, 0, 0, TIME_TO_LIVE, UDP, 0, 0];
    packet.extend(source.octets());
    packet.extend(target.octets());
    let checksum = !sum(0, &packet);
    put(&mut packet, 10, checksum);
    packet.extend(udp);
    packet
}

fn put(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(place) = bytes.get_mut(at..at + 2) {
        place.copy_from_slice(&value.to_be_bytes());
    }
}

fn pseudo_header(source: Ipv4Addr, target: Ipv4Addr, length: usize) -> u32 {
    let addresses = [source.octets(), target.octets()].concat();
    u32::from(sum(0, &addresses)) + u32::from(UDP) + u32::try_from(length).unwrap_or_default()
}

/// The ones' complement sum of RFC 1071.
fn sum(start: u32, bytes: &[u8]) -> u16 {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let last = rest.first().map_or(0, |byte| u32::from(*byte) << 8);
    let mut sum = pairs.iter().map(|pair| u32::from(u16::from_be_bytes(*pair))).sum::<u32>() + last + start;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
#[path = "datagram_tests.rs"]
mod tests;
