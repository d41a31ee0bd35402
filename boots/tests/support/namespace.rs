//! Tests in network namespaces. What the host lacks is named and skipped.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const INSIDE: &str = "BOOTS_TEST_NAMESPACE";

/// Whether we are inside; if not, runs the test `name` inside and takes its outcome over.
pub fn inside(name: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    if !installed("unshare") || !installed("ip") {
        return false;
    }
    let test = std::env::current_exe().unwrap();
    let run = |user: &[&str]| {
        let command = ["--net", "--mount", "--fork", "--kill-child"];
        Command::new("timeout")
            .args(["100", "unshare"])
            .args(command)
            .args(user)
            .arg(&test)
            .args([name, "--exact", "--nocapture"])
            .env(INSIDE, "1")
            .output()
    };
    let is_root = nix::unistd::geteuid().is_root();
    let output = run(if is_root { &[] } else { &["--user", "--map-root-user"] }).unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    if text.contains("unshare failed") || text.contains("Operation not permitted") && !text.contains("running 1 test") {
        eprintln!("skipped: this host allows no network namespaces");
    } else {
        assert!(output.status.success(), "{text}");
        for line in text.lines().filter(|line| line.starts_with("skipped: ")) {
            eprintln!("{line}");
        }
    }
    false
}

pub fn installed(command: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", &format!("PATH=$PATH:/sbin:/usr/sbin command -v {command}")])
        .output()
        .unwrap()
        .status
        .success();
    if !found {
        eprintln!("skipped: no {command} command");
    }
    found
}

pub fn ip(words: &str) {
    let output = Command::new("ip").args(words.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {words}: {output:?}");
}

/// What the program printed, after 20 seconds at most.
pub async fn run(program: &str, args: &[&str]) -> String {
    let mut command = Command::new("timeout");
    command.args(["20", program]).args(args).stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A script that prints what the DHCP client learnt.
pub fn show_environment(folder: &Path) -> String {
    let path = folder.join("show");
    std::fs::write(&path, "#!/bin/sh\nenv\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A program that ends with the test.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Another network namespace: another host.
pub struct Namespace(Running);

impl Namespace {
    pub async fn new() -> Self {
        let namespace = Self(Running(Command::new("unshare").args(["--net", "sleep", "100"]).spawn().unwrap()));
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while std::fs::read_link(namespace.path()).is_ok_and(|namespace| namespace == own) {
            assert!(Instant::now() < deadline, "no namespace in time");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        namespace
    }

    fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.0.0.id())
    }

    /// Moves an interface there, and sets it up.
    pub async fn take(&self, interface: &str) {
        ip(&format!("link set {interface} netns {}", self.0.0.id()));
        self.run("ip", &["link", "set", interface, "up"]).await;
    }

    pub async fn run(&self, program: &str, args: &[&str]) -> String {
        let namespace = format!("--net={}", self.path());
        run("nsenter", &[&[namespace.as_str(), "--", program], args].concat()).await
    }

    /// Starts a program there, with its output in a file.
    pub fn start(&self, program: &str, args: &[&str], log: &Path) -> Running {
        let log = std::fs::File::create(log).unwrap();
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path())).args(["--", program]).args(args).stdin(Stdio::null());
        Running(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap())
    }
}
