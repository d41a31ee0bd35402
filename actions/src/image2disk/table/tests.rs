//! Tables as sfdisk writes them, and what sfdisk says of the result.

use super::*;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const MIB: u64 = 1 << 20;

struct Image {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Image {
    /// Made by sfdisk from a script.
    fn of(size: u64, script: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        std::fs::File::create(&path).unwrap().set_len(size).unwrap();
        let mut child = sfdisk(&["--quiet"]).arg(&path).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "{script}");
        Self { _folder: folder, path }
    }

    fn head(&self) -> Vec<u8> {
        std::fs::read(&self.path).unwrap()[..MIB as usize].to_vec()
    }

    /// The image on a disk of this size, as the writer leaves it.
    fn onto(&self, size: u64, grow: Option<Grow>) -> Adapted {
        let (mut data, disk) = (std::fs::read(&self.path).unwrap(), Disk { size, sector: 512 });
        let image = data.len() as u64;
        let adapted = adapt(&mut data[..MIB as usize], Some(image), disk, grow).unwrap();
        data.resize(size as usize, 0);
        for (at, length) in &adapted.stale {
            data[*at as usize..(*at + *length) as usize].fill(0);
        }
        if let Some((at, backup)) = &adapted.backup {
            data[*at as usize..*at as usize + backup.len()].copy_from_slice(backup);
            assert_eq!(at + backup.len() as u64, size);
        }
        std::fs::write(&self.path, data).unwrap();
        adapted
    }

    fn verify(&self) {
        let output = sfdisk(&["--verify"]).arg(&self.path).output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && text.contains("No errors detected"), "{text}");
        assert!(!text.contains("backup"), "{text}");
    }
}

fn sfdisk(arguments: &[&str]) -> Command {
    let mut command = Command::new("/usr/sbin/sfdisk");
    command.args(arguments).env("LC_ALL", "C");
    command
}

/// The table as sfdisk prints it, without the names of the partitions.
fn dump(path: &Path) -> String {
    let output = sfdisk(&["--dump"]).arg(path).output().unwrap();
    String::from_utf8(output.stdout).unwrap().replace(' ', "")
}

const TWO: &str = "label: gpt\nstart=2048, size=4096\nstart=6144, size=4096, name=root\n";
const MBR: &str = "label: dos\nstart=2048, size=4096, type=83\nstart=6144, size=4096, type=83\n";

#[test]
fn the_backup_of_gpt_moves_to_the_end_of_a_larger_disk() {
    for size in [8 * MIB, 8 * MIB + 512, 16 * MIB, 33 * MIB] {
        let image = Image::of(8 * MIB, TWO);
        let adapted = image.onto(size, None);
        assert_eq!(adapted.backup.is_some(), size != 8 * MIB, "{size}");
        image.verify();
        let text = dump(&image.path);
        assert!(text.contains("start=6144,size=4096"), "{text}");
        assert!(text.contains(&format!("last-lba:{}", size / 512 - 34)), "{text}");
        let data = std::fs::read(&image.path).unwrap();
        let backups = data.chunks(512).filter(|sector| sector.starts_with(b"EFI PART")).count();
        assert_eq!(backups, 2, "{size}: the image's own backup is gone");
    }
}

#[test]
fn the_last_partition_takes_the_rest_of_the_disk() {
    for (case, script, grow, expected) in [
        ("GPT, the last", TWO, Grow::Last, "start=6144,size=57344"),
        ("GPT, by its number", TWO, Grow::Number(2), "start=6144,size=57344"),
        (
            "GPT, whose last partition is not its last entry",
            "label: gpt\n1: start=6144,size=4096\n2: start=2048,size=4096\n",
            Grow::Number(1),
            "start=6144,size=57344",
        ),
        ("MBR", MBR, Grow::Last, "start=6144,size=59392"),
    ] {
        let image = Image::of(8 * MIB, script);
        let adapted = image.onto(32 * MIB, Some(grow));
        assert!(adapted.notes.iter().any(|note| note.contains("grew by")), "{case}: {:?}", adapted.notes);
        image.verify();
        let text = dump(&image.path);
        assert!(text.contains(expected), "{case}: {text}");
        assert!(text.contains("start=2048,size=4096"), "{case}: {text}");
    }
}

