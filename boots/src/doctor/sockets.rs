//! Which programs of this host hold the ports of boots, from /proc. `SO_REUSEADDR` lets several hold one.

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use serde::Serialize;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    Udp,
    Tcp,
}

/// A socket that is bound to a port, or listens on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    pub transport: Transport,
    pub address: IpAddr,
    pub port: u16,
    pub inode: u64,
}

/// The same with the program that has it. Its name is empty if it may not be seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Holder {
    pub transport: Transport,
    pub address: IpAddr,
    pub port: u16,
    pub program: String,
    pub pid: u32,
}

/// The sockets of a table such as /proc/net/udp: unconnected ones of UDP, listening ones of TCP.
#[must_use]
pub fn parse(transport: Transport, table: &str) -> Vec<Bound> {
    let wanted = match transport {
        Transport::Udp => "07", // TCP_CLOSE, which stands for unconnected
        Transport::Tcp => "0A",
    };
    let socket = |line: &str| {
        let mut words = line.split_whitespace();
        let (address, port) = words.nth(1)?.split_once(':')?;
        let (_, state) = (words.next()?, words.next()?);
        let inode = words.nth(5)?.parse().ok()?;
        let port = u16::from_str_radix(port, 16).ok()?;
        (state == wanted).then_some(Bound { transport, address: ip(address)?, port, inode })
    };
    table.lines().skip(1).filter_map(socket).collect()
}

/// Words of 32 bits in the order of the host's bytes.
fn ip(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(hex.get(at * 8..at * 8 + 8)?, 16).ok().map(u32::to_ne_bytes);
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut bytes = [0; 16];
            for (at, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(at)?);
            }
            Some(IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical())
        }
        _ => None,
    }
}

/// The programs on these ports, this process left out.
#[must_use]
pub fn holders(wanted: &[(Transport, u16)]) -> Vec<Holder> {
    let tables = [
        (Transport::Udp, "/proc/net/udp"),
        (Transport::Udp, "/proc/net/udp6"),
        (Transport::Tcp, "/proc/net/tcp"),
        (Transport::Tcp, "/proc/net/tcp6"),
    ];
    let read = |(transport, path): (Transport, &str)| parse(transport, &fs::read_to_string(path).unwrap_or_default());
    let mut bound: Vec<Bound> = tables.into_iter().flat_map(read).collect();
    bound.retain(|one| wanted.contains(&(one.transport, one.port)));
    if bound.is_empty() {
        return Vec::new();
    }
    let owners = owners();
    let mut found: Vec<Holder> = bound
        .into_iter()
        .map(|Bound { transport, address, port, inode }| {
            let (program, pid) = owners.get(&inode).cloned().unwrap_or_default();
            Holder { transport, address, port, program, pid }
        })
        .filter(|holder| holder.pid != std::process::id())
        .collect();
    found.sort_by_key(|holder| (holder.port, holder.pid, holder.address));
    found.dedup();
    found
}

/// The program and the process of each socket that may be seen.
fn owners() -> HashMap<u64, (String, u32)> {
    let listed = fs::read_dir("/proc").into_iter().flatten().flatten();
    let others = listed.filter_map(|process| Some((process.path(), process.file_name().to_str()?.parse::<u32>().ok()?)));
    // A confined daemon sees no process but itself.
    let own = (PathBuf::from("/proc/self"), std::process::id());
    let mut found = HashMap::new();
    for (process, pid) in others.chain([own]) {
        for descriptor in fs::read_dir(process.join("fd")).into_iter().flatten().flatten() {
            let target = fs::read_link(descriptor.path()).unwrap_or_default();
            if let Some(inode) = inode(&target) {
                let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
                found.insert(inode, (machine::said(&name, 32), pid));
            }
        }
    }
    found
}

/// `socket:[12345]`
fn inode(target: &Path) -> Option<u64> {
    target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_of_the_kernels_tables_are_read() {
        let udp = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n  \
                   301: 00000000:0043 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 22334 2 0000000000000000 0\n  \
                   302: 0100A8C0:0045 0200A8C0:1234 01 00000000:00000000 00:00000000 00000000     0        0 22335 2 0000000000000000 0\n\
                   nonsense\n";
        let any = IpAddr::from([0, 0, 0, 0]);
        assert_eq!(parse(Transport::Udp, udp), [Bound { transport: Transport::Udp, address: any, port: 67, inode: 22334 }]);
        let tcp6 = "  sl  local_address                         remote_address                        st\n   \
                    0: 0000000000000000FFFF00000100007F:1BA8 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 99 1 x\n";
        let found = parse(Transport::Tcp, tcp6);
        assert_eq!(found.iter().map(|one| (one.address, one.port)).collect::<Vec<_>>(), [([127, 0, 0, 1].into(), 7080)]);
    }

    #[test]
    fn a_socket_of_another_process_is_found_and_one_of_this_is_not() {
        let own = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = own.local_addr().unwrap().port();
        assert!(holders(&[(Transport::Udp, port)]).is_empty());
        let owner = owners();
        assert!(owner.values().any(|(_, pid)| *pid == std::process::id()), "its sockets are seen");
    }
}
