//! Answers requests one after the other. A lookup that has to wait becomes a task, so that it delays one machine only.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ::machine::Chain;
use dhcp::v6::{self, CLIENT_PORT, Message, SERVER_PORT};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use model::Mac;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::lines::Lines;
use super::links::{Link, Links, is_reachable};
use super::network::{Mode, Network, Subnet, unknown};
use super::socket::{Outgoing, Socket, Watched};
use super::{Facts, Grant, Ignored, Place, Request, grant, respond};
use crate::config::Current;
use crate::datagram::Arrival;
use crate::machine::SourceError;
use crate::places::Places;
use crate::{BootInterface, Config, Events, MachineSource};

/// How often new interfaces are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Longer messages are cut, and then malformed.
const LONGEST: usize = 4096;
/// How long, and how many, addresses that another host uses are remembered.
const ASIDE: Duration = Duration::from_secs(600);
const MOST_ASIDE: usize = 1024;

#[derive(Clone)]
pub struct Server(Arc<Shared>);

struct Shared {
    config: Current,
    duid: Vec<u8>,
    source: Arc<dyn MachineSource>,
    lines: Lines,
    links: Mutex<Links>,
    used: Mutex<HashMap<Ipv6Addr, Instant>>,
    places: Places,
}

/// A request with its way.
struct Arrived {
    request: Request,
    config: Arc<Config>,
    link: Arc<Link>,
    arrival: Arrival,
}

type Found = Result<Option<BootInterface>, SourceError>;

impl Server {
    #[must_use]
    pub fn new(config: impl Into<Current>, duid: Vec<u8>, source: Arc<dyn MachineSource>, events: Events) -> Self {
        Self(Arc::new(Shared {
            config: config.into(),
            duid,
            source,
            lines: Lines::new(events),
            links: Mutex::default(),
            used: Mutex::default(),
            places: Places::default(),
        }))
    }