#[test]
fn a_wish_that_cannot_be_fulfilled_changes_nothing() {
    let disk = |size, sector| Disk { size, sector };
    let (gpt, mbr) = (Image::of(8 * MIB, TWO).head(), Image::of(8 * MIB, MBR).head());
    let big = of_large_sectors(&gpt);
    let odd = Image::of(8 * MIB, "label: gpt\nstart=2048, size=4096\nstart=6144, size=4095\n").head();
    let early = Image::of(8 * MIB, "label: gpt\nfirst-lba: 34\nstart=40, size=4096\n").head();
    let odd_mbr = Image::of(8 * MIB, "label: dos\nstart=63, size=4096, type=83\n").head();
    let logical = Image::of(8 * MIB, "label: dos\nstart=2048, size=8192, type=5\nstart=4096, size=2048\n").head();
    let mut fat = vec![0; MIB as usize];
    (fat[0], fat[12], fat[510], fat[511]) = (0xeb, 2, 0x55, 0xaa);
    fat[82..85].copy_from_slice(b"FAT");
    for (case, head, disk, grow, expected) in [
        (
            "a GPT of small sectors",
            &odd,
            disk(32 * MIB, 4096),
            None,
            "has sectors of 4096. It cannot be converted: partition 2 does not begin and end at a multiple of 4096",
        ),
        ("a partition where the table must be", &early, disk(32 * MIB, 4096), None, "partition 1 does not begin and end at"),
        ("an MBR of small sectors", &odd_mbr, disk(32 * MIB, 4096), None, "partition 1 does not begin and end at"),
        ("logical partitions of small sectors", &logical, disk(32 * MIB, 4096), None, "counts in sectors of 512 bytes"),
        ("a FAT of small sectors", &fat, disk(32 * MIB, 4096), None, "FAT file system has sectors of 512"),
        ("a small disk", &gpt, disk(5 * MIB, 512), None, "partition 2 ends at byte 5242880, and the disk has"),
        ("a small disk, MBR", &mbr, disk(4 * MIB, 512), None, "partition 2 ends at byte 5242880, and the disk has 4194304"),
        (
            "the first one",
            &gpt,
            disk(32 * MIB, 512),
            Some(Grow::Number(1)),
            "partition 1 is not the last one on the disk: partition 2 is",
        ),
        ("one that is missing", &mbr, disk(32 * MIB, 512), Some(Grow::Number(4)), "it has no partition 4"),
        ("an extended one", &logical, disk(32 * MIB, 512), Some(Grow::Last), "logical or extended"),
        ("no table", &vec![7; 4096], disk(32 * MIB, 512), Some(Grow::Last), "no partition table"),
    ] {
        let mut copy = head.clone();
        let error = adapt(&mut copy, Some(8 * MIB), disk, grow).expect_err(case);
        assert!(error.to_string().contains(expected), "{case}: {error}");
        assert_eq!(copy, *head, "{case}");
    }
    let large = adapt(&mut big.clone(), Some(16 * MIB), disk(64 * MIB, 4096), None).unwrap();
    let (at, backup) = large.backup.unwrap();
    assert_eq!(at + backup.len() as u64, 64 * MIB, "a table of the disk's own sectors");
    assert!(backup[backup.len() - 4096..].starts_with(b"EFI PART"));
}

#[test]
fn a_table_counts_in_the_disks_sectors_afterwards() {
    let image = Image::of(8 * MIB, TWO);
    let small = image.head();
    let mut large = small.clone();
    let there = adapt(&mut large, Some(8 * MIB), Disk { size: 8 * MIB, sector: 4096 }, None).unwrap();
    let starts: Vec<(u64, u64)> = there.converted.iter().map(|part| (part.start, part.end)).collect();
    assert_eq!(starts, [(MIB, 3 * MIB), (3 * MIB, 5 * MIB)]);
    assert_eq!(there.stale, [(8 * MIB - 33 * 512, 33 * 512)], "the image's own backup");
    let numbers: Vec<u64> = [8224, 8232, 8352, 8360].map(|at| number(&large, at, 8)).into();
    assert_eq!(numbers, [256, 767, 768, 1279], "first and last sector of both entries");
    assert_eq!((number(&large, 4096 + 40, 8), number(&large, 4096 + 72, 8)), (6, 2), "first usable sector, and the entries");
    assert!(large[512..4096].iter().all(|byte| *byte == 0), "the old header is gone");
    // And back, as sfdisk reads it.
    std::fs::write(&image.path, [&large[..], &vec![0; 7 * MIB as usize]].concat()).unwrap();
    let back = image.onto(16 * MIB, Some(Grow::Last));
    assert!(back.notes[0].contains("converted from sectors of 4096 bytes to 512"), "{:?}", back.notes);
    assert_eq!(back.grown, Some(2));
    image.verify();
    let text = dump(&image.path);
    assert!(text.contains("start=2048,size=4096") && text.contains("start=6144,size=24576"), "{text}");
    let mut mbr = Image::of(8 * MIB, MBR).head();
    let adapted = adapt(&mut mbr, Some(8 * MIB), Disk { size: 32 * MIB, sector: 4096 }, Some(Grow::Last)).unwrap();
    assert_eq!(adapted.converted.len(), 2);
    let second: Vec<u8> = [768u32.to_le_bytes(), (8192u32 - 768).to_le_bytes()].concat();
    assert_eq!(mbr[470..478], second[..]);
}

