//! A registry on a loopback socket that serves real layers and misbehaves on request.
#![allow(dead_code)]

use std::collections::HashMap;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, Response, StatusCode, Uri, header};
use sha2::Digest;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// How requests for paths with this end fail, once for each entry, before they succeed.
#[derive(Clone, Copy)]
pub enum Trouble {
    Status(u16),
    /// Half of the content, then the connection breaks.
    Cut,
    /// All of the content, then the connection breaks before its regular end.
    CutAtTheEnd,
    /// Other bytes of the same length.
    Corrupt,
    /// Single bytes with pauses.
    Dribble,
    /// 429, with the number of seconds until the next attempt.
    Busy(u64),
}

#[derive(Default)]
pub struct Inner {
    content: HashMap<String, (String, Vec<u8>)>,
    troubles: HashMap<String, Vec<Trouble>>,
    pub requests: Vec<String>,
    /// Reading needs this token, and uploads need it with `-push` appended. With `basic`, only that login gets one.
    pub token: Option<String>,
    pub basic: Option<String>,
    /// Another registry that has the blobs of this one.
    pub store: Option<SocketAddr>,
    /// The `Authorization` of every request.
    pub authorizations: Vec<Option<String>>,
    /// Layers are sent only after this many were requested at the same time.
    pub together: Option<Together>,
    /// Serves without ranges.
    pub no_ranges: bool,
}

#[derive(Clone)]
pub struct Together {
    wanted: usize,
    /// The number of current requests, and their maximum.
    asked: tokio::sync::watch::Sender<(usize, usize)>,
}

struct Asked(tokio::sync::watch::Sender<(usize, usize)>);

impl Together {
    pub fn new(wanted: usize) -> Self {
        Self { wanted, asked: tokio::sync::watch::Sender::new((0, 0)) }
    }

    async fn wait(self) {
        self.asked.send_modify(|(now, most)| {
            *now += 1;
            *most = (*most).max(*now);
        });
        let _asked = Asked(self.asked.clone());
        self.asked.subscribe().wait_for(|(_, most)| *most >= self.wanted).await.unwrap();
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.send_modify(|(now, _)| *now -= 1);
    }
}

impl Inner {
    pub fn paths(&self) -> impl Iterator<Item = &String> {
        self.content.keys()
    }
}

pub struct Registry {
    pub address: SocketAddr,
    pub inner: Arc<Mutex<Inner>>,
    task: JoinHandle<()>,
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(sha2::Sha256::digest(bytes)))
}

