//! The requests to registries, and what is shown of their answers.

use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex as StdMutex};

use super::*;
use crate::fake_registry::{Registry, TAR, tar};
use crate::raw_server::{Act, Raw, answer, ok};
use crate::registry::{Login, Push};
use crate::tls_front::Authority;

const MANIFEST: &str = "{}";

/// The log lines of all tests in the process.
struct Lines(StdMutex<Vec<String>>);

static LINES: LazyLock<&'static Lines> = LazyLock::new(|| {
    let lines: &'static Lines = Box::leak(Box::new(Lines(StdMutex::default())));
    log::set_logger(lines).unwrap();
    log::set_max_level(log::LevelFilter::Info);
    lines
});

impl log::Log for Lines {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        self.0.lock().unwrap().push(record.args().to_string());
    }

    fn flush(&self) {}
}

fn said_of(registry: &str) -> Vec<String> {
    let named = format!("registry {registry} ");
    LINES.0.lock().unwrap().iter().filter(|line| line.contains(&named)).cloned().collect()
}

fn limits() -> Limits {
    let (connect, answer, window) = (Duration::from_millis(400), Duration::from_secs(2), Duration::from_secs(2));
    Limits { connect, answer, window, least: 4 << 10 }
}

fn client(settings: &Settings) -> Client {
    LazyLock::force(&LINES);
    Client::new(settings, limits()).unwrap()
}

