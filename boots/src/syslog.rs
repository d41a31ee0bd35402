//! Syslog by UDP and TCP: lines of kernels, agents, firmware and installed systems become log lines and events.

mod frame;
mod intake;
mod lookups;
mod parse;
mod remote;
mod senders;
mod share;
mod socket;
mod stream;

pub use frame::{Frames, LONGEST};
pub use intake::Intake;
pub use parse::{Message, parse};
pub use remote::RemoteSink;
pub(crate) use remote::sink;
pub use socket::serve;
pub use stream::serve as serve_stream;
