//! A misbehaving DHCP server in place of boots': it answers late, twice, or while another server interferes.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};

use anyhow::{Context, Result};
use dhcp::v4::{MessageType, Packet, SERVER_PORT, code};
use rustix::net::{AddressFamily, SocketType, bind, socket, sockopt};

use crate::segment;

/// The server that interferes.
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 66);
/// The address that it gives out, from which nothing can be reached.
const NOWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);
const MASK: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 0);
const LEASE_SECONDS: u32 = 3600;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Ignores this many DISCOVERs.
    Late(u32),
    Twice,
    /// Another server refuses and then grants the request to this one.
    Crossed,
    /// Another server offers first, and nothing can be reached from its address.
    Outrun,
}

/// Answers on the segment until the lab's process ends.
pub fn start(manner: Manner, address: Ipv4Addr) -> Result<()> {
    let descriptor = socket(AddressFamily::INET, SocketType::DGRAM, None).context("cannot open a socket")?;
    sockopt::set_socket_reuseaddr(&descriptor, true).context("cannot share the DHCP port")?;
    nix::sys::socket::setsockopt(&descriptor, nix::sys::socket::sockopt::BindToDevice, &segment::BRIDGE.into())
        .context("cannot use the bridge")?;
    bind(&descriptor, &SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, SERVER_PORT)).context("cannot open the DHCP port")?;
    let socket = UdpSocket::from(descriptor);
    socket.set_broadcast(true).context("cannot broadcast")?;
    std::thread::spawn(move || {
        let (mut buffer, mut discovers) = ([0; 1500], 0);
        while let Ok((length, _)) = socket.recv_from(&mut buffer) {
            let Some(Ok(request)) = buffer.get(..length).map(Packet::decode) else { continue };
            discovers += u32::from(request.message_type() == Some(MessageType::Discover));
            for answer in answers(manner, discovers, &request, address) {
                let to = SocketAddrV4::new(Ipv4Addr::BROADCAST, dhcp::v4::CLIENT_PORT);
                if let Err(error) = socket.send_to(&answer.encode(), to) {
                    eprintln!("dhcp: cannot answer: {error}");
                }
            }
        }
    });
    Ok(())
}

/// The answers in the order of sending. `discovers` includes this one.
fn answers(manner: Manner, discovers: u32, request: &Packet, address: Ipv4Addr) -> Vec<Packet> {
    let ours = |kind| grant(request, kind, segment::HOST, address);
    let others = |kind| grant(request, kind, OTHER, NOWHERE);
    let asked = request.server_id();
    match (request.message_type(), manner) {
        (Some(MessageType::Discover), Manner::Late(unheard)) if discovers <= unheard => Vec::new(),
        (Some(MessageType::Discover), Manner::Twice) => vec![ours(MessageType::Offer), ours(MessageType::Offer)],
        (Some(MessageType::Discover), Manner::Outrun) => vec![others(MessageType::Offer), ours(MessageType::Offer)],
        (Some(MessageType::Discover), _) => vec![ours(MessageType::Offer)],
        (Some(MessageType::Request), Manner::Outrun) if asked == Some(OTHER) => vec![others(MessageType::Ack)],
        (Some(MessageType::Request), Manner::Twice) => vec![ours(MessageType::Ack), ours(MessageType::Ack)],
        (Some(MessageType::Request), Manner::Crossed) => {
            vec![others(MessageType::Nak), others(MessageType::Ack), ours(MessageType::Ack)]
        }
        (Some(MessageType::Request), _) => vec![ours(MessageType::Ack)],
        _ => Vec::new(),
    }
}

fn grant(request: &Packet, kind: MessageType, server: Ipv4Addr, address: Ipv4Addr) -> Packet {
    let mut answer = request.reply(kind);
    answer.options.set_ip(code::SERVER_ID, server);
    if kind != MessageType::Nak {
        answer.yiaddr = address;
        answer.options.set_ip(code::SUBNET_MASK, MASK);
        answer.options.set_u32(code::LEASE_TIME, LEASE_SECONDS);
        answer.options.set_ips(code::ROUTERS, &[server]);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 101);

    fn kinds(manner: Manner, discovers: u32, kind: MessageType) -> Vec<(Option<MessageType>, Option<Ipv4Addr>)> {
        let request = Packet::request(kind, 7, [2, 0, 0, 0, 0, 1]);
        let said = answers(manner, discovers, &request, GIVEN);
        said.iter().map(|answer| (answer.message_type(), answer.server_id())).collect()
    }

    #[test]
    fn manners_differ() {
        use MessageType::{Ack, Discover, Nak, Offer, Request};
        let (boots, others) = (Some(segment::HOST), Some(OTHER));
        for (case, manner, discovers, kind, expected) in [
            ("not heard", Manner::Late(2), 2, Discover, vec![]),
            ("answered at last", Manner::Late(2), 3, Discover, vec![(Some(Offer), boots)]),
            ("two offers", Manner::Twice, 1, Discover, vec![(Some(Offer), boots), (Some(Offer), boots)]),
            (
                "refused by the other server",
                Manner::Crossed,
                1,
                Request,
                vec![(Some(Nak), others), (Some(Ack), others), (Some(Ack), boots)],
            ),
            ("the other server is first", Manner::Outrun, 1, Discover, vec![(Some(Offer), others), (Some(Offer), boots)]),
        ] {
            assert_eq!(kinds(manner, discovers, kind), expected, "{case}");
        }
    }
}
