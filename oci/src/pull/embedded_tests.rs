//! Images from the ramdisk or a disk, with and without a registry.

use std::path::Path;
use std::time::{Duration, Instant};

use cmdline::EmbeddedImages;

use super::Failure;
use super::embedded::Embedded;
use super::tests::{CONFIG, plenty, puller};
use crate::fake_registry::{GZIP, Registry, TAR, digest, embed, gzip, tar};
use crate::registry::Settings;
use crate::signature::Keys;
use crate::space::{Free, NoSpace};

fn layers(file: &str) -> [(&'static str, Vec<u8>); 2] {
    [(GZIP, gzip(&tar(&[("base", "1")]))), (TAR, tar(&[(file, "2")]))]
}

fn in_folder(when: EmbeddedImages, folder: &Path) -> Embedded {
    Embedded { when, folder: folder.to_owned(), disk: None }
}

#[tokio::test]
async fn an_embedded_image_needs_no_registry_under_any_of_its_names() {
    let (layout, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // No registry listens there: a request would fail, and waiting would take 20 s.
    let names = ["127.0.0.1:1/tool:v1", "alpine:3", "quay.io/a/b"].map(|name| {
        let file = name.replace(['/', ':'], "-");
        (name, file.clone(), embed(layout.path(), name, &layers(&file), CONFIG))
    });
    let started = Instant::now();
    for when in [EmbeddedImages::First, EmbeddedImages::Fallback] {
        for (name, file, digest) in &names {
            for asked in [(*name).to_owned(), format!("127.0.0.1:1/other@{digest}")] {
                if when == EmbeddedImages::Fallback && !asked.starts_with("127.0.0.1") {
                    continue; // tests do not use the internet
                }
                let fresh = root.path().join(format!("{when:?}-{}", asked.replace('/', "-")));
                let pulled = puller(&fresh, &Settings::default(), plenty);
                let pulled = pulled.with(in_folder(when, layout.path())).pull(&asked).await.unwrap();
                assert!(pulled.rootfs.join(file).exists() && pulled.rootfs.join("base").exists(), "{asked}");
                assert_eq!(pulled.config.config.cmd, ["/a"]);
            }
        }
    }
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
}

#[tokio::test]
async fn the_setting_decides_which_source_is_first() {
    for (when, known_there, want, requests) in [
        (EmbeddedImages::First, true, Some("embedded"), false),
        (EmbeddedImages::Fallback, true, Some("registry"), true),
        (EmbeddedImages::Fallback, false, Some("embedded"), true),
        (EmbeddedImages::Never, true, Some("registry"), true),
        (EmbeddedImages::Never, false, None, true),
    ] {
        let (registry, layout, root) = (Registry::start().await, tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let image = format!("{}/tool:latest", registry.address);
        if known_there {
            registry.image("tool", &[(TAR, tar(&[("registry", "")]))], CONFIG);
        }
        embed(layout.path(), &image, &layers("embedded"), CONFIG);
        let pulled = puller(root.path(), &Settings::default(), plenty).with(in_folder(when, layout.path())).pull(&image).await;
        let found = pulled.ok().and_then(|p| ["embedded", "registry"].into_iter().find(|file| p.rootfs.join(file).exists()));
        assert_eq!(found, want, "{when:?}, {known_there}");
        assert_eq!(registry.requests("/v2/") > 0, requests, "{when:?}, {known_there}");
    }
}

#[tokio::test]
async fn a_stick_that_appears_later_ends_the_wait_for_an_unreachable_registry() {
    for when in [EmbeddedImages::First, EmbeddedImages::Fallback] {
        let (layout, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let place = layout.path().join("later");
        let pulled = puller(root.path(), &Settings::default(), plenty);
        let mut pulled = pulled.with(in_folder(when, &place));
        let started = Instant::now();
        let stick = async {
            tokio::time::sleep(Duration::from_millis(100)).await; // the end of the first check cannot be observed
            embed(&layout.path().join("ready"), "127.0.0.1:1/tool:v1", &layers("embedded"), CONFIG);
            std::fs::rename(layout.path().join("ready"), &place).unwrap();
        };
        let (pulled, ()) = tokio::join!(pulled.pull("127.0.0.1:1/tool:v1"), stick);
        assert!(pulled.unwrap().rootfs.join("embedded").exists(), "{when:?}");
        assert!(started.elapsed() < Duration::from_secs(10), "{when:?}: {:?} of the 20 s", started.elapsed());
    }
}

#[tokio::test]
async fn a_damaged_layout_is_refused_and_the_registry_is_used() {
    let blob = digest(&layers("embedded")[0].1).replace("sha256:", "blobs/sha256/");
    for (case, damage) in [
        ("a layer of other bytes", Box::new(|at: &Path| std::fs::write(at.join(&blob), b"x").unwrap()) as Box<dyn Fn(&Path)>),
        ("a missing layer", Box::new(|at: &Path| std::fs::remove_file(at.join(&blob)).unwrap())),
        ("an invalid index", Box::new(|at: &Path| std::fs::write(at.join("index.json"), "<html>").unwrap())),
        ("no index", Box::new(|at: &Path| std::fs::remove_file(at.join("index.json")).unwrap())),
    ] {
        let (registry, layout, root) = (Registry::start().await, tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let image = registry.image("tool", &[(TAR, tar(&[("registry", "")]))], CONFIG);
        embed(layout.path(), &image, &layers("embedded"), CONFIG);
        damage(layout.path());
        let mut whole = puller(root.path(), &Settings::default(), plenty).with(in_folder(EmbeddedImages::First, layout.path()));
        assert!(whole.pull(&image).await.unwrap().rootfs.join("registry").exists(), "{case}");
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1, "{case}: only the complete image is kept");
    }
}

#[tokio::test]
async fn an_embedded_image_that_does_not_fit_is_refused_with_both_numbers() {
    let (layout, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    embed(layout.path(), "127.0.0.1:1/tool:v1", &layers("a"), CONFIG);
    let mut small = puller(root.path(), &Settings::default(), |_| Free::of_memory(1000))
        .with(in_folder(EmbeddedImages::First, layout.path()));
    let error = small.pull("127.0.0.1:1/tool:v1").await.unwrap_err();
    assert!(matches!(error.failure(), Failure::NoSpace(NoSpace { free: 1000, .. })), "{error:?}");
}

fn some_key() -> Keys {
    let point = [&hex::decode("3059301306072a8648ce3d020106082a8648ce3d030107034200").unwrap()[..], &[4; 65]].concat();
    let body = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, point);
    let mut keys = Keys::default();
    keys.add(&format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n")).unwrap();
    keys
}

#[tokio::test]
async fn images_in_the_ramdisk_need_no_signature() {
    let (layout, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    embed(layout.path(), "127.0.0.1:1/tool:v1", &layers("a"), CONFIG);
    let ramdisk = puller(root.path(), &Settings::default(), plenty).with(in_folder(EmbeddedImages::First, layout.path()));
    let pulled = ramdisk.trusting(some_key()).pull("127.0.0.1:1/tool:v1").await;
    assert!(pulled.is_ok(), "the policy is in the same ramdisk");
}

#[tokio::test]
async fn a_pipe_in_place_of_an_index_or_a_blob_does_not_block() {
    for file in ["index.json", "blob"] {
        let (layout, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let of = embed(layout.path(), "127.0.0.1:1/tool:v1", &layers("a"), CONFIG);
        let blob = format!("blobs/sha256/{}", &of[7..]);
        let path = layout.path().join(if file == "blob" { blob.as_str() } else { file });
        std::fs::remove_file(&path).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let mut puller = puller(root.path(), &Settings::default(), plenty).with(in_folder(EmbeddedImages::First, layout.path()));
        puller.patience.absence = Duration::ZERO;
        let pulled = tokio::time::timeout(Duration::from_secs(10), puller.pull("127.0.0.1:1/tool:v1")).await;
        assert!(pulled.expect("the pull must not block").is_err(), "{file}");
    }
}
