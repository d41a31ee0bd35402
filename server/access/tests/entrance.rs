//! Every way into the API on real sockets: who gets in, as whom, and what the others are answered.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use access::{Access, Caller, ClientIdentity, Grant, Lifetime, Local, Names, Peer, Role, Subject};
use api::serve::Gate;
use axum::body::Body;
use axum::routing::{any, get};
use axum::{Extension, Router};
use futures_util::{FutureExt, StreamExt, stream};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use jiff::{SignedDuration, Timestamp};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tower::ServiceExt;

const GRACE: Duration = Duration::from_millis(100);

struct Bench {
    folder: tempfile::TempDir,
    access: Arc<Access>,
    https: SocketAddr,
    socket: PathBuf,
    stop: watch::Sender<bool>,
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), what).await.expect("nothing happened within 60 s")
}

/// Says who calls.
fn router() -> Router {
    let who = async |Extension(caller): Extension<Caller>, headers: http::HeaderMap| {
        let leaked = if headers.contains_key("authorization") { " with its token" } else { "" };
        format!("{}: {} from {}{leaked}", caller.name, caller.roles(), caller.origin.to_string().split(':').next().unwrap())
    };
    // Two parts, and no end.
    let endless = async || Body::from_stream(stream::iter([Ok::<_, Infallible>("one"), Ok("two")]).chain(stream::pending()));
    Router::new().route("/who", any(who)).route("/version", get(async || "v1")).route("/watch", get(endless))
}

impl Bench {
    async fn start(gate: Gate) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let access = Access::open(folder.path(), Names::local(), Timestamp::now()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (https, socket) = (listener.local_addr().unwrap(), folder.path().join("run/api.sock"));
        let (stop, _) = watch::channel(false);
        let stopped = |stop: &watch::Sender<bool>| {
            let mut stop = stop.subscribe();
            async move { drop(stop.wait_for(|stop| *stop).await) }
        };
        let (local, router) = (Local::bind(&socket).unwrap().with_gate(gate.clone()), access.admit(router()));
        tokio::spawn(local.serve(router.clone(), GRACE, stopped(&stop)));
        tokio::spawn(Arc::clone(&access).follow_tokens());
        let (serving, stopped) = (Arc::clone(&access), stopped(&stop));
        tokio::spawn(async move { access::https::serve(&serving, listener, gate, router, GRACE, stopped).await.unwrap() });
        Self { folder, access, https, socket, stop }
    }

    fn token(&self, name: &str, grant: Grant, hours: i64) -> String {
        let lifetime = Lifetime(Some(SignedDuration::from_hours(hours)));
        // Made two hours ago.
        let made = Timestamp::now().checked_sub(SignedDuration::from_hours(2)).unwrap();
        self.access.tokens.create(name, grant, lifetime, made).unwrap().0
    }

    fn tls(&self, identity: Option<&ClientIdentity>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.access.authority.certificate().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots);
        match identity {
            None => config.with_no_client_auth(),
            Some(identity) => {
                let chain = vec![CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
                config.with_client_auth_cert(chain, key).unwrap()
            }
        }
    }

