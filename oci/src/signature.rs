//! Signatures of `cosign sign --key` before version 3: trusted keys, and the content of a signed payload. Pure.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use serde::Deserialize;

use crate::digest::Digest;
use crate::reference::{Reference, Version, canonical};

/// Public keys, any of which is enough, and the rules for their signatures.
#[derive(Debug, Clone, Default)]
pub struct Keys {
    points: Vec<Vec<u8>>,
    names: Names,
}

/// Whether a signature must name the image. A digest in the reference identifies the content. So the name is only compared
/// if the image is named by tag: otherwise an older image, or another one, could be served under that name.
#[derive(Debug, Clone, Default)]
pub struct Names {
    pub rule: NameRule,
    /// For copies of images under other names: the start of a name here, and the start of the signed name.
    pub signed_as: Vec<(String, String)>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NameRule {
    /// A name in a signature is compared. Bundles of cosign 3 have none, and are valid for any name.
    #[default]
    IfNamed,
    /// A signature without a name is refused.
    Always,
    Never,
}

impl Names {
    /// Checks whether a signature with the name `signed` is valid for this image.
    ///
    /// # Errors
    /// If it is for another name, or has none although one is required.
    pub fn check(&self, image: &Reference, digest: &Digest, signed: Option<&str>) -> Result<(), Unsigned> {
        let Version::Tag(tag) = &image.version else { return Ok(()) };
        let signed = match signed.filter(|signed| !signed.trim().is_empty()) {
            _ if self.rule == NameRule::Never => return Ok(()),
            None if self.rule == NameRule::IfNamed => return Ok(()),
            None => return Err(Unsigned::Nameless),
            Some(signed) => signed.trim(),
        };
        let other = || Unsigned::OtherName { signed: printable(signed), wanted: image.to_string() };
        let named: Reference = signed.parse().map_err(|_| other())?;
        let version = match &named.version {
            Version::Digest(named) => named == digest,
            Version::Tag(named) => named == tag || !signed.rsplit('/').next().unwrap_or(signed).contains(':'),
        };
        let here = format!("{}/{}", image.registry, image.repository);
        let there = format!("{}/{}", named.registry, named.repository);
        let copied = self.signed_as.iter().filter_map(|(copy, original)| {
            let rest = here.strip_prefix(&name(copy)).filter(|rest| rest.is_empty() || rest.starts_with('/'))?;
            Some(format!("{}{rest}", name(original)))
        });
        let known = std::iter::once(here.clone()).chain(copied).any(|name| name == there);
        if known && version { Ok(()) } else { Err(other()) }
    }
}

/// A name, or the start of one, with the registry in the form of references.
fn name(text: &str) -> String {
    let text = text.trim_end_matches('/');
    let (registry, rest) = text.split_once('/').map_or((text, None), |(registry, rest)| (registry, Some(rest)));
    rest.map_or_else(|| canonical(registry), |rest| format!("{}/{rest}", canonical(registry)))
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    #[error("not a public key in PEM: expected -----BEGIN PUBLIC KEY-----")]
    Pem,
    #[error("not an ECDSA key on the curve P-256, which `cosign generate-key-pair` makes")]
    Kind,
}

const BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const END: &str = "-----END PUBLIC KEY-----";
/// SubjectPublicKeyInfo of a point on P-256, without the point (RFC 5480).
const SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03,
    0x01, 0x07, 0x03, 0x42, 0x00,
];
const POINT: usize = 65;

impl Keys {
    /// Adds a key in PEM form.
    ///
    /// # Errors
    /// If it is not a public ECDSA key on P-256.
    pub fn add(&mut self, pem: &str) -> Result<(), BadKey> {
        let body = pem.split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END)).ok_or(BadKey::Pem)?.0;
        let body: String = body.split_whitespace().collect();
        let der = STANDARD.decode(body).map_err(|_| BadKey::Pem)?;
        let point = der.strip_prefix(&SPKI).filter(|point| point.len() == POINT && point.starts_with(&[4]));
        self.points.push(point.ok_or(BadKey::Kind)?.to_vec());
        Ok(())
    }

    /// The same keys with a rule for names.
    pub fn naming(self, names: Names) -> Self {
        Self { names, ..self }
    }

    pub fn names(&self) -> &Names {
        &self.names
    }

    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// Whether one of the keys made this signature of the payload.
    pub fn made(&self, payload: &[u8], signature: &[u8]) -> bool {
        self.points.iter().any(|key| UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key).verify(payload, signature).is_ok())
    }
}

