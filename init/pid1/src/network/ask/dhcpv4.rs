//! A DHCPv4 client as a state machine (RFC 2131, 4.4): packets and time go in, packets and leases come out.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use dhcp::v4::{Fault, MessageType, Op, Packet, code};

use super::offer::Offers;
use crate::network::lease::{Lease, Times, Unusable};
use crate::network::random::Random;
use crate::network::text::shown;

const VENDOR_CLASS: &str = "thimble";
const MAX_MESSAGE: u16 = 1472; // the UDP payload of one Ethernet frame
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
/// The pauses are 1, 2, 4, 8, and then 16 s. The RFC starts with 4 s, but a switch port may come up just after the first
/// question.
const LONGEST_WAIT: u32 = 16;
const REQUESTS: u32 = 4;
/// A server that refuses is not asked again at once.
const AFTER_NAK: Duration = Duration::from_secs(2);
/// From RFC 2131, 3.1.5.
const AFTER_DECLINE: Duration = Duration::from_secs(10);
/// From RFC 2131, 4.4.5: the shortest pause between renewals. Leases of a few minutes are renewed more often.
const RENEW_PAUSE: Duration = Duration::from_secs(60);
/// After this many questions without an answer, the client also searches for servers that do not have its lease.
const VERIFY_ALONE: u32 = 2;
/// After this many, the console shows it.
const VERIFY_SILENT: u32 = 4;
/// After this many, in two minutes, the lease is kept. A switch port may need a minute before it forwards packets.
const VERIFY_TRIES: u32 = 12;
/// How long a refusal by another server waits for the answer of the lease's server.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(1);
/// How many faults of one answer are shown.
const NOTES: usize = 12;

pub struct Client {
    mac: [u8; 6],
    random: Random,
    phase: Phase,
    offers: Offers,
    xid: u32,
    /// When this exchange began. The field `secs` shows relays which clients get no answer.
    began: Instant,
    /// How many packets were sent in this phase.
    sent: u32,
    due: Option<Instant>,
    /// Why the last answer could not be used.
    unusable: Option<String>,
}

enum Phase {
    Selecting,
    Requesting {
        address: Ipv4Addr,
        server: Ipv4Addr,
    },
    Bound(Granted),
    /// Asks to keep the lease: its server until T2, then any server.
    Renewing(Granted),
    /// The link was without carrier. Asks whether the lease is valid on the current network (RFC 2131, 3.7 and 4.4.2:
    /// INIT-REBOOT). `refused` is when the lease ends because a server has refused it.
    Verifying {
        granted: Granted,
        refused: Option<Instant>,
    },
}

/// A packet from a server or a relay, and the faults of its options.
#[derive(Debug)]
pub struct Answer {
    pub packet: Packet,
    pub faults: Vec<Fault>,
    pub from: Ipv4Addr,
}

#[derive(Clone)]
struct Granted {
    lease: Lease,
    address: Ipv4Addr,
    since: Instant,
}

/// What the caller must do.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    Send {
        packet: Box<Packet>,
        to: Ipv4Addr,
    },
    /// Find out whether another host has this address, and report it with [`Client::taken`].
    Probe(Ipv4Addr),
    Configure(Lease),
    /// The lease has ended.
    Withdraw(Lease),
    /// A line for the console.
    Say(String),
}

impl Client {
    /// `target` is the server that the address must lead to.
    pub fn new(mac: [u8; 6], target: Option<IpAddr>, mut random: Random, now: Instant) -> Self {
        let xid = random.next();
        let offers = Offers::towards(target);
        Self { mac, random, phase: Phase::Selecting, offers, xid, began: now, sent: 0, due: Some(now), unusable: None }
    }

    /// When to call `tick`. Never, once a lease without an end is bound.
    pub fn due(&self) -> Option<Instant> {
        let refused = if let Phase::Verifying { refused, .. } = self.phase { refused } else { None };
        self.due.into_iter().chain(self.offers.due()).chain(refused).min()
    }

    /// Why the answers have not led to an address, if any came.
    pub fn unusable(&self) -> Option<&str> {
        self.unusable.as_deref()
    }

    /// The carrier returned, perhaps in another network: asks at once whether the lease is still valid.
    pub fn carrier_returned(&mut self, now: Instant) {
        match self.granted() {
            Some(granted) => {
                let granted = granted.clone();
                self.enter(Phase::Verifying { granted, refused: None }, now);
            }
            None => self.select(now),
        }
    }

