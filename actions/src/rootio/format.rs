//! Which program makes a file system, and swap space, which needs none.

use super::storage::Filesystem;
use crate::programs::Tool;
use crate::sys;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

pub const FORMATS: &str = "ext2, ext3, ext4, vfat, xfs, btrfs and swap";

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Making {
    By { tool: Tool, arguments: Vec<OsString> },
    Swap { label: String },
}

/// `None` for an unknown format. Options come before the device, as upstream's rootio has them.
pub fn making(filesystem: &Filesystem, device: &Path) -> Option<Making> {
    let format = filesystem.format.as_str();
    let (tool, forced) = match format {
        "ext2" | "ext3" | "ext4" => (Tool::new("mke2fs", "e2fsprogs"), vec!["-t", format, "-F"]),
        "vfat" => (Tool::new("mkfs.fat", "dosfstools"), Vec::new()),
        "xfs" => (Tool::new("mkfs.xfs", "xfsprogs"), vec!["-f"]),
        "btrfs" => (Tool::new("mkfs.btrfs", "btrfs-progs"), vec!["-f"]),
        "swap" => return Some(Making::Swap { label: option(&filesystem.options, "-L") }),
        _ => return None,
    };
    let words = filesystem.options.iter().map(String::as_str).chain(forced);
    let arguments = words.map(OsString::from).chain([device.as_os_str().to_owned()]).collect();
    Some(Making::By { tool, arguments })
}

fn option(options: &[String], name: &str) -> String {
    options.iter().skip_while(|option| *option != name).nth(1).cloned().unwrap_or_default()
}

const MIB: u64 = 1 << 20;
const LABEL_MAX: usize = 16;

/// Makes swap space (mm/swapfile.c: `union swap_header`), after erasing what both ends of the partition have.
///
/// # Errors
/// A device that is smaller than ten pages, or fails.
pub fn swap(device: &File, size: u64, label: &str) -> io::Result<()> {
    let page = sys::page_size();
    let header = swap_header(size, page, label, super::random()?).ok_or_else(|| io::Error::other("it is too small for swap"))?;
    erase(device, 0..size)?;
    device.write_all_at(&header, 0)?;
    device.sync_all()
}

/// Old signatures are at both ends.
pub fn erase(device: &File, range: std::ops::Range<u64>) -> io::Result<()> {
    let length = MIB.min(range.end.saturating_sub(range.start));
    let zeros = vec![0; usize::try_from(length).unwrap_or_default()];
    for at in [range.start, range.end - length] {
        device.write_all_at(&zeros, at)?;
    }
    Ok(())
}

fn swap_header(size: u64, page: u64, label: &str, uuid: [u8; 16]) -> Option<Vec<u8>> {
    const MAGIC: &[u8] = b"SWAPSPACE2";
    let pages = (size / page).min(u64::from(u32::MAX)) as u32;
    if pages < 10 {
        return None;
    }
    let mut label = label.as_bytes().to_vec();
    label.truncate(LABEL_MAX - 1);
    label.resize(LABEL_MAX, 0);
    // The version, the last page, and no bad pages.
    let numbers: Vec<u8> = [1, pages - 1, 0].into_iter().flat_map(u32::to_le_bytes).collect();
    let mut header = vec![0; 1024];
    header.extend(numbers);
    header.extend(super::as_uuid(uuid));
    header.extend(label);
    header.resize(page as usize - MAGIC.len(), 0);
    header.extend(MAGIC);
    Some(header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn filesystem(format: &str, options: &[&str]) -> Filesystem {
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        Filesystem { device: "/dev/x".into(), format: format.into(), point: String::new(), options }
    }

    #[test]
    fn each_format_has_its_program() {
        for (format, options, expected) in [
            ("ext4", &["-L", "ROOT"][..], "mke2fs -L ROOT -t ext4 -F /dev/x"),
            ("vfat", &["-F", "32"], "mkfs.fat -F 32 /dev/x"),
            ("xfs", &[], "mkfs.xfs -f /dev/x"),
            ("btrfs", &[], "mkfs.btrfs -f /dev/x"),
        ] {
            let Some(Making::By { tool, arguments }) = making(&filesystem(format, options), Path::new("/dev/x")) else {
                panic!("{format}")
            };
            let words: Vec<_> = arguments.iter().map(|word| word.to_str().unwrap()).collect();
            assert_eq!(format!("{} {}", tool.program, words.join(" ")), expected);
        }
        let swap = making(&filesystem("swap", &["-L", "S"]), Path::new("/dev/x"));
        assert_eq!(swap, Some(Making::Swap { label: "S".into() }));
        assert_eq!(making(&filesystem("ntfs", &[]), Path::new("/dev/x")), None);
    }

    #[test]
    fn blkid_reads_the_swap_space() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(8 << 20).unwrap();
        swap(file.as_file(), 8 << 20, "SWAP-OF-MACHINE-1").unwrap();
        let output = match Command::new("/sbin/blkid").args(["-p", "-o", "export"]).arg(file.path()).output() {
            Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
            Err(error) => return eprintln!("SKIPPED: blkid: {error} (Debian's package util-linux)"),
        };
        for line in ["TYPE=swap", "LABEL=SWAP-OF-MACHINE", "VERSION=1"] {
            assert!(output.contains(line), "{output}");
        }
        assert!(swap(file.as_file(), 4096, "").is_err());
    }
}
