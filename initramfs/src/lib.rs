//! A kernel package and a static `/init` become a kernel and a ramdisk: the same input gives the same bytes.
//!
//! `source` reads the package, `modules` chooses the drivers and what they need, `recipe` says which file goes
//! where, `cpio` writes the archive, `compress` fits it to a small machine, `build` does it all and measures.

pub mod build;
pub mod compress;
pub mod cpio;
pub mod deb;
pub mod elf;
pub mod lists;
pub mod modinfo;
pub mod modules;
pub mod recipe;
pub mod source;

pub use build::{BuildError, CaBundle, Part, Report, Request, build};
pub use modules::Profile;
pub use source::KernelSource;