#[test]
fn old_superblocks_of_btrfs_are_erased_where_a_partition_grew_over_them() {
    let image = Image::of(8 * MIB, TWO);
    let grown = adapt(&mut image.head(), Some(8 * MIB), Disk { size: 128 * MIB, sector: 512 }, Some(Grow::Last)).unwrap();
    assert!(grown.stale.contains(&(67 * MIB, 4096)), "{:?}", grown.stale);
    let kept = adapt(&mut image.head(), Some(8 * MIB), Disk { size: 128 * MIB, sector: 512 }, None).unwrap();
    assert!(!kept.stale.contains(&(67 * MIB, 4096)), "it is not in a partition");
}

/// sfdisk writes such tables only to such disks.
fn of_large_sectors(gpt: &[u8]) -> Vec<u8> {
    let mut head = vec![0; MIB as usize];
    head[..512].copy_from_slice(&gpt[..512]);
    head[4096..4608].copy_from_slice(&gpt[512..1024]);
    head[8192..8192 + 16384].copy_from_slice(&gpt[1024..1024 + 16384]);
    for at in [32, 40] {
        head[8192 + at..8200 + at].copy_from_slice(&2048u64.to_le_bytes());
        head[8320 + at..8328 + at].copy_from_slice(&2049u64.to_le_bytes());
    }
    let entries = crc32fast::hash(&head[8192..8192 + 16384]);
    head[4096 + 88..4096 + 92].copy_from_slice(&entries.to_le_bytes());
    head[4096 + 16..4096 + 20].fill(0);
    let header = crc32fast::hash(&head[4096..4096 + 92]);
    head[4096 + 16..4096 + 20].copy_from_slice(&header.to_le_bytes());
    head
}

#[test]
fn an_image_that_ends_before_its_partition_has_a_line() {
    for script in [TWO, MBR] {
        let head = Image::of(8 * MIB, script).head();
        for (image, expected) in [(4 * MIB, true), (8 * MIB, false)] {
            let adapted = adapt(&mut head.clone(), Some(image), Disk { size: 8 * MIB, sector: 512 }, None).unwrap();
            let line = "and its partition 2 ends at byte 5242880";
            assert_eq!(adapted.notes.iter().any(|note| note.contains(line)), expected, "{image}: {:?}", adapted.notes);
        }
    }
}

#[test]
fn a_disk_without_room_for_the_backup_is_left_alone() {
    let head = Image::of(8 * MIB, "label: gpt\n").head();
    for size in [512, 4096, 33 * 1024] {
        let mut copy = head.clone();
        let adapted = adapt(&mut copy, None, Disk { size, sector: 512 }, None).unwrap();
        assert!(adapted.backup.is_none() && adapted.stale.is_empty() && copy == head, "{size}: {adapted:?}");
    }
}

#[test]
fn a_damaged_gpt_is_written_as_it_is() {
    let image = Image::of(8 * MIB, TWO);
    for at in [512 + 40, 1024 + 33] {
        let mut head = image.head();
        head[at] ^= 1;
        let before = head.clone();
        let adapted = adapt(&mut head, Some(8 * MIB), Disk { size: 32 * MIB, sector: 512 }, None).unwrap();
        assert!(adapted.backup.is_none() && adapted.notes.iter().any(|note| note.contains("damaged")), "{adapted:?}");
        assert_eq!(head, before);
    }
}
