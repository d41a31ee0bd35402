//! Answers requests, a batch at a time. A lookup that has to wait becomes a task, so that it delays one machine only.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ::machine::Chain;
use dhcp::v4::{CLIENT_PORT, MessageType, Packet};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use model::Mac;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::socket::{BATCH, Inbox, Outgoing, Socket};
use super::{Client, Ignored, destination, respond};
use crate::datagram::Arrival;
use crate::machine::SourceError;
use crate::quota::Seldom;
use crate::{BootInterface, Config, Events, MachineSource, Milestone};

/// How many lookups wait at once. Further requests are dropped, and their clients ask again.
const IN_FLIGHT: usize = 128;
const SAME_LINE_EVERY: Duration = Duration::from_secs(60);

/// Shared by the loop and the tasks.
#[derive(Clone)]
struct Server {
    socket: Socket,
    config: Arc<Config>,
    /// The address to answer from, if it belongs to this host.
    own: Option<IpAddr>,
    source: Arc<dyn MachineSource>,
    events: Events,
    seldom: Arc<Mutex<Seldom<String>>>,
}

/// A request that deserves a look at the machine.
struct Request {
    packet: Packet,
    kind: MessageType,
    mac: Mac,
    arrival: Arrival,
}

/// A reply, and what is published once it has left.
struct Reply {
    outgoing: Outgoing,
    packet: Packet,
    mac: Mac,
    name: String,
    client: Client,
}

/// Answers until `shutdown`.
pub async fn serve(
    socket: Socket,
    config: Arc<Config>,
    source: Arc<dyn MachineSource>,
    events: Events,
    shutdown: CancellationToken,
) {
    let seldom = Arc::new(Mutex::new(Seldom::new(SAME_LINE_EVERY)));
    // Behind NAT the address belongs to another host.
    let own = UdpSocket::bind((config.address, 0)).is_ok().then_some(IpAddr::V4(config.address));
    let server = Server { socket, config, own, source, events, seldom };
    let places = Arc::new(Semaphore::new(IN_FLIGHT));
    let (mut inbox, mut replies) = (Inbox::default(), Vec::with_capacity(BATCH));
    loop {
        let received = tokio::select! {
            () = shutdown.cancelled() => return,
            received = server.socket.receive(&mut inbox) => received,
        };
        if let Err(error) = received {
            // Errors of earlier sends arrive here, too. No such error is a reason to stop.
            log::warn!("DHCP: cannot receive: {}", Chain(&error));
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        }
        for (bytes, arrival) in inbox.packets() {
            let Some(request) = server.request(bytes, arrival) else { continue };
            let mut lookup = lookup(Arc::clone(&server.source), request.mac);
            // The machines of a file, and of a server in this process, are in memory.
            match (&mut lookup).now_or_never() {
                Some(found) => replies.extend(server.reply(&request, found)),
                None => server.wait(&places, request, lookup),
            }
        }
        server.send(&mut replies).await;
    }
}

type Lookup = BoxFuture<'static, Result<Option<BootInterface>, SourceError>>;

fn lookup(source: Arc<dyn MachineSource>, mac: Mac) -> Lookup {
    Box::pin(async move { source.machine(mac).await })
}

fn v4(address: SocketAddr) -> SocketAddrV4 {
    match address {
        SocketAddr::V4(address) => address,
        SocketAddr::V6(_) => SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, CLIENT_PORT), // the socket is one of IPv4
    }
}

impl Server {
    /// Waits for the lookup in a task.
    fn wait(&self, places: &Arc<Semaphore>, request: Request, lookup: Lookup) {
        let Ok(place) = Arc::clone(places).try_acquire_owned() else {
            self.say_seldom("busy", || format!("DHCP: more than {IN_FLIGHT} requests wait for a lookup; dropping others"));
            return;
        };
        let server = self.clone();
        tokio::spawn(async move {
            let found = lookup.await;
            let mut replies: Vec<Reply> = server.reply(&request, found).into_iter().collect();
            server.send(&mut replies).await;
            drop(place);
        });
    }

    fn request(&self, bytes: &[u8], arrival: Arrival) -> Option<Request> {
        let packet = match Packet::decode(bytes) {
            Ok(packet) => packet,
            Err(error) => {
                let key = format!("malformed {}", arrival.peer.ip());
                self.say_seldom(&key, || {
                    format!("DHCP: malformed packet of {} bytes from {}: {error}", bytes.len(), arrival.peer)
                });
                return None;
            }
        };
        let kind = match Ignored::check(&packet) {
            Ok(kind) => kind,
            Err(ignored) => {
                self.log_ignored(&packet, &ignored);
                return None;
            }
        };
        let mac = Mac::new(packet.mac()?);
        Some(Request { packet, kind, mac, arrival })
    }

