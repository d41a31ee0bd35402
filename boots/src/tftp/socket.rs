//! UDP port 69. Each request gets a socket of its own, which sends the file.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ::machine::Chain;
use api::StepKind;
use jiff::Timestamp;
use model::Mac;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::task::AbortHandle;
use tokio::time::timeout_at;
use tokio_util::sync::CancellationToken;

use super::content::Content;
use super::found::{self, Found};
use super::packet::{self, ErrorCode, Packet};
use super::request::{self, Agreed, Refused};
use super::sender::{Sender, local_address};
use super::transfer::{Step, Transfer};
use crate::boot_files::BootFiles;
use crate::config::Current;
use crate::datagram::{self, Arrival};
use crate::loaders::{Asked, By};
use crate::machine::{known_at, mac_at};
use crate::packs::Shelf;
use crate::quota::{Quota, Seldom, Ticket};
use crate::{Events, MachineSource, Milestone, steps};

/// A transfer whose client has not answered for so long gives its place to another one of this client.
const FORGOTTEN: Duration = Duration::from_secs(1);
/// The same for a place that another client wants. On a busy host an answer may be read late, and that client asks again anyway.
const LOST: Duration = Duration::from_secs(3);
const SAME_LINE_EVERY: Duration = Duration::from_secs(60);

/// How many transfers run at once.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub per_client: usize,
    pub in_all: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { per_client: 64, in_all: 768 }
    }
}

#[derive(Debug)]
pub struct Socket {
    socket: Arc<std::net::UdpSocket>,
    interface: Option<String>,
}

impl Socket {
    pub fn bind(address: SocketAddr, interface: Option<&str>) -> io::Result<Self> {
        Ok(Self { socket: Arc::new(bind(address, interface)?), interface: interface.map(str::to_owned) })
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// The socket itself, to bind it to its interface again.
    pub(crate) fn shared(&self) -> Arc<std::net::UdpSocket> {
        Arc::clone(&self.socket)
    }
}

fn bind(address: SocketAddr, interface: Option<&str>) -> io::Result<std::net::UdpSocket> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::DGRAM, Some(socket2::Protocol::UDP))?;
    if let Some(interface) = interface {
        socket.bind_device(Some(interface.as_bytes()))?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(true)?; // IPv4 has a socket of its own
    }
    datagram::track(&socket, address.is_ipv6())?;
    socket.bind(&address.into())?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

pub(super) struct Server {
    socket: UdpSocket,
    interface: Option<String>,
    pub(super) config: Current,
    pub(super) source: Arc<dyn MachineSource>,
    pub(super) events: Events,
    pub(super) packs: Arc<Shelf>,
    quota: Quota<IpAddr>,
    seldom: Mutex<Seldom<String>>,
    running: Mutex<HashMap<SocketAddr, Running>>,
}

