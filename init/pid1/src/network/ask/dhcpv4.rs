//! A DHCPv4 client as a state machine (RFC 2131, 4.4): packets and time go in, packets and leases come out.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use dhcp::v4::{MessageType, Op, Packet, code};

use super::offer::Offers;
use crate::network::lease::{Lease, Times};
use crate::network::random::Random;

const VENDOR_CLASS: &str = "thimble";
const MAX_MESSAGE: u16 = 1472; // what one Ethernet frame carries in UDP
const WANTED: [u8; 11] = [
    code::SUBNET_MASK,
    code::ROUTERS,
    code::DNS_SERVERS,
    code::HOSTNAME,
    code::DOMAIN_NAME,
    code::INTERFACE_MTU,
    code::NTP_SERVERS,
    code::RENEWAL_TIME,
    code::REBINDING_TIME,
    code::DOMAIN_SEARCH,
    code::CLASSLESS_ROUTES,
];
/// 1, 2, 4, 8, then every 16 s. The RFC starts with 4 s, but a port of a switch may come up a moment after the first
/// question.
const LONGEST_WAIT: u32 = 16;
const REQUESTS: u32 = 4;
/// A server that refuses is not asked again at once.
const AFTER_NAK: Duration = Duration::from_secs(2);
/// RFC 2131, 3.1.5.
const AFTER_DECLINE: Duration = Duration::from_secs(10);
/// RFC 2131, 4.4.5: not more often than this while renewing.
const RENEW_PAUSE: Duration = Duration::from_secs(60);

pub struct Client {
    mac: [u8; 6],
    random: Random,
    phase: Phase,
    offers: Offers,
    xid: u32,
    /// When this exchange began. The field `secs` shows relays which clients get no answer.
    began: Instant,
    /// Packets sent in this phase.
    sent: u32,
    due: Option<Instant>,
}

enum Phase {
    Selecting,
    Requesting {
        address: Ipv4Addr,
        server: Ipv4Addr,
    },
    Bound(Granted),
    /// Asking to keep the lease: its server until T2, then anyone.
    Renewing(Granted),
}

#[derive(Clone)]
struct Granted {
    lease: Lease,
    address: Ipv4Addr,
    since: Instant,
}

/// What the caller has to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    Send {
        packet: Box<Packet>,
        to: Ipv4Addr,
    },
    /// Find out whether another host has this address, and report that with [`Client::taken`].
    Probe(Ipv4Addr),
    Configure(Lease),
    /// The lease has ended.
    Withdraw(Lease),
}

