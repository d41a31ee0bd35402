//! A request, with what is known of its network.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;

use dhcp::v4::{CLIENT_PORT, MessageType, Packet, SERVER_PORT};
use model::Mac;
use nix::sys::socket::LinkAddr;

use crate::Config;
use crate::datagram::Arrival;
use crate::dhcp::frame::{Ends, frame};
use crate::dhcp::network::{Link, Mode, Network};
use crate::dhcp::proxy::Port;
use crate::dhcp::route::is_direct;

/// A request that deserves a look at the machine.
pub struct Request {
    /// As they are for most machines.
    pub config: Arc<Config>,
    /// What the settings say about its network.
    pub entry: Option<Network>,
    pub packet: Packet,
    pub mac: Mac,
    pub mode: Mode,
    pub port: Port,
    pub link: Arc<Link>,
    pub arrival: Arrival,
}

pub fn v4(address: SocketAddr) -> SocketAddrV4 {
    match address {
        SocketAddr::V4(address) => address,
        SocketAddr::V6(_) => SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, CLIENT_PORT), // the socket is one of IPv4
    }
}

impl Request {
    /// The reply as a frame to the client's hardware address, if it goes there.
    pub fn frame(&self, reply: &Packet, from: Option<IpAddr>, bytes: &[u8]) -> Option<(Vec<u8>, LinkAddr)> {
        if !is_direct(reply, v4(self.arrival.peer)) {
            return None;
        }
        let link = self.link.ethernet?;
        let own = || self.link.addresses.first().map(|(address, _)| *address);
        let from = if let Some(IpAddr::V4(from)) = from { from } else { own()? };
        let ends = Ends {
            from: (link.addr()?, SocketAddrV4::new(from, SERVER_PORT)),
            to: (reply.mac()?, SocketAddrV4::new(reply.yiaddr, CLIENT_PORT)),
        };
        Some((frame(ends, bytes)?, link))
    }

    pub fn is_first(&self) -> bool {
        self.packet.message_type() == Some(MessageType::Discover)
    }
}
