//! The pages, in the order of [`crate::ACTIONS`].

use super::Need::{Default, Optional, Required};
use super::{Need, Page, Variable};

const fn variable(name: &'static str, need: Need, meaning: &'static str) -> Variable {
    Variable { name, meaning, need }
}

const DEST_DISK: Variable = variable("DEST_DISK", Required, DEVICE);
const BLOCK_DEVICE: Variable = variable("BLOCK_DEVICE", Required, DEVICE);
const DEVICE: &str = "path of it, or a selector such as disk:transport=nvme,size>=200G,smallest";
const FS_TYPE: Variable = variable("FS_TYPE", Required, "its file system, such as ext4");
const IMG_FORMAT: Variable = variable("IMG_FORMAT", Default("auto"), "raw: write the unpacked data as it is, whatever it is");
const GROW: Variable =
    variable("GROW", Default("none"), "last, or the number of the last partition: it takes the rest of the disk");
const COMPRESSED: Variable =
    variable("COMPRESSED", Optional, "false: unpack nothing; true: refuse what is not packed; else the first bytes decide");
const RETRY: Variable = variable("RETRY_DURATION_MINUTES", Default("10"), "how long no data may arrive before the action fails");
const PROGRESS: Variable = variable("PROGRESS_INTERVAL_SECONDS", Default("3"), "time between two lines of progress");
const CERT_FILE: Variable = variable("SSL_CERT_FILE", Optional, "certificates to trust, as PEM");
const CERT_DIR: Variable = variable("SSL_CERT_DIR", Optional, "folders of them, with : between them");
const PROXY: Variable =
    variable("http_proxy", Optional, "proxy for http://; also https_proxy, all_proxy, no_proxy, and in capitals");
const DEST_PATH: Variable = variable("DEST_PATH", Default("/"), "the folder in it, which is made if it is missing");
const OCI_URL: Variable = variable("IMG_URL", Required, "REGISTRY/NAME:TAG or @DIGEST; with http:// before it, without TLS");
const USERNAME: Variable = variable("REGISTRY_USERNAME", Optional, "the login at the registry");
const PASSWORD: Variable = variable("REGISTRY_PASSWORD", Optional, "its password");
const SKIP_VERIFY: Variable = variable("SKIP_VERIFY", Default("false"), "true: accept every certificate of the registry");

const SOURCE_DISK: Variable = variable("SOURCE_DISK", Required, DEVICE);

const DEVICES: Variable = variable("DEVICES", Required, "disks and partitions, with spaces between them; selectors, too");
const FORCE: Variable = variable("FORCE", Default("false"), "true: erases what is on them");

