//! Router advertisements (RFC 4861) without IPv6: iPXE waits up to 16 seconds for one before it goes on. This one has a
//! lifetime of 0 and no prefix, so hosts do not use boots as a router or make themselves an address.

mod socket;

pub use socket::{Socket, serve};
