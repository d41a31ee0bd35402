//! A small provisioning host on loopback: two machines in a fixed source, folders of their own, ports of the kernel's.
#![allow(dead_code)]

pub mod files;
pub mod namespace;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use api::{BootStep, StepKind};
use boots::{
    BootInterface, BootState, Config, Current, Event, Events, Listen, LogSink, MachineSource, Milestone, Sockets, SourceError,
    SourceFuture,
};
use model::{Mac, Object};
use sha2::{Digest, Sha256};
use tokio::sync::broadcast::Receiver;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub const KNOWN: Mac = Mac::new([2, 0, 0, 0, 0, 1]);
pub const FORBIDDEN: Mac = Mac::new([2, 0, 0, 0, 0, 2]);
pub const STRANGER: Mac = Mac::new([2, 0, 0, 0, 0, 0x99]);
pub const LIMIT: Duration = Duration::from_secs(20);

pub const HARDWARE: &str = r#"
apiVersion: tinkerbell.org/v1alpha1
kind: Hardware
metadata: {name: m1, annotations: {thimble/packs: "raid, xen"}}
spec:
  metadata: {facility: {facility_code: lab1}}
  interfaces:
    - dhcp:
        mac: "02:00:00:00:00:01"
        hostname: m1
        domain_name: example.org
        lease_time: 7200
        name_servers: [10.0.0.53, "fd00::53"]
        time_servers: [10.0.0.123]
        vlan_id: "7"
        ip: {address: 127.0.0.1, netmask: 255.255.255.0, gateway: 10.0.0.254}
        classless_static_routes:
          - {destination_descriptor: 10.9.0.0/16, router: 10.0.0.2}
      netboot: {allowPXE: true}
---
apiVersion: tinkerbell.org/v1alpha1
kind: Hardware
metadata: {name: m2}
spec:
  agentID: agent-2
  interfaces:
    - dhcp:
        mac: "02:00:00:00:00:02"
        ip: {address: 10.0.0.12, netmask: 255.255.255.0}
      netboot: {allowPXE: false}
"#;

pub fn machine(mac: Mac) -> BootInterface {
    let objects = model::parse_documents(HARDWARE, "lab.yaml").unwrap();
    let found = objects.iter().find_map(|object| match object {
        Object::Hardware(hardware) => BootInterface::from_hardware(hardware, mac, BootState::Install { workflow: None }),
        _ => None,
    });
    found.unwrap()
}

/// Knows the two machines of `HARDWARE`.
pub struct Fixed(pub Vec<BootInterface>);

impl Default for Fixed {
    fn default() -> Self {
        Self(vec![machine(KNOWN), machine(FORBIDDEN)])
    }
}

impl MachineSource for Fixed {
    fn machine(&self, mac: Mac) -> SourceFuture<'_> {
        let found = self.0.iter().find(|machine| machine.mac == mac).cloned();
        Box::pin(async { Ok(found) })
    }

    fn machine_at(&self, address: IpAddr) -> SourceFuture<'_> {
        let has = |machine: &&BootInterface| {
            let four = machine.reservation.as_ref().is_some_and(|reservation| reservation.address == address);
            four || machine.reservation6.as_ref().is_some_and(|reservation| reservation.address == address)
        };
        let found = self.0.iter().find(has).cloned();
        Box::pin(async { Ok(found) })
    }
}

/// A source that always fails.
pub struct Broken;

impl MachineSource for Broken {
    fn machine(&self, _: Mac) -> SourceFuture<'_> {
        Box::pin(async { Err(SourceError::Other("the store is on fire".into())) })
    }

    fn machine_at(&self, _: IpAddr) -> SourceFuture<'_> {
        Box::pin(async { Err(SourceError::Other("the store is on fire".into())) })
    }
}

pub fn config() -> Config {
    Config::new(Ipv4Addr::new(10, 0, 0, 1), PathBuf::from("/nonexistent"), PathBuf::from("/nonexistent"))
}

/// The steps of machines.
#[derive(Debug, Default)]
pub struct Kept(Mutex<Vec<(Mac, BootStep)>>);

impl LogSink for Kept {
    fn take(&self, _: Option<Mac>, _: IpAddr, _: &boots::syslog::Message) {}

    fn step(&self, mac: Mac, step: BootStep) {
        self.0.lock().unwrap().push((mac, step));
    }
}

impl Kept {
    pub fn of(&self, mac: Mac) -> Vec<BootStep> {
        self.0.lock().unwrap().iter().filter(|(other, _)| *other == mac).map(|(_, step)| step.clone()).collect()
    }

