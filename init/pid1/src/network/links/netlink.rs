//! The few rtnetlink messages that bring up a link, in the kernel's encoding (rtnetlink(7)). A general library would
//! enlarge the ramdisk more than this file.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use machine::network::{HwAddr, Route};
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt, socket,
};
use nix::sys::time::{TimeVal, TimeValLike};

const HEADER_LEN: usize = 16;
/// Links, IPv6 addresses, IPv6 routes: RTMGRP_LINK, RTMGRP_IPV6_IFADDR, RTMGRP_IPV6_ROUTE.
const GROUPS: u32 = 1 | 0x100 | 0x400;
const ERROR: u16 = 2; // NLMSG_ERROR, which is also the acknowledgement
const IFF_UP: u32 = 1;
const ETHERNET_VLAN: &[u8] = b"vlan";
const IFLA_VLAN_ID: u16 = 1;
const IFA_CACHEINFO: u16 = 6;
const RTN_UNICAST: u8 = 1;
const RTPROT_DHCP: u8 = 16;
const RTNH_F_ONLINK: u32 = 4;
const ANSWER_LIMIT: i64 = 10;

/// A request socket: each call waits for the kernel's answer.
pub struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

/// Readable when any link has changed. The change itself is read from sysfs.
pub struct LinkEvents(OwnedFd);

impl Netlink {
    pub fn open() -> io::Result<Self> {
        let socket = open(SockFlag::SOCK_CLOEXEC)?;
        setsockopt(&socket, ReceiveTimeout, &TimeVal::seconds(ANSWER_LIMIT))?;
        Ok(Self { socket, sequence: 0 })
    }

    pub fn set_up(&mut self, index: u32) -> io::Result<()> {
        self.request(link_up(index))
    }

    pub fn set_mtu(&mut self, index: u32, mtu: u16) -> io::Result<()> {
        self.request(change(index).attribute(libc::IFLA_MTU, &u32::from(mtu).to_ne_bytes()))
    }

    pub fn add_vlan(&mut self, name: &str, parent: u32, id: u16) -> io::Result<()> {
        self.request(vlan(name, parent, id))
    }

    /// Makes the bond. An existing bond without members gets the new attributes.
    pub fn set_bond(&mut self, name: &str, attributes: &[(u16, u8, u32)]) -> io::Result<()> {
        self.request(bond(name, attributes))
    }

    pub fn set_master(&mut self, index: u32, master: u32) -> io::Result<()> {
        self.request(change(index).attribute(libc::IFLA_MASTER, &master.to_ne_bytes()))
    }

    pub fn set_mac(&mut self, index: u32, mac: HwAddr) -> io::Result<()> {
        self.request(change(index).attribute(libc::IFLA_ADDRESS, &mac.0))
    }

    pub fn set_down(&mut self, index: u32) -> io::Result<()> {
        self.request(link_down(index))
    }

    pub fn remove_link(&mut self, index: u32) -> io::Result<()> {
        self.request(Message::new(libc::RTM_DELLINK, 0, &link_body(index, 0, 0)))
    }

    /// Adds the address, or gives the existing one the new lifetime.
    pub fn set_address(&mut self, index: u32, address: IpAddr, prefix: u8, lifetime: Option<u32>) -> io::Result<()> {
        self.request(new_address(index, address, prefix, lifetime))
    }

    pub fn remove_address(&mut self, index: u32, address: IpAddr, prefix: u8) -> io::Result<()> {
        let message = Message::new(libc::RTM_DELADDR, 0, &address_body(index, address, prefix));
        self.request(message.attribute(libc::IFA_LOCAL, &octets(address)))
    }

    /// Of two routes to the same place the one with the lower metric is used.
    pub fn set_route(&mut self, index: u32, route: Route, onlink: bool, metric: u32) -> io::Result<()> {
        self.request(new_route(index, route, onlink, metric))
    }

    fn request(&mut self, message: Message) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        send(self.socket.as_raw_fd(), &message.finish(self.sequence), MsgFlags::empty())?;
        let mut answer = [0; 4096];
        loop {
            let length = recv(self.socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
            if let Some(code) = answer.get(..length).and_then(|answer| acknowledged(answer, self.sequence)) {
                return if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-code)) };
            }
        }
    }
}

impl LinkEvents {
    pub fn open() -> io::Result<Self> {
        let socket = open(SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUPS))?;
        Ok(Self(socket))
    }

    /// Discards all pending events. An overrun (ENOBUFS) counts as an event, because every event leads to a new check.
    pub fn drain(&self) {
        let mut event = [0; 8192];
        while recv(self.0.as_raw_fd(), &mut event, MsgFlags::empty()).is_ok() {}
    }
}

impl AsFd for LinkEvents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn open(flags: SockFlag) -> io::Result<OwnedFd> {
    Ok(socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?)
}

fn link_up(index: u32) -> Message {
    Message::new(libc::RTM_NEWLINK, 0, &link_body(index, IFF_UP, IFF_UP))
}

fn link_down(index: u32) -> Message {
    Message::new(libc::RTM_NEWLINK, 0, &link_body(index, 0, IFF_UP))
}

fn change(index: u32) -> Message {
    Message::new(libc::RTM_NEWLINK, 0, &link_body(index, 0, 0))
}

