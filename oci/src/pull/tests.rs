use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fs;
use std::time::Duration;

use super::*;
use crate::fake_registry::{GZIP, Registry, TAR, Together, Trouble, ZSTD, digest, gzip, tar, zstd};
use crate::registry::{Limits, Login, Settings};

pub const CONFIG: &str = r#"{"config":{"Cmd":["/a"]}}"#;

pub fn puller(root: &Path, settings: &Settings, free: fn(&Path) -> Free) -> Puller {
    let patience = Patience { attempts: 5, absence: Duration::from_secs(20), first_pause: Duration::from_millis(5) };
    Puller::new(Client::new(settings, limits()).unwrap(), Store::open(root).unwrap(), patience, free)
}

fn limits() -> Limits {
    let (answer, window) = (Duration::from_millis(400), Duration::from_millis(400));
    Limits { connect: Duration::from_secs(2), answer, window, least: 4 << 10 }
}

/// The login `user` with `pass` for this registry.
pub fn with_login(registry: &str) -> Settings {
    let login = Login { registry: registry.to_owned(), username: "user".to_owned(), password: "pass".to_owned() };
    Settings { login, ..Settings::default() }
}

pub fn plenty(_: &Path) -> Free {
    Free::of_memory(1 << 30)
}

pub fn left(root: &Path) -> Vec<String> {
    fs::read_dir(root).unwrap().flatten().map(|e| e.file_name().into_string().unwrap()).collect()
}

/// How many complete images there are, without those that are being unpacked.
fn whole(root: &Path) -> usize {
    left(root).iter().filter(|name| !name.contains(".partial")).count()
}

#[tokio::test]
async fn an_image_is_pulled_once_and_kept() {
    let (registry, root) = (Registry::start().await, tempfile::tempdir().unwrap());
    let layers = [(GZIP, gzip(&tar(&[("a", "1"), ("b", "1")]))), (ZSTD, zstd(&tar(&[(".wh.b", ""), ("c", "2")])))];
    let image = registry.image("tool", &layers, CONFIG);
    let mut puller = puller(root.path(), &Settings::default(), plenty);
    let pulled = puller.pull(&image).await.unwrap();
    assert_eq!(pulled.config.config.cmd, ["/a"]);
    assert_eq!(
        (pulled.rootfs.join("a").exists(), pulled.rootfs.join("b").exists(), pulled.rootfs.join("c").exists()),
        (true, false, true)
    );
    puller.pull(&image).await.unwrap();
    assert_eq!(registry.requests("/blobs/"), 3);
    // An image that was pulled before does not need its registry.
    drop(registry);
    puller.pull(&image).await.unwrap();
}

