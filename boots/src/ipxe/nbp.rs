//! Which network boot program fits which firmware, and which file has it.

use std::fs::File;
use std::path::Path;

use crate::beneath::{self, OpenError};

/// A client architecture, option 93 (RFC 4578 and IANA's list).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arch(pub u16);

/// For boot ROMs of the Raspberry Pi: some of them name another architecture.
const RASPBERRY_PI: Arch = Arch(41);
const RASPBERRY_PI_MACS: [[u8; 3]; 5] =
    [[0xb8, 0x27, 0xeb], [0xdc, 0xa6, 0x32], [0xe4, 0x5f, 0x01], [0x28, 0xcd, 0xc1], [0xd8, 0x3a, 0xdd]];

impl Arch {
    /// The program's canonical name. `None` if iPXE does not exist for the architecture.
    #[must_use]
    pub const fn nbp(self) -> Option<&'static str> {
        match self.0 {
            0..=5 | 20 => Some("undionly.kpxe"),
            6..=9 | 15 | 16 => Some("ipxe.efi"),
            10 | 11 | 18 | 19 | 41 => Some("snp-arm64.efi"),
            _ => None,
        }
    }
}

/// The program for a client. The first known architecture counts, unless the MAC says more.
#[must_use]
pub fn file_for(mac: [u8; 6], archs: &[Arch]) -> Option<&'static str> {
    let [a, b, c, ..] = mac;
    if RASPBERRY_PI_MACS.contains(&[a, b, c]) {
        return RASPBERRY_PI.nbp();
    }
    archs.iter().find_map(|arch| arch.nbp())
}

/// Files that may replace a name: distributions package other builds of the same program.
fn stand_ins(name: &str) -> &'static [&'static str] {
    match name {
        "ipxe.efi" => &["snponly.efi", "ipxe-x86_64.efi", "snp-x86_64.efi", "ipxe-snponly-x86_64.efi"],
        "snp-x86_64.efi" => &["snponly.efi", "ipxe-snponly-x86_64.efi", "ipxe.efi"],
        "snp-arm64.efi" => &["ipxe-arm64.efi", "ipxe-snponly-arm64.efi"],
        "undionly.kpxe" => &["undionly.kkpxe", "ipxe-undionly.kpxe"],
        _ => &[],
    }
}

/// Opens a program by its name, else the first replacement.
pub fn open(folder: &Path, name: &str) -> Result<File, OpenError> {
    let asked = beneath::open(folder, name);
    if asked.is_ok() {
        return asked;
    }
    stand_ins(name).iter().find_map(|other| beneath::open(folder, other).ok()).map_or(asked, Ok)
}

/// Opens what firmware asks for: the path as asked, else the program by its name alone. Returns the name that was found.
pub fn open_asked<'a>(folder: &Path, path: &'a str) -> Result<(&'a str, File), OpenError> {
    let name = base_name(path).ok_or_else(|| OpenError::Outside(path.chars().take(200).collect()))?;
    let asked = path.trim_start_matches('/');
    if asked != name
        && let Ok(file) = beneath::open(folder, asked)
    {
        return Ok((asked, file));
    }
    open(folder, name).map(|file| (name, file))
}

/// The file's name in a path of firmware. Folders before it are dropped, and so is a W3C traceparent behind it, which smee
/// appends. `None` if the path climbs.
#[must_use]
pub fn base_name(path: &str) -> Option<&str> {
    let mut parts = path.split(['/', '\\']);
    if parts.clone().any(|part| part == "..") {
        return None;
    }
    let name = without_traceparent(parts.next_back()?);
    (!name.is_empty() && name != "." && !name.contains('\0')).then_some(name)
}

/// `NAME` of `NAME-00-<32 hex>-<16 hex>-<2 hex>`.
fn without_traceparent(name: &str) -> &str {
    const LEN: usize = "-00-".len() + 32 + 1 + 16 + 1 + 2;
    let Some((before, suffix)) = name.len().checked_sub(LEN).and_then(|at| name.split_at_checked(at)) else { return name };
    let parts: Vec<&str> = suffix.split('-').collect();
    let is_hex = |part: &&str, len: usize| part.len() == len && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    match parts.as_slice() {
        ["", "00", trace, span, flags] if is_hex(trace, 32) && is_hex(span, 16) && is_hex(flags, 2) => before,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_follows_the_first_known_architecture() {
        let pc = [2, 0, 0, 0, 0, 1];
        for (case, mac, archs, file) in [
            ("BIOS", pc, &[0][..], Some("undionly.kpxe")),
            ("x86-64 UEFI", pc, &[7], Some("ipxe.efi")),
            ("x86-64 UEFI as 9", pc, &[9], Some("ipxe.efi")),
            ("ARM64", pc, &[11], Some("snp-arm64.efi")),
            ("x86-64 HTTP boot", pc, &[16], Some("ipxe.efi")),
            ("BIOS HTTP boot", pc, &[20], Some("undionly.kpxe")),
            ("unknown first", pc, &[36, 7], Some("ipxe.efi")),
            ("unknown only", pc, &[27, 36], None),
            ("none given", pc, &[], None),
            ("a Raspberry Pi that says BIOS", [0xdc, 0xa6, 0x32, 1, 2, 3], &[0], Some("snp-arm64.efi")),
        ] {
            let archs: Vec<Arch> = archs.iter().copied().map(Arch).collect();
            assert_eq!(file_for(mac, &archs), file, "{case}");
        }
    }

    #[test]
    fn any_folder_and_a_traceparent_are_cut_off() {
        let traced = "undionly.kpxe-00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        for (path, name) in [
            ("undionly.kpxe", Some("undionly.kpxe")),
            ("/undionly.kpxe", Some("undionly.kpxe")),
            ("02:00:00:00:00:01/ipxe.efi", Some("ipxe.efi")),
            ("\\EFI\\ipxe.efi", Some("ipxe.efi")),
            (traced, Some("undionly.kpxe")),
            ("x-00-zz", Some("x-00-zz")),
            ("ä-00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", Some("ä")),
            ("../ipxe.efi", None),
            ("a/../../etc/passwd", None),
            ("..", None),
            ("folder/", None),
            ("", None),
        ] {
            assert_eq!(base_name(path), name, "{path}");
        }
    }

    #[test]
    fn another_build_stands_in_for_a_missing_program() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("snponly.efi"), "s").unwrap();
        assert!(open(folder.path(), "ipxe.efi").is_ok());
        assert!(matches!(open(folder.path(), "undionly.kpxe"), Err(OpenError::Missing(name)) if name == "undionly.kpxe"));
    }
}
