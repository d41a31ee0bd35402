//! Each format by its magic, as its programs write it.

use super::*;

fn at(offset: usize, bytes: &[u8], size: usize) -> Vec<u8> {
    let mut data = vec![0; size];
    data[offset..offset + bytes.len()].copy_from_slice(bytes);
    data
}

fn name(start: &[u8]) -> &'static str {
    match look(start) {
        Content::Disk(name) | Content::Other { name, .. } => name,
        Content::Qcow2 => "qcow2",
    }
}

fn mbr(kind: u8, status: u8) -> Vec<u8> {
    let mut sector = at(510, &[0x55, 0xaa], START);
    sector[446..462].copy_from_slice(&[status, 0, 2, 0, kind, 0, 0, 0, 0, 8, 0, 0, 0, 16, 0, 0]);
    sector
}

#[test]
fn what_is_a_disk_image_is_taken() {
    for (expected, start) in [
        ("a disk with MBR partitions", mbr(0x83, 0x80)),
        ("a disk with GPT", [&mbr(0xee, 0)[..512], b"EFI PART", &[0; 4096]].concat()),
        ("a disk with GPT", at(512, b"EFI PART", START)),
        ("a disk with GPT of 4096-byte sectors", at(4096, b"EFI PART", START)),
        ("an ext file system", at(1080, &[0x53, 0xef], START)),
        ("an XFS file system", at(0, b"XFSB", START)),
        ("a btrfs file system", at(65600, b"_BHRfS_M", START)),
        ("a ReiserFS file system", at(65588, b"ReIsEr2Fs", START)),
        ("a UFS file system", at(66908, &[0x19, 0x01, 0x54, 0x19], START)),
        ("a NILFS2 file system", at(1030, &[0x34, 0x34], START)),
        ("an APFS container", at(32, b"NXSB", START)),
        ("swap space", at(65526, b"SWAPSPACE2", START)),
        ("a LUKS volume", at(0, b"LUKS\xba\xbe", START)),
        ("an LVM physical volume", at(512, b"LABELONE", START)),
        ("a FAT file system", [&[0xeb, 0x3c, 0x90][..], b"mkfs.fat", &[0, 2], &at(497, &[0x55, 0xaa], 499)].concat()),
        ("an NTFS file system", [&[0xeb, 0x52, 0x90][..], b"NTFS    ", &at(499, &[0x55, 0xaa], 501)].concat()),
        ("a boot sector", [&[0xfa][..], &at(509, &[0x55, 0xaa], 511)].concat()),
    ] {
        assert_eq!(look(&start), Content::Disk(expected), "{expected}");
    }
    let mut hybrid = mbr(0x17, 0x80);
    hybrid[32769..32774].copy_from_slice(b"CD001");
    assert_eq!(look(&hybrid), Content::Disk("a disk with MBR partitions"), "a hybrid ISO is a disk image");
    assert_eq!(look(b"QFI\xfb\0\0\0\x03"), Content::Qcow2);
}

#[test]
fn what_is_not_a_disk_image_is_named_and_has_a_remedy() {
    let iso = at(32769, b"CD001", START);
    for (expected, start) in [
        ("empty", vec![]),
        ("shorter than a sector", vec![0]),
        ("text", b"x".to_vec()),
        ("an HTML page, such as an error or a login page", b"\r\n<!DOCTYPE HTML><title>Login</title>".to_vec()),
        ("an HTML page, such as an error or a login page", b"\xef\xbb\xbf<html>".to_vec()),
        ("an XML or HTML document", b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>".to_vec()),
        ("a JSON document", b"{\"errors\":[{\"code\":\"DENIED\"}]}".to_vec()),
        ("a list of checksums", b"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  disk.img\n".to_vec()),
        ("text", "Not found: l\u{e4}uft nicht\n".repeat(40).into_bytes()),
        ("a Git LFS pointer, not the file", b"version https://git-lfs.github.com/spec/v1\noid sha256:1".to_vec()),
        ("the description of a VMDK image", b"# Disk DescriptorFile\nversion=1\n".to_vec()),
        ("a VMDK image", at(0, b"KDMV\x01\0\0\0", START)),
        ("a VHD image", at(0, b"conectix", START)),
        ("a VHDX image", at(0, b"vhdxfile", START)),
        ("a VDI image", at(64, &[0x7f, 0x10, 0xda, 0xbe], START)),
        ("a tar archive", at(257, b"ustar\0", START)),
        ("gzip data", at(0, &[0x1f, 0x8b, 8], START)),
        ("zstd data", at(0, &[0x28, 0xb5, 0x2f, 0xfd], START)),
        ("compressed data", at(0, b"BZh91AY&SY", START)),
        ("an ISO image without a partition table, which boots from a CD only", iso),
        ("zeros at the start, without a partition table", vec![0; START]),
        ("without a partition table, a boot sector or a file system that is known", vec![7; START]),
        // no partition starts with this status
        ("without a partition table, a boot sector or a file system that is known", mbr(0x83, 0x3c)),
    ] {
        assert_eq!(name(&start), expected);
        assert!(matches!(look(&start), Content::Other { remedy, .. } if !remedy.is_empty()), "{expected}");
    }
}

#[test]
fn what_programs_of_this_host_write_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "content").unwrap();
    for (program, arguments, expected) in [
        ("tar", "--format=v7 -cf out file", "a tar archive"),
        ("tar", "-cf out file", "a tar archive"),
        ("xz", "--format=lzma -k -c file", "compressed data"),
        ("bzip2", "-k -c file", "compressed data"),
    ] {
        let command = std::process::Command::new(program).args(arguments.split(' ')).current_dir(folder.path()).output().unwrap();
        assert!(command.status.success(), "{program} {arguments}");
        let data = if command.stdout.is_empty() { std::fs::read(folder.path().join("out")).unwrap() } else { command.stdout };
        assert_eq!(name(&data), expected, "{program} {arguments}");
    }
}

#[test]
fn every_start_has_an_answer() {
    let mut state = 1u64;
    for length in (0..700).chain([4100, 40_000]) {
        let data: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .take(length)
        .collect();
        let _ = look(&data);
    }
}
