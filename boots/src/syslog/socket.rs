//! UDP port 514: messages in, events and log lines out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::machine::Chain;
use model::Mac;
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use super::{Message, parse};
use crate::machine::mac_at;
use crate::{Events, MachineSource, Milestone};

/// A machine logs many lines, and keeps its address longer than this.
const REMEMBER: Duration = Duration::from_secs(30);
const REMEMBERED: usize = 4096;
/// How many lines of a sender become events: at once, and in a second. All lines go to the sink.
const BURST: u32 = 500;
const PER_SECOND: u32 = 100;
/// The bytes of a sender that are read at all: at once, and in a second. The logs keep no more of a machine.
const BYTES_BURST: usize = 4 << 20;
const BYTES_PER_SECOND: usize = 1 << 20;
/// What a line costs besides its bytes.
const OVERHEAD: usize = 128;
/// How often a sender's log says how many of its lines were dropped.
const SAYS: Duration = Duration::from_secs(1);
/// The kernel keeps what comes while a line is handled. Its usual room is for less than 200 lines.
const ROOM: usize = 4 << 20;
/// The facility and the severity of a line about lines (RFC 5424, 6.2.1).
const SYSLOGD: u8 = 5;
const NOTICE: u8 = 5;

/// Serves until `shutdown`.
pub async fn serve(socket: UdpSocket, source: Arc<dyn MachineSource>, events: Events, shutdown: CancellationToken) {
    if set_socket_recv_buffer_size_force(&socket, ROOM).is_err() {
        let _ = set_socket_recv_buffer_size(&socket, ROOM); // as much of it as every program may have
    }
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
        let now = Instant::now();
        // A line of an unknown sender is kept too. It may say why the sender is unknown.
        let sender = senders.look(address, now).await;
        // Before anything is done with it: a flood costs little more than its system calls.
        let Some(dropped) = sender.bytes.take(length + OVERHEAD, now) else { continue };
        if dropped > 0 {
            events.keep_line(sender.mac, address, &note(dropped));
        }
        let (mac, pass) = (sender.mac, sender.share.pass(now));
        let message = parse(buffer.get(..length).unwrap_or_default());
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
    bytes: Bytes,
    share: Share,
}

impl Senders {
    async fn look(&mut self, address: IpAddr, now: Instant) -> &mut Sender {
        let known = self.known.get(&address);
        let is_due = known.is_none_or(|sender| now.saturating_duration_since(sender.asked) >= REMEMBER);
        if known.is_none() && self.known.len() >= REMEMBERED {
            self.known.clear();
        }
        let mac = if is_due { Some(mac_at(&*self.source, address).await) } else { None };
        let new = || Sender { asked: now, mac: None, bytes: Bytes::new(now), share: Share::new(now) };
        let sender = self.known.entry(address).or_insert_with(new);
        if let Some(mac) = mac {
            (sender.asked, sender.mac) = (now, mac);
        }
        sender
    }
}

fn note(lines: u64) -> Message {
    let text = format!("({lines} lines were dropped before this, because they came too fast)");
    Message { facility: SYSLOGD, severity: NOTICE, host: None, tag: String::new(), text }
}

/// What one sender may still send. Datagrams beyond it are dropped unread and counted.
struct Bytes {
    left: usize,
    at: Instant,
    dropped: u64,
    said: Option<Instant>,
}

impl Bytes {
    const fn new(now: Instant) -> Self {
        Self { left: BYTES_BURST, at: now, dropped: 0, said: None }
    }

    /// `None` for a datagram that is dropped. Else how many were dropped before it, if the log shall say so now.
    fn take(&mut self, bytes: usize, now: Instant) -> Option<u64> {
        let passed = usize::try_from(now.saturating_duration_since(self.at).as_millis()).unwrap_or(usize::MAX);
        let earned = passed.saturating_mul(BYTES_PER_SECOND) / 1000;
        if earned > 0 {
            self.left = self.left.saturating_add(earned).min(BYTES_BURST);
            self.at = now;
        }
        if self.left < bytes {
            self.dropped += 1;
            self.said.get_or_insert(now);
            return None;
        }
        self.left -= bytes;
        if self.said.is_none_or(|said| now.saturating_duration_since(said) < SAYS) {
            return Some(0);
        }
        self.said = None;
        Some(std::mem::take(&mut self.dropped))
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

    #[test]
    fn a_flood_of_bytes_is_dropped_unread_and_counted_once_a_second() {
        let start = Instant::now();
        let mut bytes = Bytes::new(start);
        let (mut taken, mut dropped, mut notes) = (0, 0, Vec::new());
        for millisecond in 0..10_000 {
            let now = start + Duration::from_millis(millisecond);
            for _ in 0..100 {
                match bytes.take(1000, now) {
                    None => dropped += 1,
                    Some(noted) => {
                        taken += 1000;
                        notes.extend((noted > 0).then_some(noted));
                    }
                }
            }
        }
        assert!((10 * BYTES_PER_SECOND..=10 * BYTES_PER_SECOND + BYTES_BURST).contains(&taken), "{taken}");
        assert!((8..=10).contains(&notes.len()), "one line a second: {notes:?}");
        let last = bytes.take(1000, start + Duration::from_secs(20)).unwrap();
        assert_eq!(notes.iter().sum::<u64>() + last, dropped, "each dropped line is counted");
        assert_eq!(bytes.take(1000, start + Duration::from_secs(30)), Some(0));
    }
}
