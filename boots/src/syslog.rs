//! Syslog over UDP: lines of kernels, agents and firmware become events.

mod parse;
mod remote;
mod socket;

pub use parse::{Message, parse};
pub use remote::RemoteSink;
pub(crate) use remote::sink;
pub use socket::serve;
