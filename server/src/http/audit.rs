//! The audit log as lines of JSON. Only an admin reads it.

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};

use api::AuditLine;
use api::paths::AUDIT;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::StreamExt;
use jiff::Timestamp;
use log::error;

use super::logs::LogQuery;
use super::{problem, see_log};
use crate::service::Server;

pub(super) fn routes() -> Router<Server> {
    Router::new().route(AUDIT, get(audit))
}

async fn audit(State(server): State<Server>, Query(query): Query<LogQuery>) -> Response {
    let Some((logs, _)) = &server.0.config().logs else {
        return problem(StatusCode::NOT_FOUND, "this server keeps no log");
    };
    let (folder, since) = (logs.join("audit"), query.since(Timestamp::now()));
    let listing = tokio::task::spawn_blocking(move || files(&folder, since));
    let files = match listing.await {
        Ok(Ok(files)) => files,
        Ok(Err(reason)) => {
            error!("the audit log cannot be listed: {reason}");
            return see_log("reading the audit log");
        }
        Err(_) => return see_log("reading the audit log"),
    };
    // File by file, so that a slow reader costs the memory of one.
    let lines = futures_util::stream::iter(files).then(move |file| async move {
        let lines = tokio::task::spawn_blocking(move || lines(&file, since)).await;
        Ok::<_, Infallible>(Bytes::from(lines.unwrap_or_default()))
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}

/// The files in their order, without those that end before the time.
fn files(folder: &Path, since: Option<Timestamp>) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()), // no change yet
        entries => entries?,
    };
    let mut names: Vec<String> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.retain(|name| name.ends_with(".jsonl"));
    names.sort_unstable();
    // A name has the time of the file's first line: 00000007-20260102T030405Z.jsonl
    let since = since.map(|since| since.strftime("%Y%m%dT%H%M%SZ").to_string()).unwrap_or_default();
    let is_over = |next: &String| next.split_once('-').is_some_and(|(_, begin)| begin < since.as_str());
    let first = names.iter().skip(1).take_while(|next| is_over(next)).count();
    Ok(names.iter().skip(first).map(|name| folder.join(name)).collect())
}

fn lines(file: &Path, since: Option<Timestamp>) -> Vec<u8> {
    let text = std::fs::read(file).unwrap_or_default(); // it may have made room for newer ones
    let wanted = |line: &&[u8]| {
        let line: Option<AuditLine> = serde_json::from_slice(line).ok();
        line.is_some_and(|line| since.is_none_or(|since| line.time >= since))
    };
    text.split_inclusive(|byte| *byte == b'\n').filter(wanted).flatten().copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_since_a_time_are_read_and_older_files_are_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let line = |time: &str| {
            format!(
                "{{\"time\":\"{time}\",\"user\":\"a\",\"roles\":\"admin\",\"from\":\"x\",\"method\":\"PUT\",\"path\":\"/\",\"code\":200}}\n"
            )
        };
        for (name, text) in [
            ("00000001-20260101T000000Z.jsonl", line("2026-01-01T00:00:00Z")),
            ("00000002-20260102T000000Z.jsonl", line("2026-01-02T00:00:00Z") + &line("2026-01-02T12:00:00Z") + "half a li"),
            ("00000003-20260103T000000Z.jsonl", line("2026-01-03T00:00:00Z")),
            ("other.txt", "x".to_owned()),
        ] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        for (since, opened, shown) in [
            (None, 3, 4),
            (Some("2025-01-01T00:00:00Z"), 3, 4),
            (Some("2026-01-02T06:00:00Z"), 2, 2),
            (Some("2026-01-03T00:00:00Z"), 2, 1),
            (Some("2027-01-01T00:00:00Z"), 1, 0),
        ] {
            let time = since.map(|text| text.parse().unwrap());
            let found = files(folder.path(), time).unwrap();
            let count: usize = found.iter().map(|file| lines(file, time).iter().filter(|byte| **byte == b'\n').count()).sum();
            assert_eq!((found.len(), count), (opened, shown), "{since:?}");
        }
        assert!(files(&folder.path().join("gone"), None).unwrap().is_empty());
    }
}
