//! What the log, the events and the history of a machine say of DHCPv6. Clients cause these lines, so each has a limit.

use std::io;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ::machine::Chain;
use api::{BootStep, StepKind};
use dhcp::v6::{self, Message};
use jiff::Timestamp;

use super::respond::shown;
use super::{Ignored, Request};
use crate::quota::Seldom;
use crate::{BootInterface, Events, Milestone, steps};

const SAME_LINE_EVERY: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Lines {
    events: Events,
    seldom: Mutex<Seldom<String>>,
    /// The same for known machines, so a flood of unknown ones does not hide their lines.
    about_known: Mutex<Seldom<String>>,
}

impl Lines {
    pub fn new(events: Events) -> Self {
        let seldom = || Mutex::new(Seldom::new(SAME_LINE_EVERY));
        Self { events, seldom: seldom(), about_known: seldom() }
    }

    /// At most one warning for a key and minute. Returns whether it was logged.
    pub fn warn(&self, key: &str, line: impl FnOnce() -> String) -> bool {
        let allowed = allowed(&self.seldom, key);
        if allowed {
            log::warn!("{}", line());
        }
        allowed
    }

    /// An answer did not leave. Its step in the history is followed by one that takes it back.
    pub fn unsent(&self, request: &Request, name: Option<&str>, interface: u32, (to, error): (IpAddr, &io::Error)) {
        let who = request.mac().map_or_else(|| request.client.to_string(), |mac| mac.to_string());
        let is_logged = self.warn(&format!("send {who}"), || format!("DHCPv6 {who}: cannot send to {to}: {}", Chain(error)));
        if let (Some(mac), Some(_)) = (request.mac(), name) {
            let step = steps::of_unsent(&self.asked(request, interface), to, error, Timestamp::now());
            if is_logged {
                self.events.publish(Some(mac), None, Milestone::Silent { reason: step.why.clone() });
            }
            self.events.step(mac, step);
        }
    }

    /// The sender of a message, and its way: `SOLICIT of iPXE on eth1`.
    fn asked(&self, request: &Request, interface: u32) -> String {
        let (kind, client) = (Request::name_of(request.message.kind), request.kind_of_client());
        let relay =
            request.relays.first().map(|_| request.link().map_or_else(|| "a relay".to_owned(), |link| format!("relay {link}")));
        match (relay, &*self.events.interface(interface)) {
            (Some(relay), _) => format!("{kind} of {client} via {relay}"),
            (None, "") => format!("{kind} of {client}"),
            (None, name) => format!("{kind} of {client} on {name}"),
        }
    }

    /// A machine without Hardware on a network that the settings name.
    pub fn stranger(&self, request: &Request, interface: u32) {
        let asked = self.asked(request, interface);
        let Some(mac) = request.mac() else {
            self.warn(&format!("nameless {}", request.client), || {
                format!("DHCPv6 {}: {asked} has no MAC in it, so its Hardware cannot be found; no answer", request.client)
            });
            return;
        };
        if allowed(&self.seldom, &format!("stranger {mac}")) {
            log::warn!("DHCPv6 {mac}: unknown machine ({asked}); no answer. To answer it, apply a Hardware with this MAC");
            self.events.publish(Some(mac), None, Milestone::Unknown);
            let step = BootStep::new(Timestamp::now(), StepKind::Unknown, asked, "").because("no Hardware has this MAC");
            self.events.step(mac, step);
        }
    }

    /// Silence towards a known machine.
    pub fn silent(&self, machine: &BootInterface, request: &Request, interface: u32, why: &str, is_usual: bool) {
        let BootInterface { mac, name, .. } = machine;
        let asked = self.asked(request, interface);
        if is_usual {
            return log::debug!("DHCPv6 {mac} ({name}): {asked}: no answer: {why}");
        }
        self.events.step(*mac, BootStep::new(Timestamp::now(), StepKind::Silent, asked, "").because(why));
        if allowed(&self.about_known, &format!("{mac} {why}")) {
            log::info!("DHCPv6 {mac} ({name}): no answer: {why}");
            self.events.publish(Some(*mac), None, Milestone::Silent { reason: why.to_owned() });
        }
    }

    pub fn ignored(&self, request: &Request, ignored: Ignored) {
        let who = request.mac().map_or_else(|| request.client.to_string(), |mac| mac.to_string());
        log::debug!("DHCPv6 {who}: no answer to {}: {ignored}", Request::name_of(request.message.kind));
    }

    /// Another host has an address.
    pub fn declined(&self, request: &Request) {
        let who = request.mac().map_or_else(|| request.client.to_string(), |mac| mac.to_string());
        let addresses: Vec<String> = request
            .message
            .options
            .wanted()
            .iter()
            .flat_map(|wanted| &wanted.addresses)
            .take(8)
            .map(ToString::to_string)
            .collect();
        self.warn(&format!("declined {who}"), || {
            let addresses = addresses.join(", ");
            format!("DHCPv6 {who}: it declines {addresses}, which another host uses; remove that host or change the Hardware")
        });
    }

    /// A reply has left. Anybody can invent machines without Hardware, so not each of their replies is kept.
    pub fn answered(&self, request: &Request, reply: &Message, name: Option<&str>, interface: u32) {
        let Some(mac) = request.mac() else {
            return log::debug!("DHCPv6 {}: {} sent", request.client, Request::name_of(reply.kind));
        };
        let (is_known, name) = (name.is_some(), name.unwrap_or("unknown machine"));
        if !is_known && !allowed(&self.seldom, &format!("answered {mac} {} {}", request.message.kind, reply.kind)) {
            return;
        }
        let (address, url) = shown(reply);
        let (asked, kind) = (self.asked(request, interface), Request::name_of(reply.kind));
        if !matches!(request.message.kind, v6::SOLICIT | v6::REQUEST | v6::RENEW | v6::REBIND | v6::INFORMATION_REQUEST) {
            return log::debug!("DHCPv6 {mac} ({name}): {kind} to {asked}");
        }
        let gives = address.is_some() || request.message.kind == v6::INFORMATION_REQUEST;
        let shown = address.map_or_else(|| "without an address".to_owned(), |address| address.to_string());
        let step = match (reply.kind, gives) {
            (v6::ADVERTISE, _) => StepKind::Offered,
            (_, true) => StepKind::Acknowledged,
            (_, false) => StepKind::Refused,
        };
        let answered = format!("{kind} {shown}");
        self.events.step(mac, BootStep::new(Timestamp::now(), step, asked.as_str(), answered).with_file(url.as_str()));
        if !is_known || allowed(&self.about_known, &format!("{mac} {kind} {shown} {url} {}", request.message.kind)) {
            log::info!("DHCPv6 {mac} ({name}): {kind} {shown} to {asked}, boot file {url:?}");
        }
        let address = address.map(IpAddr::V6);
        let milestone = match (step, address) {
            (StepKind::Offered, Some(address)) => Milestone::Offered { address, boot_file: url },
            (StepKind::Acknowledged, Some(address)) => Milestone::Acknowledged { address, boot_file: url },
            _ => return,
        };
        self.events.publish(Some(mac), address, milestone);
    }
}

fn allowed(seldom: &Mutex<Seldom<String>>, key: &str) -> bool {
    seldom.lock().unwrap_or_else(PoisonError::into_inner).allows(key.to_owned(), Instant::now())
}