/// Why an image does not count as signed. The later in this list, the further the check got.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Unsigned {
    #[error("it is not signed: its repository has no {0}, and no bundle refers to it")]
    Missing(String),
    #[error("its signature is not valid: {0}")]
    Broken(&'static str),
    #[error("it is signed, but not with a key that this machine trusts")]
    OtherKey,
    #[error("its signature is for another image, {0}")]
    OtherImage(String),
    #[error("its signature does not name an image, which this machine requires (signedName: always): name the image by digest")]
    Nameless,
    #[error(
        "its signature is for {signed}, and the image is {wanted}: sign it under this name, or name it by digest; if it is a copy, \
         add it to signedAs in the policy"
    )]
    OtherName { signed: String, wanted: String },
}

/// cosign's tag for the signatures of a manifest.
pub fn tag(digest: &Digest) -> String {
    format!("sha256-{}.sig", digest.hex())
}

/// The manifest at that tag. Each layer is a statement, and an annotation has its signature.
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

/// The "simple signing" format of Red Hat.
#[derive(Deserialize)]
struct Payload {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    #[serde(default)]
    identity: Identity,
    image: SignedImage,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Default, Deserialize)]
struct Identity {
    #[serde(rename = "docker-reference")]
    reference: Option<String>,
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
    /// Checks whether this payload is signed with one of the keys and names the image's digest. The payload is parsed only
    /// after its signature was verified.
    pub fn check(&self, payload: &[u8], (image, digest): (&Reference, &Digest), keys: &Keys) -> Result<(), Unsigned> {
        let signature = self.annotations.signature.as_deref().ok_or(Unsigned::Broken("it has no signature annotation"))?;
        let signature = STANDARD.decode(signature.trim()).map_err(|_| Unsigned::Broken("it is not base64"))?;
        if Digest::of(payload) != self.digest {
            return Err(Unsigned::Broken("the signed payload does not match its digest"));
        }
        if !keys.made(payload, &signature) {
            return Err(Unsigned::OtherKey);
        }
        says(payload, (image, digest), keys.names())
    }
}

/// Checks whether a payload with a valid signature is about this image.
pub fn says(payload: &[u8], (image, digest): (&Reference, &Digest), names: &Names) -> Result<(), Unsigned> {
    let payload: Payload =
        serde_json::from_slice(payload).map_err(|_| Unsigned::Broken("the signed payload is not JSON of the expected form"))?;
    if payload.critical.kind != KIND {
        return Err(Unsigned::Broken("the signed payload is not about a container image"));
    }
    if payload.critical.image.digest != digest.to_string() {
        return Err(Unsigned::OtherImage(printable(&payload.critical.image.digest)));
    }
    names.check(image, digest, payload.critical.identity.reference.as_deref())
}

