//! Chooses between the offers of several DHCP servers. A wrong server on the segment often answers before the right one.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use dhcp::v4::Packet;

use crate::network::lease::Lease;

/// How long a doubtful offer waits for a better one.
const PATIENCE: Duration = Duration::from_secs(1);
/// The same, after the lease of another server did not lead to the target.
const PATIENCE_ONCE_BITTEN: Duration = Duration::from_secs(3);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Worth {
    /// The server's lease was tried and did not lead to the target.
    LedNowhere,
    /// The offer does not say how to reach the target.
    Doubtful,
    /// The offer leads to the target, or the target is not known.
    Good,
}

/// Holds the best offer while others may still come.
#[derive(Debug, Default)]
pub struct Offers {
    target: Option<IpAddr>,
    avoid: Vec<Ipv4Addr>,
    best: Option<Held>,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    worth: Worth,
    until: Instant,
    address: Ipv4Addr,
    server: Ipv4Addr,
}

impl Offers {
    pub fn towards(target: Option<IpAddr>) -> Self {
        Self { target, ..Self::default() }
    }

    /// Returns address and server if the offer is to be accepted at once. `offered` is the lease in the packet.
    pub fn hear(&mut self, offer: &Packet, offered: &Lease, now: Instant) -> Option<(Ipv4Addr, Ipv4Addr)> {
        let (server, address) = (offered.server?, offer.yiaddr);
        let worth = self.worth(offer, offered, server);
        let patience = match worth {
            Worth::Good => return Some((address, server)),
            Worth::Doubtful => PATIENCE,
            Worth::LedNowhere => PATIENCE_ONCE_BITTEN,
        };
        let until = self.best.map_or(now + patience, |best| best.until.min(now + patience));
        if self.best.is_none_or(|best| best.worth < worth) {
            self.best = Some(Held { worth, until, address, server });
        }
        None
    }

    pub fn due(&self) -> Option<Instant> {
        self.best.map(|best| best.until)
    }

    /// The best offer, once its waiting time has passed.
    pub fn settle(&mut self, now: Instant) -> Option<(Ipv4Addr, Ipv4Addr)> {
        let best = self.best.filter(|best| now >= best.until)?;
        self.best = None;
        Some((best.address, best.server))
    }

    pub fn forget(&mut self) {
        self.best = None;
    }

    /// Avoids a server. False if it is avoided already, because then no other one is known.
    pub fn avoid(&mut self, server: Ipv4Addr) -> bool {
        let new = !self.avoid.contains(&server);
        if new {
            self.avoid.push(server);
        }
        new
    }

    fn worth(&self, offer: &Packet, offered: &Lease, server: Ipv4Addr) -> Worth {
        if self.avoid.contains(&server) {
            return Worth::LedNowhere;
        }
        let Some(target) = self.target.filter(IpAddr::is_ipv4) else { return Worth::Good };
        let is_there = target == server || target == offer.siaddr;
        if is_there || offered.leads_to(target) { Worth::Good } else { Worth::Doubtful }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dhcp::v4::{MessageType, code};

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);
    const RIGHT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const WRONG: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 66);

    fn offer(server: Ipv4Addr, router: Option<Ipv4Addr>) -> Packet {
        let mut offer = Packet::request(MessageType::Discover, 1, [2; 6]).reply(MessageType::Offer);
        offer.yiaddr = ADDRESS;
        offer.options.set_ip(code::SERVER_ID, server).set_ip(code::SUBNET_MASK, Ipv4Addr::new(255, 255, 255, 0));
        router.map(|router| offer.options.set_ip(code::ROUTERS, router));
        offer
    }

    fn hear(offers: &mut Offers, offer: &Packet, now: Instant) -> Option<(Ipv4Addr, Ipv4Addr)> {
        offers.hear(offer, &Lease::read(offer).unwrap().0, now)
    }

    #[test]
    fn an_offer_that_leads_to_the_server_is_taken_at_once() {
        let taken = Some((ADDRESS, WRONG));
        for (case, target, router, expected) in [
            ("the target is not known", None, None, taken),
            ("on the segment", Some("10.0.0.1"), None, taken),
            ("through a router", Some("192.168.1.1"), Some(RIGHT), taken),
            ("it is the DHCP server", Some("10.0.0.66"), None, taken),
            ("no way is known", Some("192.168.1.1"), None, None),
            ("over IPv6, which does not need this lease", Some("fd00::1"), None, taken),
        ] {
            let mut offers = Offers::towards(target.map(|target| target.parse().unwrap()));
            assert_eq!(hear(&mut offers, &offer(WRONG, router), Instant::now()), expected, "{case}");
        }
    }

    #[test]
    fn a_doubtful_offer_waits_a_second_for_a_better_one() {
        let now = Instant::now();
        let mut offers = Offers::towards(Some("192.168.1.1".parse().unwrap()));
        assert_eq!(hear(&mut offers, &offer(WRONG, None), now), None);
        assert_eq!(offers.settle(now), None);
        assert_eq!(hear(&mut offers, &offer(RIGHT, Some(RIGHT)), now), Some((ADDRESS, RIGHT)));
        assert_eq!(offers.settle(now + PATIENCE), Some((ADDRESS, WRONG)), "the doubtful offer is taken if the better one fails");
        assert_eq!(offers.due(), None);
    }

    #[test]
    fn a_server_whose_lease_failed_is_the_last_resort() {
        let now = Instant::now();
        let mut offers = Offers::towards(Some(RIGHT.into()));
        assert!(offers.avoid(WRONG) && !offers.avoid(WRONG));
        assert_eq!(hear(&mut offers, &offer(WRONG, Some(WRONG)), now), None);
        assert_eq!(offers.settle(now + PATIENCE), None);
        assert_eq!(offers.settle(now + PATIENCE_ONCE_BITTEN), Some((ADDRESS, WRONG)));
    }
}
