//! The actions on real block devices: loop devices over files, if this machine allows them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use actions::variables::Variables;
use actions::{grub2disk, image2disk, wipe, writefile};
use std::path::{Path, PathBuf};
use std::process::Command;
use support::Loop;

/// What e2fsprogs reads from the file system, independent of the actions' code.
fn debugfs(disk: &Path, request: &str) -> String {
    let output = Command::new("debugfs").args(["-R", request]).arg(disk).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn writefile_puts_a_file_into_an_ext4_file_system() {
    let Some(disk) = Loop::with_ext4() else { return };
    let variables = Variables::of([
        ("DEST_DISK", disk.name()),
        ("FS_TYPE", "ext4"),
        ("DEST_PATH", "/etc/deep/hostname"),
        ("CONTENTS", "machine-1\n"),
        ("UID", "7"),
        ("GID", "8"),
        ("MODE", "0640"),
        ("DIRMODE", "0711"),
    ]);
    writefile::run(&variables).unwrap();
    assert_eq!(debugfs(&disk.device, "cat /etc/deep/hostname"), "machine-1\n");
    let stat = debugfs(&disk.device, "stat /etc/deep/hostname");
    assert!(stat.contains("Mode:  0640") && stat.contains("User:     7   Group:     8"), "{stat}");
    assert!(debugfs(&disk.device, "stat /etc/deep").contains("Mode:  0711"));
}

#[test]
fn unmounting_waits_for_a_program_that_looks_into_the_file_system() {
    let Some(disk) = Loop::with_ext4() else { return };
    let place = tempfile::tempdir().unwrap();
    actions::mount::attach(&disk.device, place.path(), "ext4", "ro").unwrap();
    let looks = std::fs::File::open(place.path()).unwrap();
    let looker = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(300));
        drop(looks);
    });
    actions::mount::detach(place.path()).unwrap();
    looker.join().unwrap();
    disk.wait_until_free();
}

#[test]
fn a_dry_run_of_grub2disk_changes_no_byte_of_the_disk() {
    let Some(disk) = Loop::with_ext4() else { return };
    disk.fill(|root| {
        std::fs::create_dir_all(root.join("usr/sbin")).unwrap();
        std::fs::write(root.join("usr/sbin/grub-install"), "").unwrap();
    });
    // A journal that is to be replayed, as after a loss of power.
    let dirty = Command::new("debugfs").args(["-w", "-R", "feature needs_recovery"]).arg(&disk.device).output().unwrap();
    assert!(dirty.status.success());
    let before = std::fs::read(&disk.file).unwrap();
    let place = disk.name();
    let variables = Variables::of([("GRUB_INSTALL_PATH", place), ("GRUB_DISK", place), ("FS_TYPE", "ext4")]);
    let result = grub2disk::dry_run(&variables);
    disk.wait_until_free();
    assert!(std::fs::read(&disk.file).unwrap() == before, "the disk has changed: {result:?}");
    result.unwrap();
}

#[test]
fn writefile_names_a_wrong_file_system() {
    let Some(disk) = Loop::of_size(16 << 20) else { return };
    for (fs, expected) in [
        ("ext4", "holds no readable ext4 file system"),
        ("nosuchfs", "the kernel does not have a driver for the file system nosuchfs"),
    ] {
        let variables = Variables::of([
            ("DEST_DISK", disk.name()),
            ("FS_TYPE", fs),
            ("DEST_PATH", "/x"),
            ("CONTENTS", ""),
            ("UID", "0"),
            ("GID", "0"),
            ("MODE", "0644"),
            ("DIRMODE", "0755"),
        ]);
        let error = writefile::run(&variables).unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains(expected), "{cause}");
    }
}

