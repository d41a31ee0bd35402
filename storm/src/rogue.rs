//! A DHCP server that interferes: it offers an address to machines that it does not know, and no boot file.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::Context;
use dhcp::v4::{CLIENT_PORT, MessageType, Packet, SERVER_PORT, code};
use socket2::{Domain, Protocol, Socket, Type};
use storm::dice::Dice;
use storm::site;
use tokio::net::UdpSocket;

/// The addresses that it offers: the host's network, which no simulated machine has.
fn offered(mac: [u8; 6]) -> Ipv4Addr {
    let [.., high, low] = mac;
    Ipv4Addr::new(10, 77, high | 128, low)
}

/// The answer to a packet. Pure but for the dice.
fn answer(packet: &Packet, share: f64, dice: &mut Dice) -> Option<Packet> {
    let kind = match packet.message_type()? {
        MessageType::Discover if dice.share() < share => MessageType::Offer,
        MessageType::Request if packet.server_id() == Some(site::ROGUE) => MessageType::Ack,
        _ => return None,
    };
    let mut answer = packet.reply(kind);
    answer.yiaddr = offered(packet.mac()?);
    answer.options.set_ip(code::SERVER_ID, site::ROGUE).set_u32(code::LEASE_TIME, 600);
    answer.options.set_ip(code::SUBNET_MASK, Ipv4Addr::new(255, 254, 0, 0));
    Some(answer)
}

pub async fn serve(interface: &str, share: f64) -> anyhow::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).context("cannot open a socket")?;
    socket.bind_device(Some(interface.as_bytes())).with_context(|| format!("cannot bind to {interface}"))?;
    socket.set_broadcast(true).context("cannot broadcast")?;
    socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, SERVER_PORT).into()).context("cannot open port 67")?;
    socket.set_nonblocking(true).context("cannot use the socket")?;
    let socket = UdpSocket::from_std(socket.into()).context("cannot watch the socket")?;
    let (mut dice, mut buffer) = (Dice::new(1), [0; 2048]);
    loop {
        let (length, _) = socket.recv_from(&mut buffer).await.context("cannot receive")?;
        let Ok(packet) = Packet::decode(buffer.get(..length).unwrap_or_default()) else { continue };
        if let Some(answer) = answer(&packet, share, &mut dice) {
            let to = SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT);
            let _ = socket.send_to(&answer.encode(), to).await; // a packet that is lost is asked for again
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_offers_addresses_without_a_boot_file_and_acknowledges_its_own() {
        let (mut dice, mac) = (Dice::new(1), site::mac(7));
        let mut discover = Packet::request(MessageType::Discover, 9, mac);
        assert_eq!(answer(&discover, 0.0, &mut dice), None);
        let offer = answer(&discover, 1.0, &mut dice).unwrap();
        assert_eq!(
            (offer.boot_file(), offer.server_id(), offer.yiaddr),
            (None, Some(site::ROGUE), Ipv4Addr::new(10, 77, 128, 7))
        );
        discover.options.set_u8(code::MESSAGE_TYPE, MessageType::Request.byte());
        assert_eq!(answer(&discover, 1.0, &mut dice), None, "no server is named");
        discover.options.set_ip(code::SERVER_ID, site::ROGUE);
        assert_eq!(answer(&discover, 0.0, &mut dice).unwrap().message_type(), Some(MessageType::Ack));
    }
}
