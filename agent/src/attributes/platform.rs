//! What kind of machine it is: firmware, Secure Boot, TPM, NUMA nodes.

use std::fs;
use std::path::Path;

use proto::Platform;

use super::{names, read_word};

/// EFI_GLOBAL_VARIABLE; four bytes of attributes stand before the value.
const SECURE_BOOT: &str = "firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";

pub fn detect(sys: &Path) -> Platform {
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
        numa_nodes: u32::try_from(nodes).ok().filter(|nodes| *nodes > 0),
    }
}
