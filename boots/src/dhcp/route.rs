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

/// The hardware type of Ethernet (RFC 1700).
const ETHERNET: u8 = 1;

/// Whether a reply goes to the client's hardware address and to `yiaddr`: the client has no address, there is no relay, and the
/// client did not ask for a broadcast.
#[must_use]
pub fn is_direct(reply: &Packet, peer: SocketAddrV4) -> bool {
    let gives_address =
        matches!(reply.message_type(), Some(MessageType::Offer | MessageType::Ack)) && !reply.yiaddr.is_unspecified();
    let has_none = peer.ip().is_unspecified() && reply.ciaddr.is_unspecified() && reply.giaddr.is_unspecified();
    gives_address && has_none && !reply.wants_broadcast() && reply.htype == ETHERNET
}

/// Where an answer of port 4011 goes: to the port that asked, because EDK2 asks from 4011 and iPXE from 68.
#[must_use]
pub fn pxe_destination(reply: &Packet, peer: SocketAddrV4) -> SocketAddrV4 {
    match (peer.ip().is_unspecified(), reply.ciaddr.is_unspecified()) {
        (false, _) => peer,
        (true, false) => SocketAddrV4::new(reply.ciaddr, peer.port()),
        (true, true) => SocketAddrV4::new(Ipv4Addr::BROADCAST, peer.port()),
    }
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

    #[test]
    fn only_a_client_that_allows_it_gets_its_address_by_unicast() {
        let (none, some) = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::new(10, 0, 0, 9));
        let ask = |edit: fn(&mut Packet)| {
            let mut request = Packet::request(MessageType::Discover, 1, [2, 0, 0, 0, 0, 9]);
            edit(&mut request);
            request
        };
        for (case, request, kind, yiaddr, peer, expected) in [
            ("an offer", ask(|_| {}), MessageType::Offer, some, none, true),
            ("a lease", ask(|_| {}), MessageType::Ack, some, none, true),
            ("it wants a broadcast", ask(|asked| asked.set_wants_broadcast(true)), MessageType::Offer, some, none, false),
            ("a proxy's offer", ask(|_| {}), MessageType::Offer, none, none, false),
            ("a NAK", ask(|_| {}), MessageType::Nak, some, none, false),
            ("it has an address", ask(|_| {}), MessageType::Ack, some, some, false),
            ("a relay", ask(|asked| asked.giaddr = Ipv4Addr::new(10, 1, 0, 1)), MessageType::Offer, some, none, false),
            ("another kind of link", ask(|asked| asked.htype = 32), MessageType::Offer, some, none, false),
        ] {
            let reply = Packet { yiaddr, ..request.reply(kind) };
            assert_eq!(is_direct(&reply, SocketAddrV4::new(peer, 68)), expected, "{case}");
        }
    }
}
