//! Lines for a server on another host, in batches.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ::machine::Chain;
use api::SyslogLine;
use model::Mac;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::Message;
use crate::LogSink;

/// The lines that wait for the server, and those of one call.
const WAITING: usize = 4096;
const AT_ONCE: usize = 256;
/// The pause after a call that failed.
const PAUSE: Duration = Duration::from_secs(1);

/// Never waits. Lines beyond the limit are dropped and counted.
#[derive(Debug)]
pub struct RemoteSink {
    lines: Sender<SyslogLine>,
    dropped: std::sync::Arc<AtomicU64>,
}

impl LogSink for RemoteSink {
    fn take(&self, mac: Option<Mac>, address: IpAddr, message: &Message) {
        let (tag, text) = (message.tag.clone(), message.text.clone());
        if self.lines.try_send(SyslogLine { mac, address: Some(address), tag, text }).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The sink, and what sends its lines until the sink is dropped.
pub fn sink(client: reqwest::Client, base: &str) -> (RemoteSink, impl Future<Output = ()> + Send + use<>) {
    let (lines, waiting) = channel(WAITING);
    let dropped = std::sync::Arc::new(AtomicU64::new(0));
    let sending = send(client, format!("{base}{}", api::paths::SYSLOG), waiting, std::sync::Arc::clone(&dropped));
    (RemoteSink { lines, dropped }, sending)
}

async fn send(client: reqwest::Client, url: String, mut waiting: Receiver<SyslogLine>, dropped: std::sync::Arc<AtomicU64>) {
    let (mut batch, mut failed) = (Vec::new(), false);
    while waiting.recv_many(&mut batch, AT_ONCE).await > 0 {
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let text = format!("({lost} lines of machines were dropped, because the server did not take them)");
            batch.push(SyslogLine { mac: None, address: None, tag: "boots".to_owned(), text });
        }
        let sent = client.post(&url).json(&batch).send().await.and_then(reqwest::Response::error_for_status);
        if let Err(error) = &sent {
            dropped.fetch_add(lost + batch.len() as u64, Ordering::Relaxed);
            if !failed {
                log::warn!("lines of machines do not reach the server's logs: {}", Chain(error));
            }
            tokio::time::sleep(PAUSE).await;
        }
        failed = sent.is_err();
        batch.clear();
    }
}
