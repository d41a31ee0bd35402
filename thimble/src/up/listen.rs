//! The sockets of TCP, and what to do about one that cannot be opened.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::TcpListener;

/// How many connections wait to be accepted: what `net.core.somaxconn` is by default. The kernel takes less if it is set lower.
const WAITING: i32 = 4096;

/// `[::]` is all addresses, those of IPv4 too, whatever the host has in `net.ipv6.bindv6only`.
fn bound_to(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?; // connections of an earlier process may still be closing
    socket.bind(&address.into())?;
    socket.listen(WAITING)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

pub fn listen(what: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let setting = what.to_ascii_lowercase();
    let bound = match bound_to(address) {
        // The host has no IPv6.
        Err(error) if address.ip() == Ipv6Addr::UNSPECIFIED && is_without_ipv6(&error) => {
            bound_to((Ipv4Addr::UNSPECIFIED, address.port()).into())
        }
        bound => bound,
    };
    bound.map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::AddrInUse if setting == "api" => {
                "; is another server running there? A second server on this host has its own --api, --socket and --data"
                    .to_owned()
            }
            io::ErrorKind::AddrInUse => format!("; is another server running there? --{setting} chooses another port"),
            io::ErrorKind::AddrNotAvailable => format!("; this host does not have that address: is --{setting} right?"),
            io::ErrorKind::PermissionDenied => "; ports below 1024 need root or CAP_NET_BIND_SERVICE".to_owned(),
            _ => String::new(),
        };
        anyhow::Error::from(error).context(format!("cannot listen for {what} on {address}{hint}"))
    })
}

fn is_without_ipv6(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(nix::libc::EAFNOSUPPORT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_refused_socket_is_reported_with_what_to_do() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        for (what, address, hint) in [
            ("HTTP", taken.local_addr().unwrap(), "--http chooses another port: "),
            ("API", taken.local_addr().unwrap(), "has its own --api, --socket and --data: "),
            ("gRPC", "192.0.2.1:1".parse().unwrap(), "this host does not have that address: is --grpc right?: "),
        ] {
            let error = format!("{:#}", listen(what, address).unwrap_err());
            assert!(error.starts_with(&format!("cannot listen for {what} on {address}; ")) && error.contains(hint), "{error}");
        }
    }
}
