//! Where images come from: the files folder, or a URL that the operator has written into a Hardware or the settings.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use ::machine::Chain;
use axum::body::Body;
use bytes::Bytes;
use futures_util::{Stream, stream};
use http::header;
use jiff::Timestamp;
use model::Hardware;
use reqwest::{Client, StatusCode, redirect};
use tokio::sync::OnceCell;

use super::super::files;
use super::super::range::{Version, parse_date};
use super::super::router::elsewhere;
use crate::Config;
use crate::beneath::{self, OpenError};
use crate::iso::{Window, has_placeholder};

/// As smee has it.
const REDIRECTS: usize = 10;
const PATIENCE: Duration = Duration::from_secs(10);
const STALLED: Duration = Duration::from_secs(60);
/// How long the size of an image at a URL is believed. A BMC reads thousands of ranges.
const BELIEVED: Duration = Duration::from_secs(60);
const KEPT: usize = 64;
const CHUNK: usize = 64 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    #[error("there is no {0:?} in the files folder, and neither the Hardware nor the setting iso-source names a URL")]
    Missing(String),
    #[error("{0:?} has no placeholder for kernel arguments; HookOS has one, and `thimble image build --iso --placeholder`")]
    NoPlaceholder(String),
    #[error(transparent)]
    File(OpenError),
    #[error("the source {0:?} is not a URL of http or https")]
    NotAUrl(String),
    #[error("cannot read the image at {url}")]
    Unreachable {
        url: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("the image at {url} cannot be read in ranges: {problem}")]
    Answer { url: String, problem: String },
}

/// An image, before its change.
pub struct Image {
    pub size: u64,
    pub version: Version,
    origin: Origin,
}

enum Origin {
    File { file: Arc<File>, name: String },
    Url { client: Client, url: String },
}

/// What is remembered of images between requests.
#[derive(Default)]
pub struct Sources {
    /// Files by their version, and whether they have a placeholder.
    files: Mutex<HashMap<String, Arc<OnceCell<bool>>>>,
    /// Size and version of what is at a URL.
    urls: Mutex<HashMap<String, (Instant, u64, Version)>>,
    client: OnceLock<Client>,
}

impl Sources {
    /// The Hardware comes first, as in smee, and any name then means its image.
    pub async fn image(&self, config: &Arc<Config>, hardware: Option<&Hardware>, name: &str) -> Result<Image, Unusable> {
        let of_hardware = |hardware: &Hardware| {
            let mut sources = hardware.spec.interfaces.iter().filter_map(|one| one.isoboot.as_ref()?.source_iso.clone());
            sources.find(|source| !source.is_empty())
        };
        if let Some(url) = hardware.and_then(of_hardware) {
            return self.at_url(url).await;
        }
        let (folder, asked) = (Arc::clone(config), name.to_owned());
        match elsewhere(name, move || beneath::open(&folder.files, &asked)).await {
            Ok(file) => self.file(file, name).await,
            Err(OpenError::Missing(_)) => match &config.iso_source {
                Some(url) => self.at_url(url.clone()).await,
                None => Err(Unusable::Missing(name.to_owned())),
            },
            Err(error) => Err(Unusable::File(error)),
        }
    }

    /// A file without a placeholder would start every machine with the same arguments.
    async fn file(&self, file: File, name: &str) -> Result<Image, Unusable> {
        let failed = |source| Unusable::File(OpenError::Io { path: name.to_owned(), source });
        let metadata = file.metadata().map_err(failed)?;
        let (size, version, file) = (metadata.len(), files::version(&metadata), Arc::new(file));
        let read = Arc::clone(&file);
        let has = self.searched(&version.etag, move || search(&read, size)).await.map_err(failed)?;
        let name = name.to_owned();
        if has { Ok(Image { size, version, origin: Origin::File { file, name } }) } else { Err(Unusable::NoPlaceholder(name)) }
    }

    /// One search of a file at a time, because it reads all of it. It goes on when its client has gone: else the next client would
    /// begin another one beside it.
    async fn searched(&self, etag: &str, search: impl FnOnce() -> io::Result<bool> + Send + 'static) -> io::Result<bool> {
        let cell = {
            let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
            if files.len() >= KEPT && !files.contains_key(etag) {
                files.retain(|_, cell| !cell.initialized());
            }
            Arc::clone(files.entry(etag.to_owned()).or_default())
        };
        if let Some(has) = cell.get() {
            return Ok(*has);
        }
        let search = async move {
            let search = async || tokio::task::spawn_blocking(search).await.map_err(io::Error::other).flatten();
            cell.get_or_try_init(search).await.copied()
        };
        tokio::spawn(search).await.map_err(io::Error::other).flatten()
    }

