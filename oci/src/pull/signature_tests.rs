//! Images that must be signed, from a registry, with signatures in cosign's formats.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};

use super::Failure;
use super::tests::{CONFIG, plenty, puller};
use crate::fake_registry::{Registry, TAR, digest, tar};
use crate::registry::Settings;
use crate::signature::Keys;

pub struct Signer(EcdsaKeyPair);

impl Signer {
    pub fn new() -> Self {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
        Self(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, key.as_ref(), &random).unwrap())
    }

    pub fn keys(&self) -> Keys {
        let head = hex::decode("3059301306072a8648ce3d020106082a8648ce3d030107034200").unwrap();
        let text = STANDARD.encode([&head, self.0.public_key().as_ref()].concat());
        let mut keys = Keys::default();
        keys.add(&format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n")).unwrap();
        keys
    }

    pub fn sign(&self, payload: &str) -> String {
        STANDARD.encode(self.0.sign(&SystemRandom::new(), payload.as_bytes()).unwrap())
    }
}

pub fn payload(of: &str) -> String {
    format!(
        r#"{{"critical":{{"identity":{{"docker-reference":""}},"image":{{"docker-manifest-digest":"{of}"}},"type":"cosign container image signature"}},"optional":null}}"#
    )
}

/// Signs the image `tool`.
pub fn sign_in(registry: &Registry, of: &str, signer: &Signer) {
    attach(registry, of, &[(&payload(of), &signer.sign(&payload(of)))]);
}

/// The name of the repository in cosign's payload.
fn payload_for(name: &str, of: &str) -> String {
    payload(of).replace(r#""docker-reference":"""#, &format!(r#""docker-reference":"{name}""#))
}

/// The objects that `cosign sign` pushes: payloads as layers, signatures as annotations.
fn attach(registry: &Registry, to: &str, statements: &[(&str, &str)]) {
    let layers: Vec<String> = statements.iter().map(|(payload, signature)| {
        let blob = digest(payload.as_bytes());
        registry.put("tool", "blobs", &blob, "application/octet-stream", payload.as_bytes());
        format!(
            r#"{{"mediaType":"application/vnd.dev.cosign.simplesigning.v1+json","size":{},"digest":"{blob}","annotations":{{"dev.cosignproject.cosign/signature":"{signature}"}}}}"#,
            payload.len()
        )
    }).collect();
    let config = digest(b"{}");
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","size":2,"digest":"{config}"}},"layers":[{}]}}"#,
        layers.join(",")
    );
    put_manifest(registry, to, manifest.as_bytes());
}

fn put_manifest(registry: &Registry, to: &str, manifest: &[u8]) {
    let tag = format!("{}.sig", to.replace(':', "-"));
    registry.put("tool", "manifests", &tag, "application/vnd.oci.image.manifest.v1+json", manifest);
}

