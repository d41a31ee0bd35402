//! On files; loop devices are in tests/wipe.rs.

use super::*;
use std::process::{Command, Stdio};

const MIB: usize = 1 << 20;

fn wipe(path: &Path, more: (&str, &str)) -> Result<(), String> {
    let variables = Variables::of([("DEST_DISK", path.to_str().unwrap()), more]);
    let before = std::fs::read(path).unwrap();
    dry_run(&variables).map_err(|error| error.to_string())?;
    assert!(std::fs::read(path).unwrap() == before, "a dry run writes nothing");
    run(&variables).map_err(|error| error.to_string())
}

#[test]
fn both_edges_are_erased_and_the_rest_is_left_or_zeroed() {
    let folder = tempfile::tempdir().unwrap();
    for size in [4096, MIB, 3 * MIB, 3 * MIB + 512] {
        let path = folder.path().join(size.to_string());
        std::fs::write(&path, vec![7u8; size]).unwrap();
        wipe(&path, ("X", "")).unwrap();
        let data = std::fs::read(&path).unwrap();
        let edge = size.min(MIB);
        assert_eq!(data.len(), size);
        assert!(data[..edge].iter().chain(&data[size - edge..]).all(|byte| *byte == 0), "{size}");
        assert_eq!(data.iter().filter(|byte| **byte == 7).count(), size.saturating_sub(2 * edge));
        wipe(&path, ("METHOD", "zero")).unwrap();
        assert!(std::fs::read(&path).unwrap() == vec![0; size], "{size}");
    }
}

#[test]
fn what_was_in_a_partition_is_not_there_after_the_same_table_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    for (label, first) in [("gpt", 2048), ("dos", 63)] {
        std::fs::File::create(&path).unwrap().set_len(40 << 20).unwrap();
        let table = format!("label: {label}\nstart={first}, size=16384\nstart=32768, size=16384\n");
        sfdisk(&path, &table);
        for (offset, size) in [(first * 512, 8 << 10), (32768 * 512, 8 << 10)] {
            let place = format!("offset={offset}");
            let made = Command::new("mkfs.ext4").args(["-q", "-E", &place]).arg(&path).arg(format!("{size}k")).status();
            assert!(made.unwrap().success());
        }
        wipe(&path, ("METHOD", "signatures")).unwrap();
        assert_eq!(blkid(&path, 0), "", "{label}");
        sfdisk(&path, &table);
        for offset in [first * 512, 32768 * 512] {
            assert_eq!(blkid(&path, offset), "", "{label} at {offset}");
        }
    }
}

/// The four labels of a pool, each with an array of uberblocks, as `zpool create` leaves them.
fn write_zfs_labels(data: &mut [u8]) {
    const LABEL: usize = 256 << 10;
    let end = data.len() - data.len() % LABEL;
    for start in [0, LABEL, end - 2 * LABEL, end - LABEL] {
        for block in (start + (128 << 10)..start + LABEL).step_by(1024) {
            data[block..block + 8].copy_from_slice(&0x00ba_b10c_u64.to_le_bytes());
            data[block + 8..block + 16].copy_from_slice(&5000u64.to_le_bytes());
        }
    }
}

/// `struct mdp_superblock_1`: magic, version 1, and where it is, so that mdadm finds it plausible.
fn write_md(data: &mut [u8], minor: usize) {
    let at = [(data.len() - 8192) & !4095, 0, 4096][minor];
    data[at..at + 4].copy_from_slice(&0xa92b_4efc_u32.to_le_bytes());
    data[at + 4] = 1;
    data[at + 16..at + 32].fill(0xab);
    data[at + 32..at + 35].copy_from_slice(b"m:0");
    data[at + 72] = 1; // level
    data[at + 80..at + 88].copy_from_slice(&4096u64.to_le_bytes()); // size
    data[at + 92] = 2; // disks
    data[at + 128..at + 136].copy_from_slice(&2048u64.to_le_bytes()); // data offset
    data[at + 136..at + 144].copy_from_slice(&4096u64.to_le_bytes()); // data size
    data[at + 144..at + 152].copy_from_slice(&((at / 512) as u64).to_le_bytes());
    data[at + 220] = 2; // max_dev
    data[at + 256 + 2] = 1; // roles
    let block: Vec<u8> = data[at..at + 256 + 4].to_vec();
    let words = block.chunks(4).map(|word| u64::from(u32::from_le_bytes(word.try_into().unwrap())));
    let sum: u64 = words.sum();
    let sum = ((sum & 0xffff_ffff) + (sum >> 32)) as u32;
    data[at + 216..at + 220].copy_from_slice(&sum.to_le_bytes());
}

