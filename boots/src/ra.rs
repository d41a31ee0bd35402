//! Router advertisements (RFC 4861) that say "there is no IPv6 here": iPXE waits for one before it goes on, up to 16
//! seconds. Ours has a lifetime of 0 and no prefix, so no host takes us for a router or makes itself an address.

mod packet;
mod socket;

pub use packet::{advertisement, is_solicitation};
pub use socket::{Socket, serve};
