//! A message of a client, with the relays that it came through. Pure.

use std::net::Ipv6Addr;

use dhcp::v4::{self, MessageType};
use dhcp::v6::{self, Message, Relay};
use model::Mac;

use crate::dhcp::Client;

/// The longest identifier of a client (RFC 8415, 11.1).
const LONGEST_DUID: usize = 130;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub message: Message,
    /// The last one first.
    pub relays: Vec<Relay>,
    /// The client's own address on its link.
    pub client: Ipv6Addr,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("it is cut off, or came through more than {} relays", v6::HOP_LIMIT)]
    Broken,
    #[error("the client's identifier has {0} bytes; {LONGEST_DUID} are the most")]
    Identifier(usize),
}

impl Request {
    /// `sender` is the client, or the last relay.
    pub fn decode(bytes: &[u8], sender: Ipv6Addr) -> Result<Self, Malformed> {
        let (relays, message) = v6::unwrap(bytes).ok_or(Malformed::Broken)?;
        let client = relays.last().map_or(sender, |relay| relay.peer);
        match message.options.get(v6::CLIENT_ID).map_or(0, <[u8]>::len) {
            length if length > LONGEST_DUID => Err(Malformed::Identifier(length)),
            _ => Ok(Self { message, relays, client }),
        }
    }

    #[must_use]
    pub fn duid(&self) -> Option<&[u8]> {
        self.message.options.get(v6::CLIENT_ID).filter(|duid| !duid.is_empty())
    }

    /// The machine: as the relay next to it saw it, by its own address, or by its identifier, which may be that of another card.
    #[must_use]
    pub fn mac(&self) -> Option<Mac> {
        let relayed = self.relays.iter().rev().find_map(Relay::client_mac);
        let own = relayed.or_else(|| v6::eui64_mac(self.client).filter(|_| self.client.is_unicast_link_local()));
        own.or_else(|| v6::duid_mac(self.duid()?)).map(Mac::new)
    }

    /// An address of the client's network, if a relay names one. The relay next to the client counts.
    #[must_use]
    pub fn link(&self) -> Option<Ipv6Addr> {
        self.relays.iter().rev().map(|relay| relay.link).find(|link| !link.is_unspecified())
    }

    /// What kind of client it is: the same options as in DHCPv4 have other numbers.
    #[must_use]
    pub fn kind_of_client(&self) -> Client {
        let options = &self.message.options;
        let mac = self.mac().unwrap_or(Mac::new([0; 6]));
        let mut same = v4::Packet::request(MessageType::Discover, 0, mac.bytes());
        let archs: Vec<u8> = options.client_archs().iter().flat_map(|arch| arch.to_be_bytes()).collect();
        if !archs.is_empty() {
            same.options.set(v4::code::CLIENT_ARCH, archs);
        }
        if !options.vendor_class().is_empty() {
            same.options.set(v4::code::VENDOR_CLASS, options.vendor_class());
        }
        if let Some(class) = options.user_classes().first() {
            same.options.set(v4::code::USER_CLASS, *class);
        }
        Client::of(&same)
    }

    /// The name of a message (RFC 8415, 7.3).
    #[must_use]
    pub const fn name_of(kind: u8) -> &'static str {
        match kind {
            v6::SOLICIT => "SOLICIT",
            v6::ADVERTISE => "ADVERTISE",
            v6::REQUEST => "REQUEST",
            v6::CONFIRM => "CONFIRM",
            v6::RENEW => "RENEW",
            v6::REBIND => "REBIND",
            v6::REPLY => "REPLY",
            v6::RELEASE => "RELEASE",
            v6::DECLINE => "DECLINE",
            v6::INFORMATION_REQUEST => "INFORMATION-REQUEST",
            _ => "MESSAGE",
        }
    }
}
