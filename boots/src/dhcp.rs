//! DHCP, by the mode of the network. In the modes `reservation` and `proxy` an unknown machine gets no answer, so boots does
//! not interfere with another DHCP server.

pub mod advertised;
mod boot;
mod client;
pub mod firmware;
mod frame;
mod heard;
pub mod leasequery;
mod lines;
pub(crate) mod links;
mod network;
mod pool;
mod proxy;
mod respond;
mod route;
mod serve;
mod socket;

pub(crate) use boot::BOOT_SCRIPT;
pub use boot::{Boot, LOCAL_DISK};
pub(crate) use boot::{full_ipxe, script_url};
pub use client::Client;
pub use frame::{Ends, frame};
pub use heard::Heard;
pub use network::{LONGEST_POOL, Link, Mode, Modes, Network, NotASubnet, Pool, Subnet};
pub use pool::{Answer, Change, Changes, JournalError, Lease, Pools, Put, SharedLeases, Stored, read_leases};
pub use proxy::{Port, respond as respond_as_proxy};
pub use respond::{Ignored, respond};
pub use route::{destination, is_direct, pxe_destination};
pub use serve::Server;
pub use socket::Socket;
