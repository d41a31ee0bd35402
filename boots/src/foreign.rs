//! Answers of other DHCP servers, as far as they are heard: a packet socket for what goes to port 68. It takes nothing from the
//! host's own DHCP client, and harms no other program.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::machine::Chain;
use api::{BootStep, StepKind};
use dhcp::v4::{CLIENT_PORT, MessageType, Op, Packet};
use jiff::Timestamp;
use model::Mac;
use nix::sys::socket::{LinkAddr, recvfrom};
use socket2::{Domain, Protocol, SockFilter, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use crate::config::Current;
use crate::dhcp::links::Links;
use crate::dhcp::{Link, Mode, firmware};
use crate::quota::Seldom;
use crate::{BootInterface, Config, Events, MachineSource, Milestone};

const LONGEST: usize = 2048;
const SAME_LINE_EVERY: Duration = Duration::from_secs(60);
/// The protocol number of IPv4 on Ethernet.
const ETH_P_IP: u16 = 0x0800;

/// UDP datagrams of IPv4 to port 68 that are replies of BOOTP, whole or first fragments. The kernel drops the rest before it copies.
const FILTER: [(u16, u8, u8, u32); 11] = [
    (0x30, 0, 0, 9),                  // the protocol
    (0x15, 0, 8, 17),                 // is UDP
    (0x28, 0, 0, 6),                  // the fragment offset
    (0x45, 6, 0, 0x1fff),             // is 0
    (0xb1, 0, 0, 0),                  // behind the IP header
    (0x48, 0, 0, 2),                  // the destination port
    (0x15, 0, 3, CLIENT_PORT as u32), // is 68
    (0x50, 0, 0, 8),                  // the first byte of the message
    (0x15, 0, 1, 2),                  // is BOOTREPLY
    (0x06, 0, 0, LONGEST as u32),     // take it
    (0x06, 0, 0, 0),                  // drop it
];

/// Hears the replies that reach this host: broadcasts, and what is sent to it.
#[derive(Debug)]
pub struct Socket(UdpSocket);

/// A reply, and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    pub from: Ipv4Addr,
    pub interface: u32,
    pub packet: Packet,
}

impl Socket {
    /// Needs a tokio runtime and CAP_NET_RAW.
    pub fn open() -> io::Result<Self> {
        let protocol = Protocol::from(i32::from(ETH_P_IP.to_be()));
        let socket = socket2::Socket::new(Domain::PACKET, Type::DGRAM, Some(protocol))?;
        let filter: Vec<SockFilter> = FILTER.iter().map(|(code, yes, no, k)| SockFilter::new(*code, *yes, *no, *k)).collect();
        socket.attach_filter(&filter)?;
        socket.set_nonblocking(true)?;
        UdpSocket::from_std(socket.into()).map(Self) // tokio only waits for its descriptor
    }

    /// The next reply that can be read.
    pub async fn receive(&self) -> io::Result<Heard> {
        let mut buffer = [0; LONGEST];
        loop {
            let receive = || Ok(recvfrom::<LinkAddr>(self.0.as_raw_fd(), &mut buffer)?);
            let (length, from) = self.0.async_io(Interest::READABLE, receive).await?;
            let interface = from.and_then(|from| u32::try_from(from.ifindex()).ok()).unwrap_or(0);
            // Packets before the filter was there are of any kind.
            if let Some((from, packet)) = buffer.get(..length).and_then(reply) {
                return Ok(Heard { from, interface, packet });
            }
        }
    }
}

/// The reply of BOOTP in an IPv4 packet, and its sender. Any bytes may come.
#[must_use]
pub fn reply(bytes: &[u8]) -> Option<(Ipv4Addr, Packet)> {
    let [first, .., _] = bytes else { return None };
    let header = usize::from(first & 0x0f) * 4;
    if first >> 4 != 4 || bytes.get(9) != Some(&17) || header < 20 {
        return None;
    }
    let from: [u8; 4] = bytes.get(12..16)?.try_into().ok()?;
    let [_, _, high, low, _, _, _, _, payload @ ..] = bytes.get(header..)? else { return None };
    if u16::from_be_bytes([*high, *low]) != CLIENT_PORT {
        return None;
    }
    let packet = Packet::decode(payload).ok().filter(|packet| packet.op == Op::Reply)?;
    Some((Ipv4Addr::from(from), packet))
}

