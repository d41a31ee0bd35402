//! Lines that boots gets by syslog go to the server's logs, if both are in one process.

use std::fmt;
use std::net::IpAddr;

use boots::LogSink;
use boots::syslog::Message;
use jiff::Timestamp;
use model::Mac;
use server::{Server, SyslogLine};

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
}
