//! Where an action sends what it made: a web server, or a file.

use crate::image2disk::{Web, web_agent};
use crate::variables::{VariableError, Variables, unusable};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use ureq::SendBody;
use ureq::http::header;

/// A server may write what it got to its disk before it answers.
const ANSWER_WITHIN: Duration = Duration::from_secs(600);
const PIECE: usize = 256 << 10;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    Web(String),
    File(PathBuf),
}

#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    #[error("{url} refuses the upload: it answers {status}")]
    Refused { url: String, status: u16 },
    #[error("cannot send to {url}")]
    Send {
        url: String,
        #[source]
        source: ureq::Error,
    },
    #[error("cannot write {path}: is its folder a volume of the action?")]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl Destination {
    /// An http, https or file URL, or an absolute path.
    pub fn read(variables: &Variables, name: &'static str) -> Result<Self, VariableError> {
        let text = variables.text(name)?;
        let path = text.strip_prefix("file://").unwrap_or(&text);
        match text.split_once("://") {
            Some(("http" | "https", rest)) if !rest.is_empty() && !text.contains(char::is_whitespace) => Ok(Self::Web(text)),
            _ if path.starts_with('/') && !path.ends_with('/') => Ok(Self::File(path.into())),
            _ => Err(unusable(name, &text, "http://, https:// or the absolute path of a file")),
        }
    }

    /// The last part of the path, without a query.
    pub fn name(&self) -> String {
        match self {
            Self::Web(url) => path_of(url).rsplit('/').next().unwrap_or_default().to_owned(),
            Self::File(path) => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        }
    }

    /// The same place with a suffix to its name.
    pub fn beside(&self, suffix: &str) -> Self {
        match self {
            Self::Web(url) => {
                let path = path_of(url);
                Self::Web(format!("{path}{suffix}{}", url.get(path.len()..).unwrap_or_default()))
            }
            Self::File(path) => {
                let mut name = path.as_os_str().to_owned();
                name.push(suffix);
                Self::File(name.into())
            }
        }
    }

    /// By PUT, or as a file that has its name once it is complete. A length of `None` sends chunks.
    pub fn put(&self, web: &Web, body: &mut dyn Read, length: Option<u64>) -> Result<(), UploadError> {
        match self {
            Self::Web(url) => {
                let mut request = web_agent(web, ANSWER_WITHIN).put(url).header(header::CONTENT_TYPE, "application/octet-stream");
                if let Some(length) = length {
                    request = request.header(header::CONTENT_LENGTH, length);
                }
                answered(url, request.send(SendBody::from_reader(body)))
            }
            Self::File(path) => write(path, body).map_err(|source| UploadError::File { path: path.clone(), source }),
        }
    }
}

/// By POST, with the type of the body's form.
pub fn post(web: &Web, url: &str, content_type: &str, body: &mut dyn Read, length: Option<u64>) -> Result<(), UploadError> {
    let mut request = web_agent(web, ANSWER_WITHIN).post(url).header(header::CONTENT_TYPE, content_type);
    if let Some(length) = length {
        request = request.header(header::CONTENT_LENGTH, length);
    }
    answered(url, request.send(SendBody::from_reader(body)))
}

fn answered(url: &str, answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<(), UploadError> {
    let answer = answer.map_err(|source| UploadError::Send { url: url.to_owned(), source })?;
    if answer.status().is_success() {
        return Ok(());
    }
    Err(UploadError::Refused { url: url.to_owned(), status: answer.status().as_u16() })
}

fn write(path: &Path, body: &mut dyn Read) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    let part = PathBuf::from(name);
    let written = (|| {
        let mut file = File::create(&part)?;
        let mut buffer = vec![0; PIECE];
        loop {
            let got = body.read(&mut buffer)?;
            if got == 0 {
                break;
            }
            file.write_all(buffer.get(..got).unwrap_or_default())?;
        }
        file.sync_all()?;
        std::fs::rename(&part, path)
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&part); // the error is the one to report
    }
    written
}

fn path_of(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Destination, String> {
        Destination::read(&Variables::of([("DEST_URL", text)]), "DEST_URL").map_err(|error| error.to_string())
    }

    #[test]
    fn a_destination_is_a_web_server_or_a_file() {
        for (text, name, beside) in [
            ("http://10.0.0.1/images/a.zst", "a.zst", Destination::Web("http://10.0.0.1/images/a.zst.sha256".into())),
            ("https://s3/a.zst?X=1&Y=/b", "a.zst", Destination::Web("https://s3/a.zst.sha256?X=1&Y=/b".into())),
            ("/images/a.zst", "a.zst", Destination::File("/images/a.zst.sha256".into())),
            ("file:///images/a.zst", "a.zst", Destination::File("/images/a.zst.sha256".into())),
        ] {
            let destination = read(text).unwrap();
            assert_eq!((destination.name().as_str(), destination.beside(".sha256")), (name, beside), "{text}");
        }
        for text in ["ftp://a/b", "relative", "/folder/", "http://", "http://a b"] {
            assert!(read(text).unwrap_err().contains("is not usable"), "{text}");
        }
    }

    #[test]
    fn a_file_has_its_name_only_when_it_is_complete() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("a bad sector"))
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        assert!(write(&path, &mut (&b"abc"[..]).chain(Broken)).is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        write(&path, &mut &b"abc"[..]).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"abc");
    }
}
