//! DHCPv6 (RFC 8415), by the mode of the network. Without settings only machines whose Hardware has an IPv6 address get answers,
//! so boots does not interfere with another server.
//!
//! A machine is known by its MAC: a relay names it, the link-local address is made from it, or the DUID has it.

mod boot;
mod duid;
mod grant;
mod lines;
pub(crate) mod links;
mod network;
mod request;
mod respond;
mod serve;
mod socket;

pub use duid::{DuidError, open as open_duid};
pub use grant::{Grant, Place, grant};
pub use links::{Link, Links, is_reachable};
pub use network::{Advertised, Mode, Network, Networks, NotASubnet, Subnet};
pub use request::{Malformed, Request};
pub use respond::{Facts, Ignored, respond};
pub use serve::Server;
pub use socket::Socket;