/// Serves until `shutdown`, which ends transfers under way.
///
/// # Errors
/// When the executor cannot watch the socket.
pub async fn serve(
    socket: Socket,
    config: impl Into<Current>,
    source: Arc<dyn MachineSource>,
    events: Events,
    limits: Limits,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let (Socket { socket, interface }, config) = (socket, config.into());
    let socket = UdpSocket::from_std(socket.try_clone()?)?; // that of this thread's executor
    let quota = Quota::new(limits.per_client, limits.in_all);
    let seldom = Mutex::new(Seldom::new(SAME_LINE_EVERY));
    let packs = Arc::new(Shelf::new(config.now().files.clone()));
    let server = Arc::new(Server { socket, interface, config, source, events, packs, quota, seldom, running: Mutex::default() });
    let mut buffer = vec![0; 2048];
    loop {
        let received = tokio::select! {
            () = shutdown.cancelled() => break,
            received = server.socket.async_io(Interest::READABLE, || datagram::receive(&server.socket, &mut buffer)) => received,
        };
        match received {
            Ok((length, arrival)) => server.on_packet(buffer.get(..length).unwrap_or_default(), arrival).await,
            Err(error) => {
                log::warn!("TFTP: cannot receive: {}", Chain(&error));
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    server.running.lock().unwrap_or_else(PoisonError::into_inner).drain().for_each(|(_, running)| running.transfer.abort());
    Ok(())
}

/// A transfer under way. Dropping it frees its place.
struct Running {
    transfer: AbortHandle,
    started: Instant,
    is_answered: Arc<AtomicBool>,
    /// The request, while its file is being made.
    preparing: Option<Vec<u8>>,
    _place: Ticket<IpAddr>,
}

/// A granted request.
struct Granted {
    name: String,
    /// What it is to its machine, if that is known already.
    kind: Option<StepKind>,
    mac: Option<Mac>,
    content: Content,
    agreed: Agreed,
    sender: Sender,
}

impl Server {
    async fn on_packet(self: &Arc<Self>, bytes: &[u8], arrival: Arrival) {
        let peer = arrival.peer;
        let (granted, place) = match Packet::decode(bytes) {
            Ok(Packet::Read { path, options }) => {
                if self.prepares(peer, bytes) {
                    return; // GRUB asks again after 0.4 s already, and a lookup may take longer
                }
                self.forget(peer); // the same port again: the client has started again
                let place = match self.place(peer.ip()) {
                    Some(place) => place,
                    None if self.quota.is_full() => return self.say_full(peer),
                    None => return self.say_refused(path, arrival, &Refused::Busy).await,
                };
                let granted = match found::open(&self.config.now(), path) {
                    Ok(found) => found.and_then(|found| self.grant(path, found, &options, arrival)),
                    Err(made) => return self.make_and_run(bytes, path, &options, (made, place), arrival),
                };
                match granted {
                    Ok(granted) => (granted, place),
                    Err(refused) => return self.say_refused(path, arrival, &refused).await,
                }
            }
            Ok(Packet::Write { path }) => {
                self.warn_seldom(peer, "write", || format!("a write of {path:?}"));
                return self.say_refused("", arrival, &Refused::Write).await;
            }
            // It belongs to a transfer that has ended.
            Ok(Packet::Ack { .. } | Packet::Error { .. }) => return,
            Err(malformed) => {
                self.warn_seldom(peer, "malformed", || format!("malformed packet of {} bytes: {malformed}", bytes.len()));
                return self.refuse(arrival, ErrorCode::IllegalOperation, &malformed.to_string()).await;
            }
        };
        let server = Arc::clone(self);
        self.begin(peer, place, None, async move |answered| server.run(granted, peer, &answered).await);
    }

    /// The lookup of the machine may wait, so it is part of the task.
    fn make_and_run(
        self: &Arc<Self>,
        request: &[u8],
        path: &str,
        options: &[(&str, &str)],
        ((asked, by), place): ((Asked, By), Ticket<IpAddr>),
        arrival: Arrival,
    ) {
        let peer = arrival.peer;
        let options: Vec<(String, String)> = options.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let (server, path) = (Arc::clone(self), path.to_owned());
        self.begin(peer, place, Some(request.to_vec()), async move |answered| {
            let found = server.make(&path, asked, by, (peer.ip().to_canonical(), arrival.local)).await;
            server.prepared(peer);
            let options: Vec<(&str, &str)> = options.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            match found.and_then(|found| server.grant(&path, found, &options, arrival)) {
                Ok(granted) => server.run(granted, peer, &answered).await,
                Err(refused) => server.say_refused(&path, arrival, &refused).await,
            }
        });
    }

    fn begin<W>(
        self: &Arc<Self>,
        peer: SocketAddr,
        place: Ticket<IpAddr>,
        preparing: Option<Vec<u8>>,
        work: impl FnOnce(Arc<AtomicBool>) -> W,
    ) where
        W: Future<Output = ()> + Send + 'static,
    {
        let (server, is_answered) = (Arc::clone(self), Arc::new(AtomicBool::new(false)));
        let work = work(Arc::clone(&is_answered));
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let transfer = tokio::spawn(async move {
            work.await;
            server.ended(peer);
        });
        let started = Instant::now();
        running.insert(peer, Running { transfer: transfer.abort_handle(), started, is_answered, preparing, _place: place });
    }

    /// An error would end the boot of the firmware, or send a loader to the next name. Without an answer both ask again after some
    /// seconds (RFC 1350 section 2), when others have ended.
    fn say_full(&self, peer: SocketAddr) {
        self.warn_seldom(peer, "full", || "all transfers are taken; it gets an answer when it asks again".to_owned());
    }

    async fn say_refused(self: &Arc<Self>, path: &str, arrival: Arrival, refused: &Refused) {
        if matches!(refused, Refused::NotFound(_)) && found::is_usual_miss(path) {
            log::debug!("TFTP {}: {path:?} does not exist, as usual", arrival.peer);
        } else if self.warn_seldom(arrival.peer, &refused.to_string(), || Chain(refused).to_string()) && !path.is_empty() {
            self.note_refused(path, arrival.peer, refused);
        }
        self.refuse(arrival, refused.code(), &refused.to_string()).await;
    }

    /// Whether the very request of this client waits for its file.
    fn prepares(&self, peer: SocketAddr, request: &[u8]) -> bool {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.get(&peer).is_some_and(|running| running.preparing.as_deref() == Some(request))
    }

    fn prepared(&self, peer: SocketAddr) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = running.get_mut(&peer).filter(|running| running.transfer.id() == tokio::task::id()) {
            running.preparing = None;
        }
    }

    fn ended(&self, peer: SocketAddr) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        // The client may just have started again.
        if running.get(&peer).is_some_and(|running| running.transfer.id() == tokio::task::id()) {
            running.remove(&peer);
        }
    }

    /// A place for another transfer. If all are taken, one that its client has forgotten is ended, first of this client.
    fn place(&self, client: IpAddr) -> Option<Ticket<IpAddr>> {
        let free = || self.quota.take(client);
        free().or_else(|| {
            self.end_forgotten(FORGOTTEN, |peer| peer.ip() == client);
            free().or_else(|| {
                self.end_forgotten(LOST, |_| true);
                free()
            })
        })
    }

    fn end_forgotten(&self, since: Duration, is_meant: impl Fn(&SocketAddr) -> bool) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let forgotten = running.iter().filter(|(peer, running)| {
            is_meant(peer) && !running.is_answered.load(Ordering::Relaxed) && running.started.elapsed() >= since
        });
        let oldest = forgotten.min_by_key(|(_, running)| running.started).map(|(peer, _)| *peer);
        oldest.and_then(|peer| running.remove(&peer)).inspect(|running| running.transfer.abort());
    }

    fn grant(&self, path: &str, found: Found, options: &[(&str, &str)], arrival: Arrival) -> Result<Granted, Refused> {
        let Found { name, files, kind } = found;
        let content = Content::of(files).map_err(|source| Refused::Unreadable { name: name.clone(), source })?;
        let mac = mac_in(path);
        let by = (arrival.peer, arrival.interface);
        let open = |listening| Sender::open(local_address(listening, arrival.local), self.interface.as_deref(), by);
        let sender = self.socket.local_addr().and_then(open).map_err(Refused::NoSocket)?;
        let agreed = request::agree(options, content.size(), sender.largest_block().min(self.config.now().tftp_block.into()));
        Ok(Granted { name, kind, mac, content, agreed, sender })
    }

    fn forget(&self, peer: SocketAddr) {
        let before = self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&peer);
        before.inspect(|running| running.transfer.abort());
    }

    async fn refuse(&self, to: Arrival, code: ErrorCode, message: &str) {
        let packet = packet::error(code, message);
        let send = || datagram::send(&self.socket, &packet, to.peer, to.local, 0);
        if let Err(error) = self.socket.async_io(Interest::WRITABLE, send).await {
            log::debug!("TFTP {}: cannot send: {}", to.peer, Chain(&error));
        }
    }

    fn warn_seldom(&self, peer: SocketAddr, kind: &str, what: impl FnOnce() -> String) -> bool {
        let allowed = {
            let mut seldom = self.seldom.lock().unwrap_or_else(PoisonError::into_inner);
            seldom.allows(format!("{} {kind}", peer.ip()), Instant::now())
        };
        if allowed {
            log::warn!("TFTP {peer}: refused: {}", what());
        }
        allowed
    }

    /// A step of the machine that asked. Finding the machine may take a while, and the next request does not wait for it.
    fn note_refused(self: &Arc<Self>, path: &str, peer: SocketAddr, refused: &Refused) {
        let step = steps::of_tftp(StepKind::NbpRefused, path, &refused.to_string(), Timestamp::now());
        let (server, named) = (Arc::clone(self), mac_in(path));
        tokio::spawn(async move {
            if let Some(mac) = server.mac_of(named, peer).await {
                server.events.step(mac, step);
            }
        });
    }

    /// The machine that has read a file, and what the file is to it. A path with a MAC is that of a boot program.
    async fn taken_by(&self, named: Option<Mac>, peer: SocketAddr, file: &str) -> (Option<Mac>, StepKind) {
        if named.is_some() {
            return (named, StepKind::Nbp);
        }
        let machine = known_at(&*self.source, peer.ip()).await;
        machine.map_or((None, StepKind::Nbp), |machine| {
            (Some(machine.mac), BootFiles::of(&self.config.now(), &machine).kind_of(file))
        })
    }

    /// The machine of a transfer: the path names it, or the address.
    async fn mac_of(&self, named: Option<Mac>, peer: SocketAddr) -> Option<Mac> {
        match named {
            Some(mac) => Some(mac),
            None => mac_at(&*self.source, peer.ip()).await,
        }
    }

    async fn run(&self, granted: Granted, peer: SocketAddr, answered: &AtomicBool) {
        let (name, size, mac, kind) = (granted.name.clone(), granted.content.size(), granted.mac, granted.kind);
        let started = Instant::now();
        let (kind, why) = match transfer(granted, answered).await {
            Ok(End::Sent) => {
                let (mac, guessed) = self.taken_by(mac, peer, &name).await;
                let kind = kind.unwrap_or(guessed);
                log::info!("TFTP {peer}: sent {name} ({size} bytes in {} ms)", started.elapsed().as_millis());
                return self.events.publish_file(mac, Some(peer.ip()), Milestone::NbpSent { file: name, bytes: size }, kind);
            }
            // PXE ROMs ask for the size, abort, and ask again.
            Ok(End::Aborted(message)) => {
                log::debug!("TFTP {peer}: {name}: the client ended it: {message}");
                (StepKind::NbpEnded, format!("the client ended it: {message}"))
            }
            Ok(End::Silent) => {
                log::warn!("TFTP {peer}: {name}: the client fell silent; gave up");
                (StepKind::NbpStalled, "the client fell silent".to_owned())
            }
            Err(error) => {
                log::warn!("TFTP {peer}: {name}: {}", Chain(&error));
                (StepKind::NbpStalled, Chain(&error).to_string())
            }
        };
        if let Some(mac) = self.mac_of(mac, peer).await {
            self.events.step(mac, steps::of_tftp(kind, &name, &why, Timestamp::now()));
        }
    }
}

