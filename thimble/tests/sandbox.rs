//! `thimble boots` as a process in a network namespace of its own: what it has given up, and that it serves all the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(90);
const HARDWARE: &str = "apiVersion: tinkerbell.org/v1alpha1
kind: Hardware
metadata: {name: node-1}
spec:
  interfaces: [{dhcp: {mac: 52:54:00:12:34:56, ip: {address: 127.0.0.1}}, netboot: {allowPXE: true}}]
";

struct Boots {
    child: Child,
    folder: tempfile::TempDir,
}

impl Drop for Boots {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Boots {
    fn start(arguments: &[&str]) -> Self {
        Self::with(arguments, |folder| match arguments.contains(&"boots") {
            true => vec!["--hardware".to_owned(), folder.join("hardware.yaml").display().to_string()],
            false => vec!["--socket".to_owned(), folder.join("api.sock").display().to_string()],
        })
    }

    /// The same with what is prepared in its folder.
    fn with(arguments: &[&str], prepare: impl FnOnce(&Path) -> Vec<String>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir_all(path("data/files")).unwrap();
        fs::create_dir_all(path("nbp")).unwrap();
        fs::write(path("data/files/kernel"), "the kernel").unwrap();
        fs::write(path("nbp/snp.efi"), "a program").unwrap();
        fs::write(path("hardware.yaml"), HARDWARE).unwrap();
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh", env!("CARGO_BIN_EXE_thimble")]);
        command.args(arguments).args(["--address", "127.0.0.1"]);
        for (flag, name) in [("--data", "data"), ("--nbp", "nbp")] {
            command.arg(flag).arg(path(name));
        }
        command.args(prepare(folder.path()));
        let log = fs::File::create(path("log")).unwrap();
        let child = command.stderr(Stdio::from(log)).spawn().unwrap();
        Self { child, folder }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// Waits for what `look` finds.
    fn until<T>(&mut self, what: &str, mut look: impl FnMut(&Self) -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && begun.elapsed() < LIMIT, "no {what}: {ended:?}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn until_script_of(&mut self, mac: &str) {
        let path = format!("/ipxe/script/{mac}/auto.ipxe");
        self.until(&format!("script of {mac}"), |boots| boots.get(&path).contains("/files/kernel ").then_some(()));
    }

    /// A program in the daemon's network.
    fn beside(&self, words: &[&str]) -> Vec<u8> {
        let process = self.child.id().to_string();
        let output = Command::new("nsenter").args(["--target", &process, "--net"]).args(words).output().unwrap();
        output.stdout
    }

    /// A value of each thread's status.
    fn of_threads(&self, name: &str) -> Vec<String> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let value = |path: &Path| {
            let status = fs::read_to_string(path.join("status")).ok()?;
            status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(|value| value.trim().to_owned())
        };
        threads.filter_map(|thread| value(&thread.unwrap().path())).collect()
    }

    fn get(&self, path: &str) -> String {
        let url = format!("http://127.0.0.1:7080{path}");
        String::from_utf8(self.beside(&["curl", "--silent", "--max-time", "10", &url])).unwrap()
    }
}

/// CAP_NET_BIND_SERVICE and CAP_NET_RAW, as the kernel writes them.
const KEPT: &str = "0000000000002400";

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: only root can make a network namespace");
    }
    root
}

#[test]
fn boots_serves_with_two_capabilities_under_its_filter() {
    if !is_root() {
        return;
    }
    let mut boots = Boots::start(&["boots"]);
    boots.until("answer", |boots| (boots.get("/healthz") == "ok").then_some(()));
    for (name, expected) in [
        ("CapEff", KEPT),
        ("CapPrm", KEPT),
        ("CapBnd", KEPT),
        ("CapInh", "0000000000000000"),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
    ] {
        let found = boots.of_threads(name);
        assert!(found.len() > 1 && found.iter().all(|value| value == expected), "{name}: {found:?}");
    }
    let log = boots.log();
    assert!(log.contains("confined by seccomp and "), "{log}");
    assert_eq!(boots.get("/files/kernel"), "the kernel");
    assert!(boots.get("/ipxe/script/52:54:00:12:34:56/auto.ipxe").contains("/files/kernel "));
    assert_eq!(boots.get("/ipxe/binary/snp.efi"), "a program");
    let by_tftp = boots.beside(&["curl", "--silent", "--max-time", "10", "tftp://127.0.0.1/snp.efi"]);
    assert_eq!(String::from_utf8_lossy(&by_tftp), "a program");

    // Its Hardware and its settings are files that are replaced.
    let hardware = boots.folder.path().join("hardware.yaml");
    fs::write(hardware.with_extension("new"), HARDWARE.replace("12:34:56", "12:34:57")).unwrap();
    fs::rename(hardware.with_extension("new"), hardware).unwrap();
    boots.until_script_of("52:54:00:12:34:57");
}

