//! What a machine and a network say to each other before the machine has an address: DHCPv4, DHCPv6 and router advertisements.
//!
//! Bytes to types and back, with no I/O and no clock. A server (`boots`) and a client (`pid1`) share it. Every decoder
//! survives any bytes.

#![forbid(unsafe_code)]

pub mod router;
pub mod v4;
pub mod v6;
