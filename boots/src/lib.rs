//! Answers machines that have nothing yet, by DHCP, TFTP, HTTP and syslog, and by router advertisements if configured.
//! Each protocol has a codec (bytes to types), a decision (pure) and a socket (I/O).
//!
//! A [`MachineSource`] says which machine asks and what it boots. [`Events`] carries what happened.

#![forbid(unsafe_code)]

mod beneath;
mod config;
mod datagram;
pub mod dhcp;
pub mod events;
pub mod http;
pub mod images;
mod interface;
pub mod ipxe;
mod machine;
pub mod packs;
mod quota;
pub mod ra;
mod run;
mod server_ca;
pub mod syslog;
pub mod tftp;

pub use config::Config;
pub use events::{Event, Events, LogSink, Milestone};
pub use machine::{
    BootInterface, BootState, CustomBoot, FileSource, Ipxe, Login, MachineSource, Osie, RemoteSource, Reservation, SourceError,
    SourceFuture,
};
pub use run::{BindError, Listen, Sockets, run};
