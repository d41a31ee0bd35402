//! What relays put around a message (RFC 8415, 9 and 19).

use std::net::Ipv6Addr;

use super::{CLIENT_LINK_LAYER, INTERFACE_ID, Message, Options, RELAY_FORWARD, RELAY_MESSAGE, RELAY_REPLY, RELAY_SOURCE_PORT};

/// How many relays may be in the way (RFC 8415, 7.6).
pub const HOP_LIMIT: usize = 8;
const ETHERNET: [u8; 2] = [0, 1];

/// The header of one relay with its options, without the message in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relay {
    pub hops: u8,
    /// An address of the client's network. Unspecified if the relay leaves that to the interface identifier.
    pub link: Ipv6Addr,
    /// Where the message came from.
    pub peer: Ipv6Addr,
    pub options: Options,
}

impl Relay {
    fn decode(bytes: &[u8]) -> Option<Self> {
        let ([_, hops], rest) = bytes.split_first_chunk::<2>()?;
        let (link, rest) = rest.split_first_chunk::<16>()?;
        let (peer, options) = rest.split_first_chunk::<16>()?;
        Some(Self { hops: *hops, link: (*link).into(), peer: (*peer).into(), options: Options::decode(options) })
    }

    /// The client's MAC, which the first relay saw (RFC 6939).
    pub fn client_mac(&self) -> Option<[u8; 6]> {
        self.options.get(CLIENT_LINK_LAYER)?.strip_prefix(&ETHERNET)?.try_into().ok()
    }

    /// The reply to it around `inner`. It carries what the relay needs to send it on.
    fn reply(&self, inner: &[u8]) -> Vec<u8> {
        let kept = [INTERFACE_ID, RELAY_SOURCE_PORT].into_iter();
        let options = kept.filter_map(|kind| Some((kind, self.options.get(kind)?.to_vec())));
        let options = Options(options.collect()).with(RELAY_MESSAGE, inner);
        [&[RELAY_REPLY, self.hops], &self.link.octets()[..], &self.peer.octets(), &options.encode()].concat()
    }
}

/// The relays of a message, the last one first, and the message of the client. `None` if it is broken, or too many relays
/// had it.
pub fn unwrap(bytes: &[u8]) -> Option<(Vec<Relay>, Message)> {
    let (mut relays, mut bytes) = (Vec::new(), bytes.to_vec());
    while bytes.first() == Some(&RELAY_FORWARD) {
        let mut relay = Relay::decode(&bytes).filter(|_| relays.len() < HOP_LIMIT)?;
        bytes = relay.options.get(RELAY_MESSAGE)?.to_vec();
        relay.options.0.retain(|(kind, _)| *kind != RELAY_MESSAGE);
        relays.push(relay);
    }
    Some((relays, Message::decode(&bytes)?))
}

/// The reply for the way back through these relays.
pub fn wrap(relays: &[Relay], reply: &Message) -> Vec<u8> {
    relays.iter().rev().fold(reply.encode(), |inner, relay| relay.reply(&inner))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v6::{CLIENT_ID, REPLY, SOLICIT};

    fn forwarded(link: Ipv6Addr, options: &Options, inner: &[u8]) -> Vec<u8> {
        let peer = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 5);
        let options = options.clone().with(RELAY_MESSAGE, inner).encode();
        [&[RELAY_FORWARD, 0], &link.octets()[..], &peer.octets(), &options].concat()
    }

    fn solicit() -> Message {
        Message { kind: SOLICIT, transaction: [1, 2, 3], options: Options::default().with(CLIENT_ID, [0, 4, 7]) }
    }

    #[test]
    fn a_message_is_unwrapped_and_its_reply_takes_the_same_way() {
        let link = Ipv6Addr::new(0xfd00, 0x78, 0, 0, 0, 0, 0, 1);
        let near = Options::default().with(INTERFACE_ID, *b"port 7").with(CLIENT_LINK_LAYER, [0, 1, 2, 0, 0, 0, 0, 9]);
        let twice = forwarded(Ipv6Addr::UNSPECIFIED, &Options::default(), &forwarded(link, &near, &solicit().encode()));
        let (relays, message) = unwrap(&twice).unwrap();
        assert_eq!(message, solicit());
        assert_eq!(relays.iter().map(|relay| relay.link).collect::<Vec<_>>(), [Ipv6Addr::UNSPECIFIED, link]);
        assert_eq!(relays.iter().map(Relay::client_mac).collect::<Vec<_>>(), [None, Some([2, 0, 0, 0, 0, 9])]);

        let reply = Message { kind: REPLY, ..solicit() };
        let far = wrap(&relays, &reply);
        let outer = Relay::decode(&far).unwrap();
        let inner = Relay::decode(outer.options.get(RELAY_MESSAGE).unwrap()).unwrap();
        assert_eq!((far.first(), inner.link, inner.options.get(INTERFACE_ID)), (Some(&RELAY_REPLY), link, Some(&b"port 7"[..])));
        assert_eq!(inner.options.get(CLIENT_LINK_LAYER), None, "the reply needs no MAC");
        assert_eq!(inner.options.get(RELAY_MESSAGE), Some(&reply.encode()[..]));
        assert_eq!(wrap(&[], &reply), reply.encode());
    }

    #[test]
    fn broken_and_endless_relaying_is_none() {
        let mut nested = solicit().encode();
        for _ in 0..HOP_LIMIT {
            nested = forwarded(Ipv6Addr::UNSPECIFIED, &Options::default(), &nested);
        }
        assert!(unwrap(&nested).is_some());
        assert_eq!(unwrap(&forwarded(Ipv6Addr::UNSPECIFIED, &Options::default(), &nested)), None, "one relay too many");
        assert_eq!(unwrap(&[RELAY_FORWARD; 33]), None, "cut off");
        let without_message = [&[RELAY_FORWARD, 0], &[0; 32][..]].concat();
        assert_eq!(unwrap(&without_message), None);
    }
}
