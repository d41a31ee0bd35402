//! Small files that an action needs whole: from a web server, or from a path.

use crate::image2disk::{Web, web_agent};
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::Duration;

const ANSWER_WITHIN: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("cannot get {url}")]
    Get {
        url: String,
        #[source]
        source: ureq::Error,
    },
    #[error("cannot get {url}: the server answers {status}")]
    Refused { url: String, status: u16 },
    #[error("cannot read {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{place} has more than {max} bytes")]
    TooLarge { place: String, max: u64 },
}

impl FetchError {
    /// The server or the folder does not have it.
    pub fn is_absent(&self) -> bool {
        match self {
            Self::Refused { status, .. } => *status == 404,
            Self::Read { source, .. } => source.kind() == io::ErrorKind::NotFound,
            Self::Get { .. } | Self::TooLarge { .. } => false,
        }
    }
}

/// `place` is an http or https URL, or a path, with or without file://.
pub fn bytes(web: &Web, place: &str, max: u64) -> Result<Vec<u8>, FetchError> {
    let mut data = Vec::new();
    if place.starts_with("http://") || place.starts_with("https://") {
        let failed = |source| FetchError::Get { url: place.to_owned(), source };
        let answer = web_agent(web, ANSWER_WITHIN).get(place).call().map_err(failed)?;
        if !answer.status().is_success() {
            return Err(FetchError::Refused { url: place.to_owned(), status: answer.status().as_u16() });
        }
        let read = answer.into_body().into_reader().take(max + 1).read_to_end(&mut data);
        read.map_err(|error| failed(ureq::Error::Io(error)))?;
    } else {
        let path = PathBuf::from(place.strip_prefix("file://").unwrap_or(place));
        let read = File::open(&path).and_then(|file| file.take(max + 1).read_to_end(&mut data));
        read.map_err(|source| FetchError::Read { path, source })?;
    }
    if data.len() as u64 > max {
        return Err(FetchError::TooLarge { place: place.to_owned(), max });
    }
    Ok(data)
}
