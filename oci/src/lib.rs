//! Everything about OCI images: from a reference to a verified tree of files.
//!
//! `reference`, `digest`, `manifest`, `layout`, `signature` and `sigstore` are pure: they parse bytes and check them.
//! `registry` is the client for registries and their mirrors, `archive` and `layer` unpack, and [`Puller`] does all of it
//! in order. All sizes are in bytes.
//!
//! Features: `access` reads what a registry asks for, and `unpack` unpacks archives and layers: these two are for the actions.
//! `client` is the registry client with unpacking, and the only one in the ramdisk. `build` makes images and writes layouts. `push` includes both and uploads.

#[cfg(feature = "unpack")]
pub mod archive;
#[cfg(feature = "build")]
pub mod build;
#[cfg(feature = "access")]
pub mod challenge;
pub mod digest;
#[cfg(feature = "access")]
pub mod insecure;
#[cfg(feature = "unpack")]
pub mod layer;
pub mod layout;
pub mod manifest;
#[cfg(feature = "client")]
mod pull;
pub mod reference;
#[cfg(feature = "client")]
pub mod registry;
#[cfg(feature = "unpack")]
mod remove;
#[cfg(feature = "client")]
pub mod signature;
#[cfg(feature = "client")]
pub mod sigstore;
#[cfg(feature = "unpack")]
pub mod space;

pub use digest::Digest;
#[cfg(feature = "client")]
pub use pull::{Failure, PullError, Puller, embedded, store};
pub use reference::Reference;
#[cfg(feature = "unpack")]
pub use remove::remove_all;
#[cfg(feature = "unpack")]
pub use space::{Free, NoSpace, Resource};

#[cfg(test)]
#[cfg(feature = "client")]
#[path = "../tests/support/registry.rs"]
mod fake_registry;

#[cfg(test)]
#[cfg(feature = "client")]
#[path = "../tests/support/raw.rs"]
mod raw_server;

#[cfg(test)]
#[cfg(feature = "client")]
#[path = "../tests/support/tls.rs"]
mod tls_front;
