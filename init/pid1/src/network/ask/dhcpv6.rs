//! A DHCPv6 client as a state machine (RFC 8415, 18.2): messages and time go in, messages and grants come out.

use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use crate::network::lease::Times;
use crate::network::random::Random;
use dhcp::domain_names;
use dhcp::v6::{self, Association, Message, Options};

const WANTED: [u16; 4] = [v6::DNS_SERVERS, v6::DOMAIN_LIST, v6::SNTP_SERVERS, v6::NTP_SERVER];
/// The pauses are the RFC's: a second, then twice as long each time. Its longest is an hour, which is too long for an
/// installation.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Offers are collected during the first pause, unless one has the highest preference.
const HIGHEST_PREFERENCE: u8 = 255;
const REQUESTS: u32 = 4;
/// From RFC 8415, 21.23: the shortest pause, and the pause if the server sends none.
const REFRESH_MIN: Duration = Duration::from_secs(600);
const REFRESH: Duration = Duration::from_secs(86400);
const FOR_EVER: u32 = u32::MAX;

/// What to ask for: an address and the rest, or only the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Stateful,
    Stateless,
}

/// What a server has granted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Granted {
    pub address: Option<Ipv6Addr>,
    /// `None` if the lease does not end.
    pub times: Option<Times>,
    pub dns: Vec<Ipv6Addr>,
    pub ntp: Vec<Ipv6Addr>,
    pub search: Vec<String>,
}

enum Phase {
    Soliciting { best: Option<Offer> },
    Requesting(Offer),
    Asking,
    Bound { offer: Offer, since: Instant },
    Informed,
}

#[derive(Clone)]
struct Offer {
    server: Vec<u8>,
    association: Association,
    preference: u8,
}

pub struct Client {
    pub mode: Mode,
    id: Vec<u8>,
    association: u32,
    random: Random,
    phase: Phase,
    transaction: [u8; 3],
    began: Instant,
    sent: u32,
    due: Instant,
    granted: Option<Granted>,
}

impl Client {
    pub fn new(mode: Mode, mac: [u8; 6], random: Random, now: Instant) -> Self {
        let [_, _, c, d, e, f] = mac;
        let mut client = Self {
            mode,
            id: [&[0, 3, 0, 1], &mac[..]].concat(), // the hardware address of the link (RFC 8415, 11.4)
            association: u32::from_be_bytes([c, d, e, f]),
            random,
            phase: Phase::Asking,
            transaction: [0; 3],
            began: now,
            sent: 0,
            due: now,
            granted: None,
        };
        client.start(now);
        client
    }

    pub fn granted(&self) -> Option<&Granted> {
        self.granted.as_ref()
    }

    pub fn due(&self) -> Instant {
        self.due
    }

    fn start(&mut self, now: Instant) {
        let phase = if self.mode == Mode::Stateful { Phase::Soliciting { best: None } } else { Phase::Asking };
        self.enter(phase, now);
    }

    fn enter(&mut self, phase: Phase, now: Instant) {
        let [_, transaction @ ..] = self.random.next().to_be_bytes();
        (self.phase, self.transaction, self.began, self.sent, self.due) = (phase, transaction, now, 0, now);
    }

    /// The message to send now, if any. After this call [`Self::granted`] has no expired lease.
    pub fn tick(&mut self, now: Instant) -> Option<Vec<u8>> {
        if now < self.due {
            return None;
        }
        match &self.phase {
            Phase::Soliciting { best: Some(best) } => {
                let best = best.clone();
                self.enter(Phase::Requesting(best), now);
            }
            Phase::Requesting(_) if self.sent >= REQUESTS => self.start(now),
            Phase::Bound { offer, since } => {
                let age = now.saturating_duration_since(*since);
                let Some(times) = self.granted.as_ref().and_then(|granted| granted.times) else {
                    self.due = now + REFRESH;
                    return None;
                };
                if age >= times.expire {
                    self.granted = None;
                    self.start(now);
                } else {
                    return Some(self.keep(offer.clone(), times, age, now));
                }
            }
            Phase::Informed => self.start(now),
            Phase::Soliciting { best: None } | Phase::Requesting(_) | Phase::Asking => {}
        }
        let (kind, options) = match &self.phase {
            Phase::Requesting(offer) => (v6::REQUEST, self.named(offer)),
            Phase::Soliciting { .. } => {
                let nothing = Association { id: self.association, renew: 0, rebind: 0, addresses: Vec::new(), status: 0 };
                let options = Options::default().with(v6::RAPID_COMMIT, []).with(v6::IA_NA, nothing.encode());
                (v6::SOLICIT, options)
            }
            _ => (v6::INFORMATION_REQUEST, Options::default()),
        };
        let doubled = FIRST_WAIT.saturating_mul(2u32.saturating_pow(self.sent)).min(LONGEST_WAIT);
        self.due = now + self.random.about(doubled);
        self.sent = self.sent.saturating_add(1);
        Some(self.message(kind, options, now))
    }

