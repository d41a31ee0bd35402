//! A client of etcd, as far as a store needs one: members of which any may be down, limits for each call, and errors that name
//! the members and what to do.

mod address;
#[cfg(feature = "cluster")]
pub mod cluster;
mod error;
mod members;
mod messages;

pub mod rpc {
    #![allow(clippy::all)]
    tonic::include_proto!("etcdserverpb");
}

pub use address::{Address, AddressError};
pub use error::{CallError, Trouble};
pub use members::{Effect, Events, Members, Once, Tls};
pub use messages::{Op, absent, at_revision, delete, end_of, get, never, put, value_of};
