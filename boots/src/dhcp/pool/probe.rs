//! Whether another host uses an address: an ICMP echo request, which makes the kernel ask by ARP, too. A host that drops the
//! echo is still in the kernel's ARP table then.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::machine::Chain;
use model::Mac;
use socket2::{Domain, Protocol, Type};
use tokio::net::UdpSocket;
use tokio::sync::{Notify, Semaphore};

/// How long an answer is waited for. iPXE asks again after a second.
const WAIT: Duration = Duration::from_millis(400);
/// How many probes run at once. A flood of requests is offered addresses without one, and its clients ask by ARP themselves.
const AT_ONCE: usize = 16;
const MARK: &[u8] = b"thimble: is this address free?";

#[derive(Debug)]
pub struct Probe {
    /// A raw socket. tokio's type for datagrams can drive it.
    socket: Option<UdpSocket>,
    places: Semaphore,
    waiting: Mutex<HashMap<Ipv4Addr, Arc<Notify>>>,
    identifier: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    Nothing,
    /// With its MAC, if it is on the link.
    Host(Option<Mac>),
    NotProbed,
}

impl Probe {
    /// Needs the rights of root, else it never finds anything and says so.
    pub fn open() -> Self {
        let open = || -> io::Result<UdpSocket> {
            let socket = socket2::Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
            socket.set_nonblocking(true)?;
            UdpSocket::from_std(socket.into())
        };
        let socket = open().inspect_err(|error| {
            log::warn!("DHCP: cannot look whether other hosts use addresses of the pool: {}; it needs CAP_NET_RAW", Chain(error));
        });
        let identifier = u16::try_from(std::process::id() & 0xffff).unwrap_or(1);
        Self { socket: socket.ok(), places: Semaphore::new(AT_ONCE), waiting: Mutex::default(), identifier }
    }

    #[cfg(test)]
    pub fn without_socket() -> Self {
        Self { socket: None, places: Semaphore::new(AT_ONCE), waiting: Mutex::default(), identifier: 1 }
    }

    /// Reads answers, and never ends.
    pub async fn listen(&self) {
        let Some(socket) = &self.socket else { return std::future::pending().await };
        let mut buffer = [0; 1500];
        loop {
            match socket.recv(&mut buffer).await {
                Ok(length) => {
                    let answer = echo_reply(buffer.get(..length).unwrap_or_default(), self.identifier);
                    let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Some(waiting) = answer.and_then(|address| waiting.get(&address)) {
                        waiting.notify_waiters();
                        waiting.notify_one();
                    }
                }
                Err(error) => {
                    log::debug!("DHCP: probe: {}", Chain(&error));
                    tokio::time::sleep(WAIT).await;
                }
            }
        }
    }

    /// `client` may have the address already, and `former` had it before by a lease.
    pub async fn ask(&self, address: Ipv4Addr, client: Mac, former: Option<Mac>) -> Found {
        let (Some(socket), Ok(_place)) = (&self.socket, self.places.try_acquire()) else { return Found::NotProbed };
        let before = in_arp_table(address);
        let answered = Arc::clone(self.waiting.lock().unwrap_or_else(PoisonError::into_inner).entry(address).or_default());
        // An error is that of the network: then no host of it answers either.
        let _ = socket.send_to(&echo_request(self.identifier), SocketAddr::from((address, 0))).await;
        let echo = tokio::time::timeout(WAIT, answered.notified()).await.is_ok();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&address);
        found(echo, before, in_arp_table(address), client, former)
    }
}

/// What the entries of the ARP table before and after the echo request say.
///
/// An old entry stays in the table. One of the former client is likely of a machine that has left. One of any other MAC is of
/// a host that has the address without a lease. If it has left, too, the kernel drops the entry soon after the request.
fn found(echo: bool, before: Option<Mac>, after: Option<Mac>, client: Mac, former: Option<Mac>) -> Found {
    let is_old = after == before && after == former;
    match after {
        Some(mac) if mac == client => Found::Nothing,
        _ if echo => Found::Host(after),
        Some(_) if !is_old => Found::Host(after),
        _ => Found::Nothing,
    }
}

fn echo_request(identifier: u16) -> Vec<u8> {
    let [a, b] = identifier.to_be_bytes();
    let mut packet = [&[8, 0, 0, 0, a, b, 0, 1], MARK].concat();
    let sum = packet.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u32::from)).sum::<u32>();
    let folded = (sum & 0xffff) + (sum >> 16);
    let [a, b] = (!u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap_or(0)).to_be_bytes();
    if let Some(checksum) = packet.get_mut(2..4) {
        checksum.copy_from_slice(&[a, b]);
    }
    packet
}

