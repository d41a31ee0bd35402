//! Debian's docker-registry, with a separate configuration and store.

use std::fs;
use std::net::{SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::command::{Daemon, wait_for};
use crate::{http, segment};

const PORT: u16 = 5000;
const STARTS_WITHIN: Duration = Duration::from_secs(20);

pub struct Registry {
    daemon: Option<Daemon>,
    folder: PathBuf,
    address: SocketAddr,
}

impl Registry {
    /// Starts it on the segment.
    pub fn start(folder: &Path) -> Result<Self> {
        Self::start_at(folder, SocketAddr::V4(SocketAddrV4::new(segment::HOST, PORT)))
    }

    pub fn start_at(folder: &Path, address: SocketAddr) -> Result<Self> {
        let store = folder.join("store");
        fs::create_dir_all(&store).with_context(|| format!("cannot make {}", store.display()))?;
        let config = format!(
            "version: 0.1\nlog: {{level: info, accesslog: {{disabled: false}}}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\nhttp: {{addr: \"{address}\"}}\n",
            store.display()
        );
        fs::write(folder.join("config.yml"), config).context("cannot write the registry's configuration")?;
        let mut registry = Self { daemon: None, folder: folder.to_owned(), address };
        registry.up()?;
        Ok(registry)
    }

    /// Starts it (again) and waits until it answers.
    pub fn up(&mut self) -> Result<()> {
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(self.folder.join("config.yml")).env("OTEL_TRACES_EXPORTER", "none");
        let mut daemon = Daemon::start(&mut command, &self.folder.join("registry.log"))?;
        wait_for("the registry to answer", STARTS_WITHIN, || {
            daemon.check()?;
            Ok(http::get(self.address, "/v2/").ok().filter(|response| response.status == 200))
        })?;
        self.daemon = Some(daemon);
        Ok(())
    }

    /// The folder of its images.
    pub fn store(&self) -> PathBuf {
        self.folder.join("store")
    }

    pub fn down(&mut self) {
        self.daemon = None;
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `HOST:PORT/NAME`, the form in which a template names an image.
    pub fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    /// Whether a client has requested this blob.
    pub fn served_blob(&self, digest: &str) -> bool {
        let log = fs::read(self.folder.join("registry.log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        log.lines().any(|line| line.contains("\"GET /v2/") && line.contains(&format!("/blobs/{digest} ")))
    }

    /// Changes one byte of a stored blob without the registry's knowledge.
    pub fn corrupt(&self, digest: &str) -> Result<()> {
        let hex = digest.strip_prefix("sha256:").with_context(|| format!("{digest} is not a sha256 digest"))?;
        let short = hex.get(..2).with_context(|| format!("{digest} is not a sha256 digest"))?;
        let path = self.folder.join("store/docker/registry/v2/blobs/sha256").join(short).join(hex).join("data");
        let mut data = fs::read(&path).with_context(|| format!("cannot read the blob {}", path.display()))?;
        let middle = data.len() / 2;
        *data.get_mut(middle).context("the blob is empty")? ^= 0x55;
        fs::write(&path, data).with_context(|| format!("cannot change the blob {}", path.display()))
    }
}