    async fn by_tls(
        &self,
        identity: Option<&ClientIdentity>,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> (u16, String) {
        let socket = TcpStream::connect(self.https).await.unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        match TlsConnector::from(Arc::new(self.tls(identity))).connect(name, socket).await {
            Ok(socket) => call(socket, method, path, headers).await,
            Err(error) => (0, error.to_string()),
        }
    }

    async fn by_socket(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
        call(UnixStream::connect(&self.socket).await.unwrap(), method, path, headers).await
    }

    fn audited(&self) -> Vec<serde_json::Value> {
        let folder = self.folder.path().join(access::AUDIT_FOLDER);
        let files = std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
        let text: String = files.map(|path| std::fs::read_to_string(path).unwrap()).collect();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

async fn call<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    socket: S,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> (u16, String) {
    soon(async {
        let Ok((mut sender, connection)) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await else {
            return (0, "no HTTP".to_owned());
        };
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", "127.0.0.1");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        match sender.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await {
            Ok(response) => {
                let code = response.status().as_u16();
                (code, String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap())
            }
            Err(error) => (0, error.to_string()),
        }
    })
    .await
}

fn lab(role: Role) -> Grant {
    Grant { role, namespaces: Some(BTreeSet::from(["lab".to_owned()])) }
}

#[tokio::test]
async fn who_gets_in_by_which_way() {
    let bench = Bench::start(Gate::default()).await;
    let viewer = bench.token("alice", lab(Role::Viewer), 24);
    let expired = bench.token("bob", Grant::everywhere(Role::Admin), 1);
    let deleted = bench.token("carol", Grant::everywhere(Role::Admin), 24);
    bench.access.tokens.delete("carol").unwrap();
    let other = Bench::start(Gate::default()).await;
    let foreign = other.token("dave", Grant::everywhere(Role::Admin), 24);
    let bearer = |token: &str| format!("Bearer {token}");
    let identity = |bench: &Bench, grant: &Grant, name: &str| {
        bench.access.authority.client(name, grant, SignedDuration::from_hours(1), Timestamp::now()).unwrap()
    };
    let own = identity(&bench, &Grant::everywhere(Role::Operator), "erin");
    let strange = identity(&other, &Grant::everywhere(Role::Admin), "mallory");
    let yesterday = Timestamp::now().checked_sub(SignedDuration::from_hours(24)).unwrap();
    let (operator, hour) = (Grant::everywhere(Role::Operator), SignedDuration::from_hours(1));
    let old = bench.access.authority.client("erin", &operator, hour, yesterday).unwrap();
    let unauthorized = "\"message\":\"Unauthorized\"";
    for (case, certificate, authorization, expected) in [
        ("nothing", None, None, (401, unauthorized)),
        ("a token", None, Some(bearer(&viewer)), (200, "alice: viewer in lab from 127.0.0.1")),
        ("a token in small letters", None, Some(format!("bearer {viewer}")), (200, "alice: viewer in lab")),
        ("an expired token", None, Some(bearer(&expired)), (401, unauthorized)),
        ("a deleted token", None, Some(bearer(&deleted)), (401, unauthorized)),
        ("a token of another server", None, Some(bearer(&foreign)), (401, unauthorized)),
        ("nonsense", None, Some("Bearer ".to_owned()), (401, unauthorized)),
        ("a password", None, Some("Basic cm9vdDpyb290".to_owned()), (401, unauthorized)),
        ("a certificate", Some(&own), None, (200, "erin: operator from 127.0.0.1")),
        ("a certificate of another authority", Some(&strange), None, (0, "")),
        ("an expired certificate", Some(&old), None, (0, "")),
    ] {
        let headers: Vec<(&str, &str)> = authorization.iter().map(|value| ("authorization", value.as_str())).collect();
        let (code, body) = bench.by_tls(certificate, "GET", "/who", &headers).await;
        assert!(code == expected.0 && body.contains(expected.1), "{case}: {code} {body}");
        assert!(!body.contains("with its token"), "{case}");
    }
    let (code, body) = bench.by_tls(None, "GET", "/version", &[]).await;
    assert_eq!((code, body.as_str()), (200, "v1"), "anyone may ask for the version");
    let wrong = bearer(&expired);
    assert_eq!(
        bench.by_tls(None, "GET", "/version", &[("authorization", &wrong)]).await.0,
        401,
        "a wrong token is said everywhere"
    );
}

#[tokio::test]
async fn a_browser_with_a_token_is_refused() {
    let bench = Bench::start(Gate::default()).await;
    let token = format!("Bearer {}", bench.token("alice", Grant::everywhere(Role::Admin), 24));
    for (case, header, code) in [
        ("the address", ("host", "127.0.0.1:6443"), 200),
        ("a name of the certificate", ("host", "localhost:6443"), 200),
        ("a name that was rebound", ("host", "evil.example:6443"), 403),
        ("another origin", ("origin", "https://evil.example"), 403),
        ("another site", ("sec-fetch-site", "cross-site"), 403),
    ] {
        let (got, body) = bench.by_tls(None, "GET", "/who", &[("authorization", &token), header]).await;
        assert_eq!(got, code, "{case}: {body}");
        assert!(code == 200 || body.contains("\"reason\":\"Forbidden\""), "{case}: {body}");
    }
}

#[tokio::test]
async fn root_needs_no_token_on_the_socket_and_another_user_learns_what_to_do() {
    let bench = Bench::start(Gate::default()).await;
    let (code, body) = bench.by_socket("GET", "/who", &[]).await;
    assert_eq!((code, body.as_str()), (200, "root: admin from the socket, uid 0"), "the tests run as root");
    let viewer = format!("Bearer {}", bench.token("alice", lab(Role::Viewer), 24));
    let (_, body) = bench.by_socket("GET", "/who", &[("authorization", &viewer)]).await;
    assert!(body.starts_with("alice: viewer in lab"), "a token is less than root, and it was asked for: {body}");
    std::fs::set_permissions(bench.folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let python = format!(
        "import os,socket\nos.setgid(65534); os.setuid(65534)\ns=socket.socket(socket.AF_UNIX)\ns.connect('{}')\n\
         s.send(b'GET /who HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n')\nd=b''\n\
         while True:\n  c=s.recv(4096)\n  if not c: break\n  d+=c\nprint(d.decode())",
        bench.socket.display()
    );
    let said = tokio::process::Command::new("python3").args(["-c", &python]).output().await.expect("apt-get install python3");
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.starts_with("HTTP/1.1 403") && said.contains("uid 65534 may not use"), "{said}");
    assert!(said.contains("thimble kubeconfig --role operator"), "{said}");
}

#[tokio::test]
async fn changes_are_recorded_and_questions_are_not() {
    let bench = Bench::start(Gate::default()).await;
    let token = bench.token("alice", lab(Role::Operator), 24);
    let authorization = format!("Bearer {token}");
    let headers = [("authorization", authorization.as_str()), ("user-agent", "kubectl/v1.33")];
    bench.by_tls(None, "GET", "/who", &headers).await;
    bench.by_tls(None, "PATCH", "/who?dryRun=All", &headers).await;
    bench.by_tls(None, "DELETE", "/nothing", &headers).await;
    bench.by_tls(None, "DELETE", "/who", &[]).await; // not let in: the server's log has it
    bench.by_socket("POST", "/who", &[]).await;
    let audited = bench.audited();
    let lines: Vec<String> =
        audited.iter().map(|line| format!("{} {} {} {}", line["user"], line["method"], line["path"], line["code"])).collect();
    assert_eq!(
        lines,
        [
            "\"alice\" \"PATCH\" \"/who?dryRun=All\" 200",
            "\"alice\" \"DELETE\" \"/nothing\" 404",
            "\"root\" \"POST\" \"/who\" 200"
        ]
    );
    assert_eq!((&audited[0]["agent"], &audited[2]["from"]), (&"kubectl/v1.33".into(), &"the socket, uid 0".into()));
    assert!(!serde_json::to_string(&audited).unwrap().contains(&token));
}

#[tokio::test]
async fn a_certificate_that_expires_on_an_open_connection_is_refused_and_so_is_a_request_from_nowhere() {
    let bench = Bench::start(Gate::default()).await;
    let router = bench.access.admit(router());
    let peer = |not_after| {
        let subject = Subject { name: "erin".to_owned(), organizations: vec!["thimble:admin".to_owned()], not_after };
        Peer::Network { address: "10.0.0.9:1".parse().unwrap(), certificate: Some(Arc::new(subject)) }
    };
    for (case, peer, code) in [
        ("a certificate that is valid", Some(peer(Timestamp::now().as_second() + 60)), 200),
        ("a certificate that has expired", Some(peer(Timestamp::now().as_second())), 401),
        ("no connection", None, 403),
    ] {
        let mut request = Request::builder().uri("/who").body(Body::empty()).unwrap();
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        assert_eq!(router.clone().oneshot(request).await.unwrap().status().as_u16(), code, "{case}");
    }
}

/// The answer to a watch, of which the first part has come.
async fn watching(bench: &Bench, authorization: &str) -> Incoming {
    let socket = UnixStream::connect(&bench.socket).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    let mut request = Request::builder().uri("/watch").header("host", "127.0.0.1");
    if !authorization.is_empty() {
        request = request.header("authorization", authorization);
    }
    let response = soon(sender.send_request(request.body(Empty::<Bytes>::new()).unwrap())).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let mut body = response.into_body();
    let mut text = Vec::new();
    while text != b"onetwo" {
        text.extend(soon(body.frame()).await.unwrap().unwrap().into_data().unwrap());
    }
    body
}

#[tokio::test]
async fn the_watches_of_a_token_end_when_it_is_deleted_and_others_go_on() {
    let bench = Bench::start(Gate::default()).await;
    let deleted = format!("Bearer {}", bench.token("alice", lab(Role::Viewer), 24));
    let kept = format!("Bearer {}", bench.token("bob", lab(Role::Viewer), 24));
    let (mut ends, mut goes_on, mut of_root) =
        (watching(&bench, &deleted).await, watching(&bench, &kept).await, watching(&bench, "").await);
    bench.access.tokens.delete("alice").unwrap();
    assert!(soon(ends.frame()).await.unwrap().is_err(), "cut, because a regular end would look complete");
    for other in [&mut goes_on, &mut of_root] {
        assert!(other.frame().now_or_never().is_none());
    }
}

#[tokio::test]
async fn plain_http_is_answered_in_plain_words() {
    let bench = Bench::start(Gate::default()).await;
    let (code, body) = call(TcpStream::connect(bench.https).await.unwrap(), "GET", "/who", &[]).await;
    assert!(code == 400 && body.contains("Use https://"), "{code} {body}");
}

#[tokio::test]
async fn clients_that_do_not_finish_their_handshake_stop_no_other() {
    let bench = Bench::start(Gate::default()).await;
    let mut slow = Vec::new();
    for n in 0..500 {
        let mut socket = TcpStream::connect(bench.https).await.unwrap();
        // Silent ones, and the beginning of a record.
        if n % 2 == 0 {
            socket.write_all(&[0x16, 3, 1, 2, 0, 1]).await.unwrap();
        }
        slow.push(socket);
    }
    assert_eq!(bench.by_tls(None, "GET", "/version", &[]).await.0, 200);
    assert_eq!(bench.by_socket("GET", "/version", &[]).await.0, 200);
}

#[tokio::test]
async fn a_client_with_too_many_connections_is_cut_and_others_are_not() {
    let bench = Bench::start(Gate::of(20)).await;
    let mut held = Vec::new();
    for _ in 0..20 {
        held.push(TcpStream::connect(bench.https).await.unwrap());
    }
    // The connection is accepted by the kernel, and closed by the server.
    let mut surplus = TcpStream::connect(bench.https).await.unwrap();
    assert_eq!(soon(surplus.read(&mut [0; 1])).await.unwrap_or(0), 0);
    assert_eq!(bench.by_socket("GET", "/version", &[]).await.0, 200, "another way in");
    drop(held);
    soon(async {
        while bench.by_tls(None, "GET", "/version", &[]).await.0 != 200 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_user_with_too_many_connections_to_the_socket_is_cut_and_others_are_not() {
    let bench = Bench::start(Gate::of(20)).await;
    let mut held = Vec::new();
    for _ in 0..20 {
        held.push(UnixStream::connect(&bench.socket).await.unwrap());
    }
    let mut surplus = UnixStream::connect(&bench.socket).await.unwrap();
    assert_eq!(soon(surplus.read(&mut [0; 1])).await.unwrap_or(0), 0, "the server closes it");
    assert_eq!(bench.by_tls(None, "GET", "/version", &[]).await.0, 200, "another way in");
    drop(held);
    soon(async {
        while bench.by_socket("GET", "/version", &[]).await.0 != 200 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn new_connections_get_the_renewed_certificate_and_open_ones_go_on() {
    let bench = Bench::start(Gate::default()).await;
    let connect = async || {
        let socket = TcpStream::connect(bench.https).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(bench.tls(None))).connect(name, socket).await.unwrap()
    };
    let (open, again) = (connect().await, connect().await);
    let shown = |socket: &tokio_rustls::client::TlsStream<TcpStream>| socket.get_ref().1.peer_certificates().unwrap()[0].to_vec();
    assert_eq!(shown(&open), shown(&again));
    let later = Timestamp::now().checked_add(SignedDuration::from_hours(24 * 50)).unwrap();
    assert!(bench.access.certificate.renew_if_due(later).unwrap());
    // The new one begins a day before that time, so a client of today cannot check it: look at what it is refused for.
    let socket = TcpStream::connect(bench.https).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let error = TlsConnector::from(Arc::new(bench.tls(None))).connect(name, socket).await.unwrap_err();
    assert!(error.to_string().contains("not valid yet"), "{error}");
    assert_eq!(call(open, "GET", "/version", &[]).await.0, StatusCode::OK.as_u16());
}

#[tokio::test]
async fn the_socket_is_replaced_after_a_crash_and_not_taken_from_a_server_that_runs() {
    let bench = Bench::start(Gate::default()).await;
    let error = Local::bind(&bench.socket).unwrap_err().to_string();
    assert!(error.contains("does another server run"), "{error}");
    let mode =
        |path: &std::path::Path| std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(path).unwrap().permissions()) & 0o777;
    assert_eq!((mode(bench.socket.parent().unwrap()), mode(&bench.socket)), (0o755, 0o666), "every user reaches it");
    let left = bench.folder.path().join("left.sock");
    drop(std::os::unix::net::UnixListener::bind(&left).unwrap());
    assert!(Local::bind(&left).is_ok());
    let file = bench.folder.path().join("file");
    std::fs::write(&file, "x").unwrap();
    assert!(Local::bind(&file).unwrap_err().to_string().contains("is not a socket"));
    bench.stop.send_replace(true);
    soon(async {
        while bench.socket.exists() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
