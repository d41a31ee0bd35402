//! Ports for a server that is a process of its own.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below 32768, where Linux begins to choose ports for sockets that do not ask for one. So no connection of a test that runs
/// beside this one takes a port between this answer and its use.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

static ASKED: AtomicU16 = AtomicU16::new(0);

/// A port of loopback that no one listens on. No other test of this process gets it.
pub fn free() -> SocketAddr {
    let begin = u16::try_from(std::process::id() % u32::from(COUNT)).unwrap();
    let found = (0..COUNT).find_map(|_| {
        let number = (begin + ASKED.fetch_add(1, Ordering::Relaxed) % COUNT) % COUNT;
        TcpListener::bind((Ipv4Addr::LOCALHOST, FIRST + number)).and_then(|listener| listener.local_addr()).ok()
    });
    found.unwrap()
}
