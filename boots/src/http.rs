//! HTTP for firmware, iPXE and actions: scripts, programs, and files by ranges.

mod body;
mod certificate;
mod desk;
mod download;
mod files;
mod front;
pub mod head;
mod images;
mod impatient;
mod iso;
mod loaders;
mod metadata;
mod range;
mod router;
mod send;
mod tls;

pub use certificate::{Certificate, CertificateError, Files};
pub use front::{Limits, serve, within};
pub use metadata::router as metadata;
pub use router::{alone, router};
pub use tls::serve_tls;
