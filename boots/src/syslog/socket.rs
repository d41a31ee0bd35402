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
/// How many lines of a sender become events: at once, and in a second. All lines go to the sink.
const BURST: u32 = 500;
const PER_SECOND: u32 = 100;
/// The severity of a line about lines (RFC 5424, 6.2.1).
const NOTICE: u8 = 5;

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
        let (mac, pass) = senders.look(address, Instant::now()).await;
        events.keep_line(mac, address, &message);
        if let Pass::After(lines @ 1..) = pass {
            let text = format!("({lines} lines left out, because they came too fast)");
            let milestone = Milestone::Syslog { severity: NOTICE, tag: String::new(), text };
            events.publish(mac, Some(address), milestone);
        }
        if pass != Pass::No {
            log::debug!("syslog {address}: {}: {}", message.tag, message.text);
            let milestone = Milestone::Syslog { severity: message.severity, tag: message.tag, text: message.text };
            events.publish(mac, Some(address), milestone);
        }
    }
}

/// Which machine has an address, and how many lines it may still add to the event stream. The source is asked once in a
/// while.
struct Senders {
    source: Arc<dyn MachineSource>,
    known: HashMap<IpAddr, Sender>,
}

struct Sender {
    asked: Instant,
    mac: Option<Mac>,
    share: Share,
}

impl Senders {
    async fn look(&mut self, address: IpAddr, now: Instant) -> (Option<Mac>, Pass) {
        if let Some(sender) = self.known.get_mut(&address) {
            if now.saturating_duration_since(sender.asked) >= REMEMBER {
                sender.mac = mac_at(&*self.source, address).await;
                sender.asked = now;
            }
            return (sender.mac, sender.share.pass(now));
        }
        let mac = mac_at(&*self.source, address).await;
        if self.known.len() >= REMEMBERED {
            self.known.clear();
        }
        let mut share = Share::new(now);
        let pass = share.pass(now);
        self.known.insert(address, Sender { asked: now, mac, share });
        (mac, pass)
    }
}

/// One sender's share of the event stream, so that its flood does not push out the events of others.
struct Share {
    lines: u32,
    at: Instant,
    held_back: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pass {
    /// The line passes, and this many were held back before it.
    After(u64),
    No,
}

impl Share {
    const fn new(now: Instant) -> Self {
        Self { lines: BURST, at: now, held_back: 0 }
    }

    fn pass(&mut self, now: Instant) -> Pass {
        let passed = now.saturating_duration_since(self.at).as_millis();
        let earned = u32::try_from(passed).unwrap_or(u32::MAX).saturating_mul(PER_SECOND) / 1000;
        if earned > 0 {
            self.lines = self.lines.saturating_add(earned).min(BURST);
            self.at = now;
        }
        if self.lines == 0 {
            self.held_back += 1;
            return Pass::No;
        }
        self.lines -= 1;
        Pass::After(std::mem::take(&mut self.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_lines_is_a_bounded_part_of_the_event_stream() {
        let start = Instant::now();
        let mut share = Share::new(start);
        let passed = (0..100_000).filter(|_| share.pass(start) == Pass::After(0)).count();
        assert_eq!(passed, BURST as usize);
        assert_eq!(share.pass(start + Duration::from_secs(1)), Pass::After(100_000 - u64::from(BURST)));
        let passed = (0..1000).filter(|_| share.pass(start + Duration::from_secs(1)) != Pass::No).count();
        assert_eq!(passed, PER_SECOND as usize - 1);
    }
}