/// Each attribute is its number, its size in bytes, and its value.
fn bond(name: &str, attributes: &[(u16, u8, u32)]) -> Message {
    let data = attributes.iter().flat_map(|&(number, size, value)| match size {
        1 => attribute(number, &[u8::try_from(value).unwrap_or(u8::MAX)]),
        _ => attribute(number, &value.to_ne_bytes()),
    });
    let data = data.collect::<Vec<u8>>();
    let info = [attribute(libc::IFLA_INFO_KIND, b"bond"), attribute(libc::IFLA_INFO_DATA, &data)].concat();
    Message::new(libc::RTM_NEWLINK, libc::NLM_F_CREATE, &link_body(0, 0, 0))
        .attribute(libc::IFLA_IFNAME, &[name.as_bytes(), &[0]].concat())
        .attribute(libc::IFLA_LINKINFO, &info)
}

fn vlan(name: &str, parent: u32, id: u16) -> Message {
    let data = attribute(IFLA_VLAN_ID, &id.to_ne_bytes());
    let info = [attribute(libc::IFLA_INFO_KIND, ETHERNET_VLAN), attribute(libc::IFLA_INFO_DATA, &data)].concat();
    Message::new(libc::RTM_NEWLINK, libc::NLM_F_CREATE | libc::NLM_F_EXCL, &link_body(0, 0, 0))
        .attribute(libc::IFLA_IFNAME, &[name.as_bytes(), &[0]].concat())
        .attribute(libc::IFLA_LINK, &parent.to_ne_bytes())
        .attribute(libc::IFLA_LINKINFO, &info)
}

fn new_address(index: u32, address: IpAddr, prefix: u8, lifetime: Option<u32>) -> Message {
    let message =
        Message::new(libc::RTM_NEWADDR, libc::NLM_F_CREATE | libc::NLM_F_REPLACE, &address_body(index, address, prefix))
            .attribute(libc::IFA_LOCAL, &octets(address))
            .attribute(libc::IFA_ADDRESS, &octets(address));
    // The preferred and the valid lifetime in seconds. The kernel then removes the address, even if this process has ended.
    let seconds = lifetime.unwrap_or(u32::MAX);
    let cache_info = [seconds, seconds, 0, 0].map(u32::to_ne_bytes).concat();
    let message = message.attribute(IFA_CACHEINFO, &cache_info);
    let IpAddr::V4(address) = address else { return message };
    if prefix >= 31 {
        return message;
    }
    let broadcast = Ipv4Addr::from_bits(address.to_bits() | u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0));
    message.attribute(libc::IFA_BROADCAST, &broadcast.octets())
}

fn new_route(index: u32, route: Route, onlink: bool, metric: u32) -> Message {
    let scope = if route.gateway.is_some() { libc::RT_SCOPE_UNIVERSE } else { libc::RT_SCOPE_LINK };
    let flags = if onlink { RTNH_F_ONLINK } else { 0 };
    let mut body = vec![family(route.destination), route.prefix, 0, 0, libc::RT_TABLE_MAIN, RTPROT_DHCP, scope, RTN_UNICAST];
    body.extend(flags.to_ne_bytes());
    let mut message = Message::new(libc::RTM_NEWROUTE, libc::NLM_F_CREATE | libc::NLM_F_REPLACE, &body);
    if route.prefix > 0 {
        message = message.attribute(libc::RTA_DST, &octets(route.destination));
    }
    if let Some(gateway) = route.gateway {
        message = message.attribute(libc::RTA_GATEWAY, &octets(gateway));
    }
    message.attribute(libc::RTA_OIF, &index.to_ne_bytes()).attribute(libc::RTA_PRIORITY, &metric.to_ne_bytes())
}

/// `struct ifinfomsg`: family, padding, type, index, flags, and which of the flags change.
fn link_body(index: u32, flags: u32, meant: u32) -> Vec<u8> {
    [0, index, flags, meant].map(u32::to_ne_bytes).concat()
}

/// `struct ifaddrmsg`: family, prefix length, flags, scope, index.
fn address_body(index: u32, address: IpAddr, prefix: u8) -> Vec<u8> {
    [[family(address), prefix, 0, 0], index.to_ne_bytes()].concat()
}

fn family(address: IpAddr) -> u8 {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    u8::try_from(family).unwrap_or_default()
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16, flags: i32, body: &[u8]) -> Self {
        let flags = u16::try_from(flags | libc::NLM_F_REQUEST | libc::NLM_F_ACK).unwrap_or(0);
        let mut bytes = vec![0; 4]; // the length, set at the end
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.resize(HEADER_LEN, 0); // sequence number, and port 0, which is the kernel
        bytes.extend(body);
        Self(bytes)
    }

    fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        self.0.extend(attribute(kind, value));
        self
    }

    fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        let put = |bytes: &mut [u8], at: usize, value: u32| {
            if let Some(place) = bytes.get_mut(at..at + 4) {
                place.copy_from_slice(&value.to_ne_bytes());
            }
        };
        put(&mut self.0, 0, length);
        put(&mut self.0, 8, sequence);
        self.0
    }
}

/// The length, type, value, and padding to four bytes. The length does not count the padding.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// The kernel's answer to request `sequence`: 0, or a negative errno. `None` if the message is about something else.
fn acknowledged(answer: &[u8], sequence: u32) -> Option<i32> {
    let kind = u16::from_ne_bytes(*answer.get(4..)?.first_chunk()?);
    let about = u32::from_ne_bytes(*answer.get(8..)?.first_chunk()?);
    let code = i32::from_ne_bytes(*answer.get(HEADER_LEN..)?.first_chunk()?);
    (kind == ERROR && about == sequence).then_some(code)
}

#[cfg(test)]
#[path = "netlink_tests.rs"]
mod tests;