/// Makes a text short and harmless for a log.
fn printable(text: &str) -> String {
    text.chars().filter(char::is_ascii_graphic).take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_of_cosigns_kind_are_accepted() {
        // `openssl ecparam -name prime256v1 -genkey | openssl ec -pubout`, the same on secp384r1 and with RSA.
        let pem = |body: &str| format!("# a comment\n{BEGIN}\n{body}\n{END}\n");
        let point = [&SPKI[..], &[4; 65]].concat();
        let other_curve = [&[0x30, 0x76][..], &SPKI[2..], &[4; 96]].concat();
        for (case, text, want) in [
            ("a key", pem(&STANDARD.encode(&point)), Ok(())),
            ("lines with Windows line ends", pem(&STANDARD.encode(&point)).replace('\n', "\r\n"), Ok(())),
            ("a compressed point", pem(&STANDARD.encode([&SPKI[..], &[2; 33]].concat())), Err(BadKey::Kind)),
            ("another curve", pem(&STANDARD.encode(other_curve)), Err(BadKey::Kind)),
            ("no base64", pem("?"), Err(BadKey::Pem)),
            ("the private key", "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n".into(), Err(BadKey::Pem)),
            ("nothing", String::new(), Err(BadKey::Pem)),
        ] {
            assert_eq!(Keys::default().add(&text), want, "{case}");
        }
    }

    /// Made with `openssl dgst -sha256 -sign` over a payload in cosign's format.
    #[test]
    fn a_signature_from_another_program_is_accepted() {
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
            let image: Reference = "registry.example/tool:1".parse().ok()?;
            signatures.layers.first().map(|statement| statement.check(payload.as_bytes(), (&image, of), &keys))
        };
        let digest = DIGEST.parse();
        assert_eq!(digest.as_ref().ok().and_then(|digest| checked(&payload, digest)), Some(Ok(())));
        let other = Digest::of(b"other");
        assert_eq!(checked(&payload, &other), Some(Err(Unsigned::OtherImage(DIGEST.to_owned()))));
    }

    #[test]
    fn a_signature_is_valid_for_the_name_that_it_was_made_for() {
        use NameRule::{Always, IfNamed, Never};
        let digest = Digest::of(b"image");
        let pinned = format!("mirror.lab/t/tool@{digest}");
        let signed_as =
            [("mirror.lab/t", "ghcr.io/org"), ("mirror.lab/hub/", "docker.io"), ("other.lab", "index.docker.io/library")];
        let signed_as: Vec<_> = signed_as.iter().map(|(copy, original)| ((*copy).to_owned(), (*original).to_owned())).collect();
        for (rule, image, signed, good) in [
            (IfNamed, "r.lab/tool:1", Some("r.lab/tool"), true),
            (IfNamed, "r.lab/tool:1", Some("r.lab/tool:1"), true),
            (IfNamed, "r.lab/tool:2", Some("r.lab/tool:1"), false), // an older tag
            (IfNamed, "r.lab/tool", Some("r.lab/tool:latest"), true),
            (IfNamed, "r.lab/tool:1", Some("r.lab/tool-debug"), false),
            (IfNamed, "r.lab/tool:1", Some("r.lab/t/tool"), false),
            (IfNamed, "r.lab:5000/tool:1", Some("r.lab/tool"), false),
            (IfNamed, "r.lab:5000/tool:1", Some("r.lab:5000/tool"), true),
            (IfNamed, "busybox", Some("index.docker.io/library/busybox"), true),
            (IfNamed, "r.lab/tool:1", Some("no name!"), false),
            (IfNamed, "r.lab/tool:1", None, true),
            (IfNamed, "r.lab/tool:1", Some(" "), true),
            (Always, "r.lab/tool:1", None, false),
            (Always, "r.lab/tool:1", Some("r.lab/tool"), true),
            (Never, "r.lab/tool:1", Some("r.lab/else"), true),
            (Always, pinned.as_str(), None, true),
            (Always, pinned.as_str(), Some("r.lab/else"), true), // the digest is enough
            (IfNamed, "mirror.lab/t/tool:1", Some("ghcr.io/org/tool"), true),
            (IfNamed, "mirror.lab/t/tool:1", Some("mirror.lab/t/tool"), true), // the copy itself was signed
            (IfNamed, "mirror.lab/tools/tool:1", Some("ghcr.io/orgools/tool"), false),
            (IfNamed, "mirror.lab/t/tool:1", Some("ghcr.io/org/else"), false),
            (IfNamed, "mirror.lab/hub/library/busybox:1", Some("index.docker.io/library/busybox"), true),
            (IfNamed, "other.lab/busybox:1", Some("docker.io/library/busybox"), true),
        ] {
            let names = Names { rule, signed_as: signed_as.clone() };
            let checked = names.check(&image.parse().unwrap(), &digest, signed);
            assert_eq!(checked.is_ok(), good, "{rule:?} {image} {signed:?}: {checked:?}");
        }
        let other = Digest::of(b"other");
        let signed = format!("r.lab/tool@{digest}");
        for (digest, good) in [(&digest, true), (&other, false)] {
            assert_eq!(Names::default().check(&"r.lab/tool:1".parse().unwrap(), digest, Some(&signed)).is_ok(), good);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, text in "\\PC{0,60}") {
            let _ = Names::default().check(&"a".parse().unwrap(), &Digest::of(b""), Some(&text));
            let _ = (parse(&bytes), Keys::default().add(&text), Keys::default().add(&format!("{BEGIN}{text}{END}")));
            let statement = Statement { digest: Digest::of(&bytes), annotations: Annotations { signature: Some(text) } };
            let image = "a".parse().unwrap();
            assert!(statement.check(&bytes, (&image, &Digest::of(b"")), &Keys::default()).is_err());
        }
    }
}
