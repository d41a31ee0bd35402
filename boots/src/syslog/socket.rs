//! UDP port 514: messages in, events and log lines out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::Mac;
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use super::parse;
use crate::{Events, MachineSource, Milestone};

/// A machine logs many lines, and keeps its address for longer than this.
const REMEMBER: Duration = Duration::from_secs(30);
const REMEMBERED: usize = 4096;

/// Serves until `shutdown`.
pub async fn serve(socket: UdpSocket, source: Arc<dyn MachineSource>, events: Events, shutdown: CancellationToken) {
    let mut buffer = vec![0; 64 * 1024];
    let mut senders = Senders { source, known: HashMap::new() };
    loop {
        let received = tokio::select! {
            () = shutdown.cancelled() => return,
            received = socket.recv_from(&mut buffer) => received,
        };
        let (length, peer) = match received {
            Ok(received) => received,
            Err(error) => {
                log::warn!("syslog: cannot receive: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let address = peer.ip().to_canonical();
        let message = parse(buffer.get(..length).unwrap_or_default());
        // An unknown sender's words are kept, too: they may say why it is unknown.
        let mac = senders.mac(address).await;
        log::debug!("syslog {address}: {}: {}", message.tag, message.text);
        let milestone = Milestone::Syslog { severity: message.severity, tag: message.tag, text: message.text };
        events.publish(mac, Some(address), milestone);
    }
}

/// Whose address it is, asked once in a while.
struct Senders {
    source: Arc<dyn MachineSource>,
    known: HashMap<IpAddr, (Instant, Option<Mac>)>,
}

impl Senders {
    async fn mac(&mut self, address: IpAddr) -> Option<Mac> {
        if let Some((_, mac)) = self.known.get(&address).filter(|(at, _)| at.elapsed() < REMEMBER) {
            return *mac;
        }
        let mac = self.source.machine_at(address).await.ok().flatten().map(|machine| machine.mac);
        if self.known.len() >= REMEMBERED {
            self.known.clear();
        }
        self.known.insert(address, (Instant::now(), mac));
        mac
    }
}
