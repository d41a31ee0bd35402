//! Whatever a document of an image, a signature or the index of an image layout says: it is understood or refused within its
//! bounds, and never taken for another.
#![no_main]

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use libfuzzer_sys::fuzz_target;
use oci::layout::Index;
use oci::manifest::{self, ImageConfig, Kind, LAYERS_MAX, Processor};
use oci::signature::{self, Keys, Names, Unsigned};
use oci::{Digest, Reference, sigstore};
use serde_json::Value;

const KEY: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEqN0eLqk/iZmdOa+uYdxiXEjLU+4Q
CL/L9fgYjEpYTWkSF26yh33/tVgTib+xXtG6APetJVlCZDYBtk4DJuGT0A==
-----END PUBLIC KEY-----";
static TRUSTED: LazyLock<Keys> = LazyLock::new(|| {
    let mut keys = Keys::default();
    keys.add(KEY).unwrap();
    keys
});

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, rest)) = bytes.split_first() else { return };
    let text = String::from_utf8_lossy(rest);
    match kind % 12 {
        0 => payload(rest),
        1 => payload(
            framed(r#"{"critical":{"identity":{},"type":"cosign container image signature","image":{"#, &text, "}}}").as_bytes(),
        ),
        2 => manifest(rest),
        3 => manifest(framed(r#"{"layers":[{"digest":""#, &text, r#""}]}"#).as_bytes()),
        4 => index(rest),
        5 => {
            index(framed(r#"{"manifests":[{"annotations":{"org.opencontainers.image.ref.name":""#, &text, r#""}}]}"#).as_bytes())
        }
        6 => bundle(rest),
        7 => statement(rest),
        8 => statement(
            framed(r#"{"predicateType":"https://sigstore.dev/cosign/sign/v1","subject":[{"digest":{"#, &text, "}}]}").as_bytes(),
        ),
        9 => name(&text),
        10 => document(rest),
        _ => configuration(rest),
    }
});

fn framed(before: &str, text: &str, after: &str) -> String {
    format!("{before}{text}{after}")
}

/// The name that an image's digest would need, if a payload were to vouch for it.
fn payload(bytes: &[u8]) {
    let named = |value: Value| value["critical"]["image"]["docker-manifest-digest"].as_str()?.parse::<Digest>().ok();
    let image = serde_json::from_slice(bytes).ok().and_then(named);
    let (other, nobody) = (Digest::of(b"other"), Keys::default());
    let (tool, names): (Reference, _) = ("registry.example/tool:1".parse().unwrap(), Names::default());
    match signature::says(bytes, (&tool, &other), &names) {
        Ok(()) => assert_eq!(image, Some(other)),
        Err(Unsigned::OtherImage(name)) => assert!(name.len() <= 80 && name.bytes().all(|byte| byte.is_ascii_graphic())),
        Err(_) => {}
    }
    if let Some(image) = image {
        let _ = signature::says(bytes, (&tool, &image), &names);
    }
    for keys in [&nobody, &TRUSTED] {
        let manifest = format!(
            r#"{{"layers":[{{"digest":"{}","annotations":{{"dev.cosignproject.cosign/signature":"MEQ="}}}}]}}"#,
            Digest::of(bytes)
        );
        let statements = signature::parse(manifest.as_bytes()).unwrap();
        assert_eq!(statements.layers[0].check(bytes, (&tool, &Digest::of(b"other")), keys), Err(Unsigned::OtherKey));
    }
}

fn manifest(bytes: &[u8]) {
    let digest = Digest::of(bytes);
    let tool: Reference = "tool".parse().unwrap();
    for statement in signature::parse(bytes).map(|found| found.layers).unwrap_or_default() {
        assert!(statement.check(b"{}", (&tool, &digest), &TRUSTED).is_err(), "no key has signed this");
    }
    let _ = Keys::default().add(&String::from_utf8_lossy(bytes));
}

fn bundle(bytes: &[u8]) {
    let _ = (sigstore::referrers(bytes), sigstore::blob(bytes));
    let (digest, payload) = (Digest::of(bytes), STANDARD.encode(bytes));
    let wrapped = format!(
        r#"{{"dsseEnvelope":{{"payload":"{payload}","payloadType":"application/vnd.in-toto+json","signatures":[{{"sig":"MEQ="}}]}}}}"#
    );
    let tool: Reference = "tool".parse().unwrap();
    for bundle in [bytes, wrapped.as_bytes()] {
        assert!(sigstore::check(bundle, (&tool, &digest), &TRUSTED).is_err(), "no key has signed this");
    }
}

fn statement(bytes: &[u8]) {
    let names = |value: &Value, hex: &str| {
        let subjects = value["subject"].as_array()?;
        subjects.iter().any(|subject| subject["digest"]["sha256"] == hex).then_some(())
    };
    let value: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let image = Digest::of(b"image");
    let tool: Reference = "registry.example/tool:1".parse().unwrap();
    match sigstore::says(bytes, (&tool, &image), &Names::default()) {
        Ok(()) => assert!(names(&value, image.hex()).is_some(), "a subject is the image"),
        Err(Unsigned::OtherImage(name)) => assert!(name.len() <= 80),
        Err(_) => {}
    }
}

fn index(bytes: &[u8]) {
    let Ok(index) = Index::parse(bytes) else { return };
    for image in ["alpine", "registry.example/tools/disk:2"] {
        let image: Reference = image.parse().unwrap();
        if let Some(digest) = index.digest_of(&image) {
            let pinned: Reference = format!("{}/{}@{digest}", image.registry, image.repository).parse().unwrap();
            assert_eq!(index.digest_of(&pinned), Some(digest), "the index also has the named image by its digest");
        }
    }
}

fn document(bytes: &[u8]) {
    match manifest::parse(bytes) {
        Ok(Kind::Image { layers, .. }) => assert!(layers.len() <= LAYERS_MAX),
        Ok(Kind::Index(entries)) => {
            let processors = ["amd64", "arm64"].map(|architecture| Processor { architecture, level: 1 });
            for chosen in processors.iter().filter_map(|processor| manifest::for_machine(&entries, processor)) {
                assert!(entries.iter().any(|entry| entry.digest == chosen.digest));
            }
        }
        Err(_) => {}
    }
}

/// What is kept beside the unpacked image is read again as the same.
fn configuration(bytes: &[u8]) {
    if let Ok(image) = ImageConfig::parse(bytes) {
        let kept = serde_json::to_vec(&image).unwrap();
        assert_eq!(ImageConfig::parse(&kept).unwrap(), image);
    }
}

fn name(text: &str) {
    if let Ok(image) = text.parse::<Reference>() {
        assert_eq!(image.to_string().parse(), Ok(image));
    }
}
