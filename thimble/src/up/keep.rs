//! Lines that boots gets by syslog, and steps of machines, go to the server if both are in one process.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use api::BootStep;
use boots::syslog::Message;
use boots::{FileSource, LogSink, MachineSource};
use futures_util::FutureExt;
use jiff::Timestamp;
use model::Mac;
use server::{Server, SyslogLine};
use steps::Steps;

pub struct IntoLogs(pub Server);

impl fmt::Debug for IntoLogs {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
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

/// Steps go to a file of boots alone, which has no server. Its lines of syslog are events only.
pub struct IntoFile {
    pub steps: Steps,
    pub source: Arc<FileSource>,
}

impl fmt::Debug for IntoFile {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("IntoFile")
    }
}

impl LogSink for IntoFile {
    fn take(&self, _: Option<Mac>, _: IpAddr, _: &Message) {}

    fn step(&self, mac: Mac, step: BootStep) {
        // The machines of a file are in memory.
        let known = self.source.machine(mac).now_or_never();
        self.steps.add(mac, matches!(known, Some(Ok(Some(_)))), step);
    }
}
