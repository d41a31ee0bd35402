//! Follows the server's event stream in the background, for the progress of the machine's downloads.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use api::{Event, What};

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
    /// Ends by itself with the server. Without events the view only shows less.
    pub fn follow(server: &Path) -> Self {
        let feed = Self::default();
        let (writer, server) = (feed.clone(), server.to_owned());
        std::thread::spawn(move || {
            let hear = |line: &str| {
                if let Some(heard) = read(line) {
                    *writer.latest.lock().unwrap_or_else(PoisonError::into_inner) = heard;
                }
                true
            };
            if let Err(error) = http::stream(server.as_path(), api::paths::EVENTS, hear) {
                eprintln!("events: {error:#}");
            }
        });
        feed
    }

    pub fn download(&self) -> Option<Download> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// `Some(None)` when a download has ended.
fn read(line: &str) -> Option<Option<Download>> {
    let What::Machine { milestone, detail, .. } = serde_json::from_str::<Event>(line).ok()?.what else { return None };
    match milestone.as_str() {
        "download" => parse(&detail).map(Some),
        "downloaded" | "interrupted" => Some(None),
        _ => None,
    }
}

/// Parses `PATH SENT/TOTAL bytes`.
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
        let read = |rest: &str| read(&format!(r#"{{"revision":1,"time":"2026-01-02T03:04:05Z",{rest}}}"#));
        let machine = r#""type":"machine","mac":"02:00:00:00:00:01""#;
        let running = read(&format!(r#"{machine},"milestone":"download","detail":"vm linuz 5/9 bytes""#));
        assert_eq!(running, Some(Some(Download { path: "vm linuz".into(), sent: 5, total: 9 })));
        assert_eq!(read(&format!(r#"{machine},"milestone":"downloaded","detail":"vmlinuz 9 bytes""#)), Some(None));
        assert_eq!(read(r#""type":"workflow","workflow":"w","state":"RUNNING""#), None);
        assert_eq!(read("half a li"), None);
    }
}
