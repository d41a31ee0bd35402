//! What happened to which machine, as values for the event stream, the live view and tests. Steps of a machine's boot also go
//! to the sink, which keeps them.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use api::{BootStep, StepKind};
use jiff::Timestamp;
use metrics::{Counters, Family, Text};
use model::Mac;
use serde::Serialize;
use tokio::sync::broadcast;

use crate::steps;
use crate::syslog::Message;

/// The shortest time between two progress events of a download.
pub const PROGRESS_EVERY: Duration = Duration::from_millis(250);
const BUFFERED: usize = 1024;
/// More interfaces than any host has.
const INTERFACES: usize = 1024;
/// More boots than any segment has.
const SIBLINGS: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    pub at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    #[serde(flatten)]
    pub milestone: Milestone,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "milestone", rename_all = "snake_case")]
pub enum Milestone {
    /// A machine without Hardware asked.
    Unknown,
    /// A known machine asked, and got no answer.
    Silent {
        reason: String,
    },
    /// Another DHCP server answers a known machine.
    OtherServer {
        server: IpAddr,
        detail: String,
    },
    Discover {
        client: String,
    },
    Offered {
        address: IpAddr,
        boot_file: String,
    },
    Acknowledged {
        address: IpAddr,
        boot_file: String,
    },
    NbpSent {
        file: String,
        bytes: u64,
    },
    ScriptSent {
        boot: &'static str,
        reason: String,
    },
    /// Part of a file was sent; `sent` counts from the start of the requested range.
    Download {
        path: String,
        sent: u64,
        total: u64,
    },
    Downloaded {
        path: String,
        bytes: u64,
    },
    /// The connection ended before the file did.
    Interrupted {
        path: String,
        sent: u64,
        total: u64,
    },
    Syslog {
        severity: u8,
        tag: String,
        text: String,
    },
}

/// What boots counts. `docs/metrics.md` has it.
pub static MILESTONES: Family = Family::counter(
    "thimble_boots_milestones_total",
    "Answers by DHCP, TFTP and HTTP, downloads, and syslog lines, as `thimble events` names them.",
    &["milestone"],
);
const WORDS: &[&str] = &[
    "unknown",
    "silent",
    "other_server",
    "discover",
    "offered",
    "acknowledged",
    "nbp_sent",
    "script_sent",
    "download",
    "downloaded",
    "interrupted",
    "syslog",
];

impl Milestone {
    /// The word for programs.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Silent { .. } => "silent",
            Self::OtherServer { .. } => "other_server",
            Self::Discover { .. } => "discover",
            Self::Offered { .. } => "offered",
            Self::Acknowledged { .. } => "acknowledged",
            Self::NbpSent { .. } => "nbp_sent",
            Self::ScriptSent { .. } => "script_sent",
            Self::Download { .. } => "download",
            Self::Downloaded { .. } => "downloaded",
            Self::Interrupted { .. } => "interrupted",
            Self::Syslog { .. } => "syslog",
        }
    }
}

/// Takes every line that comes by syslog and every step of a machine's boot, to keep them. It must not wait.
pub trait LogSink: std::fmt::Debug + Send + Sync + 'static {
    fn take(&self, mac: Option<Mac>, address: IpAddr, message: &Message);

    fn step(&self, mac: Mac, step: BootStep);
}

/// The publishing end; clones share one stream.
#[derive(Debug, Clone)]
pub struct Events {
    sender: broadcast::Sender<Event>,
    sink: Option<Arc<dyn LogSink>>,
    /// The names of interfaces by their index, because each packet asks for one.
    interfaces: Arc<Mutex<HashMap<u32, Arc<str>>>>,
    /// DHCP servers that answer as this one does: other boots of the site.
    siblings: Arc<Mutex<HashSet<Ipv4Addr>>>,
    counted: Arc<Counters>,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            sender: broadcast::Sender::new(BUFFERED),
            sink: None,
            interfaces: Arc::default(),
            siblings: Arc::default(),
            counted: Arc::new(Counters::by(WORDS)),
        }
    }
}

impl Events {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, and lines of syslog and steps also go to the sink. A reader of the stream may miss some.
    #[must_use]
    pub fn with_sink(self, sink: Arc<dyn LogSink>) -> Self {
        Self { sink: Some(sink), ..self }
    }

    /// Another boots of the site has this address. Returns whether that is news.
    pub(crate) fn met_sibling(&self, address: Ipv4Addr) -> bool {
        let mut siblings = self.siblings.lock().unwrap_or_else(PoisonError::into_inner);
        siblings.len() < SIBLINGS && siblings.insert(address)
    }