#[tokio::test]
async fn only_an_image_that_a_trusted_key_signed_is_pulled() {
    type Case = (&'static str, fn(&Registry, &str, &Signer, &Signer), Result<(), &'static str>);
    let cases: [Case; 12] = [
        ("a signature", |r, d, us, _| attach(r, d, &[(&payload(d), &us.sign(&payload(d)))]), Ok(())),
        (
            "a trusted one among others",
            |r, d, us, them| {
                let one = payload(d);
                attach(r, d, &[(&one, &them.sign(&one)), ("{}", "?"), (&one, &us.sign(&one))]);
            },
            Ok(()),
        ),
        ("no signature", |_, _, _, _| {}, Err("it is not signed: its repository has no sha256-")),
        ("a manifest without any", |r, d, _, _| attach(r, d, &[]), Err("it is not signed")),
        ("another key", |r, d, _, them| attach(r, d, &[(&payload(d), &them.sign(&payload(d)))]), Err("not with a key that this")),
        (
            "a signature of something else under this payload",
            |r, d, us, _| attach(r, d, &[(&payload(d), &us.sign("x"))]),
            Err("not with a key that this"),
        ),
        (
            "our signature of another image",
            |r, d, us, _| {
                let other = payload(&digest(b"another"));
                attach(r, d, &[(&other, &us.sign(&other))]);
            },
            Err("for another image, sha256:"),
        ),
        ("no base64", |r, d, _, _| attach(r, d, &[(&payload(d), "%%%")]), Err("it is not base64")),
        ("no JSON, well signed", |r, d, us, _| attach(r, d, &[("{", &us.sign("{"))]), Err("not JSON of the expected form")),
        (
            "another kind of statement, well signed",
            |r, d, us, _| {
                let other = payload(d).replace("container image signature", "something");
                attach(r, d, &[(&other, &us.sign(&other))]);
            },
            Err("not about a container image"),
        ),
        ("an invalid manifest", |r, d, _, _| put_manifest(r, d, b"<html>"), Err("its manifest is not JSON")),
        (
            "a payload that was exchanged",
            |r, d, us, _| {
                attach(r, d, &[(&payload(d), &us.sign(&payload(d)))]);
                r.put("tool", "blobs", &digest(payload(d).as_bytes()), "x", b"{}");
            },
            Err("not match its digest"),
        ),
    ];
    for (case, prepare, want) in cases {
        let (registry, root, us, them) = (Registry::start().await, tempfile::tempdir().unwrap(), Signer::new(), Signer::new());
        let image = registry.image("tool", &[(TAR, tar(&[("a", "1")]))], CONFIG);
        prepare(&registry, &registry.digest_of("tool", "latest"), &us, &them);
        let pulled = puller(root.path(), &Settings::default(), plenty).trusting(us.keys()).pull(&image).await;
        match want {
            Ok(()) => assert!(pulled.unwrap().rootfs.join("a").exists(), "{case}"),
            Err(words) => {
                let error = pulled.unwrap_err();
                let text = machine::Chain(&error).to_string();
                assert!(error.failure() == Failure::Unsigned && text.contains(words), "{case}: {text}");
                assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0, "{case}: no layer must be unpacked");
            }
        }
    }
}

fn bundle(of: &str, us: &Signer) -> String {
    let statement = format!(
        r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[{{"digest":{{"sha256":"{}"}}}}],"predicateType":"https://sigstore.dev/cosign/sign/v1","predicate":{{}}}}"#,
        of.trim_start_matches("sha256:")
    );
    let kind = "application/vnd.in-toto+json";
    let signature = us.sign(&format!("DSSEv1 {} {kind} {} {statement}", kind.len(), statement.len()));
    format!(
        r#"{{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{{"publicKey":{{"hint":"x"}}}},"dsseEnvelope":{{"payload":"{}","payloadType":"{kind}","signatures":[{{"sig":"{signature}"}}]}}}}"#,
        STANDARD.encode(statement)
    )
}

/// The objects that cosign 3 pushes. The registry keeps the list of referrers, or cosign keeps it at a tag.
fn refer(registry: &Registry, to: &str, bundle: &str, listed: bool) {
    const KIND: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
    let blob = digest(bundle.as_bytes());
    registry.put("tool", "blobs", &blob, "application/octet-stream", bundle.as_bytes());
    let manifest = format!(
        r#"{{"schemaVersion":2,"artifactType":"{KIND}","config":{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"{}","size":2}},"layers":[{{"mediaType":"{KIND}","digest":"{blob}","size":{}}}],"subject":{{"digest":"{to}"}}}}"#,
        digest(b"{}"),
        bundle.len()
    );
    let name = digest(manifest.as_bytes());
    registry.put("tool", "manifests", &name, "application/vnd.oci.image.manifest.v1+json", manifest.as_bytes());
    let kind = if listed { KIND } else { "application/vnd.oci.empty.v1+json" };
    let other = digest(b"a list of contents that is not there");
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"digest":"{other}"}},{{"digest":"{name}","size":1,"artifactType":"{kind}"}}]}}"#
    );
    let (api, key) = if listed { ("referrers", to.to_owned()) } else { ("manifests", to.replace(':', "-")) };
    registry.put("tool", api, &key, "application/vnd.oci.image.index.v1+json", index.as_bytes());
}

