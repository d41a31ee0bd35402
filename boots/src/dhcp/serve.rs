//! Answers requests, a batch at a time. A lookup that has to wait becomes a task, so that it delays one machine only.

mod queries;
mod request;

use std::io;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ::machine::Chain;
use dhcp::v4::{MessageType, Op, Packet};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use model::Mac;
use tokio_util::sync::CancellationToken;

use self::request::{Request, v4};
use super::lines::Lines;
use super::links::Links;
use super::network::{Mode, Modes, Pool, is_at_home, misplaced};
use super::pool::{Pools, Verdict};
use super::proxy::{self, Port};
use super::respond::{is_for_us, nak};
use super::route::{destination, pxe_destination};
use super::socket::{BATCH, Inbox, Outgoing, Socket};
use super::{Client, Ignored, advertised, heard, respond};
use crate::config::Current;
use crate::datagram::Arrival;
use crate::machine::{Reservation, SourceError};
use crate::places::Places;
use crate::quota::Rate;
use crate::{BootInterface, Config, Events, MachineSource, Milestone, foreign, steps};

/// How many questions of relays are answered. A relay asks when it has restarted, for the clients that send packets.
const QUERIES_EACH_SECOND: u32 = 100;
/// To be woken by each packet costs more than its answer. So where packets come this close together, they are gathered for
/// a moment, which no client notices: the shortest of their timers has seconds.
const CLOSE: Duration = Duration::from_millis(5);
const GATHERING: Duration = Duration::from_millis(4);
/// The same while more of them come than one batch takes: then many clients wait for this one thread.
const BRIEFLY: Duration = Duration::from_millis(1);

/// Shared by the sockets of both ports and by the tasks.
#[derive(Clone)]
pub struct Server(Arc<Shared>);

struct Shared {
    config: Current,
    /// They need sockets, so they stay as they were at the start.
    modes: Modes,
    /// The address to answer from, if it belongs to this host.
    own: Option<IpAddr>,
    source: Arc<dyn MachineSource>,
    events: Events,
    links: Links,
    lines: Lines,
    pools: Option<Arc<Pools>>,
    queries: Mutex<Rate>,
    places: Places,
}

/// A reply, and what is published of it.
struct Reply {
    outgoing: Outgoing,
    packet: Packet,
    mac: Mac,
    name: String,
    client: Client,
    is_known: bool,
    /// An offer to an unknown machine, which may be invented: no line, and no event.
    is_quiet: bool,
}

/// How long to let packets gather, if the last ones came after `waited`. A full batch means that more are there.
fn gathering(waited: Duration, is_full: bool, was_full: bool) -> Option<Duration> {
    (waited < CLOSE && !is_full).then_some(if was_full { BRIEFLY } else { GATHERING })
}

type Found = Result<Option<BootInterface>, SourceError>;
type Lookup = BoxFuture<'static, Found>;

fn lookup(source: Arc<dyn MachineSource>, mac: Mac) -> Lookup {
    Box::pin(async move { source.machine(mac).await })
}

/// The pool that has to give the machine an address. A reservation of another network is of no use here.
fn pool_for(request: &Request, found: &Found) -> Option<Arc<Pool>> {
    let Mode::Pool(pool) = &request.mode else { return None };
    let is_reserved = |machine: &BootInterface| {
        machine.reservation.as_ref().is_some_and(|Reservation { address, netmask, .. }| {
            pool.subnet.contains(*address) || is_at_home(*address, *netmask, &request.packet, &request.link)
        })
    };
    let needs_one = match found {
        Ok(Some(machine)) => !machine.dhcp_disabled && !is_reserved(machine),
        Ok(None) => true,
        Err(_) => false,
    };
    needs_one.then(|| Arc::clone(pool))
}