    async fn at_url(&self, url: String) -> Result<Image, Unusable> {
        let is_web = reqwest::Url::parse(&url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
        if !is_web {
            return Err(Unusable::NotAUrl(shown(&url)));
        }
        let client = self.client(&url)?;
        let known = self.urls.lock().unwrap_or_else(PoisonError::into_inner).get(&url).cloned();
        if let Some((_, size, version)) = known.filter(|(at, ..)| at.elapsed() < BELIEVED) {
            return Ok(Image { size, version, origin: Origin::Url { client, url } });
        }
        let answer = client.head(&url).timeout(PATIENCE).send().await.and_then(reqwest::Response::error_for_status);
        let answer = answer.map_err(|source| unreachable(&url, source))?;
        let text = |name| answer.headers().get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
        let Some(size) = text(header::CONTENT_LENGTH).and_then(|length| length.parse().ok()) else {
            return Err(Unusable::Answer { url: shown(&url), problem: "the answer to HEAD has no Content-Length".to_owned() });
        };
        let etag = text(header::ETAG).unwrap_or_default().trim_start_matches("W/").trim_matches('"');
        let etag: String = etag.chars().filter(char::is_ascii_alphanumeric).take(64).collect();
        let modified = text(header::LAST_MODIFIED).and_then(parse_date).unwrap_or(Timestamp::UNIX_EPOCH);
        let version = Version { etag: format!("\"{etag}.{size:x}.{:x}\"", modified.as_second()), modified };
        let mut urls = self.urls.lock().unwrap_or_else(PoisonError::into_inner);
        if urls.len() >= KEPT {
            urls.clear();
        }
        urls.insert(url.clone(), (Instant::now(), size, version.clone()));
        drop(urls);
        Ok(Image { size, version, origin: Origin::Url { client, url } })
    }

    fn client(&self, url: &str) -> Result<Client, Unusable> {
        if let Some(client) = self.client.get() {
            return Ok(client.clone());
        }
        // This has no effect if the program has chosen its provider already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().redirect(redirect::Policy::limited(REDIRECTS)).connect_timeout(PATIENCE);
        let client = client.read_timeout(STALLED).build();
        let client = client.map_err(|source| unreachable(url, source))?;
        Ok(self.client.get_or_init(|| client).clone())
    }
}

fn unreachable(url: &str, source: reqwest::Error) -> Unusable {
    Unusable::Unreachable { url: shown(url), source: source.without_url() }
}

/// The URL for the log, without passwords and signatures.
fn shown(url: &str) -> String {
    let without_query = url.split(['?', '#']).next().unwrap_or_default();
    let shown = match without_query.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_once('/').map_or((rest, None), |(host, path)| (host, Some(path)));
            let host = host.rsplit('@').next().unwrap_or_default();
            path.map_or_else(|| format!("{scheme}://{host}"), |path| format!("{scheme}://{host}/{path}"))
        }
        None => without_query.to_owned(),
    };
    shown.chars().take(200).collect()
}

/// Whether a file has a placeholder anywhere.
fn search(file: &File, size: u64) -> io::Result<bool> {
    let mut window = vec![0; 1 << 20];
    let overlap = cmdline::PLACEHOLDER.len() as u64;
    let mut at = 0;
    while at < size {
        let length = usize::try_from(size - at).unwrap_or(usize::MAX).min(window.len());
        let Some(part) = window.get_mut(..length) else { break };
        file.read_exact_at(part, at)?;
        if has_placeholder(part) {
            return Ok(true);
        }
        at += (length as u64).saturating_sub(overlap).max(1);
        if at + overlap > size {
            break;
        }
    }
    Ok(false)
}

impl Image {
    /// The range of the window, changed.
    pub async fn body(self, window: Window) -> Result<Body, Unusable> {
        let needs = window.needs(self.size);
        let length = needs.end - needs.start;
        let reader = match self.origin {
            Origin::File { file, name } => Reader::File { file, name, next: needs.start, end: needs.end },
            Origin::Url { client, url } => {
                let range = format!("bytes={}-{}", needs.start, needs.end - 1);
                let answer = client.get(&url).header(header::RANGE, range).send().await;
                let answer = answer.and_then(reqwest::Response::error_for_status);
                let answer = answer.map_err(|source| unreachable(&url, source))?;
                let is_whole = answer.status() == StatusCode::OK && length == self.size;
                let expected = format!("bytes {}-{}/{}", needs.start, needs.end - 1, self.size);
                let found = answer.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
                if !is_whole && (answer.status() != StatusCode::PARTIAL_CONTENT || found != Some(expected.as_str())) {
                    let problem = format!("it answers {} with {:?}, and {expected:?} was asked for", answer.status(), found);
                    return Err(Unusable::Answer { url: shown(&url), problem });
                }
                Reader::Url { answer, url, left: length }
            }
        };
        Ok(Body::from_stream(Changed { reader, window, whole: length == self.size, is_done: false }.into_stream()))
    }
}

