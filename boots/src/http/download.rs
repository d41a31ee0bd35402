//! A download as the events show it: its progress, its end, or that it broke off.

use std::net::IpAddr;
use std::time::Instant;

use api::StepKind;
use model::Mac;

use crate::boot_files::BootFiles;
use crate::events::Progress;
use crate::{BootInterface, Config, Events, Milestone};

/// The machine behind a connection.
#[derive(Debug)]
pub struct Known {
    pub mac: Mac,
    files: BootFiles,
}

impl Known {
    #[must_use]
    pub fn of(config: &Config, machine: &BootInterface) -> Self {
        Self { mac: machine.mac, files: BootFiles::of(config, machine) }
    }

    /// What a file is to it. Programs have a path of their own in URLs.
    #[must_use]
    pub fn kind_of(&self, url_path: &str, path: &str) -> StepKind {
        if url_path.starts_with("/ipxe/binary/") { StepKind::Nbp } else { self.files.kind_of(path) }
    }
}

/// Which machine downloads what.
#[derive(Debug, Clone)]
pub struct Download {
    pub events: Events,
    pub mac: Option<Mac>,
    pub address: Option<IpAddr>,
    pub path: String,
    /// What the file is to the machine.
    pub kind: StepKind,
}

impl Download {
    fn publish(&self, milestone: Milestone) {
        self.events.publish_file(self.mac, self.address, milestone, self.kind);
    }
}

/// Counts what was sent, and publishes it. Dropped before the end, the download has broken off.
#[derive(Debug)]
pub struct Tally {
    pub download: Download,
    sent: u64,
    total: u64,
    progress: Progress,
}

impl Tally {
    #[must_use]
    pub fn of(download: Download, total: u64) -> Self {
        Self { download, sent: 0, total, progress: Progress::starting(Instant::now()) }
    }

    pub fn add(&mut self, bytes: u64) {
        self.sent += bytes;
        if self.sent < self.total && self.progress.is_due(Instant::now()) {
            let path = self.download.path.clone();
            self.download.publish(Milestone::Download { path, sent: self.sent, total: self.total });
        }
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        let (path, sent, total) = (std::mem::take(&mut self.download.path), self.sent, self.total);
        self.download.publish(match sent == total {
            true => Milestone::Downloaded { path, bytes: total },
            false => Milestone::Interrupted { path, sent, total },
        });
    }
}
