//! UDP port 514: datagrams in, log lines and events out.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::machine::Chain;
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use super::intake::Intake;
use super::lookups::Lookups;

/// The kernel keeps what comes while a line is handled. Its usual room is for less than 200 lines.
const ROOM: usize = 4 << 20;

/// Serves until `shutdown`.
pub async fn serve(socket: UdpSocket, intake: Arc<Intake>, shutdown: CancellationToken) {
    if set_socket_recv_buffer_size_force(&socket, ROOM).is_err() {
        let _ = set_socket_recv_buffer_size(&socket, ROOM); // as much of it as every program may have
    }
    let (mut buffer, mut lookups) = (vec![0; 64 * 1024], Lookups::default());
    loop {
        let received = tokio::select! {
            () = shutdown.cancelled() => return,
            (address, mac, datagrams) = lookups.next() => {
                datagrams.iter().for_each(|datagram| intake.datagram(mac, address, datagram, Instant::now()));
                continue;
            }
            received = socket.recv_from(&mut buffer) => received,
        };
        match received {
            Ok((length, peer)) => {
                let datagram = buffer.get(..length).unwrap_or_default();
                take(&intake, &mut lookups, peer.ip().to_canonical(), datagram, Instant::now());
            }
            Err(error) => {
                log::warn!("syslog: cannot receive: {}", Chain(&error));
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn take(intake: &Arc<Intake>, lookups: &mut Lookups, address: IpAddr, datagram: &[u8], now: Instant) {
    let found = intake.found(address, now);
    if !found.is_some_and(|found| found.is_fresh) {
        lookups.begin(intake, address, now);
    }
    // A machine that is looked up again does not wait. A sender that cannot be looked up now is none.
    let waits = !found.is_some_and(|found| found.is_fresh || found.mac.is_some());
    if !waits || !lookups.hold(address, datagram) {
        intake.datagram(found.and_then(|found| found.mac), address, datagram, now);
    }
}
