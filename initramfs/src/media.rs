//! What starts without a network: a UKI, and an ISO image for BIOS and UEFI. The ISO image also works on a USB stick.

use crate::architecture::Architecture;
use crate::error::BuildError;
use crate::fat;
use crate::iso;
use crate::sign::Signer;
use crate::uki;
use std::fs;
use std::path::PathBuf;

/// Where Debian's packages isolinux and syslinux-common keep the boot loader for BIOS.
const ISOLINUX: &str = "/usr/lib/ISOLINUX/isolinux.bin";
const MBR: &str = "/usr/lib/ISOLINUX/isohdpfx.bin";
const LDLINUX: &str = "/usr/lib/syslinux/modules/bios/ldlinux.c32";

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
}

/// The files that were asked for. The ISO's UEFI half is the UKI.
pub struct Made {
    pub uki: Option<Vec<u8>>,
    pub iso: Option<Vec<u8>>,
    /// What PCR 11 holds after the UKI has started, if it is known how this stub measures.
    pub pcr11: Option<String>,
}

pub fn make(media: &Media, parts: &uki::Parts<'_>, seconds: u32) -> Result<Made, BuildError> {
    if !media.uki && !media.iso {
        return Ok(Made { uki: None, iso: None, pcr11: None });
    }
    let architecture = Architecture::of_efi_program(parts.kernel).unwrap_or(Architecture::Amd64);
    let stub = uki::read_stub(media.stub.as_deref(), architecture)?;
    let pcr11 = uki::pcr11(&stub, parts);
    let uki = signed(uki::image(&stub, parts)?, media.signer.as_ref())?;
    let iso = media.iso.then(|| iso_image(&uki, architecture, parts, seconds)).transpose()?;
    Ok(Made { uki: media.uki.then_some(uki), iso, pcr11 })
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
