//! `cargo lab bench server`: what a change, an idle agent and a start cost beside 10,000 Hardware and 10,000 Workflows.
//!
//! The server is a separate process, and everything goes through its sockets. Ratios count: both sides of each are measured
//! in the same run, in turns.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "server/flood.rs"]
mod flood;
#[path = "../tests/measure/mod.rs"]
mod measure;
#[path = "../tests/process/mod.rs"]
mod process;
#[path = "server/reading.rs"]
mod reading;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use measure::{Held, commit_rate, fill, fill_hardware, hardware, invent, mac, median, milliseconds, one_more};
use process::{Addresses, Api, Process, access};
use reading::Reader;
use reqwest::Client;

const OBJECTS: usize = 10_000;
const ONE_MORE: usize = 300;
const IDLE: usize = 2000;
const STARTS: usize = 50;
const HELD: usize = 10_000;
/// As long as a call with that deadline is held, so each of them ends and begins again once.
const IDLE_WATCHED: Duration = Duration::from_secs(220);
const COMMITS: usize = 300;
const INVENTED: usize = 20_000;
const LONG_POLL: Duration = Duration::from_secs(55);
const SHORT_POLL: Duration = Duration::from_millis(20);
const ETCD: &str = "http://127.0.0.1:23799";

fn main() {
    if process::serve_if_asked() {
        return;
    }
    server::allow_many_connections();
    let executor = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    // `cargo bench -p server --bench server -- tls` takes minutes less.
    if std::env::args().any(|word| word == "tls") {
        executor.block_on(async { by_tls(tempfile::tempdir().unwrap().path()).await });
    } else {
        executor.block_on(measured());
    }
}

async fn measured() {
    let folder = tempfile::tempdir().unwrap();
    let (at_empty, at_full) = (folder.path().join("empty.redb"), folder.path().join("full.redb"));
    let (mut empty, mut full) = (Process::start(&[], &at_empty, LONG_POLL), Process::start(&[], &at_full, LONG_POLL));
    let (empty_at, full_at) = (empty.addresses().await.unwrap(), full.addresses().await.unwrap());
    let (few, many) = (Api::of(empty_at), Api::of(full_at));
    fill(&few, 1, 1).await;
    let fresh = empty.memory("VmRSS");
    let began = Instant::now();
    fill(&many, 1, OBJECTS).await;
    println!("filled in {:.0} s: {OBJECTS} Hardware and {OBJECTS} Workflows", began.elapsed().as_secs_f64());
    full.quiet(0).await;
    println!(
        "memory            {:8.1} MiB, {fresh:.1} MiB without objects (peak {:.1})",
        full.memory("VmRSS"),
        full.memory("VmHWM")
    );

    let reader = Reader::of(&at_full, full_at);
    reader.lists(&full, OBJECTS).await;
    reader.events().await;

    let [small, large] = one_more([&few, &many], 100_000, ONE_MORE).await.map(|times| median(&times));
    println!("one more object   {large:8.2} ms, {small:.2} ms in an empty store: {:.2} times (bar 1.5)", large / small);

    fill_hardware(&many, 200_000, IDLE).await;
    let idle = Held::calls(&full, full_at, (200_000..200_000 + IDLE).map(mac)).await;
    let starts = idle.starts(&many, (200_000..200_000 + IDLE).step_by(IDLE / STARTS)).await;
    println!(
        "start             {:8.1} ms from the acknowledged create to the action, median of {STARTS} with {IDLE} idle agents (bar 50)",
        median(&starts)
    );
    drop(idle);

    fill_hardware(&few, 600_000, HELD).await;
    let alone = commit_rate(&few, 300_000, COMMITS).await;
    let waiting = Held::calls(&empty, empty_at, (600_000..600_000 + HELD).map(mac)).await;
    let held = commit_rate(&few, 400_000, COMMITS).await;
    println!("changes           {held:8.0} a second with {HELD} held calls, {alone:.0} without: {:.2} times", held / alone);
    shown(&empty, "held calls", 512).await;
    drop(waiting);
    by_tls(folder.path()).await;

    full.kill();
    let began = Instant::now();
    let mut again = Process::start(&[], &at_full, LONG_POLL);
    let again_at = again.addresses().await.unwrap();
    println!("restart           {:8.0} ms after SIGKILL, with everything in the store", milliseconds(began));

    flood::measured(&again, again_at).await;
    drop(again);

    let mut strange = Process::start(&[], &folder.path().join("strange.redb"), SHORT_POLL);
    let addresses = strange.addresses().await.unwrap();
    invent(addresses, 400).await;
    let before = strange.memory("VmRSS");
    invent(addresses, INVENTED).await;
    println!("invented agents   {:8.1} MiB more for {INVENTED} (bar 32)", strange.memory("VmRSS") - before);
    etcd(folder.path(), &few).await;
}

