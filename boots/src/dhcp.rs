//! DHCP in reservation mode: a machine we know gets its address and, if it boots from the network, its boot file. A
//! machine we do not know gets silence, so that we never stand in another server's way.

mod client;
mod respond;
mod route;
mod socket;

pub use client::Client;
pub use respond::{Ignored, respond};
pub use route::destination;
pub use socket::{Socket, serve};