#[test]
fn an_image_with_partitions_makes_them_appear() {
    let Some(disk) = Loop::of_size(8 << 20) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    // An MBR with one Linux partition of 2 MiB at 1 MiB; the image ends inside of a page.
    let mut image = vec![0; (3 << 20) + 512];
    image[446..462].copy_from_slice(&[0, 0, 2, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 16, 0, 0]);
    image[510..512].copy_from_slice(&[0x55, 0xaa]);
    image[(2 << 20)..].fill(7);
    std::fs::write(&path, zstd::encode_all(&image[..], 1).unwrap()).unwrap();
    std::fs::OpenOptions::new().write(true).open(&disk.file).unwrap().set_len(8 << 20).unwrap();
    image2disk::run(&Variables::of([("IMG_URL", path.to_str().unwrap()), ("DEST_DISK", disk.name())])).unwrap();
    assert!(std::fs::read(&disk.file).unwrap().starts_with(&image));
    if Loop::over(disk.file.clone()).is_some_and(|fresh| fresh.has_a_partition()) {
        assert!(disk.has_a_partition(), "the kernel has not read the partition table");
    } else {
        eprintln!("SKIPPED: whether partitions appear: this kernel reads no partition tables");
    }

    wipe::run(&Variables::of([("DEST_DISK", disk.name())])).unwrap();
    assert!(std::fs::read(&disk.file).unwrap()[..1 << 20].iter().all(|byte| *byte == 0));
}

fn of_large_sectors(file: PathBuf) -> Option<Loop> {
    let arguments = ["--find", "--show", "--partscan", "--sector-size", "4096"];
    let output = Command::new("losetup").args(arguments).arg(&file).output().unwrap();
    if !output.status.success() {
        eprintln!("SKIPPED: no loop device with large sectors: {}", String::from_utf8_lossy(&output.stderr).trim());
        return None;
    }
    let device = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
    Some(Loop { device, file, folder: None })
}

fn partitioned(image: &Path, size: u64, script: &str) {
    std::fs::File::create(image).unwrap().set_len(size).unwrap();
    let status = Command::new("sh").arg("-c").arg(format!("printf '{script}' | sfdisk -q -X gpt $0")).arg(image).status();
    assert!(status.unwrap().success());
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| (*error).source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[test]
fn an_image_for_small_sectors_is_converted_for_a_disk_with_large_ones_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (file, image) = (folder.path().join("disk"), folder.path().join("image"));
    std::fs::write(&file, vec![0xee; 64 << 20]).unwrap();
    let Some(disk) = of_large_sectors(file.clone()) else { return };
    let write = |more: (&str, &str)| {
        let variables = Variables::of([("IMG_URL", image.to_str().unwrap()), ("DEST_DISK", disk.name()), more]);
        image2disk::run(&variables).map_err(|error| chain(&error))
    };
    partitioned(&image, 4 << 20, "start=2048,size=2047");
    let error = write(("X", "")).unwrap_err();
    assert!(error.contains("It cannot be converted: partition 1 does not begin and end at a multiple of 4096"), "{error}");
    assert!(std::fs::read(&file).unwrap().iter().all(|byte| *byte == 0xee), "nothing was erased");
    write(("IMG_FORMAT", "raw")).unwrap();
    assert_eq!(std::fs::read(&file).unwrap()[512..520], *b"EFI PART");

    // A FAT whose clusters are large enough, and an ext4.
    partitioned(&image, 48 << 20, "start=2048,size=65536\\nstart=67584,size=24576");
    let fat = ["-F", "16", "-s", "8", "-R", "8", "-r", "1024", "--offset", "2048"];
    assert!(Command::new("mkfs.fat").args(fat).arg(&image).arg("32768").output().unwrap().status.success());
    let ext = ["-q", "-b", "4096", "-E", "offset=34603008"];
    assert!(Command::new("mkfs.ext4").args(ext).arg(&image).arg("12288k").status().unwrap().success());
    write(("GROW", "last")).unwrap();
    let text = Command::new("sfdisk").args(["--verify", disk.name()]).output().unwrap();
    assert!(text.status.success(), "{}", String::from_utf8_lossy(&text.stderr));
    if disk.has_a_partition() {
        can_be_mounted(&disk);
    } else {
        eprintln!("SKIPPED: the partitions: this kernel reads no partition tables");
    }

    // A FAT with small clusters has no place on such a disk. Its start is known early or late.
    for (number, sector, erased) in [(1, "2048", "Nothing was erased"), (2, "67584", "left without its first MiB")] {
        partitioned(&image, 48 << 20, "start=2048,size=65536\\nstart=67584,size=24576");
        let fat = ["-F", "16", "-s", "1", "--offset", sector];
        assert!(Command::new("mkfs.fat").args(fat).arg(&image).arg("12288").output().unwrap().status.success());
        let before = std::fs::read(&file).unwrap();
        let error = write(("X", "")).unwrap_err();
        let problem = "of the image has FAT with sectors of 512 bytes, and its clusters are smaller";
        assert!(error.contains(&format!("partition {number} {problem}")) && error.contains(erased), "{error}");
        let after = std::fs::read(&file).unwrap();
        if number == 1 {
            assert!(before == after, "nothing was erased");
        } else {
            assert!(after[..1 << 20].iter().all(|byte| *byte == 0), "it does not boot");
        }
    }
}

