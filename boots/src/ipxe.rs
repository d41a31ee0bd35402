//! Network boot programs by architecture, and the script an iPXE runs.

mod nbp;
mod script;
mod text;

pub use nbp::{Arch, base_name, disk_loader, disk_loaders, more_folders, open_asked};
pub use script::{NoScript, Packs, UNKNOWN, auto, https_in, https_query, is_https, ramdisk_folder, unknown};
pub use text::plain;

/// The name of the script that boots makes for a machine, as smee has it.
pub(crate) const SCRIPT: &str = "auto.ipxe";
