//! Who sends, and how much each may still send. Addresses of datagrams can be invented, so senders that are not machines have
//! places of their own and share what they may send. Pure.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use model::Mac;

use super::share::{Bytes, Lines, Pass};

/// A machine logs many lines, and keeps its address longer than this.
const REMEMBER: Duration = Duration::from_secs(30);
/// As many machines as have a place in the history of boots.
const MACHINES: usize = 16_384;
const OTHERS: usize = 4096;
/// All others together may send as much as so many machines.
const OF_OTHERS: u32 = 4;

#[derive(Debug)]
pub(super) struct Senders {
    machines: HashMap<IpAddr, Sender>,
    others: HashMap<IpAddr, Sender>,
    bytes_of_others: Bytes,
    lines_of_others: Lines,
}

#[derive(Debug)]
struct Sender {
    /// When it was looked up.
    asked: Instant,
    heard: Instant,
    mac: Option<Mac>,
    bytes: Bytes,
    lines: Lines,
}

/// What is known of a sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub mac: Option<Mac>,
    /// Whether it was looked up lately.
    pub is_fresh: bool,
}

/// Dropped lines of senders that have lost their place, which no line has told yet.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Untold {
    pub machines: Vec<(IpAddr, Option<Mac>, u64)>,
    pub others: u64,
}

impl Senders {
    pub fn new(now: Instant) -> Self {
        Self {
            machines: HashMap::new(),
            others: HashMap::new(),
            bytes_of_others: Bytes::of(OF_OTHERS as usize, now),
            lines_of_others: Lines::of(OF_OTHERS, now),
        }
    }

    pub fn find(&self, address: IpAddr, now: Instant) -> Option<Found> {
        let sender = self.machines.get(&address).or_else(|| self.others.get(&address))?;
        Some(Found { mac: sender.mac, is_fresh: now.saturating_duration_since(sender.asked) < REMEMBER })
    }

    /// This machine has the address now, or none has. What the sender has used stays used.
    pub fn learn(&mut self, address: IpAddr, mac: Option<Mac>, now: Instant) -> Untold {
        let (own, other, most) = match mac {
            Some(_) => (&mut self.machines, &mut self.others, MACHINES),
            None => (&mut self.others, &mut self.machines, OTHERS),
        };
        let before = other.remove(&address);
        let gone = if own.contains_key(&address) { Vec::new() } else { make_room(own, most) };
        let new = || Sender { asked: now, heard: now, mac: None, bytes: Bytes::of(1, now), lines: Lines::of(1, now) };
        let sender = own.entry(address).or_insert_with(|| before.unwrap_or_else(new));
        (sender.asked, sender.heard, sender.mac) = (now, now, mac);
        let untold = gone.into_iter().map(|(address, sender)| (address, sender.mac, sender.bytes.untold()));
        let untold = untold.filter(|(.., dropped)| *dropped > 0);
        match mac {
            Some(_) => Untold { machines: untold.collect(), others: 0 },
            None => Untold { machines: Vec::new(), others: untold.map(|(.., dropped)| dropped).sum() },
        }
    }

    /// `None` for a datagram that is dropped. Else how many were dropped before it, if the log shall say so now.
    pub fn take(&mut self, address: IpAddr, bytes: usize, now: Instant) -> Option<u64> {
        if let Some(sender) = self.machines.get_mut(&address) {
            sender.heard = now;
            return sender.bytes.take(bytes, now);
        }
        // It is not known yet, and there is no place to ask who it is.
        let Some(sender) = self.others.get_mut(&address) else { return self.bytes_of_others.take(bytes, now) };
        sender.heard = now;
        if self.bytes_of_others.lacks(bytes, now).is_some() {
            sender.bytes.drop_one(now);
            return None;
        }
        let told = sender.bytes.take(bytes, now)?;
        self.bytes_of_others.spend(bytes);
        Some(told)
    }

    /// How long until so many bytes of a connection can be taken. `None` if they are taken now.
    pub fn wait(&mut self, address: IpAddr, bytes: usize, now: Instant) -> Option<Duration> {
        if let Some(sender) = self.machines.get_mut(&address) {
            sender.heard = now;
            return sender.bytes.wait(bytes, now);
        }
        let Some(sender) = self.others.get_mut(&address) else { return self.bytes_of_others.wait(bytes, now) };
        sender.heard = now;
        let lacks = sender.bytes.lacks(bytes, now).max(self.bytes_of_others.lacks(bytes, now));
        if lacks.is_none() {
            sender.bytes.spend(bytes);
            self.bytes_of_others.spend(bytes);
        }
        lacks
    }