#[tokio::test]
async fn a_broken_connection_is_resumed_where_it_broke() {
    let big = gzip(&tar(&[("a", &random_text(300_000))]));
    for no_ranges in [false, true] {
        let (registry, root) = (Registry::start().await, tempfile::tempdir().unwrap());
        let image = registry.image("tool", &[(GZIP, big.clone())], CONFIG);
        registry.inner.lock().unwrap().no_ranges = no_ranges;
        registry.trouble(&digest(&big), &[Trouble::Cut, Trouble::Status(503), Trouble::Cut]);
        let pulled = puller(root.path(), &Settings::default(), plenty).pull(&image).await.unwrap();
        assert_eq!(fs::metadata(pulled.rootfs.join("a")).unwrap().len(), 300_000);
        assert!(registry.requests(&format!("{} bytes=", digest(&big))) >= 2, "only the rest is requested");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_after_the_last_byte_has_delivered_the_whole_blob() {
    let (registry, root) = (Registry::start().await, tempfile::tempdir().unwrap());
    let layer = gzip(&tar(&[("a", "1")]));
    let image = registry.image("tool", &[(GZIP, layer.clone())], CONFIG);
    registry.trouble(&digest(&layer), &[Trouble::CutAtTheEnd]);
    let pulled = puller(root.path(), &Settings::default(), plenty).pull(&image).await.unwrap();
    assert!(pulled.rootfs.join("a").exists());
    assert_eq!(registry.requests(&digest(&layer)), 1);
}

#[tokio::test]
async fn an_endless_or_invalid_answer_of_a_token_service_is_refused_at_once() {
    for (token, want) in [("x".repeat(8 << 20), "with more than 262144 bytes"), ("\"".to_owned(), "whose answer is not a token")]
    {
        let (registry, root) = (Registry::start().await, tempfile::tempdir().unwrap());
        let image = registry.image("tool", &[], CONFIG);
        registry.inner.lock().unwrap().token = Some(token);
        let error = puller(root.path(), &Settings::default(), plenty).pull(&image).await.unwrap_err();
        assert!(error.to_string().contains(want), "{error}");
        assert_eq!(registry.requests("/token"), 1);
    }
}

#[tokio::test]
async fn failures_have_typed_reasons_and_leave_nothing() {
    let layer = gzip(&tar(&[("a", &random_text(100_000))]));
    let manifest = "manifests/latest";
    let cases: [(&str, String, Vec<Trouble>, Failure); 6] = [
        ("wrong layer", digest(&layer), vec![Trouble::Corrupt], Failure::Mismatch),
        ("wrong configuration", digest(CONFIG.as_bytes()), vec![Trouble::Corrupt], Failure::Mismatch),
        ("missing", manifest.into(), vec![Trouble::Status(404)], Failure::NotFound),
        ("forbidden", manifest.into(), vec![Trouble::Status(403)], Failure::Other),
        ("always failing", manifest.into(), vec![Trouble::Status(500); 9], Failure::Other),
        ("missing layer", digest(&layer), vec![Trouble::Status(404)], Failure::NotFound),
    ];
    for (case, path, troubles, want) in cases {
        let (registry, root) = (Registry::start().await, tempfile::tempdir().unwrap());
        let image = registry.image("tool", &[(GZIP, layer.clone())], CONFIG);
        registry.trouble(&path, &troubles);
        let error = puller(root.path(), &Settings::default(), plenty).pull(&image).await.unwrap_err();
        assert_eq!(error.failure(), want, "{case}: {error:?}");
        assert!(left(root.path()).is_empty(), "{case} leaves {:?}", left(root.path()));
        let attempts = registry.requests(manifest);
        assert!(case != "always failing" || attempts == 5, "{attempts} attempts");
    }
}

#[tokio::test]
async fn a_pinned_digest_must_be_the_manifests_and_no_other_architecture_runs() {
    let (registry, root) = (Registry::start().await, tempfile::tempdir().unwrap());
    let image = registry.image("tool", &[(TAR, tar(&[("a", "1")]))], CONFIG);
    let pinned = image.replace(":latest", &format!("@sha256:{}", "0".repeat(64)));
    let error = puller(root.path(), &Settings::default(), plenty).pull(&pinned).await.unwrap_err();
    assert!(matches!(error, PullError::Request(RequestError::NotFound { .. })), "{error:?}");
    registry.trouble("manifests/latest", &[Trouble::Corrupt]);
    assert!(puller(root.path(), &Settings::default(), plenty).pull(&image).await.is_err());
}

#[tokio::test]
async fn an_image_that_cannot_fit_is_refused_before_a_layer_is_transferred() {
    let (registry, root) = (Registry::start().await, tempfile::tempdir().unwrap());
    let layer = gzip(&tar(&[("a", &random_text(500_000))]));
    let image = registry.image("tool", &[(GZIP, layer.clone())], CONFIG);
    let error = puller(root.path(), &Settings::default(), |_| Free::of_memory(100_000)).pull(&image).await.unwrap_err();
    assert!(matches!(error.failure(), Failure::NoSpace(NoSpace { free: 100_000, .. })), "{error:?}");
    assert_eq!(registry.requests(&digest(&layer)), 0);
    // Between the compressed size and the estimate, the size in gzip's trailer decides.
    puller(root.path(), &Settings::default(), |_| Free::of_memory(600_000)).pull(&image).await.unwrap();
    assert!(registry.requests("bytes=-4") == 1);
}

#[tokio::test]
async fn an_older_image_makes_room() {
    let (registry, root) = (Registry::start().await, tempfile::tempdir().unwrap());
    let mut puller =
        puller(root.path(), &Settings::default(), |root| Free::of_memory(if whole(root) == 0 { 1 << 30 } else { 10 }));
    let one = registry.image("one", &[(TAR, tar(&[("a", "1")]))], CONFIG);
    let two = registry.image("two", &[(TAR, tar(&[("b", "2")]))], CONFIG);
    puller.pull(&one).await.unwrap();
    let image = puller.pull(&two).await.unwrap();
    assert!(image.rootfs.join("b").exists());
    assert_eq!(registry.requests("/v2/one/blobs"), 2);
    assert_eq!(left(root.path()).len(), 1, "the first image is gone: {:?}", left(root.path()));
}

#[tokio::test]
async fn nothing_is_removed_for_an_image_that_cannot_fit_anyway() {
    let (registry, root) = (Registry::start().await, tempfile::tempdir().unwrap());
    let mut puller =
        puller(root.path(), &Settings::default(), |root| Free::of_memory(if whole(root) == 0 { 50_000 } else { 10 }));
    let one = registry.image("one", &[(TAR, tar(&[("a", "1")]))], CONFIG);
    let two = registry.image("two", &[(TAR, tar(&[("b", &random_text(500_000))]))], CONFIG);
    puller.pull(&one).await.unwrap();
    let error = puller.pull(&two).await.unwrap_err();
    assert!(matches!(error.failure(), Failure::NoSpace(NoSpace { free: 10, .. })), "{error:?}");
    assert_eq!(left(root.path()).len(), 1, "the first image must stay");
}

#[tokio::test]
async fn only_as_many_images_are_removed_as_the_new_one_needs() {
    let (registry, root) = (Registry::start().await, tempfile::tempdir().unwrap());
    let mut puller =
        puller(root.path(), &Settings::default(), |root| Free::of_memory(if whole(root) < 2 { 1 << 30 } else { 10 }));
    let names = ["one", "two", "three"];
    let images = names.map(|name| registry.image(name, &[(TAR, tar(&[(name, "1")]))], CONFIG));
    // There is room for two images. The second one was used last.
    puller.pull(&images[0]).await.unwrap();
    puller.pull(&images[1]).await.unwrap();
    puller.pull(&images[2]).await.unwrap();
    let kept = puller.pull(&images[1]).await.unwrap();
    assert!(kept.rootfs.join("two").exists());
    assert_eq!(registry.requests("/v2/two/blobs"), 2, "the second image must stay");
}

#[tokio::test]
async fn tokens_and_passwords_are_sent_where_they_are_required() {
    let (registry, root) = (Registry::start().await, tempfile::tempdir().unwrap());
    let image = registry.image("tool", &[(TAR, tar(&[("a", "1")]))], CONFIG);
    registry.inner.lock().unwrap().token = Some("secret".into());
    puller(root.path(), &Settings::default(), plenty).pull(&image).await.unwrap();
    assert_eq!(registry.requests("/token"), 1, "the token is reused");

    let (registry, root) = (Registry::start().await, tempfile::tempdir().unwrap());
    let image = registry.image("tool", &[(TAR, tar(&[("a", "1")]))], CONFIG);
    registry.inner.lock().unwrap().basic = Some(STANDARD.encode(b"user:pass"));
    let address = registry.address.to_string();
    puller(root.path(), &with_login(&address), plenty).pull(&image).await.unwrap();
    let other = with_login("other.example");
    let elsewhere = tempfile::tempdir().unwrap();
    let error = puller(elsewhere.path(), &other, plenty).pull(&image).await.unwrap_err();
    assert!(matches!(error, PullError::Request(RequestError::Denied { .. })), "another host gets no password: {error:?}");
}

#[tokio::test]
async fn the_pull_waits_for_a_registry_that_returns_in_time() {
    let root = tempfile::tempdir().unwrap();
    let registry = Registry::start().await;
    let image = registry.image("tool", &[(TAR, tar(&[("a", "1")]))], CONFIG);
    let (address, inner) = (registry.address, registry.inner.clone());
    drop(registry);
    let mut puller = puller(root.path(), &Settings::default(), plenty);
    let back = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let listener = loop {
            match tokio::net::TcpListener::bind(address).await {
                Ok(listener) => break listener,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        Registry::on(listener, inner)
    };
    let (pulled, _registry) = tokio::join!(puller.pull(&image), back);
    pulled.unwrap();
}

#[test]
fn what_an_interrupted_pull_left_is_removed_at_start() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("abc.partial/rootfs/x")).unwrap();
    Store::open(root.path()).unwrap();
    assert!(left(root.path()).is_empty());
}

/// Text that gzip can hardly compress.
pub fn random_text(length: usize) -> String {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b' ' + (state % 95) as u8)
    };
    (0..length).map(|_| next()).collect()
}