fn can_be_mounted(disk: &Loop) {
    let place = tempfile::tempdir().unwrap();
    for (number, fs) in [(1, "vfat"), (2, "ext4")] {
        let partition = format!("{}p{number}", disk.name());
        let mounted = Command::new("mount").args(["-t", fs, &partition]).arg(place.path()).output().unwrap();
        let text = String::from_utf8_lossy(&mounted.stderr).into_owned();
        if text.contains("unknown filesystem") {
            eprintln!("SKIPPED: mounting {fs}: {text}");
            continue;
        }
        assert!(mounted.status.success(), "{fs}: {text}");
        actions::mount::detach(place.path()).unwrap();
    }
}

fn has_sys_resource() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let capabilities = status.lines().find_map(|line| line.strip_prefix("CapEff:\t")).unwrap();
    u64::from_str_radix(capabilities, 16).unwrap() >> 24 & 1 == 1
}

#[test]
fn the_kernel_grows_a_file_system_over_its_device() {
    for (fs, arguments, size) in
        [("ext4", &["-q"][..], Some("24M")), ("xfs", &["-q", "-d", "size=320m"], None), ("btrfs", &["-q", "-b", "128M"], None)]
    {
        let Some(disk) = Loop::of_size(520 << 20) else { return };
        let mut make = Command::new(format!("mkfs.{fs}"));
        if !make.args(arguments).arg(&disk.device).args(size).output().is_ok_and(|output| output.status.success()) {
            eprintln!("SKIPPED: {fs}: apt-get install xfsprogs btrfs-progs");
            continue;
        }
        match image2disk::grow::grow(&disk.device).map_err(|error| chain(&error)) {
            Err(error) if error.contains("does not have a driver") => {
                eprintln!("SKIPPED: {fs}: {error}");
                continue;
            }
            // ext4 asks for more than to be root.
            Err(error) if error.contains("Operation not permitted") && !has_sys_resource() => {
                eprintln!("SKIPPED: {fs}: this environment has no CAP_SYS_RESOURCE");
                continue;
            }
            result => result.unwrap_or_else(|error| panic!("{fs}: {error}")),
        }
        let place = tempfile::tempdir().unwrap();
        assert!(Command::new("mount").args(["-t", fs]).arg(&disk.device).arg(place.path()).status().unwrap().success(), "{fs}");
        let state = rustix::fs::statvfs(place.path()).unwrap();
        actions::mount::detach(place.path()).unwrap();
        let grown = (state.f_frsize * state.f_blocks) >> 20;
        assert!(grown >= 400, "{fs}: {grown} MiB");
    }
    let Some(empty) = Loop::of_size(16 << 20) else { return };
    let error = image2disk::grow::grow(&empty.device).unwrap_err().to_string();
    assert!(error.contains("has no file system that is known, which is not grown here"), "{error}");
}

#[test]
fn a_mounted_disk_is_not_overwritten() {
    let Some(disk) = Loop::with_ext4() else { return };
    let place = tempfile::tempdir().unwrap();
    assert!(Command::new("mount").arg(&disk.device).arg(place.path()).status().unwrap().success());
    let error = image2disk::run(&Variables::of([("IMG_URL", "/dev/zero"), ("DEST_DISK", disk.name())])).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    actions::mount::detach(place.path()).unwrap();
    assert!(cause.contains("is in use"), "{cause}");
}
