//! The store of a daemon: backups while it runs, and disks that do not work. Where it mounts, it needs root.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod ports;

use std::io::{Read, Seek};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use ports::free;

const LIMIT: Duration = Duration::from_secs(120);

fn thimble() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thimble"));
    for name in ["THIMBLE_SERVER", "THIMBLE_TOKEN", "THIMBLE_CA_FILE", "KUBECONFIG", "THIMBLE_CONFIG", "THIMBLE_DATA"] {
        command.env_remove(name);
    }
    command
}

fn hardware(number: usize, padding: usize) -> String {
    format!(
        "---\napiVersion: tinkerbell.org/v1alpha1\nkind: Hardware\nmetadata: {{name: node-{number}}}\nspec: {{userData: '{}', interfaces: [{{dhcp: \
         {{mac: '52:54:00:00:{:02x}:{:02x}'}}}}]}}\n",
        "x".repeat(padding),
        number / 256,
        number % 256
    )
}

/// The ports of a server: HTTP, gRPC and API.
type Ports = [SocketAddr; 3];

/// `thimble server` on a data folder. Before it runs, a shell in a mount namespace of its own does `mount`.
struct Host {
    folder: tempfile::TempDir,
    data: PathBuf,
    ports: Ports,
    token: String,
    child: Child,
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn server(data: &Path, socket: &Path, ports: &Ports, mount: Option<&str>) -> Command {
    let program = env!("CARGO_BIN_EXE_thimble");
    let mut command = match mount {
        None => thimble(),
        Some(mount) => {
            let mut command = Command::new("unshare");
            command.args(["--mount", "--propagation", "private", "sh", "-c"]);
            command.arg(format!("set -e\n{mount}\nexec \"$0\" \"$@\"")).arg(program);
            command
        }
    };
    command.args(["server", "--data"]).arg(data).arg("--socket").arg(socket).args(["--address", "127.0.0.1"]);
    for (flag, port) in ["--http", "--grpc", "--api"].iter().zip(ports) {
        command.arg(flag).arg(port.to_string());
    }
    command.env("DATA", data).env("RUST_LOG", "info");
    command
}

impl Host {
    fn start(mount: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        std::fs::create_dir(&data).unwrap();
        std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o700)).unwrap();
        let mut host = Self::on(folder, data, [free(), free(), free()], mount);
        host.make_token();
        host
    }

    fn on(folder: tempfile::TempDir, data: PathBuf, ports: Ports, mount: Option<&str>) -> Self {
        let socket = folder.path().join("api.sock");
        let _ = std::fs::remove_file(&socket);
        let mut command = server(&data, &socket, &ports, mount);
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let child = command.stderr(log).spawn().unwrap();
        let host = Self { folder, data, ports, token: String::new(), child };
        wait("the server's socket", || {
            let log = host.log();
            assert!(!log.contains("thimble: "), "it does not start: {log}");
            socket.exists()
        });
        host
    }

    fn make_token(&mut self) {
        let created = thimble().args(["token", "create", "--role", "admin", "--data"]).arg(self.inside("")).output().unwrap();
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
        self.token = String::from_utf8(created.stdout).unwrap().trim().to_owned();
    }

    /// A file of the data folder, as the server sees it.
    fn inside(&self, name: &str) -> PathBuf {
        let data = self.data.strip_prefix("/").unwrap();
        PathBuf::from(format!("/proc/{}/root", self.child.id())).join(data).join(name)
    }

    /// A client command by TLS, or one of the token's owner.
    fn call(&self, words: &[&str]) -> (bool, String) {
        let mut command = thimble();
        command.args(words).args(["--server", &self.url()]).env("THIMBLE_TOKEN", &self.token);
        let output = command.env("THIMBLE_CA_FILE", self.inside("access/ca.crt")).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    fn apply(&self, text: &str) -> (bool, String) {
        let file = self.folder.path().join("objects.yaml");
        std::fs::write(&file, text).unwrap();
        self.call(&["apply", "-f", file.to_str().unwrap()])
    }

    fn url(&self) -> String {
        format!("https://{}", self.ports[2])
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    fn ready(&self) -> (u16, String) {
        let _ = rustls::crypto::ring::default_provider().install_default(); // another test may have done it
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            let answer = client.get(format!("http://{}/readyz", self.ports[0])).send().await.unwrap();
            (answer.status().as_u16(), answer.text().await.unwrap())
        })
    }

    fn stop(mut self) -> tempfile::TempDir {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.child.id().cast_signed()), nix::sys::signal::SIGTERM).unwrap();
        self.child.wait().unwrap();
        std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap())
    }
}