/// The machine that the folder of a path names.
fn mac_in(path: &str) -> Option<Mac> {
    path.rsplit('/').nth(1).and_then(|folder| folder.parse().ok())
}

async fn transfer(granted: Granted, answered: &AtomicBool) -> io::Result<End> {
    let Granted { content, agreed, mut sender, .. } = granted;
    let mut transfer = Transfer::new(&agreed, content.size(), Instant::now());
    let mut step = transfer.start();
    let mut buffer = [0; 516];
    loop {
        match step {
            Step::SendOptions => sender.send(&packet::option_ack(&agreed.acknowledged)).await?,
            Step::Send(blocks) => sender.send_blocks(&content, &transfer, blocks).await?,
            Step::Wait => {}
            Step::Done => return Ok(End::Sent),
            Step::GiveUp => return Ok(End::Silent),
        }
        // A packet that changes nothing does not move the deadline.
        step = match timeout_at(transfer.deadline().into(), sender.receive(&mut buffer)).await {
            Err(_) => {
                if transfer.is_at_start() {
                    sender.without_segments();
                }
                transfer.on_timeout(Instant::now())
            }
            Ok(Ok(length)) => match Packet::decode(buffer.get(..length).unwrap_or_default()) {
                Ok(Packet::Ack { block }) => {
                    let step = transfer.on_ack(block, Instant::now());
                    if transfer.is_answered() {
                        answered.store(true, Ordering::Relaxed);
                    }
                    step
                }
                Ok(Packet::Error { message, .. }) => return Ok(End::Aborted(message)),
                _ => Step::Wait,
            },
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                return Ok(End::Aborted("port closed".to_owned()));
            }
            Ok(Err(error)) => return Err(error),
        };
    }
}

enum End {
    Sent,
    Aborted(String),
    Silent,
}
