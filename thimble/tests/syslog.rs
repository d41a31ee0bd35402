//! Lines of machines by syslog, through boots into the logs of a server: of another host, and of the same process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use access::{Access, Grant, Lifetime, Names, Role};
use api::{BootStep, StepKind};
use boots::syslog::{Intake, Message};
use boots::{Events, LogSink, Login, MachineSource, RemoteSource};
use futures_util::FutureExt;
use jiff::Timestamp;
use model::Mac;
use server::{Config, Entrance, LogLimits, Server, SyslogLine};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const STEPS_OF: Mac = Mac::new([2, 0, 0, 0, 0, 7]);
const SECOND: Duration = Duration::from_secs(1);
/// A datagram of the flood, and how much a second: 100 MB.
const LINE: usize = 1000;
const BURST: usize = 100;
const PAUSE: Duration = Duration::from_millis(1);

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(30 * SECOND, what).await.expect("nothing happened within 30 s")
}

async fn server(folder: &Path) -> Server {
    let limits = LogLimits { keep_free: 0, ..LogLimits::default() };
    Server::open(Config { logs: Some((folder.join("log"), limits)), ..Config::default() }).await.unwrap()
}

/// boots' syslog. Returns its address.
async fn syslog(source: Arc<dyn MachineSource>, sink: Arc<dyn LogSink>, shutdown: &CancellationToken) -> SocketAddr {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let intake = Arc::new(Intake::new(source, Events::new().with_sink(sink)));
    tokio::spawn(boots::syslog::serve(socket, intake, shutdown.clone()));
    address
}

fn machine(last: u8) -> UdpSocket {
    UdpSocket::bind((IpAddr::from([127, 0, 5, last]), 0)).unwrap()
}

/// The log of machines without Hardware.
fn log(folder: &Path) -> PathBuf {
    folder.join("log/machines/unknown")
}

/// All lines of it. Machines without Hardware have one log.
fn kept(folder: &Path) -> String {
    let files = std::fs::read_dir(log(folder)).into_iter().flatten().map(|entry| entry.unwrap().path());
    files.map(|path| std::fs::read_to_string(path).unwrap_or_default()).collect()
}

/// The server by HTTPS: its URL, and who may call.
async fn entrance(server: &Server, folder: &Path) -> (String, Arc<Access>) {
    std::fs::create_dir_all(folder.join("data")).unwrap();
    let access = Access::open(&folder.join("data"), Names::local(), Timestamp::now()).unwrap();
    let https = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", https.local_addr().unwrap());
    tokio::spawn(Entrance { access: Arc::clone(&access), https, local: None }.serve(server.clone()));
    (url, access)
}

fn token(access: &Access, role: Role) -> String {
    access.tokens.create("host", Grant::everywhere(role), Lifetime::days(1), Timestamp::now()).unwrap().0
}

#[tokio::test]
async fn boots_on_another_host_hands_the_lines_of_machines_over_with_its_token() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(folder.path()).await;
    let (url, access) = entrance(&server, folder.path()).await;
    let authority = trust::Fingerprint::of(access.authority.certificate());
    let (of_boots, of_viewer) = (token(&access, Role::Boots), token(&access, Role::Viewer));

    let shutdown = CancellationToken::new();
    for (token, text) in [(of_viewer, "of a viewer"), (of_boots, "of boots: \u{1b}[2J and more")] {
        let source = RemoteSource::with(std::slice::from_ref(&url), Some(&Login { token, authority })).unwrap();
        let (sink, sending) = source.sink();
        tokio::spawn(sending);
        sink.step(STEPS_OF, BootStep::new(Timestamp::now(), StepKind::Offered, text, "OFFER"));
        let address = syslog(Arc::new(source), Arc::new(sink), &shutdown).await;
        machine(1).send_to(format!("<30>1 - m1 thimble - - - {text}").as_bytes(), address).unwrap();
    }
    soon(async {
        while !kept(folder.path()).contains("and more") {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let kept = kept(folder.path());
    assert!(kept.contains("127.0.5.1") && !kept.contains('\u{1b}'), "{kept}");
    assert!(!kept.contains("of a viewer"), "a viewer may not write there: {kept}");
    let steps = server.boots_of(&STEPS_OF.to_string(), Timestamp::now()).await.unwrap().steps;
    let asked: Vec<&str> = steps.iter().map(|one| one.step.asked.as_str()).collect();
    assert_eq!(asked, ["of boots: \\u{1b}[2J and more"], "steps go the same way");
    shutdown.cancel();
}

#[tokio::test]
async fn boots_on_another_host_hands_announcements_and_the_authority_over() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(folder.path()).await;
    let hardware = "apiVersion: tinkerbell.org/v1alpha1\nkind: Hardware\nmetadata: {name: m}\nspec: {interfaces: [{dhcp: {mac: 52:54:00:00:00:01}}]}\n";
    server.apply(model::parse_documents(hardware, "f").unwrap()).await.unwrap();
    let (url, access) = entrance(&server, folder.path()).await;
    let authority = trust::Fingerprint::of(access.authority.certificate());
    let (of_boots, of_viewer) = (token(&access, Role::Boots), token(&access, Role::Viewer));
    let pem = access.authority.pem().to_owned();

    let source = |token| RemoteSource::with(std::slice::from_ref(&url), Some(&Login { token, authority })).unwrap();
    let (known, unknown): (Mac, Mac) = (Mac::new([0x52, 0x54, 0, 0, 0, 1]), Mac::new([2; 6]));
    let boots = source(of_boots);
    let shown = boots.greet().await.unwrap().expect("it is called by TLS");
    assert_eq!(shown.replace('\n', ""), pem.replace(['\n', '\r'], ""));
    assert!(boots.booted(known, "Debian 12".to_owned()).await.unwrap());
    assert!(!boots.booted(unknown, "Debian 12".to_owned()).await.unwrap());
    assert_eq!(server.last_booted(known).await.unwrap().unwrap().text, "Debian 12");
    let refused = source(of_viewer).booted(known, "a lie".to_owned()).await.unwrap_err().to_string();
    assert!(refused.contains("403"), "{refused}");
    let refused = source("nonsense".to_owned()).greet().await.unwrap_err().to_string();
    assert!(refused.contains("401"), "{refused}");
}

#[derive(Debug)]
struct Nobody;

impl MachineSource for Nobody {
    fn machine(&self, _: Mac) -> boots::SourceFuture<'_> {
        std::future::ready(Ok(None)).boxed()
    }

    fn machine_at(&self, _: IpAddr) -> boots::SourceFuture<'_> {
        std::future::ready(Ok(None)).boxed()
    }
}

