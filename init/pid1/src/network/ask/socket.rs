//! The DHCP client's sockets on one link.
//!
//! Before the link has an address, the kernel gives an ordinary socket only packets to 255.255.255.255. Servers also answer
//! to the offered address or to the subnet's broadcast address. So the client also reads from a packet socket, as other
//! clients do. It sends its broadcasts there, too: they must come from 0.0.0.0 even if another link, or a doubtful lease of
//! this link, has an address. A renewal goes to its server through the ordinary socket.

use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use cmdline::HwAddr;
use dhcp::v4::{CLIENT_PORT, Packet, SERVER_PORT};
use nix::sys::socket::sockopt::{BindToDevice, Broadcast, ReuseAddr};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockType, SockaddrIn, bind, recvmsg, setsockopt, socket,
};
use rustix::net::{self, SocketFlags, SocketType};

use super::datagram::{self, Datagram};
use super::dhcpv4::Answer;
use crate::network::links::Link;
use crate::sys;

/// Larger than any packet that a server may send to the client.
const BUFFER: usize = 2048;
/// How many packets are read at once, so that a flood on one link does not delay the others.
const AT_ONCE: usize = 32;
const IPV4: u16 = 0x0800;
const BROADCAST: [u8; 6] = [0xff; 6];

pub struct Sockets {
    index: u32,
    udp: UdpSocket,
    /// `None` if this kernel has no packet sockets.
    packets: Option<OwnedFd>,
}

/// A packet that arrived, or why it cannot be read.
pub type Heard = Result<Answer, String>;

impl Sockets {
    pub fn open(link: &Link) -> io::Result<Self> {
        let packets = packet_socket(link).inspect_err(|error| {
            log::warn!("{link}: no packet socket ({error}); only broadcast answers of a DHCP server are received");
        });
        Ok(Self { index: link.index, udp: udp_socket(link)?, packets: packets.ok() })
    }

    pub fn send(&self, packet: &Packet, to: Ipv4Addr) -> io::Result<()> {
        match &self.packets {
            Some(socket) if to.is_broadcast() => {
                let datagram = datagram::write(packet.ciaddr, &packet.encode());
                sys::send_on_link(socket.as_fd(), self.index, IPV4, BROADCAST, &datagram)
            }
            _ => self.udp.send_to(&packet.encode(), SocketAddrV4::new(to, SERVER_PORT)).map(drop),
        }
    }

    /// The packets that have arrived. A broadcast arrives twice, once through each socket.
    pub fn receive(&self) -> Vec<Heard> {
        let packets = (0..AT_ONCE).map_while(|_| self.packets.as_ref().and_then(|socket| self.packet(socket)));
        let ordinary = (0..AT_ONCE).map_while(|_| self.datagram());
        packets.flatten().chain(ordinary).collect()
    }

    fn datagram(&self) -> Option<Heard> {
        let mut buffer = [0; BUFFER];
        loop {
            match self.udp.recv_from(&mut buffer) {
                Ok((length, from)) => {
                    let SocketAddr::V4(from) = from else { continue };
                    return Some(answer(buffer.get(..length).unwrap_or_default(), *from.ip()));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return None, // no packet has arrived, or an ICMP error, after which the question is sent again
            }
        }
    }

    /// `None` if no packet is left. `Some(None)` for a packet that is not for this link.
    fn packet(&self, socket: &OwnedFd) -> Option<Option<Heard>> {
        let (mut buffer, mut control) = ([0; BUFFER], nix::cmsg_space!([u8; AUXILIARY]));
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let received = recvmsg::<LinkAddr>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty()).ok()?;
        let length = received.bytes;
        let is_here = received.address.is_some_and(|from| is_for_link(&from, self.index));
        let auxiliary = received.cmsgs().into_iter().flatten().find_map(|message| match message {
            ControlMessageOwned::Unknown(message) => Some(Auxiliary::read(&message.data_bytes)),
            _ => None,
        });
        let auxiliary = auxiliary.unwrap_or_default();
        if !is_here || auxiliary.is_tagged() {
            return Some(None);
        }
        Some(match datagram::read(buffer.get(..length).unwrap_or_default(), !auxiliary.is_partial()) {
            Ok(Datagram { source, payload }) => Some(answer(payload, source)),
            Err(datagram::Malformed::NotForUs) => None,
            Err(why) => Some(Err(format!("a DHCP answer cannot be read: {why}"))),
        })
    }

    pub fn readable(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.packets.as_ref().map(AsFd::as_fd).into_iter().chain([self.udp.as_fd()])
    }
}

