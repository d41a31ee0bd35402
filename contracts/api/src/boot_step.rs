//! What a machine asked while it booted, what it was answered, and why.

use std::fmt;
use std::net::IpAddr;

use jiff::Timestamp;
use model::Mac;
use serde::{Deserialize, Serialize};

use crate::BootState;

/// How the question of a step by TFTP begins.
pub const READ: &str = "read of ";
/// How the reason begins if the host of boots did not let an answer out.
pub const UNSENT: &str = "the answer could not be sent";

/// One question of a machine with its answer. The same one again is counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BootStep {
    /// When it was first so.
    pub at: Timestamp,
    /// When it was so the last time, if it was repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    #[serde(default = "once", skip_serializing_if = "is_once")]
    pub count: u32,
    pub kind: StepKind,
    /// Who asked for what: `DISCOVER of PXE firmware arch 7 on eth1`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub asked: String,
    /// Empty if there was no answer.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub answered: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// The boot file that DHCP named, or the file that was asked for; of a script what it boots.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub file: String,
    /// Another DHCP server that this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<IpAddr>,
}

const fn once() -> u32 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde wants a reference
const fn is_once(count: &u32) -> bool {
    *count == 1
}

impl BootStep {
    #[must_use]
    pub fn new(at: Timestamp, kind: StepKind, asked: impl Into<String>, answered: impl Into<String>) -> Self {
        Self {
            at,
            until: None,
            count: 1,
            kind,
            asked: asked.into(),
            answered: answered.into(),
            why: String::new(),
            file: String::new(),
            server: None,
        }
    }

    #[must_use]
    pub fn with_file(mut self, file: impl Into<String>) -> Self {
        self.file = file.into();
        self
    }

    #[must_use]
    pub fn because(mut self, why: impl Into<String>) -> Self {
        self.why = why.into();
        self
    }

    #[must_use]
    pub fn of_server(mut self, server: IpAddr) -> Self {
        self.server = Some(server);
        self
    }

    /// The protocol that it came by. Loaders such as U-Boot read kernel and ramdisk by TFTP, too.
    #[must_use]
    pub fn protocol(&self) -> &'static str {
        match self.kind.protocol() {
            "HTTP" if self.asked.starts_with(READ) => "TFTP",
            protocol => protocol,
        }
    }

    /// When it was so the last time.
    #[must_use]
    pub fn latest(&self) -> Timestamp {
        self.until.unwrap_or(self.at)
    }

    /// Whether the other one says the same, at another time.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        fn said(step: &BootStep) -> (StepKind, Option<IpAddr>, [&str; 4]) {
            (step.kind, step.server, [&step.asked, &step.answered, &step.why, &step.file])
        }
        said(self) == said(other)
    }
}

impl fmt::Display for BootStep {
    /// `DHCP: DISCOVER of iPXE -> OFFER 10.0.0.7 (why)`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let answered = if self.answered.is_empty() { "no answer" } else { &self.answered };
        write!(out, "{}: {} -> {answered}", self.protocol(), self.asked)?;
        if self.kind.names_a_boot_file() && !self.file.is_empty() {
            write!(out, ", boot file {}", self.file)?;
        }
        if self.why.is_empty() { Ok(()) } else { write!(out, " ({})", self.why) }
    }
}

/// What kind of answer it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// A machine without Hardware asked.
    Unknown,
    /// A known machine got no answer.
    Silent,
    Offered,
    Acknowledged,
    /// NAK: it wanted another address.
    Refused,
    /// Its REQUEST chose another DHCP server.
    ChoseOther,
    /// Another DHCP server answered it.
    ForeignAnswer,
    /// A network boot program was sent.
    Nbp,
    /// The client fell silent while a file was sent.
    NbpStalled,
    /// The client ended the transfer itself.
    NbpEnded,
    NbpRefused,
    Script,
    ScriptRefused,
    Kernel,
    Ramdisk,
    Pack,
    /// Another file by HTTP.
    File,
    FileRefused,
    /// The connection ended before the file did.
    BrokenOff,
    /// Its first line by syslog.
    Log,
    /// The first call of its agent.
    Agent,
}

impl StepKind {
    /// Whether `file` is not part of the texts.
    const fn names_a_boot_file(self) -> bool {
        matches!(self, Self::Offered | Self::Acknowledged | Self::ForeignAnswer)
    }

    /// The word for programs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Silent => "silent",
            Self::Offered => "offered",
            Self::Acknowledged => "acknowledged",
            Self::Refused => "refused",
            Self::ChoseOther => "chose_other",
            Self::ForeignAnswer => "foreign_answer",
            Self::Nbp => "nbp",
            Self::NbpStalled => "nbp_stalled",
            Self::NbpEnded => "nbp_ended",
            Self::NbpRefused => "nbp_refused",
            Self::Script => "script",
            Self::ScriptRefused => "script_refused",
            Self::Kernel => "kernel",
            Self::Ramdisk => "ramdisk",
            Self::Pack => "pack",
            Self::File => "file",
            Self::FileRefused => "file_refused",
            Self::BrokenOff => "broken_off",
            Self::Log => "log",
            Self::Agent => "agent",
        }
    }

    const fn protocol(self) -> &'static str {
        match self {
            Self::Unknown
            | Self::Silent
            | Self::Offered
            | Self::Acknowledged
            | Self::Refused
            | Self::ChoseOther
            | Self::ForeignAnswer => "DHCP",
            Self::Nbp | Self::NbpStalled | Self::NbpEnded | Self::NbpRefused => "TFTP",
            Self::Script
            | Self::ScriptRefused
            | Self::Kernel
            | Self::Ramdisk
            | Self::Pack
            | Self::File
            | Self::FileRefused
            | Self::BrokenOff => "HTTP",
            Self::Log => "syslog",
            Self::Agent => "gRPC",
        }
    }
}

/// A step, and the interface that took it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineStep {
    pub mac: Mac,
    #[serde(flatten)]
    pub step: BootStep,
}

/// The answer of [`crate::paths::machine_boots`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BootHistory {
    /// The interfaces that were asked about.
    pub macs: Vec<Mac>,
    /// `namespace/name`. `None` for a machine without Hardware.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hardware: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boots: Option<BootState>,
    /// Oldest first.
    pub steps: Vec<MachineStep>,
    /// Servers of the site whose steps are missing, each with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    pub diagnosis: Diagnosis,
}

/// The answer of [`crate::paths::STEPS`]: what one server of a site has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnSteps {
    pub steps: Vec<MachineStep>,
    /// Machines without Hardware whose MACs look like one of those that were asked for.
    #[serde(default)]
    pub similar: Vec<Mac>,
}

/// Where the boot stands, and what to look at if it does not go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Diagnosis {
    pub verdict: Verdict,
    /// One sentence.
    pub cause: String,
    /// What to do, the likeliest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Nothing is wrong.
    Fine,
    /// The next step may still come.
    Waits,
    /// The next step should have come.
    Stuck,
}

/// What `thimble machine` shows of the boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastStep {
    #[serde(flatten)]
    pub step: MachineStep,
    /// Another DHCP server that this machine heard or chose since it last took an address from boots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_server: Option<IpAddr>,
}
