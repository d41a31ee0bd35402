//! Option 53: what a packet wants or grants.

use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MessageType {
    Discover,
    Offer,
    Request,
    Decline,
    Ack,
    Nak,
    Release,
    Inform,
    /// RFC 4388: a relay asks who has an address. The next three are its answers.
    LeaseQuery,
    LeaseUnassigned,
    LeaseUnknown,
    LeaseActive,
}

impl MessageType {
    pub const ALL: [Self; 12] = [
        Self::Discover,
        Self::Offer,
        Self::Request,
        Self::Decline,
        Self::Ack,
        Self::Nak,
        Self::Release,
        Self::Inform,
        Self::LeaseQuery,
        Self::LeaseUnassigned,
        Self::LeaseUnknown,
        Self::LeaseActive,
    ];

    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.byte() == byte)
    }

    pub fn byte(self) -> u8 {
        match self {
            Self::Discover => 1,
            Self::Offer => 2,
            Self::Request => 3,
            Self::Decline => 4,
            Self::Ack => 5,
            Self::Nak => 6,
            Self::Release => 7,
            Self::Inform => 8,
            Self::LeaseQuery => 10,
            Self::LeaseUnassigned => 11,
            Self::LeaseUnknown => 12,
            Self::LeaseActive => 13,
        }
    }
}

impl fmt::Display for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Discover => "DISCOVER",
            Self::Offer => "OFFER",
            Self::Request => "REQUEST",
            Self::Decline => "DECLINE",
            Self::Ack => "ACK",
            Self::Nak => "NAK",
            Self::Release => "RELEASE",
            Self::Inform => "INFORM",
            Self::LeaseQuery => "LEASEQUERY",
            Self::LeaseUnassigned => "LEASEUNASSIGNED",
            Self::LeaseUnknown => "LEASEUNKNOWN",
            Self::LeaseActive => "LEASEACTIVE",
        })
    }
}
