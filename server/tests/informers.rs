//! A program of client-go and controller-runtime against the API, with the server restarted in the middle.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod cluster;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use cluster::{admin, lines, next, opened, serve};
use etcd::cluster::{Cluster, LIMITS};
use server::store::EtcdSettings;
use server::{Config, Server};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;

/// Go compiles the program once for all tests, which takes minutes where nothing is in its cache.
const BUILD_LIMIT: Duration = Duration::from_secs(900);

static PROGRAM: OnceCell<Result<PathBuf, String>> = OnceCell::const_new();

async fn program() -> Option<PathBuf> {
    let built = PROGRAM.get_or_init(build).await;
    match built {
        Ok(program) => Some(program.clone()),
        Err(reason) => {
            eprintln!("skipped: {reason}");
            None
        }
    }
}

async fn build() -> Result<PathBuf, String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/informers");
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("informers");
    let mut command = Command::new("go");
    command.args(["build", "-o"]).arg(&program).arg(".").current_dir(source).kill_on_drop(true);
    let output = match tokio::time::timeout(BUILD_LIMIT, command.output()).await {
        Ok(Ok(output)) => output,
        Ok(Err(reason)) => return Err(format!("go cannot be started: {reason}")),
        Err(_) => return Err("go did not build the program in 15 minutes".to_owned()),
    };
    if output.status.success() {
        return Ok(program);
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // A fault of the program is not an excuse.
    let excuses = ["dial tcp", "requires go", "no such host", "proxyconnect", "lookup", "i/o timeout", "module lookup disabled"];
    assert!(excuses.iter().any(|excuse| said.contains(excuse)), "{said}");
    Err(format!("go cannot build the program here: {}", said.lines().next().unwrap_or_default()))
}

fn machine(name: &str, mac: &str) -> String {
    format!(
        "apiVersion: tinkerbell.org/v1alpha1\nkind: Hardware\nmetadata: {{name: {name}, labels: {{rack: '7'}}}}\nspec:\n  interfaces: \
         [{{dhcp: {{mac: '{mac}'}}}}]\n"
    )
}

/// The Go program beside a server. The server can be stopped and started again.
struct Beside {
    child: Child,
    said: cluster::Lines,
    config: Config,
    address: SocketAddr,
    serving: Option<(Server, JoinHandle<()>)>,
    _folder: tempfile::TempDir,
}

impl Beside {
    /// None where the program cannot be built.
    async fn start(arguments: &[&str], watch_lists: &str, etcd: Option<&Cluster>) -> Option<Self> {
        let program = program().await?;
        let folder = tempfile::tempdir().unwrap();
        let etcd = etcd.map(|etcd| EtcdSettings { address: etcd.address("site"), tls: None });
        let config = Config { store: Some(folder.path().join("thimble.redb")), etcd, ..Config::default() };
        let server = opened(&config).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = serve(server.clone(), listener, admin());
        let mut child = Command::new(program)
            .arg(format!("http://{address}"))
            .args(arguments)
            .env("KUBE_FEATURE_WatchListClient", watch_lists)
            .env_remove("http_proxy")
            .env_remove("HTTP_PROXY")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let said = lines(child.stdout.take().unwrap());
        Some(Self { child, said, config, address, serving: Some((server, serving)), _folder: folder })
    }

    async fn says(&mut self, steps: &[&str]) {
        for step in steps {
            assert_eq!(next(&mut self.said).await, *step);
        }
    }

    /// While the clients cannot see it, b goes and c comes.
    async fn restart(&mut self) {
        let (server, serving) = self.serving.take().unwrap();
        server.stop();
        serving.abort();
        let _ = serving.await; // it was aborted
        drop(server);
        let server = opened(&self.config).await;
        let b = "default/b".parse().unwrap();
        if server.get(model::Kind::Hardware, &b).is_some() {
            server.delete(model::Kind::Hardware, &b, false).await.unwrap();
        }
        let objects = model::parse_documents(&machine("c", "52:54:00:00:00:03"), "c.yaml").unwrap();
        server.apply(objects).await.unwrap();
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.serving = Some((server.clone(), serve(server, listener, admin())));
        self.child.stdin.as_mut().unwrap().write_all(b"restarted\n").await.unwrap();
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if let Some((_, serving)) = &self.serving {
            serving.abort();
        }
    }
}

async fn informers(watch_lists: &str, etcd: Option<&Cluster>) {
    let Some(mut beside) = Beside::start(&[], watch_lists, etcd).await else { return };
    beside.says(&["conflicts", "restart"]).await;
    beside.restart().await;
    beside.says(&["informers", "expired", "protobuf", "election", "done"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn informers_that_list_and_watch_work() {
    informers("false", None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn informers_that_watch_the_list_work() {
    informers("true", None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn informers_work_with_a_store_in_etcd() {
    match Cluster::start(1, LIMITS) {
        Ok(cluster) => informers("true", Some(&cluster)).await,
        Err(reason) => eprintln!("SKIPPED: {reason}"),
    }
}

/// A controller-runtime manager: it reconciles, patches the status, owns objects, and hands its lease to the next one.
#[tokio::test(flavor = "multi_thread")]
async fn controllers_of_controller_runtime_work() {
    let Some(mut beside) = Beside::start(&["controller"], "true", None).await else { return };
    beside.says(&["reconciled", "restart"]).await;
    beside.restart().await;
    beside.says(&["continued", "elected", "released", "done"]).await;
}
