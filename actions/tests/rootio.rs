//! rootio on loop devices, read by Debian's programs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod loops;

use actions::rootio;
use actions::variables::Variables;
use loops::{Loop, alone, is_there, must};
use std::error::Error;
use std::os::unix::fs::FileExt;
use std::process::Command;

const MIB: u64 = 1 << 20;

/// Runs a command of rootio with this storage.
fn run(word: &str, storage: &str, mbr: bool) -> Result<(), String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, format!(r#"{{"metadata":{{"instance":{{"storage":{storage}}}}}}}"#)).unwrap();
    let path = file.path().to_str().unwrap();
    let variables = Variables::of([("TEST", "1"), ("JSON_FILE", path), ("MBR", if mbr { "1" } else { "" })]);
    rootio::run(&variables.with_words(vec![word.to_owned()])).map_err(|error| {
        let causes = std::iter::successors(error.source(), |cause| (*cause).source()).map(ToString::to_string);
        std::iter::once(error.to_string()).chain(causes).collect::<Vec<_>>().join(": ")
    })
}

fn disks(device: &str, wipe: bool, partitions: &str) -> String {
    format!(r#"{{"disks":[{{"device":"{device}","wipe_table":{wipe},"partitions":[{partitions}]}}]}}"#)
}

const PARTITIONS: &str =
    r#"{"label":"BIOS","number":1,"size":2048},{"label":"SWAP","number":2,"size":8192},{"label":"ROOT","number":3,"size":0}"#;

#[test]
fn a_new_gpt_is_what_sgdisk_and_sfdisk_expect() {
    let _alone = alone();
    for sector in [512, 4096] {
        let Some(disk) = Loop::new(64 * MIB, sector) else { return };
        run("partition", &disks(disk.name(), true, PARTITIONS), false).unwrap();
        if !is_there("sgdisk", "gdisk") || !is_there("sfdisk", "fdisk") {
            return;
        }
        let verified = must(Command::new("sgdisk").arg("--verify").arg(&disk.device));
        assert!(verified.contains("No problems found"), "{sector}: {verified}");
        let dump = must(Command::new("sfdisk").arg("--dump").arg(&disk.device));
        let sizes = if sector == 512 { [2048, 8192, 116_736] } else { [256, 1024, 14592] };
        let found: Vec<u64> =
            dump.lines().filter_map(|line| line.split("size=").nth(1)?.split(',').next()?.trim().parse().ok()).collect();
        assert_eq!(found, sizes, "{sector}: {dump}");
    }
}

#[test]
fn what_a_disk_had_does_not_come_back() {
    let _alone = alone();
    let Some(disk) = Loop::new(64 * MIB, 512) else { return };
    // ext4 in the third partition, and an md member at the end of the disk.
    let third = 6 * MIB;
    must(Command::new("mkfs.ext4").args(["-q", "-F", "-E", &format!("offset={third}")]).arg(&disk.file).arg("40M"));
    let file = std::fs::File::options().write(true).open(&disk.file).unwrap();
    file.write_all_at(&[0xfc, 0x4e, 0x2b, 0xa9], 64 * MIB - 8192).unwrap();
    let seen = |offset: u64| {
        let output = Command::new("blkid").args(["-p", "-O", &offset.to_string()]).arg(&disk.device).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(seen(third).contains("ext4"), "{}", seen(third));
    run("partition", &disks(disk.name(), true, PARTITIONS), false).unwrap();
    assert_eq!(seen(third), "");
    let mut end = [0; 4];
    std::fs::File::open(&disk.file).unwrap().read_exact_at(&mut end, 64 * MIB - 8192).unwrap();
    assert_eq!(end, [0; 4]);
}

#[test]
fn without_wipe_table_the_content_of_partitions_stays() {
    let _alone = alone();
    let Some(disk) = Loop::new(64 * MIB, 512) else { return };
    let file = std::fs::File::options().read(true).write(true).open(&disk.file).unwrap();
    file.write_all_at(b"kept", 6 * MIB).unwrap();
    run("partition", &disks(disk.name(), false, PARTITIONS), true).unwrap();
    let mut bytes = [0; 4];
    file.read_exact_at(&mut bytes, 6 * MIB).unwrap();
    assert_eq!(&bytes, b"kept");
    let dump = must(Command::new("sfdisk").arg("--dump").arg(&disk.device));
    assert!(dump.contains("label: dos") && dump.contains("start=       12288"), "{dump}");
}

#[test]
fn nothing_is_written_before_everything_is_known_to_fit() {
    let _alone = alone();
    let (Some(disk), Some(other)) = (Loop::ext4(16 * MIB), Loop::new(16 * MIB, 512)) else { return };
    let untouched = |disk: &Loop| std::fs::read(&disk.file).unwrap();
    let before = untouched(&disk);
    let both = |second: &str| {
        let part = |size| format!(r#"[{{"label":"A","number":1,"size":{size}}}]"#);
        format!(
            r#"{{"disks":[{{"device":"{}","wipe_table":true,"partitions":{}}},{{"device":"{}","partitions":{second}}}]}}"#,
            disk.name(),
            part(2048),
            other.name()
        )
    };
    for (case, storage, expected) in [
        ("the second disk is too small", both(r#"[{"label":"A","number":1,"size":999999}]"#), "partition 1 ends at byte"),
        ("the second disk has no partitions", both("[]"), "it has no partitions"),
        ("nothing", r#"{"disks":null,"filesystems":null}"#.to_owned(), "it has no storage"),
    ] {
        let error = run("partition", &storage, false).unwrap_err();
        assert!(error.contains(expected), "{case}: {error}");
        assert!(untouched(&disk) == before, "{case}");
    }
    let place = tempfile::tempdir().unwrap();
    must(Command::new("mount").arg(&disk.device).arg(place.path()));
    let partition = run("partition", &disks(disk.name(), true, PARTITIONS), false);
    let format = format!(r#"{{"filesystems":[{{"mount":{{"device":"{}","format":"swap","point":"none"}}}}]}}"#, disk.name());
    let format = run("format", &format, false);
    actions::mount::detach(place.path()).unwrap();
    for refused in [partition, format] {
        let error = refused.unwrap_err();
        assert!(error.contains("is in use: it or a partition of it is mounted"), "{error}");
    }
}

#[test]
fn file_systems_are_what_blkid_says_they_are() {
    let _alone = alone();
    let Some(disk) = Loop::new(320 * MIB, 512) else { return };
    for (format, options, program, package) in [
        ("ext4", r#"["-L","ROOT"]"#, "mke2fs", "e2fsprogs"),
        ("swap", r#"["-L","ROOT"]"#, "losetup", "util-linux"),
        ("vfat", r#"["-F","32","-n","ROOT"]"#, "mkfs.fat", "dosfstools"),
        ("xfs", r#"["-L","ROOT"]"#, "mkfs.xfs", "xfsprogs"),
        ("btrfs", r#"["-L","ROOT"]"#, "mkfs.btrfs", "btrfs-progs"),
    ] {
        if !is_there(program, package) {
            continue;
        }
        let storage = format!(
            r#"{{"filesystems":[{{"mount":{{"create":{{"options":{options}}},"device":"{}","format":"{format}","point":"/"}}}}]}}"#,
            disk.name()
        );
        run("format", &storage, false).unwrap();
        let seen = must(Command::new("blkid").args(["-p", "-o", "export"]).arg(&disk.device));
        assert!(seen.contains(&format!("TYPE={format}\n")) && seen.contains("LABEL=ROOT\n"), "{format}: {seen}");
    }
    let unknown = format!(r#"{{"filesystems":[{{"mount":{{"device":"{}","format":"ntfs","point":"/"}}}}]}}"#, disk.name());
    let error = run("format", &unknown, false).unwrap_err();
    assert!(error.contains("the format \"ntfs\"") && error.contains("ext2, ext3, ext4, vfat, xfs, btrfs and swap"), "{error}");
}

#[test]
fn mount_makes_the_folder_and_mounts_there() {
    let _alone = alone();
    let Some(disk) = Loop::ext4(16 * MIB) else { return };
    let place = tempfile::tempdir().unwrap();
    let point = place.path().join("deep/root");
    let storage = format!(
        r#"{{"filesystems":[{{"mount":{{"device":"{}","format":"ext4","point":"{}"}}}}]}}"#,
        disk.name(),
        point.display()
    );
    run("mount", &storage, false).unwrap();
    let mounted = point.join("lost+found").is_dir();
    actions::mount::detach(&point).unwrap();
    assert!(mounted);
}
