//! Names that one program writes and another one looks for.

/// The kernel that `thimble image build` makes, and boots serves unless the settings name another one.
pub const KERNEL: &str = "kernel";
/// The ramdisk beside it.
pub const RAMDISK: &str = "initramfs.cpio.zst";
/// The standard actions; each is the name of an image and the first argument of the program in it.
pub const ACTIONS: [&str; 26] = [
    "archive2disk",
    "burnin",
    "capture",
    "cexec",
    "cloud-init",
    "efi",
    "grub2disk",
    "image2disk",
    "inventory",
    "kexec",
    "luks",
    "lvm",
    "netconfig",
    "oci2disk",
    "oci2root",
    "poweroff",
    "qemuimg2disk",
    "raid",
    "reboot",
    "rootio",
    "secureboot",
    "slurp",
    "syslinux",
    "verify",
    "wipe",
    "writefile",
];
