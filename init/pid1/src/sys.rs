//! The only `unsafe` of this crate.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use nix::unistd::{ForkResult, Pid};

/// `None` in the child. The child is a copy of this process and may do anything, if this process has one thread.
pub fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: fork(2) is unsafe in a process with several threads, whose locks the child would inherit in whatever
    // state. PID 1 starts no thread, so no lock is held elsewhere; the service
    // that does (`devices`) is a child that never comes here.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(Some(child)),
        ForkResult::Child => Ok(None),
    }
}

/// Kernel messages with a number below `level` reach the consoles.
pub fn set_console_level(level: i32) -> io::Result<()> {
    const SYSLOG_ACTION_CONSOLE_LEVEL: libc::c_int = 8;
    // SAFETY: this action takes its value from the third argument and does not look at the pointer.
    let result = unsafe { libc::klogctl(SYSLOG_ACTION_CONSOLE_LEVEL, ptr::null_mut(), level) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Whether a CD drive has a readable disc. Other queries close the tray or fill the log with errors.
pub fn has_disc(drive: &std::fs::File) -> bool {
    const CDROM_DRIVE_STATUS: libc::c_ulong = 0x5326;
    const CURRENT_SLOT: libc::c_int = libc::c_int::MAX;
    const DISC_OK: libc::c_int = 4;
    // SAFETY: this request takes a number and returns one; on another device it fails.
    let status = unsafe { libc::ioctl(std::os::fd::AsRawFd::as_raw_fd(drive), CDROM_DRIVE_STATUS as libc::Ioctl, CURRENT_SLOT) };
    status == DISC_OK
}

/// For a process whose threads allocate and free megabytes: freed memory should go to the kernel, and threads should not
/// each keep some of it.
pub fn keep_little_memory() {
    const LARGE: libc::c_int = 64 << 10;
    // SAFETY: mallopt(3) takes two numbers, and the process has no second thread yet.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
    }
}

/// Returns free memory at the end of the heap and within it to the kernel.
pub fn give_memory_back() {
    // SAFETY: malloc_trim(3) takes a number, and locks the heap against other threads itself.
    unsafe { libc::malloc_trim(0) };
}

/// Lets the NIC accept frames to this Ethernet group address while the packet socket is open.
pub fn join_ethernet_group(socket: BorrowedFd<'_>, index: u32, group: [u8; 6]) -> io::Result<()> {
    let [a, b, c, d, e, f] = group;
    let request = libc::packet_mreq {
        mr_ifindex: i32::try_from(index).map_err(io::Error::other)?,
        mr_type: libc::PACKET_MR_MULTICAST as libc::c_ushort,
        mr_alen: 6,
        mr_address: [a, b, c, d, e, f, 0, 0],
    };
    set_option(socket, libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &request)
}

/// Sends one packet of protocol `kind` to an Ethernet address, through a packet socket without headers.
pub fn send_on_link(socket: BorrowedFd<'_>, index: u32, kind: u16, to: [u8; 6], packet: &[u8]) -> io::Result<()> {
    let target = link_address(index, kind, to)?;
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: both pointers are to values that live through the call, with their own lengths.
    let sent =
        unsafe { libc::sendto(socket.as_raw_fd(), packet.as_ptr().cast(), packet.len(), 0, (&raw const target).cast(), length) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sets a classic BPF program that decides which packets the socket gets.
pub fn attach_filter(socket: BorrowedFd<'_>, program: &[libc::sock_filter]) -> io::Result<()> {
    let request = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(io::Error::other)?,
        filter: program.as_ptr().cast_mut(), // the kernel only reads it
    };
    set_option(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &request)
}

/// Reports with each packet the state of its checksum, and the VLAN tag that the network card removed.
pub fn report_auxiliary_data(socket: BorrowedFd<'_>) -> io::Result<()> {
    let on: libc::c_int = 1;
    set_option(socket, libc::SOL_PACKET, libc::PACKET_AUXDATA, &on)
}

fn set_option<T>(socket: BorrowedFd<'_>, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)?;
    // SAFETY: the pointer and the length are those of one value, which outlives the call as does what it points to; the
    // kernel copies it.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, ptr::from_ref(value).cast(), length) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// From now on a packet socket gets the packets of protocol `kind` that arrive on one link.
pub fn bind_to_link(socket: BorrowedFd<'_>, index: u32, kind: u16) -> io::Result<()> {
    let address = link_address(index, kind, [0; 6])?;
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the pointer and the length are those of one address, which outlives the call; the kernel copies it.
    let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn link_address(index: u32, kind: u16, mac: [u8; 6]) -> io::Result<libc::sockaddr_ll> {
    let [a, b, c, d, e, f] = mac;
    Ok(libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: kind.to_be(),
        sll_ifindex: i32::try_from(index).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr: [a, b, c, d, e, f, 0, 0],
    })
}
