//! DHCPLEASEQUERY: a relay that has restarted asks who has an address (RFC 4388). Pure.

use std::net::Ipv4Addr;

use dhcp::v4::{MessageType, Op, Packet, code};
use model::Mac;

use super::respond::is_of_many;

/// What a relay asks for. One of them, because the packet has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Query {
    Address(Ipv4Addr),
    Mac(Mac),
    /// A client identifier.
    Client(Vec<u8>),
}

/// An address that a client has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Active {
    pub address: Ipv4Addr,
    pub mac: Mac,
    pub client: Option<Vec<u8>>,
    /// Seconds until the lease ends.
    pub remaining: u32,
    /// Seconds since the client's last packet, if it is known.
    pub last: Option<u32>,
    /// All addresses of the client, if it has several.
    pub associated: Vec<Ipv4Addr>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Active(Active),
    /// The address is of a pool, and no client has it.
    Unassigned,
    /// The address or the client is unknown here.
    Unknown,
}

impl Query {
    /// `None` for a packet that no relay sent, or that asks for nothing.
    #[must_use]
    pub fn of(packet: &Packet) -> Option<Self> {
        if packet.op != Op::Request || packet.giaddr.is_unspecified() || is_of_many(packet.giaddr) {
            return None;
        }
        if !packet.ciaddr.is_unspecified() {
            return Some(Self::Address(packet.ciaddr));
        }
        let mac = packet.mac().filter(|mac| *mac != [0; 6]).map(|mac| Self::Mac(Mac::new(mac)));
        mac.or_else(|| packet.client_id().filter(|id| !id.is_empty()).map(|id| Self::Client(id.to_vec())))
    }
}

/// The answer, which goes to the relay.
#[must_use]
pub fn respond(server: Ipv4Addr, request: &Packet, answer: &Answer) -> Packet {
    let kind = match answer {
        Answer::Active(_) => MessageType::LeaseActive,
        Answer::Unassigned => MessageType::LeaseUnassigned,
        Answer::Unknown => MessageType::LeaseUnknown,
    };
    let mut reply = request.reply(kind);
    reply.ciaddr = request.ciaddr;
    reply.options.set_ip(code::SERVER_ID, server);
    if let Answer::Active(Active { address, mac, client, remaining, last, associated }) = answer {
        reply.ciaddr = *address;
        reply.set_mac(mac.bytes());
        reply.options.set_u32(code::LEASE_TIME, *remaining);
        if let Some(last) = last {
            reply.options.set_u32(code::LAST_TRANSACTION, *last);
        }
        if let Some(client) = client {
            reply.options.set(code::CLIENT_ID, client.as_slice());
        }
        if associated.len() > 1 {
            reply.options.set_ips(code::ASSOCIATED_IP, associated);
        }
    }
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);
    const MAC: Mac = Mac::new([2, 0, 0, 0, 0, 1]);

    fn ask() -> Packet {
        let mut packet = Packet { htype: 0, hlen: 0, giaddr: [192, 0, 2, 1].into(), xid: 7, ..Packet::default() };
        packet.options.set_u8(code::MESSAGE_TYPE, MessageType::LeaseQuery.byte());
        packet
    }

    #[test]
    fn a_query_is_by_address_mac_or_client_identifier() {
        let mut by_mac = ask();
        by_mac.set_mac(MAC.bytes());
        let mut by_client = ask();
        by_client.options.set(code::CLIENT_ID, [255, 1]);
        for (case, packet, query) in [
            ("by address", Packet { ciaddr: ADDRESS, ..ask() }, Some(Query::Address(ADDRESS))),
            ("by MAC", by_mac, Some(Query::Mac(MAC))),
            ("by client identifier", by_client.clone(), Some(Query::Client(vec![255, 1]))),
            ("of nothing", ask(), None),
            ("not through a relay", Packet { giaddr: Ipv4Addr::UNSPECIFIED, ..by_client.clone() }, None),
            ("through a relay that would be many hosts", Packet { giaddr: [224, 0, 0, 1].into(), ..by_client.clone() }, None),
            ("an answer", Packet { op: Op::Reply, ..by_client }, None),
        ] {
            assert_eq!(Query::of(&packet), query, "{case}");
        }
    }

    #[test]
    fn an_answer_says_who_has_the_address_and_for_how_long() {
        let server = Ipv4Addr::new(192, 0, 2, 250);
        let active = Active {
            address: ADDRESS,
            mac: MAC,
            client: Some(vec![255, 1]),
            remaining: 100,
            last: Some(20),
            associated: vec![ADDRESS, Ipv4Addr::new(192, 0, 2, 10)],
        };
        let request = Packet { ciaddr: ADDRESS, ..ask() };
        let reply = respond(server, &request, &Answer::Active(active.clone()));
        assert_eq!((reply.message_type(), reply.xid, reply.giaddr), (Some(MessageType::LeaseActive), 7, request.giaddr));
        assert_eq!((reply.ciaddr, reply.yiaddr, reply.mac()), (ADDRESS, Ipv4Addr::UNSPECIFIED, Some(MAC.bytes())));
        assert_eq!((reply.lease_time(), reply.options.u32(code::LAST_TRANSACTION)), (Some(100), Some(20)));
        assert_eq!((reply.client_id(), reply.server_id()), (Some(&[255, 1][..]), Some(server)));
        assert_eq!(reply.options.ips(code::ASSOCIATED_IP), active.associated);
        for (answer, kind) in [(Answer::Unassigned, MessageType::LeaseUnassigned), (Answer::Unknown, MessageType::LeaseUnknown)] {
            let reply = respond(server, &request, &answer);
            assert_eq!((reply.message_type(), reply.ciaddr, reply.lease_time()), (Some(kind), ADDRESS, None));
        }
    }
}
