//! What each sender may add to the logs and to the event stream, whichever way its messages come.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use model::Mac;

use super::senders::{Found, Senders, Untold};
use super::share::Pass;
use super::{Message, parse};
use crate::machine::mac_at;
use crate::{Events, MachineSource, Milestone};

/// What a line costs besides its bytes.
const OVERHEAD: usize = 128;
/// The facility and the severity of a line about lines (RFC 5424, 6.2.1).
const SYSLOGD: u8 = 5;
const NOTICE: u8 = 5;

/// Which machine has an address, and how many lines it may still add. The source is asked once in a while.
pub struct Intake {
    source: Arc<dyn MachineSource>,
    events: Events,
    senders: Mutex<Senders>,
}

impl Intake {
    #[must_use]
    pub fn new(source: Arc<dyn MachineSource>, events: Events) -> Self {
        Self { source, events, senders: Mutex::new(Senders::new(Instant::now())) }
    }

    pub(super) fn found(&self, address: IpAddr, now: Instant) -> Option<Found> {
        self.senders().find(address, now)
    }

    /// The machine with this address. It may ask another host, which takes seconds.
    pub async fn machine(&self, address: IpAddr, now: Instant) -> Option<Mac> {
        if let Some(found) = self.found(address, now).filter(|found| found.is_fresh) {
            return found.mac;
        }
        let mac = mac_at(&*self.source, address).await;
        let Untold { machines, others } = self.senders().learn(address, mac, now);
        for (address, mac, dropped) in machines {
            self.events.keep_line(mac, address, &note(dropped, ""));
        }
        if others > 0 {
            self.events.keep_line(None, address, &note(others, " of many senders without Hardware"));
        }
        mac
    }

    /// Takes a datagram, or drops it unread if its sender has used its share.
    pub(super) fn datagram(&self, mac: Option<Mac>, address: IpAddr, datagram: &[u8], now: Instant) {
        // Before anything is done with it: a flood costs little more than its system calls.
        let taken = self.senders().take(address, datagram.len() + OVERHEAD, now);
        if let Some(dropped) = taken {
            if dropped > 0 {
                self.events.keep_line(mac, address, &note(dropped, ""));
            }
            // A line of an unknown sender is kept too. It may say why the sender is unknown.
            self.keep(mac, address, datagram, now);
        }
    }

    /// Takes a message of a connection, or says how long its sender has to wait.
    pub async fn message(&self, address: IpAddr, message: &[u8], now: Instant) -> Result<(), Duration> {
        let mac = self.machine(address, now).await;
        let wait = self.senders().wait(address, message.len() + OVERHEAD, now);
        match wait {
            Some(wait) => Err(wait),
            None => {
                self.keep(mac, address, message, now);
                Ok(())
            }
        }
    }

    fn keep(&self, mac: Option<Mac>, address: IpAddr, bytes: &[u8], now: Instant) {
        let message = parse(bytes);
        self.events.keep_line(mac, address, &message);
        let pass = self.senders().pass(address, now);
        if let Pass::After(lines @ 1..) = pass {
            let text = format!("({lines} lines left out, because they came too fast)");
            let milestone = Milestone::Syslog { severity: NOTICE, tag: String::new(), text };
            self.events.publish(mac, Some(address), milestone);
        }
        if pass != Pass::No {
            log::debug!("syslog {address}: {}: {}", message.tag, message.text);
            let milestone = Milestone::Syslog { severity: message.severity, tag: message.tag, text: message.text };
            self.events.publish(mac, Some(address), milestone);
        }
    }

    fn senders(&self) -> MutexGuard<'_, Senders> {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn note(lines: u64, whose: &str) -> Message {
    let text = format!("({lines} lines{whose} were dropped before this, because they came too fast)");
    Message { facility: SYSLOGD, severity: NOTICE, host: None, tag: String::new(), text }
}
