//! Chooses the link that becomes the machine's network: the one that reaches the server.

use std::time::Duration;

/// How long a link waits for a better one that may still reach the server.
pub const GRACE: Duration = Duration::from_secs(2);
/// If no link has reached the server by then, the best one is used until a [`better`] one is found.
pub const LIMIT: Duration = Duration::from_secs(8);

/// Ranks in the order of preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// The NIC that booted the machine.
    Boot,
    Plain,
    /// A BMC's private link to the host. It answers DHCP quickly and does not reach the server.
    Bmc,
}

/// The state of the way to the server over one link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// It has no address yet.
    NoAddress,
    /// The link is being tried.
    Trying,
    /// The server accepts connections.
    Open,
    /// The server's host answers, but no program listens yet.
    Refused,
    Silent,
    /// No server is known.
    NotAsked,
}

impl Reach {
    /// The result of several tries over one link. `Refused` shows at least that the network is the right one.
    pub fn or(self, other: Self) -> Self {
        if other.quality() < self.quality() { other } else { self }
    }

    fn quality(self) -> u8 {
        match self {
            Self::Open => 0,
            Self::NotAsked => 1,
            Self::Refused => 2,
            Self::Silent | Self::Trying => 3,
            Self::NoAddress => 4,
        }
    }
}

/// A link with carrier.
#[derive(Debug, Clone, Copy)]
pub struct Candidate {
    pub rank: Rank,
    pub reach: Reach,
}

impl Candidate {
    fn is_pending(self) -> bool {
        matches!(self.reach, Reach::NoAddress | Reach::Trying)
    }

    /// Whether the link may be used for good.
    pub fn leads_somewhere(self) -> bool {
        matches!(self.reach, Reach::Open | Reach::Refused | Reach::NotAsked)
    }
}

/// The index of the link to use now. `waited` is the time since the first link got an address. `None` means to wait.
pub fn choose(candidates: &[Candidate], waited: Duration) -> Option<usize> {
    let addressed = candidates.iter().enumerate().filter(|(_, candidate)| candidate.reach != Reach::NoAddress);
    let (index, best) = addressed.min_by_key(|(_, candidate)| (candidate.reach.quality(), candidate.rank))?;
    let worth_waiting_for = |other: &&Candidate| match best.reach {
        Reach::Open | Reach::NotAsked => other.rank < best.rank,
        _ => true, // a link that may still reach the server is better
    };
    let hope = candidates.iter().filter(|other| other.is_pending()).any(|other| worth_waiting_for(&other));
    let limit = match best.reach {
        Reach::Open | Reach::NotAsked | Reach::Refused => GRACE,
        _ => LIMIT,
    };
    (!hope || waited >= limit).then_some(index)
}

/// The link that ends the search while `used` is only a fallback: a better one, or `used` itself.
pub fn better(candidates: &[Candidate], used: usize) -> Option<usize> {
    let leading = candidates.iter().enumerate().filter(|(_, candidate)| candidate.leads_somewhere());
    let preference = |(index, candidate): &(usize, &Candidate)| (candidate.reach.quality(), *index != used, candidate.rank);
    leading.min_by_key(preference).map(|(index, _)| index)
}

/// How long to wait before calling [`choose`] again if nothing else happens.
pub fn next(waited: Duration) -> Option<Duration> {
    [GRACE, LIMIT].into_iter().find(|limit| waited < *limit).map(|limit| limit - waited)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Rank::{Bmc, Boot, Plain};
    use Reach::{NoAddress, NotAsked, Open, Refused, Silent, Trying};

    #[test]
    fn the_link_that_reaches_the_server_is_chosen() {
        let soon = Duration::from_millis(10);
        for (case, links, waited, expected) in [
            ("no link has an address", vec![(Plain, NoAddress)], LIMIT, None),
            ("the only link", vec![(Plain, Open)], soon, Some(0)),
            ("the only link is being tried", vec![(Plain, Trying)], soon, None),
            ("the only link, server not up yet", vec![(Plain, Refused)], soon, Some(0)),
            ("the only link, server silent", vec![(Plain, Silent)], soon, Some(0)),
            ("the one that reaches it", vec![(Plain, Silent), (Plain, Open)], soon, Some(1)),
            ("even a BMC's, if no other does", vec![(Boot, Silent), (Bmc, Open)], soon, Some(1)),
            ("no waiting for an equal", vec![(Plain, NoAddress), (Plain, Open)], soon, Some(1)),
            ("a short wait for the boot NIC", vec![(Boot, NoAddress), (Plain, Open)], soon, None),
            ("which ends", vec![(Boot, NoAddress), (Plain, Open)], GRACE, Some(1)),
            ("a BMC's link waits for any other", vec![(Plain, Trying), (Bmc, Open)], soon, None),
            ("a refusal waits for a better link", vec![(Plain, Refused), (Plain, NoAddress)], soon, None),
            ("but not long", vec![(Plain, Refused), (Plain, NoAddress)], GRACE, Some(0)),
            ("a silent one waits longer", vec![(Plain, Silent), (Plain, NoAddress)], GRACE, None),
            ("and is the last resort", vec![(Plain, Silent), (Plain, NoAddress)], LIMIT, Some(0)),
            ("no server known: by preference", vec![(Plain, NotAsked), (Boot, NotAsked)], soon, Some(1)),
            ("no server known: a short wait", vec![(Plain, NotAsked), (Boot, NoAddress)], soon, None),
        ] {
            let candidates: Vec<Candidate> = links.iter().map(|&(rank, reach)| Candidate { rank, reach }).collect();
            assert_eq!(choose(&candidates, waited), expected, "{case}");
        }
    }

    #[test]
    fn a_link_without_a_way_to_the_server_is_left_for_one_that_leads_further() {
        for (case, links, used, expected) in [
            ("nothing is better", vec![(Plain, Silent), (Boot, Silent)], 0, None),
            ("nor is a link that may still reach it", vec![(Plain, Silent), (Boot, Trying), (Boot, NoAddress)], 0, None),
            ("the server came up", vec![(Plain, Open), (Boot, Silent)], 0, Some(0)),
            ("its host came up", vec![(Plain, Refused), (Boot, Silent)], 0, Some(0)),
            ("another one reaches it", vec![(Boot, Silent), (Plain, Open)], 0, Some(1)),
            ("by the better of two", vec![(Plain, Silent), (Plain, Open), (Boot, Open)], 0, Some(2)),
            ("no change for an equal", vec![(Boot, Open), (Plain, Open)], 1, Some(1)),
            ("the server rather than its host", vec![(Boot, Refused), (Bmc, Open)], 0, Some(1)),
        ] {
            let candidates: Vec<Candidate> = links.iter().map(|&(rank, reach)| Candidate { rank, reach }).collect();
            assert_eq!(better(&candidates, used), expected, "{case}");
        }
    }
}
