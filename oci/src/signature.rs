//! Signatures as `cosign sign --key` made them before version 3: which keys count, and what must be signed. Pure.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use serde::Deserialize;

use crate::digest::Digest;

/// Public keys, any of which is enough.
#[derive(Debug, Clone, Default)]
pub struct Keys(Vec<Vec<u8>>);

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    #[error("not a public key in PEM: expected -----BEGIN PUBLIC KEY-----")]
    Pem,
    #[error("not an ECDSA key on the curve P-256, as `cosign generate-key-pair` makes it")]
    Kind,
}

const BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const END: &str = "-----END PUBLIC KEY-----";
/// SubjectPublicKeyInfo of a point on P-256, up to the point itself (RFC 5480).
const SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03,
    0x01, 0x07, 0x03, 0x42, 0x00,
];
const POINT: usize = 65;

impl Keys {
    /// Adds a key in PEM.
    ///
    /// # Errors
    /// If it is not a public ECDSA key on P-256.
    pub fn add(&mut self, pem: &str) -> Result<(), BadKey> {
        let body = pem.split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END)).ok_or(BadKey::Pem)?.0;
        let body: String = body.split_whitespace().collect();
        let der = STANDARD.decode(body).map_err(|_| BadKey::Pem)?;
        let point = der.strip_prefix(&SPKI).filter(|point| point.len() == POINT && point.starts_with(&[4]));
        self.0.push(point.ok_or(BadKey::Kind)?.to_vec());
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of the keys made this signature of the payload.
    pub fn made(&self, payload: &[u8], signature: &[u8]) -> bool {
        self.0.iter().any(|key| UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key).verify(payload, signature).is_ok())
    }
}

/// Why an image does not count as signed; the further a signature came, the later in this list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Unsigned {
    #[error("it is not signed: its repository has no {0}, and no bundle refers to it")]
    Missing(String),
    #[error("its signature cannot be understood: {0}")]
    Broken(&'static str),
    #[error("it is signed, but with no key that this machine trusts")]
    OtherKey,
    #[error("its signature is that of another image, {0}")]
    OtherImage(String),
}

/// Where cosign puts the signatures of a manifest.
pub fn tag(digest: &Digest) -> String {
    format!("sha256-{}.sig", digest.hex())
}

/// The manifest at that tag: each layer is a statement, with its signature as an annotation.
#[derive(Deserialize)]
pub struct Signatures {
    #[serde(default)]
    pub layers: Vec<Statement>,
}

#[derive(Deserialize)]
pub struct Statement {
    pub digest: Digest,
    #[serde(default)]
    annotations: Annotations,
}

#[derive(Default, Deserialize)]
struct Annotations {
    #[serde(rename = "dev.cosignproject.cosign/signature")]
    signature: Option<String>,
}

