//! A registry that tries to keep the machine busy, at every stage of a pull. Each pull ends within its limit, and at once
//! when it is cancelled.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::tests::{CONFIG, plenty};
use super::*;
use crate::fake_registry::{GZIP, Registry, digest, gzip, tar};
use crate::raw_server::{Act, Raw, answer};
use crate::registry::{Limits, Settings};

const BYTE: Duration = Duration::from_millis(40);
/// Two attempts with these limits, each with one exchange and one document.
const BOUND: Duration = Duration::from_secs(12);
/// How many pulls run at once without starving each other on a small machine.
const TOGETHER: usize = 12;

fn limits() -> Limits {
    let short = Duration::from_millis(600);
    Limits { connect: short, answer: short, window: short, least: 4 << 10 }
}

type Hostile = fn() -> Act;

const OK: &str = "HTTP/1.1 200 OK\r\n";

fn with_length(length: usize, body: &str) -> Vec<u8> {
    format!("{OK}Content-Length: {length}\r\n\r\n{body}").into_bytes()
}

fn chunked(body: &str) -> Vec<u8> {
    format!("{OK}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n", body.len()).into_bytes()
}

const BEHAVIOURS: [(&str, Hostile); 21] = [
    ("silence", || Act::Hang(Vec::new())),
    ("a head that comes slowly", || Act::Drip(OK.into(), b"X-Slow: yes\r\n".to_vec(), BYTE)),
    ("a head without an end", || Act::Flood(OK.into(), b"X-More: yes\r\n".repeat(100))),
    ("a header without an end", || Act::Flood(format!("{OK}X-Long: ").into(), vec![b'x'; 4096])),
    ("a head that breaks off", || Act::Send(b"HTTP/1.1 200 OK\r\nX-".to_vec())),
    ("another protocol", || Act::Send(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec())),
    ("redirects in a circle", || Act::Send(b"HTTP/1.1 307 x\r\nLocation: ?again\r\nContent-Length: 0\r\n\r\n".to_vec())),
    ("a redirect to nowhere", || {
        Act::Send(b"HTTP/1.1 302 x\r\nLocation: file:///dev/zero\r\nContent-Length: 0\r\n\r\n".to_vec())
    }),
    ("a body without an end", || Act::Flood(chunked("{"), [b"1000\r\n", &[b' '; 4096][..], b"\r\n"].concat())),
    ("a token without an end", || Act::Flood(chunked("{\"token\":\""), [b"1000\r\n", &[b'a'; 4096][..], b"\r\n"].concat())),
    ("a length of a gigabyte", || Act::Flood(with_length(1 << 30, "{"), vec![b' '; 4096])),
    ("JSON of great depth", || Act::Send(with_length(1 << 20, &"[".repeat(1 << 20)))),
    ("objects of great depth", || Act::Send(with_length(5 << 19, &"{\"a\":".repeat(1 << 19)))),
    ("less than was promised, then silence", || Act::Hang(with_length(1000, "{"))),
    ("less than was promised, then the end", || Act::Send(with_length(1000, "{"))),
    ("more than was promised", || Act::Send(with_length(1, "{}{}{}"))),
    ("a length that is none", || Act::Send(format!("{OK}Content-Length: -1\r\n\r\n{{}}").into_bytes())),
    ("a byte now and then", || Act::Drip(with_length(1 << 20, "{"), vec![b' '], BYTE)),
    ("a byte now and then, in an error", || {
        Act::Drip(b"HTTP/1.1 500 x\r\nContent-Length: 9999\r\n\r\n".to_vec(), vec![b'x'], BYTE)
    }),
    ("an error without an end", || Act::Flood(b"HTTP/1.1 403 x\r\n\r\n".to_vec(), vec![b'x'; 4096])),
    ("a demand for a login, again and again", || {
        answer("401 x", "WWW-Authenticate: Basic realm=\"x\"\r\nWWW-Authenticate: Bearer realm=\"/token\"\r\n", "")
    }),
];

