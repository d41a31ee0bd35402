//! What a machine knows once it has an address: from a DHCPACK, or from `ipam=`.

use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use cmdline::Ipam;
use dhcpv4::Packet;

use super::netlink::Route;

const NO_LEASE_TIME: u32 = 3600; // RFC 2131 requires one; a server that forgets it shall not stop us
const SHORTEST: u32 = 30;
const MAX_HOSTNAME: usize = 63;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub address: Ipv4Addr,
    pub prefix: u8,
    pub routes: Vec<Route>,
    pub dns: Vec<Ipv4Addr>,
    pub search: Vec<String>,
    pub hostname: Option<String>,
    pub mtu: Option<u16>,
    /// The server to renew with; `None` for a static address.
    pub server: Option<Ipv4Addr>,
    /// `None`: for ever.
    pub times: Option<Times>,
}

/// RFC 2131, 4.4.5, counted from the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    pub renew: Duration,
    pub rebind: Duration,
    pub expire: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    #[error("it names no server (option 54)")]
    NoServer,
    #[error("{0} is not an address for a machine")]
    Address(Ipv4Addr),
}

impl Lease {
    pub fn from_ack(ack: &Packet) -> Result<Self, Unusable> {
        let server = ack.server_id().ok_or(Unusable::NoServer)?;
        let address = assignable(ack.yiaddr)?;
        Ok(Self {
            address,
            prefix: ack.prefix_len().filter(|prefix| *prefix > 0).unwrap_or_else(|| classful(address)),
            routes: routes(ack),
            dns: ack.dns_servers(),
            search: search(ack),
            hostname: ack.hostname().filter(|name| is_hostname(name)).map(str::to_owned),
            mtu: ack.mtu().filter(|mtu| *mtu >= 576),
            server: Some(server),
            times: times(ack),
        })
    }

    pub fn from_ipam(ipam: &Ipam) -> Self {
        let default = |gateway| Route { destination: Ipv4Addr::UNSPECIFIED, prefix: 0, gateway: Some(gateway) };
        Self {
            address: ipam.address,
            prefix: ipam.prefix,
            routes: ipam.gateway.map(default).into_iter().collect(),
            dns: ipam.dns.clone(),
            search: ipam.search.iter().filter(|name| is_hostname(name)).cloned().collect(),
            hostname: ipam.hostname.clone().filter(|name| is_hostname(name)),
            mtu: None,
            server: None,
            times: None,
        }
    }

    /// A gateway outside the subnet is reached directly all the same: clouds hand out /32 addresses this way.
    pub fn is_on_link(&self, gateway: Ipv4Addr) -> bool {
        let host_bits = u32::MAX.checked_shr(u32::from(self.prefix)).unwrap_or(0);
        (self.address.to_bits() ^ gateway.to_bits()) & !host_bits == 0
    }

    pub fn resolv_conf(&self) -> String {
        let mut text = String::from("# from DHCP or ipam=\n");
        if !self.search.is_empty() {
            text += &format!("search {}\n", self.search.join(" "));
        }
        // glibc looks at three.
        self.dns.iter().take(3).for_each(|server| text += &format!("nameserver {server}\n"));
        text
    }
}

/// `ADDRESS/PREFIX gateway G dns D`, as the console says it.
impl fmt::Display for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gateway = self.routes.iter().find(|route| route.prefix == 0).and_then(|route| route.gateway);
        let gateway = gateway.map_or("none".to_owned(), |gateway| gateway.to_string());
        let dns: Vec<String> = self.dns.iter().map(Ipv4Addr::to_string).collect();
        let dns = if dns.is_empty() { "none".to_owned() } else { dns.join(",") };
        write!(f, "{}/{} gateway {gateway} dns {dns}", self.address, self.prefix)
    }
}

pub fn assignable(address: Ipv4Addr) -> Result<Ipv4Addr, Unusable> {
    let reserved = address.is_unspecified() || address.is_broadcast() || address.is_loopback() || address.is_multicast();
    if reserved { Err(Unusable::Address(address)) } else { Ok(address) }
}