/// "Simple signing", as Red Hat described it.
#[derive(Deserialize)]
struct Payload {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    image: SignedImage,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct SignedImage {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

const KIND: &str = "cosign container image signature";

/// Reads the manifest at the tag.
///
/// # Errors
/// If it is not JSON of the expected form.
pub fn parse(manifest: &[u8]) -> Result<Signatures, Unsigned> {
    serde_json::from_slice(manifest).map_err(|_| Unsigned::Broken("its manifest is not JSON of the expected form"))
}

impl Statement {
    /// Whether this payload is signed with one of the keys and is about the digest. The payload is parsed only after its
    /// signature has been verified.
    pub fn check(&self, payload: &[u8], digest: &Digest, keys: &Keys) -> Result<(), Unsigned> {
        let signature = self.annotations.signature.as_deref().ok_or(Unsigned::Broken("it has no signature annotation"))?;
        let signature = STANDARD.decode(signature.trim()).map_err(|_| Unsigned::Broken("it is not base64"))?;
        if Digest::of(payload) != self.digest {
            return Err(Unsigned::Broken("what is signed is not what its digest says"));
        }
        if !keys.made(payload, &signature) {
            return Err(Unsigned::OtherKey);
        }
        says(payload, digest)
    }
}

/// Whether a payload, whose signature is good, is about this digest.
pub fn says(payload: &[u8], digest: &Digest) -> Result<(), Unsigned> {
    let payload: Payload =
        serde_json::from_slice(payload).map_err(|_| Unsigned::Broken("what is signed is not JSON of the expected form"))?;
    if payload.critical.kind != KIND {
        return Err(Unsigned::Broken("what is signed is not about a container image"));
    }
    if payload.critical.image.digest == digest.to_string() {
        return Ok(());
    }
    let printable: String = payload.critical.image.digest.chars().filter(char::is_ascii_graphic).take(80).collect();
    Err(Unsigned::OtherImage(printable))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_cosign_and_no_others() {
        // `openssl ecparam -name prime256v1 -genkey | openssl ec -pubout`, the same on secp384r1 and with RSA.
        let pem = |body: &str| format!("# a comment\n{BEGIN}\n{body}\n{END}\n");
        let point = [&SPKI[..], &[4; 65]].concat();
        let other_curve = [&[0x30, 0x76][..], &SPKI[2..], &[4; 96]].concat();
        for (case, text, want) in [
            ("a key", pem(&STANDARD.encode(&point)), Ok(())),
            ("lines that a Windows machine ended", pem(&STANDARD.encode(&point)).replace('\n', "\r\n"), Ok(())),
            ("a compressed point", pem(&STANDARD.encode([&SPKI[..], &[2; 33]].concat())), Err(BadKey::Kind)),
            ("another curve", pem(&STANDARD.encode(other_curve)), Err(BadKey::Kind)),
            ("no base64", pem("?"), Err(BadKey::Pem)),
            ("the private key", "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n".into(), Err(BadKey::Pem)),
            ("nothing", String::new(), Err(BadKey::Pem)),
        ] {
            assert_eq!(Keys::default().add(&text), want, "{case}");
        }
    }

    /// `openssl dgst -sha256 -sign` over a payload as cosign writes it.
    #[test]
    fn a_signature_that_another_program_made_is_understood() {
        const PEM: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEqN0eLqk/iZmdOa+uYdxiXEjLU+4Q
CL/L9fgYjEpYTWkSF26yh33/tVgTib+xXtG6APetJVlCZDYBtk4DJuGT0A==
-----END PUBLIC KEY-----
";
        const DIGEST: &str = "sha256:87d8a8407af57efc26799b93ac547d2967d7bcb844b980acd4675ecf72601f2c";
        let payload = format!(
            r#"{{"critical":{{"identity":{{"docker-reference":"registry.example/tool"}},"image":{{"docker-manifest-digest":"{DIGEST}"}},"type":"cosign container image signature"}},"optional":null}}"#
        );
        let manifest = r#"{"layers":[{"digest":"sha256:0d59f12ce75fc38247182cbe1677ee85d18df3ae1310c78d212e416da9f60709",
            "annotations":{"dev.cosignproject.cosign/signature":"MEQCID42nveMdoRp4qtLSCpWMnp5JV6K94oUHw3NXU2cWF9MAiAqjFxAyvxkNCDX6Z5/oCE9A7PXb0p8AVK+2kE+/SKE2w=="}}]}"#;
        let mut keys = Keys::default();
        assert_eq!(keys.add(PEM), Ok(()));
        let checked = |payload: &str, of: &Digest| {
            let signatures = parse(manifest.as_bytes()).ok()?;
            signatures.layers.first().map(|statement| statement.check(payload.as_bytes(), of, &keys))
        };
        let digest = DIGEST.parse();
        assert_eq!(digest.as_ref().ok().and_then(|digest| checked(&payload, digest)), Some(Ok(())));
        let other = Digest::of(b"other");
        assert_eq!(checked(&payload, &other), Some(Err(Unsigned::OtherImage(DIGEST.to_owned()))));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, text in "\\PC{0,60}") {
            let _ = (parse(&bytes), Keys::default().add(&text), Keys::default().add(&format!("{BEGIN}{text}{END}")));
            let statement = Statement { digest: Digest::of(&bytes), annotations: Annotations { signature: Some(text) } };
            assert!(statement.check(&bytes, &Digest::of(b""), &Keys::default()).is_err());
        }
    }
}
