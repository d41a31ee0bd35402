//! Kubernetes' API conventions for the objects of this server, without Kubernetes: what a request asks, what a write makes of
//! an object, and how answers look. Pure: no store, no network, and time is an argument.

mod apply;
pub mod body;
mod check;
pub mod definitions;
pub mod delete;
pub mod discovery;
mod explain;
mod fields;
pub mod openapi;
mod patch;
pub mod present;
pub mod protobuf;
mod query;
pub mod request;
pub mod resources;
pub mod reviews;
pub mod selector;
mod shapes;
pub mod status;
pub mod table;
pub mod watch;
pub mod write;

pub use request::{Call, Request, Verb};
pub use resources::{Family, Resource};
pub use status::Status;
