//! Where a reply goes (RFC 2131 section 4.1). Pure.

use std::net::{Ipv4Addr, SocketAddrV4};

use dhcp::v4::{CLIENT_PORT, MessageType, Packet, SERVER_PORT};

/// `peer` is the sender of the request. A client without an address gets a broadcast: it cannot answer ARP for an
/// address that it does not have yet.
#[must_use]
pub fn destination(reply: &Packet, peer: SocketAddrV4) -> SocketAddrV4 {
    if !reply.giaddr.is_unspecified() {
        return SocketAddrV4::new(reply.giaddr, SERVER_PORT);
    }
    // The client must not use the address that the NAK denies, so this is a broadcast.
    let nak = reply.message_type() == Some(MessageType::Nak);
    if peer.ip().is_unspecified() || nak {
        return SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT); // some firmware sends from another port
    }
    peer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_find_their_way() {
        let (fresh, bound) = (SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68), SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 9), 68));
        let (relay, odd) = (Ipv4Addr::new(10, 1, 0, 1), SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 1024));
        for (case, kind, giaddr, peer, to) in [
            ("a client without address", MessageType::Offer, Ipv4Addr::UNSPECIFIED, fresh, "255.255.255.255:68"),
            ("firmware that sends from another port", MessageType::Offer, Ipv4Addr::UNSPECIFIED, odd, "255.255.255.255:68"),
            ("a renewing client", MessageType::Ack, Ipv4Addr::UNSPECIFIED, bound, "10.0.0.9:68"),
            ("a NAK", MessageType::Nak, Ipv4Addr::UNSPECIFIED, bound, "255.255.255.255:68"),
            ("a relay", MessageType::Offer, relay, SocketAddrV4::new(relay, 67), "10.1.0.1:67"),
            ("a NAK through a relay", MessageType::Nak, relay, SocketAddrV4::new(relay, 67), "10.1.0.1:67"),
        ] {
            let request = Packet { giaddr, ..Packet::default() };
            assert_eq!(destination(&request.reply(kind), peer).to_string(), to, "{case}");
        }
    }
}
