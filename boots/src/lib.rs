//! Answers machines that have nothing yet, by DHCP, TFTP, HTTP and syslog, and by router advertisements if configured.
//! Each protocol has a codec (bytes to types), a decision (pure) and a socket (I/O).
//!
//! A [`MachineSource`] says which machine asks and what it boots. [`Events`] carries what happened.

#![forbid(unsafe_code)]

mod apart;
mod beneath;
mod boot_files;
mod config;
mod datagram;
pub mod dhcp;
pub mod dhcp6;
pub mod doctor;
mod environment;
pub mod events;
pub mod foreign;
pub mod http;
pub mod images;
mod interface;
pub mod ipxe;
pub mod iso;
pub mod kernels;
pub mod loaders;
mod machine;
pub mod neighbours;
mod netlink;
pub mod packs;
mod places;
mod quota;
pub mod ra;
mod run;
mod server_ca;
mod steps;
pub mod syslog;
pub mod tftp;
mod vrf;

pub use apart::keep_priority;
pub use config::{Config, Current, Metadata, Proof};
pub use events::{Event, Events, LogSink, Milestone};
pub use machine::{
    BootInterface, BootState, CustomBoot, FileSource, Git, HardwareFuture, Ipxe, Login, MachineSource, Osie, Place, PlaceError,
    RaspberryPi, RemoteSource, Reservation, Reservation6, SourceError, SourceFuture, lease_event,
};
pub use run::{BindError, Listen, Sockets, run};
