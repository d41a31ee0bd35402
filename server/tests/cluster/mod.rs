//! A server that serves the API in Kubernetes' shape on a port of loopback, and kubectl as its client.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code)]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use access::{Caller, Grant, Origin, Proof, Role};
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use server::store::StoreError;
use server::{Config, Server};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{ChildStdout, Command};
use tokio::task::JoinHandle;

/// Every wait of a test ends.
pub const LIMIT: Duration = Duration::from_secs(120);

pub struct Cluster {
    pub server: Server,
    pub address: SocketAddr,
    pub home: tempfile::TempDir,
    pub kubectl: PathBuf,
    serving: JoinHandle<()>,
    /// It listens while the server restarts, so clients wait instead of failing.
    listener: std::net::TcpListener,
    /// How many watches were begun.
    watches: Arc<AtomicUsize>,
}

/// The kubectl of this host: the one in `KUBECTL`, or on the PATH.
pub fn kubectl() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("KUBECTL") {
        return Some(named.into());
    }
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join("kubectl")).find(|file| file.is_file())
}

pub fn admin() -> Caller {
    Caller::new("test", vec![Grant::everywhere(Role::Admin)], Origin::Socket { uid: 0 }, Proof::LocalUser)
}

impl Cluster {
    /// None where kubectl is missing; the reason is printed.
    pub async fn start() -> Option<Self> {
        Self::start_as(admin()).await
    }

    pub async fn start_as(caller: Caller) -> Option<Self> {
        let Some(kubectl) = kubectl() else {
            eprintln!("skipped: kubectl is not on the PATH");
            return None;
        };
        Some(Self::start_with(kubectl, caller).await)
    }

    pub async fn start_with(kubectl: PathBuf, caller: Caller) -> Self {
        Self::of(kubectl, caller, |_| Config::default()).await
    }

    /// With a store that outlives a restart.
    pub async fn lasting(kubectl: PathBuf) -> Self {
        Self::of(kubectl, admin(), lasting).await
    }

