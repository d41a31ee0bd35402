//! A TFTP transfer on a socket of the machine.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use storm::firmware::Firmware;
use storm::tftp::{Step, Transfer};
use tokio::net::UdpSocket;
use tokio::time::{sleep, timeout};

use crate::http::Link;

const PORT: u16 = 69;
/// As EDK2 and PXE ROMs wait for a block.
const PATIENCE: Duration = Duration::from_secs(1);

/// Returns the number of bytes.
pub async fn fetch(link: Link, server: Ipv4Addr, file: &str, firmware: Firmware) -> io::Result<u64> {
    let socket = UdpSocket::bind((link.address, 0)).await?;
    let mut transfer = Transfer::new(file, firmware);
    let mut peer = SocketAddr::from((server, PORT));
    socket.send_to(&transfer.request(), peer).await?;
    let mut buffer = [0; 2048];
    loop {
        let step = match timeout(PATIENCE, socket.recv_from(&mut buffer)).await {
            Ok(Ok((length, from))) => {
                // The first packet shows the port of the transfer. Later ones from elsewhere are not of it (RFC 1350, 4).
                if peer.port() == PORT && from.ip() == peer.ip() {
                    peer = from;
                }
                if from != peer {
                    continue;
                }
                if let Some(rate) = link.rate {
                    sleep(Duration::from_secs_f64(length as f64 / f64::from(rate))).await;
                }
                transfer.receive(buffer.get(..length).unwrap_or_default())
            }
            Ok(Err(error)) if error.kind() != io::ErrorKind::ConnectionRefused => return Err(error),
            _ => transfer.timeout(),
        };
        match step {
            Step::Send(packet) => drop(socket.send_to(&packet, peer).await?),
            Step::Nothing => {}
            Step::Whole { bytes, last } => {
                socket.send_to(&last, peer).await?;
                return Ok(bytes);
            }
            Step::Failed(why) => return Err(io::Error::other(why)),
        }
    }
}
