//! The kind of machine: firmware, Secure Boot, TPM, NUMA nodes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use proto::{Milestone, MissingFirmware, Platform};

use super::{names, read_word};
use machine::milestones;

/// EFI_GLOBAL_VARIABLE. Four bytes of attributes precede the value.
const SECURE_BOOT: &str = "firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";

/// The most entries of a list. A driver in a loop must not make the report too large for the server.
const MOST: usize = 64;

/// `boot` and `firmware` are the contents of [`machine::files::BOOT`] and [`machine::files::FIRMWARE_MISSING`].
pub fn detect(sys: &Path, boot: &str, firmware: &str) -> Platform {
    let efi = sys.join("firmware/efi").exists();
    let secure_boot = fs::read(sys.join(SECURE_BOOT)).ok().and_then(|bytes| bytes.get(4).map(|value| *value == 1));
    let tpm = sys.join("class/tpm/tpm0");
    let version = match read_word(&tpm.join("tpm_version_major")).as_deref() {
        Some("1") => Some("1.2"),
        Some("2") => Some("2.0"),
        _ => None,
    };
    let is_node = |name: &String| name.strip_prefix("node").is_some_and(|number| number.parse::<u32>().is_ok());
    let nodes = names(&sys.join("devices/system/node")).iter().filter(|name| is_node(name)).count();
    Platform {
        firmware: Some(if efi { "UEFI" } else { "BIOS" }.to_owned()),
        secure_boot: secure_boot.filter(|_| efi),
        tpm: version.map(str::to_owned),
        pcr11: read_word(&tpm.join("pcr-sha256/11")).filter(|value| is_measured(value)).map(|value| value.to_lowercase()),
        numa_nodes: u32::try_from(nodes).ok().filter(|nodes| *nodes > 0),
        missing_firmware: missing_firmware(firmware),
        boot: milestones::read(boot).take(MOST).map(|(name, at)| milestone(name, at)).collect(),
    }
}

/// If all digits are zero, the register was never extended, so no EFI stub started this kernel.
fn is_measured(pcr: &str) -> bool {
    pcr.bytes().any(|digit| digit != b'0')
}

/// Each missing file once. A restarted devices service may have written a line again.
fn missing_firmware(text: &str) -> Vec<MissingFirmware> {
    let missing: BTreeSet<_> = machine::MissingFirmware::parse(text).collect();
    let owned = |text: &str| Some(text.to_owned());
    let missing = missing.into_iter().take(MOST);
    missing.map(|one| MissingFirmware { file: owned(one.file), driver: owned(one.driver), device: owned(one.device) }).collect()
}

fn milestone(name: &str, at: u32) -> Milestone {
    Milestone { name: Some(name.to_owned()), milliseconds: Some(at) }
}
