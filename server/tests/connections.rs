//! Many connections: those that say nothing stop no one else, on any port.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod lab;
mod process;

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use access::{Grant, Lifetime, Role};
use lab::{Agent, MAC, everything, soon};
use process::{Api, Process, access};
use proto::action_status_request::StateType;
use reqwest::Client;
use tokio::net::{TcpSocket, TcpStream};

/// What a holding process does: `FIRST COUNT ADDRESS...`.
const HOLD: &str = "THIMBLE_TEST_HOLD";
/// Addresses of one holding process, and connections of each address.
const SOURCES: u8 = 10;
const EACH: usize = 1000;
const ROUNDS: usize = 30;

/// Not a real test: it is the process with the server.
#[test]
fn serving_process() {
    process::serve_if_asked();
}

/// Not a real test: it is a process that holds connections which say nothing, until it is killed.
#[test]
fn holding_process() {
    let Ok(order) = std::env::var(HOLD) else { return };
    server::allow_many_connections();
    let words: Vec<&str> = order.split(' ').collect();
    let (first, targets): (u8, Vec<SocketAddr>) =
        (words[0].parse().unwrap(), words[1..].iter().map(|target| target.parse().unwrap()).collect());
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let mut held = Vec::new();
        for source in 0..SOURCES {
            let own = IpAddr::from(Ipv4Addr::new(127, 0, 9, first + source));
            for n in 0..EACH {
                held.push(connect(own, targets[n % targets.len()]).await);
            }
        }
        println!("\nholding {}", held.len());
        std::io::stdout().flush().unwrap();
        std::future::pending::<()>().await;
    });
}

async fn connect(own: IpAddr, target: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(own, 0)).unwrap();
    soon(socket.connect(target)).await.unwrap()
}

/// A process that holds connections from addresses beginning with 127.0.9.FIRST.
struct Holder(Child);

impl Holder {
    fn start(first: u8, targets: &[SocketAddr]) -> Self {
        let targets: Vec<String> = targets.iter().map(ToString::to_string).collect();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "holding_process", "--nocapture", "--test-threads=1"])
            .env(HOLD, format!("{first} {}", targets.join(" ")))
            .stdout(Stdio::piped())
            .spawn();
        Self(child.unwrap())
    }

    /// How many it holds.
    async fn ready(&mut self) -> usize {
        let stdout = self.0.stdout.take().unwrap();
        let read = move || {
            let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
            lines.find_map(|line| line.strip_prefix("holding ")?.parse().ok())
        };
        tokio::time::timeout(Duration::from_secs(120), tokio::task::spawn_blocking(read)).await.unwrap().unwrap().unwrap()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill(); // an error only means that it has ended
        let _ = self.0.wait();
    }
}

fn middle_and_worst(mut took: Vec<Duration>) -> (Duration, Duration) {
    took.sort_unstable();
    (took[took.len() / 2], *took.last().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_thousand_idle_connections_stop_no_one_else() {
    if process::is_serving_process() || std::env::var_os(HOLD).is_some() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("thimble.redb");
    let arguments = ["--exact", "serving_process", "--nocapture", "--test-threads=1"];
    let mut server = Process::start(&arguments, &store, Duration::from_secs(50));
    let addresses = server.addresses().await.unwrap();
    let api = Api::of(addresses);
    assert_eq!(api.apply(everything()).await.unwrap().0, 200);
    let access = access(&store);
    let (token, _) =
        access.tokens.create("alice", Grant::everywhere(Role::Viewer), Lifetime::days(1), jiff::Timestamp::now()).unwrap();
    let authority = reqwest::Certificate::from_pem(access.authority.pem().as_bytes()).unwrap();
    let mut agent = Agent { id: MAC.to_owned(), client: addresses.agent() };
    let action = agent.ask().await.unwrap();

    let targets = [addresses.grpc, addresses.http, addresses.https];
    let mut holders = [Holder::start(1, &targets), Holder::start(101, &targets)];
    let mut held = 0;
    for holder in &mut holders {
        held += holder.ready().await;
    }
    assert_eq!(held, 20_000);
    println!("{}", open_and_refused(&api).await);

    let (mut reports, mut reads) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        // An agent and a client that have just started.
        let start = Instant::now();
        let mut agent = Agent { id: MAC.to_owned(), client: addresses.agent() };
        agent.say(&action, StateType::Running).await.unwrap();
        reports.push(start.elapsed());
        let start = Instant::now();
        let client = Client::builder().tls_certs_only([authority.clone()]).build().unwrap();
        let url = format!("https://{}/apis/tinkerbell.org/v1alpha1/namespaces/default/workflows/w", addresses.https);
        let answer = soon(client.get(url).bearer_auth(&token).send()).await.unwrap();
        assert_eq!(answer.status(), 200);
        reads.push(start.elapsed());
    }
    let (reports, reads) = (middle_and_worst(reports), middle_and_worst(reads));
    println!("beside 20,000 idle connections: a report takes {reports:?}, a GET by TLS {reads:?} (median, worst)");
    assert!(reports.0 < Duration::from_millis(200) && reads.0 < Duration::from_millis(400), "{reports:?} {reads:?}");
    assert!(reports.1 < Duration::from_secs(5) && reads.1 < Duration::from_secs(5), "{reports:?} {reads:?}");
}

/// The lines of the metrics about connections.
async fn open_and_refused(api: &Api) -> String {
    let page = soon(api.text("/metrics")).await.unwrap();
    page.lines().filter(|line| line.contains("connections") && !line.starts_with('#')).collect::<Vec<_>>().join("\n")
}
