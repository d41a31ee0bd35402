//! UDP port 514: messages in, events and log lines out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::machine::Chain;
use model::Mac;
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use super::parse;
use crate::machine::mac_at;
use crate::{Events, MachineSource, Milestone};

/// A machine logs many lines, and keeps its address longer than this.
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
                log::warn!("syslog: cannot receive: {}", Chain(&error));
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let address = peer.ip().to_canonical();
        let message = parse(buffer.get(..length).unwrap_or_default());
        // A line of an unknown sender is kept too. It may say why the sender is unknown.
        let mac = senders.mac(address).await;
        log::debug!("syslog {address}: {}: {}", message.tag, message.text);
        let milestone = Milestone::Syslog { severity: message.severity, tag: message.tag, text: message.text };
        events.publish(mac, Some(address), milestone);
    }
}

/// Which machine has an address. The source is asked once in a while.
struct Senders {
    source: Arc<dyn MachineSource>,
    known: HashMap<IpAddr, (Instant, Option<Mac>)>,
}

impl Senders {
    async fn mac(&mut self, address: IpAddr) -> Option<Mac> {
        if let Some((_, mac)) = self.known.get(&address).filter(|(at, _)| at.elapsed() < REMEMBER) {
            return *mac;
        }
        let mac = mac_at(&*self.source, address).await;
        if self.known.len() >= REMEMBERED {
            self.known.clear();
        }
        self.known.insert(address, (Instant::now(), mac));
        mac
    }
}
