//! DHCPv4 packets: bytes to types and back (RFC 2131, 2132, 3004, 3046, 3396, 3397, 3442, 4578). No I/O, no clock.
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
