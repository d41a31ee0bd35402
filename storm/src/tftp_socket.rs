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
/// EDK2 waits for a packet so long. PXE ROMs give up after about the same time as EDK2 after all its tries.
const PATIENCE: Duration = Duration::from_secs(4);

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
                    socket.connect(peer).await?; // then the kernel says that the port is closed, as EDK2's does
                }
                if from != peer {
                    continue;
                }
                if let Some(rate) = link.rate {
                    sleep(Duration::from_secs_f64(length as f64 / f64::from(rate))).await;
                }
                transfer.receive(buffer.get(..length).unwrap_or_default())
            }
            Ok(Err(error)) => return Err(error),
            Err(_) => transfer.timeout(),
        };
        match step {
            Step::Send(packet) => drop(send(&socket, &packet, peer).await?),
            Step::Nothing => {}
            Step::Whole { bytes, last } => {
                send(&socket, &last, peer).await?;
                return Ok(bytes);
            }
            Step::Failed(why) => return Err(io::Error::other(why)),
        }
    }
}

async fn send(socket: &UdpSocket, packet: &[u8], peer: SocketAddr) -> io::Result<usize> {
    if peer.port() == PORT { socket.send_to(packet, peer).await } else { socket.send(packet).await }
}