fn answer(bytes: &[u8], from: Ipv4Addr) -> Heard {
    match Packet::decode_with_faults(bytes) {
        Ok((packet, faults)) => Ok(Answer { packet, faults, from }),
        Err(error) => Err(format!("an answer from {from} cannot be read: {error}")),
    }
}

fn udp_socket(link: &Link) -> io::Result<UdpSocket> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Inet, SockType::Datagram, flags, None)?;
    setsockopt(&socket, BindToDevice, &link.name.as_str().into())?;
    setsockopt(&socket, Broadcast, &true)?;
    setsockopt(&socket, ReuseAddr, &true)?;
    sys::attach_filter(socket.as_fd(), &replies_to(link.mac))?;
    bind(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, CLIENT_PORT)))?;
    Ok(UdpSocket::from(socket))
}

/// The socket has no protocol until the filter is set, so that it never gets a packet that the filter would drop.
fn packet_socket(link: &Link) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = net::socket_with(net::AddressFamily::PACKET, SocketType::DGRAM, flags, None)?;
    sys::attach_filter(socket.as_fd(), &answers_to(link.mac))?;
    sys::report_auxiliary_data(socket.as_fd())?;
    sys::bind_to_link(socket.as_fd(), link.index, IPV4)?;
    Ok(socket)
}

const BYTE: u32 = libc::BPF_LD | libc::BPF_B;
const HALF: u32 = libc::BPF_LD | libc::BPF_H;
const WORD: u32 = libc::BPF_LD | libc::BPF_W;
const UDP_HEADER: u32 = 8;
/// The offset of the hardware address in a BOOTP packet.
const CHADDR: u32 = 28;

/// Lets the kernel drop everything but BOOTP replies to this machine, before it wakes the client. In a large rack, all
/// machines get the answers to all others. Offsets count from the IP header.
fn answers_to(mac: HwAddr) -> [libc::sock_filter; 13] {
    const UDP: u32 = 17;
    let [load_op, is_reply, load_high, is_high, load_low, is_low, pass, drop] = reply(mac, libc::BPF_IND);
    let to_drop = |at: u8| 12 - at - 1;
    [
        line(BYTE | libc::BPF_ABS, 0, 9),
        line(EQUAL, to_drop(1), UDP),
        line(libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH, 0, 0), // X: the length of the IP header
        line(HALF | libc::BPF_IND, 0, 2),
        line(EQUAL, to_drop(4), CLIENT_PORT.into()),
        load_op,
        is_reply,
        load_high,
        is_high,
        load_low,
        is_low,
        pass,
        drop,
    ]
}

/// The same for an ordinary socket, where offsets count from the UDP header.
fn replies_to(mac: HwAddr) -> [libc::sock_filter; 8] {
    reply(mac, libc::BPF_ABS)
}

/// Passes a reply to `mac`. `mode` says whether X is the offset of the UDP header.
fn reply(mac: HwAddr, mode: u32) -> [libc::sock_filter; 8] {
    const REPLY: u32 = 2;
    let HwAddr([a, b, c, d, e, f]) = mac;
    let to_drop = |at: u8| 7 - at - 1;
    [
        line(BYTE | mode, 0, UDP_HEADER),
        line(EQUAL, to_drop(1), REPLY),
        line(WORD | mode, 0, UDP_HEADER + CHADDR),
        line(EQUAL, to_drop(3), u32::from_be_bytes([a, b, c, d])),
        line(HALF | mode, 0, UDP_HEADER + CHADDR + 4),
        line(EQUAL, to_drop(5), u32::from_be_bytes([0, 0, e, f])),
        line(libc::BPF_RET | libc::BPF_K, 0, u32::MAX),
        line(libc::BPF_RET | libc::BPF_K, 0, 0),
    ]
}

/// Continues with the next line if the values are equal, and otherwise skips this many lines.
const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;

fn line(code: u32, otherwise: u8, value: u32) -> libc::sock_filter {
    libc::sock_filter { code: u16::try_from(code).unwrap_or_default(), jt: 0, jf: otherwise, k: value }
}

/// A link below a VLAN also gets the VLAN's packets, and a bond's member those of the bond.
fn is_for_link(from: &LinkAddr, index: u32) -> bool {
    let kind = from.pkttype();
    u32::try_from(from.ifindex()) == Ok(index) && kind != libc::PACKET_OTHERHOST && kind != libc::PACKET_OUTGOING
}

/// `struct tpacket_auxdata` (packet(7)).
const AUXILIARY: usize = 20;