#[tokio::test]
async fn a_bundle_of_cosign_3_is_a_signature_in_either_kind_of_list() {
    type Case = (&'static str, fn(&Registry, &str, &Signer, &Signer), Result<(), &'static str>);
    let cases: [Case; 7] = [
        ("listed by the registry", |r, d, us, _| refer(r, d, &bundle(d, us), true), Ok(())),
        ("listed at a tag", |r, d, us, _| refer(r, d, &bundle(d, us), false), Ok(())),
        (
            "listed at a tag, and the registry does not have the call",
            |r, d, us, _| {
                refer(r, d, &bundle(d, us), false);
                r.put("tool", "referrers", d, "text/plain", b"");
                r.trouble(&format!("referrers/{d}"), &[crate::fake_registry::Trouble::Status(400)]);
            },
            Ok(()),
        ),
        (
            "beside an older one of another signer",
            |r, d, us, them| {
                attach(r, d, &[(&payload(d), &them.sign(&payload(d)))]);
                refer(r, d, &bundle(d, us), true);
            },
            Ok(()),
        ),
        ("of another signer", |r, d, _, them| refer(r, d, &bundle(d, them), true), Err("not with a key that this")),
        (
            "of another image",
            |r, d, us, _| refer(r, d, &bundle(&digest(b"another"), us), true),
            Err("its signature is for another image"),
        ),
        ("an invalid bundle", |r, d, _, _| refer(r, d, "<html>", true), Err("its bundle is not JSON")),
    ];
    for (case, prepare, want) in cases {
        let (registry, root, us, them) = (Registry::start().await, tempfile::tempdir().unwrap(), Signer::new(), Signer::new());
        let image = registry.image("tool", &[(TAR, tar(&[("a", "1")]))], CONFIG);
        prepare(&registry, &registry.digest_of("tool", "latest"), &us, &them);
        let pulled = puller(root.path(), &Settings::default(), plenty).trusting(us.keys()).pull(&image).await;
        let text = pulled.as_ref().map(|_| ()).map_err(|error| machine::Chain(error).to_string());
        match want {
            Ok(()) => assert_eq!(text, Ok(()), "{case}"),
            Err(words) => {
                assert!(text.as_ref().is_err_and(|text| text.contains("may not run") && text.contains(words)), "{case}: {text:?}")
            }
        }
    }
}

#[tokio::test]
async fn the_signature_may_be_of_the_variant_and_later_pulls_do_not_check_again() {
    let (registry, root, us) = (Registry::start().await, tempfile::tempdir().unwrap(), Signer::new());
    let image = registry.image("tool", &[(TAR, tar(&[("a", "1")]))], CONFIG);
    let variant = {
        let inner = registry.inner.lock().unwrap();
        let is_variant = |path: &&String| path.starts_with("/v2/tool/manifests/sha256:") && !path.ends_with("latest");
        let keys: Vec<String> = inner.paths().filter(is_variant).cloned().collect();
        drop(inner);
        let index = registry.digest_of("tool", "latest");
        keys.iter().map(|path| path.rsplit('/').next().unwrap().to_owned()).find(|d| *d != index).unwrap()
    };
    attach(&registry, &variant, &[(&payload(&variant), &us.sign(&payload(&variant)))]);
    let mut puller = puller(root.path(), &Settings::default(), plenty).trusting(us.keys());
    puller.pull(&image).await.unwrap();
    let asked = registry.requests(".sig");
    puller.pull(&image).await.unwrap();
    assert_eq!(registry.requests(".sig"), asked);
}