/// Reports other servers that answer known machines, until `shutdown`.
pub async fn watch(socket: Socket, config: Current, source: Arc<dyn MachineSource>, events: Events, shutdown: CancellationToken) {
    let (mut seldom, links) = (Seldom::new(SAME_LINE_EVERY), Links::default());
    loop {
        let heard = tokio::select! {
            () = shutdown.cancelled() => return,
            heard = socket.receive() => heard,
        };
        match heard {
            Ok(heard) => {
                let (config, link) = (config.now(), links.at(heard.interface, Instant::now()));
                if concerns(&heard, &config, &link) {
                    note(&heard, &*source, &events, &mut seldom).await;
                }
            }
            Err(error) => {
                log::debug!("answers of other DHCP servers cannot be heard: {}", Chain(&error));
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// Whether another server that answers there is news. Beside a proxy, and where boots is silent, another one is meant to answer.
fn concerns(heard: &Heard, config: &Config, link: &Link) -> bool {
    let is_served = config.interface.as_ref().is_none_or(|name| *name == link.name);
    let is_own = |address| address == config.address || link.addresses.iter().any(|(own, _)| *own == address);
    let is_other = !is_own(server(heard)) && !is_own(heard.from);
    let (mode, _) = config.modes.of(&heard.packet, link);
    is_served && is_other && !mode.is_proxy() && *mode != Mode::Off
}

fn server(heard: &Heard) -> Ipv4Addr {
    heard.packet.server_id().unwrap_or(heard.from)
}

async fn note(heard: &Heard, source: &dyn MachineSource, events: &Events, seldom: &mut Seldom<(Mac, Ipv4Addr)>) {
    let (interface, server) = (events.interface(heard.interface), server(heard));
    let Some(mac) = heard.packet.mac().map(Mac::new) else { return };
    let Ok(Some(machine)) = source.machine(mac).await else { return };
    if answers_as_boots(&heard.packet, &machine) && events.met_sibling(server) {
        log::info!("DHCP: {server} on {interface} answers as this boots does, so it is taken for another boots of the site");
    }
    if events.is_sibling(server) {
        return; // it says itself what it answers
    }
    let kind = heard.packet.message_type().map_or_else(|| "BOOTREPLY".to_owned(), |kind| kind.to_string());
    let answered = format!("{kind} {} of DHCP server {server}", heard.packet.yiaddr);
    let file = heard.packet.boot_file().unwrap_or_default();
    let step = BootStep::new(Timestamp::now(), StepKind::ForeignAnswer, format!("heard on {interface}"), &answered);
    events.step(mac, step.with_file(file).of_server(server.into()));
    if seldom.allows((mac, server), Instant::now()) {
        let name = &machine.name;
        log::warn!(
            "DHCP {mac} ({name}): {answered} on {interface}. Another DHCP server answers this machine; stop it, or let it ignore this MAC"
        );
        let detail = format!("{kind} {}", heard.packet.yiaddr);
        events.publish(Some(mac), None, Milestone::OtherServer { server: server.into(), detail });
    }
}

/// The same address, and a boot program that boots names. Only a server that has the same Hardware answers so.
fn answers_as_boots(answer: &Packet, machine: &BootInterface) -> bool {
    let is_its_address = machine.reservation.as_ref().is_some_and(|reservation| reservation.address == answer.yiaddr);
    is_its_address && answer.boot_file().is_some_and(firmware::is_sent)
}

/// The client identifier of the probe (RFC 2132 section 9.14: type 0 is no address). boots does not answer it.
const PROBE: &[u8] = b"\0thimble doctor";

/// Whether it is a probe of a thimble, of this host or of another one.
pub(crate) fn is_probe(packet: &Packet) -> bool {
    packet.options.get(dhcp::v4::code::CLIENT_ID) == Some(PROBE)
}

/// A DHCPDISCOVER of PXE firmware in a UDP datagram from port 68. Its MAC is of no machine, so the answers serve none.
#[must_use]
pub(crate) fn discover(mac: [u8; 6], xid: u32) -> Vec<u8> {
    use dhcp::v4::code;
    let mut packet = Packet::request(MessageType::Discover, xid, mac);
    packet.set_wants_broadcast(true);
    packet.options.set(code::VENDOR_CLASS, *b"PXEClient:Arch:00007:UNDI:003016");
    packet.options.set(code::CLIENT_ARCH, [0, 7]);
    packet.options.set(code::CLIENT_ID, PROBE);
    packet.options.set(code::PARAMETER_LIST, [1, 3, 6, 13, 43, 54, 60, 66, 67]);
    let payload = packet.encode();
    let length = u16::try_from(payload.len() + 8).unwrap_or(u16::MAX);
    let mut datagram = Vec::with_capacity(payload.len() + 8);
    for word in [CLIENT_PORT, dhcp::v4::SERVER_PORT, length, 0] {
        datagram.extend(word.to_be_bytes()); // a checksum of 0 means none (RFC 768)
    }
    datagram.extend(payload);
    datagram
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(port: u16, packet: &Packet) -> Vec<u8> {
        let mut bytes = vec![0x45; 1];
        bytes.extend([0; 8]);
        bytes.extend([17, 0, 0, 10, 0, 0, 9, 255, 255, 255, 255]);
        bytes.extend([0, 67]);
        bytes.extend(port.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(packet.encode());
        bytes
    }

    #[test]
    fn a_reply_is_read_and_other_bytes_are_not() {
        let request = Packet::request(MessageType::Discover, 1, [2, 0, 0, 0, 0, 1]);
        let offer = request.reply(MessageType::Offer);
        let whole = ip(68, &offer);
        assert_eq!(reply(&whole), Some((Ipv4Addr::new(10, 0, 0, 9), offer.clone())));
        assert_eq!(reply(&ip(67, &offer)), None, "another port");
        assert_eq!(reply(&ip(68, &request)), None, "a request");
        for length in 0..whole.len().min(260) {
            assert_eq!(reply(&whole[..length]), None, "cut at {length}");
        }
    }

    #[test]
    fn another_server_is_news_only_where_boots_gives_the_addresses() {
        let config = |mode| {
            let modes = crate::dhcp::Modes { otherwise: mode, ..Default::default() };
            Config { modes, interface: Some("eth1".to_owned()), ..Config::new([10, 0, 0, 1].into(), "/f".into(), "/n".into()) }
        };
        let packet = |server: [u8; 4]| {
            let mut offer = Packet::request(MessageType::Discover, 1, [2, 0, 0, 0, 0, 1]).reply(MessageType::Offer);
            offer.options.set_ip(dhcp::v4::code::SERVER_ID, server.into());
            Heard { from: server.into(), interface: 7, packet: offer }
        };
        let link = |name: &str| Link { name: name.to_owned(), ..Link::default() };
        for (case, mode, server, name, expected) in [
            ("another server", Mode::Reservation, [10, 0, 0, 9], "eth1", true),
            ("boots itself", Mode::Reservation, [10, 0, 0, 1], "eth1", false),
            ("another interface", Mode::Reservation, [10, 0, 0, 9], "eth2", false),
            ("beside a proxy", Mode::Proxy, [10, 0, 0, 9], "eth1", false),
            ("where boots is silent", Mode::Off, [10, 0, 0, 9], "eth1", false),
        ] {
            assert_eq!(concerns(&packet(server), &config(mode), &link(name)), expected, "{case}");
        }
    }

    #[test]
    fn only_a_server_with_the_same_hardware_is_taken_for_another_boots() {
        use crate::Reservation;
        let reservation = Reservation {
            address: [10, 0, 0, 20].into(),
            netmask: [255, 255, 255, 0].into(),
            gateway: None,
            lease_time: None,
            hostname: None,
            domain_name: None,
            name_servers: Vec::new(),
            time_servers: Vec::new(),
            routes: Vec::new(),
        };
        let known = BootInterface { reservation: Some(reservation), ..BootInterface::unknown(Mac::new([2, 0, 0, 0, 0, 1])) };
        for (case, machine, address, file, expected) in [
            ("its address and iPXE", &known, [10, 0, 0, 20], "02:00:00:00:00:01/ipxe.efi", true),
            ("its script", &known, [10, 0, 0, 20], "http://10.0.0.9:7080/ipxe/script/02:00:00:00:00:01/auto.ipxe", true),
            ("no boot file", &known, [10, 0, 0, 20], "", false),
            ("a program of its own", &known, [10, 0, 0, 20], "pxelinux.0", false),
            ("another address", &known, [10, 0, 0, 21], "ipxe.efi", false),
            ("a machine without reservation", &BootInterface::unknown(known.mac), [10, 0, 0, 20], "ipxe.efi", false),
        ] {
            let mut offer = Packet::request(MessageType::Discover, 1, known.mac.bytes()).reply(MessageType::Offer);
            offer.yiaddr = address.into();
            if !file.is_empty() {
                offer.options.set(dhcp::v4::code::BOOT_FILE_NAME, file.as_bytes());
            }
            assert_eq!(answers_as_boots(&offer, machine), expected, "{case}");
        }
        let events = Events::new();
        let sibling = Ipv4Addr::new(10, 0, 0, 9);
        assert_eq!((events.is_sibling(sibling), events.met_sibling(sibling), events.met_sibling(sibling)), (false, true, false));
        assert!(events.clone().is_sibling(sibling), "the lines of DHCP know it, too");
    }

    #[test]
    fn the_probe_is_a_discover_that_no_machine_sent() {
        let bytes = discover([2, 1, 2, 3, 4, 5], 7);
        assert_eq!(bytes.get(..4), Some([0, 68, 0, 67].as_slice()));
        let packet = Packet::decode(bytes.get(8..).unwrap()).unwrap();
        assert_eq!((packet.message_type(), packet.wants_broadcast()), (Some(MessageType::Discover), true));
        assert!(is_probe(&packet) && !is_probe(&Packet::request(MessageType::Discover, 7, [2, 1, 2, 3, 4, 5])));
    }
}
