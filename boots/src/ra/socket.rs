//! The raw ICMPv6 socket, on all links that have something to announce.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::time::Duration;

use ::machine::Chain;
use dhcp::router::{ALL_NODES, ALL_ROUTERS, Announcement, HOPS, is_solicitation};
use nix::net::if_::if_nametoindex;
use socket2::{Domain, Protocol, SockRef, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::time::{Instant, MissedTickBehavior, timeout};
use tokio_util::sync::CancellationToken;

use super::{announcement, interface_with, is_first, last_announcement};
use crate::Config;
use crate::config::Current;
use crate::datagram::{self, Arrival};
use crate::dhcp6::{Link, Links};
use crate::quota::Rate;

const EVERY: Duration = Duration::from_secs(5);
/// The shortest time between two packets to all nodes (RFC 4861, 10).
const AT_MOST_EVERY: Duration = Duration::from_secs(3);
/// How often links and times are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The end of the program waits no longer for a link.
const LEAVE: Duration = Duration::from_millis(500);
/// How many hosts get an answer of their own each second. The next packet to all nodes answers the others.
const ANSWERS_EACH_SECOND: u32 = 50;

#[derive(Debug)]
pub struct Socket {
    /// A raw socket. tokio's type for datagrams can drive it.
    socket: UdpSocket,
    /// The interface with the address of the settings, if none is named.
    with_address: Option<String>,
}

impl Socket {
    /// Needs the rights of root and a tokio runtime.
    pub fn bind(config: &Config) -> io::Result<Self> {
        let named = config.interface.as_deref();
        let with_address = interface_with(config.address6.map_or(IpAddr::V4(config.address), IpAddr::V6));
        match named {
            Some(name) => _ = if_nametoindex(name)?,
            None if with_address.is_none() && config.router_advertisements => {
                let text = format!("no interface has the address {}; name the interface", config.host());
                return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, text));
            }
            None => {}
        }
        let socket = socket2::Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
        socket.set_multicast_hops_v6(HOPS)?;
        socket.set_unicast_hops_v6(HOPS)?;
        socket.set_multicast_loop_v6(false)?; // this host does not configure itself by them
        datagram::track(&socket, true)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket: UdpSocket::from_std(socket.into())?, with_address })
    }

    async fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, Arrival)> {
        self.socket.async_io(Interest::READABLE, || datagram::receive(&self.socket, buffer)).await
    }

    async fn send(&self, bytes: &[u8], to: SocketAddr, index: u32) -> io::Result<()> {
        self.socket.async_io(Interest::WRITABLE, || datagram::send(&self.socket, bytes, to, None, index)).await
    }
}

/// One link.
#[derive(Default)]
struct Sent {
    /// The last packet to all nodes.
    last: Option<Instant>,
    /// A host without an address has asked since.
    is_asked: bool,
    is_failing: bool,
}

impl Sent {
    fn is_due(&self, now: Instant) -> bool {
        let wait = if self.is_asked { AT_MOST_EVERY } else { EVERY };
        self.last.is_none_or(|last| now.duration_since(last) >= wait)
    }
}

struct Announcer {
    socket: Socket,
    config: Current,
    links: Links,
    joined: HashSet<u32>,
    sent: HashMap<u32, Sent>,
    rate: Rate,
}

/// Advertises every few seconds and when asked, until `shutdown`.
pub async fn serve(socket: Socket, config: Current, shutdown: CancellationToken) {
    let rate = Rate::new(ANSWERS_EACH_SECOND, std::time::Instant::now());
    let mut announcer = Announcer { socket, config, links: Links::default(), joined: HashSet::new(), sent: HashMap::new(), rate };
    let (mut look, mut buffer) = (tokio::time::interval(LOOK_EVERY), vec![0; 1500]);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return announcer.take_leave().await,
            _ = look.tick() => announcer.look().await,
            received = announcer.socket.receive(&mut buffer) => match received {
                Ok((length, arrival)) if is_solicitation(buffer.get(..length).unwrap_or_default()) => announcer.answer(arrival).await,
                Ok(_) => {}
                Err(error) => {
                    log::debug!("router advertisements: cannot receive: {}", Chain(&error));
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            },
        }
    }
}

