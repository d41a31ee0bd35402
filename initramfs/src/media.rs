//! What starts without a network: a UKI, and an ISO image for BIOS and UEFI. The ISO image also works on a USB stick.

use crate::architecture::Architecture;
use crate::error::BuildError;
use crate::fat;
use crate::iso;
use crate::output::{Artifact, sha256};
use crate::recipe::{RecipeError, is_pem};
use crate::sign::Signer;
use crate::uki;
use cpio::{Archive, Node};
use std::fs;
use std::path::{Path, PathBuf};

/// Where Debian's packages isolinux and syslinux-common keep the boot loader for BIOS.
const ISOLINUX: &str = "/usr/lib/ISOLINUX/isolinux.bin";
const MBR: &str = "/usr/lib/ISOLINUX/isohdpfx.bin";
const LDLINUX: &str = "/usr/lib/syslinux/modules/bios/ldlinux.c32";

/// A machine that knows the authority of its server speaks TLS. It stands first, so the operator's words win.
const SPEAKS_TLS: &str = "tinkerbell_tls=true";
/// Where a segment of the ramdisk may begin.
const ALIGNMENT: usize = 4;

pub const UKI_FILE: &str = "thimble.efi";
pub const ISO_FILE: &str = "thimble.iso";

/// What to make beside kernel and ramdisk.
#[derive(Debug, Clone, Default)]
pub struct Media {
    pub uki: bool,
    pub iso: bool,
    /// A stub in place of Debian's EFI stub.
    pub stub: Option<PathBuf>,
    /// Signs the UKI for Secure Boot, and so the ISO's UEFI half. A signature carries its time, so these files differ each
    /// time.
    pub signer: Option<Signer>,
    /// The certificate authority of the server in PEM form. boots gives it to the machines that boot from the network.
    pub server_ca: Option<PathBuf>,
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
    let Some(path) = &media.server_ca else { return made(media, parts, seconds) };
    let pem = fs::read(path).map_err(|source| BuildError::Read { path: path.clone(), source })?;
    if !is_pem(&pem) {
        return Err(BuildError::NoCertificate { path: path.clone() });
    }
    let artifact = Artifact { path: Path::new(machine::files::SERVER_CA).to_owned(), size: pem.len(), sha256: sha256(&pem) };
    let segment = segment(pem, seconds).map_err(|source| BuildError::Recipe { path: path.clone(), source })?;
    let mut ramdisk = parts.ramdisk.to_vec();
    ramdisk.resize(ramdisk.len().next_multiple_of(ALIGNMENT), 0);
    ramdisk.extend(segment);
    let cmdline = format!("{SPEAKS_TLS} {}", parts.cmdline);
    let cmdline = cmdline.trim_end();
    let parts = uki::Parts { kernel: parts.kernel, ramdisk: &ramdisk, cmdline, kernel_version: parts.kernel_version };
    Ok(Made { server_ca: Some(artifact), ..made(media, &parts, seconds)? })
}

/// One more segment of the ramdisk, as boots serves it.
fn segment(pem: Vec<u8>, seconds: u32) -> Result<Vec<u8>, RecipeError> {
    let mut archive = Archive::new(seconds);
    archive.add(machine::files::SERVER_CA, 0o644, Node::File(pem))?;
    Ok(archive.to_bytes()?)
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

/// Only PCs have firmware other than UEFI.
fn iso_image(uki: &[u8], architecture: Architecture, parts: &uki::Parts<'_>, seconds: u32) -> Result<Vec<u8>, BuildError> {
    let efi = fat::image(uki, architecture)?;
    if architecture != Architecture::Amd64 {
        return Ok(iso::image(&iso::Boot { isolinux: None, mbr: None, efi: Some(&efi) }, Vec::new(), seconds));
    }
    let read = |path: &str| fs::read(path).map_err(|source| BuildError::BootLoader { path: path.into(), source });
    let (isolinux, mbr, ldlinux) = (read(ISOLINUX)?, read(MBR)?, read(LDLINUX)?);
    let config = format!(
        "DEFAULT thimble\nPROMPT 0\nTIMEOUT 1\nLABEL thimble\n KERNEL /KERNEL.IMG\n INITRD /INITRD.IMG\n APPEND {}\n",
        parts.cmdline
    );
    let files = vec![
        ("ISOLINUX.CFG", config.into_bytes()),
        ("LDLINUX.C32", ldlinux),
        ("KERNEL.IMG", parts.kernel.to_vec()),
        ("INITRD.IMG", parts.ramdisk.to_vec()),
    ];
    Ok(iso::image(&iso::Boot { isolinux: Some(&isolinux), mbr: Some(&mbr), efi: Some(&efi) }, files, seconds))
}
