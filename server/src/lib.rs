//! Hands out actions and remembers what happened.
//!
//! `service` is the server as one value; `grpc` and `http` are thin edges to it. Decisions are pure: `progress` (what a
//! workflow does next), `plan` (what applying objects writes), `machine` (what a machine boots), `template`.

pub mod access;
pub mod agents;
pub mod events;
pub mod grpc;
pub mod http;
pub mod machine;
pub mod plan;
pub mod progress;
mod run;
pub mod service;
pub mod store;
pub mod template;
pub mod view;
mod work;

pub use access::Network;
pub use events::{Event, What};
pub use grpc::grpc_service;
pub use machine::{BootState, Machine};
pub use plan::Changed;
pub use run::{RunError, run};
pub use service::{Applied, ApplyError, Config, DeleteError, Server};
pub use work::{Assignment, NoWork, ReportError};