/// The mask that RFC 791's classes give, for a server that sends none.
fn classful(address: Ipv4Addr) -> u8 {
    match address.octets() {
        [0..128, ..] => 8,
        [128..192, ..] => 16,
        _ => 24,
    }
}

/// RFC 3442: a client that understands option 121 ignores option 3 when both are there.
fn routes(ack: &Packet) -> Vec<Route> {
    let classless = ack.classless_routes();
    if classless.is_empty() {
        let first = ack.routers().into_iter().find(|router| !router.is_unspecified());
        let default = |gateway| Route { destination: Ipv4Addr::UNSPECIFIED, prefix: 0, gateway: Some(gateway) };
        return first.map(default).into_iter().collect();
    }
    let mut routes: Vec<Route> = classless
        .into_iter()
        .map(|route| Route {
            destination: route.destination,
            prefix: route.prefix,
            gateway: (!route.router.is_unspecified()).then_some(route.router),
        })
        .collect();
    routes.sort_by_key(|route| route.gateway.is_some()); // a gateway may be reached by one of the link routes
    routes
}

fn search(ack: &Packet) -> Vec<String> {
    let listed = ack.domain_search();
    let names = if listed.is_empty() { ack.domain_name().map(str::to_owned).into_iter().collect() } else { listed };
    names.into_iter().map(|name| name.trim_end_matches('.').to_owned()).filter(|name| is_hostname(name)).collect()
}

/// Nothing that would need quoting wherever a host name ends up.
fn is_hostname(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.' || c == '_';
    (1..=MAX_HOSTNAME).contains(&name.len()) && name.chars().all(allowed) && name.starts_with(|c: char| c.is_ascii_alphanumeric())
}

