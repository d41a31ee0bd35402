//! The kernel's uevent socket.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::sockopt::RcvBufForce;
use nix::sys::socket::{AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvfrom, setsockopt, socket};

/// The kernel's buffer for one message has 2 KiB, and the header is added to that.
pub const MESSAGE_MAX: usize = 4096;
/// Room for some thousand messages. It is only allocated while they wait.
const QUEUE: usize = 4 << 20;
const FROM_THE_KERNEL: u32 = 1;

pub struct Uevents(OwnedFd);

pub enum Received {
    Message(usize),
    /// Messages were lost, so all devices must be scanned.
    Overrun,
    Nothing,
}

impl Uevents {
    pub fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkKObjectUEvent)?;
        if let Err(error) = setsockopt(&socket, RcvBufForce, &QUEUE) {
            log::warn!("cannot make room for many device messages at once: {error}");
        }
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, FROM_THE_KERNEL))?;
        Ok(Self(socket))
    }

    /// Other programs may send to this group, too. Only the kernel has port number 0.
    pub fn receive(&self, buffer: &mut [u8]) -> Received {
        loop {
            match recvfrom::<NetlinkAddr>(self.0.as_raw_fd(), buffer) {
                Ok((length, Some(sender))) if sender.pid() == 0 => return Received::Message(length),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::ENOBUFS) => return Received::Overrun,
                Err(_) => return Received::Nothing,
            }
        }
    }
}

impl AsFd for Uevents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
