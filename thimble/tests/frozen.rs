//! iPXE gets its script while the store and every reader of events stand still: the script is made from memory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../src/up/forward.rs"]
mod forward;
#[allow(dead_code)]
#[path = "../src/up/keep.rs"]
mod keep;
#[path = "../src/up/source.rs"]
mod source;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use boots::{Events, LogSink, Sockets};
use model::Mac;
use server::store::{Answer, KeyValue, Memory, Store, StoreError, Transaction, Watch};
use server::{Config, LogLimits, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Barrier;
use tokio_util::sync::CancellationToken;

const MACHINES: usize = 1000;
/// Every twentieth is unknown.
const STRANGERS: usize = 20;
/// Calls that the store does not answer. The executor has 512 threads for calls that may block.
const STUCK: usize = 600;
/// The bar is for a release build on a quiet host. A debug build on a busy one is some ten times slower. What waits for the store
/// waits for ever.
const BAR: Duration = if cfg!(debug_assertions) { Duration::from_secs(3) } else { Duration::from_millis(100) };

/// A store whose disk stands still from some moment on: each call then keeps its thread, as a read of a dead disk does.
#[derive(Default)]
struct Frozen {
    memory: Memory,
    stands: Arc<(Mutex<bool>, Condvar)>,
}

impl Frozen {
    fn freeze(&self, stands: bool) {
        *self.stands.0.lock().unwrap() = stands;
        self.stands.1.notify_all();
    }

    async fn thaw(&self) {
        let stands = Arc::clone(&self.stands);
        if *stands.0.lock().unwrap() {
            let wait = move || drop(stands.1.wait_while(stands.0.lock().unwrap(), |stands| *stands).unwrap());
            tokio::task::spawn_blocking(wait).await.unwrap();
        }
    }
}

impl Store for Frozen {
    fn get<'a>(&'a self, key: &'a str) -> Answer<'a, Option<KeyValue>> {
        Box::pin(async move {
            self.thaw().await;
            self.memory.get(key).await
        })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> Answer<'a, (Vec<KeyValue>, u64)> {
        Box::pin(async move {
            self.thaw().await;
            self.memory.list(prefix).await
        })
    }

    fn commit(&self, transaction: Transaction) -> Answer<'_, u64> {
        Box::pin(async move {
            self.thaw().await;
            self.memory.commit(transaction).await
        })
    }

    fn probe(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            self.thaw().await;
            self.memory.probe().await
        })
    }

    fn watch(&self, after: u64) -> Result<Watch, StoreError> {
        self.memory.watch(after)
    }
}

fn mac(number: usize) -> Mac {
    let [.., high, low] = number.to_be_bytes();
    Mac::new([2, 0, 0, 0, high, low])
}

fn is_stranger(number: usize) -> bool {
    number.is_multiple_of(STRANGERS)
}

/// All machines but the strangers, each with a workflow to install.
fn objects() -> String {
    let machine = |number: usize| {
        let (mac, [.., high, low]) = (mac(number), number.to_be_bytes());
        format!(
            "---\napiVersion: tinkerbell.org/v1alpha1\nkind: Hardware\nmetadata: {{name: m{number}}}\nspec: {{interfaces: [{{dhcp: {{mac: \
             '{mac}', ip: {{address: 10.1.{high}.{low}, netmask: 255.0.0.0}}}}, netboot: {{allowPXE: true}}}}]}}\n---\napiVersion: \
             tinkerbell.org/v1alpha1\nkind: Workflow\nmetadata: {{name: w{number}}}\nspec: {{templateRef: t, hardwareRef: m{number}, \
             hardwareMap: {{device: '{mac}'}}}}\n"
        )
    };
    let template = "apiVersion: tinkerbell.org/v1alpha1\nkind: Template\nmetadata: {name: t}\nspec:\n  data: |\n    name: t\n    \
                    tasks: [{name: t, worker: \"{{.device}}\", actions: [{name: a, image: \"i:1\"}]}]\n";
    (1..MACHINES).filter(|number| !is_stranger(*number)).map(machine).fold(template.to_owned(), |text, one| text + &one)
}

