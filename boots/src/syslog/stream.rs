//! TCP port 514: connections of bounded number and memory. A sender that is too fast is not read for a while, so its kernel holds
//! it back, and no line is lost.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use api::serve::{Gate, each};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::frame::Frames;
use super::intake::Intake;
use crate::quota::{Quota, Seldom};

/// Connections of one machine, and of all machines. A site behind NAT is one.
const OF_MACHINE: usize = 64;
const OF_MACHINES: usize = 2048;
/// Those of senders that are not machines have places of their own, so they cannot take those of machines.
const OF_OTHER: usize = 8;
const OF_OTHERS: usize = 256;
const CHUNK: usize = 8 * 1024;
/// How often a sender that gets no connection has a line.
const SAYS: Duration = Duration::from_secs(60);

struct Places {
    machines: Quota<IpAddr>,
    others: Quota<IpAddr>,
    refused: Mutex<Seldom<IpAddr>>,
}

/// Serves until `shutdown`.
pub async fn serve(listener: TcpListener, intake: Arc<Intake>, shutdown: CancellationToken) {
    let places = Arc::new(Places {
        machines: Quota::new(OF_MACHINE, OF_MACHINES),
        others: Quota::new(OF_OTHER, OF_OTHERS),
        refused: Mutex::new(Seldom::new(SAYS)),
    });
    let serve = |socket, peer: SocketAddr, pass, mut stopped: watch::Receiver<()>| {
        let (intake, places) = (Arc::clone(&intake), Arc::clone(&places));
        async move {
            tokio::select! {
                _ = connection(socket, peer.ip().to_canonical(), &intake, &places) => {} // an error is the sender's
                _ = stopped.changed() => {}
            }
            drop(pass);
        }
    };
    each("syslog", Gate::default(), shutdown.cancelled_owned(), listener, serve).await;
}

async fn connection(mut socket: TcpStream, address: IpAddr, intake: &Intake, places: &Places) -> io::Result<()> {
    let is_machine = intake.machine(address, Instant::now()).await.is_some();
    let quota = if is_machine { &places.machines } else { &places.others };
    let Some(_place) = quota.take(address) else {
        if places.refused.lock().unwrap_or_else(PoisonError::into_inner).allows(address, Instant::now()) {
            log::warn!("syslog: a connection of {address} is closed, because it or all senders together have too many");
        }
        return Ok(());
    };
    let (mut frames, mut chunk) = (Frames::default(), vec![0; CHUNK]);
    loop {
        let length = socket.read(&mut chunk).await?;
        let mut bytes = chunk.get(..length).unwrap_or_default();
        while let Some(message) = frames.next(&mut bytes) {
            keep(intake, address, &message).await;
        }
        if length == 0 {
            if let Some(message) = frames.end() {
                keep(intake, address, &message).await;
            }
            return Ok(());
        }
    }
}

async fn keep(intake: &Intake, address: IpAddr, message: &[u8]) {
    while let Err(wait) = intake.message(address, message, Instant::now()).await {
        tokio::time::sleep(wait).await;
    }
}