/// As `thimble up` does it.
struct IntoLogs(Server);

impl std::fmt::Debug for IntoLogs {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("IntoLogs")
    }
}

impl LogSink for IntoLogs {
    fn take(&self, mac: Option<Mac>, address: IpAddr, message: &Message) {
        let line = SyslogLine { mac, address: Some(address), tag: &message.tag, text: &message.text };
        self.0.keep_syslog(line, Timestamp::now());
    }

    fn step(&self, mac: Mac, step: BootStep) {
        self.0.keep_step(mac, step);
    }
}

/// Sends as much as it can, up to 100 MB a second, until it is told to stop.
fn flood(address: SocketAddr, stop: &AtomicBool, sent: &AtomicU64) {
    let (socket, line) = (machine(1), [b'x'; LINE]);
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        for _ in 0..BURST {
            if socket.send_to(&line, address).is_ok() {
                sent.fetch_add(LINE as u64, Ordering::Relaxed);
            }
        }
        std::thread::sleep(PAUSE.saturating_sub(began.elapsed()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_one_machine_by_syslog_fills_no_disk_and_the_lines_of_another_arrive() {
    let folder = tempfile::tempdir().unwrap();
    let (server, shutdown) = (server(folder.path()).await, CancellationToken::new());
    let address = syslog(Arc::new(Nobody), Arc::new(IntoLogs(server.clone())), &shutdown).await;
    let (stop, sent, began) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Instant::now());
    let (stops, sends) = (Arc::clone(&stop), Arc::clone(&sent));
    let flooding = std::thread::spawn(move || flood(address, &stops, &sends));
    let other = machine(2);
    let mut took = Vec::new();
    for number in 0..20 {
        let start = Instant::now();
        let text = format!("line {number} of another machine.");
        soon(async {
            while !kept(folder.path()).contains(&text) {
                // A datagram may be lost, as always.
                other.send_to(format!("<30>1 - m2 thimble - - - {text}").as_bytes(), address).unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        took.push(start.elapsed());
    }
    soon(async {
        while !kept(folder.path()).contains("lines were dropped before this, because they came too fast") {
            tokio::task::yield_now().await;
        }
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    flooding.join().unwrap();
    let (seconds, sent) = (began.elapsed().as_secs_f64(), sent.load(Ordering::Relaxed));
    took.sort_unstable();
    let size: u64 = std::fs::read_dir(log(folder.path())).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
    println!(
        "{:.0} MB a second for {seconds:.1} s, {size} bytes are kept; a line of another machine takes {:?}",
        sent as f64 / 1e6 / seconds,
        took[10]
    );
    // A line takes twice its length at most, with its time and its sender.
    assert!((size as f64) < 2.0 * (seconds + 5.0) * f64::from(1 << 20), "{size} bytes in {seconds:.1} s");
    shutdown.cancel();
}