    async fn of(kubectl: PathBuf, caller: Caller, config: impl FnOnce(&Path) -> Config) -> Self {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("none"), "").unwrap(); // kubectl warns about a missing file
        let server = opened(&config(home.path())).await;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let watches = Arc::default();
        let serving = serve_and_count(server.clone(), tokio_listener(&listener), caller, Arc::clone(&watches));
        Self { server, address, home, kubectl, serving, listener, watches }
    }

    /// Stops the server of `lasting`, and starts another one on its store and at its address.
    pub async fn restart(&mut self) {
        self.server.stop();
        self.serving.abort();
        self.server = Server::open(Config::default()).await.unwrap(); // in place of the one that has to go
        self.server = opened(&lasting(self.home.path())).await;
        let (listener, watches) = (tokio_listener(&self.listener), Arc::clone(&self.watches));
        self.serving = serve_and_count(self.server.clone(), listener, admin(), watches);
    }

    /// Waits until this many watches were begun.
    pub async fn watched(&self, count: usize) {
        let limit = Instant::now() + LIMIT;
        while self.watches.load(Ordering::SeqCst) < count {
            assert!(Instant::now() < limit, "{} watches", self.watches.load(Ordering::SeqCst));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.kubectl);
        let home = self.home.path();
        // A proxy of the developer's is not for loopback.
        for name in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"] {
            command.env_remove(name);
        }
        command
            .arg(format!("--server=http://{}", self.address))
            .arg(format!("--cache-dir={}", home.join("cache").display()))
            .args(arguments)
            .env("HOME", home)
            .env("KUBECONFIG", home.join("none"))
            .env_remove("KUBERNETES_SERVICE_HOST")
            .current_dir(home)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    pub async fn run(&self, arguments: &[&str]) -> Output {
        let output = self.command(arguments).output();
        tokio::time::timeout(LIMIT, output).await.expect("kubectl did not end").unwrap()
    }

    /// What kubectl prints for a line of words.
    pub async fn ok(&self, words: &str) -> String {
        self.ok_with(&words.split(' ').collect::<Vec<_>>()).await
    }

    pub async fn ok_with(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments).await;
        let (out, err) = text(&output);
        assert!(output.status.success(), "kubectl {arguments:?}: {out}{err}");
        format!("{out}{err}")
    }

    pub async fn shows(&self, words: &str, expected: &[&str]) {
        let out = self.ok(words).await;
        for one in expected {
            assert!(out.contains(one), "kubectl {words}: no {one:?} in {out}");
        }
    }

    pub async fn fails(&self, words: &str, expected: &str) {
        let output = self.run(&words.split(' ').collect::<Vec<_>>()).await;
        let (out, err) = text(&output);
        assert!(!output.status.success() && err.contains(expected), "kubectl {words}: {out}{err}");
    }

    pub fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.home.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// `kubectl WORDS -f -` with this text.
    pub async fn pipe(&self, words: &str, content: &str) -> Output {
        let arguments: Vec<&str> = words.split(' ').chain(["-f", "-"]).collect();
        let mut child =
            self.command(&arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(content.as_bytes()).await.unwrap();
        tokio::time::timeout(LIMIT, child.wait_with_output()).await.expect("kubectl did not end").unwrap()
    }

    pub async fn pipe_ok(&self, words: &str, content: &str) -> String {
        let output = self.pipe(words, content).await;
        let (out, err) = text(&output);
        assert!(output.status.success(), "kubectl {words}: {out}{err}");
        format!("{out}{err}")
    }

    pub async fn apply(&self, content: &str) -> String {
        self.pipe_ok("apply", content).await
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

pub fn text(output: &Output) -> (String, String) {
    (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn lasting(home: &Path) -> Config {
    Config { store: Some(home.join("thimble.redb")), ..Config::default() }
}

fn tokio_listener(listener: &std::net::TcpListener) -> TcpListener {
    TcpListener::from_std(listener.try_clone().unwrap()).unwrap()
}

/// The store of a server that was stopped a moment ago may still be open.
pub async fn opened(config: &Config) -> Server {
    let limit = Instant::now() + LIMIT;
    loop {
        match Server::open(config.clone()).await {
            Err(StoreError::InUse { .. }) if Instant::now() < limit => tokio::time::sleep(Duration::from_millis(5)).await,
            other => return other.unwrap(),
        }
    }
}

pub fn serve(server: Server, listener: TcpListener, caller: Caller) -> JoinHandle<()> {
    serve_and_count(server, listener, caller, Arc::default())
}

fn serve_and_count(server: Server, listener: TcpListener, caller: Caller, watches: Arc<AtomicUsize>) -> JoinHandle<()> {
    let admit = move |mut request: Request, next: Next| {
        let (caller, watches) = (caller.clone(), Arc::clone(&watches));
        async move {
            let is_watch = request.uri().query().is_some_and(|query| query.contains("watch="));
            request.extensions_mut().insert(caller);
            let answer = next.run(request).await;
            if is_watch {
                watches.fetch_add(1, Ordering::SeqCst);
            }
            answer
        }
    };
    let router = server::apis::router(server).layer(from_fn(admit));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() })
}

pub type Lines = tokio::io::Lines<BufReader<ChildStdout>>;

pub fn lines(out: ChildStdout) -> Lines {
    BufReader::new(out).lines()
}

/// The next line that a program prints.
pub async fn next(lines: &mut Lines) -> String {
    tokio::time::timeout(LIMIT, lines.next_line()).await.expect("no line came").unwrap().expect("the program ended")
}

/// A program that stands in for an editor.
pub fn script(folder: &Path, name: &str, body: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// Debian's kubectl 1.20, unpacked from its package: it cannot be installed beside a newer one. None where it cannot be had.
pub async fn old_kubectl() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kubectl-1.20");
    let program = folder.join("usr/bin/kubectl");
    if program.is_file() {
        return Some(program);
    }
    std::fs::create_dir_all(&folder).unwrap();
    let fetch = "apt-get download kubernetes-client && dpkg -x kubernetes-client_*.deb . && rm -f ./*.deb";
    let mut command = Command::new("sh");
    command.args(["-c", fetch]).current_dir(&folder).stdin(Stdio::null()).kill_on_drop(true);
    let done = tokio::time::timeout(LIMIT, command.output()).await;
    let version = Command::new(&program).args(["version", "--client", "--short"]).output().await;
    match (done, version) {
        (Ok(Ok(_)), Ok(version)) if text(&version).0.contains("v1.20.") => Some(program),
        (_, Ok(version)) => {
            eprintln!("skipped: the package of this host has {}", text(&version).0.trim());
            None
        }
        _ => {
            eprintln!("skipped: Debian's package kubernetes-client cannot be fetched and unpacked here");
            None
        }
    }
}
