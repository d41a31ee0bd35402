//! Syslog over UDP: lines of kernels, agents and firmware become events.

mod parse;
mod socket;

pub use parse::{Message, parse};
pub use socket::serve;
