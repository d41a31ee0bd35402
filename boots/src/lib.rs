//! Answers machines that have nothing yet: DHCP, TFTP, HTTP files and scripts, syslog and, if asked, router
//! advertisements. Each protocol has a codec (bytes to types), a decision (pure) and a socket (I/O).
//!
//! Who a machine is and what it boots comes from a [`MachineSource`]; what happened goes out through [`Events`].

#![forbid(unsafe_code)]

mod beneath;
mod config;
pub mod dhcp;
pub mod events;
pub mod http;
pub mod ipxe;
mod machine;
pub mod packs;
mod quota;
pub mod ra;
mod run;
pub mod syslog;
pub mod tftp;

pub use config::Config;
pub use events::{Event, Events, Milestone};
pub use machine::{
    BootState, CustomBoot, FileSource, Ipxe, Machine, MachineSource, Osie, RemoteSource, Reservation, SourceError, SourceFuture,
};
pub use run::{BindError, Listen, Sockets, run};
