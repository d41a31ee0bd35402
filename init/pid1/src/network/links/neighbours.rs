//! The switches that announce themselves by LLDP on any link. They are logged, and kept in a file for the agent.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::num::NonZeroU32;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use machine::files;
use nix::net::if_::if_indextoname;
use nix::sys::socket::{LinkAddr, recvfrom};
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, socket_with};

use super::link::Link;
use super::lldp::Neighbour;
use crate::sys;

const LLDP: u16 = 0x88cc;
/// The destination group of LLDP. Bridges do not forward it.
const GROUP: [u8; 6] = [0x01, 0x80, 0xc2, 0, 0, 0x0e];
/// A neighbour that changes more often is broken, or there are several behind a hub.
const LINES: u8 = 8;
/// How many frames are read at once, so that a flood does not delay DHCP.
const AT_ONCE: usize = 16;

pub struct Neighbours {
    socket: OwnedFd,
    joined: Vec<u32>,
    known: BTreeMap<u32, Known>,
}

struct Known {
    name: String,
    neighbour: Neighbour,
    logged: u8,
}

impl Neighbours {
    pub fn open() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let protocol = NonZeroU32::new(u32::from(LLDP.to_be())).map(Protocol::from_raw);
        let socket = socket_with(AddressFamily::PACKET, SocketType::DGRAM, flags, protocol)?;
        Ok(Self { socket, joined: Vec::new(), known: BTreeMap::new() })
    }

    /// Lets the NICs accept the group's frames. The neighbour of a missing link is removed.
    pub fn listen_on(&mut self, links: &[Link], still_there: impl Fn(u32) -> bool) {
        self.joined.retain(|index| still_there(*index));
        self.known.retain(|index, _| still_there(*index));
        for link in links.iter().filter(|link| link.parent.is_none()) {
            if !self.joined.contains(&link.index) {
                self.joined.push(link.index);
                if let Err(error) = sys::join_ethernet_group(self.socket.as_fd(), link.index, GROUP) {
                    log::debug!("{link}: no LLDP: {error}");
                }
            }
        }
    }

    pub fn turn(&mut self) {
        let mut changed = false;
        let mut frame = [0; 1600];
        for _ in 0..AT_ONCE {
            let Ok((length, Some(from))) = recvfrom::<LinkAddr>(self.socket.as_raw_fd(), &mut frame) else { break };
            let index = u32::try_from(from.ifindex()).unwrap_or_default();
            let heard = frame.get(..length).and_then(Neighbour::decode);
            changed |= heard.is_some_and(|neighbour| self.hear(index, neighbour));
        }
        if changed && let Err(error) = self.write(Path::new(files::LLDP)) {
            log::warn!("cannot write {}: {error}", files::LLDP);
        }
    }

    /// Records a neighbour. Returns whether it is new.
    fn hear(&mut self, index: u32, neighbour: Neighbour) -> bool {
        let old = self.known.get(&index);
        if neighbour.ttl == 0 {
            return self.known.remove(&index).is_some();
        }
        if old.is_some_and(|old| old.neighbour == neighbour) {
            return false;
        }
        let logged = old.map_or(0, |old| old.logged);
        let name = if_indextoname(index).ok().and_then(|name| name.into_string().ok());
        let name = name.unwrap_or_else(|| format!("link {index}"));
        if logged < LINES {
            let vlan = neighbour.vlan.map(|id| format!(", untagged frames in VLAN {id}")).unwrap_or_default();
            log::info!("lldp: {neighbour} on {name}{vlan}");
        }
        self.known.insert(index, Known { name, neighbour, logged: logged.saturating_add(1) });
        true
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        let lines: String = self.known.values().map(|known| known.neighbour.on(&known.name).render()).collect();
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        files::replace(path, lines)
    }
}

impl AsFd for Neighbours {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
