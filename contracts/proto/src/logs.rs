//! How the output of actions reaches the server: `thimble.v1.Logs`, a service of Thimble beside Tinkerbell's.
//!
//! A server that has the service says so with each action and each acknowledged report (`OFFER`). Only then does an agent
//! send lines, and repeat the word in its reports, so that the server ignores what also comes by syslog. A server that
//! answers UNIMPLEMENTED does not get lines until it offers to take them again.

mod generated {
    #![allow(clippy::all)]
    tonic::include_proto!("thimble.v1");
}

pub use generated::*;

/// In the answer with an action, in a report, and in the answer to it.
pub const OFFER: &str = "thimble-logs";
/// The limit of a message in bytes. A larger one is refused.
pub const MAX_MESSAGE: usize = 64 << 10;