    fn reply(&self, request: &Request, found: Result<Option<BootInterface>, SourceError>) -> Option<Reply> {
        let Request { packet, kind, mac, arrival } = request;
        let machine = match found {
            Ok(Some(machine)) => machine,
            Ok(None) => {
                self.stranger(*mac, packet);
                return None;
            }
            Err(error) => {
                self.say_seldom(&format!("source {mac}"), || format!("DHCP {mac}: {}; no answer", Chain(&error)));
                return None;
            }
        };
        let client = Client::of(packet);
        if *kind == MessageType::Discover {
            self.events.publish(Some(*mac), None, Milestone::Discover { client: client.to_string() });
        }
        let reply = match respond(&self.config, &machine, packet) {
            Ok(reply) => reply,
            Err(ignored) => {
                self.silent(&machine, &ignored);
                return None;
            }
        };
        let bytes = reply.encode_within(packet.max_payload()).unwrap_or_else(|error| {
            self.say_seldom(&format!("size {mac}"), || format!("DHCP {mac}: {error}; sending it all the same"));
            reply.encode()
        });
        let to = destination(&reply, v4(arrival.peer));
        // A relay may be anywhere, so its packets follow the routes. A client is on the interface of its packet.
        let interface = if reply.giaddr.is_unspecified() { arrival.interface } else { 0 };
        let outgoing = Outgoing { bytes, to, from: arrival.local.or(self.own), interface };
        Some(Reply { outgoing, packet: reply, mac: machine.mac, name: machine.name, client })
    }

    /// Sends all, and publishes what has left.
    async fn send(&self, replies: &mut Vec<Reply>) {
        for reply in replies.drain(..) {
            match self.socket.send(&reply.outgoing).await {
                Ok(()) => self.publish(&reply),
                Err(error) => log::warn!("DHCP {}: cannot send to {}: {}", reply.mac, reply.outgoing.to, Chain(&error)),
            }
        }
    }

    fn publish(&self, reply: &Reply) {
        let Reply { packet, mac, name, client, .. } = reply;
        let (address, boot_file) = (packet.yiaddr, packet.boot_file().unwrap_or_default());
        let milestone = match packet.message_type() {
            Some(MessageType::Offer) => Milestone::Offered { address, boot_file: boot_file.to_owned() },
            Some(MessageType::Ack) => Milestone::Acknowledged { address, boot_file: boot_file.to_owned() },
            _ => return log::info!("DHCP {mac} ({name}): NAK to {client}: {}", packet.message().unwrap_or_default()),
        };
        if let Some(kind) = packet.message_type() {
            log::info!("DHCP {mac} ({name}): {kind} {address} to {client}, boot file {boot_file:?}");
        }
        self.events.publish(Some(*mac), Some(IpAddr::V4(address)), milestone);
    }
    fn stranger(&self, mac: Mac, request: &Packet) {
        let line = || {
            let via =
                if request.giaddr == Ipv4Addr::UNSPECIFIED { String::new() } else { format!(" via relay {}", request.giaddr) };
            format!(
                "DHCP {mac}: unknown machine ({}{via}); no answer. To answer it, apply a Hardware with this MAC",
                Client::of(request)
            )
        };
        if self.say_seldom(&format!("stranger {mac}"), line) {
            self.events.publish(Some(mac), None, Milestone::Unknown);
        }
    }

    /// Silence towards a known machine has a line, because without one it looks like a fault of the network.
    fn silent(&self, machine: &BootInterface, ignored: &Ignored) {
        let BootInterface { mac, name, .. } = machine;
        if !self.allows_line(&format!("silent {mac} {ignored}")) {
            return;
        }
        match ignored {
            Ignored::OtherServer(_) => log::warn!(
                "DHCP {mac} ({name}): {ignored}; no answer. If boots shall boot it, find that DHCP server on this network and stop it"
            ),
            _ => log::info!("DHCP {mac} ({name}): no answer: {ignored}"),
        }
        self.events.publish(Some(*mac), None, Milestone::Silent { reason: ignored.to_string() });
    }

    fn log_ignored(&self, request: &Packet, ignored: &Ignored) {
        let mac = request.mac().map_or_else(|| "?".to_owned(), |mac| Mac::new(mac).to_string());
        match ignored {
            // Any host can send this at any rate.
            Ignored::Declined { .. } if self.allows_line(&format!("declined {mac}")) => {
                log::error!("DHCP {mac}: {ignored}; remove that host or change the Hardware");
            }
            // Old firmware and InfiniBand: whether boots knows the machine cannot be seen, or does not matter.
            Ignored::Bootp | Ignored::NoMac if self.allows_line(&format!("{ignored} {mac}")) => {
                log::info!("DHCP {mac}: no answer: {ignored}");
            }
            _ => log::debug!("DHCP {mac}: no answer: {ignored}"),
        }
    }

    fn say_seldom(&self, key: &str, line: impl FnOnce() -> String) -> bool {
        let allowed = self.allows_line(key);
        if allowed {
            log::warn!("{}", line());
        }
        allowed
    }

    fn allows_line(&self, key: &str) -> bool {
        self.seldom.lock().unwrap_or_else(PoisonError::into_inner).allows(key.to_owned(), Instant::now())
    }
}
