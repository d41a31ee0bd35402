//! image2disk from a registry that wants a token, whose token ends, and whose connections drop.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod images;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode, header};
use images::{DISK, Disk, NO_RETRY, image, zstd};
use sha2::{Digest, Sha256};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

const ARCH: &str = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };

/// A registry with one repository, `site/disk`.
#[derive(Clone, Default)]
struct Registry {
    blob: Arc<Vec<u8>>,
    manifest: Arc<Vec<u8>>,
    index: Arc<Vec<u8>>,
    /// Bytes after which the next blobs break.
    drops: Arc<Mutex<Vec<usize>>>,
    /// Requests that a token is good for.
    lives: usize,
    used: Arc<AtomicUsize>,
    tokens: Arc<AtomicUsize>,
}

fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

impl Registry {
    fn of(blob: Vec<u8>, files: usize) -> Self {
        let file = |name: &str| {
            let (digest, size) = (sha256(&blob), blob.len());
            format!(r#"{{"digest":"{digest}","size":{size},"annotations":{{"org.opencontainers.image.title":"{name}"}}}}"#)
        };
        let layers: Vec<String> = ["disk.img.zst", "readme.md"].iter().take(files).map(|name| file(name)).collect();
        let manifest = format!(r#"{{"schemaVersion":2,"config":{},"layers":[{}]}}"#, file("c"), layers.join(","));
        let index = format!(
            r#"{{"manifests":[{{"digest":"{}","platform":{{"architecture":"{ARCH}","os":"linux"}}}}]}}"#,
            sha256(manifest.as_bytes())
        );
        let (manifest, index) = (manifest.into_bytes().into(), index.into_bytes().into());
        Self { blob: blob.into(), manifest, index, lives: usize::MAX, ..Self::default() }
    }

    fn start(self) -> SocketAddr {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(answer).with_state(self);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async { axum::serve(tokio::net::TcpListener::from_std(listener).unwrap(), router).await })
        });
        address
    }
}