impl Registry {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener, Arc::default())
    }

    pub fn on(listener: TcpListener, inner: Arc<Mutex<Inner>>) -> Self {
        let address = listener.local_addr().unwrap();
        let state = (inner.clone(), address);
        let app = Router::new().fallback(answer).with_state(state);
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, inner, task }
    }

    /// Adds an image named `name:latest` and returns its reference.
    pub fn image(&self, name: &str, layers: &[(&str, Vec<u8>)], config: &str) -> String {
        let mut inner = self.inner.lock().unwrap();
        let mut put = |kind: &str, media: &str, key: Option<&str>, bytes: Vec<u8>| {
            let digest = digest(&bytes);
            let size = bytes.len();
            for key in [Some(digest.as_str()), key].into_iter().flatten() {
                inner.content.insert(format!("/v2/{name}/{kind}/{key}"), (media.to_owned(), bytes.clone()));
            }
            format!(r#"{{"mediaType":"{media}","digest":"{digest}","size":{size}}}"#)
        };
        let config = put("blobs", "application/vnd.oci.image.config.v1+json", None, config.as_bytes().to_vec());
        let layers: Vec<String> = layers.iter().map(|(media, bytes)| put("blobs", media, None, bytes.clone())).collect();
        let manifest = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{}]}}"#, layers.join(","));
        let media = "application/vnd.oci.image.manifest.v1+json";
        let entry = put("manifests", media, None, manifest.into_bytes());
        let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let other = with_other_digest(&entry);
        let platform = |entry: &str, arch: &str| {
            entry.replacen('{', &format!(r#"{{"platform":{{"os":"linux","architecture":"{arch}"}},"#), 1)
        };
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{},{}]}}"#, platform(&other, "s390x"), platform(&entry, arch));
        put("manifests", "application/vnd.oci.image.index.v1+json", Some("latest"), index.into_bytes());
        format!("{}/{name}:latest", self.address)
    }

    /// Adds an image that skopeo copied to a folder (`dir:`), unchanged, and returns its reference.
    pub fn folder(&self, name: &str, folder: &std::path::Path) -> String {
        let manifest = std::fs::read(folder.join("manifest.json")).unwrap();
        let parsed: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        let media = parsed["mediaType"].as_str().unwrap_or("application/vnd.oci.image.manifest.v1+json").to_owned();
        let mut inner = self.inner.lock().unwrap();
        for blob in std::iter::once(&parsed["config"]).chain(parsed["layers"].as_array().unwrap()) {
            let digest = blob["digest"].as_str().unwrap();
            let bytes = std::fs::read(folder.join(digest.trim_start_matches("sha256:"))).unwrap();
            inner.content.insert(format!("/v2/{name}/blobs/{digest}"), ("application/octet-stream".into(), bytes));
        }
        inner.content.insert(format!("/v2/{name}/manifests/{}", digest(&manifest)), (media.clone(), manifest.clone()));
        inner.content.insert(format!("/v2/{name}/manifests/latest"), (media, manifest));
        format!("{}/{name}:latest", self.address)
    }

    /// Puts a document or blob at its path in the API: `manifests` or `blobs`, then a tag or digest.
    pub fn put(&self, name: &str, kind: &str, key: &str, media: &str, bytes: &[u8]) {
        let path = format!("/v2/{name}/{kind}/{key}");
        self.inner.lock().unwrap().content.insert(path, (media.to_owned(), bytes.to_vec()));
    }

    /// As if it never had it.
    pub fn forget(&self, path: &str) {
        self.inner.lock().unwrap().content.remove(path).unwrap();
    }

    /// Makes a tag mean the manifest of an image of this name with a change. The image's reference.
    pub fn change_manifest(&self, name: &str, change: impl FnOnce(&mut serde_json::Value)) -> String {
        let mut inner = self.inner.lock().unwrap();
        let documents = inner.content.iter().filter(|(path, _)| path.starts_with(&format!("/v2/{name}/manifests/")));
        let mut parsed = documents.filter_map(|(_, (_, bytes))| serde_json::from_slice::<serde_json::Value>(bytes).ok());
        let mut manifest = parsed.find(|document| document.get("layers").is_some()).unwrap();
        change(&mut manifest);
        let content = ("application/vnd.oci.image.manifest.v1+json".to_owned(), manifest.to_string().into_bytes());
        inner.content.insert(format!("/v2/{name}/manifests/latest"), content);
        format!("{}/{name}:latest", self.address)
    }

    /// What a tag means.
    pub fn bytes_of(&self, name: &str, tag: &str) -> Vec<u8> {
        self.inner.lock().unwrap().content[&format!("/v2/{name}/manifests/{tag}")].1.clone()
    }

    /// The digest of a tag's manifest.
    pub fn digest_of(&self, name: &str, tag: &str) -> String {
        digest(&self.inner.lock().unwrap().content[&format!("/v2/{name}/manifests/{tag}")].1)
    }

    /// From now on this registry has everything that the other one has.
    pub fn copy(&self, from: &Self) {
        self.inner.lock().unwrap().content.clone_from(&from.inner.lock().unwrap().content);
    }

    pub fn trouble(&self, path_end: &str, troubles: &[Trouble]) {
        self.inner.lock().unwrap().troubles.insert(path_end.to_owned(), troubles.to_vec());
    }

    pub fn requests(&self, part: &str) -> usize {
        self.inner.lock().unwrap().requests.iter().filter(|r| r.contains(part)).count()
    }
}

/// The entry of a variant that does not exist.
fn with_other_digest(entry: &str) -> String {
    let start = entry.find("sha256:").unwrap() + 7;
    format!("{}{}{}", &entry[..start], "0".repeat(64), &entry[start + 64..])
}

type Shared = (Arc<Mutex<Inner>>, SocketAddr);