impl Server {
    #[must_use]
    pub fn new(config: impl Into<Current>, pools: Option<Arc<Pools>>, source: Arc<dyn MachineSource>, events: Events) -> Self {
        let config = config.into();
        let Config { address, modes, .. } = &*config.now();
        // Behind NAT the address belongs to another host.
        let own = UdpSocket::bind((*address, 0)).is_ok().then_some(IpAddr::V4(*address));
        let (links, lines) = (Links::default(), Lines::new(events.clone()));
        let queries = Mutex::new(Rate::new(QUERIES_EACH_SECOND, Instant::now()));
        Self(Arc::new(Shared {
            config,
            modes: modes.clone(),
            own,
            source,
            events,
            links,
            lines,
            pools,
            queries,
            places: Places::default(),
        }))
    }

    /// Answers on one port until `shutdown`.
    pub async fn serve(self, socket: Socket, port: Port, shutdown: CancellationToken) {
        let (mut inbox, mut replies) = (Inbox::default(), Vec::with_capacity(BATCH));
        let (mut asleep, mut was_full) = (Instant::now(), false);
        loop {
            let received = tokio::select! {
                () = shutdown.cancelled() => return,
                received = socket.receive(&mut inbox) => received,
            };
            let waited = asleep.elapsed();
            if let Err(error) = received {
                // Errors of earlier sends arrive here, too. No such error is a reason to stop.
                log::warn!("DHCP: cannot receive: {}", Chain(&error));
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
            for (bytes, arrival) in inbox.packets() {
                let Some(request) = self.request(&socket, bytes, arrival, port) else { continue };
                let mut lookup = lookup(Arc::clone(&self.0.source), request.mac);
                // The machines of a file, and of a server in this process, are in memory.
                match (&mut lookup).now_or_never() {
                    Some(found) if pool_for(&request, &found).is_none() => replies.extend(self.reply(&request, found)),
                    Some(found) => {
                        let is_known = !matches!(found, Ok(None));
                        self.wait(&socket, request, Box::pin(std::future::ready(found)), Some(is_known));
                    }
                    None => self.wait(&socket, request, lookup, None),
                }
            }
            self.send(&socket, &mut replies).await;
            if let Some(pause) = gathering(waited, inbox.is_full(), was_full) {
                tokio::time::sleep(pause).await;
            }
            was_full = inbox.is_full();
            asleep = Instant::now();
        }
    }

    /// Waits for the lookup, or for an address of a pool, in a task.
    fn wait(&self, socket: &Socket, request: Request, lookup: Lookup, is_known: Option<bool>) {
        let place = match self.0.places.take(is_known.unwrap_or_else(|| self.0.places.was_known(request.mac))) {
            Ok(place) => place,
            Err(busy) => {
                self.0.lines.warn(&format!("{busy:?}"), || busy.line("DHCP"));
                return;
            }
        };
        let (server, socket) = (self.clone(), socket.clone());
        tokio::spawn(async move {
            let found = lookup.await;
            if let (None, Ok(found)) = (is_known, &found) {
                server.0.places.remember(request.mac, found.is_some());
            }
            let reply = match pool_for(&request, &found) {
                Some(pool) => server.lease(&request, &pool, found.ok().flatten()).await,
                None => server.reply(&request, found),
            };
            let mut replies: Vec<Reply> = reply.into_iter().collect();
            server.send(&socket, &mut replies).await;
            drop(place);
        });
    }

    fn request(&self, socket: &Socket, bytes: &[u8], arrival: Arrival, port: Port) -> Option<Request> {
        let packet = match Packet::decode(bytes) {
            Ok(packet) => packet,
            Err(error) => {
                let key = format!("malformed {}", arrival.peer.ip());
                self.0
                    .lines
                    .warn(&key, || format!("DHCP: malformed packet of {} bytes from {}: {error}", bytes.len(), arrival.peer));
                return None;
            }
        };
        let link = self.0.links.at(arrival.interface, Instant::now());
        let (mode, entry) = match port {
            Port::Dhcp => self.0.modes.of(&packet, &link),
            Port::Pxe => self.0.modes.of_boot_server(&packet, &link),
        };
        let mode = mode.clone();
        // On port 4011 only a proxy has anything to say.
        if mode == Mode::Off || port == Port::Pxe && !mode.is_proxy() || foreign::is_probe(&packet) {
            return None;
        }
        if packet.message_type() == Some(MessageType::LeaseQuery) {
            self.asked(socket, packet, arrival, &mode);
            return None;
        }
        let gives_back = matches!(packet.message_type(), Some(MessageType::Release | MessageType::Decline));
        let is_for_pool = gives_back && packet.op == Op::Request && matches!(mode, Mode::Pool(_));
        if let Err(ignored) = Ignored::check(&packet)
            && !is_for_pool
        {
            self.0.lines.ignored(&packet, &ignored);
            return None;
        }
        let mac = Mac::new(packet.mac()?);
        let entry = entry.cloned();
        Some(Request { config: self.0.config.now(), entry, packet, mac, mode, port, link, arrival })
    }

    /// The settings as the machine of the request sees them, if it gets this address.
    fn seen_by(&self, request: &Request, address: Option<Ipv4Addr>) -> Arc<Config> {
        let Request { config, entry, packet, link, .. } = request;
        let own = advertised::for_request(config, entry.as_ref(), packet, link, address);
        if own == config.address { Arc::clone(config) } else { self.0.config.at(own) }
    }

    fn reply(&self, request: &Request, found: Found) -> Option<Reply> {
        let Request { packet, mac, mode, .. } = request;
        let (client, is_known) = (Client::of(packet), matches!(found, Ok(Some(_))));
        if mode.is_proxy()
            && let (Ok(found), Some(address)) = (&found, heard::address(packet))
        {
            self.0.source.heard(found.as_ref().map(|_| *mac), address);
        }
        let machine = match found {
            Ok(Some(machine)) => machine,
            Ok(None) if *mode == Mode::AutoProxy => BootInterface::unknown(*mac),
            Ok(None) if mode.is_proxy() && client.wants_address() => return None,
            Ok(None) => {
                self.0.lines.stranger(*mac, packet, request.arrival.interface);
                return None;
            }
            Err(error) => {
                let line = || format!("DHCP {mac}: {}; no answer", Chain(&error));
                self.0.lines.warn(&format!("source {mac}"), line);
                let interface = self.0.events.interface(request.arrival.interface);
                let why = "boots could not find out what it boots";
                self.0.events.step(*mac, steps::of_failure(packet, why, &interface, Timestamp::now()));
                return None;
            }
        };
        let config = &self.seen_by(request, machine.reservation.as_ref().map(|reservation| reservation.address));
        let answer = match mode {
            Mode::Proxy | Mode::AutoProxy => proxy::respond(config, &machine, packet, request.port),
            _ => respond(config, &machine, packet),
        };
        let is_boot = !mode.is_proxy() || !client.wants_address();
        if packet.message_type() == Some(MessageType::Discover) && is_boot {
            self.0.events.publish(Some(*mac), None, Milestone::Discover { client: client.to_string() });
        }
        match answer {
            Ok(answer) => {
                if let Some(complaint) = client.complaint() {
                    let line = || format!("DHCP {mac} ({}): {complaint}", machine.name);
                    self.0.lines.warn(&format!("architecture {mac}"), line);
                }
                self.say_misplaced(request, &machine, "It may get no further");
                Some(Reply { is_known, ..self.addressed(request, config, machine, client, answer) })
            }
            Err(ignored @ Ignored::Declined { .. }) => {
                self.0.lines.ignored(packet, &ignored);
                None
            }
            Err(ignored) => {
                self.silent(request, &machine, &ignored);
                None
            }
        }
    }

    /// A machine with the address of another server may still come to this one for its files: GRUB asks by DHCP itself.
    fn silent(&self, request: &Request, machine: &BootInterface, ignored: &Ignored) {
        if let (Ignored::OtherServer(_), Some(address)) = (ignored, heard::address(&request.packet)) {
            self.0.source.heard(Some(request.mac), address);
        }
        self.0.lines.silent(machine, &request.packet, request.arrival.interface, ignored);
    }

    /// A machine without a reservation on the network of a pool.
    async fn lease(&self, request: &Request, pool: &Pool, found: Option<BootInterface>) -> Option<Reply> {
        let Request { packet, mac, .. } = request;
        let config = &self.seen_by(request, Some(pool.first));
        let Shared { source, events, links, lines, .. } = &*self.0;
        let pools = self.0.pools.as_ref()?;
        let (client, is_known) = (Client::of(packet), found.is_some());
        // Unknown machines boot only where they are discovered. Elsewhere the address is all they get.
        let netboot_allowed = config.discovers(pool.first.into());
        let unknown = || BootInterface { netboot_allowed, ..BootInterface::unknown(*mac) };
        let mut machine = found.unwrap_or_else(unknown);
        self.say_misplaced(request, &machine, "It gets an address of the pool instead");
        if request.is_first() && is_known {
            events.publish(Some(*mac), None, Milestone::Discover { client: client.to_string() });
        }
        let verdict = match packet.message_type()? {
            MessageType::Release | MessageType::Decline => {
                if let Some(line) = pools.give_back(packet, *mac).await {
                    lines.warn(&format!("given back {mac}"), || format!("DHCP {mac} ({}): {line}", machine.name));
                }
                return None;
            }
            MessageType::Inform => Verdict::Lease(packet.ciaddr),
            _ if !is_for_us(config, packet) => {
                pools.forget_offer(packet, *mac);
                if is_known {
                    self.silent(request, &machine, &Ignored::OtherServer(packet.server_id()?));
                }
                return None;
            }
            _ => {
                let is_here = |address| links.has(address) || address == config.address;
                pools
                    .decide(pool, packet, (*mac, is_known), &**source, is_here)
                    .await
                    .inspect_err(|why| lines.no_lease(&machine, packet, request.arrival.interface, why))
                    .ok()?
            }
        };
        let answer = match verdict {
            Verdict::Nak(why) => nak(config, packet, &why),
            Verdict::Lease(address) => {
                machine.reservation = Some(pool.reservation(address));
                let ignored = |ignored: &Ignored| log::debug!("DHCP {mac}: no answer: {ignored}");
                respond(config, &machine, packet).inspect_err(ignored).ok()?
            }
        };
        let reply = self.addressed(request, config, machine, client, answer);
        Some(Reply { is_known, is_quiet: !is_known && request.is_first(), ..reply })
    }

    fn say_misplaced(&self, request: &Request, machine: &BootInterface, outcome: &str) {
        let Request { packet, mac, mode, link, .. } = request;
        let Some(reservation) = machine.reservation.as_ref().filter(|_| !mode.is_proxy()) else { return };
        let (address, netmask) = (reservation.address, reservation.netmask);
        if let Some(why) = misplaced(address, netmask, packet, link) {
            self.0.lines.warn(&format!("misplaced {mac} {why}"), || {
                format!(
                    "DHCP {mac} ({}): its Hardware has {address} with netmask {netmask}, but {why}. {outcome}: \
                     correct the Hardware, or plug the machine into its network",
                    machine.name
                )
            });
        }
    }

    /// The reply with its way to the client.
    fn addressed(&self, request: &Request, config: &Config, machine: BootInterface, client: Client, packet: Packet) -> Reply {
        let Request { packet: asked, mac, port, arrival, .. } = request;
        let bytes = packet.encode_within(asked.max_payload()).unwrap_or_else(|error| {
            let line = || format!("DHCP {mac}: {error}; sending it all the same");
            self.0.lines.warn(&format!("size {mac}"), line);
            packet.encode()
        });
        let to = match port {
            Port::Dhcp => destination(&packet, v4(arrival.peer)),
            Port::Pxe => pxe_destination(&packet, v4(arrival.peer)),
        };
        // A relay may be anywhere, so its packets follow the routes. A client is on the interface of its packet.
        let interface = if packet.giaddr.is_unspecified() { arrival.interface } else { 0 };
        // The address of an entry may be one before NAT.
        let told = Some(config.address).filter(|told| *told != request.config.address && self.0.links.has(*told));
        let from = arrival.local.or(told.map(IpAddr::V4)).or(self.0.own);
        let direct = (*port == Port::Dhcp).then(|| request.frame(&packet, from, &bytes)).flatten();
        let outgoing = Outgoing { bytes, to, from, interface, direct };
        Reply { outgoing, packet, mac: machine.mac, name: machine.name, client, is_known: true, is_quiet: false }
    }

    /// Publishes each and sends it. A machine may take its next step, on another port and thread, as soon as it has its answer, and
    /// in its history that step comes behind the answer.
    async fn send(&self, socket: &Socket, replies: &mut Vec<Reply>) {
        for reply in replies.drain(..) {
            self.publish(&reply);
            if let Err(error) = socket.send(&reply.outgoing).await {
                self.unsent(&reply, &error);
            }
        }
    }

    /// Its step in the history is followed by one that takes it back.
    fn unsent(&self, reply: &Reply, error: &io::Error) {
        let Reply { packet, mac, name, client, outgoing, is_known, .. } = reply;
        let line = || format!("DHCP {mac} ({name}): cannot send to {}: {}", outgoing.to, Chain(error));
        let is_logged = self.0.lines.warn(&format!("send {mac}"), line);
        if *is_known {
            let interface = self.0.events.interface(outgoing.interface);
            let asked = steps::of_reply(packet, client, &interface, Timestamp::now()).asked;
            let step = steps::of_unsent(&asked, IpAddr::V4(*outgoing.to.ip()), error, Timestamp::now());
            if is_logged {
                self.0.events.publish(Some(*mac), None, Milestone::Silent { reason: step.why.clone() });
            }
            self.0.events.step(*mac, step);
        }
    }

    fn publish(&self, reply: &Reply) {
        let Reply { packet, mac, name, client, outgoing, is_known, is_quiet } = reply;
        if *is_quiet {
            return log::debug!("DHCP {mac} ({name}): OFFER {} to {client}", packet.yiaddr);
        }
        if !is_known && !self.0.lines.allows_answer(*mac, packet) {
            return;
        }
        let interface = self.0.events.interface(outgoing.interface);
        self.0.events.step(*mac, steps::of_reply(packet, client, &interface, Timestamp::now()));
        // A proxy gives no address. On port 4011 the machine names its own.
        let (address, boot_file) = (packet.yiaddr.max(packet.ciaddr), packet.boot_file().unwrap_or_default());
        let milestone = match packet.message_type() {
            Some(MessageType::Offer) => Milestone::Offered { address: address.into(), boot_file: boot_file.to_owned() },
            Some(MessageType::Ack) => Milestone::Acknowledged { address: address.into(), boot_file: boot_file.to_owned() },
            _ => return log::info!("DHCP {mac} ({name}): NAK to {client}: {}", packet.message().unwrap_or_default()),
        };
        if let Some(kind) = packet.message_type() {
            let shown = if address.is_unspecified() { "without an address".to_owned() } else { address.to_string() };
            log::info!("DHCP {mac} ({name}): {kind} {shown} to {client}, boot file {boot_file:?}");
        }
        let address = Some(IpAddr::V4(address)).filter(|address| !address.is_unspecified());
        self.0.events.publish(Some(*mac), address, milestone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_gathered_while_they_come_close_together() {
        let after = |micros, is_full, was_full| gathering(Duration::from_micros(micros), is_full, was_full);
        assert_eq!(after(1_000_000, false, false), None, "a machine by itself is answered at once, and so is its next packet");
        assert_eq!(after(200, false, false), Some(GATHERING));
        assert_eq!(after(200, true, false), None, "a full batch is not waited for");
        assert_eq!(after(200, false, true), Some(BRIEFLY), "many clients wait");
    }
}
