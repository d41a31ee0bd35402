//! Loop devices for tests.
#![allow(dead_code)] // each test file uses a part

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

pub struct Loop {
    pub device: PathBuf,
    pub file: PathBuf,
    pub folder: Option<tempfile::TempDir>,
}

impl Loop {
    /// `None`, with the reason on standard error, if the test may not use loop devices.
    pub fn of_size(size: u64) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("disk");
        std::fs::File::create(&file).unwrap().set_len(size).unwrap();
        let mut disk = Self::over(file)?;
        disk.folder = Some(folder);
        Some(disk)
    }

    pub fn over(file: PathBuf) -> Option<Self> {
        let output = Command::new("losetup").args(["--find", "--show", "--partscan"]).arg(&file).output().unwrap();
        if !output.status.success() {
            eprintln!("SKIPPED: no loop device: {}", String::from_utf8_lossy(&output.stderr).trim());
            return None;
        }
        let device = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
        Some(Self { device, file, folder: None })
    }

    pub fn with_ext4() -> Option<Self> {
        let disk = Self::of_size(16 << 20)?;
        assert!(Command::new("mkfs.ext4").arg("-q").arg(&disk.device).status().unwrap().success());
        Some(disk)
    }

    pub fn has_a_partition(&self) -> bool {
        let name = self.device.file_name().unwrap().to_str().unwrap();
        Path::new("/sys/block").join(name).join(format!("{name}p1")).exists()
    }

    pub fn name(&self) -> &str {
        self.device.to_str().unwrap()
    }

    /// Puts files into the file system of the disk.
    pub fn fill(&self, put: impl FnOnce(&Path)) {
        let place = tempfile::tempdir().unwrap();
        assert!(Command::new("mount").arg(&self.device).arg(place.path()).status().unwrap().success());
        put(place.path());
        actions::mount::detach(place.path()).unwrap();
    }

    /// What e2fsprogs reads from the file system, independent of the actions' code.
    pub fn look(&self, request: &str) -> String {
        let output = Command::new("debugfs").args(["-R", request]).arg(&self.device).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub fn is_busy(&self) -> bool {
        use rustix::fs::{Mode, OFlags};
        rustix::fs::open(&self.device, OFlags::RDONLY | OFlags::EXCL | OFlags::CLOEXEC, Mode::empty()).is_err()
    }

    pub fn wait_until_free(&self) {
        let start = Instant::now();
        while self.is_busy() {
            assert!(start.elapsed() < Duration::from_secs(20), "{} is in use", self.name());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.device).status();
    }
}