    /// Answers until `shutdown`.
    ///
    /// # Errors
    /// When the executor cannot watch the socket.
    pub async fn serve(self, socket: Socket, shutdown: CancellationToken) -> io::Result<()> {
        let watched = socket.watched()?;
        let (mut buffer, mut look) = (vec![0; LONGEST], tokio::time::interval(LOOK_EVERY));
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let received = tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                _ = look.tick() => {
                    socket.join(&mut self.0.links.lock().unwrap_or_else(PoisonError::into_inner), Instant::now());
                    continue;
                }
                received = watched.receive(&mut buffer) => received,
            };
            match received {
                Ok((length, arrival)) => self.take(&watched, buffer.get(..length).unwrap_or_default(), arrival).await,
                Err(error) => {
                    // Errors of earlier sends arrive here, too. No such error is a reason to stop.
                    log::debug!("DHCPv6: cannot receive: {}", Chain(&error));
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn take(&self, socket: &Watched, bytes: &[u8], arrival: Arrival) {
        let Some(arrived) = self.arrived(bytes, arrival) else { return };
        let mut lookup = self.lookup(arrived.request.mac());
        // The machines of a file, and of a server in this process, are in memory.
        if let Some(found) = (&mut lookup).now_or_never() {
            return self.answer(socket, &arrived, found).await;
        }
        let mac = arrived.request.mac();
        let place = match self.0.places.take(mac.is_some_and(|mac| self.0.places.was_known(mac))) {
            Ok(place) => place,
            Err(busy) => {
                self.0.lines.warn(&format!("{busy:?}"), || busy.line("DHCPv6"));
                return;
            }
        };
        let (server, socket) = (self.clone(), socket.clone());
        tokio::spawn(async move {
            let found = lookup.await;
            if let (Some(mac), Ok(found)) = (mac, &found) {
                server.0.places.remember(mac, found.is_some());
            }
            server.answer(&socket, &arrived, found).await;
            drop(place);
        });
    }

    fn lookup(&self, mac: Option<Mac>) -> BoxFuture<'static, Found> {
        let source = Arc::clone(&self.0.source);
        Box::pin(async move {
            match mac {
                Some(mac) => source.machine(mac).await,
                None => Ok(None),
            }
        })
    }

    fn arrived(&self, bytes: &[u8], arrival: Arrival) -> Option<Arrived> {
        let IpAddr::V6(sender) = arrival.peer.ip() else { return None };
        let request = match Request::decode(bytes, sender) {
            Ok(request) => request,
            Err(error) => {
                let line = || format!("DHCPv6: malformed message of {} bytes from {}: {error}", bytes.len(), arrival.peer);
                self.0.lines.warn(&format!("malformed {sender}"), line);
                return None;
            }
        };
        // Clients ask by multicast, because no answer allows anything else (RFC 8415, 16 and 18.4).
        let is_direct = request.relays.is_empty() && arrival.local.is_some();
        if is_direct || matches!(request.message.kind, v6::ADVERTISE | v6::REPLY | v6::RELAY_REPLY) {
            return None;
        }
        let link = {
            let mut links = self.0.links.lock().unwrap_or_else(PoisonError::into_inner);
            links.now(Instant::now()).get(&arrival.interface).cloned().unwrap_or_default()
        };
        let config = self.0.config.now();
        let is_served = config.interface.as_ref().is_none_or(|only| *only == link.name);
        is_served.then_some(Arrived { request, config, link, arrival })
    }

    async fn answer(&self, socket: &Watched, arrived: &Arrived, found: Found) {
        let Arrived { request, arrival, .. } = arrived;
        let (reply, name) = match found {
            Ok(machine) => {
                let name = machine.as_ref().map(|machine| machine.name.clone());
                let Some(reply) = self.decide(arrived, machine) else { return };
                (reply, name)
            }
            Err(error) => {
                let who = request.mac().map(|mac| mac.to_string()).unwrap_or_default();
                self.0.lines.warn(&format!("source {who}"), || format!("DHCPv6 {who}: {}; no answer", Chain(&error)));
                return;
            }
        };
        let outgoing = outgoing(request, &reply, arrival);
        // First, so that what the machine does with its answer comes behind it in its history.
        self.0.lines.answered(request, &reply, name.as_deref(), arrival.interface);
        if let Err(error) = socket.send(&outgoing).await {
            self.0.lines.unsent(request, name.as_deref(), arrival.interface, (outgoing.to.ip(), &error));
        }
    }

    fn decide(&self, arrived: &Arrived, machine: Option<BootInterface>) -> Option<Message> {
        let Arrived { request, config, link, arrival } = arrived;
        // A switch that relays names no link, and its client is on this one (RFC 8415, 13.1; RFC 6221).
        let is_near = matches!(arrival.peer.ip(), IpAddr::V6(sender) if sender.is_unicast_link_local());
        let relay = match request.link() {
            None if request.relays.is_empty() || is_near => None,
            link => Some(link.unwrap_or(Ipv6Addr::UNSPECIFIED)),
        };
        let networks: Vec<&Network> = config.networks6.on(link, relay).collect();
        if networks.is_empty() && config.networks6.only_listed || networks.iter().any(|network| network.mode == Mode::Off) {
            return None;
        }
        let on_link = on_link(link, &networks, relay);
        let place = Place { networks: &networks, on_link: &on_link };
        let grant = grant(config, &place, machine.as_ref(), request, |address| self.is_used(address));
        self.say_misplaced(&place, machine.as_ref(), grant.as_ref().ok());
        let granted = grant.as_ref().ok().and_then(|grant: &Grant| grant.address);
        if request.message.kind == v6::DECLINE {
            self.set_aside(request, granted);
        }
        let booting = self.booting(arrived, machine.as_ref(), granted);
        let own = config.own_address6(link.own(granted), arrival.local.filter(|_| relay.is_some()));
        let seen = own.map(|own| config.reached_at(own));
        let facts = Facts {
            config: seen.as_ref().unwrap_or(config),
            duid: &self.0.duid,
            grant: grant.as_ref().map_err(|ignored| *ignored),
            machine: booting.as_ref().filter(|_| own.is_some()),
            on_link: &on_link,
        };
        if own.is_none() && booting.is_some() && !request.kind_of_client().wants_address() {
            self.0.lines.warn(&format!("no address {}", link.name), || {
                format!(
                    "DHCPv6: {} has no IPv6 address for boot URLs, so machines there get none; give it one, or set address6",
                    link.name
                )
            });
        }
        match (respond(&facts, request), machine) {
            (Ok(reply), _) => return Some(reply),
            (Err(Ignored::Unknown), _) if !networks.is_empty() => self.0.lines.stranger(request, arrival.interface),
            (Err(ignored), Some(machine)) => {
                // Firmware that boots by IPv4 asks here, too, and no setting names this network.
                let is_usual = ignored.is_usual() || ignored == Ignored::NoReservation && networks.is_empty();
                self.0.lines.silent(&machine, request, arrival.interface, &ignored.to_string(), is_usual);
            }
            (Err(ignored), None) => self.0.lines.ignored(request, ignored),
        }
        None
    }

    /// Its Hardware is for another network.
    fn say_misplaced(&self, place: &Place<'_>, machine: Option<&BootInterface>, grant: Option<&Grant>) {
        let Some(machine) = machine.filter(|machine| !machine.dhcp_disabled) else { return };
        let Some(address) = place.misplaced(machine) else { return };
        let outcome = match grant {
            Some(grant) if grant.is_reserved => "It may get no further",
            Some(Grant { address: Some(_), .. }) => "It gets an address of the pool instead",
            Some(_) => "It makes itself an address instead",
            None => return,
        };
        self.0.lines.warn(&format!("misplaced {}", machine.mac), || {
            format!(
                "DHCPv6 {} ({}): its Hardware has {address}, which is not of this network. {outcome}: correct the Hardware, or \
                 plug the machine into its network",
                machine.mac, machine.name
            )
        });
    }

    /// The machine that boots. Unknown ones boot only where they are discovered.
    fn booting(&self, arrived: &Arrived, machine: Option<&BootInterface>, address: Option<Ipv6Addr>) -> Option<BootInterface> {
        let discovered = || {
            let address = address.filter(|address| arrived.config.discovers((*address).into()))?;
            log::debug!("DHCPv6 {address}: an unknown machine is discovered");
            Some(unknown(arrived.request.mac()?, true))
        };
        machine.cloned().or_else(discovered)
    }

    /// The client's own address, which another host uses. A client cannot decline those of others.
    fn set_aside(&self, request: &Request, granted: Option<Ipv6Addr>) {
        if request.message.options.get(v6::SERVER_ID) != Some(&self.0.duid) {
            return;
        }
        self.0.lines.declined(request);
        let (now, mut used) = (Instant::now(), self.0.used.lock().unwrap_or_else(PoisonError::into_inner));
        if used.len() >= MOST_ASIDE {
            used.retain(|_, since| now.duration_since(*since) < ASIDE);
        }
        let declines =
            |address: &Ipv6Addr| request.message.options.wanted().iter().any(|wanted| wanted.addresses.contains(address));
        if let Some(address) = granted.filter(declines).filter(|_| used.len() < MOST_ASIDE) {
            used.insert(address, now);
        }
    }

    fn is_used(&self, address: Ipv6Addr) -> bool {
        let used = self.0.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.get(&address).is_some_and(|since| since.elapsed() < ASIDE)
    }
}

/// The networks of the client's link, as far as they are known.
fn on_link(link: &Link, networks: &[&Network], relay: Option<Ipv6Addr>) -> Vec<Subnet> {
    let own = link.addresses.iter().filter(|(address, _)| relay.is_none() && is_reachable(*address)).map(|(_, subnet)| *subnet);
    own.chain(networks.iter().map(|network| network.subnet)).collect()
}

/// Where a reply goes (RFC 8415, 7.2): to the client's port, or to the one of relays unless the relay names its own (RFC 8357).
fn outgoing(request: &Request, reply: &Message, arrival: &Arrival) -> Outgoing {
    let port = match request.relays.first() {
        None => CLIENT_PORT,
        Some(relay) if relay.options.get(v6::RELAY_SOURCE_PORT).is_some() => arrival.peer.port(),
        Some(_) => SERVER_PORT,
    };
    let mut to = arrival.peer;
    to.set_port(port);
    let is_near = matches!(to, SocketAddr::V6(to) if to.ip().is_unicast_link_local());
    Outgoing { bytes: v6::wrap(&request.relays, reply), to, interface: if is_near { arrival.interface } else { 0 } }
}
