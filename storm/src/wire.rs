//! The packet socket on the segment: Ethernet frames with DHCP, sent and received for all machines.

use std::collections::HashMap;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use dhcp::v4::{CLIENT_PORT, Packet, SERVER_PORT};
use nix::sys::socket::LinkAddr;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use storm::frame::Datagram;
use tokio::net::UdpSocket;
use tokio::sync::mpsc::UnboundedSender;

const ETHERTYPE_IPV4: u16 = 0x0800;
/// Answers to thousands of machines that come in one moment.
const QUEUE: usize = 4 << 20;
const BROADCAST: [u8; 6] = [0xff; 6];

/// Who hears the answers to a MAC. Machines may have the same one.
type Ears = HashMap<[u8; 6], Vec<UnboundedSender<Packet>>>;

pub struct Wire {
    /// A packet socket. The executor watches it like any other datagram socket.
    socket: UdpSocket,
    ears: Mutex<Ears>,
}

/// Only UDP to the port of DHCP clients. All other traffic of the machines passes here, too.
fn filter() -> [SockFilter; 9] {
    [
        SockFilter::new(0x28, 0, 0, 12),                     // the type of the frame
        SockFilter::new(0x15, 0, 6, 0x0800),                 // IPv4, or else drop
        SockFilter::new(0x30, 0, 0, 23),                     // the protocol
        SockFilter::new(0x15, 0, 4, 17),                     // UDP, or else drop
        SockFilter::new(0xb1, 0, 0, 14),                     // X = length of the IP header
        SockFilter::new(0x48, 0, 0, 16),                     // the destination port
        SockFilter::new(0x15, 0, 1, u32::from(CLIENT_PORT)), // the client's, or else drop
        SockFilter::new(0x06, 0, 0, 0xffff),                 // take
        SockFilter::new(0x06, 0, 0, 0),                      // drop
    ]
}

/// The link layer address of an interface of this namespace.
fn link(interface: &str) -> anyhow::Result<LinkAddr> {
    let addresses = nix::ifaddrs::getifaddrs().context("cannot list the interfaces")?;
    let mut links =
        addresses.filter(|one| one.interface_name == interface).filter_map(|one| one.address?.as_link_addr().copied());
    links.next().with_context(|| format!("there is no interface {interface}"))
}

impl Wire {
    pub fn open(interface: &str) -> anyhow::Result<Self> {
        let all = Protocol::from(i32::from(ETHERTYPE_IPV4.to_be()));
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(all)).context("cannot open a packet socket; is this root?")?;
        socket.attach_filter(&filter()).context("cannot filter the packet socket")?;
        let _ = socket.set_recv_buffer_size(QUEUE); // the host's limit may be lower
        nix::sys::socket::bind(socket.as_raw_fd(), &link(interface)?).with_context(|| format!("cannot bind to {interface}"))?;
        socket.set_nonblocking(true).context("cannot use the packet socket")?;
        let socket = UdpSocket::from_std(socket.into()).context("cannot watch the packet socket")?;
        Ok(Self { socket, ears: Mutex::default() })
    }

    pub fn listen(&self, mac: [u8; 6], ear: UnboundedSender<Packet>) {
        self.ears.lock().unwrap_or_else(PoisonError::into_inner).entry(mac).or_default().push(ear);
    }

    /// From a machine without an address to all.
    pub fn send(&self, packet: &Packet) -> io::Result<()> {
        let payload = packet.encode();
        let datagram = Datagram {
            source: (packet.mac().unwrap_or_default(), Ipv4Addr::UNSPECIFIED, CLIENT_PORT),
            destination: (BROADCAST, Ipv4Addr::BROADCAST, SERVER_PORT),
            payload: &payload,
        };
        let frame = datagram.encode().ok_or(io::ErrorKind::InvalidData)?;
        self.socket.try_send(&frame).map(drop) // a full queue loses the packet, as a switch does
    }

    /// Gives each answer to the machines with its MAC. Ends with an error of the socket only.
    pub async fn receive(&self) -> io::Result<()> {
        let mut buffer = [0; 2048];
        loop {
            let length = self.socket.recv(&mut buffer).await?;
            self.hand_over(buffer.get(..length).unwrap_or_default());
        }
    }

    fn hand_over(&self, frame: &[u8]) {
        let answer = Datagram::decode(frame).and_then(|datagram| Packet::decode(datagram.payload).ok());
        let Some((answer, mac)) = answer.and_then(|answer| answer.mac().map(|mac| (answer, mac))) else { return };
        let ears = self.ears.lock().unwrap_or_else(PoisonError::into_inner);
        for ear in ears.get(&mac).into_iter().flatten() {
            let _ = ear.send(answer.clone()); // a machine that has ended hears nothing
        }
    }
}
