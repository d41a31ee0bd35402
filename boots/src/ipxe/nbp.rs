//! Which network boot program fits which firmware, and which file has it.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::Config;
use crate::beneath::{self, OpenError};

/// A client architecture, option 93 (RFC 4578 and IANA's list).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arch(pub u16);

/// Files that may replace a name: distributions package other builds of the same program.
fn stand_ins(name: &str) -> &'static [&'static str] {
    match name {
        "ipxe.efi" => &["snponly.efi", "ipxe-x86_64.efi", "snp-x86_64.efi", "ipxe-snponly-x86_64.efi"],
        "snp-x86_64.efi" => &["snponly.efi", "ipxe-snponly-x86_64.efi", "ipxe.efi"],
        "snp-arm64.efi" => &["ipxe-arm64.efi", "ipxe-snponly-arm64.efi"],
        "snp-arm32.efi" => &["ipxe-arm32.efi", "arm32-efi/ipxe.efi"],
        "ipxe-i386.efi" => &["ipxe32.efi", "snp-i386.efi", "i386-efi/ipxe.efi"],
        "ipxe-riscv64.efi" => &["snp-riscv64.efi", "riscv64-efi/ipxe.efi"],
        "ipxe-riscv32.efi" => &["snp-riscv32.efi", "riscv32-efi/ipxe.efi"],
        "ipxe-loong64.efi" => &["snp-loong64.efi", "loong64-efi/ipxe.efi"],
        "shimx64.efi" | "bootx64.efi" => &["shimx64.efi.signed"],
        "shimaa64.efi" | "bootaa64.efi" => &["shimaa64.efi.signed"],
        "grubx64.efi" => &["grubnetx64.efi.signed", "grubnetx64.efi"],
        "grubaa64.efi" => &["grubnetaa64.efi.signed", "grubnetaa64.efi"],
        "undionly.kpxe" => &["undionly.kkpxe", "ipxe-undionly.kpxe"],
        _ => &[],
    }
}

/// GRUB's network images as Debian packages them. Each starts the disk of a UEFI machine, because boots' configuration for it
/// says so.
const DISK_LOADERS: [&str; 2] = ["grubnetx64.efi.signed", "grubnetaa64.efi.signed"];

/// Where Debian's packages have GRUB and shim.
#[must_use]
pub fn more_folders() -> Vec<PathBuf> {
    ["/usr/lib/grub/x86_64-efi-signed", "/usr/lib/grub/arm64-efi-signed", "/usr/lib/shim"].map(PathBuf::from).into()
}

/// Those of GRUB's images that are there.
#[must_use]
pub fn disk_loaders(nbp: &Path, more: &[PathBuf]) -> Vec<&'static str> {
    let folders = || std::iter::once(nbp).chain(more.iter().map(PathBuf::as_path));
    DISK_LOADERS.into_iter().filter(|name| folders().any(|folder| beneath::open(folder, name).is_ok())).collect()
}

/// The disk loader for firmware that would get `program`.
#[must_use]
pub fn disk_loader(config: &Config, program: &str) -> Option<&'static str> {
    let name = match program {
        "ipxe.efi" => "grubnetx64.efi.signed",
        "snp-arm64.efi" => "grubnetaa64.efi.signed",
        _ => return None,
    };
    config.disk_loaders.iter().copied().find(|loader| *loader == name)
}

/// Opens a program by its name, else the first replacement.
fn open(folders: &[&Path], name: &str) -> Result<File, OpenError> {
    let names = || std::iter::once(name).chain(stand_ins(name).iter().copied());
    let mut missing = Err(OpenError::Missing(name.to_owned()));
    for (index, folder) in folders.iter().enumerate() {
        for name in names() {
            match beneath::open(folder, name) {
                Ok(file) => return Ok(file),
                Err(error @ OpenError::Missing(_)) => drop(error),
                Err(error) if index == 0 => missing = Err(error),
                Err(_) => {}
            }
        }
    }
    missing
}

/// Opens what firmware asks for: the path as asked, else the program by its name alone. Returns the name that was found.
pub fn open_asked<'a>(config: &Config, path: &'a str) -> Result<(&'a str, File), OpenError> {
    let name = base_name(path).ok_or_else(|| OpenError::Outside(path.chars().take(200).collect()))?;
    let asked = path.trim_start_matches('/');
    if asked != name
        && let Ok(file) = beneath::open(&config.nbp, asked)
    {
        return Ok((asked, file));
    }
    let folders: Vec<&Path> = std::iter::once(&config.nbp).chain(&config.more_nbp).map(PathBuf::as_path).collect();
    open(&folders, name).map(|file| (name, file))
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
        let more = tempfile::tempdir().unwrap();
        std::fs::write(more.path().join("grubnetx64.efi.signed"), "g").unwrap();
        std::fs::write(more.path().join("shimx64.efi.signed"), "h").unwrap();
        let mut config = Config::new(std::net::Ipv4Addr::LOCALHOST, PathBuf::new(), folder.path().to_owned());
        assert_eq!(disk_loaders(&config.nbp, &config.more_nbp), [""; 0]);
        config.more_nbp = vec![more.path().to_owned()];
        assert_eq!(disk_loaders(&config.nbp, &config.more_nbp), ["grubnetx64.efi.signed"]);
        for name in ["ipxe.efi", "02:00:00:00:00:01/ipxe.efi", "shimx64.efi", "any/folder/grubx64.efi"] {
            assert!(open_asked(&config, name).is_ok(), "{name}");
        }
        assert!(matches!(open_asked(&config, "undionly.kpxe"), Err(OpenError::Missing(name)) if name == "undionly.kpxe"));
    }
}
