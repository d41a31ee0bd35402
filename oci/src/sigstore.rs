//! Signatures of `cosign sign --key` since version 3: sigstore bundles that refer to the image. Pure.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::digest::Digest;
use crate::reference::Reference;
use crate::signature::{Keys, Names, Unsigned};

const BUNDLE: &str = "application/vnd.dev.sigstore.bundle";
/// The configuration type of an artifact without a configuration. Clients that keep the list at a tag use it as the
/// artifact's type.
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
const STATEMENT: &str = "application/vnd.in-toto+json";
/// The statement that only says that an image is signed. A signed statement about its build or its vulnerabilities does not
/// say that it may run.
const SIGNATURE: &str = "https://sigstore.dev/cosign/sign/v1";

/// The tag of the list in registries that do not keep it themselves (OCI's referrers tag schema).
pub fn tag(digest: &Digest) -> String {
    format!("sha256-{}", digest.hex())
}

#[derive(Deserialize)]
struct Manifest {
    manifests: Option<Vec<Descriptor>>,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    digest: String,
    #[serde(default)]
    media_type: String,
    #[serde(default)]
    artifact_type: String,
}

/// The manifests in a list of referrers that may be bundles, or `None` if it is not such a list.
pub fn referrers(list: &[u8]) -> Option<Vec<Digest>> {
    let list = parse::<Manifest>(list)?.manifests?;
    let may_be = |one: &Descriptor| {
        let kind = one.artifact_type.as_str();
        kind.is_empty() || kind == EMPTY || kind.starts_with(BUNDLE)
    };
    Some(list.iter().filter(|one| may_be(one)).filter_map(|one| one.digest.parse().ok()).collect())
}

/// The blob that a bundle's manifest names.
pub fn blob(manifest: &[u8]) -> Option<Digest> {
    let layers = parse::<Manifest>(manifest)?.layers;
    layers.first().filter(|layer| layer.media_type.starts_with(BUNDLE))?.digest.parse().ok()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    dsse_envelope: Option<Envelope>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    #[serde(default)]
    signatures: Vec<Signature>,
}

#[derive(Deserialize)]
struct Signature {
    sig: String,
}

/// Checks whether one of the keys has signed the bundle's statement that this image is signed. The payload is parsed only
/// after its signature was verified.
pub fn check(bundle: &[u8], image: (&Reference, &Digest), keys: &Keys) -> Result<(), Unsigned> {
    let bundle: Bundle = parse(bundle).ok_or(Unsigned::Broken("its bundle is not JSON of the expected form"))?;
    let envelope = bundle.dsse_envelope.ok_or(Unsigned::Broken("its bundle has no DSSE envelope"))?;
    let no_base64 = |_| Unsigned::Broken("its bundle has an invalid base64 text");
    let payload = STANDARD.decode(&envelope.payload).map_err(no_base64)?;
    let signed = signed(&envelope.payload_type, &payload);
    let mut good = false;
    for signature in &envelope.signatures {
        good |= keys.made(&signed, &STANDARD.decode(&signature.sig).map_err(no_base64)?);
    }
    if !good {
        return Err(Unsigned::OtherKey);
    }
    if envelope.payload_type != STATEMENT {
        return Err(Unsigned::Broken("its bundle does not sign an in-toto statement"));
    }
    says(&payload, image, keys.names())
}

/// DSSE's pre-authentication encoding.
fn signed(kind: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    #[serde(default)]
    subject: Vec<Subject>,
    predicate_type: String,
}

#[derive(Deserialize)]
struct Subject {
    name: Option<String>,
    #[serde(default)]
    digest: Digests,
}

#[derive(Default, Deserialize)]
struct Digests {
    sha256: Option<String>,
}

