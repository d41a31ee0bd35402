//! A client-go program against the API: what controllers do, with the server restarted in the middle.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod cluster;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use cluster::{admin, lines, next, serve};
use server::store::StoreError;
use server::{Config, Server};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::OnceCell;

/// Go compiles client-go once for all tests, which takes minutes where nothing is in its cache.
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

/// The store of a server that was stopped a moment ago may still be open.
async fn opened(config: &Config) -> Server {
    loop {
        match Server::open(config.clone()).await {
            Err(StoreError::InUse { .. }) => tokio::time::sleep(Duration::from_millis(5)).await,
            other => return other.unwrap(),
        }
    }
}

async fn controller(watch_lists: &str) {
    let Some(program) = program().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let config = Config { store: Some(folder.path().join("thimble.redb")), ..Config::default() };
    let server = opened(&config).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = serve(server.clone(), listener, admin());
    let mut child = Command::new(program)
        .arg(format!("http://{address}"))
        .env("KUBE_FEATURE_WatchListClient", watch_lists)
        .env_remove("http_proxy")
        .env_remove("HTTP_PROXY")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut said = lines(child.stdout.take().unwrap());
    assert_eq!(next(&mut said).await, "conflicts");
    assert_eq!(next(&mut said).await, "restart");
    server.stop();
    serving.abort();
    let _ = serving.await; // it was aborted
    drop(server);
    let server = opened(&config).await;
    server.delete(model::Kind::Hardware, &"default/b".parse().unwrap(), false).await.unwrap();
    let objects = model::parse_documents(&machine("c", "52:54:00:00:00:03"), "c.yaml").unwrap();
    server.apply(objects).await.unwrap();
    let listener = TcpListener::bind(address).await.unwrap();
    let serving = serve(server, listener, admin());
    child.stdin.take().unwrap().write_all(b"restarted\n").await.unwrap();
    for step in ["informers", "expired", "protobuf", "election", "done"] {
        assert_eq!(next(&mut said).await, step);
    }
    serving.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn controllers_that_list_and_watch_work() {
    controller("false").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn controllers_that_watch_the_list_work() {
    controller("true").await;
}
