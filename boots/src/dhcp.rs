//! DHCP in reservation mode. A known machine gets its address and, if it boots from the network, its boot file. An
//! unknown machine gets no answer, so boots never interferes with another DHCP server.

mod client;
mod respond;
mod route;
mod serve;
mod socket;

pub use client::Client;
pub use respond::{Ignored, respond};
pub use route::destination;
pub use serve::serve;
pub use socket::Socket;
