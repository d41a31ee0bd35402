//! The server: it hands out actions and records what happened.
//!
//! `service` is the server as one value; `grpc`, `http` and `apis` are thin edges to it. The decisions are pure: `progress`
//! (what a workflow does next), `plan` (what applying objects writes), `boot` (what a machine boots) and `template`.
//! `change` makes a decision durable.

mod agents;
pub mod apis;
mod backlog;
mod boot;
mod boots;
#[cfg(test)]
mod broken;
mod change;
mod clock;
mod deadlines;
mod discovery;
mod due;
mod enrolment;
mod entrance;
mod events;
pub mod grpc;
mod health;
mod heard;
mod history;
pub mod http;
mod import;
mod intent;
mod known;
mod last_steps;
mod latest;
mod leader;
mod leases;
mod log_servers;
mod logs;
mod machines;
mod metrics;
mod others;
mod percents;
mod plan;
pub mod progress;
mod queue;
mod references;
mod restored;
mod rollout;
mod run;
mod service;
mod several;
mod site;
pub mod store;
pub mod template;
mod turns;
mod unused;
mod v1alpha2;
mod view;
mod wake;
mod work;
mod workflows;

pub use ::logs::Limits as LogLimits;
pub use access::Network;
pub use entrance::Entrance;
pub use events::Reader;
pub use grpc::grpc_service;
pub use health::Serving;
pub use known::Booting;
pub use leases::{LeaseChange, LeaseChanges, StoredLease};
pub use logs::SyslogLine;
pub use machines::OrderError;
pub use metrics::{FAMILIES, Part};
pub use others::Myself;
pub use plan::{rendered, validate};
pub use rollout::RolloutError;
pub use run::{RunError, allow_many_connections, run};
pub use service::{ApplyError, Config, DeleteError, Server};
pub use site::SiteError;
pub use work::{Assignment, CancelError, NoWork, ReportError};
pub use workflows::WorkflowError;