async fn answer(State(registry): State<Registry>, request: Request) -> Response<Body> {
    let text = |name| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let (path, authorization) = (request.uri().path().to_owned(), text(header::AUTHORIZATION));
    let of = |status: StatusCode, body: Vec<u8>| Response::builder().status(status).body(Body::from(body)).unwrap();
    if path == "/token" {
        if authorization != "Basic bWU6c2VjcmV0" {
            return of(StatusCode::UNAUTHORIZED, Vec::new());
        }
        let number = registry.tokens.fetch_add(1, Ordering::SeqCst) + 1;
        registry.used.store(0, Ordering::SeqCst);
        return of(StatusCode::OK, format!(r#"{{"token":"t{number}"}}"#).into_bytes());
    }
    let current = format!("Bearer t{}", registry.tokens.load(Ordering::SeqCst));
    if authorization != current || registry.used.fetch_add(1, Ordering::SeqCst) >= registry.lives {
        let challenge = r#"Bearer realm="/token",service="s",scope="repository:site/disk:pull""#;
        let answer = Response::builder().status(401).header(header::WWW_AUTHENTICATE, challenge);
        return answer.body(Body::empty()).unwrap();
    }
    let Some(rest) = path.strip_prefix("/v2/site/disk/") else { return of(StatusCode::NOT_FOUND, Vec::new()) };
    if rest == "manifests/v1" {
        return of(StatusCode::OK, registry.index.to_vec());
    }
    if rest == format!("manifests/{}", sha256(&registry.manifest)) {
        return of(StatusCode::OK, registry.manifest.to_vec());
    }
    if rest != format!("blobs/{}", sha256(&registry.blob)) {
        return of(StatusCode::NOT_FOUND, Vec::new());
    }
    let range = text(header::RANGE);
    let start: usize = range.strip_prefix("bytes=").and_then(|range| range.strip_suffix('-')?.parse().ok()).unwrap_or(0);
    let total = registry.blob.len();
    let mut answer = Response::builder().header(header::CONTENT_LENGTH, total - start);
    if start > 0 {
        answer = answer.status(206).header(header::CONTENT_RANGE, format!("bytes {start}-{}/{total}", total - 1));
    }
    let data = &registry.blob[start..];
    let dropped = registry.drops.lock().unwrap().pop();
    let body = match dropped {
        None => Body::from(data.to_vec()),
        Some(after) => {
            let mut items: Vec<std::io::Result<Vec<u8>>> = data[..after].chunks(8192).map(|piece| Ok(piece.to_vec())).collect();
            items.push(Err(std::io::ErrorKind::ConnectionReset.into()));
            Body::from_stream(futures_util::stream::iter(items))
        }
    };
    answer.body(body).unwrap()
}

const USER: (&str, &str) = ("REGISTRY_USERNAME", "me");
const PASSWORD: (&str, &str) = ("REGISTRY_PASSWORD", "secret");

#[test]
fn an_image_of_a_registry_arrives_although_its_token_ends_and_connections_drop() {
    let mut registry = Registry::of(zstd(&image()), 1);
    registry.lives = 3;
    registry.drops = Arc::new(Mutex::new(vec![700_000, 900_000]));
    let (tokens, disk) = (registry.tokens.clone(), Disk::of(DISK));
    disk.write(&format!("oci://{}/site/disk:v1", registry.start()), &[USER, PASSWORD]).unwrap();
    disk.must_hold(&image(), "oci");
    assert_eq!(tokens.load(Ordering::SeqCst), 2, "a new token when the first one has ended");
}

#[test]
fn a_file_of_several_is_named_behind_a_number_sign() {
    let registry = Registry::of(zstd(&image()), 2).start();
    let disk = Disk::of(DISK);
    let error = disk.write(&format!("oci://{registry}/site/disk:v1"), &[NO_RETRY, USER, PASSWORD]).unwrap_err();
    assert!(error.contains("it has several files: \"disk.img.zst\", \"readme.md\""), "{error}");
    disk.must_be_untouched("several files");
    disk.write(&format!("oci://{registry}/site/disk:v1#disk.img.zst"), &[NO_RETRY, USER, PASSWORD]).unwrap();
    disk.must_hold(&image(), "the named one");
}

#[test]
fn what_a_registry_refuses_is_named_and_nothing_is_erased() {
    let packed = zstd(&image());
    for (case, name, variable, expected) in [
        ("no such tag", "site/disk:v2", PASSWORD, "does not have it"),
        ("a wrong password", "site/disk:v1", ("REGISTRY_PASSWORD", "wrong"), "REGISTRY_USERNAME and REGISTRY_PASSWORD"),
        ("another checksum", "site/disk:v1", ("IMG_CHECKSUM", "sha256:00"), "IMG_CHECKSUM=\"sha256:00\""),
        ("a bad name", "Site/disk", PASSWORD, "is not a valid repository name"),
    ] {
        let registry = Registry::of(packed.clone(), 1).start();
        let disk = Disk::of(DISK);
        let error = disk.write(&format!("oci://{registry}/{name}"), &[NO_RETRY, USER, variable]).expect_err(case);
        assert!(error.contains(expected), "{case}: {error}");
        disk.must_be_untouched(case);
    }
    let (mut registry, disk) = (Registry::of(packed.clone(), 1), Disk::of(DISK));
    registry.manifest = Arc::new([&registry.manifest[..], b" "].concat());
    let url = format!("oci://{}/site/disk@{}", registry.start(), sha256(b"x"));
    let error = disk.write(&url, &[NO_RETRY, USER, PASSWORD]).unwrap_err();
    assert!(error.contains("does not have it"), "{error}");
    let (mut registry, disk) = (Registry::of(packed, 1), Disk::of(DISK));
    let right = registry.blob.clone();
    registry.blob = Arc::new(right.iter().rev().copied().collect());
    registry.manifest =
        Arc::new(String::from_utf8_lossy(&registry.manifest).replace(&sha256(&right), &sha256(&registry.blob)).into());
    let error = disk.write(&format!("oci://{}/site/disk:v1", registry.start()), &[NO_RETRY, USER, PASSWORD]).unwrap_err();
    assert!(error.contains("does not have it"), "an index that names a manifest which is not there: {error}");
    disk.must_be_untouched("another manifest");
}