#[tokio::test]
async fn an_unpacked_image_is_not_proof_and_an_unreachable_registry_is_not_a_verdict() {
    let (registry, root, us) = (Registry::start().await, tempfile::tempdir().unwrap(), Signer::new());
    let image = registry.image("tool", &[(TAR, tar(&[("a", "1")]))], CONFIG);
    puller(root.path(), &Settings::default(), plenty).pull(&image).await.unwrap();
    let pinned = image.replace(":latest", &format!("@{}", registry.digest_of("tool", "latest")));
    for name in [&image, &pinned] {
        let refused = puller(root.path(), &Settings::default(), plenty).trusting(us.keys()).pull(name).await.unwrap_err();
        assert_eq!(refused.failure(), Failure::Unsigned, "{name}: {refused}");
    }
    registry.trouble(".sig", &[crate::fake_registry::Trouble::Status(500); 9]);
    attach(&registry, &registry.digest_of("tool", "latest"), &[]);
    let failed = puller(root.path(), &Settings::default(), plenty).trusting(us.keys()).pull(&image).await.unwrap_err();
    assert_eq!(failed.failure(), Failure::Other, "{failed}");
}

/// Anyone who controls the registry can serve an older image, or another one, under a name. Its signature is valid, but for
/// another name.
#[tokio::test]
async fn a_signature_for_another_name_does_not_count_unless_the_image_is_named_by_digest() {
    let (registry, us) = (Registry::start().await, Signer::new());
    let image = registry.image("tool", &[(TAR, tar(&[("a", "1")]))], CONFIG);
    let digest = registry.digest_of("tool", "latest");
    let pinned = image.replace(":latest", &format!("@{digest}"));
    let here = format!("{}/tool", registry.address);
    let named = |rule, signed_as: &[(&str, &str)]| {
        let signed_as = signed_as.iter().map(|(copy, original)| ((*copy).to_owned(), (*original).to_owned())).collect();
        us.keys().naming(crate::signature::Names { rule, signed_as })
    };
    use crate::signature::NameRule::{Always, IfNamed, Never};
    for (case, signed, keys, name, want) in [
        ("its own", here.clone(), us.keys(), &image, true),
        ("its own with the tag", format!("{here}:latest"), us.keys(), &image, true),
        ("an older tag", format!("{here}:0.9"), us.keys(), &image, false),
        ("another image", format!("{here}-debug"), us.keys(), &image, false),
        ("another image, by digest", format!("{here}-debug"), us.keys(), &pinned, true),
        ("another image, and names do not count", format!("{here}-debug"), named(Never, &[]), &image, true),
        ("that of the original", "ghcr.io/org/tool".into(), named(IfNamed, &[(&here, "ghcr.io/org/tool")]), &image, true),
        ("that of another original", "ghcr.io/org/else".into(), named(IfNamed, &[(&here, "ghcr.io/org/tool")]), &image, false),
        ("no name, although one is required", String::new(), named(Always, &[]), &image, false),
    ] {
        let root = tempfile::tempdir().unwrap();
        let payload = payload_for(&signed, &digest);
        attach(&registry, &digest, &[(&payload, &us.sign(&payload))]);
        let mut puller = puller(root.path(), &Settings::default(), plenty).trusting(keys);
        let pulled = puller.pull(name).await;
        let text = pulled.as_ref().map(|_| ()).map_err(|error| machine::Chain(error).to_string());
        assert_eq!(text.is_ok(), want, "{case}: {text:?}");
        assert!(pulled.is_ok() || pulled.is_err_and(|error| error.failure() == Failure::Unsigned), "{case}");
    }
    // While the agent runs, a signature that is valid for one name does not become valid for another.
    let root = tempfile::tempdir().unwrap();
    let payload = payload_for(&here, &digest);
    attach(&registry, &digest, &[(&payload, &us.sign(&payload))]);
    let mut puller = puller(root.path(), &Settings::default(), plenty).trusting(us.keys());
    puller.pull(&image).await.unwrap();
    let manifest = registry.bytes_of("tool", "latest");
    registry.put("tool", "manifests", "newer", "application/vnd.oci.image.index.v1+json", &manifest);
    let tagged = payload_for(&format!("{here}:latest"), &digest);
    attach(&registry, &digest, &[(&tagged, &us.sign(&tagged))]);
    assert_eq!(puller.pull(&image.replace(":latest", ":newer")).await.unwrap_err().failure(), Failure::Unsigned);
    puller.pull(&pinned).await.unwrap();
}