/// Checks whether a statement with a valid signature is about this image.
pub fn says(statement: &[u8], (image, digest): (&Reference, &Digest), names: &Names) -> Result<(), Unsigned> {
    let statement: Statement =
        parse(statement).ok_or(Unsigned::Broken("the signed statement is not JSON of the expected form"))?;
    if statement.predicate_type != SIGNATURE {
        return Err(Unsigned::Broken("the signed statement is about the image, but does not say that it is signed"));
    }
    if let Some(subject) = statement.subject.iter().find(|subject| subject.digest.sha256.as_deref() == Some(digest.hex())) {
        return names.check(image, digest, subject.name.as_deref());
    }
    let mut subjects = statement.subject.iter().filter_map(|subject| subject.digest.sha256.as_deref());
    let other = subjects.next().map_or("without a name".to_owned(), |subject| format!("sha256:{subject}"));
    Err(Unsigned::OtherImage(other.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(80).collect()))
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with `openssl dgst -sha256 -sign` over the encoding of a statement in cosign's format.
    const KEY: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEpZxq1SNeK1pd94GkrQ3ZUv/8Ou0X
xZeh0EaNMlV2AVzbcpgF95hwym/Br1WnjMrrYDs0vlFaR+uhthIZ2GZkLA==
-----END PUBLIC KEY-----
";
    const STATEMENT_OF_IT: &str = r#"{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"87d8a8407af57efc26799b93ac547d2967d7bcb844b980acd4675ecf72601f2c"},"annotations":{}}],"predicateType":"https://sigstore.dev/cosign/sign/v1","predicate":{}}"#;
    const SIGNATURE_OF_IT: &str =
        "MEUCIQCzTcAG8U2/KJ/xMWnBp/uGVHeoE7y7A1hlq+j5OxyCnwIgMfo3rbShYJnxHcUmPtKNcuMV7FFjQPMFrZvxuZwTtpE=";

    fn bundle(kind: &str, statement: &str, signatures: &[&str]) -> String {
        let signatures: Vec<_> = signatures.iter().map(|sig| serde_json::json!({"sig": sig, "keyid": ""})).collect();
        serde_json::json!({
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {"publicKey": {"hint": "x"}, "tlogEntries": [], "timestampVerificationData": {}},
            "dsseEnvelope": {"payload": STANDARD.encode(statement), "payloadType": kind, "signatures": signatures},
        })
        .to_string()
    }

    #[test]
    fn a_bundle_from_another_program_is_accepted() {
        let mut keys = Keys::default();
        keys.add(KEY).unwrap();
        let image: Digest = "sha256:87d8a8407af57efc26799b93ac547d2967d7bcb844b980acd4675ecf72601f2c".parse().unwrap();
        let good = bundle(STATEMENT, STATEMENT_OF_IT, &[SIGNATURE_OF_IT]);
        let tool: Reference = "r.lab/tool:1".parse().unwrap();
        assert_eq!(check(good.as_bytes(), (&tool, &image), &keys), Ok(()));
        let other_image = Err(Unsigned::OtherImage(image.to_string()));
        assert_eq!(check(good.as_bytes(), (&tool, &Digest::of(b"other")), &keys), other_image);
        let spaced = STATEMENT_OF_IT.replace(':', ": ");
        for (case, text, want) in [
            ("a trusted one among others", bundle(STATEMENT, STATEMENT_OF_IT, &["MEQ=", SIGNATURE_OF_IT]), Ok(())),
            ("another key", good.clone(), Err(Unsigned::OtherKey)),
            ("another statement", bundle(STATEMENT, &spaced, &[SIGNATURE_OF_IT]), Err(Unsigned::OtherKey)),
            ("another type of payload", bundle("text/plain", STATEMENT_OF_IT, &[SIGNATURE_OF_IT]), Err(Unsigned::OtherKey)),
            ("no signature", bundle(STATEMENT, STATEMENT_OF_IT, &[]), Err(Unsigned::OtherKey)),
            (
                "the signature of a file",
                r#"{"messageSignature":{"signature":"MEQ="}}"#.into(),
                Err(Unsigned::Broken("its bundle has no DSSE envelope")),
            ),
        ] {
            let nobody = Keys::default();
            let keys = if case == "another key" { &nobody } else { &keys };
            assert_eq!(check(text.as_bytes(), (&tool, &image), keys), want, "{case}");
        }
    }

    #[test]
    fn only_a_statement_that_the_image_is_signed_counts() {
        let image = Digest::of(b"image");
        let statement =
            |kind: &str, subjects: &str| format!(r#"{{"predicateType":"{kind}","subject":[{subjects}],"predicate":{{}}}}"#);
        let ours = format!(r#"{{"digest":{{"sha256":"{}"}}}}"#, image.hex());
        let tool: Reference = "r.lab/tool:1".parse().unwrap();
        let says = |text: &str| says(text.as_bytes(), (&tool, &image), &Names::default());
        let named = |name: &str| format!(r#"{{"name":"{name}","digest":{{"sha256":"{}"}}}}"#, image.hex());
        assert_eq!(says(&statement(SIGNATURE, &named("r.lab/tool"))), Ok(()));
        assert!(matches!(says(&statement(SIGNATURE, &named("r.lab/else"))), Err(Unsigned::OtherName { .. })));
        assert_eq!(says(&statement(SIGNATURE, &ours)), Ok(()));
        assert_eq!(says(&statement(SIGNATURE, &format!(r#"{{"digest":{{"sha512":"x"}}}},{ours}"#))), Ok(()), "any subject");
        assert!(matches!(says(&statement("https://slsa.dev/provenance/v1", &ours)), Err(Unsigned::Broken(_))));
        assert_eq!(says(&statement(SIGNATURE, "")), Err(Unsigned::OtherImage("without a name".into())));
        assert!(matches!(says("[]"), Err(Unsigned::Broken(_))));
    }

    #[test]
    fn bundles_are_found_among_the_referrers_of_an_image() {
        let one = Digest::of(b"one");
        let entry = |kind: &str| format!(r#"{{"digest":"{one}","artifactType":"{kind}"}}"#);
        for (case, list, want) in [
            ("a bundle", entry("application/vnd.dev.sigstore.bundle.v0.3+json"), 1),
            ("an artifact without a type", entry(EMPTY), 1),
            ("no type at all", format!(r#"{{"digest":"{one}"}}"#), 1),
            ("a list of contents", entry("application/spdx+json"), 0),
            ("a digest of another kind", r#"{"digest":"sha512:1"}"#.into(), 0),
        ] {
            let found = referrers(format!(r#"{{"schemaVersion":2,"manifests":[{list}]}}"#).as_bytes());
            assert_eq!(found.unwrap().len(), want, "{case}");
        }
        assert_eq!(referrers(b"<html>"), None);
        assert_eq!(referrers(br#"{"schemaVersion":2,"layers":[]}"#), None, "an image is not a list");
        let manifest = |kind: &str| format!(r#"{{"layers":[{{"mediaType":"{kind}","digest":"{one}"}}]}}"#);
        assert_eq!(blob(manifest("application/vnd.dev.sigstore.bundle.v0.3+json").as_bytes()), Some(one.clone()));
        assert_eq!(blob(manifest("text/plain").as_bytes()), None);
        assert_eq!(blob(br#"{"layers":[]}"#), None);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, text in "\\PC{0,60}") {
            let image = Digest::of(&bytes);
            let (tool, names): (Reference, _) = ("tool".parse().unwrap(), Names::default());
            let _ = (referrers(&bytes), blob(&bytes));
            let _ = (says(&bytes, (&tool, &image), &names), says(text.as_bytes(), (&tool, &image), &names));
            let wrapped = bundle(&text, &text, &[&text]);
            for bundle in [wrapped.as_bytes(), &bytes] {
                assert!(check(bundle, (&tool, &image), &Keys::default()).is_err());
            }
        }
    }
}