#[test]
fn members_of_md_zfs_and_lvm_are_not_recognised_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    let has_mdadm = Path::new("/sbin/mdadm").exists();
    if !has_mdadm {
        eprintln!("SKIPPED: what mdadm finds: there is no /sbin/mdadm; apt-get install mdadm");
    }
    for kind in ["zfs_member", "linux_raid_member", "linux_raid_member 1.1", "linux_raid_member 1.2", "LVM2_member"] {
        // blkid looks for ZFS on larger disks only.
        let mut data = vec![0; if kind == "zfs_member" { 64 * MIB } else { 8 * MIB }];
        match kind {
            "zfs_member" => write_zfs_labels(&mut data),
            "LVM2_member" => {
                data[512..520].copy_from_slice(b"LABELONE");
                data[520] = 1;
                data[536..544].copy_from_slice(b"LVM2 001");
                data[532] = 32;
                let crc = lvm_crc(&data[532..1024]);
                data[528..532].copy_from_slice(&crc.to_le_bytes());
            }
            name => write_md(&mut data, name.split("1.").nth(1).map_or(0, |minor| minor.parse().unwrap())),
        }
        std::fs::write(&path, &data).unwrap();
        let before = blkid(&path, 0);
        assert!(before.contains(kind.split(' ').next().unwrap()), "{kind}: the test's own superblock is not one: {before:?}");
        if kind.starts_with("linux") && has_mdadm {
            assert!(mdadm(&path).contains("a92b4efc"), "{kind}: {}", mdadm(&path));
        }
        wipe(&path, ("METHOD", "signatures")).unwrap();
        assert_eq!(blkid(&path, 0), "", "{kind}");
        if has_mdadm {
            assert!(!mdadm(&path).contains("a92b4efc"), "{kind}");
        }
    }
}

/// LVM's CRC-32 has another start than zlib's, and no end.
fn lvm_crc(data: &[u8]) -> u32 {
    let mut crc = 0xf597_a6cf_u32;
    for byte in data {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    crc
}

fn mdadm(path: &Path) -> String {
    let output = Command::new("/sbin/mdadm").arg("--examine").arg(path).output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn blkid(path: &Path, offset: usize) -> String {
    let arguments = ["--probe", "--offset", &offset.to_string(), "--output", "value", "-s", "TYPE"];
    let output = Command::new("/usr/sbin/blkid").args(arguments).arg(path).output();
    String::from_utf8_lossy(&output.unwrap().stdout).trim().to_owned()
}

fn sfdisk(path: &Path, script: &str) {
    use std::io::Write;
    let mut child = Command::new("/usr/sbin/sfdisk")
        .args(["--quiet", "--wipe", "never", "--wipe-partitions", "never"])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{script}");
}

#[test]
fn a_wrong_method_or_serial_number_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    std::fs::write(&path, vec![7u8; 3 * MIB]).unwrap();
    for (more, expected) in [
        (("METHOD", "shred"), "METHOD=\"shred\" is not usable: wanted auto, signatures, discard"),
        (("METHOD", "discard"), "METHOD=discard is not possible"),
        (("METHOD", "nvme-format"), "it is not an NVMe disk"),
        (("METHOD", "ata-secure-erase"), "it does not answer ATA commands"),
        (("EXPECTED_SERIAL", "S1"), "EXPECTED_SERIAL is S1, and"),
    ] {
        let error = wipe(&path, more).unwrap_err();
        assert!(error.contains(expected), "{error}");
        assert!(std::fs::read(&path).unwrap() == vec![7u8; 3 * MIB]);
    }
}
