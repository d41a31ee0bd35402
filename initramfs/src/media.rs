//! What starts without a network: a UKI, and an ISO image for BIOS and UEFI. The ISO image also works on a USB stick.

use crate::architecture::Architecture;
use crate::compress::zstd_for_kernel;
use crate::error::BuildError;
use crate::fat;
use crate::iso;
use crate::output::{Artifact, sha256};
use crate::recipe::is_pem;
use crate::sign::Signer;
use crate::uki;
use cmdline::PLACEHOLDER;
use cpio::{Archive, Node};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where Debian's packages isolinux and syslinux-common keep the boot loader for BIOS.
const ISOLINUX: &str = "/usr/lib/ISOLINUX/isolinux.bin";
const MBR: &str = "/usr/lib/ISOLINUX/isohdpfx.bin";
const LDLINUX: &str = "/usr/lib/syslinux/modules/bios/ldlinux.c32";

/// A machine that knows the authority of its server speaks TLS. It stands first, so the operator's words win.
const SPEAKS_TLS: &str = "tinkerbell_tls=true";
/// Where a segment of the ramdisk may begin.
const ALIGNMENT: usize = 4;

/// Their names in an ISO image.
const KERNEL: &str = "KERNEL.IMG";
const INITRD: &str = "INITRD.IMG";

pub const UKI_FILE: &str = "thimble.efi";
pub const ISO_FILE: &str = "thimble.iso";

/// What to make beside kernel and ramdisk.
#[derive(Debug, Clone, Default)]
pub struct Media {
    pub uki: bool,
    pub iso: bool,
    /// The ISO image has room for the kernel arguments of one machine, which boots fills as it sends the image.
    pub placeholder: bool,
    /// A stub in place of Debian's EFI stub.
    pub stub: Option<PathBuf>,
    /// Signs the UKI for Secure Boot, and so the ISO's UEFI half. A signature carries its time, so these files differ each
    /// time.
    pub signer: Option<Signer>,
    /// The certificate authority of the server in PEM form. boots gives it to the machines that boot from the network.
    pub server_ca: Option<PathBuf>,
    /// The table of a site's machines ([`machine::site`]).
    pub site: Option<Vec<u8>>,
    /// The driver packs that the machines may fetch (`api::packs::Offer`).
    pub packs: Option<Vec<u8>>,
}

/// The files that were asked for. The ISO's UEFI half is the UKI.
pub struct Made {
    pub uki: Option<Vec<u8>>,
    pub iso: Option<Vec<u8>>,
    /// What PCR 11 holds after the UKI has started, if it is known how this stub measures.
    pub pcr11: Option<String>,
    /// The authority of the server, by its path in the media's ramdisk.
    pub server_ca: Option<Artifact>,
}

pub fn make(media: &Media, parts: &uki::Parts<'_>, seconds: u32) -> Result<Made, BuildError> {
    if !media.uki && !media.iso {
        return Ok(Made { uki: None, iso: None, pcr11: None, server_ca: None });
    }
    let cmdline = if media.placeholder { format!("{} {PLACEHOLDER}", parts.cmdline) } else { parts.cmdline.to_owned() };
    let parts = &uki::Parts { cmdline: cmdline.trim_start(), ..*parts };
    let authority = media.server_ca.as_deref().map(read_authority).transpose()?;
    if authority.is_none() && media.site.is_none() {
        return made(media, parts, seconds);
    }
    let artifact = authority.as_ref().map(|pem| Artifact {
        path: Path::new(machine::files::SERVER_CA).to_owned(),
        size: pem.len(),
        sha256: sha256(pem),
    });
    let cmdline = if authority.is_some() { format!("{SPEAKS_TLS} {}", parts.cmdline) } else { parts.cmdline.to_owned() };
    let files = [
        (machine::files::SERVER_CA, authority),
        (machine::files::SITE, media.site.clone()),
        (machine::files::PACKS, media.packs.clone()),
    ];
    let segment = segment(files, seconds).map_err(BuildError::Compress)?;
    let mut ramdisk = parts.ramdisk.to_vec();
    ramdisk.resize(ramdisk.len().next_multiple_of(ALIGNMENT), 0);
    ramdisk.extend(segment);
    let parts = uki::Parts { ramdisk: &ramdisk, cmdline: cmdline.trim_end(), ..*parts };
    Ok(Made { server_ca: artifact, ..made(media, &parts, seconds)? })
}

