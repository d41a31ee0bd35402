//! Images: from a reference in an action to a verified tree of files.

mod auth;
pub mod digest;
pub mod embedded;
mod fetch;
mod layer;
mod layout;
pub mod manifest;
pub mod pace;
pub mod proxy;
pub mod pull;
pub mod reference;
mod registries;
mod registry;
mod request;
pub mod retry;
pub mod signature;
mod sigstore;
pub mod space;
pub mod store;

pub use pull::{PullError, Puller};
pub use registries::Host;
pub use registry::Client;

#[cfg(test)]
mod embedded_tests;
#[cfg(test)]
mod faults_tests;
#[cfg(test)]
mod signature_tests;
