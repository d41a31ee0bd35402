//! UDP port 69. Each request gets a socket of its own, which sends the file.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ::machine::Chain;
use model::Mac;
use tokio::net::UdpSocket;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use super::packet::{self, ErrorCode, Packet};
use super::request::{self, Agreed, Refused};
use super::transfer::{Step, Transfer};
use crate::beneath::OpenError;
use crate::machine::mac_at;
use crate::quota::{Quota, Seldom, Ticket};
use crate::{Config, Events, MachineSource, Milestone, ipxe};

const SLOWEST: Duration = Duration::from_secs(5);
const SAME_LINE_EVERY: Duration = Duration::from_secs(60);

/// How many transfers run at once.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub per_client: usize,
    pub in_all: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { per_client: 4, in_all: 256 }
    }
}

#[derive(Debug)]
pub struct Socket {
    socket: UdpSocket,
    interface: Option<String>,
}

impl Socket {
    /// Needs a tokio runtime.
    pub fn bind(address: SocketAddr, interface: Option<&str>) -> io::Result<Self> {
        Ok(Self { socket: bind(address, interface)?, interface: interface.map(str::to_owned) })
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

fn bind(address: SocketAddr, interface: Option<&str>) -> io::Result<UdpSocket> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::DGRAM, Some(socket2::Protocol::UDP))?;
    if let Some(interface) = interface {
        socket.bind_device(Some(interface.as_bytes()))?;
    }
    socket.bind(&address.into())?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket.into())
}

struct Server {
    socket: UdpSocket,
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
            received = server.socket.recv_from(&mut buffer) => received,
        };
        match received {
            Ok((length, peer)) => server.on_packet(buffer.get(..length).unwrap_or_default(), peer).await,
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
    _place: Ticket<IpAddr>,
}

/// A granted request.
struct Granted {
    name: String,
    mac: Option<Mac>,
    file: File,
    size: u64,
    agreed: Agreed,
}

impl Server {
    async fn on_packet(self: &Arc<Self>, bytes: &[u8], peer: SocketAddr) {
        let granted = match Packet::decode(bytes) {
            Ok(Packet::Read { path, options }) => self.grant(path, &options),
            Ok(Packet::Write { path }) => {
                self.warn_seldom(peer, "write", || format!("a write of {path:?}"));
                Err(Refused::Write)
            }
            // It belongs to a transfer that has ended.
            Ok(Packet::Ack { .. } | Packet::Error { .. }) => return,
            Err(malformed) => {
                self.warn_seldom(peer, "malformed", || format!("malformed packet of {} bytes: {malformed}", bytes.len()));
                return self.refuse(peer, ErrorCode::IllegalOperation, &malformed.to_string()).await;
            }
        };
        self.forget(peer); // the same port again: the client has started again
        let granted = granted.and_then(|granted| Ok((granted, self.quota.take(peer.ip()).ok_or(Refused::Busy)?)));
        let (granted, place) = match granted {
            Ok(granted) => granted,
            Err(refused) => {
                self.warn_seldom(peer, &refused.to_string(), || Chain(&refused).to_string());
                return self.refuse(peer, refused.code(), &refused.to_string()).await;
            }
        };
        let server = Arc::clone(self);
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let transfer = tokio::spawn(async move {
            server.run(granted, peer).await;
            server.ended(peer);
        });
        running.insert(peer, Running { transfer: transfer.abort_handle(), _place: place });
    }

