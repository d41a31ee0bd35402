//! DHCPv4 packets: bytes to types and back (RFC 2131, 2132, 3004, 3011, 3046, 3396, 3397, 3442, 3527, 4388, 4578, 5107). No I/O, no clock.
//! The server (`boots`) and the client (`pid1`) share it. [`Packet::decode`] survives any bytes.

mod forms;
mod message;
mod options;
mod packet;
mod typed;

pub use forms::{Fault, FaultKind};
pub use message::MessageType;
pub use options::{Options, code};
pub use packet::{DecodeError, EncodeError, MIN_LEN, Op, Packet, Text, TextTooLong};
pub use typed::Route;

/// UDP port a server listens on and a relay agent receives replies on.
pub const SERVER_PORT: u16 = 67;
/// UDP port a client receives replies on.
pub const CLIENT_PORT: u16 = 68;
/// UDP port where a boot server answers clients that have an address (PXE 2.1).
pub const PXE_PORT: u16 = 4011;