/// Settings for one registry, as in `registries.json`.
fn with_host(folder: &Path, registry: &str, host: &str) -> Settings {
    let file = folder.join("registries.json");
    std::fs::write(&file, format!(r#"{{"hosts":{{"{registry}":{host}}}}}"#)).unwrap();
    Settings { file: Some(file), ..Settings::default() }
}

fn with_login(registry: &str) -> Settings {
    let login = Login { registry: registry.to_owned(), username: "user".to_owned(), password: "pass".to_owned() };
    Settings { login, ..Settings::default() }
}

async fn fetch(client: &Client, registry: &str) -> Result<Vec<u8>, RequestError> {
    let image: Reference = format!("{registry}/tool:1").parse().unwrap();
    client.document(&image, "manifests/1", "*/*").await.map(|(bytes, _)| bytes)
}

async fn serving() -> Raw {
    Raw::start(|head| if head.is_empty() { not_tls() } else { ok("", MANIFEST) }).await
}

/// The answer of Go's server to a client that begins with TLS.
fn not_tls() -> Act {
    answer("400 Bad Request", "", "400 Bad Request")
}

#[tokio::test]
async fn an_insecure_registry_is_tried_with_tls_first_and_one_line_says_what_was_used() {
    let folder = tempfile::tempdir().unwrap();
    let plain = serving().await;
    let front = Authority::self_signed(folder.path()).before(plain.address, &["http/1.1"]).await;
    for (registry, want) in [
        (front.address.to_string(), "is insecure: HTTPS is used, and its certificate is not checked"),
        (plain.address.to_string(), "is insecure: plain HTTP is used, because it does not speak TLS"),
    ] {
        let client = client(&Settings { insecure: [registry.clone()].into(), ..Settings::default() });
        for _ in 0..3 {
            assert_eq!(fetch(&client, &registry).await.unwrap(), MANIFEST.as_bytes());
        }
        assert_eq!(said_of(&registry), [format!("registry {registry} {want}")]);
    }
    assert_eq!(plain.count("GET"), 6);
    assert_eq!(plain.heads.lock().unwrap().iter().filter(|head| head.is_empty()).count(), 1, "TLS is tried once");
}

#[tokio::test]
async fn every_kind_of_server_without_tls_leads_to_plain_http() {
    type Case = (&'static str, fn() -> Act);
    let cases: [Case; 4] = [
        ("it answers in HTTP", not_tls),
        ("it closes", || Act::Send(Vec::new())),
        ("it is silent", || Act::Hang(Vec::new())),
        ("it uses another protocol", || Act::Send(b"SSH-2.0-x\r\n".to_vec())),
    ];
    for (case, act) in cases {
        let server = Raw::start(move |head| if head.is_empty() { act() } else { ok("", MANIFEST) }).await;
        let client = client(&Settings::default()); // the machine itself counts as insecure, as in dockerd
        assert_eq!(fetch(&client, &server.address.to_string()).await.unwrap(), MANIFEST.as_bytes(), "{case}");
    }
    let gone = serving().await.address.to_string();
    let error = fetch(&client(&Settings::default()), &gone).await.unwrap_err();
    assert!(error.to_string().contains("answers neither HTTPS (") && error.is_gone(), "{error}");
    assert_eq!(error.hope(), crate::registry::request::Hope::Absent);
}

/// A registry that used TLS before never gets a password without it, even if another server takes its place.
#[tokio::test]
async fn a_registry_that_used_tls_gets_no_plain_request() {
    let folder = tempfile::tempdir().unwrap();
    let plain = serving().await;
    let front = Authority::self_signed(folder.path()).before(plain.address, &["http/1.1"]).await;
    let (address, registry) = (front.address, front.address.to_string());
    let client = client(&with_login(&registry));
    fetch(&client, &registry).await.unwrap();
    drop(front);
    let listener = loop {
        match tokio::net::TcpListener::bind(address).await {
            Ok(listener) => break listener,
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    let thief = Raw::on(listener, Arc::new(|head| if head.is_empty() { not_tls() } else { ok("", MANIFEST) }));
    let mut failed = 0;
    for _ in 0..3 {
        failed += usize::from(fetch(&client, &registry).await.is_err());
    }
    assert_eq!((thief.count("GET"), failed), (0, 3));
}

#[tokio::test]
async fn the_client_notices_a_registry_that_changes_to_tls() {
    let folder = tempfile::tempdir().unwrap();
    let plain = serving().await;
    let (registry, address) = (plain.address.to_string(), plain.address);
    let client = client(&Settings::default());
    fetch(&client, &registry).await.unwrap();
    drop(plain);
    let upstream = serving().await;
    let authority = Authority::self_signed(folder.path());
    let front = loop {
        match tokio::net::TcpListener::bind(address).await {
            Ok(listener) => break authority.on(listener, upstream.address, &["http/1.1"]),
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    assert_eq!(fetch(&client, &registry).await.unwrap(), MANIFEST.as_bytes());
    drop(front);
}

#[tokio::test]
async fn only_listed_registries_are_not_checked() {
    let folder = tempfile::tempdir().unwrap();
    let plain = serving().await;
    let (ours, theirs) = (Authority::self_signed(&folder.path().join("a")), Authority::self_signed(&folder.path().join("b")));
    let front = ours.before(plain.address, &["http/1.1"]).await;
    let registry = front.address.to_string();
    let ca = |authority: &Authority| format!(r#"{{"ca_file":"{}"}}"#, authority.certificate().display());
    for (case, host, insecure, want) in [
        ("its own certificate, CA:TRUE, is configured", ca(&ours), None, Ok(())),
        ("another certificate of the same name", ca(&theirs), None, Err("is not one of the certificates that this machine")),
        ("not verified, as registries.json says", r#"{"unverified":true}"#.into(), None, Ok(())),
        ("plain HTTP, as registries.json says", r#"{"plain_http":true}"#.into(), None, Err("cannot reach registry")),
        ("listed, although a certificate is configured", ca(&theirs), Some(registry.clone()), Ok(())),
        ("listed by network", ca(&theirs), Some("127.0.0.0/8".to_owned()), Ok(())),
        ("another registry is listed", ca(&theirs), Some("127.0.0.1:1".to_owned()), Err("is not one of the certificates")),
    ] {
        let settings = Settings { insecure: insecure.into_iter().collect(), ..with_host(folder.path(), &registry, &host) };
        let fetched = fetch(&client(&settings), &registry).await.map(|_| ()).map_err(|error| error.to_string());
        match want {
            Ok(()) => assert_eq!(fetched, Ok(()), "{case}"),
            Err(words) => assert!(fetched.as_ref().is_err_and(|error| error.contains(words)), "{case}: {fetched:?}"),
        }
    }
    let secure = with_host(folder.path(), &plain.address.to_string(), &ca(&ours));
    let error = fetch(&client(&secure), &plain.address.to_string()).await.unwrap_err();
    assert!(error.to_string().contains("does not speak TLS: if plain HTTP is meant, name it in insecure_registries"), "{error}");
    // A name that is not in the certificate.
    let named = registry.replace("127.0.0.1", "localhost.localhost");
    let host = ca(&ours);
    let settings = with_host(folder.path(), &named, &host);
    if let Err(error) = fetch(&client(&settings), &named).await {
        assert!(!error.to_string().contains("none of the certificates"), "{error}");
    }
}

#[tokio::test]
async fn a_name_is_insecure_if_its_address_is_in_a_network_of_the_list() {
    for (network, want) in [("127.0.0.0/8", true), ("10.0.0.0/8", false)] {
        let client = client(&Settings { insecure: [network.to_owned()].into(), ..Settings::default() });
        assert_eq!(client.is_in_insecure_network("localhost:5000").await, want, "{network}");
        assert!(!client.is_in_insecure_network("no.such.host.invalid").await);
    }
}

/// As in dockerd, the login goes to an insecure registry with or without TLS, and to its token service, but nowhere else.
#[tokio::test]
async fn a_login_goes_to_the_registry_and_its_token_service_only() {
    const LOGIN: &str = "uthorization: Basic dXNlcjpwYXNz";
    let folder = tempfile::tempdir().unwrap();
    let store = serving().await;
    let place = store.address;
    let tokens = Raw::start(|_| ok("", r#"{"token":"","access_token":"t"}"#)).await;
    let realm = tokens.address;
    let registry = Raw::start(move |head| {
        if head.is_empty() {
            not_tls()
        } else if !head.contains("earer t") {
            let challenge =
                format!("WWW-Authenticate: Basic realm=\"x\", Bearer realm=\"http://{realm}/token\",service=\"s\"\r\n");
            answer("401 Unauthorized", &challenge, "")
        } else {
            answer("307 Temporary Redirect", &format!("Location: http://user:pass@{place}/blob\r\n"), "")
        }
    })
    .await;
    let name = registry.address.to_string();
    assert_eq!(fetch(&client(&with_login(&name)), &name).await.unwrap(), MANIFEST.as_bytes());
    assert_eq!((tokens.count(LOGIN), registry.count(LOGIN)), (1, 0), "a token is requested if both are offered");
    assert_eq!(store.count("uthorization"), 0);

    // The same with a checked TLS certificate: the password is not sent in plain text.
    let authority = Authority::self_signed(folder.path());
    let front = authority.before(registry.address, &["http/1.1"]).await;
    let name = front.address.to_string();
    let host = format!(r#"{{"ca_file":"{}"}}"#, authority.certificate().display());
    let settings = Settings { login: with_login(&name).login, ..with_host(folder.path(), &name, &host) };
    let error = fetch(&client(&settings), &name).await.unwrap_err();
    assert!(matches!(error, RequestError::Exposed { .. }), "{error}");
    // And with an unchecked TLS certificate, as in dockerd.
    let listed = Settings { insecure: [name.clone()].into(), ..with_login(&name) };
    assert_eq!(fetch(&client(&listed), &name).await.unwrap(), MANIFEST.as_bytes());
}

#[tokio::test]
async fn redirects_of_an_insecure_registry_are_not_checked_either() {
    let folder = tempfile::tempdir().unwrap();
    let store = serving().await;
    let authority = Authority::self_signed(folder.path());
    let secure_store = authority.before(store.address, &["http/1.1"]).await;
    for (place, kept) in [(format!("https://{}", secure_store.address), true), (format!("http://{}", store.address), false)] {
        let registry = Raw::start(move |_| answer("302 Found", &format!("Location: {place}/blob\r\n"), "")).await;
        let front = authority.before(registry.address, &["http/1.1"]).await;
        let name = front.address.to_string();
        let listed = Settings { insecure: [name.clone()].into(), ..Settings::default() };
        assert!(fetch(&client(&listed), &name).await.is_ok());
        let host = format!(r#"{{"ca_file":"{}"}}"#, authority.certificate().display());
        let error = fetch(&client(&with_host(folder.path(), &name, &host)), &name).await.unwrap_err();
        // A checked registry is checked through all redirects, and this store has no configured certificate.
        assert_eq!(matches!(error, RequestError::Untrusted { .. }), kept, "{error}");
        assert_eq!(matches!(error, RequestError::Redirect { .. }), !kept, "{error}");
    }
}

#[tokio::test]
async fn a_registrys_error_text_is_shown_for_every_kind_of_request() {
    const HARBOR: &str = r#"{"errors":[{"code":"PROJECTPOLICYVIOLATION","message":"current image with 5 vulnerabilities"}]}"#;
    let harbor = "(it says: PROJECTPOLICYVIOLATION: current image with 5 vulnerabilities)";
    for (status, body, want) in [
        ("412 Precondition Failed", HARBOR, harbor),
        ("403 Forbidden", HARBOR, harbor),
        ("404 Not Found", HARBOR, harbor),
        ("500 Oops", "the disk\nis full", "(it says: the disk is full)"),
        ("502 Bad Gateway", "<html><title>502 Bad Gateway</title>nginx</html>", "(it says: 502 Bad Gateway)"),
        ("503 Service Unavailable", "", "status 503 Service Unavailable"),
    ] {
        let server = Raw::start(move |head| if head.is_empty() { not_tls() } else { answer(status, "", body) }).await;
        let (registry, client) = (server.address.to_string(), client(&Settings::default()));
        let image: Reference = format!("{registry}/tool:1").parse().unwrap();
        let layer = Descriptor::of(&Digest::of(b"x"), 1);
        let blob = crate::build::Blob { digest: Digest::of(b"x"), bytes: b"x".to_vec() };
        let base = Url::parse(&format!("http://{registry}")).unwrap();
        let push: Push<'_> = client.push_to(&base);
        for (what, error) in [
            ("manifests", fetch(&client, &registry).await.unwrap_err()),
            ("blobs", client.layer(&image, &layer, 0).await.map(|_| ()).unwrap_err()),
            ("PUT", push.manifest("tool", "1", &blob).await.unwrap_err()),
        ] {
            let text = error.to_string();
            assert!(text.contains(want) && text.contains(what), "{what}: {text}");
        }
        let tokens = server.address;
        let registry = Raw::start(move |head| match head.is_empty() {
            true => not_tls(),
            false => answer("401 x", &format!("WWW-Authenticate: Bearer realm=\"http://{tokens}/\"\r\n"), ""),
        })
        .await;
        let text = fetch(&client, &registry.address.to_string()).await.unwrap_err().to_string();
        assert!(text.contains(want) && text.contains("a token for tool"), "{text}");
    }
}

#[tokio::test]
async fn a_manifest_is_accepted_with_any_headers() {
    let digest = Digest::of(MANIFEST.as_bytes()).to_string();
    for (headers, named) in [
        ("", None),
        ("Content-Type: application/vnd.oci.image.manifest.v1+json; charset=utf-8\r\n", None),
        ("Content-Type: text/html\r\n", None),
        ("Docker-Content-Digest: \r\n", None),
        ("Docker-Content-Digest: sha256:short\r\n", None),
        ("Docker-Content-Digest: sha512:abc\r\n", None),
        (&format!("docker-content-digest:  {digest} \r\n"), Some(&digest)),
    ] {
        let headers = headers.to_owned();
        let shown = headers.clone();
        let server = Raw::start(move |head| if head.is_empty() { not_tls() } else { ok(&headers, MANIFEST) }).await;
        let image: Reference = format!("{}/tool:1", server.address).parse().unwrap();
        let (bytes, found) = client(&Settings::default()).document(&image, "manifests/1", "*/*").await.unwrap();
        assert_eq!((bytes.as_slice(), found.as_ref()), (MANIFEST.as_bytes(), named), "{shown}");
    }
}

#[tokio::test]
async fn a_server_asks_for_a_pause_in_seconds_or_until_a_date() {
    for (status, headers, want) in [
        ("429 x", "Retry-After: 7\r\n", Some(7)),
        ("503 x", "Retry-After: Sun, 06 Nov 1994 08:49:47 GMT\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n", Some(10)),
        ("503 x", "Retry-After: whenever\r\n", None),
        ("429 x", "", None),
    ] {
        let server = Raw::start(move |head| if head.is_empty() { not_tls() } else { answer(status, headers, "") }).await;
        let error = fetch(&client(&Settings::default()), &server.address.to_string()).await.unwrap_err();
        assert_eq!(error.retry_after().map(|pause| pause.as_secs()), want, "{headers}");
    }
}

#[tokio::test]
async fn a_server_that_refuses_ranges_or_head_still_serves_and_accepts_blobs() {
    for status in ["400 x", "405 x", "416 x", "501 x"] {
        let server = Raw::start(move |head| match head {
            "" => not_tls(),
            head if head.contains("ange: bytes") => answer(status, "", ""),
            _ => ok("", MANIFEST),
        })
        .await;
        let image: Reference = format!("{}/tool:1", server.address).parse().unwrap();
        let layer = Descriptor::of(&Digest::of(b"x"), 1);
        let answer = client(&Settings::default()).layer(&image, &layer, 1).await.unwrap();
        assert_eq!(answer.response.status(), StatusCode::OK, "{status}");
    }
    for status in ["400 x", "405 x", "404 x", "501 x"] {
        let server = Raw::start(move |head| match head.split(' ').next().unwrap() {
            "HEAD" => answer(status, "", ""),
            "POST" => answer("202 Accepted", "Location: /upload?a=b\r\n", ""),
            _ => answer("201 Created", "", ""),
        })
        .await;
        let base = Url::parse(&format!("http://{}", server.address)).unwrap();
        let blob = crate::build::Blob { digest: Digest::of(b"x"), bytes: b"x".to_vec() };
        client(&Settings::default()).push_to(&base).blob("tool", &blob, None).await.unwrap();
        assert_eq!(server.count("PUT /upload?a=b&digest="), 1, "{status}");
    }
}

#[tokio::test]
async fn a_mirror_and_a_push_over_https_are_not_checked_if_listed() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start().await;
    let image = registry.image("tool", &[(TAR, tar(&[("a", "1")]))], "{}");
    let front = Authority::self_signed(folder.path()).before(registry.address, &["http/1.1"]).await;
    let base = Url::parse(&format!("https://{}", front.address)).unwrap();
    let mirrors = vec![format!("registry.invalid={base}")];
    let client = client(&Settings { mirrors, ..Settings::default() });
    let image: Reference = image.replace(&registry.address.to_string(), "registry.invalid").parse().unwrap();
    client.document(&image, "manifests/latest", "*/*").await.unwrap();
    let blob = crate::build::Blob { digest: Digest::of(b"x"), bytes: b"x".to_vec() };
    client.push_to(&base).blob("tool", &blob, None).await.unwrap();
}
