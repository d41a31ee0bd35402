//! HTTP for firmware, iPXE and actions: scripts, programs, and files by ranges.

mod body;
mod download;
mod files;
mod front;
pub mod head;
mod images;
mod range;
mod router;
mod send;

pub use front::{Limits, serve, within};
pub use router::{alone, router};
