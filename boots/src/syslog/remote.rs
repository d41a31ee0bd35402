//! Lines and steps for a server on another host, in batches.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ::machine::Chain;
use api::{BootStep, SyslogLine};
use model::Mac;
use reqwest::StatusCode;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::Message;
use crate::LogSink;
use crate::machine::Upstream;

/// The lines that wait for the server, and those of one call.
const WAITING: usize = 4096;
const AT_ONCE: usize = 256;
/// The bytes of their texts. As JSON these are at most twice as many, and the server takes 4 MiB.
const BYTES_AT_ONCE: usize = 1 << 20;
/// The pause after a call that failed.
const PAUSE: Duration = Duration::from_secs(1);

/// Never waits. Lines beyond the limit are dropped and counted.
#[derive(Debug)]
pub struct RemoteSink {
    lines: Sender<SyslogLine>,
    dropped: Arc<AtomicU64>,
}

impl LogSink for RemoteSink {
    fn take(&self, mac: Option<Mac>, address: IpAddr, message: &Message) {
        let (tag, text) = (message.tag.clone(), message.text.clone());
        self.send(SyslogLine { mac, address: Some(address), tag, text, step: None });
    }

    fn step(&self, mac: Mac, step: BootStep) {
        let (tag, text) = ("boots".to_owned(), step.to_string());
        self.send(SyslogLine { mac: Some(mac), address: None, tag, text, step: Some(step) });
    }
}

impl RemoteSink {
    fn send(&self, line: SyslogLine) {
        if self.lines.try_send(line).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The sink, and what sends its lines until the sink is dropped.
pub fn sink(server: Arc<Upstream>) -> (RemoteSink, impl Future<Output = ()> + Send + use<>) {
    let (lines, waiting) = channel(WAITING);
    let dropped = Arc::new(AtomicU64::new(0));
    let sending = send(server, waiting, Arc::clone(&dropped));
    (RemoteSink { lines, dropped }, sending)
}

/// What an answer means for the lines of its call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Taken,
    TooLarge,
    /// The server is down, restarts, or is busy.
    Later,
    /// It will not take them another time either.
    Refused,
}

/// `None` is a call without an answer.
fn outcome(status: Option<StatusCode>) -> Outcome {
    match status {
        None | Some(StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS) => Outcome::Later,
        Some(StatusCode::PAYLOAD_TOO_LARGE) => Outcome::TooLarge,
        Some(status) if status.is_success() => Outcome::Taken,
        Some(status) if status.is_server_error() => Outcome::Later,
        Some(_) => Outcome::Refused,
    }
}

fn size(line: &SyslogLine) -> usize {
    let step =
        line.step.as_ref().map_or(0, |step| [&step.asked, &step.answered, &step.why, &step.file].map(String::len).iter().sum());
    line.tag.len() + line.text.len() + step
}

/// How many of these lines go into one call: one at least.
fn fitting(lines: &[SyslogLine], most: usize) -> usize {
    let mut bytes = 0;
    let fits = |line: &&SyslogLine| {
        bytes += size(line);
        bytes <= BYTES_AT_ONCE
    };
    lines.iter().take(most).take_while(fits).count().max(1).min(lines.len())
}

fn note(lost: u64) -> SyslogLine {
    let text = format!("({lost} lines of machines were dropped, because the server did not take them)");
    SyslogLine { mac: None, address: None, tag: "boots".to_owned(), text, step: None }
}

async fn send(server: Arc<Upstream>, mut waiting: Receiver<SyslogLine>, dropped: Arc<AtomicU64>) {
    let (mut lines, mut failed, mut most) = (Vec::new(), false, AT_ONCE);
    loop {
        if lines.is_empty() {
            if waiting.recv_many(&mut lines, AT_ONCE).await == 0 {
                return;
            }
            let lost = dropped.swap(0, Ordering::Relaxed);
            lines.extend((lost > 0).then(|| note(lost)));
        }
        let count = fitting(&lines, most);
        let batch = lines.get(..count).unwrap_or_default();
        let sent = server.call(api::paths::SYSLOG, |client, url| client.post(url).json(batch)).await;
        let outcome = outcome(sent.as_ref().ok().map(|said| said.status));
        match outcome {
            Outcome::Taken => {
                lines.drain(..count);
                (failed, most) = (false, (most * 2).min(AT_ONCE));
                continue;
            }
            Outcome::TooLarge if count > 1 => {
                most = count / 2;
                continue;
            }
            Outcome::TooLarge | Outcome::Refused => {
                lines.drain(..count);
                dropped.fetch_add(count as u64, Ordering::Relaxed);
            }
            // Nobody waits for the lines of a program that ends.
            Outcome::Later if waiting.is_closed() => return,
            Outcome::Later => {}
        }
        if !failed {
            let error = match sent {
                Ok(said) => said.refused(),
                Err(error) => error,
            };
            let next = if outcome == Outcome::Later { "; they wait for it" } else { "" };
            log::warn!("lines of machines do not reach the server's logs{next}: {}", Chain(&error));
        }
        failed = true;
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests;