fn read_authority(path: &Path) -> Result<Vec<u8>, BuildError> {
    let pem = fs::read(path).map_err(|source| BuildError::Read { path: path.to_owned(), source })?;
    if is_pem(&pem) { Ok(pem) } else { Err(BuildError::NoCertificate { path: path.to_owned() }) }
}

/// One more segment of the ramdisk. The kernel unpacks one after the other.
fn segment(files: [(&str, Option<Vec<u8>>); 3], seconds: u32) -> io::Result<Vec<u8>> {
    let mut archive = Archive::new(seconds);
    for (path, content) in files {
        if let Some(content) = content {
            archive.add(path, 0o644, Node::File(content)).map_err(io::Error::other)?;
        }
    }
    zstd_for_kernel(&archive.to_bytes().map_err(io::Error::other)?)
}

fn made(media: &Media, parts: &uki::Parts<'_>, seconds: u32) -> Result<Made, BuildError> {
    let architecture = Architecture::of_efi_program(parts.kernel).unwrap_or(Architecture::Amd64);
    let stub = uki::read_stub(media.stub.as_deref(), architecture)?;
    let pcr11 = uki::pcr11(&stub, parts);
    let uki = signed(uki::image(&stub, parts)?, media.signer.as_ref())?;
    let iso = media.iso.then(|| iso_image(&uki, architecture, parts, seconds)).transpose()?;
    Ok(Made { uki: media.uki.then_some(uki), iso, pcr11, server_ca: None })
}

fn signed(uki: Vec<u8>, signer: Option<&Signer>) -> Result<Vec<u8>, BuildError> {
    let Some(signer) = signer else { return Ok(uki) };
    let scratch = tempfile::tempdir().map_err(BuildError::Scratch)?;
    Ok(signer.sign(&uki, scratch.path())?)
}

/// Only PCs have firmware other than UEFI. For it kernel and ramdisk are files, which lie inside of the UKI.
fn iso_image(uki: &[u8], architecture: Architecture, parts: &uki::Parts<'_>, seconds: u32) -> Result<Vec<u8>, BuildError> {
    let fat::Image { bytes: efi, program_at } = fat::image(uki, architecture)?;
    let image = |loaders: &Loaders, files, shared: &[_]| {
        let (isolinux, mbr) = (loaders.isolinux.as_deref(), loaders.mbr.as_deref());
        iso::image(&iso::Boot { isolinux, mbr, efi: Some(&efi), shared }, files, seconds)
    };
    if architecture != Architecture::Amd64 {
        return Ok(image(&Loaders::default(), Vec::new(), &[]));
    }
    let read = |path: &str| fs::read(path).map_err(|source| BuildError::BootLoader { path: path.into(), source });
    let loaders = Loaders { isolinux: Some(read(ISOLINUX)?), mbr: Some(read(MBR)?) };
    let config = format!(
        "DEFAULT thimble\nPROMPT 0\nTIMEOUT 1\nLABEL thimble\n KERNEL /{KERNEL}\n INITRD /{INITRD}\n APPEND {}\n",
        parts.cmdline
    );
    let mut files = vec![("ISOLINUX.CFG", config.into_bytes()), ("LDLINUX.C32", read(LDLINUX)?)];
    let [kernel, ramdisk] = uki::places(uki)?;
    let mut shared = Vec::new();
    for (name, data, place) in [(KERNEL, parts.kernel, kernel), (INITRD, parts.ramdisk, ramdisk)] {
        let at = program_at + place.start;
        // A stub with an alignment of its own may make a second copy necessary.
        if at.is_multiple_of(iso::SECTOR) && uki.get(place) == Some(data) {
            shared.push((name, at, data.len()));
        } else {
            files.push((name, data.to_vec()));
        }
    }
    Ok(image(&loaders, files, &shared))
}

/// The boot loader for BIOS.
#[derive(Default)]
struct Loaders {
    isolinux: Option<Vec<u8>>,
    mbr: Option<Vec<u8>>,
}
