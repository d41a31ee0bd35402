//! What happens to a simulated machine, and what it wants.

use std::net::Ipv4Addr;
use std::time::Duration;

use dhcp::v4::Packet;

use crate::milestone::Milestone;

/// What all machines of a storm have in common.
#[derive(Debug, Clone, Copy)]
pub struct Habits {
    /// From the kernel's start to the first packet of PID 1.
    pub kernel: Duration,
    /// How long an action runs, and how many lines it writes.
    pub work: Duration,
    pub lines: u32,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Event<'a> {
    PowerOn,
    PowerCut,
    /// The last wait is over.
    Timer,
    Answer(&'a Packet),
    Loaded(Option<String>),
    NotLoaded(String),
    Asked(Asked),
    Reported(Reported),
}

/// An action that the server has handed out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Job {
    pub workflow: String,
    pub task: String,
    pub action: String,
    pub name: String,
    pub image: String,
}

/// The answers of the server, as the agent sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    Work(Box<Job>),
    Nothing,
    /// The workflow of this MAC has ended: another machine with the same MAC did the rest.
    Over,
    Unreachable,
    Trouble,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reported {
    Accepted,
    Refused,
    Unreachable,
    Trouble,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Progress {
    Running,
    Success,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Load {
    Tftp {
        server: Ipv4Addr,
        file: String,
    },
    /// With `is_script` its text comes back.
    Http {
        url: String,
        is_script: bool,
    },
    Image(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
pub enum End {
    /// Its workflow has ended.
    Done,
    /// Its script started the disk, because the workflow had ended before.
    Disk,
}

/// What the caller does. A `Wait` replaces the one before it.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    Send(Box<Packet>),
    Wait(Duration),
    Load(Load),
    Ask {
        arguments: String,
    },
    Report(Box<Job>, Progress),
    /// Lines for syslog.
    Say(Vec<String>),
    /// The lines of an action.
    Output(Box<Job>, Vec<String>),
    /// The machine has this address from now on.
    Use(Ipv4Addr),
    Reached(Milestone),
    /// The attempt has failed.
    Failed(String),
    /// Close all connections, and forget what is under way.
    Drop,
    End(End),
}