async fn answer(State((inner, address)): State<Shared>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let (path, headers) = (parts.uri.path().to_owned(), parts.headers);
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let uploads = !matches!(parts.method, Method::GET | Method::HEAD);
    let mut inner = inner.lock().unwrap();
    inner.requests.push(format!("{path} {}", headers.get(header::RANGE).map_or("", |v| v.to_str().unwrap())));
    let plain = |status: u16| Response::builder().status(status).body(Body::empty()).unwrap();
    let authorization = headers.get(header::AUTHORIZATION).map(|v| v.to_str().unwrap().to_owned());
    inner.authorizations.push(authorization.clone());
    let known = inner.basic.is_none() || authorization == inner.basic.as_ref().map(|basic| format!("Basic {basic}"));
    if path == "/token" {
        let mut token = inner.token.clone().unwrap_or_default();
        if !known {
            return plain(401);
        }
        if parts.uri.query().is_some_and(|query| query.contains("push")) {
            token.push_str("-push");
        }
        return Response::new(Body::from(format!(r#"{{"token":"{token}"}}"#)));
    }
    let challenge =
        |text: String| Response::builder().status(401).header(header::WWW_AUTHENTICATE, text).body(Body::empty()).unwrap();
    if let Some(token) = &inner.token
        && authorization != Some(format!("Bearer {token}-push"))
        && (uploads || authorization != Some(format!("Bearer {token}")))
    {
        return challenge(format!(r#"Bearer realm="http://{address}/token",service="test",scope="repository:x:pull""#));
    }
    if inner.token.is_none() && !known {
        return challenge(r#"Basic realm="test""#.to_owned());
    }
    let key = inner.troubles.keys().find(|end| path.ends_with(end.as_str())).cloned();
    let trouble = key.and_then(|key| {
        let list = inner.troubles.get_mut(&key).unwrap();
        (!list.is_empty()).then(|| list.remove(0))
    });
    if uploads {
        return match trouble {
            Some(Trouble::Status(status)) => {
                Response::builder().status(status).body(Body::from("the registry's own words")).unwrap()
            }
            _ => upload(&mut inner, &parts.uri, &headers, body.to_vec()),
        };
    }
    let Some((media, bytes)) = inner.content.get(&path).cloned() else { return plain(404) };
    if let Some(Trouble::Status(status)) = trouble {
        return plain(status);
    }
    if let Some(Trouble::Busy(seconds)) = trouble {
        return Response::builder().status(429).header(header::RETRY_AFTER, seconds).body(Body::empty()).unwrap();
    }
    if let Some(Trouble::Dribble) = trouble {
        return dribble(bytes);
    }
    if let Some(store) = inner.store.filter(|_| path.contains("/blobs/")) {
        return Response::builder()
            .status(307)
            .header(header::LOCATION, format!("http://{store}{path}"))
            .body(Body::empty())
            .unwrap();
    }
    if let Some(together) = inner.together.clone().filter(|_| media.contains("layer")) {
        let body = async move {
            together.wait().await;
            Ok::<_, std::io::Error>(bytes)
        };
        return Response::new(Body::from_stream(futures_util::stream::once(body)));
    }
    content(&headers, media, bytes, trouble, inner.no_ranges)
}

/// The first request gets a location, and the second uploads the bytes there. A manifest needs only one request.
fn upload(inner: &mut Inner, uri: &Uri, headers: &HeaderMap, bytes: Vec<u8>) -> Response<Body> {
    let (path, query) = (uri.path(), uri.query().unwrap_or_default().replace("%3A", ":").replace("%2F", "/"));
    let parameter = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let created = |digest: &str| Response::builder().status(201).header("docker-content-digest", digest).body(Body::empty());
    if let Some((repository, tag)) = path.split_once("/manifests/") {
        let (media, digest) = (headers[header::CONTENT_TYPE].to_str().unwrap().to_owned(), digest(&bytes));
        for key in [tag, &digest] {
            inner.content.insert(format!("{repository}/manifests/{key}"), (media.clone(), bytes.clone()));
        }
        return created(&digest).unwrap();
    }
    let blobs = path.split_once("uploads/").unwrap().0;
    if let Some(claimed) = parameter("digest") {
        assert_eq!(claimed, digest(&bytes), "the bytes must match their digest");
        inner.content.insert(format!("{blobs}{claimed}"), ("application/octet-stream".into(), bytes));
        return created(claimed).unwrap();
    }
    if let (Some(wanted), Some(from)) = (parameter("mount"), parameter("from"))
        && let Some(blob) = inner.content.get(&format!("/v2/{from}/blobs/{wanted}")).cloned()
    {
        inner.content.insert(format!("{blobs}{wanted}"), blob);
        return created(wanted).unwrap();
    }
    Response::builder().status(202).header(header::LOCATION, format!("{path}1?state=x")).body(Body::empty()).unwrap()
}

/// A client that waits for all bytes waits for hours.
fn dribble(bytes: Vec<u8>) -> Response<Body> {
    let pieces = futures_util::stream::unfold(bytes.into_iter(), |mut rest| async move {
        let byte = rest.next()?;
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        Some((Ok::<_, std::io::Error>(vec![byte]), rest))
    });
    Response::new(Body::from_stream(pieces))
}

fn content(headers: &HeaderMap, media: String, mut bytes: Vec<u8>, trouble: Option<Trouble>, no_ranges: bool) -> Response<Body> {
    let all = bytes.len();
    if let Some(Trouble::Corrupt) = trouble {
        bytes.iter_mut().skip(all / 2).for_each(|b| *b ^= 0x55);
    }
    let range =
        headers.get(header::RANGE).filter(|_| !no_ranges).map(|v| v.to_str().unwrap().trim_start_matches("bytes=").to_owned());
    let start = range.as_deref().map_or(0, |r| match r.strip_prefix('-') {
        Some(last) => all.saturating_sub(last.parse().unwrap()),
        None => r.trim_end_matches('-').parse().unwrap(),
    });
    if start >= all && range.is_some() {
        return Response::builder().status(StatusCode::RANGE_NOT_SATISFIABLE).body(Body::empty()).unwrap();
    }
    let part = bytes[start..].to_vec();
    let mut response = Response::builder().header(header::CONTENT_TYPE, media);
    if !matches!(trouble, Some(Trouble::CutAtTheEnd)) {
        response = response.header(header::CONTENT_LENGTH, part.len());
    }
    if range.is_some() {
        response = response
            .status(StatusCode::PARTIAL_CONTENT)
            .header(header::CONTENT_RANGE, format!("bytes {start}-{}/{all}", all - 1));
    }
    if let Some(cut @ (Trouble::Cut | Trouble::CutAtTheEnd)) = trouble {
        let sent = if matches!(cut, Trouble::Cut) { part.len() / 2 } else { part.len() };
        let half = part[..sent].to_vec();
        let then = move |turn: u8| {
            let half = half.clone();
            async move {
                match turn {
                    0 => Some((Ok(half), 1)),
                    // Time for the sent bytes to leave before the connection breaks.
                    _ => {
                        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
                        Some((Err(std::io::Error::other("cut")), 2))
                    }
                }
            }
        };
        return response.body(Body::from_stream(futures_util::stream::unfold(0, then))).unwrap();
    }
    response.body(Body::from(part)).unwrap()
}

pub const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub const ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
pub const TAR: &str = "application/vnd.oci.image.layer.v1.tar";

/// A layer with one file.
pub fn tarred(noise: &[u8]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(noise.len() as u64);
    builder.append_data(&mut header, "noise", noise).unwrap();
    builder.into_inner().unwrap()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

/// Compressed with the window of `zstd -19`, but faster.
pub fn zstd19(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(23).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Paths that end in `/` are directories, `a -> b` is a symbolic link, and `a = b` a hard link.
pub fn tar(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, text) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o755);
        header.set_mtime(1_000_000);
        if let Some((link, target)) = path.split_once(" -> ").or_else(|| path.split_once(" = ")) {
            let hard = path.contains(" = ");
            header.set_entry_type(if hard { tar::EntryType::Link } else { tar::EntryType::Symlink });
            header.set_size(0);
            set_path(&mut header, link);
            header.set_link_name_literal(target).unwrap();
            header.set_cksum();
            builder.append(&header, std::io::empty()).unwrap();
        } else {
            header.set_entry_type(if path.ends_with('/') { tar::EntryType::Directory } else { tar::EntryType::Regular });
            header.set_size(text.len() as u64);
            set_path(&mut header, path);
            header.set_cksum();
            builder.append(&header, text.as_bytes()).unwrap();
        }
    }
    builder.into_inner().unwrap()
}

/// Sets paths that the builder refuses and an attacker would write by hand.
fn set_path(header: &mut tar::Header, path: &str) {
    header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
}

/// Adds an image to an OCI image layout under its full name. Returns the digest of its manifest.
pub fn embed(folder: &std::path::Path, name: &str, layers: &[(&str, Vec<u8>)], config: &str) -> String {
    let blobs = folder.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    std::fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let put = |media: &str, bytes: &[u8]| {
        let digest = digest(bytes);
        std::fs::write(blobs.join(&digest[7..]), bytes).unwrap();
        serde_json::json!({"mediaType": media, "digest": digest, "size": bytes.len()})
    };
    let config = put("application/vnd.oci.image.config.v1+json", config.as_bytes());
    let layers: Vec<_> = layers.iter().map(|(media, bytes)| put(media, bytes)).collect();
    let manifest = serde_json::json!({"schemaVersion": 2, "config": config, "layers": layers}).to_string();
    let mut entry = put("application/vnd.oci.image.manifest.v1+json", manifest.as_bytes());
    entry["annotations"] = serde_json::json!({"org.opencontainers.image.ref.name": name});
    let file = folder.join("index.json");
    let empty = r#"{"schemaVersion":2,"manifests":[]}"#.to_owned();
    let mut index: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap_or(empty)).unwrap();
    index["manifests"].as_array_mut().unwrap().push(entry);
    std::fs::write(file, index.to_string()).unwrap();
    digest(manifest.as_bytes())
}
