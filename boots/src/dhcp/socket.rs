//! UDP port 67. A reply leaves by the interface of its request.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ::machine::Chain;
use dhcp::v4::{MessageType, Packet};
use model::Mac;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, sendmsg, setsockopt, sockopt};
use socket2::{Domain, Protocol, SockAddr, Type};
use tokio::io::Interest;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{Client, Ignored, destination, respond};
use crate::quota::Seldom;
use crate::{BootInterface, Config, Events, MachineSource, Milestone};

/// How many lookups run at once. Further requests are dropped, and their clients ask again.
const IN_FLIGHT: usize = 128;
const SAME_LINE_EVERY: Duration = Duration::from_secs(60);

/// A UDP socket that knows the interface of each packet.
#[derive(Debug)]
pub struct Socket(tokio::net::UdpSocket);

/// The sender of a packet, and the interface for the reply.
#[derive(Debug, Clone, Copy)]
struct Peer {
    address: SocketAddrV4,
    interface: u32,
}

impl Socket {
    /// Needs a tokio runtime. Port 67 and an interface need the rights of root.
    pub fn bind(address: SocketAddrV4, interface: Option<&str>) -> io::Result<Self> {
        let socket = socket2::Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_reuse_address(true)?;
        socket.set_broadcast(true)?;
        if let Some(interface) = interface {
            socket.bind_device(Some(interface.as_bytes()))?;
        }
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        socket.bind(&SockAddr::from(address))?;
        socket.set_nonblocking(true)?;
        tokio::net::UdpSocket::from_std(UdpSocket::from(socket)).map(Self)
    }

    pub fn local_addr(&self) -> io::Result<std::net::SocketAddr> {
        self.0.local_addr()
    }

    async fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, Peer)> {
        self.0.async_io(Interest::READABLE, || receive(&self.0, buffer)).await
    }

    async fn send(&self, bytes: &[u8], to: SocketAddrV4, interface: u32) -> io::Result<()> {
        self.0.async_io(Interest::WRITABLE, || send(&self.0, bytes, to, interface)).await
    }
}

fn receive(socket: &tokio::net::UdpSocket, buffer: &mut [u8]) -> io::Result<(usize, Peer)> {
    let mut control = nix::cmsg_space!(nix::libc::in_pktinfo);
    let mut parts = [IoSliceMut::new(buffer)];
    let message = recvmsg::<SockaddrIn>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty())?;
    let interface = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::Ipv4PacketInfo(info) => u32::try_from(info.ipi_ifindex).ok(),
        _ => None,
    });
    let from = message.address.ok_or(io::ErrorKind::AddrNotAvailable)?;
    let address = SocketAddrV4::new(from.ip(), from.port());
    Ok((message.bytes, Peer { address, interface: interface.unwrap_or(0) }))
}

fn send(socket: &tokio::net::UdpSocket, bytes: &[u8], to: SocketAddrV4, interface: u32) -> io::Result<()> {
    let unspecified = nix::libc::in_addr { s_addr: 0 };
    // A relay may be anywhere, so its packets follow the routes. A client is on the interface of its packet.
    let ipi_ifindex = i32::try_from(interface).unwrap_or(0);
    let info = nix::libc::in_pktinfo { ipi_ifindex, ipi_spec_dst: unspecified, ipi_addr: unspecified };
    let control = [ControlMessage::Ipv4PacketInfo(&info)];
    sendmsg(socket.as_raw_fd(), &[IoSlice::new(bytes)], &control, MsgFlags::empty(), Some(&SockaddrIn::from(to)))?;
    Ok(())
}

/// Shared by the tasks, one for each packet.
#[derive(Clone)]
struct Server {
    socket: Arc<Socket>,
    config: Arc<Config>,
    source: Arc<dyn MachineSource>,
    events: Events,
    seldom: Arc<Mutex<Seldom<String>>>,
}

