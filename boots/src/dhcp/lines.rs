//! What the log and the events say of requests without an answer. Clients cause these lines, so each has a limit.

use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ::machine::Chain;
use dhcp::v4::{MessageType, Packet};
use jiff::Timestamp;
use model::Mac;

use super::pool::NoLease;
use super::{Client, Ignored};
use crate::quota::Seldom;
use crate::{BootInterface, Events, Milestone, steps};

const SAME_LINE_EVERY: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Lines {
    events: Events,
    seldom: Mutex<Seldom<String>>,
    /// The same for known machines, so a flood of unknown ones does not hide their lines.
    about_known: Mutex<Seldom<String>>,
    /// Answers to unknown machines, by MAC, kind of message, and boot file.
    answers: Mutex<Seldom<(Mac, Option<MessageType>, String)>>,
}

impl Lines {
    pub fn new(events: Events) -> Self {
        let seldom = || Mutex::new(Seldom::new(SAME_LINE_EVERY));
        let answers = Mutex::new(Seldom::new(SAME_LINE_EVERY));
        Self { events, seldom: seldom(), about_known: seldom(), answers }
    }

    pub fn stranger(&self, mac: Mac, request: &Packet, interface: u32) {
        let line = || {
            let via = match request.giaddr {
                Ipv4Addr::UNSPECIFIED => String::new(),
                relay => format!(" via relay {relay}"),
            };
            format!(
                "DHCP {mac}: unknown machine ({}{via}); no answer. To answer it, apply a Hardware with this MAC",
                Client::of(request)
            )
        };
        if self.warn(&format!("stranger {mac}"), line) {
            self.events.publish(Some(mac), None, Milestone::Unknown);
            self.events.step(mac, steps::of_stranger(request, &self.events.interface(interface), Timestamp::now()));
        }
    }

    /// Silence towards a known machine has a line, because without one it looks like a fault of the network.
    pub fn silent(&self, machine: &BootInterface, request: &Packet, interface: u32, ignored: &Ignored) {
        let BootInterface { mac, name, .. } = machine;
        let is_of_site = matches!(ignored, Ignored::OtherServer(server) if self.events.is_sibling(*server));
        if is_of_site || ignored.is_usual() {
            log::debug!("DHCP {mac} ({name}): no answer: {ignored}");
            return;
        }
        let interface = self.events.interface(interface);
        self.events.step(*mac, steps::of_silence(request, ignored, &interface, Timestamp::now()));
        if !allowed(&self.about_known, format!("{mac} {ignored}")) {
            return;
        }
        let milestone = match ignored {
            Ignored::OtherServer(server) => {
                log::warn!(
                    "DHCP {mac} ({name}): {ignored}; no answer. If boots shall boot it, find that DHCP server on this network and stop it"
                );
                Milestone::OtherServer { server: IpAddr::V4(*server), detail: "the machine took its offer".to_owned() }
            }
            _ => {
                log::info!("DHCP {mac} ({name}): no answer: {ignored}");
                Milestone::Silent { reason: ignored.to_string() }
            }
        };
        self.events.publish(Some(*mac), None, milestone);
    }

    pub fn ignored(&self, request: &Packet, ignored: &Ignored) {
        let mac = request.mac().map_or_else(|| "?".to_owned(), |mac| Mac::new(mac).to_string());
        match ignored {
            // Any host can send this at any rate.
            Ignored::Declined { .. } if self.allows(&format!("declined {mac}")) => {
                log::error!("DHCP {mac}: {ignored}; remove that host or change the Hardware");
                self.note(request, ignored);
            }
            // Old firmware and InfiniBand: whether boots knows the machine cannot be seen, or does not matter.
            Ignored::Bootp | Ignored::NoMac | Ignored::OfMany(_) if self.allows(&format!("{ignored} {mac}")) => {
                log::info!("DHCP {mac}: no answer: {ignored}");
                self.note(request, ignored);
            }
            _ => log::debug!("DHCP {mac}: no answer: {ignored}"),
        }
    }

    fn note(&self, request: &Packet, ignored: &Ignored) {
        if let Some(mac) = request.mac() {
            self.events.step(Mac::new(mac), steps::of_silence(request, ignored, "", Timestamp::now()));
        }
    }

    /// A machine got no address of a pool.
    pub fn no_lease(&self, machine: &BootInterface, request: &Packet, interface: u32, why: &NoLease) {
        let BootInterface { mac, name, .. } = machine;
        let (key, next) = match why {
            NoLease::NotOurs(_) | NoLease::NoRecord(_) | NoLease::NoAddress => {
                log::debug!("DHCP {mac} ({name}): no answer: {why}");
                return;
            }
            NoLease::Exhausted(first, _) => {
                (format!("exhausted {first}"), ". Widen its range, or shorten its lease-time, in the setting dhcp")
            }
            _ => (format!("no lease {mac}"), ""),
        };
        if self.warn(&key, || format!("DHCP {mac} ({name}): {}; no answer{next}", Chain(why))) {
            self.events.publish(Some(*mac), None, Milestone::Silent { reason: why.to_string() });
            let interface = self.events.interface(interface);
            self.events.step(*mac, steps::of_failure(request, &why.to_string(), &interface, Timestamp::now()));
        }
    }

    /// At most one warning for a key and minute. Returns whether it was logged.
    pub fn warn(&self, key: &str, line: impl FnOnce() -> String) -> bool {
        let allowed = self.allows(key);
        if allowed {
            log::warn!("{}", line());
        }
        allowed
    }

    /// Whether an answer to an unknown machine is logged and published. Anybody can invent such machines.
    pub fn allows_answer(&self, mac: Mac, reply: &Packet) -> bool {
        let file = reply.boot_file().unwrap_or_default().to_owned();
        allowed(&self.answers, (mac, reply.message_type(), file))
    }

    fn allows(&self, key: &str) -> bool {
        allowed(&self.seldom, key.to_owned())
    }
}

fn allowed<K: Eq + Hash>(seldom: &Mutex<Seldom<K>>, key: K) -> bool {
    seldom.lock().unwrap_or_else(PoisonError::into_inner).allows(key, Instant::now())
}
