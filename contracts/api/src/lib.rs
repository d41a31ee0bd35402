//! What server, boots, client and lab exchange by HTTP and in `packs.json`: one type each.
//!
//! The JSON of each type is written out in `tests/json.rs`.

#![forbid(unsafe_code)]

mod attributes;
mod event;
mod machine;
pub mod names;
mod objects;
pub mod packs;
#[cfg(feature = "serve")]
pub mod serve;

pub use attributes::{
    Attributes, Baseboard, Bios, Block, Chassis, Cpu, Link, Memory, Milestone, MissingFirmware, Neighbour, PciDevice, Platform,
    Processor, Product,
};
pub use event::{Event, What};
pub use machine::{Agent, BootState, Booted, Machine};
pub use objects::{Applied, Cancelled, Change, Changed, List, Problem, RunningAction};