#[tokio::test]
async fn layers_are_fetched_together_if_memory_allows_and_else_one_by_one() {
    // Small ones wait in memory completely, and large ones only with their first bytes.
    for size in [10, 1 << 20] {
        let names = ["a", "b", "c", "d", "e", "f"];
        let layer = |name: &str| tar(&[(name, &"x".repeat(size)), (if name == "f" { ".wh.a" } else { "same" }, name)]);
        let layers = names.map(|name| (TAR, layer(name)));
        for (free, fine) in [(plenty as fn(&Path) -> Free, true), (|_| Free::of_memory(14 << 20), false)] {
            let (registry, root) = (Registry::start().await, tempfile::tempdir().unwrap());
            let image = registry.image("tool", &layers, CONFIG);
            registry.inner.lock().unwrap().together = Some(Together::new(3));
            let pulled = puller(root.path(), &Settings::default(), free).pull(&image).await;
            assert_eq!(pulled.is_ok(), fine, "{size}: {pulled:?}");
            let Ok(pulled) = pulled else { continue };
            assert!(
                !pulled.rootfs.join("a").exists() && pulled.rootfs.join("f").exists(),
                "the layers must be in the manifest's order"
            );
            assert_eq!(fs::read_to_string(pulled.rootfs.join("same")).unwrap(), "e");
        }
    }
}

#[tokio::test]
async fn an_error_of_one_layer_ends_the_fetching_of_the_others() {
    let (registry, root) = (Registry::start().await, tempfile::tempdir().unwrap());
    let layers = ["a", "b", "c"].map(|name| (TAR, tar(&[(name, &random_text(50_000))])));
    let image = registry.image("tool", &layers, CONFIG);
    registry.trouble(&digest(&layers[0].1), &[Trouble::Status(403)]);
    registry.trouble(&digest(&layers[1].1), &[Trouble::Dribble]);
    let mut puller = puller(root.path(), &Settings::default(), plenty);
    let error = puller.pull(&image).await.unwrap_err();
    assert!(error.to_string().contains("403"), "{error}");
    assert_eq!(left(root.path()), Vec::<String>::new());
    puller.pull(&image).await.unwrap();
}
