//! Layouts, and tables that sgdisk and sfdisk read.

use super::*;
use crate::image2disk::table::new::{Table, gpt, mbr};
use std::os::unix::fs::FileExt;
use std::process::Command;

const MIB: u64 = 1 << 20;

fn part(label: &str, number: u64, size: u64) -> Partition {
    Partition { label: label.into(), number, size, ..Partition::default() }
}

fn disk(size: u64, sector: u64) -> Disk {
    Disk { size, sector }
}

#[test]
fn partitions_follow_each_other_and_the_last_one_may_take_the_rest() {
    let parts = [part("BIOS", 1, 2048), part("EFI", 2, 1001), part("ROOT", 3, 0)];
    let ranges: Vec<_> =
        plan(&parts, disk(64 * MIB, 512), false).unwrap().iter().map(|part| part.range(disk(64 * MIB, 512))).collect();
    assert_eq!(ranges, [MIB..2 * MIB, 2 * MIB..2 * MIB + 1001 * 512, 3 * MIB..63 * MIB]);
    let four = disk(64 * MIB, 4096);
    let parts = [part("EFI", 1, 2048), part("ROOT", 2, 0)];
    let ranges: Vec<_> = plan(&parts, four, false).unwrap().iter().map(|part| part.range(four)).collect();
    assert_eq!(ranges, [MIB..2 * MIB, 2 * MIB..63 * MIB], "sizes are in 512 bytes on every disk");
}

#[test]
fn what_does_not_fit_is_refused() {
    let overlapping = Partition { start: Some(2048), ..part("B", 2, 8) };
    for (case, parts, size, sector, mbr, expected) in [
        ("none", vec![], 64, 512, false, LayoutError::Empty),
        (
            "five in an MBR",
            (1..6).map(|number| part("", number, 8)).collect(),
            64,
            512,
            true,
            LayoutError::Many { count: 5, table: "an MBR", most: 4 },
        ),
        ("a gap", vec![part("A", 1, 8), part("B", 3, 8)], 64, 512, false, LayoutError::Order { number: 3, before: 1 }),
        ("the rest first", vec![part("A", 1, 0), part("B", 2, 8)], 64, 512, false, LayoutError::Rest { number: 1 }),
        (
            "too large",
            vec![part("A", 1, 63 * 2048)],
            64,
            512,
            false,
            LayoutError::TooLarge { number: 1, end: 64 * MIB, room: 64 * MIB - 33 * 512 },
        ),
        (
            "beyond counting",
            vec![part("A", 1, u64::MAX)],
            64,
            512,
            false,
            LayoutError::TooLarge { number: 1, end: u64::MAX, room: 64 * MIB - 33 * 512 },
        ),
        ("no room", vec![part("A", 1, 2048), part("B", 2, 0)], 3, 512, false, LayoutError::Full { number: 2 }),
        ("a tiny disk", vec![part("A", 1, 0)], 0, 512, false, LayoutError::Full { number: 1 }),
        (
            "overlapping",
            vec![part("A", 1, 8), overlapping],
            64,
            512,
            false,
            LayoutError::Overlap { number: 2, start: 2048, free: 2056 },
        ),
        (
            "half a sector",
            vec![part("A", 1, 9)],
            64,
            4096,
            false,
            LayoutError::Sector { number: 1, start: 2048, size: 9, sector: 4096 },
        ),
        ("a long label", vec![part(&"x".repeat(37), 1, 8)], 64, 512, false, LayoutError::Label { number: 1 }),
    ] {
        assert_eq!(plan(&parts, disk(size * MIB, sector), mbr), Err(expected), "{case}");
    }
}

/// A file with this table, of zeros else.
fn file(disk: Disk, table: &Table) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(disk.size).unwrap();
    file.as_file().write_all_at(&table.head, 0).unwrap();
    if let Some((at, backup)) = &table.backup {
        file.as_file().write_all_at(backup, *at).unwrap();
    }
    file
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    match Command::new(program).args(arguments).output() {
        Ok(output) => Some(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()),
        Err(error) => {
            eprintln!("SKIPPED: {program}: {error} (Debian's packages gdisk and fdisk)");
            None
        }
    }
}

fn ids() -> impl FnMut() -> [u8; 16] {
    let mut count = 0;
    move || {
        count += 1;
        [count; 16]
    }
}

#[test]
fn sgdisk_finds_nothing_to_complain_about_in_a_new_gpt() {
    let parts = [part("BIOS", 1, 2048), part("EFI", 2, 4096), part("SWAP", 3, 4096), part("Größe", 4, 0)];
    let disk = disk(64 * MIB, 512);
    let table = gpt(&plan(&parts, disk, false).unwrap(), disk, ids());
    let file = file(disk, &table);
    let path = file.path().to_str().unwrap();
    let Some(verified) = output("/sbin/sgdisk", &["--verify", path]) else { return };
    assert!(verified.contains("No problems found"), "{verified}");
    let shown = output("/sbin/sgdisk", &["--print", path]).unwrap();
    let rows: Vec<Vec<&str>> = shown.lines().skip_while(|line| !line.starts_with("Number")).skip(1).map(columns).collect();
    assert_eq!(
        rows,
        [
            ["1", "2048", "4095", "1024.0", "KiB", "EF02", "BIOS"],
            ["2", "4096", "8191", "2.0", "MiB", "EF00", "EFI"],
            ["3", "8192", "12287", "2.0", "MiB", "8200", "SWAP"],
            ["4", "12288", "129023", "57.0", "MiB", "8300", "Größe"],
        ]
    );
}

fn columns(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

#[test]
fn sfdisk_reads_both_tables() {
    let disk = disk(64 * MIB, 512);
    let parts = [part("FAT32_ACTIVE", 1, 4096), part("SWAP", 2, 4096), part("LINUX", 3, 0)];
    let written =
        [mbr(&plan(&parts, disk, true).unwrap(), disk, 0x1234_5678), gpt(&plan(&parts, disk, false).unwrap(), disk, ids())];
    let dumps = written.map(|table| {
        let file = file(disk, &table);
        output("/sbin/sfdisk", &["--dump", file.path().to_str().unwrap()])
    });
    let [Some(mbr), Some(gpt)] = dumps else { return };
    assert!(mbr.contains("label: dos") && mbr.contains("label-id: 0x12345678"), "{mbr}");
    for row in ["start=        2048, size=        4096, type=c, bootable", "start=        6144, size=        4096, type=82"] {
        assert!(mbr.contains(row), "{mbr}");
    }
    assert!(mbr.contains("start=       10240, size=      120832, type=83"), "{mbr}");
    assert!(gpt.contains("label: gpt") && gpt.contains("start=       10240, size=      118784, type=0FC63DAF"), "{gpt}");
    assert!(!gpt.to_lowercase().contains("corrupt"), "{gpt}");
}