impl Client {
    /// `target` is the server that the address has to lead to.
    pub fn new(mac: [u8; 6], target: Option<IpAddr>, seed: u64, now: Instant) -> Self {
        let mut random = Random::new(seed ^ u64::from_be_bytes([0, 0, mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]]));
        let xid = random.next();
        let offers = Offers::towards(target);
        Self { mac, random, phase: Phase::Selecting, offers, xid, began: now, sent: 0, due: Some(now) }
    }

    /// When to call `tick`; never, once a lease without end is bound.
    pub fn due(&self) -> Option<Instant> {
        self.due.into_iter().chain(self.offers.due()).min()
    }

    /// The cable came back, perhaps in another network: asks at once whether the lease still holds.
    pub fn carrier_returned(&mut self, now: Instant) {
        self.due = match &self.phase {
            Phase::Bound(granted) if granted.lease.times.is_none() => self.due,
            _ => Some(now),
        };
    }

    /// The lease does not lead to the target: gives it up for one of another server's, and returns it. `None`: there is no
    /// other server, so the lease stays.
    pub fn leave_server(&mut self, now: Instant) -> Option<Lease> {
        let Phase::Bound(granted) = &self.phase else { return None };
        let (lease, server) = (granted.lease.clone(), granted.lease.server?);
        if !self.offers.avoid(server) {
            return None;
        }
        self.select(now);
        Some(lease)
    }

    pub fn tick(&mut self, now: Instant) -> Vec<Action> {
        if let (Phase::Selecting, Some((address, server))) = (&self.phase, self.offers.settle(now)) {
            return self.accept(address, server, now);
        }
        if self.due.is_none_or(|due| now < due) {
            return Vec::new();
        }
        match &self.phase {
            Phase::Requesting { .. } if self.sent >= REQUESTS => {
                self.select(now);
                vec![self.ask(now)]
            }
            Phase::Selecting | Phase::Requesting { .. } => vec![self.ask(now)],
            Phase::Bound(granted) | Phase::Renewing(granted) => {
                let granted = granted.clone();
                self.keep(granted, now)
            }
        }
    }

    pub fn receive(&mut self, packet: &Packet, now: Instant) -> Vec<Action> {
        if packet.op != Op::Reply || packet.xid != self.xid || packet.mac() != Some(self.mac) {
            return Vec::new();
        }
        let kind = packet.message_type();
        match (&self.phase, kind) {
            (Phase::Selecting, Some(MessageType::Offer)) => self.take_offer(packet, now),
            (Phase::Requesting { server, .. }, Some(MessageType::Nak)) if packet.server_id() == Some(*server) => {
                self.select(now + AFTER_NAK);
                Vec::new()
            }
            (Phase::Requesting { server, .. }, Some(MessageType::Ack)) if packet.server_id() == Some(*server) => {
                self.bind(packet, now)
            }
            (Phase::Renewing(_), Some(MessageType::Ack)) => self.bind(packet, now),
            (Phase::Renewing(granted), Some(MessageType::Nak)) => {
                let lost = granted.lease.clone();
                self.select(now);
                vec![Action::Withdraw(lost)]
            }
            _ => Vec::new(),
        }
    }

    fn select(&mut self, at: Instant) {
        (self.phase, self.sent, self.began, self.due) = (Phase::Selecting, 0, at, Some(at));
        self.xid = self.random.next();
        self.offers.forget();
    }

    fn take_offer(&mut self, offer: &Packet, now: Instant) -> Vec<Action> {
        match self.offers.hear(offer, now) {
            Some((address, server)) => self.accept(address, server, now),
            None => Vec::new(),
        }
    }

    fn accept(&mut self, address: Ipv4Addr, server: Ipv4Addr, now: Instant) -> Vec<Action> {
        self.offers.forget();
        (self.phase, self.sent) = (Phase::Requesting { address, server }, 0);
        vec![Action::Probe(address), self.ask(now)]
    }

    /// Another host has the address: declines it, and gives the server time to find another one (RFC 2131, 3.1.5).
    pub fn taken(&mut self, now: Instant) -> Vec<Action> {
        let (address, server, lease) = match &self.phase {
            Phase::Requesting { address, server } => (*address, *server, None),
            Phase::Bound(granted) => match granted.lease.server {
                Some(server) => (granted.address, server, Some(granted.lease.clone())),
                None => return Vec::new(),
            },
            Phase::Selecting | Phase::Renewing(_) => return Vec::new(),
        };
        let mut packet = self.packet(MessageType::Decline, now);
        packet.options.set_ip(code::REQUESTED_IP, address).set_ip(code::SERVER_ID, server);
        self.select(now + AFTER_DECLINE);
        let decline = Action::Send { packet: Box::new(packet), to: Ipv4Addr::BROADCAST };
        lease.map(Action::Withdraw).into_iter().chain([decline]).collect()
    }

    fn bind(&mut self, ack: &Packet, now: Instant) -> Vec<Action> {
        let Ok(lease) = Lease::from_ack(ack) else { return Vec::new() };
        let lost = match &self.phase {
            Phase::Renewing(old) if old.lease.address != lease.address => Some(Action::Withdraw(old.lease.clone())),
            _ => None,
        };
        self.due = lease.times.map(|times| now + times.renew);
        self.phase = Phase::Bound(Granted { lease: lease.clone(), address: ack.yiaddr, since: now });
        lost.into_iter().chain([Action::Configure(lease)]).collect()
    }

    /// DISCOVER, or REQUEST for the offer, repeated with growing pauses.
    fn ask(&mut self, now: Instant) -> Action {
        let seconds = 2u32.saturating_pow(self.sent).min(LONGEST_WAIT);
        self.sent = self.sent.saturating_add(1);
        self.due = Some(now + self.random.about(Duration::from_secs(u64::from(seconds))));
        let mut packet = match self.phase {
            Phase::Requesting { address, server } => {
                let mut packet = self.packet(MessageType::Request, now);
                packet.options.set_ip(code::REQUESTED_IP, address).set_ip(code::SERVER_ID, server);
                packet
            }
            _ => self.packet(MessageType::Discover, now),
        };
        packet.set_wants_broadcast(true); // an ordinary socket receives no unicast before the address is set
        Action::Send { packet: Box::new(packet), to: Ipv4Addr::BROADCAST }
    }

    /// Half of the lease is over, or more: asks to keep it, or gives it up.
    fn keep(&mut self, granted: Granted, now: Instant) -> Vec<Action> {
        let Some(times) = granted.lease.times else {
            self.due = None;
            return Vec::new();
        };
        let age = now.saturating_duration_since(granted.since);
        if age >= times.expire {
            self.select(now);
            return vec![Action::Withdraw(granted.lease)];
        }
        if matches!(self.phase, Phase::Bound(_)) {
            (self.began, self.xid) = (now, self.random.next());
        }
        let to = if age < times.rebind { granted.lease.server } else { None };
        let mut packet = self.packet(MessageType::Request, now);
        packet.ciaddr = granted.address;
        self.due = Some(now + renew_pause(&times, age));
        self.phase = Phase::Renewing(granted);
        vec![Action::Send { packet: Box::new(packet), to: to.unwrap_or(Ipv4Addr::BROADCAST) }]
    }

    fn packet(&self, kind: MessageType, now: Instant) -> Packet {
        let mut packet = Packet::request(kind, self.xid, self.mac);
        packet.secs = u16::try_from(now.saturating_duration_since(self.began).as_secs()).unwrap_or(u16::MAX);
        // Hardware type and address, as iPXE sends it: the same machine keeps the same lease.
        packet.options.set(code::CLIENT_ID, [&[1][..], &self.mac].concat());
        packet.options.set(code::PARAMETER_LIST, WANTED).set_u16(code::MAX_MESSAGE_SIZE, MAX_MESSAGE);
        packet.options.set_text(code::VENDOR_CLASS, VENDOR_CLASS);
        packet
    }
}

/// Half of what is left until the next stage, but at least a minute, and never past that stage.
fn renew_pause(times: &Times, age: Duration) -> Duration {
    let stage = if age < times.rebind { times.rebind } else { times.expire };
    let left = stage.saturating_sub(age);
    (left / 2).max(RENEW_PAUSE).min(left)
}

#[cfg(test)]
#[path = "dhcpv4_tests.rs"]
mod tests;
