//! UDP port 69. Each request gets a socket of its own, which sends the file.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ::machine::Chain;
use model::Mac;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::task::AbortHandle;
use tokio::time::timeout_at;
use tokio_util::sync::CancellationToken;

use super::packet::{self, ErrorCode, Packet};
use super::request::{self, Agreed, Refused};
use super::sender::{Sender, local_address};
use super::transfer::{Step, Transfer};
use crate::datagram::{self, Arrival};
use crate::machine::mac_at;
use crate::quota::{Quota, Seldom, Ticket};
use crate::{Config, Events, MachineSource, Milestone, ipxe};

/// A transfer whose client has not answered for so long gives its place to another one.
const FORGOTTEN: Duration = Duration::from_secs(1);
const SAME_LINE_EVERY: Duration = Duration::from_secs(60);

/// How many transfers run at once.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub per_client: usize,
    pub in_all: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { per_client: 64, in_all: 256 }
    }
}

#[derive(Debug)]
pub struct Socket {
    socket: Arc<UdpSocket>,
    interface: Option<String>,
}

impl Socket {
    /// Needs a tokio runtime.
    pub fn bind(address: SocketAddr, interface: Option<&str>) -> io::Result<Self> {
        Ok(Self { socket: Arc::new(bind(address, interface)?), interface: interface.map(str::to_owned) })
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// The socket itself, to bind it to its interface again.
    pub(crate) fn shared(&self) -> Arc<UdpSocket> {
        Arc::clone(&self.socket)
    }
}

fn bind(address: SocketAddr, interface: Option<&str>) -> io::Result<UdpSocket> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::DGRAM, Some(socket2::Protocol::UDP))?;
    if let Some(interface) = interface {
        socket.bind_device(Some(interface.as_bytes()))?;
    }
    datagram::track(&socket, address.is_ipv6())?;
    socket.bind(&address.into())?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket.into())
}

struct Server {
    socket: Arc<UdpSocket>,
    interface: Option<String>,
    config: Arc<Config>,
    source: Arc<dyn MachineSource>,
    events: Events,
    quota: Quota<IpAddr>,
    seldom: Mutex<Seldom<String>>,
    running: Mutex<HashMap<SocketAddr, Running>>,
}

/// Serves until `shutdown`, which ends transfers under way.
pub async fn serve(
    socket: Socket,
    config: Arc<Config>,
    source: Arc<dyn MachineSource>,
    events: Events,
    limits: Limits,
    shutdown: CancellationToken,
) {
    let Socket { socket, interface } = socket;
    let quota = Quota::new(limits.per_client, limits.in_all);
    let seldom = Mutex::new(Seldom::new(SAME_LINE_EVERY));
    let server = Arc::new(Server { socket, interface, config, source, events, quota, seldom, running: Mutex::default() });
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
}

/// A transfer under way. Dropping it frees its place.
struct Running {
    transfer: AbortHandle,
    started: Instant,
    is_answered: Arc<AtomicBool>,
    _place: Ticket<IpAddr>,
}

/// A granted request.
struct Granted {
    name: String,
    mac: Option<Mac>,
    file: File,
    size: u64,
    agreed: Agreed,
    sender: Sender,
}