/// Answers until `shutdown`. Lookups run side by side, so a slow lookup delays one machine only.
pub async fn serve(
    socket: Socket,
    config: Arc<Config>,
    source: Arc<dyn MachineSource>,
    events: Events,
    shutdown: CancellationToken,
) {
    let seldom = Arc::new(Mutex::new(Seldom::new(SAME_LINE_EVERY)));
    let server = Server { socket: Arc::new(socket), config, source, events, seldom };
    let places = Arc::new(Semaphore::new(IN_FLIGHT));
    let mut buffer = vec![0; 4096];
    loop {
        let received = tokio::select! {
            () = shutdown.cancelled() => return,
            received = server.socket.receive(&mut buffer) => received,
        };
        let (length, peer) = match received {
            Ok(received) => received,
            Err(error) => {
                // Errors of earlier sends arrive here, too. No such error is a reason to stop.
                log::warn!("DHCP: cannot receive: {}", Chain(&error));
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            server.say_seldom("busy", || format!("DHCP: more than {IN_FLIGHT} requests wait for a lookup; dropping others"));
            continue;
        };
        let bytes = buffer.get(..length).unwrap_or_default().to_vec();
        let server = server.clone();
        tokio::spawn(async move {
            server.handle(&bytes, peer).await;
            drop(place);
        });
    }
}

impl Server {
    async fn handle(&self, bytes: &[u8], peer: Peer) {
        let request = match Packet::decode(bytes) {
            Ok(request) => request,
            Err(error) => {
                let key = format!("malformed {}", peer.address.ip());
                self.say_seldom(&key, || {
                    format!("DHCP: malformed packet of {} bytes from {}: {error}", bytes.len(), peer.address)
                });
                return;
            }
        };
        let kind = match Ignored::check(&request) {
            Ok(kind) => kind,
            Err(ignored) => return self.log_ignored(&request, &ignored),
        };
        let Some(mac) = request.mac().map(Mac::new) else { return };
        let machine = match self.source.machine(mac).await {
            Ok(Some(machine)) => machine,
            Ok(None) => return self.stranger(mac, &request),
            Err(error) => {
                self.say_seldom(&format!("source {mac}"), || format!("DHCP {mac}: {}; no answer", Chain(&error)));
                return;
            }
        };
        if kind == MessageType::Discover {
            self.events.publish(Some(mac), None, Milestone::Discover { client: Client::of(&request).to_string() });
        }
        match respond(&self.config, &machine, &request) {
            Ok(reply) => self.answer(&machine, &request, &reply, peer).await,
            Err(ignored) => self.log_ignored(&request, &ignored),
        }
    }

    async fn answer(&self, machine: &BootInterface, request: &Packet, reply: &Packet, peer: Peer) {
        let max = request.max_payload();
        let bytes = reply.encode_within(max).unwrap_or_else(|error| {
            self.say_seldom(&format!("size {}", machine.mac), || {
                format!("DHCP {}: {error}; sending it all the same", machine.mac)
            });
            reply.encode()
        });
        let to = destination(reply, peer.address);
        let interface = if reply.giaddr.is_unspecified() { peer.interface } else { 0 };
        match self.socket.send(&bytes, to, interface).await {
            Ok(()) => self.publish(machine, request, reply),
            Err(error) => log::warn!("DHCP {}: cannot send to {to}: {}", machine.mac, Chain(&error)),
        }
    }

    fn publish(&self, machine: &BootInterface, request: &Packet, reply: &Packet) {
        let (mac, name) = (machine.mac, &machine.name);
        let (address, boot_file) = (reply.yiaddr, reply.boot_file().unwrap_or_default().to_owned());
        let client = Client::of(request);
        let milestone = match reply.message_type() {
            Some(MessageType::Offer) => Milestone::Offered { address, boot_file },
            Some(MessageType::Ack) => Milestone::Acknowledged { address, boot_file },
            _ => return log::info!("DHCP {mac} ({name}): NAK to {client}: {}", reply.message().unwrap_or_default()),
        };
        let kind = reply.message_type().map(|kind| kind.to_string()).unwrap_or_default();
        log::info!("DHCP {mac} ({name}): {kind} {address} to {client}, boot file {:?}", reply.boot_file().unwrap_or_default());
        self.events.publish(Some(mac), Some(IpAddr::V4(address)), milestone);
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

    fn log_ignored(&self, request: &Packet, ignored: &Ignored) {
        let mac = request.mac().map_or_else(|| "?".to_owned(), |mac| Mac::new(mac).to_string());
        match ignored {
            // Any host can send this at any rate.
            Ignored::Declined { .. } if self.allows_line(&format!("declined {mac}")) => {
                log::error!("DHCP {mac}: {ignored}; remove that host or change the Hardware");
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
