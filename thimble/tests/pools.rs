//! Two hosts with `thimble up` on one etcd, and clients of DHCP on the segment that both serve with the same pool.
//!
//! The test runs itself again inside `unshare --net`. What the host lacks is named and skipped.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use etcd::cluster::LIMITS;

const INSIDE: &str = "THIMBLE_TEST_NAMESPACE";
/// Of the namespace of the test, in which etcd and the clients are.
const ETCD: &str = "10.77.0.254";
const POOL: &str = "10.77.0.100-10.77.0.159";
/// Of each of the two rounds.
const CLIENTS: usize = 20;
const LIMIT: Duration = Duration::from_secs(120);

fn has(program: &str) -> bool {
    let found = Command::new("sh").args(["-c", &format!("PATH=$PATH:/sbin:/usr/sbin command -v {program}")]).output().unwrap();
    if !found.status.success() {
        eprintln!("SKIPPED: no program {program}");
    }
    found.status.success()
}

/// Whether this is the run inside. If not, the test runs inside, and its outcome counts.
fn inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root may make these namespaces");
        return false;
    }
    let own = std::env::current_exe().unwrap();
    let words = ["300", "unshare", "--net", "--fork", "--kill-child"];
    let mut command = Command::new("timeout");
    command.args(words).arg(own).args([test, "--exact", "--nocapture"]).env(INSIDE, "1");
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert!(status.success(), "{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    false
}

fn ip(words: &str) {
    let Output { status, stderr, .. } = Command::new("ip").args(words.split(' ')).output().unwrap();
    assert!(status.success(), "ip {words}: {}", String::from_utf8_lossy(&stderr));
}

fn wait(what: &str, done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < LIMIT, "{what} did not come about");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A program that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn etcd(folder: &Path) -> Running {
    let (clients, peers) = (format!("http://{ETCD}:2379"), "http://127.0.0.1:2380");
    let mut command = Command::new("etcd");
    command.args(LIMITS).args(["--name", "m0", "--initial-cluster", &format!("m0={peers}")]).arg("--data-dir").arg(folder);
    for (option, url) in [("listen-client-urls", clients.as_str()), ("advertise-client-urls", &clients)] {
        command.args([format!("--{option}"), url.to_owned()]);
    }
    for option in ["listen-peer-urls", "initial-advertise-peer-urls"] {
        command.args([format!("--{option}"), peers.to_owned()]);
    }
    let member = Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    wait("etcd", || TcpStream::connect((ETCD, 2379)).is_ok());
    member
}

/// A network namespace with `thimble up`.
struct Host {
    namespace: Running,
    address: Ipv4Addr,
    folder: PathBuf,
    thimble: Option<Running>,
}

impl Host {
    fn new(number: u8, folder: &Path) -> Self {
        let namespace = Running(Command::new("unshare").args(["--net", "sleep", "300"]).spawn().unwrap());
        let of = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net")).ok();
        let id = namespace.0.id().to_string();
        wait("a namespace", || of(&id) != of("self"));
        let address = Ipv4Addr::new(10, 77, 0, number);
        let folder = folder.join(format!("host{number}"));
        for name in ["data", "files", "nbp"] {
            std::fs::create_dir_all(folder.join(name)).unwrap();
        }
        std::fs::set_permissions(folder.join("data"), std::fs::Permissions::from_mode(0o700)).unwrap();
        let settings = format!("dhcp:\n  - {{subnet: 10.77.0.0/24, mode: pool, range: {POOL}}}\n");
        std::fs::write(folder.join("settings.yaml"), settings).unwrap();
        ip(&format!("link add port{number} type veth peer name lan0"));
        ip(&format!("link set lan0 netns {id}"));
        ip(&format!("link set port{number} master lan up"));
        let host = Self { namespace, address, folder, thimble: None };
        for words in ["link set lo up".to_owned(), format!("addr add {address}/24 dev lan0"), "link set lan0 up".to_owned()] {
            assert!(host.inside("ip").args(words.split(' ')).status().unwrap().success(), "ip {words}");
        }
        host
    }

