//! The authority of the workflow service as a further segment of the ramdisk. The machine trusts what it booted from: whoever
//! can change the one can change the other.

use std::path::Path;

use api::ramdisk::{ABOUT, About};
use cpio::{Archive, CpioError, Node};
use std::io::Read;

use crate::beneath;

/// The segment's name, by which an EFI stub finds it.
pub const FILE: &str = "server-ca.cpio.zst";
/// Its path below boots' HTTP port.
pub const PATH: &str = "ipxe/server-ca.cpio.zst";
const LARGEST_ABOUT: u64 = 64 << 10;

/// The segment. An EFI stub puts segments behind each other without padding, and only a compressed one may begin anywhere.
pub fn segment(pem: &str) -> Result<Vec<u8>, CpioError> {
    let mut archive = Archive::new(0);
    archive.add(machine::files::SERVER_CA, 0o644, Node::File(pem.as_bytes().to_vec()))?;
    Ok(stored(&archive.to_bytes()?))
}

/// A zstd frame whose blocks are not compressed (RFC 8878), because it has a few hundred bytes.
fn stored(bytes: &[u8]) -> Vec<u8> {
    const BLOCK: usize = 128 << 10;
    // The frame is one segment, its size has four bytes, and there is no checksum.
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0xa0];
    frame.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    let last = bytes.len().saturating_sub(1) / BLOCK;
    for (index, block) in bytes.chunks(BLOCK).enumerate() {
        let header = (u32::try_from(block.len()).unwrap_or(0) << 3) | u32::from(index == last);
        frame.extend(header.to_le_bytes().into_iter().take(3));
        frame.extend(block);
    }
    frame
}

/// Whether the ramdisk at this path below the files reads the segment. It blocks while it reads.
pub fn is_understood(files: &Path, ramdisk: &str) -> bool {
    let (folder, name) = ramdisk.rsplit_once('/').unwrap_or(("", ramdisk));
    let about = if folder.is_empty() { ABOUT.to_owned() } else { format!("{folder}/{ABOUT}") };
    let mut text = Vec::new();
    let read = beneath::open(files, &about).ok().and_then(|file| file.take(LARGEST_ABOUT).read_to_end(&mut text).ok());
    read.and_then(|_| About::parse(&text)).is_some_and(|about| about.server_ca && about.file == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_ramdisk_that_says_so_gets_the_authority() {
        let files = tempfile::tempdir().unwrap();
        std::fs::create_dir(files.path().join("kit")).unwrap();
        std::fs::write(files.path().join("kit").join(ABOUT), r#"{"file":"initramfs.cpio.zst","serverCa":true}"#).unwrap();
        std::fs::write(files.path().join(ABOUT), r#"{"file":"initramfs.cpio.zst"}"#).unwrap();
        for (ramdisk, expected) in [
            ("kit/initramfs.cpio.zst", true),
            ("kit/hook-initramfs", false), // HookOS beside it
            ("initramfs.cpio.zst", false), // of an earlier version
            ("other/initramfs.cpio.zst", false),
            ("../kit/initramfs.cpio.zst", false),
            ("", false),
        ] {
            assert_eq!(is_understood(files.path(), ramdisk), expected, "{ramdisk}");
        }
    }

    #[test]
    fn the_segment_has_the_file_that_the_agent_reads() {
        for pem in ["-----BEGIN CERTIFICATE-----".to_owned(), "x".repeat(300_000)] {
            let bytes = zstd::decode_all(&segment(&pem).unwrap()[..]).unwrap();
            assert!(bytes.starts_with(b"070701") && String::from_utf8_lossy(&bytes).contains(&pem));
        }
        let bytes = zstd::decode_all(&segment("-----BEGIN CERTIFICATE-----").unwrap()[..]).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains("etc/thimble/server-ca.pem\0") && text.contains("-----BEGIN CERTIFICATE-----"), "{text}");
        assert!(bytes.starts_with(b"070701") && bytes.len().is_multiple_of(4));
    }
}
