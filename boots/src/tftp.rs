//! TFTP for reading boot programs: RFC 1350 with options (RFC 2347, 2348, 2349) and windows (RFC 7440).

mod content;
mod found;
mod pace;
pub mod packet;
mod request;
mod sender;
mod socket;
mod transfer;

pub use request::{Agreed, Refused, agree};
pub use socket::{Limits, Socket, serve};
pub use transfer::{Step, Transfer};
