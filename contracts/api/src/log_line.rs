//! A line of the machine logs: one JSON object a line, in the files of the server and in its answers.

use std::fmt;
use std::net::IpAddr;

use jiff::Timestamp;
use model::Mac;
use serde::{Deserialize, Serialize};

use crate::BootStep;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    pub time: Timestamp,
    /// The agent, or the MAC or address of a machine that sends syslog.
    pub from: String,
    /// The action that ran. Empty for a line of the boot.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub action: String,
    pub stream: LogStream,
    /// Without characters that act on a terminal.
    pub text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogStream {
    Stdout,
    Stderr,
    Syslog,
    /// The log itself speaks, for example of lines that it dropped.
    Note,
}

impl LogStream {
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Syslog => "syslog",
            Self::Note => "note",
        }
    }
}

/// A line that a boots on another host got by syslog: [`crate::paths::SYSLOG`] takes an array of these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyslogLine {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The program.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tag: String,
    pub text: String,
    /// A step of the machine's boot in place of a line. Its text is for servers that do not know steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<BootStep>,
}

impl fmt::Display for LogStream {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.word())
    }
}

impl fmt::Display for LogLine {
    /// `TIME ACTION STREAM TEXT`, with `-` for no action.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let action = if self.action.is_empty() { "-" } else { &self.action };
        write!(out, "{} {action} {} {}", self.time, self.stream, self.text)
    }
}
