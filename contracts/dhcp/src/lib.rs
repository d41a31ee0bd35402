//! What gives a machine its address: the packets of DHCPv4, DHCPv6 and router advertisements.
//!
//! Bytes to types and back, with no I/O and no clock. The server (`boots`) and the client (`pid1`) share it. Every
//! decoder survives any bytes.

#![forbid(unsafe_code)]

mod name;
pub mod router;
pub mod v4;
pub mod v6;

pub use name::{NameFault, Names, domain_names};
