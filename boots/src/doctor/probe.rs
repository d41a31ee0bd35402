//! A DISCOVER of a machine that does not exist, and what other DHCP servers answer. There is never a REQUEST, so no server keeps
//! an address for it.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use dhcp::v4::{Packet, SERVER_PORT, code};
use serde::Serialize;
use socket2::{Domain, Protocol, Type};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::foreign::{Heard, Socket, discover};

/// How long answers are waited for. A server that looks first whether the address is used takes a second or two.
const PATIENCE: Duration = Duration::from_secs(3);
/// When the DISCOVER is sent again.
const AGAIN: Duration = Duration::from_millis(1200);
const MOST: usize = 64;

/// What another server answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answer {
    pub server: Ipv4Addr,
    pub interface: String,
    /// The address that it would give. `None` of a PXE server beside a DHCP server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
    /// Option 60 is `PXEClient`: it answers firmware that boots.
    pub is_pxe: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub boot_file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_server: Option<Ipv4Addr>,
    /// The relay by which it came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relay: Option<Ipv4Addr>,
}

impl Answer {
    #[must_use]
    pub fn of(packet: &Packet, from: Ipv4Addr, interface: &str) -> Self {
        let some = |address: Ipv4Addr| Some(address).filter(|address| !address.is_unspecified());
        Self {
            server: packet.server_id().unwrap_or(from),
            interface: interface.to_owned(),
            address: some(packet.yiaddr),
            is_pxe: packet.vendor_class().starts_with(b"PXEClient") || packet.options.contains(code::VENDOR_SPECIFIC),
            boot_file: machine::said(packet.boot_file().unwrap_or_default(), 128),
            next_server: some(packet.siaddr),
            relay: some(packet.giaddr),
        }
    }
}

/// Asks by one interface.
pub async fn ask(interface: &str) -> io::Result<Vec<Answer>> {
    let listening = Socket::open()?;
    let sending = socket2::Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::UDP))?;
    sending.bind_device(Some(interface.as_bytes()))?;
    sending.set_broadcast(true)?;
    sending.set_nonblocking(true)?;
    let seed = random()?;
    let [a, b, c, d, e, ..] = seed;
    let mac = [0x02, a, b, c, d, e]; // locally administered
    let xid = u32::from_ne_bytes([a, c, e, b]);
    let datagram = discover(mac, xid);
    let to = SocketAddrV4::new(Ipv4Addr::BROADCAST, SERVER_PORT).into();
    sending.send_to(&datagram, &to)?;
    let (began, mut again, mut found) = (Instant::now(), Some(Instant::now() + AGAIN), Vec::new());
    while found.len() < MOST {
        let next = again.unwrap_or(began + PATIENCE + Duration::from_secs(1));
        let heard = tokio::select! {
            heard = timeout_at(began + PATIENCE, listening.receive()) => heard,
            () = sleep_until(next) => {
                again = None;
                sending.send_to(&datagram, &to)?;
                continue;
            }
        };
        let Ok(heard) = heard else { break };
        let Heard { from, interface: index, packet } = heard?;
        let name = nix::net::if_::if_indextoname(index).ok().and_then(|name| name.into_string().ok()).unwrap_or_default();
        let answer = Answer::of(&packet, from, &name);
        if name == interface && packet.xid == xid && packet.mac() == Some(mac) && !found.contains(&answer) {
            found.push(answer);
        }
    }
    Ok(found)
}

fn random() -> io::Result<[u8; 8]> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(bytes)
}
