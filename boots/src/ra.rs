//! Router advertisements (RFC 4861) that say "there is no IPv6 here": iPXE waits for one before it goes on, up to 16
//! seconds. These have a lifetime of 0 and no prefix: no host uses boots as a router, or makes an address from them.

mod socket;

pub use socket::{Socket, serve};
