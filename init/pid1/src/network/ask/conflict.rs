//! Whether another host has the address that DHCP offers (RFC 5227, 2.1; RFC 2131, 4.4.1).
//!
//! The question goes out with the request, so a neighbour's answer is known when the acknowledgement comes. Waiting for the
//! RFC's full seconds would delay every boot for the sake of a few. Instead the client listens for a second while it uses
//! the address, and declines it if a neighbour has it.

use std::io;
use std::net::Ipv4Addr;
use std::num::NonZeroU32;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use cmdline::HwAddr;
use nix::sys::socket::{LinkAddr, recvfrom};
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, socket_with};

use crate::network::links::Link;
use crate::sys;

const ARP: u16 = 0x0806;
/// Hardware Ethernet, protocol IPv4, and the lengths of their addresses (RFC 826).
const KIND: [u8; 6] = [0, 1, 8, 0, 6, 4];
const REQUEST: [u8; 2] = [0, 1];
const BROADCAST: [u8; 6] = [0xff; 6];
const PACKET: usize = 28;
/// The pauses before the second and the third question, and after it.
const PAUSES: [Duration; 3] = [Duration::from_millis(100), Duration::from_millis(200), Duration::from_millis(700)];

pub struct Detection {
    socket: OwnedFd,
    index: u32,
    mac: HwAddr,
    address: Ipv4Addr,
    asked: usize,
    due: Instant,
}

impl Detection {
    pub fn start(link: &Link, address: Ipv4Addr, now: Instant) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let protocol = NonZeroU32::new(u32::from(ARP.to_be())).map(Protocol::from_raw);
        let socket = socket_with(AddressFamily::PACKET, SocketType::DGRAM, flags, protocol)?;
        let mut watch = Self { socket, index: link.index, mac: link.mac, address, asked: 0, due: now };
        watch.ask(now)?;
        Ok(watch)
    }

    /// Returns the host that has the address. `None` with [`Self::is_over`] means that no host has it.
    pub fn turn(&mut self, now: Instant) -> Option<HwAddr> {
        let mut packet = [0; 64];
        while let Ok((length, from)) = recvfrom::<LinkAddr>(self.socket.as_raw_fd(), &mut packet) {
            let here = from.is_some_and(|from| u32::try_from(from.ifindex()) == Ok(self.index));
            let heard = packet.get(..length).filter(|_| here);
            if let Some(owner) = heard.and_then(|packet| owner(packet, self.address, self.mac)) {
                return Some(owner);
            }
        }
        if now >= self.due
            && !self.is_over(now)
            && let Err(error) = self.ask(now)
        {
            log::debug!("cannot ask who has {}: {error}", self.address);
        }
        None
    }

    fn ask(&mut self, now: Instant) -> io::Result<()> {
        self.due = now + PAUSES.get(self.asked).copied().unwrap_or_default();
        self.asked += 1;
        sys::send_on_link(self.socket.as_fd(), self.index, ARP, BROADCAST, &question(self.mac, self.address))
    }

    pub fn is_over(&self, now: Instant) -> bool {
        self.asked >= PAUSES.len() && now >= self.due
    }

    pub fn due(&self) -> Instant {
        self.due
    }
}

impl AsFd for Detection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The question comes from the address 0.0.0.0, so that no neighbour's cache takes the machine for the owner.
fn question(mac: HwAddr, address: Ipv4Addr) -> Vec<u8> {
    [&KIND[..], &REQUEST, &mac.0, &[0; 4], &[0; 6], &address.octets()].concat()
}

/// The host that sends as the owner of `address`, or is about to use it as well.
fn owner(packet: &[u8], address: Ipv4Addr, ours: HwAddr) -> Option<HwAddr> {
    let packet: &[u8; PACKET] = packet.first_chunk()?;
    let (kind, rest) = packet.split_first_chunk::<6>()?;
    let (operation, rest) = rest.split_first_chunk::<2>()?;
    let (mac, rest) = rest.split_first_chunk::<6>()?;
    let (sender, rest) = rest.split_first_chunk::<4>()?;
    let target: &[u8; 4] = rest.last_chunk()?;
    let asks_for_itself = *operation == REQUEST && *sender == [0; 4] && *target == address.octets();
    let is_owner = *kind == KIND && (*sender == address.octets() || asks_for_itself);
    (is_owner && *mac != ours.0).then_some(HwAddr(*mac))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);
    const OURS: HwAddr = HwAddr([2, 0, 0, 0, 0, 1]);
    const THEIRS: HwAddr = HwAddr([2, 0, 0, 0, 0, 9]);

    fn packet(operation: u8, mac: HwAddr, sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
        [&KIND[..], &[0, operation], &mac.0, &sender.octets(), &OURS.0, &target.octets()].concat()
    }

    #[test]
    fn an_owner_answers_announces_or_probes_the_address() {
        let (nobody, other) = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::new(10, 0, 0, 6));
        for (case, packet, expected) in [
            ("an answer", packet(2, THEIRS, ADDRESS, nobody), Some(THEIRS)),
            ("an announcement", packet(1, THEIRS, ADDRESS, ADDRESS), Some(THEIRS)),
            ("the same question", question(THEIRS, ADDRESS), Some(THEIRS)),
            ("this machine's question", question(OURS, ADDRESS), None),
            ("this machine's answer", packet(2, OURS, ADDRESS, other), None),
            ("another host looks for it", packet(1, THEIRS, other, ADDRESS), None),
            ("another address", packet(2, THEIRS, other, nobody), None),
            ("broken off", vec![0, 1, 8, 0], None),
        ] {
            assert_eq!(owner(&packet, ADDRESS, OURS), expected, "{case}");
        }
    }
}
