//! What a machine's devices say about themselves, and what follows from it: which modules to load, in which order and
//! with which parameters, and under which names a disk is found.
//!
//! Decisions only: bytes and texts in, values out. `init` reads sysfs, netlink and disks, and acts.
#![forbid(unsafe_code)]

pub mod alias;
pub mod catalogue;
pub mod content;
pub mod disk;
pub mod firmware;
pub mod lists;
pub mod modalias;
pub mod module;
pub mod pattern;
pub mod plan;
pub mod policy;
pub mod uevent;