    fn granted(&self) -> Option<&Granted> {
        match &self.phase {
            Phase::Bound(granted) | Phase::Renewing(granted) | Phase::Verifying { granted, .. } => Some(granted),
            Phase::Selecting | Phase::Requesting { .. } => None,
        }
    }

    /// The lease does not lead to the target: drops it to get one from another server, and returns it. `None` if no other
    /// server is known, so the lease stays.
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
        let asks = matches!(self.phase, Phase::Selecting | Phase::Verifying { .. });
        if asks && let Some((address, server)) = self.offers.settle(now) {
            return self.accept(address, server, now);
        }
        if let Phase::Verifying { refused: Some(at), .. } = self.phase
            && now >= at
        {
            return self.give_up(now).into_iter().collect();
        }
        if self.due.is_none_or(|due| now < due) {
            return Vec::new();
        }
        match &self.phase {
            Phase::Requesting { address, server } if self.sent >= REQUESTS => {
                let why = format!("DHCP server {server} has offered {address}, and does not answer the request for it");
                self.select(now);
                self.unusable = Some(why.clone());
                vec![Action::Say(why), self.ask(now)]
            }
            Phase::Selecting | Phase::Requesting { .. } => vec![self.ask(now)],
            Phase::Bound(granted) | Phase::Renewing(granted) => {
                let granted = granted.clone();
                self.keep(granted, now)
            }
            Phase::Verifying { granted, .. } => {
                let granted = granted.clone();
                self.verify(granted, now)
            }
        }
    }

    pub fn receive(&mut self, answer: &Answer, now: Instant) -> Vec<Action> {
        let packet = &answer.packet;
        if packet.op != Op::Reply || packet.chaddr.first_chunk() != Some(&self.mac) {
            return Vec::new();
        }
        if packet.xid != self.xid {
            // This is also the second copy of an answer to an earlier question.
            let why = format!("an answer from {} is for another question (transaction {:08x})", answer.from, packet.xid);
            self.unusable.get_or_insert(why);
            return Vec::new();
        }
        let Some(kind) = packet.message_type() else {
            return self.reject(answer, "an answer", "has no message type (option 53)");
        };
        match (&self.phase, kind) {
            (Phase::Selecting | Phase::Verifying { .. }, MessageType::Offer) => self.take_offer(answer, now),
            (Phase::Requesting { server, .. }, MessageType::Ack | MessageType::Nak) => {
                let server = *server;
                if packet.server_id().is_some_and(|id| id != server) {
                    self.unusable =
                        Some(format!("the {kind} from {} does not come from server {server}, which was asked", answer.from));
                    return Vec::new();
                }
                if kind == MessageType::Ack { self.bind(answer, now) } else { self.refused_request(answer, now) }
            }
            (Phase::Renewing(_) | Phase::Verifying { .. }, MessageType::Ack) => self.bind(answer, now),
            (Phase::Renewing(_) | Phase::Verifying { .. }, MessageType::Nak) => self.refused_lease(answer, now),
            _ => Vec::new(),
        }
    }

    fn reject(&mut self, answer: &Answer, what: &str, why: &str) -> Vec<Action> {
        let line = format!("{what} from {} {why}", answer.from);
        self.unusable = Some(line.clone());
        let notes = answer.faults.iter().map(ToString::to_string).collect();
        let mut actions = said(answer.from, notes);
        actions.push(Action::Say(format!("{line}, so it cannot be used")));
        actions
    }

    /// A packet arrived that is not DHCP.
    pub fn unreadable(&mut self, why: String) -> Action {
        self.unusable = Some(why.clone());
        Action::Say(why)
    }

    fn refused_request(&mut self, answer: &Answer, now: Instant) -> Vec<Action> {
        let Phase::Requesting { address, .. } = self.phase else { return Vec::new() };
        let line = refusal(answer, address);
        self.select(now + AFTER_NAK);
        self.unusable = Some(line.clone());
        vec![Action::Say(line)]
    }

    /// A refusal by the lease's server counts at once. Another server on the link may know less, so its refusal waits.
    fn refused_lease(&mut self, answer: &Answer, now: Instant) -> Vec<Action> {
        let Some(granted) = self.granted() else { return Vec::new() };
        let (address, own) = (granted.address, granted.lease.server);
        let is_own = answer.packet.server_id().is_none_or(|server| Some(server) == own);
        let mut actions = vec![Action::Say(refusal(answer, address))];
        match &mut self.phase {
            Phase::Verifying { refused, .. } if !is_own => {
                refused.get_or_insert(now + REFUSAL_PATIENCE);
            }
            _ => actions.extend(self.give_up(now)),
        }
        actions
    }

    /// The lease has ended. Asks for another one at once.
    fn give_up(&mut self, now: Instant) -> Option<Action> {
        let lease = self.granted()?.lease.clone();
        self.select(now);
        Some(Action::Withdraw(lease))
    }

    fn enter(&mut self, phase: Phase, at: Instant) {
        (self.phase, self.sent, self.began, self.due) = (phase, 0, at, Some(at));
        self.xid = self.random.next();
        self.offers.forget();
        self.unusable = None;
    }

    fn select(&mut self, at: Instant) {
        self.enter(Phase::Selecting, at);
    }

    fn take_offer(&mut self, answer: &Answer, now: Instant) -> Vec<Action> {
        let offer = &answer.packet;
        let (offered, notes) = match Lease::read(offer) {
            Ok(read) => read,
            Err(why) => return self.reject(answer, "an offer", &why.to_string()),
        };
        // In the same network the lease is as good as a new one, and its server may only be restarting.
        if let Some(granted) = self.granted()
            && !is_elsewhere(&granted.lease, &offered)
        {
            return Vec::new();
        }
        let mut actions = said(answer.from, [answer.faults.iter().map(ToString::to_string).collect(), notes].concat());
        if let Some((address, server)) = self.offers.hear(offer, &offered, now) {
            actions.extend(self.accept(address, server, now));
        }
        actions
    }

    fn accept(&mut self, address: Ipv4Addr, server: Ipv4Addr, now: Instant) -> Vec<Action> {
        let moved = self.granted().map(|granted| {
            let line = format!("DHCP server {server} of another network offers {address}, so {} is dropped", granted.address);
            [Action::Say(line), Action::Withdraw(granted.lease.clone())]
        });
        self.offers.forget();
        (self.phase, self.sent, self.unusable) = (Phase::Requesting { address, server }, 0, None);
        moved.into_iter().flatten().chain([Action::Probe(address), self.ask(now)]).collect()
    }

    /// Another host has the address: declines it, and gives the server time to find another one (RFC 2131, 3.1.5).
    pub fn taken(&mut self, now: Instant) -> Vec<Action> {
        let (address, server, lease) = match &self.phase {
            Phase::Requesting { address, server } => (*address, *server, None),
            Phase::Bound(granted) => match granted.lease.server {
                Some(server) => (granted.address, server, Some(granted.lease.clone())),
                None => return Vec::new(),
            },
            Phase::Selecting | Phase::Renewing(_) | Phase::Verifying { .. } => return Vec::new(),
        };
        let mut packet = self.packet(MessageType::Decline, now);
        packet.options.set_ip(code::REQUESTED_IP, address).set_ip(code::SERVER_ID, server);
        self.select(now + AFTER_DECLINE);
        let decline = Action::Send { packet: Box::new(packet), to: Ipv4Addr::BROADCAST };
        lease.map(Action::Withdraw).into_iter().chain([decline]).collect()
    }

    fn bind(&mut self, answer: &Answer, now: Instant) -> Vec<Action> {
        // For an acknowledgement the server is known, because it was asked.
        let asked = match &self.phase {
            Phase::Requesting { server, .. } => Some(*server),
            _ => self.granted().and_then(|granted| granted.lease.server),
        };
        let mut ack = answer.packet.clone();
        if let (None, Some(server)) = (ack.server_id(), asked) {
            ack.options.set_ip(code::SERVER_ID, server);
        }
        let (lease, notes) = match Lease::read(&ack) {
            Ok(read) => read,
            Err(why @ (Unusable::NoServer | Unusable::Address(_))) => return self.reject(answer, "an ACK", &why.to_string()),
        };
        let mut actions = said(answer.from, [answer.faults.iter().map(ToString::to_string).collect(), notes].concat());
        let old = self.granted().map(|granted| granted.lease.clone());
        actions.extend(old.filter(|old| old.address != lease.address).map(Action::Withdraw));
        // The link may be in another network than before, where another host may have the address.
        let is_new_here = matches!(self.phase, Phase::Verifying { .. });
        actions.extend(is_new_here.then_some(Action::Probe(ack.yiaddr)));
        self.due = lease.times.map(|times| now + times.renew);
        self.offers.forget();
        self.unusable = None;
        self.phase = Phase::Bound(Granted { lease: lease.clone(), address: ack.yiaddr, since: now });
        actions.push(Action::Configure(lease));
        actions
    }

    /// Sends DISCOVER, or REQUEST for the offer, with growing pauses.
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
        // A unicast answer would arrive, too, but not at a client whose kernel has no packet sockets.
        packet.set_wants_broadcast(true);
        Action::Send { packet: Box::new(packet), to: Ipv4Addr::BROADCAST }
    }

    /// Half or more of the lease has passed: asks to keep it, or drops it.
    fn keep(&mut self, granted: Granted, now: Instant) -> Vec<Action> {
        let Some(times) = granted.lease.times else {
            self.due = None;
            return Vec::new();
        };
        let age = now.saturating_duration_since(granted.since);
        if age >= times.expire {
            return self.give_up(now).into_iter().collect();
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

    /// Asks every server whether the lease is valid here. If none answers, it is kept until it ends (RFC 2131, 3.7).
    fn verify(&mut self, granted: Granted, now: Instant) -> Vec<Action> {
        let age = now.saturating_duration_since(granted.since);
        let times = granted.lease.times;
        if times.is_some_and(|times| age >= times.expire) {
            return self.give_up(now).into_iter().collect();
        }
        let is_renewal_due = times.is_some_and(|times| age >= times.renew);
        if self.sent >= VERIFY_TRIES || (is_renewal_due && self.sent >= VERIFY_SILENT) {
            self.due = times.map(|times| (granted.since + times.renew).max(now));
            self.phase = Phase::Bound(granted);
            return Vec::new();
        }
        let mut packet = self.packet(MessageType::Request, now);
        packet.options.set_ip(code::REQUESTED_IP, granted.address);
        packet.set_wants_broadcast(true);
        let broadcast = |packet| Action::Send { packet: Box::new(packet), to: Ipv4Addr::BROADCAST };
        let mut actions = vec![broadcast(packet)];
        if self.sent >= VERIFY_ALONE {
            let mut discover = self.packet(MessageType::Discover, now);
            discover.set_wants_broadcast(true);
            actions.push(broadcast(discover));
        }
        let seconds = 2u32.saturating_pow(self.sent).min(LONGEST_WAIT);
        self.sent += 1;
        if self.sent == VERIFY_SILENT {
            let end = times.map_or("without end".to_owned(), |times| format!("for {} s more", (times.expire - age).as_secs()));
            let address = granted.address;
            let line = format!("no DHCP server has answered since the carrier returned; keeping {address}, leased {end}");
            actions.push(Action::Say(line));
        }
        let due = now + self.random.about(Duration::from_secs(u64::from(seconds)));
        let end = times.map_or(due, |times| granted.since + times.expire);
        self.due = Some(due.min(end));
        actions
    }

    fn packet(&self, kind: MessageType, now: Instant) -> Packet {
        let mut packet = Packet::request(kind, self.xid, self.mac);
        packet.secs = u16::try_from(now.saturating_duration_since(self.began).as_secs()).unwrap_or(u16::MAX);
        // Hardware type and address, the same as from iPXE, so that the machine keeps its lease.
        packet.options.set(code::CLIENT_ID, [&[1][..], &self.mac].concat());
        packet.options.set(code::PARAMETER_LIST, WANTED).set_u16(code::MAX_MESSAGE_SIZE, MAX_MESSAGE);
        packet.options.set_text(code::VENDOR_CLASS, VENDOR_CLASS);
        packet
    }
}

/// Half of the time until the next stage, but at least a minute, and never beyond that stage.
fn renew_pause(times: &Times, age: Duration) -> Duration {
    let stage = if age < times.rebind { times.rebind } else { times.expire };
    let left = stage.saturating_sub(age);
    (left / 2).max(RENEW_PAUSE.min(times.expire / 8)).min(left)
}

/// Whether an offer comes from another network than the lease: neither address is on the other's link.
fn is_elsewhere(lease: &Lease, offered: &Lease) -> bool {
    !lease.is_on_link(offered.address) && !offered.is_on_link(lease.address)
}

/// The text of a server's refusal, with its reason.
fn refusal(answer: &Answer, address: Ipv4Addr) -> String {
    let why = answer.packet.message().map(|message| format!(": {}", shown(message))).unwrap_or_default();
    format!("the DHCP server at {} refuses {address}{why}", answer.from)
}

/// The parts of an answer that were left out, one line each.
fn said(from: Ipv4Addr, notes: Vec<String>) -> Vec<Action> {
    let more = notes.len().saturating_sub(NOTES);
    let more = (more > 0).then(|| format!("{more} more options are broken"));
    let lines = notes.into_iter().take(NOTES).chain(more);
    lines.map(|note| Action::Say(format!("DHCP answer from {from}: {note}"))).collect()
}

#[cfg(test)]
#[path = "dhcpv4_tests.rs"]
mod tests;
