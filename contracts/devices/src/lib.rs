//! What a machine's devices say about themselves, and what follows from it: the modules to load, their order and
//! parameters, and the names of a disk.
//!
//! Decisions only: bytes and texts in, values out. PID 1 reads sysfs, netlink and disks, and acts.
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
pub mod spare;
pub mod uevent;
