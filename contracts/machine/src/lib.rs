//! What PID 1 and the agent share: exit codes, milestones, the heartbeat, swap, log lines, and every file below
//! `/run/thimble`.

pub mod backoff;
mod chain;
pub mod exit;
pub mod files;
pub mod heartbeat;
pub mod kernel_log;
pub mod manifest;
pub mod milestones;
mod missing_firmware;
mod neighbour;
pub mod network;
pub mod ports;
mod power;
mod said;
pub mod site;
pub mod status;
pub mod swap;
mod sys;
pub mod syslog;

pub use chain::{Chain, chains_in};
pub use milestones::Milestone;
pub use missing_firmware::MissingFirmware;
pub use neighbour::Neighbour;
pub use power::Power;
pub use said::{is_harmless, said};
pub use status::Status;