    pub(crate) fn is_sibling(&self, address: Ipv4Addr) -> bool {
        self.siblings.lock().unwrap_or_else(PoisonError::into_inner).contains(&address)
    }

    /// A line came by syslog.
    pub(crate) fn keep_line(&self, mac: Option<Mac>, address: IpAddr, message: &Message) {
        if let Some(sink) = &self.sink {
            sink.take(mac, address, message);
        }
    }

    pub fn publish(&self, mac: Option<Mac>, address: Option<IpAddr>, milestone: Milestone) {
        self.publish_file(mac, address, milestone, StepKind::File);
    }

    /// The same of a file, which is of this kind to its machine.
    pub(crate) fn publish_file(&self, mac: Option<Mac>, address: Option<IpAddr>, milestone: Milestone, kind: StepKind) {
        self.counted.add(milestone.word(), "");
        let event = Event { at: Timestamp::now(), mac, address, milestone };
        if let (Some(mac), Some(sink)) = (mac, &self.sink)
            && let Some(step) = steps::of_milestone(&event.milestone, kind, event.at)
        {
            sink.step(mac, step);
        }
        // This fails only without a subscriber.
        let _ = self.sender.send(event);
    }

    /// What has happened since the start, in Prometheus' text format.
    pub fn write_metrics(&self, text: &mut Text) {
        self.counted.write(text, &MILESTONES);
    }

    /// Everything published from now on. A slow reader loses the oldest events first.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.sender.subscribe()
    }

    /// A step of a machine's boot that no milestone has.
    pub(crate) fn step(&self, mac: Mac, step: BootStep) {
        if let Some(sink) = &self.sink {
            sink.step(mac, step);
        }
    }

    /// The name of an interface; empty if it has gone, or the index is 0.
    pub(crate) fn interface(&self, index: u32) -> Arc<str> {
        if index == 0 {
            return Arc::from("");
        }
        let mut known = self.interfaces.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= INTERFACES {
            known.clear(); // a host that makes and deletes interfaces for years
        }
        let name = || nix::net::if_::if_indextoname(index).ok().and_then(|name| name.into_string().ok()).unwrap_or_default();
        Arc::clone(known.entry(index).or_insert_with(|| Arc::from(name())))
    }
}

/// Says when a download's next progress is due.
#[derive(Debug)]
pub struct Progress {
    next: Instant,
}

impl Progress {
    #[must_use]
    pub fn starting(now: Instant) -> Self {
        Self { next: now + PROGRESS_EVERY }
    }

    pub fn is_due(&mut self, now: Instant) -> bool {
        let due = now >= self.next;
        if due {
            self.next = now + PROGRESS_EVERY;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac::new([2, 0, 0, 0, 0, 1]);

    #[test]
    fn an_event_is_one_flat_object() {
        let events = Events::new();
        let mut listener = events.subscribe();
        events.publish(Some(MAC), None, Milestone::NbpSent { file: "ipxe.efi".to_owned(), bytes: 7 });
        let json = serde_json::to_value(listener.try_recv().unwrap()).unwrap();
        assert_eq!(
            (&json["mac"], &json["milestone"], &json["bytes"]),
            (&"02:00:00:00:00:01".into(), &"nbp_sent".into(), &7.into())
        );
    }

    #[test]
    fn every_milestone_is_counted_by_its_word() {
        let events = Events::new();
        for milestone in [
            Milestone::Unknown,
            Milestone::Interrupted { path: "}\n".to_owned(), sent: 1, total: 2 },
            Milestone::Syslog { severity: 6, tag: "t".to_owned(), text: "x".to_owned() },
        ] {
            let word = milestone.word();
            assert_eq!(serde_json::to_value(&milestone).unwrap()["milestone"], word, "the word of the events");
            events.publish(None, None, milestone);
        }
        let mut text = Text::default();
        events.write_metrics(&mut text);
        let text = text.into_string();
        for line in ["{milestone=\"unknown\"} 1", "{milestone=\"interrupted\"} 1", "{milestone=\"offered\"} 0"] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
        assert_eq!(text.lines().count(), 2 + WORDS.len(), "no series of a machine's making");
    }

    #[test]
    fn progress_is_throttled() {
        let start = Instant::now();
        let mut progress = Progress::starting(start);
        let due: Vec<bool> = [0, 100, 250, 300, 499, 500].map(|ms| progress.is_due(start + Duration::from_millis(ms))).into();
        assert_eq!(due, [false, false, true, false, false, true]);
    }
}
