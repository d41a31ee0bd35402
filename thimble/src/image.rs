//! `thimble image`: makes kernel and ramdisk from a kernel package, and the standard actions as OCI images.

mod action;
mod compress;
mod defaults;
mod embed;
mod hardware;
mod iso;
mod push;
mod ramdisk;
mod settings;

use anyhow::Context;
use clap::{Args, Subcommand};
use oci::registry::Settings;
use std::path::{Path, PathBuf};

use crate::data_folder::DataFolder;

#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Make `kernel` and `initramfs.cpio.zst` from a kernel package and a static /init
    Build(Box<BuildArguments>),
    /// Make one ISO image for all machines of a site, from kernel and ramdisk. Each machine finds its address and its other
    /// kernel arguments in it by UUID, serial number or MAC, so it needs neither DHCP nor PXE
    Iso(Box<iso::IsoArguments>),
    /// Pack the standard actions as OCI images, one name each, all sharing one layer
    Action(ActionArguments),
    /// Compress a raw disk image so that image2disk unpacks it on all cores: zstd of many frames, with the checksum printed
    Compress(compress::CompressArguments),
}

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("media").args(["uki", "iso"]).multiple(true)))]
pub struct BuildArguments {
    /// Debian kernel package (linux-image-VERSION_ARCH.deb); repeat it for Ubuntu's linux-image and linux-modules, and for
    /// linux-binary, linux-modules and linux-base since Debian 14
    #[arg(long, value_name = "DEB", required_unless_present = "kernel_dir", conflicts_with = "kernel_dir")]
    pub kernel: Vec<PathBuf>,
    /// Folder with such a package unpacked (boot/vmlinuz-VERSION, lib/modules/VERSION)
    #[arg(long, value_name = "DIR")]
    pub kernel_dir: Option<PathBuf>,
    /// The static program that becomes /init; the package's one if not given
    #[arg(long, value_name = "PATH")]
    pub init: Option<PathBuf>,
    /// Folder for the files; boots serves it
    #[arg(long, value_name = "DIR")]
    pub output: PathBuf,
    /// Which set of drivers
    #[arg(long, value_enum, default_value_t = Profile::Cloud)]
    pub profile: Profile,
    /// One more family of drivers in the ramdisk (repeatable; see `packs.json` for the names)
    #[arg(long = "with", value_name = "FAMILY")]
    pub with: Vec<String>,
    /// Write the driver families that the ramdisk lacks as packs: further initrd segments, with the index packs.json. boots
    /// serves them beside the ramdisk to the machines that need them
    #[arg(long)]
    pub packs: bool,
    /// Include only the drivers that these machines may need according to their Hardware (repeatable)
    #[arg(long = "for", value_name = "HARDWARE.YAML", conflicts_with = "from_lspci")]
    pub hardware: Vec<PathBuf>,
    /// Include only the drivers for the machine that wrote this `lspci -nn`, `-nnk`, `-vmmn` or modalias file (repeatable)
    #[arg(long, value_name = "FILE")]
    pub from_lspci: Vec<PathBuf>,
    /// One more kernel module, with the modules it needs (repeatable)
    #[arg(long = "module", value_name = "NAME")]
    pub modules: Vec<String>,
    /// Trusted certificates: `host` (this machine's ca-certificates), `none`, and PEM files; files alone add to `host`
    #[arg(long, value_name = "host|none|FILE", default_value = "host")]
    pub ca: Vec<String>,
    /// Kernel arguments that come before those of the boot loader
    #[arg(long, value_name = "WORDS")]
    pub cmdline: Option<String>,
    /// Firmware files that the chosen drivers ask for, from a Debian package or a folder such as /lib/firmware
    /// (repeatable); with --packs they become a separate pack
    #[arg(long, value_name = "DEB|DIR")]
    pub firmware: Vec<PathBuf>,
    /// Images that the machine needs no registry for (repeatable). Give an OCI image layout, made by `skopeo copy
    /// docker://NAME oci:DIR:NAME` or `oci-archive:FILE:NAME`. Or give an image's name: it is pulled with the agent's
    /// settings (variables such as INSECURE_REGISTRIES, and /etc/thimble/registries.json)
    #[arg(long, value_name = "LAYOUT|NAME")]
    pub embed: Vec<String>,
    /// The machine's policy, a policy.json. Public keys that it names by path are copied into it
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// How the machine reaches registries, a registries.json. The certificates and keys that it names are copied, too
    #[arg(long, value_name = "FILE")]
    pub registries: Option<PathBuf>,
    /// Also take images from a disk with the label THIMBLE, if they are named by digest or signed as the policy requires.
    /// The kernel argument `thimble.image_disk=true` does the same
    #[arg(long)]
    pub image_disk: bool,
    /// Include an SSH server, which runs only with `rescue ssh_key=AAAA...` on the command line (needs Debian's packages
    /// dropbear-bin and busybox-static)
    #[arg(long)]
    pub rescue: bool,
    /// Also make a unified kernel image, thimble.efi (needs Debian's package systemd-boot-efi)
    #[arg(long)]
    pub uki: bool,
    /// Also make an ISO image for BIOS and UEFI, thimble.iso (needs isolinux, syslinux-common and systemd-boot-efi)
    #[arg(long)]
    pub iso: bool,
    /// Leave room in the ISO image for the kernel arguments of one machine, which boots writes into it at /iso/MAC/thimble.iso
    #[arg(long, requires = "iso", conflicts_with_all = ["uki", "sign_key"])]
    pub placeholder: bool,
    /// Sign the EFI programs for Secure Boot with this key, PEM without passphrase (needs Debian's package sbsigntool)
    #[arg(long, value_name = "FILE", requires_all = ["sign_cert", "media"])]
    pub sign_key: Option<PathBuf>,
    /// The key's certificate in PEM form, which the machines have in `db`
    #[arg(long, value_name = "FILE", requires = "sign_key")]
    pub sign_cert: Option<PathBuf>,
    /// The EFI stub to use instead of Debian's
    #[arg(long, value_name = "PATH")]
    pub stub: Option<PathBuf>,
    /// The certificate authority of the server, for UKI and ISO: a PEM file, or `none`. The default is that of this host's
    /// server. With it the machine speaks TLS, unless --cmdline has `tinkerbell_tls=false`
    #[arg(long, value_name = "FILE|none", requires = "media")]
    pub server_ca: Option<String>,
    #[command(flatten)]
    pub data: DataFolder,
    /// The time of every file in the ramdisk, in seconds since 1970
    #[arg(long, env = "SOURCE_DATE_EPOCH", value_name = "SECONDS", default_value_t = 0)]
    pub source_date_epoch: u32,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Profile {
    /// Virtual machines, for a cloud kernel: virtio and VMware; Hyper-V, Xen and the rest as packs
    Cloud,
    /// Real machines, for a standard kernel: network cards, disk controllers, USB; SAN, RDMA and the rest as packs
    Metal,
    /// Real machines that start from virtual media: network cards and USB; all else as packs, which the machines fetch
    Media,
}

#[derive(Debug, Args)]
pub struct ActionArguments {
    /// The static `actions` program; the package's one if not given. Given twice, for amd64 and for arm64, a machine pulls the
    /// program of its architecture
    #[arg(long, value_name = "PATH")]
    pub binary: Vec<PathBuf>,
    /// Put the images where `thimble up` serves them: DATA/images, such as /var/lib/thimble/images. Templates then name
    /// ADDRESS:7080/image2disk:v1, with the address of this host
    #[arg(long, value_name = "DIR", required_unless_present_any = ["push", "output"])]
    pub into: Option<PathBuf>,
    /// Write an OCI image layout into this folder
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Push to this registry, `http://` or `https://`, with Docker's login; a path is put before each image's name
    #[arg(long, value_name = "URL[/PREFIX][:TAG]")]
    pub push: Option<String>,
    /// Debian packages, or folders of them (repeatable). Each image then has their programs, which rootio, grub2disk and
    /// syslinux run: e2fsprogs, dosfstools, xfsprogs, btrfs-progs, lvm2, grub2-common, grub-pc-bin, syslinux, and what these
    /// depend on
    #[arg(long, value_name = "DEB|DIR")]
    pub tools: Vec<PathBuf>,
    /// The images' tag: v1, or v1-tools with --tools
    #[arg(long)]
    pub tag: Option<String>,
    /// Print names and digests as JSON
    #[arg(long)]
    pub json: bool,
}

impl ActionArguments {
    fn tag(&self) -> &str {
        self.tag.as_deref().unwrap_or(if self.tools.is_empty() { "v1" } else { "v1-tools" })
    }
}

/// The certificates that a host trusts, by distribution. A host without certificates can still speak plain HTTP.
const CERTIFICATES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem"];

/// The registry settings that an agent on this host would use.
fn registries() -> anyhow::Result<Settings> {
    let mut settings = agent::registries().context("cannot read this host's settings of registries")?;
    let trusted = || CERTIFICATES.iter().map(Path::new).find(|file| file.exists()).map(Path::to_owned);
    settings.ca_file = settings.ca_file.or_else(trusted);
    Ok(settings)
}

pub fn run(command: ImageCommand) -> anyhow::Result<()> {
    match command {
        ImageCommand::Build(arguments) => ramdisk::run(&arguments),
        ImageCommand::Iso(arguments) => iso::run(&arguments),
        ImageCommand::Action(arguments) => action::run(&arguments),
        ImageCommand::Compress(arguments) => compress::run(&arguments),
    }
}