/// The stage, and the part of a path that belongs to it.
async fn stages() -> (Registry, String, Vec<(&'static str, String)>) {
    let registry = Registry::start().await;
    let layer = gzip(&tar(&[("a", "1")]));
    let image = registry.image("tool", &[(GZIP, layer.clone())], CONFIG);
    let index = registry.digest_of("tool", "latest");
    let manifest = {
        let inner = registry.inner.lock().unwrap();
        let all = inner.paths().filter_map(|path| path.strip_prefix("/v2/tool/manifests/").map(str::to_owned));
        all.filter(|name| name.starts_with("sha256:") && *name != index).collect::<Vec<_>>().remove(0)
    };
    let stages = vec![
        ("token", "/token".to_owned()),
        ("index", "/manifests/latest".to_owned()),
        ("manifest", format!("/manifests/{manifest}")),
        ("signature", ".sig".to_owned()),
        ("referrers", "/referrers/".to_owned()),
        ("configuration", format!("/blobs/{}", digest(CONFIG.as_bytes()))),
        ("layer", format!("/blobs/{}", digest(&layer))),
    ];
    (registry, image, stages)
}

/// A server in front of the registry: this stage's requests get `hostile`, and all others are passed on.
async fn before(registry: &Registry, stage: &'static str, part: &str, hostile: Hostile) -> Raw {
    let (part, upstream) = (part.to_owned(), registry.address);
    Raw::start(move |head| {
        let path = head.split(' ').nth(1).unwrap_or_default();
        let asks_for_token = stage == "token" && path.starts_with("/v2/") && !head.to_lowercase().contains("authorization:");
        if head.is_empty() {
            Act::Send(Vec::new()) // no TLS here
        } else if asks_for_token {
            answer("401 Unauthorized", "WWW-Authenticate: Bearer realm=\"/token\"\r\n", "")
        } else if path.split('?').next().is_some_and(|path| path.contains(part.as_str())) {
            hostile()
        } else {
            Act::Forward(upstream)
        }
    })
    .await
}

fn puller(root: &Path, signed: bool) -> Puller {
    let patience = Patience { attempts: 2, absence: Duration::from_millis(200), first_pause: Duration::from_millis(5) };
    let client = Client::new(&Settings::default(), limits()).unwrap();
    let puller = Puller::new(client, Store::open(root).unwrap(), patience, plenty);
    let mut keys = Keys::default();
    keys.add(include_str!("../../tests/support/some.pub")).unwrap();
    if signed { puller.trusting(keys) } else { puller }
}

fn needs_signature(stage: &str) -> bool {
    matches!(stage, "signature" | "referrers")
}

#[tokio::test]
async fn a_pull_ends_within_its_limit_whatever_a_registry_does_at_any_stage() {
    let (registry, image, stages) = stages().await;
    let (registry, places) = (Arc::new(registry), Arc::new(tokio::sync::Semaphore::new(TOGETHER)));
    let mut pulls = tokio::task::JoinSet::new();
    for (stage, part) in stages {
        for (case, hostile) in BEHAVIOURS {
            let (registry, places, image, part) = (registry.clone(), places.clone(), image.clone(), part.clone());
            pulls.spawn(async move {
                let _place = places.acquire().await.unwrap();
                let front = before(&registry, stage, &part, hostile).await;
                let root = tempfile::tempdir().unwrap();
                let image = image.replace(&registry.address.to_string(), &front.address.to_string());
                let started = Instant::now();
                let mut puller = puller(root.path(), needs_signature(stage));
                let pulled = tokio::time::timeout(BOUND * 3, puller.pull(&image)).await;
                let took = started.elapsed();
                let pulled = pulled.unwrap_or_else(|_| panic!("{stage}: {case}: no end after {took:?}"));
                assert!(took < BOUND, "{stage}: {case}: {took:?}");
                assert!(front.count(&part) > 0 || stage == "token", "{stage}: {case}: the stage was never reached");
                let error = pulled.map(|_| ()).expect_err(&format!("{stage}: {case}"));
                let text = machine::Chain(&error).to_string();
                assert!(text.len() < 4000 && !text.contains(char::is_control), "{stage}: {case}: {text}");
            });
        }
    }
    while let Some(done) = pulls.join_next().await {
        done.unwrap();
    }
}

#[tokio::test]
async fn a_cancelled_pull_leaves_no_connection_at_any_stage() {
    let (registry, image, stages) = stages().await;
    let slow: [(&str, Hostile); 4] = [BEHAVIOURS[0], BEHAVIOURS[1], BEHAVIOURS[13], BEHAVIOURS[17]];
    for (stage, part) in stages {
        for (case, hostile) in slow {
            let front = before(&registry, stage, &part, hostile).await;
            let root = tempfile::tempdir().unwrap();
            let image = image.replace(&registry.address.to_string(), &front.address.to_string());
            let mut puller = puller(root.path(), needs_signature(stage));
            let reached = async {
                while front.count(&part) == 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::select! {
                pulled = puller.pull(&image) => panic!("{stage}: {case}: {pulled:?}"),
                () = reached => {}
            }
            drop(puller);
            let gone = async {
                while front.open() > 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            let within = tokio::time::timeout(Duration::from_secs(1), gone).await;
            assert!(within.is_ok(), "{stage}: {case}: {} connections are left", front.open());
        }
    }
}