fn wait(what: &str, done: impl Fn() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < LIMIT, "{what} did not come");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What a server says that does not start: one line.
fn refused(data: &Path, mount: Option<&str>) -> String {
    let command = server(data, &data.with_extension("sock"), &[free(), free(), free()], mount);
    let said = ended(command);
    let errors: Vec<&str> = said.lines().filter(|line| line.starts_with("thimble: ")).collect();
    assert_eq!(errors.len(), 1, "{said}");
    errors[0].to_owned()
}

/// What a command has said that fails within the limit.
fn ended(mut command: Command) -> String {
    let mut said = tempfile::tempfile().unwrap();
    let mut child = command.stderr(said.try_clone().unwrap()).spawn().unwrap();
    let begin = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        if begin.elapsed() > LIMIT {
            let _ = child.kill();
            break child.wait().ok().and(None);
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let mut text = String::new();
    said.rewind().unwrap();
    said.read_to_string(&mut text).unwrap();
    assert!(status.is_some_and(|status| !status.success()), "it started, or hangs: {text}");
    text
}

fn may_mount() -> bool {
    let may = Command::new("unshare").args(["--mount", "true"]).output().is_ok_and(|output| output.status.success());
    if !may {
        eprintln!("skipped: this needs the right to mount");
    }
    may
}

#[test]
fn a_backup_of_a_running_server_is_restored_elsewhere() {
    let host = Host::start(None);
    assert!(host.apply(&(0..20).map(|n| hardware(n, 100)).collect::<String>()).0);
    let file = host.folder.path().join("thimble.backup");
    let (done, said) = host.call(&["backup", file.to_str().unwrap()]);
    assert!(done && said.contains(" entries at revision "), "{said}");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let (done, said) = host.call(&["backup", file.to_str().unwrap()]);
    assert!(!done && said.contains("--force replaces it"), "{said}");
    let viewer = thimble().args(["token", "create", "--role", "operator", "--data"]).arg(&host.data).output().unwrap();
    let operator = String::from_utf8(viewer.stdout).unwrap().trim().to_owned();
    let mut command = thimble();
    command.args(["backup", "/dev/null/x", "--server", &host.url()]).env("THIMBLE_TOKEN", operator);
    let other = command.env("THIMBLE_CA_FILE", host.data.join("access/ca.crt")).output().unwrap();
    assert!(!other.status.success(), "only an admin gets every secret");

    let data = host.folder.path().join("elsewhere");
    let restore = |force: &[&str]| {
        let mut command = thimble();
        let output = command.arg("restore").arg(&file).args(force).arg("--data").arg(&data).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (done, said) = restore(&[]);
    assert!(done && said.contains("thimble.redb has the"), "{said}");
    let (done, said) = restore(&[]);
    assert!(!done && said.contains("--force replaces it, and keeps it"), "{said}");
    let (done, said) = restore(&["--force"]);
    assert!(done && said.contains("the earlier store is"), "{said}");
    let in_use = thimble().arg("restore").arg(&file).args(["--force", "--data"]).arg(&host.data).output().unwrap();
    let said = String::from_utf8_lossy(&in_use.stderr).into_owned();
    assert!(!in_use.status.success() && said.contains("stop `thimble up`"), "{said}");

    let list = host.call(&["get", "hardware", "-o", "json"]).1;
    let folder = host.stop();
    let mut again = Host::on(folder, data, [free(), free(), free()], None);
    again.make_token();
    assert_eq!(again.call(&["get", "hardware", "-o", "json"]).1, list);
}

#[test]
fn a_server_on_a_store_that_does_not_work_says_in_one_line_what_to_do() {
    let host = Host::start(None);
    assert!(host.apply(&hardware(1, 10)).0);
    let said = refused(&host.data, None);
    assert!(said.contains("is in use by another process"), "{said}");
    let data = host.data.clone();
    let _folder = host.stop();
    let store = data.join("thimble.redb");
    let whole = std::fs::read(&store).unwrap();
    std::fs::write(&store, &whole[..whole.len() / 2]).unwrap();
    let said = refused(&data, None);
    assert!(said.contains("is damaged") && said.contains("thimble restore FILE --force"), "{said}");
    assert_eq!(std::fs::read(&store).unwrap(), &whole[..whole.len() / 2], "it stays as it is");
    std::fs::write(&store, &whole).unwrap();
    if !may_mount() {
        return;
    }
    let said = refused(&data, Some("mount --bind \"$DATA\" \"$DATA\"\nmount -o remount,ro,bind \"$DATA\""));
    assert!(said.contains("Read-only file system") && said.contains("with --data"), "{said}");
    // From a disk without any room to one where the last file of a first start just does not fit.
    let new = data.with_extension("new");
    std::fs::create_dir(&new).unwrap();
    for pages in 1..=6 {
        let said = refused(&new, Some(&format!("mount -t tmpfs -o size={},mode=700 none \"$DATA\"", pages * 4096)));
        assert!(
            said.contains("No space left on device") && said.contains("its disk is full: make room"),
            "{pages} pages: {said}"
        );
    }
}

/// A disk of 16 MiB with the content of the data folder, and without any room.
const FULL: &str = "copy=$(mktemp -d)\ncp -a \"$DATA\"/. $copy\nmount -t tmpfs -o size=16m,mode=700 none \"$DATA\"\ncp -a $copy/. \
                    \"$DATA\"\nrm -r $copy\ndd if=/dev/zero of=\"$DATA\"/filler bs=4k 2>/dev/null || true";

#[test]
fn a_server_starts_on_a_full_disk_with_all_that_it_has() {
    if !may_mount() {
        return;
    }
    let host = Host::start(None);
    assert!(host.apply(&hardware(1, 10)).0);
    let (data, ports, token) = (host.data.clone(), host.ports, host.token.clone());
    let folder = host.stop();
    let mut host = Host::on(folder, data, ports, Some(FULL));
    host.token = token;
    let (done, said) = host.call(&["get", "hardware"]);
    assert!(done && said.contains("node-1"), "{said}");
    let objects: String = (100..200).map(|n| hardware(n, 8000)).collect();
    assert!(!host.apply(&objects).0);
    let log = host.log();
    assert!(log.contains("No space left on device") && log.contains("make room"), "{log}");
    std::fs::remove_file(host.inside("filler")).unwrap();
    let (done, said) = host.apply(&objects);
    assert!(done && said.contains("node-100"), "{said}");
    wait("readiness", || host.ready() == (200, "ok".to_owned())); // the answer of a probe stays for some seconds
}

#[test]
fn a_full_disk_loses_nothing_and_the_server_goes_on_when_there_is_room() {
    if !may_mount() {
        return;
    }
    let host = Host::start(Some("mount -t tmpfs -o size=16m,mode=700 none \"$DATA\""));
    assert!(host.apply(&hardware(1, 10)).0);
    let filler = host.inside("filler");
    let mut room = 16 << 20;
    let mut content = Vec::new();
    while room > 0 {
        content.resize(content.len() + room, 0_u8);
        if std::fs::write(&filler, &content).is_err() {
            content.truncate(content.len() - room);
            room /= 2;
        }
    }
    let objects: String = (100..600).map(|n| hardware(n, 8000)).collect();
    let (done, said) = host.apply(&objects);
    assert!(!done && said.contains("the server's log says why"), "{said}");
    let log = host.log();
    assert!(log.contains("No space left on device") && log.contains("make room"), "{log}");
    let (done, said) = host.call(&["get", "hardware"]);
    assert!(done && said.contains("node-1") && !said.contains("node-100"), "{said}");
    std::fs::remove_file(&filler).unwrap();
    let (done, said) = host.apply(&objects);
    assert!(done && said.contains("node-100"), "{said}");
    wait("readiness", || host.ready() == (200, "ok".to_owned())); // the answer of a probe stays for some seconds
}
