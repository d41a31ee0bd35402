//! Names that one program writes and another one looks for.

/// The kernel that `thimble image build` makes, and boots serves unless the settings name another one.
pub const KERNEL: &str = "kernel";
/// The ramdisk beside it.
pub const RAMDISK: &str = "initramfs.cpio.zst";
/// The standard actions; each is the name of an image and the first argument of the program in it.
pub const ACTIONS: [&str; 7] = ["cexec", "image2disk", "kexec", "poweroff", "reboot", "wipe", "writefile"];