fn run(folder: &Path, program: &str, words: &str) {
    let output = Command::new(program).args(words.split(' ')).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{program} {words}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Adds a machine to the operator's repository.
fn commit(site: &Path, text: &str) {
    fs::write(site.join("machines/m.yaml"), text).unwrap();
    run(site, "git", "add --all");
    run(site, "git", "-c user.name=o -c user.email=o@example.org -c commit.gpgsign=false commit --quiet --message change");
}

const KEY: &str = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=boots";

#[test]
fn a_repository_and_a_certificate_are_followed_from_inside_the_confinement() {
    if !is_root() {
        return;
    }
    let mut boots = Boots::with(&["boots"], |folder| {
        let site = folder.join("site");
        fs::create_dir_all(site.join("machines")).unwrap();
        run(&site, "git", "init --quiet --initial-branch main .");
        commit(&site, HARDWARE);
        run(folder, "openssl", &format!("{KEY} -keyout https.key -out https.pem"));
        let at = |name: &str| folder.join(name).display().to_string();
        let certificate = ["--https-certificate".to_owned(), at("https.pem"), "--https-key".to_owned(), at("https.key")];
        let place = ["--hardware".to_owned(), format!("git:{}#main:machines", site.display())];
        place.into_iter().chain(certificate).collect()
    });
    boots.until_script_of("52:54:00:12:34:56");
    assert!(boots.log().contains("confined by seccomp and "), "{}", boots.log());
    let https = ["curl", "--silent", "--insecure", "--max-time", "10", "https://127.0.0.1:7443/files/kernel"];
    assert_eq!(String::from_utf8_lossy(&boots.beside(&https)), "the kernel");

    let folder = boots.folder.path().to_owned();
    commit(&folder.join("site"), &HARDWARE.replace("12:34:56", "12:34:57"));
    boots.until_script_of("52:54:00:12:34:57");
    run(&folder, "openssl", &format!("{KEY} -keyout new.key -out new.pem"));
    fs::rename(folder.join("new.pem"), folder.join("https.pem")).unwrap();
    fs::rename(folder.join("new.key"), folder.join("https.key")).unwrap();
    boots.until("new certificate", |boots| boots.log().contains("https.pem is used now, until").then_some(()));
    assert_eq!(String::from_utf8_lossy(&boots.beside(&https)), "the kernel");
}

/// Moves a folder or a file to `srv`, and leaves a link.
fn linked(folder: &Path, name: &str) {
    let (own, other) = (folder.join(name), folder.join("srv").join(name.replace('/', "-")));
    fs::create_dir_all(folder.join("srv")).unwrap();
    fs::rename(&own, &other).unwrap();
    std::os::unix::fs::symlink(other, own).unwrap();
}

#[test]
fn what_links_lead_to_is_served_and_followed_from_inside_the_confinement() {
    if !is_root() {
        return;
    }
    for is_folder in [false, true] {
        let mut boots = Boots::with(&["boots"], |folder| {
            fs::create_dir_all(folder.join("machines/rack")).unwrap();
            fs::rename(folder.join("hardware.yaml"), folder.join("machines/rack/m.yaml")).unwrap();
            for name in ["data/files", "nbp", "machines/rack/m.yaml"] {
                linked(folder, name);
            }
            let place = folder.join(if is_folder { "machines" } else { "machines/rack/m.yaml" });
            vec!["--hardware".to_owned(), place.display().to_string()]
        });
        boots.until_script_of("52:54:00:12:34:56");
        assert!(boots.log().contains("confined by seccomp and "), "{}", boots.log());
        assert_eq!(boots.get("/files/kernel"), "the kernel");
        assert_eq!(boots.get("/ipxe/binary/snp.efi"), "a program");
        let target = boots.folder.path().join("srv/machines-rack-m.yaml");
        fs::write(target.with_extension("new"), HARDWARE.replace("12:34:56", "12:34:57")).unwrap();
        fs::rename(target.with_extension("new"), &target).unwrap();
        boots.until_script_of("52:54:00:12:34:57");
    }
}

/// `git clone --shared` leaves the objects where they are, also those that come later.
#[test]
fn the_objects_of_other_repositories_are_read_from_inside_the_confinement() {
    if !is_root() {
        return;
    }
    let mut boots = Boots::with(&["boots"], |folder| {
        let site = folder.join("site");
        fs::create_dir_all(site.join("machines")).unwrap();
        run(&site, "git", "init --quiet --initial-branch main .");
        commit(&site, HARDWARE);
        run(folder, "git", "clone --quiet --shared --bare site mirrors/one.git");
        run(folder, "git", "clone --quiet --shared --bare mirrors/one.git mirrors/two.git");
        run(folder, "git", "-C mirrors/two.git worktree add --quiet --detach ../../tree main");
        vec!["--hardware".to_owned(), format!("git:{}#main:machines", folder.join("tree").display())]
    });
    boots.until_script_of("52:54:00:12:34:56");
    assert!(boots.log().contains("confined by seccomp and "), "{}", boots.log());
    let folder = boots.folder.path().to_owned();
    commit(&folder.join("site"), &HARDWARE.replace("12:34:56", "12:34:57"));
    for mirror in ["one", "two"] {
        run(&folder, "git", &format!("-C mirrors/{mirror}.git fetch --quiet origin main:main"));
    }
    let objects = fs::read_dir(folder.join("mirrors/two.git/objects")).unwrap();
    let is_empty = objects.map(|one| one.unwrap().file_name()).all(|name| name == "info" || name == "pack");
    assert!(is_empty, "the mirror has no objects of its own");
    boots.until_script_of("52:54:00:12:34:57");
}

#[test]
fn a_daemon_keeps_two_capabilities_and_no_other_right_of_root() {
    if !is_root() {
        return;
    }
    let mut up = Boots::start(&["up"]);
    up.until("answer", |up| (up.get("/healthz") == "ok").then_some(()));
    for name in ["CapEff", "CapPrm", "CapBnd"] {
        let found = up.of_threads(name);
        assert!(found.len() > 1 && found.iter().all(|value| value == KEPT), "{name}: {found:?}");
    }
    assert_eq!(up.get("/files/kernel"), "the kernel");
}

/// Name and nice value of each thread: fields 2 and 19 of proc_pid_stat(5).
fn nice_values(process: u32) -> Vec<(String, i32)> {
    let stat = |folder: fs::DirEntry| {
        let text = fs::read_to_string(folder.path().join("stat")).ok()?;
        let (head, tail) = text.rsplit_once(')')?;
        let nice = tail.split_whitespace().nth(16)?.parse().ok()?;
        Some((head.split_once('(')?.1.to_owned(), nice))
    };
    fs::read_dir(format!("/proc/{process}/task")).unwrap().filter_map(|thread| stat(thread.unwrap())).collect()
}

#[test]
fn on_a_busy_processor_the_protocols_of_firmware_come_before_the_executor() {
    if !is_root() {
        return;
    }
    for daemon in ["up", "boots"] {
        let mut daemon = Boots::start(&[daemon]);
        daemon.until("answer", |daemon| (daemon.get("/healthz") == "ok").then_some(()));
        let (values, [base, of_firmware @ ..]) = daemon.until("threads", |daemon| {
            let values = nice_values(daemon.child.id());
            let of = |name: &str| values.iter().find(|(thread, _)| thread == name).map(|(_, nice)| *nice);
            let [starter, dhcp, scripts, tftp] = ["starter", "dhcp", "scripts", "tftp"].map(of);
            let found = [starter?, dhcp?, scripts?, tftp?];
            Some((values, found))
        });
        assert_eq!(of_firmware, [base; 3], "{values:?}");
        // Threads for files are named like those of the executor to which they belong.
        let executor = values.iter().filter(|(thread, nice)| thread == "tokio-rt-worker" && *nice != base);
        let lower: Vec<i32> = executor.map(|(_, nice)| *nice).collect();
        assert!(!lower.is_empty() && lower.iter().all(|nice| *nice == base + 5), "{values:?}");
    }
}