/// T1 and T2 as sent if they are in order, otherwise half and seven eighths of the lease.
fn times(ack: &Packet) -> Option<Times> {
    let expire = match ack.lease_time().unwrap_or(NO_LEASE_TIME) {
        u32::MAX => return None,
        seconds => Duration::from_secs(u64::from(seconds.max(SHORTEST))),
    };
    let sent = |seconds: Option<u32>| seconds.map(|seconds| Duration::from_secs(u64::from(seconds)));
    let usual = Times { renew: expire / 2, rebind: expire * 7 / 8, expire };
    let times = Times {
        renew: sent(ack.renewal_time()).unwrap_or(usual.renew),
        rebind: sent(ack.rebinding_time()).unwrap_or(usual.rebind),
        expire,
    };
    let in_order = !times.renew.is_zero() && times.renew < times.rebind && times.rebind < times.expire;
    Some(if in_order { times } else { usual })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use dhcpv4::{MessageType, code};

    const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);

    fn ack() -> Packet {
        let mut ack = Packet::request(MessageType::Discover, 1, [2, 0, 0, 0, 0, 1]).reply(MessageType::Ack);
        ack.yiaddr = ADDRESS;
        ack.options.set_ip(code::SERVER_ID, SERVER).set_ip(code::SUBNET_MASK, Ipv4Addr::new(255, 255, 255, 0));
        ack.options.set_ip(code::ROUTERS, SERVER).set_u32(code::LEASE_TIME, 800);
        ack
    }

    fn with(change: impl Fn(&mut Packet)) -> Lease {
        let mut ack = ack();
        change(&mut ack);
        Lease::from_ack(&ack).unwrap()
    }

    #[test]
    fn an_ack_becomes_address_gateway_and_names() {
        let lease = with(|ack| {
            ack.options.set_ips(code::DNS_SERVERS, &[SERVER, ADDRESS]).set_text(code::DOMAIN_NAME, "lab.test");
            ack.options.set_text(code::HOSTNAME, "node1");
        });
        assert_eq!(lease.to_string(), "10.0.0.5/24 gateway 10.0.0.1 dns 10.0.0.1,10.0.0.5");
        assert_eq!(lease.resolv_conf(), "# from DHCP or ipam=\nsearch lab.test\nnameserver 10.0.0.1\nnameserver 10.0.0.5\n");
        assert_eq!(lease.hostname.as_deref(), Some("node1"));
        assert_eq!(with(|ack| drop(ack.options.remove(code::ROUTERS))).to_string(), "10.0.0.5/24 gateway none dns none");
    }

    #[test]
    fn an_answer_without_server_or_address_is_refused() {
        let mut no_server = ack();
        no_server.options.remove(code::SERVER_ID);
        assert_eq!(Lease::from_ack(&no_server), Err(Unusable::NoServer));
        for address in [Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST, Ipv4Addr::LOCALHOST, Ipv4Addr::new(224, 0, 0, 1)] {
            assert_eq!(Lease::from_ack(&Packet { yiaddr: address, ..ack() }), Err(Unusable::Address(address)));
        }
    }

    #[test]
    fn nonsense_in_an_option_costs_that_option_only() {
        let lease = with(|ack| {
            ack.options.set_text(code::HOSTNAME, "$(reboot)").set_text(code::DOMAIN_NAME, "a\nnameserver 6.6.6.6");
            ack.options.set_u16(code::INTERFACE_MTU, 68).set(code::SUBNET_MASK, [255, 0, 255, 0]);
        });
        assert_eq!((lease.hostname, lease.search, lease.mtu, lease.prefix), (None, vec![], None, 8));
    }

    #[test]
    fn renewal_times_are_used_when_they_make_sense() {
        let seconds = Duration::from_secs;
        for (case, lease, t1, t2, expected) in [
            ("halves and eighths", 800, None, None, Some((400, 700, 800))),
            ("as the server says", 800, Some(100), Some(200), Some((100, 200, 800))),
            ("T2 before T1", 800, Some(300), Some(200), Some((400, 700, 800))),
            ("T2 after the end", 800, Some(300), Some(900), Some((400, 700, 800))),
            ("for ever", u32::MAX, Some(300), None, None),
            ("absurdly short", 0, None, None, Some((15, 26, 30))),
        ] {
            let times = with(|ack| {
                ack.options.set_u32(code::LEASE_TIME, lease);
                t1.map(|t1| ack.options.set_u32(code::RENEWAL_TIME, t1));
                t2.map(|t2| ack.options.set_u32(code::REBINDING_TIME, t2));
            })
            .times;
            let times = times.map(|times| (times.renew, times.rebind, times.expire));
            let whole = times.map(|(t1, t2, end)| (t1.as_secs(), t2.as_secs(), end.as_secs()));
            assert_eq!(whole, expected, "{case}");
            assert!(times.is_none_or(|(t1, t2, end)| t1 < t2 && t2 < end && t1 >= seconds(1)), "{case}");
        }
    }

    #[test]
    fn classless_routes_replace_the_router_and_links_come_before_gateways() {
        let link = dhcpv4::Route { destination: Ipv4Addr::new(169, 254, 1, 1), prefix: 32, router: Ipv4Addr::UNSPECIFIED };
        let gateway = Ipv4Addr::new(169, 254, 1, 1);
        let default = dhcpv4::Route { destination: Ipv4Addr::UNSPECIFIED, prefix: 0, router: gateway };
        let lease = with(|ack| _ = ack.options.set_classless_routes(&[default, link]));
        let (first, second) = (lease.routes[0], lease.routes[1]);
        assert_eq!((first.gateway, first.prefix, second.gateway), (None, 32, Some(gateway)));
        assert_eq!(lease.routes.len(), 2);
        assert!(lease.is_on_link(SERVER) && !lease.is_on_link(gateway));
    }

    #[test]
    fn a_static_address_needs_no_server() {
        let ipam: Ipam = "02-00-00-00-00-01::10.0.0.5:24:10.0.0.1:node1:10.0.0.2::".parse().unwrap();
        let lease = Lease::from_ipam(&ipam);
        assert_eq!(lease.to_string(), "10.0.0.5/24 gateway 10.0.0.1 dns 10.0.0.2");
        assert_eq!((lease.times, lease.server), (None, None));
    }
}
