//! Syslog over UDP: what kernels, agents and firmware say, as events.

mod parse;
mod socket;

pub use parse::{Message, parse};
pub use socket::serve;