    fn inside(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.namespace.0.id())).args(["--", program]);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("THIMBLE_") || name == "KUBECONFIG") {
            command.env_remove(name);
        }
        command
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("api.sock")
    }

    fn up(&mut self, key: &Path) {
        let _ = std::fs::remove_file(self.socket());
        let log = std::fs::File::create(self.folder.join("log")).unwrap();
        let mut command = self.inside(env!("CARGO_BIN_EXE_thimble"));
        command.args(["up", "--interface", "lan0", "--address", &self.address.to_string()]).arg("--socket").arg(self.socket());
        command.arg("--config").arg(self.folder.join("settings.yaml")).arg("--site-key").arg(key);
        for name in ["data", "files", "nbp"] {
            command.arg(format!("--{name}")).arg(self.folder.join(name));
        }
        command.args(["--store", &format!("etcd://{ETCD}/site")]).env("RUST_LOG", "info").stderr(log);
        self.thimble = Some(Running(command.spawn().unwrap()));
        wait("the pool of a host", || {
            let log = self.log();
            assert!(!log.contains("thimble: "), "it does not start: {log}");
            log.contains("the leases of the pools are shared")
        });
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap()
    }

    /// The addresses that the site has leased, each to one MAC.
    fn leases(&self) -> BTreeMap<Ipv4Addr, String> {
        let _ = rustls::crypto::ring::default_provider().install_default(); // an earlier call may have done it
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let list = runtime.block_on(async {
            let client = reqwest::Client::builder().unix_socket(self.socket()).no_proxy().build().unwrap();
            let answer = client.get("http://localhost/apis/thimble.dev/v1alpha1/dhcpleases").send().await.unwrap();
            answer.error_for_status().unwrap().bytes().await.unwrap()
        });
        let list: serde_json::Value = serde_json::from_slice(&list).unwrap();
        let lease = |item: &serde_json::Value| {
            let text = |key: &str| item["spec"][key].as_str().unwrap().to_owned();
            (text("state") == "bound").then(|| (text("address").parse().unwrap(), text("mac")))
        };
        list["items"].as_array().unwrap().iter().filter_map(lease).collect()
    }
}

fn mac(client: usize) -> String {
    format!("02:00:00:00:77:{client:02x}")
}

/// Clients with a port of the segment each, which all ask at the same moment.
fn ask(clients: std::ops::Range<usize>, script: &Path, meanwhile: impl FnOnce()) -> BTreeMap<String, Ipv4Addr> {
    let asks = |client: usize| {
        // A client whose server is killed after its offer asks anew after three REQUESTs.
        let mut command = Command::new("timeout");
        command.args(["90", "busybox", "udhcpc", "-i", &format!("c{client}"), "-q", "-f"]);
        command.args(["-t", "20", "-T", "2", "-A", "1", "-s"]).arg(script);
        (client, command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    };
    let asking: Vec<_> = clients.map(asks).collect();
    meanwhile();
    let got = asking.into_iter().map(|(client, child)| {
        let Output { stdout, stderr, .. } = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&stdout).into_owned();
        let address = said.lines().rev().find_map(|line| line.strip_prefix("ip="));
        let address = address.unwrap_or_else(|| panic!("client {client}: {said}{}", String::from_utf8_lossy(&stderr)));
        (mac(client), address.parse().unwrap())
    });
    got.collect()
}

#[test]
fn two_hosts_with_one_pool_give_no_address_to_two_clients_also_while_one_is_killed() {
    let programs = ["busybox", "etcd", "ip", "unshare", "nsenter"];
    let name = "two_hosts_with_one_pool_give_no_address_to_two_clients_also_while_one_is_killed";
    if !programs.iter().all(|program| has(program)) || !inside(name) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    ip("link set lo up");
    ip("link add lan type bridge");
    ip(&format!("addr add {ETCD}/24 dev lan"));
    ip("link set lan up");
    for client in 0..2 * CLIENTS {
        ip(&format!("link add c{client} type veth peer name p{client}"));
        ip(&format!("link set c{client} address {} up", mac(client)));
        ip(&format!("link set p{client} master lan up"));
    }
    let script = folder.path().join("show");
    std::fs::write(&script, "#!/bin/sh\n[ -z \"$ip\" ] || echo ip=$ip\n").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let key = folder.path().join("site.key");
    std::fs::write(&key, "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n").unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let _etcd = etcd(&folder.path().join("etcd"));
    let [mut one, mut other] = [1, 2].map(|number| Host::new(number, folder.path()));
    one.up(&key);
    other.up(&key);

    let mut got = ask(0..CLIENTS, &script, || {});
    let acknowledged = |host: &Host| host.log().matches("ACK").count();
    println!("acknowledged by the one {}, by the other {}", acknowledged(&one), acknowledged(&other));
    got.extend(ask(CLIENTS..2 * CLIENTS, &script, || {
        std::thread::sleep(Duration::from_millis(300));
        one.thimble = None; // as by SIGKILL
    }));
    let addresses: BTreeSet<Ipv4Addr> = got.values().copied().collect();
    assert_eq!((got.len(), addresses.len()), (2 * CLIENTS, 2 * CLIENTS), "{got:?}");
    let knows = |host: &Host| {
        let leases = host.leases();
        got.iter().all(|(mac, address)| leases.get(address) == Some(mac))
    };
    wait("all leases at the other", || knows(&other));

    // The one that comes back knows what the other gave, and each renews it.
    one.up(&key);
    assert_eq!(ask(0..2 * CLIENTS, &script, || {}), got);
    other.thimble = None;
    assert_eq!(ask(0..2 * CLIENTS, &script, || {}), got);
    wait("all leases at the one", || knows(&one));
}
