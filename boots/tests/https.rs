//! HTTPS for files and scripts: a real curl, certificates made for the test, and what happens when their files change.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use boots::http::{Certificate, Files, router, serve_tls};
use boots::{Config, Events};
use jiff::Timestamp;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use support::{Fixed, KNOWN, LIMIT, assert_logged, keep_log, pattern};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A certificate authority of the operator.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Its name tells it from another one, and from its servers.
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A certificate for loopback until this year, and its key.
    fn server(&self, year: i32) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(year, 1, 1));
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

/// boots' paths by HTTPS. Its port is also the one that scripts name.
struct Host {
    folder: tempfile::TempDir,
    files: Files,
    address: SocketAddr,
}

impl Host {
    async fn start((certificate, key): (String, String)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let files = Files { certificate: at("https.pem"), key: at("https.key") };
        put(&files, &certificate, &key);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = Config::new(Ipv4Addr::LOCALHOST, folder.path().to_owned(), folder.path().to_owned());
        let config = Config { https_port: Some(address.port()), ..config };
        let router = router(Arc::new(config), Arc::new(Fixed::default()), Events::new());
        let certificate = Arc::new(Certificate::open(files.clone(), Timestamp::now()).unwrap());
        tokio::spawn(serve_tls(std::future::pending(), listener, certificate, router));
        Self { folder, files, address }
    }

    fn trusted(&self, authority: &Authority) -> PathBuf {
        let path = self.folder.path().join("ca.pem");
        std::fs::write(&path, &authority.pem).unwrap();
        path
    }

    async fn curl(&self, authority: &Path, options: &[&str], path: &str) -> Output {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--max-time", "20", "--noproxy", "*", "--cacert"]).arg(authority).args(options);
        curl.arg(format!("https://{}{path}", self.address));
        tokio::task::spawn_blocking(move || curl.output().expect("apt-get install curl")).await.unwrap()
    }

    /// Whether curl accepts the certificate of this authority, within the time that a change may take.
    async fn comes_to_have(&self, authority: &Authority) {
        let trusted = self.trusted(authority);
        let accepted = async { while !self.curl(&trusted, &["--fail"], "/files/file").await.status.success() {} };
        tokio::time::timeout(LIMIT, accepted).await.expect("the new certificate is not used");
    }
}

fn put(files: &Files, certificate: &str, key: &str) {
    std::fs::write(&files.certificate, certificate).unwrap();
    std::fs::write(&files.key, key).unwrap();
}

#[tokio::test]
async fn curl_gets_files_and_parts_of_them_and_refuses_another_authority() {
    let authority = Authority::new("the site's");
    let host = Host::start(authority.server(2100)).await;
    let content = pattern(2_000_000);
    std::fs::write(host.folder.path().join("file"), &content).unwrap();
    let trusted = host.trusted(&authority);
    let whole = host.curl(&trusted, &["--fail"], "/files/file").await;
    assert!(whole.status.success() && whole.stdout == content, "{:?}", whole.status);
    let part = host.curl(&trusted, &["--fail", "--range", "1999990-"], "/files/file").await;
    assert_eq!(part.stdout, content[1_999_990..], "{part:?}");
    let head = host.curl(&trusted, &["--head", "--range", "5-9"], "/files/file").await;
    let head = String::from_utf8(head.stdout).unwrap();
    assert!(head.starts_with("HTTP/1.1 206 ") && head.contains("content-range: bytes 5-9/2000000"), "{head}");
    let missing = host.curl(&trusted, &["--write-out", "%{http_code}"], "/files/nothing").await;
    assert!(missing.stdout.ends_with(b"404"), "{missing:?}");
    let refused = host.curl(&host.trusted(&Authority::new("another")), &["--fail"], "/files/file").await;
    assert_eq!(refused.status.code(), Some(60), "curl does not trust the certificate: {refused:?}");
}

#[tokio::test]
async fn a_script_that_comes_by_https_names_https() {
    let authority = Authority::new("the site's");
    let host = Host::start(authority.server(2100)).await;
    let script = host.curl(&host.trusted(&authority), &["--fail"], &format!("/ipxe/script/{KNOWN}/auto.ipxe")).await;
    let script = String::from_utf8(script.stdout).unwrap();
    assert!(script.contains(&format!("\nkernel https://{}/files/kernel ", host.address)), "{script}");
    assert!(!script.contains("http://"), "{script}");
}

#[tokio::test]
async fn a_client_without_tls_is_told_and_one_that_says_nothing_stops_no_other() {
    let authority = Authority::new("the site's");
    let host = Host::start(authority.server(2100)).await;
    std::fs::write(host.folder.path().join("file"), "x").unwrap();
    let _silent = TcpStream::connect(host.address).await.unwrap();
    let mut plain = TcpStream::connect(host.address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    // The rest of the request, which nobody reads, may reset the connection behind the answer.
    let _ = tokio::time::timeout(LIMIT, plain.read_to_string(&mut answer)).await.expect("no answer");
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("Use https://"), "{answer}");
    assert!(host.curl(&host.trusted(&authority), &["--fail"], "/files/file").await.status.success());
}

#[tokio::test]
async fn a_new_certificate_is_taken_and_one_that_cannot_be_used_is_not() {
    keep_log();
    let (first, second) = (Authority::new("first"), Authority::new("second"));
    let host = Host::start(first.server(2100)).await;
    std::fs::write(host.folder.path().join("file"), "x").unwrap();
    assert!(host.curl(&host.trusted(&first), &["--fail"], "/files/file").await.status.success());
    let (certificate, key) = second.server(2100);
    put(&host.files, &certificate, &key);
    host.comes_to_have(&second).await;

    let now = Timestamp::now();
    let used = Certificate::open(host.files.clone(), now).unwrap();
    let (expired, later) = (first.server(2021), second.server(2100));
    for (case, (certificate, key), error) in [
        ("expired", expired.clone(), "has expired at 2021-01-01T00:00:00Z"),
        ("another key", (certificate.clone(), later.1), "cannot be used with the certificate"),
        ("half written", (certificate[..100].to_owned(), key.clone()), "cannot understand certificates"),
        ("no key", (certificate.clone(), String::new()), "cannot read a private key"),
    ] {
        put(&host.files, &certificate, &key);
        let refused = used.read_again(now).unwrap_err();
        assert!(refused.to_string().contains(error), "{case}: {refused}");
    }
    put(&host.files, &expired.0, &expired.1);
    let logged = async {
        while support::count_logged("the certificate before it stays in use") == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, logged).await.expect("no line");
    assert_logged(&["HTTPS: the certificate in", "has expired", "the certificate before it stays in use"]);
    assert!(host.curl(&host.trusted(&second), &["--fail"], "/files/file").await.status.success(), "the one before it is served");
    Certificate::open(host.files.clone(), now).expect("a restart goes on with it");
    assert_logged(&["HTTPS: the certificate in", "has expired", "until then clients refuse this host"]);
}
