//! What server, boots, client and lab exchange by HTTP and in `packs.json`: one type each.
//!
//! The JSON of each type is written out in `tests/json.rs`.

#![forbid(unsafe_code)]

#[cfg(feature = "http")]
mod attributes;
#[cfg(feature = "http")]
mod audit_line;
#[cfg(feature = "backup")]
pub mod backup;
#[cfg(feature = "http")]
mod boot_step;
#[cfg(feature = "http")]
mod event;
#[cfg(feature = "http")]
mod import;
#[cfg(feature = "http")]
mod intent;
#[cfg(feature = "http")]
mod log_line;
#[cfg(feature = "http")]
mod machine;
pub mod names;
#[cfg(feature = "http")]
mod objects;
pub mod packs;
#[cfg(feature = "http")]
pub mod paths;
pub mod ramdisk;
#[cfg(feature = "http")]
mod rollout;
#[cfg(feature = "serve")]
pub mod serve;

#[cfg(feature = "http")]
pub use attributes::{
    Attributes, Baseboard, Bios, Block, Chassis, Cpu, Link, Memory, Milestone, MissingFirmware, Neighbour, PciDevice, Platform,
    Processor, Product,
};
#[cfg(feature = "http")]
pub use audit_line::AuditLine;
#[cfg(feature = "http")]
pub use boot_step::{BootHistory, BootStep, Diagnosis, LastStep, MachineStep, OwnSteps, READ, StepKind, UNSENT, Verdict};
#[cfg(feature = "http")]
pub use event::{Event, What};
#[cfg(feature = "http")]
pub use import::{Import, ImportedMachine};
#[cfg(feature = "http")]
pub use intent::{Decision, Intent, MachineState, Order, OrderKind};
#[cfg(feature = "http")]
pub use log_line::{LogLine, LogStream, SyslogLine};
#[cfg(feature = "http")]
pub use machine::{Agent, BootState, Booted, Machine, MachineLine};
#[cfg(feature = "http")]
pub use objects::{
    Applied, Cancelled, Change, Changed, HistoryEntry, List, Problem, Queued, RunningAction, WaitPhase, Waiting, WorkflowChange,
    WorkflowOrder, WorkflowOrdered,
};
#[cfg(feature = "http")]
pub use rollout::{Member, MemberState, Rollout, RolloutChange, RolloutOrder, RolloutProgress, RolloutSpec, RolloutState};
