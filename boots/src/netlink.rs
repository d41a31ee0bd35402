//! Tables of the kernel by netlink (RFC 3549): a request for all entries, and the messages with their attributes.

use std::io;
use std::os::fd::AsRawFd;

use nix::libc::{NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

/// A table has its next entries within this time, or is given up.
const PATIENCE_MS: i64 = 200;
/// `struct nlmsghdr`.
const HEADER: usize = 16;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    /// The kind of the request, and that of its entries.
    pub get: u16,
    pub new: u16,
    /// An address family, or 0 for all.
    pub family: i32,
    /// Bytes of an entry before its attributes.
    pub fixed: usize,
}

impl Table {
    /// Calls `entry` with the fixed part and the attributes of each entry, until it returns false.
    pub fn read(&self, mut entry: impl FnMut(&[u8], &[u8]) -> bool) -> io::Result<()> {
        let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::milliseconds(PATIENCE_MS))?;
        sendto(socket.as_raw_fd(), &self.request(), &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
        let mut buffer = vec![0; 32 * 1024];
        loop {
            let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
            if length == 0 || !self.take(buffer.get(..length).unwrap_or_default(), &mut entry) {
                return Ok(());
            }
        }
    }

    fn request(&self) -> Vec<u8> {
        let flags = u16::try_from(NLM_F_REQUEST | NLM_F_DUMP).unwrap_or(0);
        let length = u32::try_from(HEADER + self.fixed).unwrap_or(0);
        let family = u8::try_from(self.family).unwrap_or(0);
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(self.get.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend([1, 0, 0, 0, 0, 0, 0, 0, family]);
        bytes.resize(HEADER + self.fixed, 0);
        bytes
    }

    /// Whether more messages follow.
    pub fn take(&self, mut bytes: &[u8], entry: &mut impl FnMut(&[u8], &[u8]) -> bool) -> bool {
        while let Some((length, kind)) = word(bytes).zip(bytes.get(4..).and_then(half)) {
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            let Some(message) = bytes.get(HEADER..length) else { return false };
            if matches!(i32::from(kind), NLMSG_DONE | NLMSG_ERROR) {
                return false;
            }
            let parts = message.split_at_checked(self.fixed).filter(|_| kind == self.new);
            if parts.is_some_and(|(fixed, attributes)| !entry(fixed, attributes)) {
                return false;
            }
            bytes = bytes.get(aligned(length)..).unwrap_or_default();
        }
        true
    }
}

/// The kinds and values of attributes. One that is cut off ends them.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (length, kind) = half(bytes).zip(bytes.get(2..).and_then(half))?;
        let length = usize::from(length);
        let value = bytes.get(4..length)?;
        bytes = bytes.get(aligned(length)..).unwrap_or_default();
        Some((kind, value))
    })
}

const fn aligned(length: usize) -> usize {
    length.saturating_add(3) & !3
}

/// The number at the beginning.
pub fn word(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

fn half(bytes: &[u8]) -> Option<u16> {
    bytes.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))
}

#[cfg(test)]
pub mod made {
    //! Messages as the kernel sends them.

    use super::{HEADER, aligned};

    pub fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).unwrap();
        let mut bytes = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
        bytes.resize(aligned(bytes.len()), 0);
        bytes
    }

    pub fn message(kind: u16, fixed: &[u8], attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = [&[0; HEADER], fixed].concat();
        attributes.iter().for_each(|(kind, value)| bytes.extend(attribute(*kind, value)));
        let length = u32::try_from(bytes.len()).unwrap().to_ne_bytes();
        bytes[..4].copy_from_slice(&length);
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes
    }
}