#[derive(Default)]
struct Auxiliary {
    status: u32,
    vlan: u16,
}

impl Auxiliary {
    fn read(bytes: &[u8]) -> Self {
        let status = bytes.first_chunk().map_or(0, |status| u32::from_ne_bytes(*status));
        let vlan = bytes.get(16..).and_then(|rest| rest.first_chunk()).map_or(0, |tag| u16::from_ne_bytes(*tag));
        Self { status, vlan }
    }

    /// The network card has removed a tag, but no interface exists for its VLAN. Tag 0 only has a priority.
    fn is_tagged(&self) -> bool {
        const VLAN_VALID: u32 = 1 << 4;
        self.status & VLAN_VALID != 0 && self.vlan & 0xfff != 0
    }

    /// The checksum was left to the sender's network card.
    fn is_partial(&self) -> bool {
        const CHECKSUM_NOT_READY: u32 = 1 << 3;
        self.status & CHECKSUM_NOT_READY != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Interprets the few instructions that the filter uses.
    fn passes(program: &[libc::sock_filter], packet: &[u8]) -> Option<bool> {
        let (mut accumulator, mut x, mut at) = (0_u32, 0_usize, 0_usize);
        let bytes = |from: usize, count: usize| {
            let bytes = packet.get(from..from + count)?;
            Some(bytes.iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte)))
        };
        loop {
            let line = program[at];
            let k = usize::try_from(line.k).unwrap();
            at += 1;
            match u32::from(line.code) {
                0x20 => accumulator = bytes(k, 4)?,
                0x28 => accumulator = bytes(k, 2)?,
                0x30 => accumulator = bytes(k, 1)?,
                0x48 => accumulator = bytes(x + k, 2)?,
                0x50 => accumulator = bytes(x + k, 1)?,
                0x40 => accumulator = bytes(x + k, 4)?,
                0xb1 => x = usize::try_from(bytes(k, 1)? & 0xf).unwrap() * 4,
                0x15 => at += usize::from(if accumulator == line.k { line.jt } else { line.jf }),
                0x06 => return Some(line.k != 0),
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    #[test]
    fn the_filter_passes_only_replies_to_this_machine() {
        const MAC: [u8; 6] = [2, 0, 0xab, 0xcd, 0xff, 1];
        let offer = Packet::request(dhcp::v4::MessageType::Discover, 1, MAC).reply(dhcp::v4::MessageType::Offer);
        let mut packet = datagram::write(Ipv4Addr::new(10, 0, 0, 1), &offer.encode());
        packet[20..24].copy_from_slice(&[0, 67, 0, 68]);
        let program = answers_to(HwAddr(MAC));
        assert_eq!(passes(&program, &packet), Some(true));
        for (case, at, value) in [
            ("TCP", 9, 6),
            ("to the server's port", 23, 67),
            ("a request", 28, 1),
            ("to another machine", 28 + 28 + 5, 2),
            ("to another maker's machine", 28 + 28, 3),
            ("a longer IP header", 0, 0x46),
        ] {
            let mut other = packet.clone();
            other[at] = value;
            assert_eq!(passes(&program, &other), Some(false), "{case}");
        }
        assert_eq!(passes(&program, &packet[..40]), None, "the kernel drops short packets");
        let (ordinary, datagram) = (replies_to(HwAddr(MAC)), &packet[20..]);
        assert_eq!(passes(&ordinary, datagram), Some(true));
        for at in [8, 8 + 28, 8 + 28 + 5] {
            let mut other = datagram.to_vec();
            other[at] ^= 1;
            assert_eq!(passes(&ordinary, &other), Some(false), "byte {at}");
        }
    }

    #[test]
    fn auxiliary_data_shows_tags_and_missing_checksums() {
        let data = |status: u32, tag: u16| {
            let mut bytes = vec![0; AUXILIARY];
            bytes[..4].copy_from_slice(&status.to_ne_bytes());
            bytes[16..18].copy_from_slice(&tag.to_ne_bytes());
            Auxiliary::read(&bytes)
        };
        for (case, status, tag, tagged, partial) in [
            ("plain", 1, 0, false, false),
            ("in VLAN 100", 1 | 1 << 4, 100, true, false),
            ("with a priority only", 1 | 1 << 4, 0xe000, false, false),
            ("from this host", 1 | 1 << 3, 0, false, true),
        ] {
            assert_eq!((data(status, tag).is_tagged(), data(status, tag).is_partial()), (tagged, partial), "{case}");
        }
        assert!(!Auxiliary::read(&[]).is_tagged());
    }
}