    fn ended(&self, peer: SocketAddr) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        // The client may just have started again.
        if running.get(&peer).is_some_and(|running| running.transfer.id() == tokio::task::id()) {
            running.remove(&peer);
        }
    }

    fn grant(&self, path: &str, options: &[(&str, &str)]) -> Result<Granted, Refused> {
        let name = request::file_name(path)?;
        let unreadable = |source| Refused::Unreadable { name: name.to_owned(), source };
        let file = ipxe::open(&self.config.nbp, name).map_err(|error| match error {
            OpenError::Outside(path) => Refused::Outside(path),
            OpenError::Missing(_) => Refused::NotFound(path.chars().take(200).collect()),
            OpenError::Io { source, .. } => unreadable(source),
        })?;
        let size = file.metadata().map_err(unreadable)?.len();
        let mac = path.rsplit('/').nth(1).and_then(|folder| folder.parse().ok());
        Ok(Granted { name: name.to_owned(), mac, file, size, agreed: request::agree(options, size) })
    }

    fn forget(&self, peer: SocketAddr) {
        let before = self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&peer);
        before.inspect(|running| running.transfer.abort());
    }

    async fn refuse(&self, peer: SocketAddr, code: ErrorCode, message: &str) {
        if let Err(error) = self.socket.send_to(&packet::error(code, message), peer).await {
            log::debug!("TFTP {peer}: cannot send: {}", Chain(&error));
        }
    }

    fn warn_seldom(&self, peer: SocketAddr, kind: &str, what: impl FnOnce() -> String) {
        let mut seldom = self.seldom.lock().unwrap_or_else(PoisonError::into_inner);
        if seldom.allows(format!("{} {kind}", peer.ip()), Instant::now()) {
            log::warn!("TFTP {peer}: refused: {}", what());
        }
    }

    async fn run(&self, granted: Granted, peer: SocketAddr) {
        let (name, size, mac) = (granted.name.clone(), granted.size, granted.mac);
        let started = Instant::now();
        match self.transfer(granted, peer).await {
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

    async fn transfer(&self, granted: Granted, peer: SocketAddr) -> io::Result<End> {
        let mut local = self.socket.local_addr()?;
        local.set_port(0);
        let socket = bind(local, self.interface.as_deref())?;
        socket.connect(peer).await?; // from here on the kernel drops packets of other hosts
        let Granted { file, size, agreed, .. } = granted;
        let mut transfer = Transfer::new(&agreed, size);
        let mut step = transfer.start();
        let mut buffer = [0; 516];
        let mut deadline = tokio::time::Instant::now();
        loop {
            match step.clone() {
                Step::SendOptions => send(&socket, &packet::option_ack(&agreed.acknowledged)).await?,
                Step::Send(blocks) => send_blocks(&socket, &file, &transfer, blocks).await?,
                Step::Wait => {}
                Step::Done => return Ok(End::Sent),
                Step::GiveUp => return Ok(End::Silent),
            }
            let patience = agreed.timeout.saturating_mul(transfer.timeouts() + 1).min(SLOWEST.max(agreed.timeout));
            if step != Step::Wait {
                deadline = tokio::time::Instant::now() + patience; // stray packets do not extend it
            }
            step = match tokio::time::timeout_at(deadline, socket.recv(&mut buffer)).await {
                Err(_) => transfer.on_timeout(),
                Ok(Ok(length)) => match Packet::decode(buffer.get(..length).unwrap_or_default()) {
                    Ok(Packet::Ack { block }) => transfer.on_ack(block),
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
}

enum End {
    Sent,
    Aborted(String),
    Silent,
}

/// Reading blocks this task for a short time: boot programs are small and in the page cache.
async fn send_blocks(socket: &UdpSocket, file: &File, transfer: &Transfer, blocks: std::ops::Range<u64>) -> io::Result<()> {
    for block in blocks {
        let bytes = transfer.bytes_of(block);
        let length = usize::try_from(bytes.end - bytes.start).unwrap_or(0);
        let mut data = packet::data_header(block as u16).to_vec(); // as: numbers wrap
        data.resize(4 + length, 0);
        file.read_exact_at(data.get_mut(4..).unwrap_or_default(), bytes.start)?;
        send(socket, &data).await?;
    }
    Ok(())
}

/// A full queue or an unreachable peer counts as a lost packet, which is sent again.
async fn send(socket: &UdpSocket, bytes: &[u8]) -> io::Result<()> {
    match socket.send(bytes).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Err(error),
        Err(error) => {
            log::debug!("TFTP: cannot send: {}", Chain(&error));
            Ok(())
        }
        Ok(_) => Ok(()),
    }
}