    /// Whether a line becomes an event.
    pub fn pass(&mut self, address: IpAddr, now: Instant) -> Pass {
        if let Some(sender) = self.machines.get_mut(&address) {
            return sender.lines.pass(now);
        }
        let own = self.others.get_mut(&address).map_or(Pass::After(0), |sender| sender.lines.pass(now));
        match own {
            Pass::No => Pass::No,
            Pass::After(left_out) => match self.lines_of_others.pass(now) {
                Pass::After(more) => Pass::After(left_out + more),
                Pass::No => Pass::No,
            },
        }
    }
}

/// If there is no place, the idlest eighth goes at once: a search for each would cost more than its line.
fn make_room(senders: &mut HashMap<IpAddr, Sender>, most: usize) -> Vec<(IpAddr, Sender)> {
    if senders.len() < most {
        return Vec::new();
    }
    let mut idle: Vec<_> = senders.iter().map(|(address, sender)| (sender.heard, *address)).collect();
    let (eighth, ..) = idle.select_nth_unstable(most / 8);
    eighth.iter().filter_map(|(_, address)| senders.remove_entry(address)).collect()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const MACHINE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    const MAC: Mac = Mac::new([2, 0, 0, 0, 0, 1]);
    const LINE: usize = 1000;

    fn other(number: u32) -> IpAddr {
        Ipv4Addr::from(0xc000_0000 + number).into()
    }

    /// What invented addresses get through, with one datagram of each.
    fn flood(senders: &mut Senders, addresses: std::ops::Range<u32>, now: Instant) -> (usize, u64) {
        let (mut taken, mut untold) = (0, 0);
        for number in addresses {
            untold += senders.learn(other(number), None, now).others;
            taken += senders.take(other(number), LINE, now).map_or(0, |_| LINE);
        }
        (taken, untold)
    }

    #[test]
    fn invented_addresses_share_what_they_send_and_refill_nothing() {
        let now = Instant::now();
        let mut senders = Senders::new(now);
        senders.learn(MACHINE, Some(MAC), now);
        while senders.take(MACHINE, LINE, now).is_some() {}
        let (taken, untold) = flood(&mut senders, 0..100_000, now);
        assert!(taken <= OF_OTHERS as usize * Bytes::BURST, "{taken} bytes of 100 MB");
        assert!(senders.others.len() <= OTHERS, "{}", senders.others.len());
        assert_eq!(senders.find(MACHINE, now), Some(Found { mac: Some(MAC), is_fresh: true }));
        assert_eq!(senders.take(MACHINE, LINE, now), None, "the share of a machine is as it was");
        let kept: u64 = senders.others.values().map(|sender| sender.bytes.untold()).sum();
        assert_eq!(untold + kept, (100_000 * LINE - taken) as u64 / LINE as u64, "each dropped line is counted");
        let passed = (0..100_000).filter(|&number| senders.pass(other(number), now) != Pass::No).count();
        assert_eq!(passed, (OF_OTHERS * Lines::BURST) as usize, "and so it is with events");
    }

    #[test]
    fn the_idlest_goes_and_one_other_does_not_use_the_share_of_all() {
        let now = Instant::now();
        let mut senders = Senders::new(now);
        senders.learn(other(0), None, now);
        while senders.take(other(0), LINE, now).is_some() {}
        senders.learn(other(1), None, now);
        assert_eq!(senders.take(other(1), LINE, now), Some(0));
        assert_eq!(senders.wait(other(1), LINE, now), None);
        let later = now + Duration::from_secs(10);
        let count = u32::try_from(OTHERS).unwrap();
        for number in 2..count {
            senders.learn(other(number), None, now);
        }
        assert!(senders.take(other(0), LINE, later).is_some(), "it is heard again");
        senders.learn(other(count), None, later);
        assert!(senders.find(other(0), later).is_some() && senders.others.len() < OTHERS);
    }

    #[test]
    fn a_sender_that_becomes_a_machine_keeps_what_it_has_used() {
        let now = Instant::now();
        let mut senders = Senders::new(now);
        senders.learn(MACHINE, None, now);
        while senders.take(MACHINE, LINE, now).is_some() {}
        senders.learn(MACHINE, Some(MAC), now);
        assert_eq!((senders.take(MACHINE, LINE, now), senders.others.len()), (None, 0));
        let late = now + REMEMBER;
        assert_eq!(senders.find(MACHINE, late), Some(Found { mac: Some(MAC), is_fresh: false }));
    }
}