    /// Renewing asks the server that gave the lease. Rebinding asks any server.
    fn keep(&mut self, offer: Offer, times: Times, age: Duration, now: Instant) -> Vec<u8> {
        let rebinding = age >= times.rebind;
        let stage = if rebinding { times.expire } else { times.rebind };
        self.due = now + (stage.saturating_sub(age) / 2).max(FIRST_WAIT).min(stage.saturating_sub(age));
        if rebinding {
            let options = Options::default().with(v6::IA_NA, offer.association.encode());
            self.message(v6::REBIND, options, now)
        } else {
            self.message(v6::RENEW, self.named(&offer), now)
        }
    }

    fn named(&self, offer: &Offer) -> Options {
        Options::default().with(v6::SERVER_ID, offer.server.clone()).with(v6::IA_NA, offer.association.encode())
    }

    fn message(&self, kind: u8, options: Options, now: Instant) -> Vec<u8> {
        let hundredths = now.saturating_duration_since(self.began).as_millis() / 10;
        let wanted = WANTED.into_iter().chain((self.mode == Mode::Stateless).then_some(v6::INFORMATION_REFRESH));
        let options = options
            .with(v6::CLIENT_ID, self.id.clone())
            .with(v6::ELAPSED_TIME, u16::try_from(hundredths).unwrap_or(u16::MAX).to_be_bytes())
            .with(v6::OPTION_REQUEST, wanted.flat_map(u16::to_be_bytes).collect::<Vec<u8>>());
        Message { kind, transaction: self.transaction, options }.encode()
    }

    /// Returns true if [`Self::granted`] has changed.
    pub fn receive(&mut self, bytes: &[u8], now: Instant) -> bool {
        let Some(message) = Message::decode(bytes) else { return false };
        let options = &message.options;
        let Some(server) = options.get(v6::SERVER_ID) else { return false };
        if message.transaction != self.transaction || options.get(v6::CLIENT_ID) != Some(&self.id) {
            return false;
        }
        match (&self.phase, message.kind) {
            (Phase::Soliciting { best }, v6::ADVERTISE) => {
                let Some(offer) = self.offer(server, options) else { return false };
                if best.as_ref().is_none_or(|best| best.preference < offer.preference) {
                    let at_once = offer.preference == HIGHEST_PREFERENCE || self.sent > 1;
                    self.due = if at_once { now } else { self.due };
                    self.phase = Phase::Soliciting { best: Some(offer) };
                }
                false
            }
            (Phase::Soliciting { .. }, v6::REPLY) if options.get(v6::RAPID_COMMIT).is_none() => false,
            (Phase::Soliciting { .. } | Phase::Requesting(_) | Phase::Bound { .. }, v6::REPLY) => self.bind(server, options, now),
            (Phase::Asking, v6::REPLY) => {
                let pause = options.seconds(v6::INFORMATION_REFRESH).map_or(REFRESH, |s| Duration::from_secs(s.into()));
                self.enter(Phase::Informed, now + pause.max(REFRESH_MIN));
                self.granted = Some(names(options));
                true
            }
            _ => false,
        }
    }

    fn offer(&self, server: &[u8], options: &Options) -> Option<Offer> {
        let association = options.association(self.association)?;
        let good = options.status() == 0 && association.status == 0 && !association.addresses.is_empty();
        let preference = options.get(v6::PREFERENCE).and_then(|value| value.first().copied()).unwrap_or(0);
        good.then(|| Offer { server: server.to_vec(), association, preference })
    }

    /// A reply without an address refuses a request. After such a reply to a renewal, the lease ends at its time.
    fn bind(&mut self, server: &[u8], options: &Options, now: Instant) -> bool {
        let Some(offer) = self.offer(server, options) else {
            if matches!(self.phase, Phase::Requesting(_)) {
                self.start(now + FIRST_WAIT);
            }
            return false;
        };
        let Some(address) = offer.association.addresses.first() else { return false };
        let times = times(&offer.association, address.preferred, address.valid);
        self.granted = Some(Granted { address: Some(address.address), times, ..names(options) });
        self.enter(Phase::Bound { offer, since: now }, now + times.map_or(REFRESH, |times| times.renew));
        true
    }
}

fn names(options: &Options) -> Granted {
    Granted {
        dns: options.addresses(v6::DNS_SERVERS),
        ntp: options.time_servers(),
        search: options.get(v6::DOMAIN_LIST).map(domain_names).unwrap_or_default(),
        ..Granted::default()
    }
}

/// T1 and T2 from the server if they are in order, otherwise half and four fifths of the preferred lifetime (RFC 8415,
/// 21.4).
fn times(association: &Association, preferred: u32, valid: u32) -> Option<Times> {
    if valid == FOR_EVER {
        return None;
    }
    let seconds = |seconds: u32| Duration::from_secs(u64::from(seconds));
    let (expire, base) = (seconds(valid), seconds(if preferred == 0 { valid } else { preferred }));
    let sent = Times { renew: seconds(association.renew), rebind: seconds(association.rebind), expire };
    let in_order = !sent.renew.is_zero() && sent.renew < sent.rebind && sent.rebind < sent.expire;
    Some(if in_order { sent } else { Times { renew: base / 2, rebind: base * 4 / 5, expire } })
}

#[cfg(test)]
#[path = "dhcpv6_tests.rs"]
mod tests;