/// A connection from an address of its own.
async fn connected(number: usize, to: SocketAddr) -> TcpStream {
    let [.., high, low] = number.to_be_bytes();
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::new(127, 1, high, low.max(1)), 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}

/// How long the answer took.
async fn ask(number: usize, mut connection: TcpStream, all: Arc<Barrier>) -> Duration {
    let request = format!("GET /ipxe/script/{}/auto.ipxe HTTP/1.1\r\nHost: boots\r\nConnection: close\r\n\r\n", mac(number));
    all.wait().await;
    let begun = Instant::now();
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await.unwrap();
    let took = begun.elapsed();
    let answer = String::from_utf8(answer).unwrap();
    let (status, content) = if is_stranger(number) { ("404", "unknown machine") } else { ("200", "#!ipxe") };
    assert!(answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.contains(content), "{number}: {answer}");
    took
}

/// All requests at once, from threads that the server does not use.
fn ask_all(to: SocketAddr) -> Vec<Duration> {
    let clients = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    clients.block_on(async {
        let all = Arc::new(Barrier::new(MACHINES));
        let mut running = Vec::new();
        for number in 0..MACHINES {
            running.push(tokio::spawn(ask(number, connected(number, to).await, Arc::clone(&all))));
        }
        let mut took = Vec::new();
        for one in running {
            took.push(one.await.unwrap());
        }
        took.sort_unstable();
        took
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_scripts_wait_neither_for_the_store_nor_for_readers_of_events() {
    server::allow_many_connections();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    ["files", "nbp"].iter().for_each(|name| std::fs::create_dir(path(name)).unwrap());
    ["vmlinuz", "initramfs"].iter().for_each(|name| std::fs::write(path("files").join(name), "x").unwrap());
    let store = Arc::new(Frozen::default());
    let limits = LogLimits { keep_free: 0, ..LogLimits::default() };
    let config = Config { logs: Some((path("log"), limits)), ..Config::default() };
    let server = Server::on(Arc::clone(&store) as Arc<dyn Store>, config).await.unwrap();
    server.apply(model::parse_documents(&objects(), "objects").unwrap()).await.unwrap();

    let config = boots::Config {
        kernel: "vmlinuz".to_owned(),
        initrd: "initramfs".to_owned(),
        ..boots::Config::new(Ipv4Addr::LOCALHOST, path("files"), path("nbp"))
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let http = listener.local_addr().unwrap();
    let events = Events::new().with_sink(Arc::new(keep::IntoLogs(server.clone())) as Arc<dyn LogSink>);
    // One reader stands still because the store does, the others because nobody reads.
    tokio::spawn(forward::run(events.subscribe(), server.clone()));
    let _readers: Vec<_> = (0..8).map(|_| events.subscribe()).collect();
    let shutdown = CancellationToken::new();
    let sockets = Sockets { http: Some(listener), ..Sockets::default() };
    let source = Arc::new(source::InProcess(server.clone()));
    tokio::spawn(boots::run(sockets, Arc::new(config), source, events, shutdown.clone()));

    store.freeze(true);
    let stuck: Vec<_> = (0..STUCK)
        .map(|number| {
            let server = server.clone();
            tokio::spawn(async move { drop(server.last_booted(mac(number)).await) })
        })
        .collect();
    let writing = server.clone();
    let written = tokio::spawn(async move { writing.booted(mac(1), "up".to_owned()).await });
    let took = tokio::task::spawn_blocking(move || ask_all(http));
    let took = tokio::time::timeout(Duration::from_secs(30), took).await.expect("some script waits for the store").unwrap();
    let [median, p99, last] = [MACHINES / 2, MACHINES * 99 / 100, MACHINES - 1].map(|at| took[at]);
    eprintln!("{MACHINES} scripts at once while the store stands still: median {median:?}, p99 {p99:?}, slowest {last:?}");
    assert!(!written.is_finished() && stuck.iter().all(|one| !one.is_finished()), "the store stood still all the time");
    store.freeze(false);
    assert!(p99 < BAR, "p99 {p99:?}");
    tokio::time::timeout(Duration::from_secs(30), written).await.unwrap().unwrap().unwrap();
    shutdown.cancel();
}
