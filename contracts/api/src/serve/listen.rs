//! Accepting connections: each becomes a task with a place at the gate. What cannot be accepted is logged once a minute.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use log::{error, warn};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::gate::{Gate, Pass, Quiet};

/// Until connections have closed, and their files with them.
const PAUSE: Duration = Duration::from_millis(200);

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
    let quiet = Quiet::default();
    let accepting = async {
        loop {
            match listener.accept().await {
                Ok((socket, address)) => match gate.enter(address.ip()) {
                    Some(pass) => {
                        let _ = socket.set_nodelay(true); // an error costs a little time only
                        tokio::spawn(serve(socket, address, pass, stopped.clone()));
                    }
                    None if quiet.is_news(Some(address.ip()), Instant::now()) => {
                        let most = gate.most();
                        warn!("{name}: address={} has {most} connections; its further ones are closed", address.ip());
                    }
                    None => {}
                },
                Err(reason) if of_the_client(&reason) => {}
                Err(reason) => {
                    if quiet.is_news(None, Instant::now()) {
                        error!("{name}: no connection can be accepted: {reason}{}", hint(&reason));
                    }
                    tokio::time::sleep(PAUSE).await;
                }
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
