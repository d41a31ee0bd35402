//! A real disk below a running server: it fails, and it becomes read-only. Needs root, for the mounts of its own namespace.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod lab;

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use lab::{Lab, lines};
use server::Config;

const INSIDE: &str = "SERVER_TEST_MOUNTS";

/// Whether we are inside; if not, runs the test `name` inside and takes its outcome over.
fn inside(name: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can mount a disk");
        return false;
    }
    let mut command = Command::new("timeout");
    command.args(["100", "unshare", "--mount", "--propagation", "private", "--fork", "--kill-child"]);
    let output =
        command.arg(std::env::current_exe().unwrap()).args([name, "--exact", "--nocapture"]).env(INSIDE, "1").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    if text.contains("unshare failed") || text.contains("failed to setup loop device") {
        eprintln!("skipped: this host allows no loop device in a mount namespace");
    } else {
        assert!(output.status.success(), "{text}");
    }
    false
}

const DISK_BYTES: u64 = 64 << 20;
/// What is left of a disk that fails. The tables of its file system are in this part.
const GOOD_BYTES: u64 = 20 << 20;

/// A file system on a loop device, whose content is a file in memory.
struct Disk {
    memory: PathBuf,
    mounted: PathBuf,
    _folder: tempfile::TempDir,
}

impl Disk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let disk = Self { memory: folder.path().join("memory"), mounted: folder.path().join("disk"), _folder: folder };
        for folder in [&disk.memory, &disk.mounted] {
            std::fs::create_dir(folder).unwrap();
        }
        run(Command::new("mount").args(["-t", "tmpfs", "none"]).arg(&disk.memory));
        std::fs::File::create(disk.image()).unwrap().set_len(DISK_BYTES).unwrap();
        // Without a journal a disk that refuses a write fails that write only, and not the whole file system.
        let options = ["-q", "-t", "ext4", "-O", "^has_journal", "-E", "lazy_itable_init=0"];
        run(Command::new("/sbin/mke2fs").args(options).arg(disk.image()));
        disk.mount();
        disk
    }

    fn image(&self) -> PathBuf {
        self.memory.join("image")
    }

    fn mount(&self) {
        run(Command::new("mount").args(["-o", "loop"]).arg(self.image()).arg(&self.mounted));
    }

    fn unmount(&self) {
        // A process that another test is about to start has our files open until its exec(2).
        let start = Instant::now();
        let unmounted = || Command::new("umount").arg(&self.mounted).status().unwrap().success();
        while !unmounted() {
            assert!(start.elapsed() < Duration::from_secs(10), "{} is in use", self.mounted.display());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The kernel aborts a file system like this after an error, and it becomes read-only.
    fn abort(&self) {
        run(Command::new("mount").args(["-o", "remount,abort"]).arg(&self.mounted));
    }

    /// From now on the rest of the disk answers with errors.
    fn works_up_to(&self, bytes: u64) {
        std::fs::File::options().write(true).open(self.image()).unwrap().set_len(bytes).unwrap();
        let device = run(Command::new("losetup").args(["-n", "-O", "NAME", "-j"]).arg(self.image()));
        run(Command::new("losetup").args(["-c", device.trim()]));
    }

    fn config(&self) -> Config {
        Config { store: Some(self.mounted.join("thimble.redb")), long_poll: Duration::from_millis(50), ..Config::default() }
    }
}

/// Nothing of it is left on the host.
impl Drop for Disk {
    fn drop(&mut self) {
        for place in [&self.mounted, &self.memory] {
            let _ = Command::new("umount").arg("--lazy").arg(place).status(); // a test that failed has left it
        }
    }
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let is_mended = command.get_program() == "/sbin/e2fsck" && output.status.code() == Some(1);
    assert!(output.status.success() || is_mended, "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

async fn get(lab: &Lab, path: &str) -> (u16, String) {
    let _ = rustls::crypto::ring::default_provider().install_default(); // an error only means that another test did it
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.get(format!("http://{}{path}", lab.http)).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// Stores a machine with this much text.
async fn store(lab: &Lab, number: usize, bytes: usize) -> Result<(), server::ApplyError> {
    let text = format!("{:x}", number).repeat(bytes);
    let object = lab::hardware(&format!("m{number}"), &format!("52:54:00:00:{:02x}:{:02x}", number / 256, number % 256))
        .replace("10.0.0.20", &format!("10.0.{}.{}", number / 200, number % 200 + 1))
        .replace("spec:\n", &format!("spec:\n  userData: '{text}'\n"));
    lab.server.apply(model::parse_documents(&object, "m.yaml").unwrap()).await.map(drop)
}

/// Stores machines until the disk refuses one. Returns how many were acknowledged, and the refusal.
async fn until_refused(lab: &Lab, bytes: usize) -> (usize, server::ApplyError) {
    for number in 10..400 {
        if let Err(refusal) = store(lab, number, bytes).await {
            return (number - 10, refusal);
        }
    }
    panic!("the disk takes everything");
}

/// The disk works again, and the server finds that out by itself.
async fn accepted(lab: &Lab, number: usize, bytes: usize) {
    let limit = Instant::now() + Duration::from_secs(20);
    while let Err(refusal) = store(lab, number, bytes).await {
        assert!(Instant::now() < limit, "it is still refused: {}", chain(&refusal));
    }
}

fn stored(lab: &Lab) -> usize {
    lab.server.list(model::Kind::Hardware).len()
}

async fn wait_for_probe(lab: &Lab, code: u16) -> String {
    let limit = Instant::now() + Duration::from_secs(30);
    loop {
        let (found, text) = get(lab, "/readyz").await;
        if found == code {
            return text;
        }
        assert!(Instant::now() < limit, "/readyz answers {found}: {text}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    machine::Chain(error).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_with_errors_is_named_once_and_keeps_what_was_acknowledged() {
    if !inside("a_disk_with_errors_is_named_once_and_keeps_what_was_acknowledged") {
        return;
    }
    lines::listen();
    let disk = Disk::new();
    let lab = Lab::start(disk.config()).await;
    disk.works_up_to(GOOD_BYTES);
    let (acknowledged, refusal) = until_refused(&lab, 100_000).await;
    assert!(acknowledged > 3 && chain(&refusal).contains("os error 5"), "{acknowledged}: {}", chain(&refusal));
    for _ in 0..3 {
        store(&lab, 900, 100_000).await.unwrap_err();
    }
    assert_eq!(stored(&lab), acknowledged, "what was refused is not shown");
    assert_eq!(lines::lines_with("the disk of the store fails: look at the kernel's log").len(), 1);
    disk.works_up_to(DISK_BYTES);
    accepted(&lab, 901, 100_000).await;
    wait_for_probe(&lab, 200).await;
    assert_eq!(lines::lines_with("the store takes writes again").len(), 1);
    let expected = acknowledged + 1;
    assert_eq!(stored(&lab), expected);
    lab.stop().await;
    disk.unmount(); // what is only in the page cache is lost now
    disk.mount();
    let lab = Lab::start(disk.config()).await;
    assert_eq!(stored(&lab), expected, "everything that was acknowledged is on the disk");
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_system_that_becomes_read_only_is_named_once_and_used_again_when_it_is_writable() {
    if !inside("a_file_system_that_becomes_read_only_is_named_once_and_used_again_when_it_is_writable") {
        return;
    }
    lines::listen();
    let disk = Disk::new();
    let lab = Lab::start(disk.config()).await;
    for number in 0..5 {
        store(&lab, number, 1000).await.unwrap();
    }
    disk.abort();
    for number in 5..8 {
        let refusal = store(&lab, number, 1000).await.unwrap_err();
        assert!(chain(&refusal).contains("os error 30"), "{}", chain(&refusal));
    }
    assert_eq!(stored(&lab), 5, "what was acknowledged is still shown");
    let said = wait_for_probe(&lab, 503).await;
    assert!(said.contains("the store cannot be"), "{said}");
    assert_eq!(lines::lines_with("the file system of the store is read-only: mount it writable").len(), 1);

    disk.unmount(); // the server does not keep its file open, so it can be mended
    run(Command::new("/sbin/e2fsck").args(["-fy"]).arg(disk.image()));
    disk.mount();
    accepted(&lab, 8, 1000).await;
    wait_for_probe(&lab, 200).await;
    assert_eq!((stored(&lab), lines::lines_with("the store takes writes again").len()), (6, 1));
    lab.stop().await;
}
