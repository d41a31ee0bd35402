//! Everything about OCI images: from a reference to a verified tree of files.
//!
//! `reference`, `digest`, `manifest`, `layout`, `signature` and `sigstore` are pure: bytes to types, and what they say.
//! `registry` asks registries and their mirrors, `layer` unpacks, and [`Puller`] does all of it in order. Where a size or
//! a number of bytes is meant, the unit is a byte.

#![forbid(unsafe_code)]

pub mod digest;
mod layer;
pub mod layout;
pub mod manifest;
mod pull;
pub mod reference;
pub mod registry;
pub mod signature;
pub mod sigstore;
mod space;

pub use digest::Digest;
pub use pull::embedded;
pub use pull::store;
pub use pull::{Failure, PullError, Puller};
pub use reference::Reference;
pub use space::NoSpace;

#[cfg(test)]
#[path = "../tests/support/registry.rs"]
mod fake_registry;
