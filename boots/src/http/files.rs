//! A file as a response: conditions, one range, HEAD.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use ::machine::Chain;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, header};
use jiff::Timestamp;

use super::body::stretch;
use super::download::Download;
use super::front::Caller;
use super::range::{Version, Wanted, date, wanted};
use super::send::Part;

/// Answers GET and HEAD for an open file. To a [`Caller`] the part of the file goes as an extension, without a body.
pub fn respond(parts: &Parts, file: File, download: Download) -> Response {
    let metadata = match file.metadata() {
        Ok(metadata) => metadata,
        Err(error) => {
            log::error!("HTTP: cannot read the size of {}: {}", download.path, Chain(&error));
            return (StatusCode::INTERNAL_SERVER_ERROR, "cannot read the file\n").into_response();
        }
    };
    let size = metadata.len();
    let version = version(&metadata);
    let (status, start, length) = match wanted(&parts.headers, &version, size) {
        Wanted::Whole => (StatusCode::OK, 0, size),
        Wanted::Part { start, end } => (StatusCode::PARTIAL_CONTENT, start, end - start + 1),
        Wanted::NotModified => (StatusCode::NOT_MODIFIED, 0, 0),
        Wanted::Unsatisfiable => (StatusCode::RANGE_NOT_SATISFIABLE, 0, 0),
    };
    let mut response = Response::new(Body::empty());
    if parts.method == Method::GET && length > 0 {
        let part = Part { file: Arc::new(file), start, length, download };
        match parts.extensions.get::<Caller>() {
            Some(_) => drop(response.extensions_mut().insert(Arc::new(part))),
            None => *response.body_mut() = stretch(part),
        }
    }
    *response.status_mut() = status;
    let mut set = |name, value: String| {
        HeaderValue::try_from(value).ok().map(|value| response.headers_mut().insert(name, value));
    };
    set(header::ETAG, version.etag);
    set(header::LAST_MODIFIED, date(version.modified));
    set(header::ACCEPT_RANGES, "bytes".to_owned());
    match status {
        StatusCode::NOT_MODIFIED => return response,
        StatusCode::PARTIAL_CONTENT => set(header::CONTENT_RANGE, format!("bytes {start}-{}/{size}", start + length - 1)),
        StatusCode::RANGE_NOT_SATISFIABLE => set(header::CONTENT_RANGE, format!("bytes */{size}")),
        _ => {}
    }
    set(header::CONTENT_TYPE, "application/octet-stream".to_owned());
    set(header::CONTENT_LENGTH, length.to_string()); // also for HEAD: EDK2 reads it before it fetches
    response
}

/// A file that is written again has another inode or time. The size helps if the clock stands still.
pub(super) fn version(metadata: &std::fs::Metadata) -> Version {
    let etag = format!("\"{:x}-{:x}-{:x}.{:x}\"", metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec());
    Version { etag, modified: Timestamp::from_second(metadata.mtime()).unwrap_or(Timestamp::UNIX_EPOCH) }
}
