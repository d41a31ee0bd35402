//! Metadata over real sockets. Machines call from addresses of their own on loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use boots::{Config, FileSource, Metadata, Proof};
use model::ObjectName;
use support::{Broken, Host, LIMIT};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

const HARDWARE: &str = r#"
apiVersion: tinkerbell.org/v1alpha1
kind: Hardware
metadata: {name: m1, namespace: lab}
spec:
  userData: secret of m1
  metadata: {instance: {id: iid-1}}
  interfaces: [{dhcp: {mac: "02:00:00:00:00:01", ip: {address: 127.0.0.11}}}]
---
apiVersion: tinkerbell.org/v1alpha1
kind: Hardware
metadata: {name: m2, namespace: lab}
spec:
  userData: secret of m2
  interfaces: [{dhcp: {mac: "02:00:00:00:00:02", ip: {address: 127.0.0.12}}}]
---
apiVersion: tinkerbell.org/v1alpha1
kind: Hardware
metadata: {name: m3, namespace: lab}
spec:
  userData: secret of m3
  interfaces: [{dhcp: {mac: "02:00:00:00:00:03", ip: {address: 127.0.0.13}}}]
---
apiVersion: tinkerbell.org/v1alpha1
kind: Hardware
metadata: {name: m4, namespace: lab}
spec:
  userData: secret of m4
  interfaces: [{dhcp: {mac: "02:00:00:00:00:04", ip: {address: 127.0.0.13}}}]
"#;
const M1: u8 = 11;
const M2: u8 = 12;
const TWICE: u8 = 13;
const OTHER: u8 = 99;
const PROXY: u8 = 200;
const OUTER_PROXY: u8 = 201;

fn key() -> metadata::Key {
    metadata::Key::new(&[7; 32])
}

fn settings(config: Config, proof: Proof) -> Config {
    let proxies = vec![([127, 0, 0, PROXY].into(), 31)];
    Config { metadata: Some(Metadata { key: key(), proxies, proof }), ..config }
}

async fn host(proof: Proof) -> (Host, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("hardware.yaml");
    std::fs::write(&path, HARDWARE).unwrap();
    let source = Arc::new(FileSource::open(path).unwrap());
    (Host::on(source, |config| settings(config, proof)).await, folder)
}

