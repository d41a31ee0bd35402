//! Images: from a reference in an action to a verified tree of files.

mod auth;
pub mod digest;
mod fetch;
mod layer;
pub mod manifest;
mod pull;
pub mod reference;
mod registry;
pub mod retry;
pub mod space;
pub mod store;

pub use pull::{PullError, Puller};
pub use registry::{Client, RequestError};