/// What held calls cost while nothing happens.
async fn shown(server: &Process, calls: &str, bar: usize) {
    println!("memory            {:8.1} MiB with {HELD} {calls} (bar {bar})", server.memory("VmRSS"));
    let load = server.load(IDLE_WATCHED).await * 100.0;
    println!(
        "idle              {load:8.2} % of a core with {HELD} {calls} that begin again each {} s (bar 1)",
        IDLE_WATCHED.as_secs()
    );
}

/// The same with agents that all use TLS.
async fn by_tls(folder: &Path) {
    let store = folder.join("tls.redb");
    let mut server = Process::start(&[], &store, LONG_POLL);
    let addresses: Addresses = server.addresses().await.unwrap();
    fill_hardware(&Api::of(addresses), 600_000, HELD).await;
    let verifier = Arc::new(trust::Verifier::new(&[access(&store).authority.certificate().clone()]));
    let agents = (600_000..600_000 + HELD).map(mac);
    let waiting = Held::by(&server, agents, |number| addresses.agent_by_tls(number, &verifier)).await;
    shown(&server, "held calls by TLS", 1024).await;
    drop(waiting);
}

/// A durable put in etcd beside a durable change here, in turns.
async fn etcd(folder: &Path, api: &Api) {
    let Some(mut peer) = start_etcd(folder) else {
        println!("etcd              not installed (Debian's etcd-server): no comparison");
        return;
    };
    let client = Client::new();
    let put = async |number: usize| {
        // Hexadecimal digits are also valid base64, in groups of four.
        let value = hardware(number).bytes().map(|byte| format!("{byte:04x}")).collect::<String>();
        let body = format!("{{\"key\": \"{number:08}\", \"value\": \"{value}\"}}");
        client.post(format!("{ETCD}/v3/kv/put")).body(body).send().await.is_ok_and(|answer| answer.status().is_success())
    };
    let ready = Instant::now();
    while !put(10_000_000).await {
        assert!(ready.elapsed() < Duration::from_secs(30), "etcd does not answer");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (mut here, mut there) = (Vec::new(), Vec::new());
    for number in 500_000..500_000 + COMMITS {
        let began = Instant::now();
        commit_rate(api, number, 1).await;
        here.push(milliseconds(began));
        let began = Instant::now();
        assert!(put(10_000_000 + number).await, "etcd refuses a put");
        there.push(milliseconds(began));
    }
    let (here, there) = (median(&here), median(&there));
    println!(
        "durable change    {here:8.2} ms checked and indexed, {there:.2} ms for a bare put of etcd: {:.2} times",
        here / there
    );
    let _ = peer.kill(); // an error only means that it has ended
    let _ = peer.wait();
}

fn start_etcd(folder: &Path) -> Option<Child> {
    let mut etcd = Command::new("etcd");
    etcd.arg("--data-dir").arg(folder.join("etcd")).args(["--listen-client-urls", ETCD, "--advertise-client-urls", ETCD]);
    etcd.args(["--listen-peer-urls", "http://127.0.0.1:23800", "--log-level", "error"]);
    etcd.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()
}
