//! The server's event stream, followed in the background: how far the machine's downloads are.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use crate::http;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Download {
    pub path: String,
    pub sent: u64,
    pub total: u64,
}

/// The latest download that is not complete yet.
#[derive(Clone, Default)]
pub struct Feed {
    latest: Arc<Mutex<Option<Download>>>,
}

impl Feed {
    /// Ends by itself when the server does; without events the view is only less lively.
    pub fn follow(server: SocketAddr) -> Self {
        let feed = Self::default();
        let writer = feed.clone();
        std::thread::spawn(move || {
            let hear = |line: &str| {
                if let Some(heard) = read(line) {
                    *writer.latest.lock().unwrap_or_else(PoisonError::into_inner) = heard;
                }
                true
            };
            if let Err(error) = http::stream(server, "/v1/events", hear) {
                eprintln!("events: {error:#}");
            }
        });
        feed
    }

    pub fn download(&self) -> Option<Download> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// `Some(None)` when a download has come to its end.
fn read(line: &str) -> Option<Option<Download>> {
    let event: Value = serde_json::from_str(line).ok()?;
    match event["milestone"].as_str()? {
        "download" => parse(event["detail"].as_str()?).map(Some),
        "downloaded" | "interrupted" => Some(None),
        _ => None,
    }
}

/// `PATH SENT/TOTAL bytes`
fn parse(detail: &str) -> Option<Download> {
    let (path, numbers) = detail.strip_suffix(" bytes")?.rsplit_once(' ')?;
    let (sent, total) = numbers.split_once('/')?;
    Some(Download { path: path.to_owned(), sent: sent.parse().ok()?, total: total.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn downloads_come_and_go() {
        let running = r#"{"revision":1,"type":"machine","mac":"m","milestone":"download","detail":"vm linuz 5/9 bytes"}"#;
        assert_eq!(read(running), Some(Some(Download { path: "vm linuz".into(), sent: 5, total: 9 })));
        assert_eq!(read(r#"{"type":"machine","milestone":"downloaded","detail":"vmlinuz 9 bytes"}"#), Some(None));
        assert_eq!(read(r#"{"type":"workflow","workflow":"w"}"#), None);
        assert_eq!(read("half a li"), None);
    }
}
