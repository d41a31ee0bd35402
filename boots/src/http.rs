//! HTTP for firmware, iPXE and actions: scripts, programs, and files by ranges.

mod body;
mod files;
mod images;
mod range;
mod router;

pub use router::{alone, router};