impl Announcer {
    fn announcement(&self, link: &Link) -> Option<Announcement> {
        let config = self.config.now();
        let is_served = config.interface.as_ref().is_none_or(|only| *only == link.name);
        let is_first = is_first(&config, link, self.socket.with_address.as_deref());
        announcement(&config, link, is_first).filter(|_| is_served)
    }

    fn bytes(&self, link: &Link) -> Option<Vec<u8>> {
        self.announcement(link).map(|announcement| announcement.encode())
    }

    /// Hosts would use this host as their router until its lifetime ends.
    async fn take_leave(&mut self) {
        let links = self.links.now(std::time::Instant::now()).clone();
        for (index, link) in links.iter().filter(|(index, _)| self.sent.contains_key(index)) {
            let Some(last) = self.announcement(link).and_then(last_announcement) else { continue };
            let to = SocketAddrV6::new(ALL_NODES, 0, 0, *index);
            let sent = timeout(LEAVE, self.socket.send(&last.encode(), to.into(), *index)).await;
            if let Ok(Err(error)) = sent {
                log::debug!("router advertisements: cannot take leave on {}: {}", link.name, Chain(&error));
            }
        }
    }

    async fn look(&mut self) {
        let links: Vec<(u32, Arc<Link>)> =
            self.links.now(std::time::Instant::now()).iter().map(|(index, link)| (*index, Arc::clone(link))).collect();
        let exists = |index: &u32| links.iter().any(|(other, _)| other == index);
        self.joined.retain(exists);
        self.sent.retain(|index, _| exists(index));
        for (index, link) in &links {
            let Some(bytes) = self.bytes(link) else { continue };
            // One that is made again has another index.
            if !self.joined.contains(index) && SockRef::from(&self.socket.socket).join_multicast_v6(&ALL_ROUTERS, *index).is_ok()
            {
                self.joined.insert(*index);
            }
            self.announce(*index, link, &bytes).await;
        }
    }

    /// To all nodes, if it is time.
    async fn announce(&mut self, index: u32, link: &Link, bytes: &[u8]) {
        let (now, sent) = (Instant::now(), self.sent.entry(index).or_default());
        if !sent.is_due(now) {
            return;
        }
        (sent.last, sent.is_asked) = (Some(now), false);
        let to = SocketAddrV6::new(ALL_NODES, 0, 0, index);
        let result = self.socket.send(bytes, to.into(), index).await;
        let Some(sent) = self.sent.get_mut(&index) else { return };
        match result {
            Ok(()) => sent.is_failing = false,
            // An interface that is down, or that has no link-local address yet, may recover.
            Err(error) if !sent.is_failing => {
                let error = Chain(&error);
                log::warn!("router advertisements: cannot send on {}: {error}; trying again every few seconds", link.name);
                sent.is_failing = true;
            }
            Err(error) => log::debug!("router advertisements: cannot send: {}", Chain(&error)),
        }
    }

    /// To the host that asked, if it has an address (RFC 4861, 6.2.6).
    async fn answer(&mut self, arrival: Arrival) {
        let Some(link) = self.links.now(std::time::Instant::now()).get(&arrival.interface).cloned() else { return };
        let (Some(bytes), SocketAddr::V6(peer)) = (self.bytes(&link), arrival.peer) else { return };
        if !peer.ip().is_unicast_link_local() || !self.rate.allows(std::time::Instant::now()) {
            // Routers do not forward from these, so others come from elsewhere or have no address yet.
            if peer.ip().is_unspecified() || peer.ip().is_unicast_link_local() {
                self.sent.entry(arrival.interface).or_default().is_asked = true;
                self.announce(arrival.interface, &link, &bytes).await;
            }
            return;
        }
        if let Err(error) = self.socket.send(&bytes, peer.into(), arrival.interface).await {
            log::debug!("router advertisements: cannot answer {peer}: {}", Chain(&error));
        }
    }
}
