//! The actions on real block devices: loop devices over files, if this machine allows them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use actions::variables::Variables;
use actions::{image2disk, wipe, writefile};
use std::path::{Path, PathBuf};
use std::process::Command;

struct Loop {
    device: PathBuf,
    file: PathBuf,
    _folder: Option<tempfile::TempDir>,
}

impl Loop {
    /// `None`, with the reason on standard error, if the test may not use loop devices.
    fn of_size(size: u64) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("disk");
        std::fs::File::create(&file).unwrap().set_len(size).unwrap();
        let mut disk = Self::over(file)?;
        disk._folder = Some(folder);
        Some(disk)
    }

    fn over(file: PathBuf) -> Option<Self> {
        let output = Command::new("losetup").args(["--find", "--show", "--partscan"]).arg(&file).output().unwrap();
        if !output.status.success() {
            eprintln!("SKIPPED: no loop device: {}", String::from_utf8_lossy(&output.stderr).trim());
            return None;
        }
        let device = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
        Some(Self { device, file, _folder: None })
    }

    fn with_ext4() -> Option<Self> {
        let disk = Self::of_size(16 << 20)?;
        assert!(Command::new("mkfs.ext4").arg("-q").arg(&disk.device).status().unwrap().success());
        Some(disk)
    }

    fn has_a_partition(&self) -> bool {
        let name = self.device.file_name().unwrap().to_str().unwrap();
        Path::new("/sys/block").join(name).join(format!("{name}p1")).exists()
    }

    fn name(&self) -> &str {
        self.device.to_str().unwrap()
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.device).status();
    }
}

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

#[test]
fn a_mounted_disk_is_not_overwritten() {
    let Some(disk) = Loop::with_ext4() else { return };
    let place = tempfile::tempdir().unwrap();
    assert!(Command::new("mount").arg(&disk.device).arg(place.path()).status().unwrap().success());
    let error = image2disk::run(&Variables::of([("IMG_URL", "/dev/zero"), ("DEST_DISK", disk.name())])).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(Command::new("umount").arg(place.path()).status().unwrap().success());
    assert!(cause.contains("is in use"), "{cause}");
}

#[test]
fn cexec_runs_inside_the_file_system() {
    let Some(disk) = Loop::with_ext4() else { return };
    let place = tempfile::tempdir().unwrap();
    assert!(Command::new("mount").arg(&disk.device).arg(place.path()).status().unwrap().success());
    std::fs::create_dir(place.path().join("bin")).unwrap();
    std::fs::copy("/bin/busybox", place.path().join("bin/busybox")).expect("the tests need Debian's package busybox-static");
    assert!(Command::new("umount").arg(place.path()).status().unwrap().success());
    // This runs in another process, because chroot is for the whole process, and other tests run beside this one.
    let cexec = |line: &str| {
        Command::new(env!("CARGO_BIN_EXE_actions"))
            .arg("cexec")
            .envs([("BLOCK_DEVICE", disk.name()), ("FS_TYPE", "ext4"), ("CHROOT", "y"), ("CMD_LINE", line)])
            .env("DEFAULT_INTERPRETER", "/bin/busybox sh -c")
            .output()
            .unwrap()
    };
    let output = cexec("/bin/busybox test -c /dev/null && echo inside > /proof");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(debugfs(&disk.device, "cat /proof"), "inside\n");
    let output = cexec("exit 4");
    assert_eq!(output.status.code(), Some(30));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(text.trim(), "cexec: CMD_LINE: /bin/busybox ended with exit code 4");
}