/// The status and the body that a caller at `127.0.0.LAST` gets.
async fn ask(host: &Host, last: u8, request: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0))).unwrap();
    let mut stream = socket.connect(host.http).await.unwrap();
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let request = format!("{request} HTTP/1.1\r\nHost: boots\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(LIMIT, stream.read_to_end(&mut answer)).await.expect("no answer in time").unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[tokio::test]
async fn a_machine_reads_its_own_metadata_and_no_other_machine_does() {
    let (host, _folder) = host(Proof::Address).await;
    for path in ["/user-data", "/2009-04-04/user-data", "/latest/user-data/"] {
        assert_eq!(ask(&host, M1, &format!("GET {path}"), &[]).await, (200, "secret of m1".to_owned()), "{path}");
        assert_eq!(ask(&host, M2, &format!("GET {path}"), &[]).await, (200, "secret of m2".to_owned()), "{path}");
        for (who, last) in [("an unknown caller", OTHER), ("an address of two Hardware", TWICE)] {
            let (status, body) = ask(&host, last, &format!("GET {path}"), &[]).await;
            assert!(status == 404 && !body.contains("secret of"), "{who}: {status} {body}");
        }
    }
    assert_eq!(ask(&host, M1, "GET /latest/meta-data/instance-id", &[]).await, (200, "iid-1".to_owned()));
    assert_eq!(ask(&host, M1, "HEAD /user-data", &[]).await, (200, String::new()));
    for path in ["/2009-04-04/x", "/latest/meta-data/x", "/instance/", "/instance/lab/m1/user-data", "/metadata/x"] {
        assert_eq!(ask(&host, M1, &format!("GET {path}"), &[]).await.0, 404, "{path}");
    }
    host.stop().await;
}

#[tokio::test]
async fn only_a_proxy_of_the_settings_says_for_whom_it_asks() {
    let (host, _folder) = host(Proof::Address).await;
    for (last, forwarded, expected) in [
        (OTHER, "127.0.0.11", None),
        (M2, "127.0.0.11", Some("secret of m2")),
        (PROXY, "127.0.0.11", Some("secret of m1")),
        (PROXY, "127.0.0.12, 127.0.0.11", Some("secret of m1")),
        (PROXY, "127.0.0.11, 127.0.0.201", Some("secret of m1")),
        (OUTER_PROXY, "::ffff:127.0.0.11", Some("secret of m1")),
        (PROXY, "127.0.0.11, unknown", None),
        (PROXY, "127.0.0.11,", None),
        (PROXY, "127.0.0.99, 127.0.0.201", None),
    ] {
        let (status, body) = ask(&host, last, "GET /user-data", &[("X-Forwarded-For", forwarded)]).await;
        assert_eq!((status == 200).then_some(body.as_str()), expected, "127.0.0.{last} for {forwarded}: {status}");
    }
    assert_eq!(ask(&host, PROXY, "GET /user-data", &[]).await.0, 404, "a proxy is not a machine");
    host.stop().await;
}

#[tokio::test]
async fn a_secret_in_the_path_shows_its_machine_from_any_address() {
    let (host, _folder) = host(Proof::Token).await;
    let secret = key().secret(&ObjectName::new("lab", "m1"));
    let (strict, _folder_of_it) = self::host(Proof::Secret).await;
    assert_eq!(ask(&strict, M1, "GET /user-data", &[]).await.0, 404, "an address shows nothing here");
    assert_eq!(ask(&strict, M1, "PUT /latest/api/token", &[]).await.0, 404, "and gives no token");
    let path = format!("GET /instance/lab/m1/{secret}/user-data");
    assert_eq!(ask(&strict, M2, &path, &[]).await, (200, "secret of m1".to_owned()));
    strict.stop().await;
    let below = |path: &str| format!("GET /instance/lab/m1/{secret}/{path}");
    assert_eq!(ask(&host, OTHER, &below("user-data"), &[]).await, (200, "secret of m1".to_owned()));
    assert_eq!(ask(&host, M2, &below("latest/meta-data/instance-id"), &[]).await, (200, "iid-1".to_owned()));
    assert_eq!(ask(&host, OTHER, &below("x"), &[]).await.0, 404);
    let other = key().secret(&ObjectName::new("lab", "m2"));
    for path in [
        format!("/instance/lab/m1/{other}/user-data"),
        format!("/instance/lab/m1/{}/user-data", &secret[..63]),
        format!("/instance/lab/m1/{secret}"),
        format!("/instance/lab/M1/{secret}/user-data"),
        format!("/instance/lab//m1/{secret}/user-data"),
        format!("/instance/default/m1/{secret}/user-data"),
        format!("/instance/lab/gone/{}/user-data", key().secret(&ObjectName::new("lab", "gone"))),
    ] {
        let (status, body) = ask(&host, M1, &format!("GET {path}"), &[]).await;
        assert!(status == 404 && !body.contains("secret of"), "{path}: {status} {body}");
    }
    host.stop().await;
}

#[tokio::test]
async fn tokens_of_imdsv2_are_checked_and_can_be_required() {
    const TTL: &str = "X-aws-ec2-metadata-token-ttl-seconds";
    const TOKEN: &str = "X-aws-ec2-metadata-token";
    let (free, _folder) = host(Proof::Address).await;
    let (strict, _folder) = host(Proof::Token).await;
    let (status, token) = ask(&free, M1, "PUT /latest/api/token", &[(TTL, "60")]).await;
    assert_eq!((status, token.len()), (200, 80));
    let secret = key().secret(&ObjectName::new("lab", "m1"));
    for (case, status, found) in [
        ("no token is needed", 200, ask(&free, M1, "GET /user-data", &[]).await),
        ("a token counts", 200, ask(&free, M1, "GET /user-data", &[(TOKEN, &token)]).await),
        ("a wrong one does, too", 401, ask(&free, M1, "GET /user-data", &[(TOKEN, "x")]).await),
        ("of another machine", 401, ask(&free, M2, "GET /user-data", &[(TOKEN, &token)]).await),
        ("a token is needed", 401, ask(&strict, M1, "GET /user-data", &[]).await),
        ("and found", 200, ask(&strict, M1, "GET /user-data", &[(TOKEN, &token)]).await),
        ("without a time", 400, ask(&free, M1, "PUT /latest/api/token", &[]).await),
        ("of no time", 400, ask(&free, M1, "PUT /latest/api/token", &[(TTL, "0")]).await),
        ("of a long time", 400, ask(&free, M1, "PUT /latest/api/token", &[(TTL, "21601")]).await),
        ("of an unknown caller", 404, ask(&free, OTHER, "PUT /latest/api/token", &[(TTL, "60")]).await),
        ("by a proxy", 403, ask(&free, M1, "PUT /latest/api/token", &[(TTL, "60"), ("X-Forwarded-For", "127.0.0.11")]).await),
        ("elsewhere", 405, ask(&free, M1, &format!("PUT /instance/lab/m1/{secret}/user-data"), &[(TTL, "60")]).await),
        (
            "below a secret",
            200,
            ask(&free, OTHER, &format!("PUT /instance/lab/m1/{secret}/latest/api/token"), &[(TTL, "60")]).await,
        ),
        ("not by GET", 405, ask(&free, M1, "GET /latest/api/token", &[(TTL, "60")]).await),
    ] {
        assert_eq!(found.0, status, "{case}: {}", found.1);
    }
    let forwarded = [(TTL, "60"), ("X-Forwarded-For", "127.0.0.11")];
    assert_eq!(ask(&free, PROXY, "PUT /latest/api/token", &forwarded).await.0, 200, "a proxy of the settings");
    free.stop().await;
    strict.stop().await;
}

#[tokio::test]
async fn while_the_source_fails_a_caller_is_not_sent_away_for_good() {
    let host = Host::on(Arc::new(Failing), |config| settings(config, Proof::Address)).await;
    assert_eq!(ask(&host, M1, "GET /user-data", &[]).await.0, 503);
    host.stop().await;
    let host = Host::on(Arc::new(Broken), |config| Config { metadata: None, ..config }).await;
    assert_eq!(ask(&host, M1, "GET /user-data", &[]).await.0, 404, "metadata is switched off");
    host.stop().await;
}

/// Machines are found, and their Hardware is not.
struct Failing;

impl boots::MachineSource for Failing {
    fn machine(&self, _: model::Mac) -> boots::SourceFuture<'_> {
        Box::pin(async { Ok(None) })
    }

    fn machine_at(&self, _: std::net::IpAddr) -> boots::SourceFuture<'_> {
        Box::pin(async { Ok(None) })
    }

    fn hardware_at(&self, _: std::net::IpAddr) -> boots::HardwareFuture<'_> {
        Box::pin(async { Err(boots::SourceError::Other("the store is on fire".into())) })
    }
}