pub const PAGES: &[Page] = &[
    Page {
        action: "archive2disk",
        about: "Unpacks a tar archive (plain, gzip, xz, zstd, bzip2, lz4, lzma) onto a file system of the disk while it is downloaded.",
        dry_run: true,
        variables: &[
            variable("ARCHIVE_URL", Required, "http://, https:// or file:// URL, or a path; several URLs are mirrors"),
            variable("ARCHIVE_TYPE", Optional, "accepted: tar, targz, and so on; the first bytes decide"),
            variable("TARFILE_CHECKSUM", Optional, "sha256:HEX or sha512:HEX, of the archive before or after its compression"),
            variable("INSECURE_NO_TARFILE_CHECKSUM_VERIFICATION", Default("false"), "true: TARFILE_CHECKSUM is not needed"),
            DEST_DISK,
            FS_TYPE,
            DEST_PATH,
            variable("HTTP_CLIENT_TIMEOUT_MINUTES", Default("5"), "how long no data may arrive before the action fails"),
            PROGRESS,
            CERT_FILE,
            CERT_DIR,
            PROXY,
        ],
    },
    Page {
        action: "burnin",
        about: "Tests processors, memory and a disk for some time. A fault, or less than a limit, fails the action.",
        dry_run: true,
        variables: &[
            variable("DURATION_SECONDS", Default("60"), "of each test"),
            variable("CPU", Default("true"), "false: the processors are not tested"),
            variable("MEMORY_PERCENT", Default("50"), "how much of the free memory is tested; 0: none"),
            variable("DEST_DISK", Optional, DEVICE),
            variable("DISK_WRITE", Optional, "erase: the disk is written, too, and loses all data"),
            variable("MIN_MEMORY_MBS", Optional, "the least speed in MB/s"),
            variable("MIN_DISK_READ_MBS", Optional, "the least speed in MB/s"),
            variable("MIN_DISK_WRITE_MBS", Optional, "the least speed in MB/s"),
            variable("MAX_CELSIUS", Optional, "of the hottest sensor at the end"),
            variable("MAX_CORRECTED_ERRORS", Optional, "of memory; errors that were not corrected always fail"),
        ],
    },
    Page {
        action: "capture",
        about: "Makes an image of a disk, which image2disk installs again. The image's SHA-256 goes beside it.",
        dry_run: true,
        variables: &[
            SOURCE_DISK,
            variable("DEST_URL", Required, "http:// or https:// URL that takes PUT, or the absolute path of a file"),
            variable("IMG_FORMAT", Default("raw.zst"), "qcow2 is the other one, and the default for names that end with .qcow2"),
            variable("LEVEL", Default("3"), "of zstd, 1 to 6"),
            variable("COPY_FREE", Default("false"), "true: blocks that no file uses are copied, too"),
            variable("PROGRESS_INTERVAL_SECONDS", Default("3"), "time between two lines of progress"),
        ],
    },
    Page {
        action: "cexec",
        about: "Runs a command with a file system of the disk mounted, or inside of it.",
        dry_run: true,
        variables: &[
            BLOCK_DEVICE,
            FS_TYPE,
            variable("CMD_LINE", Required, "the command; without an interpreter, ; and spaces split it"),
            variable("CHROOT", Optional, "any value: run it inside of the file system"),
            variable("DEFAULT_INTERPRETER", Optional, "such as /bin/sh -c; it gets the whole line"),
            variable("UPDATE_RESOLV_CONF", Default("false"), "true: the command finds the action's name servers"),
            variable("MOUNT_OPTIONS", Optional, "options of the file system, such as subvol=@"),
            variable("JSON_OUTPUT", Default("false"), "true: the action's own lines are JSON; JSON_OUTOUT is the same"),
        ],
    },
    Page {
        action: "cloud-init",
        about: "Tells the installed system's cloud-init where its data is, and writes the data onto the disk.",
        dry_run: true,
        variables: &[
            DEST_DISK,
            FS_TYPE,
            variable("DATASOURCE", Default("nocloud"), "ec2: nothing but METADATA_URL is written, and asked at each boot"),
            variable("METADATA_URL", Optional, "where the metadata is served; nocloud fetches the data from there now"),
            variable("META_DATA", Optional, "content of meta-data; without it an id made of the machine's UUID"),
            variable("USER_DATA", Optional, "content of user-data"),
            variable("VENDOR_DATA", Optional, "content of vendor-data"),
            variable("NETWORK_CONFIG", Optional, "content of network-config, or learned: the network of this machine"),
        ],
    },
    Page {
        action: "efi",
        about: "Lists, makes, deletes and orders the boot entries of UEFI firmware.",
        dry_run: true,
        variables: &[
            variable("OPERATION", Required, "list, create, delete, order or next"),
            variable("LABEL", Optional, "create: the entry's name"),
            variable("LOADER", Optional, "create: the file on the system partition, such as /EFI/debian/shimx64.efi"),
            variable("DEST_DISK", Optional, "create: path of the disk, or a selector"),
            variable("PARTITION", Optional, "create: its number; without it the disk's only EFI system partition"),
            variable("ARGUMENTS", Optional, "create: what the loader gets"),
            variable("BOOT_ORDER", Default("first"), "create: last or none"),
            variable("ENTRIES", Optional, "delete, order, next: numbers or labels with commas between them; * ends a label"),
            variable("EFIVARFS_PATH", Default("/sys/firmware/efi/efivars"), "the variables' folder"),
        ],
    },
    Page {
        action: "grub2disk",
        about: "Installs GRUB for the system on a partition, by the grub-install of this image or of that system.",
        dry_run: true,
        variables: &[
            variable("GRUB_INSTALL_PATH", Required, "the disk that the machine boots from, as path or selector"),
            variable("GRUB_DISK", Required, "the partition with the system, as path or selector"),
            FS_TYPE,
            variable("GRUB_TARGET", Optional, "GRUB's platform; i386-pc, or with EFI_PARTITION that of UEFI"),
            variable("EFI_PARTITION", Optional, "the EFI system partition: GRUB is installed for UEFI, as EFI/BOOT"),
            variable("BOOT_PARTITION", Optional, "the partition that the system mounts at /boot, with its kernels"),
            variable("BOOT_FS_TYPE", Optional, "the file system of BOOT_PARTITION; FS_TYPE"),
            variable("CMD_LINE", Optional, "the kernel's arguments in the menu that a system without grub-mkconfig gets"),
        ],
    },
    Page {
        action: "image2disk",
        about: "Writes a disk image onto a disk, and nothing but a disk image.",
        dry_run: true,
        variables: &[
            variable("IMG_URL", Required, "http://, https://, oci:// or file:// URL, or a path; several web URLs are mirrors"),
            DEST_DISK,
            variable(
                "COMPRESSED",
                Optional,
                "false: unpack nothing; true: refuse what is not packed; else the first bytes decide",
            ),
            variable("IMG_FORMAT", Default("auto"), "raw: write the unpacked data as it is, whatever it is"),
            variable("IMG_SHA256", Optional, "64 hexadecimal digits, of the file as it is downloaded"),
            variable("IMG_CHECKSUM", Optional, "sha256:HEX or sha512:HEX of that file, or the URL of a list such as SHA256SUMS"),
            variable("IMG_CHECKSUM_KEY", Optional, "public key in PEM, or its path: the list must be signed by it"),
            variable("IMG_CHECKSUM_SIGNATURE", Optional, "URL of that signature; without it the list's URL with .sig"),
            variable(
                "GROW",
                Default("none"),
                "last (or true), or the number of the last partition: it takes the rest of the disk",
            ),
            variable("GROW_FS", Default("false"), "true: its file system grows, too (ext4, XFS, btrfs)"),
            variable("DISCARD", Default("false"), "true: the disk is discarded before it is written"),
            variable("RETRY_ENABLED", Default("true"), "false: the first failure of the network ends the action"),
            variable("RETRY_DURATION_MINUTES", Default("10"), "how long no data may arrive before the action fails"),
            variable("PROGRESS_INTERVAL_SECONDS", Default("3"), "time between two lines of progress"),
            variable("TEXT_LOGGING", Optional, "accepted; the output is always text"),
            variable("REGISTRY_USERNAME", Optional, "for an oci:// URL; with REGISTRY_PASSWORD"),
            variable("REGISTRY_PASSWORD", Optional, "its password or token"),
            variable("INSECURE_REGISTRIES", Optional, "registries and networks without a valid certificate or without TLS"),
            variable("SKIP_VERIFY", Default("false"), "true: any certificate of the registry is accepted"),
            variable("SSL_CERT_FILE", Optional, "certificates to trust, as PEM"),
            variable("SSL_CERT_DIR", Optional, "folders of them, with : between them"),
            variable("http_proxy", Optional, "proxy for http://; also https_proxy, all_proxy, no_proxy, and in capitals"),
        ],
    },
    Page {
        action: "inventory",
        about: "Prints what the machine is made of as JSON: processors, memory, disks, network, PCI, DMI and LLDP.",
        dry_run: true,
        variables: &[variable("DEST_URL", Optional, "http:// or https:// URL that takes PUT, or the absolute path of a file")],
    },
    Page {
        action: "kexec",
        about: "Loads the installed system's kernel, which starts when the server has acknowledged the success.",
        dry_run: true,
        variables: &[
            BLOCK_DEVICE,
            FS_TYPE,
            variable("KERNEL_PATH", Optional, "the kernel; without it GRUB's menu names it"),
            variable("INITRD_PATH", Optional, "its initrd"),
            variable("CMD_LINE", Optional, "its arguments; without it those of GRUB's menu"),
            variable("GRUBCFG_PATH", Default("/boot/grub/grub.cfg"), "GRUB's menu"),
        ],
    },
    Page {
        action: "luks",
        about: "Encrypts a disk or partition by LUKS2, and opens it for the actions that follow. Needs cryptsetup.",
        dry_run: true,
        variables: &[
            DEST_DISK,
            variable("PASSPHRASE", Required, "unless KEY_FILE is set"),
            variable("KEY_FILE", Optional, "file with the key, all of it, in place of PASSPHRASE"),
            variable("NAME", Default("root"), "the opened device is /dev/mapper/NAME"),
            variable("PBKDF", Default("argon2id"), "or pbkdf2; argon2id uses at most 32 MiB"),
            variable("TPM2", Default("false"), "true: the TPM opens it, too; needs systemd-cryptenroll or clevis"),
            variable("TPM2_PCRS", Default("7"), "registers of the TPM that must not change, with , between them"),
            FORCE,
        ],
    },
    Page {
        action: "lvm",
        about: "Makes a volume group of disks or partitions, and volumes in it. Needs LVM.",
        dry_run: true,
        variables: &[
            DEVICES,
            variable("VG", Required, "name of the group"),
            variable("VOLUMES", Required, "such as: swap:4G root:20G home:100%FREE"),
            FORCE,
        ],
    },
    Page {
        action: "netconfig",
        about: "Gives the installed system the network that this machine learned.",
        dry_run: true,
        variables: &[
            DEST_DISK,
            FS_TYPE,
            variable(
                "NETCONFIG",
                Default("auto"),
                "netplan, NetworkManager, ifupdown, ifcfg or networkd; auto: what the target has",
            ),
            variable("NETWORK_FOLDER", Default("/run/thimble/network"), "where the files of the learned network are"),
        ],
    },
    Page {
        action: "oci2disk",
        about: "Writes a disk image that a registry has, as a file of an OCI artifact, onto a disk.",
        dry_run: true,
        variables: &[
            OCI_URL,
            variable("OCI_FILE", Optional, "the title of one of its files, if it has several"),
            DEST_DISK,
            USERNAME,
            PASSWORD,
            SKIP_VERIFY,
            COMPRESSED,
            IMG_FORMAT,
            GROW,
            RETRY,
            PROGRESS,
            CERT_FILE,
            CERT_DIR,
            PROXY,
        ],
    },
    Page {
        action: "oci2root",
        about: "Unpacks the root file system of an OCI image onto a file system of the disk while it is pulled.",
        dry_run: true,
        variables: &[
            OCI_URL,
            DEST_DISK,
            FS_TYPE,
            DEST_PATH,
            USERNAME,
            PASSWORD,
            SKIP_VERIFY,
            RETRY,
            PROGRESS,
            CERT_FILE,
            CERT_DIR,
            PROXY,
        ],
    },
    Page {
        action: "poweroff",
        about: "Switches the machine off when the server has acknowledged the success. Needs the volume /worker:/worker.",
        dry_run: true,
        variables: &[],
    },
    Page {
        action: "qemuimg2disk",
        about: "Writes a qcow2 or raw disk image onto a disk. It is image2disk under the variables of Tinkerbell's qemuimg2disk.",
        dry_run: true,
        variables: &[
            variable("IMG_URL", Required, "http://, https:// or file:// URL, or a path; several URLs are mirrors"),
            DEST_DISK,
            variable("FORMAT", Default("host_device"), "of the output; raw is the same"),
            variable("EXTRA_ARGS", Optional, "of qemu-img; only those about speed are accepted, and ignored"),
        ],
    },
    Page {
        action: "raid",
        about: "Makes one disk of several, by the kernel's md. Needs mdadm.",
        dry_run: true,
        variables: &[
            DEVICES,
            variable("LEVEL", Required, "0, 1, 4, 5, 6 or 10"),
            variable("ARRAY", Default("/dev/md0"), "the new device"),
            variable("NAME", Default("thimble"), "its name in the superblocks"),
            variable("METADATA", Default("1.2"), "or 1.0, with which a member of level 1 looks like a plain disk to firmware"),
            variable("SPARES", Default("0"), "how many of the devices are spares"),
            FORCE,
        ],
    },
    Page {
        action: "reboot",
        about: "Restarts the machine when the server has acknowledged the success. Needs the volume /worker:/worker.",
        dry_run: true,
        variables: &[],
    },
    Page {
        action: "rootio",
        about: "Partitions, formats or mounts the disks as the machine's metadata says: rootio partition, format, mount, wipe or version.",
        dry_run: true,
        variables: &[
            variable("MIRROR_HOST", Required, "the host of the metadata service; not needed with JSON_FILE"),
            variable("METADATA_SERVICE_PORT", Default("50061"), "its port"),
            variable("JSON_FILE", Optional, "absolute path of a file with the metadata, instead of the service"),
            variable("TEST", Optional, "accepted; upstream reads JSON_FILE only with it"),
            variable("MBR", Optional, "any value: an MBR instead of a GPT"),
        ],
    },
    Page {
        action: "secureboot",
        about: "Enrols the keys of Secure Boot, if the firmware is in setup mode.",
        dry_run: true,
        variables: &[
            variable("KEYS", Required, "URL or path of a folder with db, dbx, KEK and PK, each as .auth or .esl"),
            variable("EFIVARFS_PATH", Default("/sys/firmware/efi/efivars"), "the variables' folder"),
        ],
    },
    Page {
        action: "slurp",
        about: "Uploads a disk as it is, as upstream's action does: by POST, as the file BootyImage of a form.",
        dry_run: true,
        variables: &[
            SOURCE_DISK,
            variable("DEST_URL", Required, "http:// or https:// URL, or the absolute path of a file or folder"),
            variable("IMG_NAME", Required, "name of the image, without .img"),
            variable("COMPRESSED", Default("false"), "true: gzip"),
            variable("PROGRESS_INTERVAL_SECONDS", Default("3"), "time between two lines of progress"),
        ],
    },
    Page {
        action: "syslinux",
        about: "Installs SYSLINUX on a FAT partition, or EXTLINUX on one with ext, and its boot code into the MBR of the disk.",
        dry_run: true,
        variables: &[
            DEST_DISK,
            variable("DEST_PARTITION", Required, "the partition that it boots, as path or selector"),
            variable("SYSLINUX_VERSION", Optional, "386 or 3.86, as upstream, or 6; the version is that of the image"),
        ],
    },
    Page {
        action: "verify",
        about: "Reads a disk or partition, and compares it with an image or a checksum. It writes nothing.",
        dry_run: true,
        variables: &[
            DEST_DISK,
            variable("IMG_URL", Optional, "the image that was written; all variables of image2disk count"),
            variable("CHECKSUM", Optional, "without IMG_URL: sha256:HEX or sha512:HEX of the content"),
            variable("LENGTH", Optional, "of the content in bytes; the whole disk if not set"),
            variable("PROGRESS_INTERVAL_SECONDS", Default("3"), "time between two lines of progress"),
        ],
    },
    Page {
        action: "wipe",
        about: "Makes a disk look empty, or erases it: both ends of it and of its partitions go first, then METHOD says what happens to the rest.",
        dry_run: true,
        variables: &[
            DEST_DISK,
            variable(
                "METHOD",
                Default("auto"),
                "auto, signatures, discard, secure-discard, zero, nvme-format, nvme-sanitize, ata-secure-erase",
            ),
            variable("EXPECTED_SERIAL", Optional, "any other disk is refused"),
        ],
    },
    Page {
        action: "writefile",
        about: "Writes one file into a file system on the disk.",
        dry_run: true,
        variables: &[
            DEST_DISK,
            FS_TYPE,
            variable("DEST_PATH", Required, "the file's absolute path"),
            variable("CONTENTS", Required, "its content, which may be empty"),
            variable("UID", Required, "number of its owner"),
            variable("GID", Required, "number of its group"),
            variable("MODE", Required, "its permissions in octal, such as 0644"),
            variable("DIRMODE", Required, "those of folders that are made for it"),
        ],
    },
];