    /// Waits for a step of this kind.
    pub async fn until(&self, mac: Mac, kind: StepKind) -> BootStep {
        let wait = async {
            loop {
                if let Some(step) = self.of(mac).into_iter().find(|step| step.kind == kind) {
                    return step;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LIMIT, wait).await.expect("no such step in time")
    }
}

/// boots in full, on loopback.
pub struct Host {
    pub folder: tempfile::TempDir,
    pub dhcp: SocketAddr,
    /// Port 4011 of a proxy.
    pub pxe: SocketAddr,
    pub tftp: SocketAddr,
    pub syslog: SocketAddr,
    pub http: SocketAddr,
    pub events: Receiver<Event>,
    pub steps: Arc<Kept>,
    /// What is sent here are the settings from then on.
    pub settings: watch::Sender<Arc<Config>>,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Host {
    pub async fn start() -> Self {
        Self::with(Arc::new(Fixed::default())).await
    }

    pub async fn with(source: Arc<dyn MachineSource>) -> Self {
        Self::on(source, |config| config).await
    }

    pub async fn on(source: Arc<dyn MachineSource>, edit: impl FnOnce(Config) -> Config) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (files, nbp) = (folder.path().join("files"), folder.path().join("nbp"));
        std::fs::create_dir_all(&files).unwrap();
        std::fs::create_dir_all(&nbp).unwrap();
        let config = edit(Config { address: Ipv4Addr::LOCALHOST, ..Config::new(Ipv4Addr::LOCALHOST, files, nbp) });
        let any = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
        let listen = Listen { dhcp: Some(any), pxe: Some(any), tftp: Some(any.into()), syslog: Some(any.into()), dhcp6: None };
        let mut sockets = Sockets::bind(&config, listen).await.unwrap();
        let http = tokio::net::TcpListener::bind(any).await.unwrap();
        let addresses = (
            sockets.dhcp.as_ref().map_or(any.into(), |socket| socket.local_addr().unwrap()),
            sockets.pxe.as_ref().map_or(any.into(), |socket| socket.local_addr().unwrap()),
            sockets.tftp.as_ref().unwrap().local_addr().unwrap(),
            sockets.syslog.as_ref().unwrap().local_addr().unwrap(),
            http.local_addr().unwrap(),
        );
        sockets.http = Some(http);
        let (steps, shutdown) = (Arc::new(Kept::default()), CancellationToken::new());
        let all_events = Events::new().with_sink(Arc::clone(&steps) as Arc<dyn LogSink>);
        let events = all_events.subscribe();
        let (settings, current) = Current::of(config);
        let task = tokio::spawn(boots::run(sockets, current, source, all_events, shutdown.clone()));
        let (dhcp, pxe, tftp, syslog, http) = addresses;
        Self { folder, dhcp, pxe, tftp, syslog, http, events, steps, settings, shutdown, task }
    }

    pub fn nbp(&self, name: &str, content: &[u8]) {
        std::fs::write(self.folder.path().join("nbp").join(name), content).unwrap();
    }

    pub fn file(&self, name: &str, content: &[u8]) {
        let path = self.folder.path().join("files").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// Packs beside the ramdisk, with their index: the name of each, which is its content, and the devices that need it.
    pub fn packs(&self, packs: &[(&str, &str)]) {
        let entry = |(name, alias): &(&str, &str)| {
            let file = format!("pack-{name}.cpio.zst");
            self.file(&file, name.as_bytes());
            let sum: String = Sha256::digest(name).iter().map(|byte| format!("{byte:02x}")).collect();
            serde_json::json!({"name": name, "about": "", "file": file, "size": name.len(), "sha256": sum, "modaliases": [alias]})
        };
        let packs: Vec<serde_json::Value> = packs.iter().map(entry).collect();
        self.file("packs.json", serde_json::json!({"kernel": "6.1", "packs": packs}).to_string().as_bytes());
    }

    /// The next milestone that `wanted` picks, within the limit.
    pub async fn event<T>(&mut self, mut wanted: impl FnMut(&Event) -> Option<T>) -> T {
        let wait = async {
            loop {
                if let Some(found) = wanted(&self.events.recv().await.unwrap()) {
                    return found;
                }
            }
        };
        tokio::time::timeout(LIMIT, wait).await.expect("no such event in time")
    }

    pub async fn milestone(&mut self, wanted: Milestone) -> Event {
        self.event(|event| (event.milestone == wanted).then(|| event.clone())).await
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(LIMIT, self.task).await.expect("boots did not stop").unwrap().unwrap();
    }
}

/// What boots has logged in this process.
struct Lines(Mutex<Vec<String>>);

static LINES: Lines = Lines(Mutex::new(Vec::new()));

impl log::Log for Lines {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        self.0.lock().unwrap().push(record.args().to_string());
    }

    fn flush(&self) {}
}

/// Call it first; `assert_logged` sees what follows.
pub fn keep_log() {
    let _ = log::set_logger(&LINES); // another test of the process may have done it
    log::set_max_level(log::LevelFilter::Info);
}

/// One line has all these words, in this order.
pub fn assert_logged(words: &[&str]) {
    let lines = LINES.0.lock().unwrap();
    let has_all = |line: &String| {
        let mut rest = line.as_str();
        words.iter().all(|word| rest.split_once(word).map(|(_, after)| rest = after).is_some())
    };
    assert!(lines.iter().any(has_all), "{words:?} in {lines:#?}");
}

/// All lines so far.
pub fn logged() -> Vec<String> {
    LINES.0.lock().unwrap().clone()
}

pub fn count_logged(words: &str) -> usize {
    LINES.0.lock().unwrap().iter().filter(|line| line.contains(words)).count()
}

/// Bytes that are different wherever a mix-up could happen.
pub fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n ^ (n >> 8) ^ (n >> 16)) as u8).collect()
}
