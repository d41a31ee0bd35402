//! Every package with its purposes and the reason for it.

use super::Purpose::{self, Bench, Demo, Firmware, Peers, Storm, Test};

pub struct Package {
    pub name: &'static str,
    /// A package that serves the same purpose, such as Docker's.
    pub or: Option<&'static str>,
    pub purposes: &'static [Purpose],
    pub why: &'static str,
}

const ALL: &[Purpose] = &[Demo, Test, Bench];
const AND_STORM: &[Purpose] = &[Demo, Test, Bench, Storm];
const AND_FIRMWARE: &[Purpose] = &[Demo, Test, Bench, Firmware];
const EVERYWHERE: &[Purpose] = &[Demo, Test, Bench, Firmware, Storm];
const TESTS: &[Purpose] = &[Test];
const PEERS: &[Purpose] = &[Test, Bench];
const OF_BOOTS: &[Purpose] = &[Peers];
/// For `cargo lab peers`, whose short form in the suite leaves them out.
const FIRMWARE: &[Purpose] = &[Firmware];
const CLIENTS: &[Purpose] = &[Test, Firmware];

const fn package(purposes: &'static [Purpose], name: &'static str, why: &'static str) -> Package {
    Package { name, or: None, purposes, why }
}

pub const PACKAGES: &[Package] = &[
    package(AND_FIRMWARE, "qemu-system-x86", "the machine"),
    package(AND_FIRMWARE, "ipxe", "network boot programs served by TFTP"),
    package(AND_FIRMWARE, "ipxe-qemu", "the network card's boot ROM"),
    package(AND_STORM, "docker-registry", "the registry that serves the actions"),
    package(ALL, "mmdebstrap", "makes the Debian for the installation"),
    package(ALL, "debian-archive-keyring", "the key for checking Debian"),
    package(ALL, "uidmap", "mmdebstrap without root"),
    package(ALL, "zstd", "compresses the disk image"),
    package(ALL, "fdisk", "partition tables"),
    package(ALL, "e2fsprogs", "makes and reads ext4"),
    package(ALL, "dosfstools", "the EFI system partition"),
    package(ALL, "mtools", "the EFI system partition"),
    package(ALL, "grub-common", "the boot loader"),
    package(ALL, "grub-pc-bin", "the boot loader, BIOS"),
    package(ALL, "grub-efi-amd64-bin", "the boot loader, UEFI"),
    package(AND_FIRMWARE, "busybox-static", "a small action"),
    package(EVERYWHERE, "make", "builds the allocator of the daemons"),
    package(EVERYWHERE, "iproute2", "the private network segment"),
    package(EVERYWHERE, "util-linux", "namespaces"),
    package(ALL, "ca-certificates", "the ramdisk's CA bundle"),
    package(CLIENTS, "ovmf", "UEFI firmware"),
    package(TESTS, "systemd-boot-efi", "the EFI stub of a unified kernel image"),
    package(TESTS, "isolinux", "the ISO's boot loader, BIOS"),
    package(TESTS, "syslinux-common", "the ISO's boot loader, BIOS"),
    package(TESTS, "sbsigntool", "signs for Secure Boot"),
    package(TESTS, "swtpm", "the machine's TPM"),
    package(TESTS, "cpio", "a second reader of the archives"),
    package(PEERS, "skopeo", "a second reader of the images"),
    package(TESTS, "openssl", "certificates for the agent's servers"),
    package(TESTS, "xorriso", "a CD with images"),
    package(TESTS, "qemu-utils", "makes qcow2 images, and reads them to compare"),
    package(TESTS, "lz4", "packs disk images"),
    package(TESTS, "xz-utils", "packs disk images"),
    package(TESTS, "bzip2", "packs disk images"),
    package(TESTS, "gdisk", "reads the partition tables of rootio"),
    package(TESTS, "xfsprogs", "rootio makes XFS with it"),
    package(TESTS, "btrfs-progs", "rootio makes btrfs with it"),
    package(TESTS, "attr", "extended attributes in the tests of archives"),
    package(PEERS, "umoci", "builds images for the agent's conformance tests, and is compared with oci2root"),
    package(PEERS, "crun", "a runtime to compare the agent with"),
    Package { name: "runc", or: Some("containerd.io"), purposes: PEERS, why: "a runtime to compare the agent with" },
    Package { name: "containerd", or: Some("containerd.io"), purposes: PEERS, why: "the agent's other runtime" },
    package(TESTS, "etcd-server", "the store of several servers"),
    package(TESTS, "protobuf-compiler", "builds containerd's client"),
    package(TESTS, "dropbear-bin", "the SSH server of a ramdisk with a rescue shell"),
    package(TESTS, "openssh-client", "logs in to that server"),
    package(TESTS, "adduser", "the user of the Debian package"),
    package(TESTS, "binutils", "strips the program of the Debian package"),
    package(CLIENTS, "systemd", "a DHCP client; checks the units of the Debian package"),
    package(TESTS, "udev", "disk names to compare Thimble's with"),
    package(CLIENTS, "tftp-hpa", "a TFTP client"),
    package(CLIENTS, "dnsmasq-base", "DHCP servers and routers for the network client"),
    package(&[Test, Peers, Firmware], "kea-dhcp4-server", "a DHCP server for the machines, and a peer of boots"),
    package(&[Peers, Firmware], "kea-admin", "perfdhcp, which counts DHCP exchanges and stands for a relay"),
    package(OF_BOOTS, "nginx-light", "a peer of boots"),
    package(OF_BOOTS, "atftpd", "a peer of boots"),
    package(OF_BOOTS, "wrk", "counts HTTP requests"),
    package(&[Test, Peers, Firmware], "curl", "fetches files"),
    package(TESTS, "isc-dhcp-server", "a DHCP server for the machines"),
    package(TESTS, "udhcpd", "a DHCP server for the machines"),
    package(TESTS, "netplan.io", "reads the network settings of the installed system"),
    package(TESTS, "ifupdown", "reads the settings in Debian's form"),
    package(CLIENTS, "isc-dhcp-client", "a DHCP client, which ifupdown uses, too"),
    package(TESTS, "gir1.2-nm-1.0", "reads the settings in NetworkManager's form"),
    package(TESTS, "python3-gi", "reads the settings in NetworkManager's form"),
    package(CLIENTS, "dhcpcd-base", "a DHCP client"),
    package(CLIENTS, "isc-dhcp-relay", "a relay of DHCP"),
    package(CLIENTS, "atftp", "a TFTP client"),
    package(FIRMWARE, "qemu-system-arm", "machines with arm64 firmware"),
    package(FIRMWARE, "qemu-efi-aarch64", "UEFI firmware for arm64"),
    package(FIRMWARE, "u-boot-qemu", "U-Boot for QEMU's machines"),
    package(&[Test, Storm], "nftables", "loses packets, and cuts the power of simulated machines"),
    package(TESTS, "g++", "libFuzzer for the fuzz targets"),
];
