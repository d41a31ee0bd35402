//! Accepting connections: each becomes a task with a place at the gate. What cannot be accepted is logged once a minute.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use log::{error, warn};
use rustix::net::sockopt::{set_socket_keepalive, set_tcp_keepcnt, set_tcp_keepidle, set_tcp_keepintvl};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::unconstrained;

use super::gate::{Client, Gate, Pass, Quiet, Reason};

/// Until connections have closed, and their files with them.
const PAUSE: Duration = Duration::from_millis(200);
/// A machine that loses power does not close its connections. The kernel asks after this time, and then so often.
const IDLE: Duration = Duration::from_secs(20);
const AGAIN: Duration = Duration::from_secs(5);
const PROBES: u32 = 4;

/// Accepts until `shutdown`, and returns when every task has ended. A task keeps its pass while the connection is
/// open, and learns of the end by its receiver.
pub async fn each<F>(
    name: &'static str,
    gate: Gate,
    shutdown: impl Future<Output = ()>,
    listener: TcpListener,
    serve: impl Fn(TcpStream, SocketAddr, Pass, watch::Receiver<()>) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let (stop, stopped) = watch::channel(());
    let complaints = Complaints::default();
    let accepting = async {
        loop {
            // Without the executor's budget, which is 128 connections before ten thousand others have had their turn: a connection
            // that the kernel refuses comes again after seconds.
            match unconstrained(listener.accept()).await {
                Ok((socket, address)) => {
                    let address = canonical(address);
                    if let Some(pass) = complaints.enter(name, &gate, address.ip()) {
                        prepare(&socket);
                        tokio::spawn(serve(socket, address, pass, stopped.clone()));
                    }
                }
                Err(reason) => complaints.wait(name, &gate, &reason).await,
            }
        }
    };
    tokio::select! {
        () = accepting => {}
        () = shutdown => {}
    }
    drop((listener, stopped));
    let _ = stop.send(()); // an error means that no connection is open
    stop.closed().await;
}

/// On a socket of IPv6 a client of IPv4 has a mapped address, which no one wants to read.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => (ip, address.port()).into(),
        IpAddr::V6(_) => address,
    }
}

/// Answers leave at once, and the kernel notices a client that has gone. Neither wakes this process.
fn prepare(socket: &TcpStream) {
    // An error costs a little time only.
    let _ = socket.set_nodelay(true);
    let _ = set_tcp_keepidle(socket, IDLE);
    let _ = set_tcp_keepintvl(socket, AGAIN);
    let _ = set_tcp_keepcnt(socket, PROBES);
    let _ = set_socket_keepalive(socket, true);
}

/// The lines about connections that are not taken: once a minute for each client.
#[derive(Debug, Default)]
pub struct Complaints(Quiet<Option<Client>>);

impl Complaints {
    /// A place at the gate. `None` if there is none for the client.
    pub fn enter(&self, name: &str, gate: &Gate, client: impl Into<Client>) -> Option<Pass> {
        let refused = match gate.enter(client) {
            Ok(pass) => return Some(pass),
            Err(refused) => refused,
        };
        // Of all clients that find no place one is named.
        let about = (refused.reason == Reason::Share).then_some(refused.client);
        if self.0.is_news(about, Instant::now()) {
            warn!("{name}: {refused}");
        }
        None
    }

    /// Waits after a failed accept, if it is not the client's.
    pub async fn wait(&self, name: &str, gate: &Gate, reason: &io::Error) {
        if of_the_client(reason) {
            return;
        }
        gate.count(Reason::Files);
        if self.0.is_news(None, Instant::now()) {
            error!("{name}: no connection can be accepted: {reason}{}", hint(reason));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// EMFILE and ENFILE.
fn hint(reason: &io::Error) -> &'static str {
    match reason.raw_os_error() {
        Some(24) => "; the limit of open files is reached, which LimitNOFILE= of the service raises",
        Some(23) => "; the host's limit of open files is reached, which the sysctl fs.file-max raises",
        _ => "",
    }
}

fn of_the_client(reason: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(reason.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_files_is_named_with_what_raises_it() {
        for (code, expected) in [(24, "LimitNOFILE="), (23, "fs.file-max"), (104, "")] {
            assert!(hint(&io::Error::from_raw_os_error(code)).contains(expected), "{code}");
        }
    }
}