/// The sender of an answer to an echo request of this program, from an IPv4 packet.
fn echo_reply(packet: &[u8], identifier: u16) -> Option<Ipv4Addr> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let [a, b, c, d] = *packet.get(12..16)?.first_chunk::<4>()?;
    let icmp = packet.get(header.max(20)..)?;
    let is_ours = icmp.first() == Some(&0) && icmp.get(4..6) == Some(&identifier.to_be_bytes()) && icmp.get(8..) == Some(MARK);
    is_ours.then_some(Ipv4Addr::new(a, b, c, d))
}

/// The MAC of an address, if a host has answered for it.
fn in_arp_table(address: Ipv4Addr) -> Option<Mac> {
    mac_in(&std::fs::read_to_string("/proc/net/arp").ok()?, address)
}

/// A line is `ADDRESS TYPE FLAGS MAC MASK DEVICE`, and the flag 2 means that the MAC is known.
fn mac_in(table: &str, address: Ipv4Addr) -> Option<Mac> {
    let address = address.to_string();
    table.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let (found, flags, mac) = (words.next()?, words.nth(1)?, words.next()?);
        let is_known = u32::from_str_radix(flags.strip_prefix("0x")?, 16).is_ok_and(|flags| flags & 2 != 0);
        (found == address && is_known).then(|| mac.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_echo_request_has_a_right_checksum_and_its_reply_is_known() {
        let request = echo_request(0x1234);
        let words = request.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u32::from));
        let sum: u32 = words.sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
        let mut reply = [&[0x45, 0, 0, 58, 0, 0, 0, 0, 64, 1, 0, 0, 192, 0, 2, 9, 192, 0, 2, 1][..], &request].concat();
        assert_eq!(echo_reply(&reply, 0x1234), None, "its own request, as loopback shows it");
        reply[20] = 0;
        assert_eq!(echo_reply(&reply, 0x1234), Some(Ipv4Addr::new(192, 0, 2, 9)));
        assert_eq!(echo_reply(&reply, 0x1235), None, "another program's");
        for length in 0..reply.len() {
            assert_eq!(echo_reply(&reply[..length], 0x1234), None);
        }
    }

    #[test]
    fn a_host_that_drops_the_echo_is_known_by_arp_at_every_probe() {
        let [client, former, host] = [1, 2, 9].map(|last| Mac::new([2, 0, 0, 0, 0, last]));
        let in_use = Found::Host(Some(host));
        for (case, echo, before, after, expected) in [
            ("nobody", false, None, None, Found::Nothing),
            ("it answers the echo", true, None, Some(host), in_use.clone()),
            ("it answers the echo through a router", true, None, None, Found::Host(None)),
            ("it answers ARP only", false, None, Some(host), in_use.clone()),
            ("it answers ARP only, and was found before", false, Some(host), Some(host), in_use.clone()),
            ("another host has it now", false, Some(former), Some(host), in_use),
            ("the former client has left", false, Some(former), Some(former), Found::Nothing),
            ("the former client has kept it", false, None, Some(former), Found::Host(Some(former))),
            ("the former client answers", true, Some(former), Some(former), Found::Host(Some(former))),
            ("the client itself", true, Some(client), Some(client), Found::Nothing),
            ("a host that has left", false, Some(host), None, Found::Nothing),
        ] {
            assert_eq!(found(echo, before, after, client, Some(former)), expected, "{case}");
        }
        assert_eq!(found(false, Some(host), Some(host), client, None), Found::Host(Some(host)), "no former client");
    }

    #[test]
    fn the_arp_table_names_hosts_that_have_answered() {
        let table = "IP address       HW type     Flags       HW address            Mask     Device\n\
                     192.0.2.9        0x1         0x2         02:00:00:00:00:09     *        eth0\n\
                     192.0.2.10       0x1         0x0         00:00:00:00:00:00     *        eth0\n";
        assert_eq!(mac_in(table, Ipv4Addr::new(192, 0, 2, 9)), Some(Mac::new([2, 0, 0, 0, 0, 9])));
        assert_eq!(mac_in(table, Ipv4Addr::new(192, 0, 2, 10)), None, "no answer");
        assert_eq!(mac_in(table, Ipv4Addr::new(192, 0, 2, 1)), None);
    }
}
