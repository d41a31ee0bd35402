//! Network boot programs by architecture, and the script an iPXE runs.

mod nbp;
mod script;

pub use nbp::{Arch, base_name, file_for, open_asked};
pub use script::{NoScript, Packs, auto, ramdisk, ramdisk_folder};
