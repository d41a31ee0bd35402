//! A server on a socket, and the commands of a person at its host.
#![allow(dead_code, clippy::unwrap_used)] // each test program uses a part of it

use std::time::Duration;

use access::{Access, Local, Names};
use jiff::Timestamp;
use server::{Config, LogLimits, Server};
use tokio::process::Command;

pub const OBJECTS: &str = "apiVersion: tinkerbell.org/v1alpha1
kind: Hardware
metadata: {name: node-1}
spec:
  disks: [{device: /dev/vda}]
  interfaces: [{dhcp: {mac: 52:54:00:12:34:56, ip: {address: 10.0.0.20}}, netboot: {allowPXE: true}}]
---
apiVersion: tinkerbell.org/v1alpha1
kind: Template
metadata: {name: one}
spec:
  data: |
    name: one
    tasks:
      - name: install
        worker: \"{{.device_1}}\"
        actions: [{name: stream, image: actions, timeout: 60}]
---
apiVersion: tinkerbell.org/v1alpha1
kind: Workflow
metadata: {name: w}
spec: {templateRef: one, hardwareRef: node-1, hardwareMap: {device_1: 52:54:00:12:34:56}}
";

pub struct Desk {
    pub server: Server,
    pub url: String,
    pub folder: tempfile::TempDir,
}

impl Desk {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let logs = Some((folder.path().join("log"), LogLimits { keep_free: 0, ..LogLimits::default() }));
        let server = Server::open(Config { logs, ..Config::default() }).await.unwrap();
        let socket = folder.path().join("api.sock");
        let access = Access::open(&folder.path().join("data"), Names::local(), Timestamp::now()).unwrap();
        let router = access.admit(server::http::for_callers(server.clone()));
        tokio::spawn(Local::bind(&socket).unwrap().serve(router, Duration::ZERO, std::future::pending()));
        Self { server, url: format!("unix:{}", socket.display()), folder }
    }

    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// The output of the command with shortened paths, and whether it succeeded.
    pub async fn run(&self, words: &str) -> (String, bool) {
        let output = command(words, &self.url).await;
        let folder = format!("{}/", self.folder.path().display());
        (String::from_utf8(output.stdout).unwrap().replace(&folder, ""), output.status.success())
    }

    /// The error of a failing command.
    pub async fn error(&self, words: &str) -> String {
        error(words, &self.url).await
    }
}

pub async fn command(words: &str, url: &str) -> std::process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thimble"));
    command.args(words.split(' ')).env("THIMBLE_SERVER", url).kill_on_drop(true).output().await.unwrap()
}

pub async fn error(words: &str, url: &str) -> String {
    let output = command(words, url).await;
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{words}: {text}");
    text.strip_prefix("thimble: ").unwrap().trim_end().to_owned()
}

pub fn lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}