enum Reader {
    File { file: Arc<File>, name: String, next: u64, end: u64 },
    Url { answer: reqwest::Response, url: String, left: u64 },
}

impl Reader {
    /// `None` at the end of what was asked for.
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        match self {
            Self::File { next, end, .. } if next == end => Ok(None),
            Self::File { file, next, end, .. } => {
                let (file, at, length) = (Arc::clone(file), *next, usize::try_from(*end - *next).unwrap_or(CHUNK).min(CHUNK));
                let read = move || {
                    let mut chunk = vec![0; length];
                    file.read_exact_at(&mut chunk, at).map(|()| Bytes::from(chunk))
                };
                let chunk = tokio::task::spawn_blocking(read).await.map_err(io::Error::other)??;
                *next += length as u64;
                Ok(Some(chunk))
            }
            Self::Url { answer, left, .. } => match answer.chunk().await.map_err(io::Error::other)? {
                Some(chunk) => {
                    *left = left.checked_sub(chunk.len() as u64).ok_or(io::ErrorKind::InvalidData)?;
                    Ok(Some(chunk))
                }
                None if *left == 0 => Ok(None),
                None => Err(io::ErrorKind::UnexpectedEof.into()),
            },
        }
    }

    fn what(&self) -> &str {
        match self {
            Self::File { name, .. } => name,
            Self::Url { url, .. } => url,
        }
    }
}

/// An image on its way. If its source fails, the connection breaks, and the client notices.
struct Changed {
    reader: Reader,
    window: Window,
    whole: bool,
    is_done: bool,
}

impl Changed {
    fn into_stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        stream::try_unfold(self, |mut changed| async move { Ok(changed.next().await?.map(|bytes| (bytes, changed))) })
    }

    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        while !self.is_done {
            let read = self.reader.next().await.inspect_err(|error| {
                log::error!(
                    "HTTP: reading the image {} failed: {}; the download is broken off",
                    self.reader.what(),
                    Chain(error)
                );
            })?;
            self.is_done = read.is_none();
            let out = match read {
                Some(bytes) => self.window.push(&bytes),
                None => self.window.finish(),
            };
            if self.is_done && self.whole && self.window.replaced == 0 {
                log::warn!(
                    "HTTP: the image {} has no placeholder, so it has no kernel arguments of a machine",
                    self.reader.what()
                );
            }
            if !out.is_empty() {
                return Ok(Some(out.into()));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use futures_util::FutureExt;
    use futures_util::future::join_all;

    use super::*;

    #[test]
    fn a_url_is_shown_without_its_secrets() {
        for (url, expected) in [
            ("http://host/a.iso", "http://host/a.iso"),
            ("https://user:pass@host:8443/a/b.iso?X-Amz-Signature=abc#x", "https://host:8443/a/b.iso"),
            ("https://us@er:pa@host", "https://host"),
            ("file:///etc/shadow", "file:///etc/shadow"),
            ("nonsense", "nonsense"),
        ] {
            assert_eq!(shown(url), expected, "{url}");
        }
    }

    #[tokio::test]
    async fn an_image_is_searched_once_although_its_first_client_goes_away() {
        let (sources, searches) = (Sources::default(), Arc::new(AtomicUsize::new(0)));
        let (release, released) = mpsc::channel::<()>();
        let released = Arc::new(Mutex::new(released));
        let search = || {
            let (searches, released) = (Arc::clone(&searches), Arc::clone(&released));
            move || {
                searches.fetch_add(1, Ordering::Relaxed);
                let _ = released.lock().unwrap().recv(); // until the sender has gone
                Ok(true)
            }
        };
        assert!(sources.searched("etag", search()).now_or_never().is_none());
        let all = join_all((0..8).map(|_| sources.searched("etag", search())));
        drop(release);
        assert!(all.await.into_iter().all(Result::unwrap));
        assert!(sources.searched("etag", search()).await.unwrap());
        assert_eq!(searches.load(Ordering::Relaxed), 1);
    }
}
