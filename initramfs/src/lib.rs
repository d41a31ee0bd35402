//! A kernel package and a static `/init` become a kernel and a ramdisk: the same input gives the same bytes.
//!
//! `source` reads the package, `choice` picks the drivers, and `modules` adds what they need. `recipe` says which file goes
//! where, and `compress` fits the archive to a small machine. `build` does it all and measures.

pub mod architecture;
pub mod build;
pub mod choice;
pub mod compress;
pub mod deb;
pub mod depmod;
pub mod elf;
pub mod embed;
pub mod error;
pub mod fat;
pub mod firmware;
pub mod iso;
pub mod kernel;
pub mod listing;
pub mod media;
pub mod modinfo;
pub mod modules;
pub mod output;
pub mod pack;
pub mod profile;
pub mod recipe;
pub mod rescue;
pub mod sbom;
pub mod sign;
pub mod source;
pub mod uki;
pub mod xz;

pub use build::{CaBundle, PackReport, Part, Report, Request, build};
pub use choice::Selection;
pub use error::BuildError;
pub use listing::Listing;
pub use media::Media;
pub use output::Artifact;
pub use profile::Profile;
pub use sign::Signer;
pub use source::KernelSource;