impl Server {
    async fn on_packet(self: &Arc<Self>, bytes: &[u8], arrival: Arrival) {
        let peer = arrival.peer;
        let granted = match Packet::decode(bytes) {
            Ok(Packet::Read { path, options }) => {
                self.forget(peer); // the same port again: the client has started again
                self.grant(path, &options, arrival)
            }
            Ok(Packet::Write { path }) => {
                self.warn_seldom(peer, "write", || format!("a write of {path:?}"));
                Err(Refused::Write)
            }
            // It belongs to a transfer that has ended.
            Ok(Packet::Ack { .. } | Packet::Error { .. }) => return,
            Err(malformed) => {
                self.warn_seldom(peer, "malformed", || format!("malformed packet of {} bytes: {malformed}", bytes.len()));
                return self.refuse(arrival, ErrorCode::IllegalOperation, &malformed.to_string()).await;
            }
        };
        let granted = granted.and_then(|granted| Ok((granted, self.place(peer.ip()).ok_or(Refused::Busy)?)));
        let (granted, place) = match granted {
            Ok(granted) => granted,
            Err(refused) => {
                self.warn_seldom(peer, &refused.to_string(), || Chain(&refused).to_string());
                return self.refuse(arrival, refused.code(), &refused.to_string()).await;
            }
        };
        let (server, is_answered) = (Arc::clone(self), Arc::new(AtomicBool::new(false)));
        let answered = Arc::clone(&is_answered);
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let transfer = tokio::spawn(async move {
            server.run(granted, peer, &answered).await;
            server.ended(peer);
        });
        let started = Instant::now();
        running.insert(peer, Running { transfer: transfer.abort_handle(), started, is_answered, _place: place });
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
            self.end_forgotten(|peer| peer.ip() == client);
            free().or_else(|| {
                self.end_forgotten(|_| true);
                free()
            })
        })
    }

    fn end_forgotten(&self, is_meant: impl Fn(&SocketAddr) -> bool) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let forgotten = running.iter().filter(|(peer, running)| {
            is_meant(peer) && !running.is_answered.load(Ordering::Relaxed) && running.started.elapsed() >= FORGOTTEN
        });
        let oldest = forgotten.min_by_key(|(_, running)| running.started).map(|(peer, _)| *peer);
        oldest.and_then(|peer| running.remove(&peer)).inspect(|running| running.transfer.abort());
    }

    fn grant(&self, path: &str, options: &[(&str, &str)], arrival: Arrival) -> Result<Granted, Refused> {
        let (name, file) = ipxe::open_asked(&self.config.nbp, path)?;
        let size = file.metadata().map_err(|source| Refused::Unreadable { name: name.to_owned(), source })?.len();
        let mac = path.rsplit('/').nth(1).and_then(|folder| folder.parse().ok());
        let open = |listening| Sender::open(local_address(listening, arrival.local), self.interface.as_deref(), arrival.peer);
        let sender = self.socket.local_addr().and_then(open).map_err(Refused::NoSocket)?;
        let agreed = request::agree(options, size, sender.largest_block());
        Ok(Granted { name: name.to_owned(), mac, file, size, agreed, sender })
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

    fn warn_seldom(&self, peer: SocketAddr, kind: &str, what: impl FnOnce() -> String) {
        let mut seldom = self.seldom.lock().unwrap_or_else(PoisonError::into_inner);
        if seldom.allows(format!("{} {kind}", peer.ip()), Instant::now()) {
            log::warn!("TFTP {peer}: refused: {}", what());
        }
    }

    async fn run(&self, granted: Granted, peer: SocketAddr, answered: &AtomicBool) {
        let (name, size, mac) = (granted.name.clone(), granted.size, granted.mac);
        let started = Instant::now();
        match transfer(granted, answered).await {
            Ok(End::Sent) => {
                let mac = match mac {
                    Some(mac) => Some(mac),
                    None => mac_at(&*self.source, peer.ip()).await,
                };
                log::info!("TFTP {peer}: sent {name} ({size} bytes in {} ms)", started.elapsed().as_millis());
                self.events.publish(mac, Some(peer.ip()), Milestone::NbpSent { file: name, bytes: size });
            }
            // PXE ROMs ask for the size, abort, and ask again.
            Ok(End::Aborted(message)) => log::debug!("TFTP {peer}: {name}: the client ended it: {message}"),
            Ok(End::Silent) => log::warn!("TFTP {peer}: {name}: the client fell silent; gave up"),
            Err(error) => log::warn!("TFTP {peer}: {name}: {}", Chain(&error)),
        }
    }
}

async fn transfer(granted: Granted, answered: &AtomicBool) -> io::Result<End> {
    let Granted { file, size, agreed, mut sender, .. } = granted;
    let mut transfer = Transfer::new(&agreed, size, Instant::now());
    let mut step = transfer.start();
    let mut buffer = [0; 516];
    loop {
        match step {
            Step::SendOptions => sender.send(&packet::option_ack(&agreed.acknowledged)).await?,
            Step::Send(blocks) => sender.send_blocks(&file, &transfer, blocks).await?,
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
