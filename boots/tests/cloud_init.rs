//! Debian's cloud-init configures a machine from boots' metadata: by EC2, by NoCloud, with a secret, and with a network.
//!
//! The packages come from `target/lab/cloud-init`, where `cargo lab test` puts them. A host must not have cloud-init installed for a
//! test. What the host lacks is named and skipped.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use boots::{Config, Events, FileSource, Metadata, Proof, Sockets};
use model::ObjectName;
use tokio_util::sync::CancellationToken;

const INSIDE: &str = "BOOTS_TEST_NAMESPACE";
const PACKAGES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/lab/cloud-init");
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cloud_init/machine.sh");
const HARDWARE: &str = r##"
apiVersion: tinkerbell.org/v1alpha1
kind: Hardware
metadata: {name: m1, namespace: lab}
spec:
  userData: |
    #cloud-config
    write_files: [{path: /written, content: by user data}]
  metadata:
    instance: {id: iid-1, hostname: named-by-metadata, ssh_keys: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA admin@lab"]}
  interfaces:
    - dhcp:
        mac: "02:00:00:00:00:01"
        name_servers: [10.77.0.53]
        domain_name: example.org
        ip: {address: 10.77.0.9, netmask: 255.255.255.0, gateway: 10.77.0.254}
        classless_static_routes: [{destination_descriptor: 10.9.0.0/16, router: 10.77.0.2}]
    - dhcp: {mac: "02:00:00:00:00:02", iface_name: lan1, vlan_id: "7", ip: {address: 10.78.0.9, netmask: 255.255.0.0}}
"##;

fn run(program: &str, words: &str) {
    let output = Command::new(program).args(words.split(' ')).output().unwrap();
    assert!(output.status.success(), "{program} {words}: {output:?}");
}

/// Why this host cannot run the test.
fn lacks() -> Option<String> {
    if !Path::new(PACKAGES).is_dir() {
        return Some(format!("no packages of Debian's cloud-init in {PACKAGES}"));
    }
    if !nix::unistd::geteuid().is_root() {
        return Some("a machine with a root of its own needs root".to_owned());
    }
    let is_there = |tool: &&str| Command::new("which").arg(tool).output().is_ok_and(|output| output.status.success());
    ["unshare", "ip", "curl", "netplan", "python3", "dpkg-deb", "tar"]
        .iter()
        .find(|tool| !is_there(tool))
        .map(|tool| format!("no {tool}"))
}

/// Its namespaces of network, mounts and host name end with it.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn debians_cloud_init_configures_a_machine_from_metadata() {
    if let Some(lack) = lacks() {
        eprintln!("skipped: {lack}");
        return;
    }
    if std::env::var_os(INSIDE).is_none() {
        let test = std::env::current_exe().unwrap();
        let name = "debians_cloud_init_configures_a_machine_from_metadata";
        let mut command = Command::new("timeout");
        command.args(["120", "unshare", "--net", "--mount", "--fork", "--kill-child"]).arg(test);
        let output = command.args([name, "--exact", "--nocapture"]).env(INSIDE, "1").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}");
        return;
    }
    run("ip", "link add lan0 type veth peer name peer0");
    run("ip", "link set peer0 address 02:00:00:00:00:01");
    run("ip", "link set lo up");
    run("ip", &format!("address add {SERVER}/24 dev lan0"));
    run("ip", "link set lan0 up");
    let folder = tempfile::tempdir().unwrap();
    let shutdown = host(folder.path()).await;

    let place = folder.path().join("machine");
    std::fs::create_dir(&place).unwrap();
    let secret = key().secret(&ObjectName::new("lab", "m1"));
    let own = std::fs::read_link("/proc/self/ns/net").unwrap();
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--uts", "sh", SCRIPT]).arg(&place).arg(PACKAGES);
    command.env("SECRET", format!("/instance/lab/m1/{secret}/")).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut machine = Machine(command.spawn().unwrap());
    let namespace = PathBuf::from(format!("/proc/{}/ns/net", machine.0.id()));
    let deadline = Instant::now() + Duration::from_secs(20);
    while std::fs::read_link(&namespace).is_ok_and(|namespace| namespace == own) {
        assert!(Instant::now() < deadline, "no namespace in time");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    run("ip", &format!("link set peer0 netns {}", machine.0.id()));
    let mut output = machine.0.stdout.take().unwrap();
    let read = tokio::task::spawn_blocking(move || std::io::read_to_string(&mut output).unwrap());
    let text = read.await.unwrap();
    shutdown.cancel();

    eprintln!("{text}");
    for boot in ["ec2", "nocloud", "secret", "seed"] {
        for fact in ["hostname named-by-metadata", "written by user data", "keys 1"] {
            assert!(text.contains(&format!("{boot}: {fact}\n")), "{boot}: {fact}");
        }
    }
    assert!(!text.contains("Traceback") && !text.contains("[WARNING]"));
    assert!(text.lines().any(|line| line.starts_with("seed: link: ") && line.contains(": lan1@")), "it renames its interface");
    for line in [
        "seed: networkd: Address=10.77.0.9/24",
        "seed: networkd: DNS=10.77.0.53",
        "seed: networkd: Domains=example.org",
        "seed: networkd: Gateway=10.77.0.254",
        "seed: networkd: Destination=10.9.0.0/16",
        "seed: networkd: VLAN=lan1.7",
        "seed: networkd: Address=10.78.0.9/16",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}");
    }
    assert!(text.ends_with("done\n"));
}

fn key() -> metadata::Key {
    metadata::Key::new(&[7; 32])
}

/// boots with the machine in its file, on both ports of metadata.
async fn host(folder: &Path) -> CancellationToken {
    let file = folder.join("hardware.yaml");
    std::fs::write(&file, HARDWARE).unwrap();
    let metadata = Some(Metadata { key: key(), proxies: Vec::new(), proof: Proof::Address });
    let config = Config { metadata, ..Config::new(SERVER, folder.to_owned(), folder.to_owned()) };
    let listen = async |port| tokio::net::TcpListener::bind((SERVER, port)).await.unwrap();
    let sockets = Sockets { http: Some(listen(7080).await), metadata: vec![listen(50061).await], ..Sockets::default() };
    let (source, shutdown) = (FileSource::open(file).unwrap(), CancellationToken::new());
    tokio::spawn(boots::run(sockets, Arc::new(config), Arc::new(source), Events::new(), shutdown.clone()));
    shutdown
}
