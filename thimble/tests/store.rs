//! The store of a daemon: a backup while it runs, restored elsewhere.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

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

/// `thimble server` on a data folder.
struct Host {
    folder: tempfile::TempDir,
    data: PathBuf,
    api: SocketAddr,
    token: String,
    child: Child,
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn server(data: &Path, socket: &Path) -> (Command, SocketAddr) {
    let (http, grpc, api) = (free(), free(), free());
    let mut command = thimble();
    command.args(["server", "--data"]).arg(data).arg("--socket").arg(socket);
    command.args(["--http", &http.to_string(), "--grpc", &grpc.to_string(), "--api", &api.to_string(), "--address", "127.0.0.1"]);
    command.env("DATA", data).env("RUST_LOG", "info").stderr(Stdio::piped());
    (command, api)
}

impl Host {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        std::fs::create_dir(&data).unwrap();
        std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o700)).unwrap();
        Self::on(folder, data)
    }

    fn on(folder: tempfile::TempDir, data: PathBuf) -> Self {
        let socket = folder.path().join("api.sock");
        let _ = std::fs::remove_file(&socket);
        let (mut command, api) = server(&data, &socket);
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let child = command.stderr(log).spawn().unwrap();
        let mut host = Self { folder, data, api, token: String::new(), child };
        wait("the server's socket", || socket.exists());
        let created = thimble().args(["token", "create", "--role", "admin", "--data"]).arg(host.inside("")).output().unwrap();
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
        host.token = String::from_utf8(created.stdout).unwrap().trim().to_owned();
        host
    }

    /// A file of the data folder, as the server sees it.
    fn inside(&self, name: &str) -> PathBuf {
        let data = self.data.strip_prefix("/").unwrap();
        PathBuf::from(format!("/proc/{}/root", self.child.id())).join(data).join(name)
    }

    /// A client command by TLS, or one of the token's owner.
    fn call(&self, words: &[&str]) -> (bool, String) {
        let mut command = thimble();
        command.args(words).args(["--server", &format!("https://{}", self.api)]).env("THIMBLE_TOKEN", &self.token);
        let output = command.env("THIMBLE_CA_FILE", self.inside("access/ca.crt")).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    fn apply(&self, text: &str) -> (bool, String) {
        let file = self.folder.path().join("objects.yaml");
        std::fs::write(&file, text).unwrap();
        self.call(&["apply", "-f", file.to_str().unwrap()])
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
        assert!(begin.elapsed() < Duration::from_secs(20), "{what} did not come");
        std::thread::yield_now();
    }
}

#[test]
fn a_backup_of_a_running_server_is_restored_elsewhere() {
    let host = Host::start();
    assert!(host.apply(&(0..20).map(|n| hardware(n, 100)).collect::<String>()).0);
    let file = host.folder.path().join("thimble.backup");
    let (done, said) = host.call(&["backup", file.to_str().unwrap()]);
    assert!(done && said.contains("entries at revision 1 are in"), "{said}");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let (done, said) = host.call(&["backup", file.to_str().unwrap()]);
    assert!(!done && said.contains("--force replaces it"), "{said}");
    let viewer = thimble().args(["token", "create", "--role", "operator", "--data"]).arg(&host.data).output().unwrap();
    let operator = String::from_utf8(viewer.stdout).unwrap().trim().to_owned();
    let mut command = thimble();
    command.args(["backup", "/dev/null/x", "--server", &format!("https://{}", host.api)]).env("THIMBLE_TOKEN", operator);
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
    let again = Host::on(folder, data);
    assert_eq!(again.call(&["get", "hardware", "-o", "json"]).1, list);
}
