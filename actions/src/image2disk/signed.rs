//! The signature of a list of checksums, by a key that the operator gives.
//!
//! A list is small, so its whole text is at hand when the signature is checked, before anything is erased. The list has the
//! hash of the image, which is checked while it streams. Ed25519 signs a whole message, so the signature of an image of some GB
//! could only be checked after it was written.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::signature::{ECDSA_P256_SHA256_ASN1, ED25519, UnparsedPublicKey, VerificationAlgorithm};
use std::fmt;

const BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const END: &str = "-----END PUBLIC KEY-----";
/// What is in front of the key in its SubjectPublicKeyInfo (RFC 8410 and RFC 5480).
const ED25519_INFO: &[u8] = &[0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];
const P256_INFO: &[u8] =
    &[0x30, 0x59, 0x30, 0x13, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7, 3, 0x42, 0];
const ED25519_KEY: usize = 32;
const P256_KEY: usize = 65;

#[derive(Clone)]
pub struct Key {
    algorithm: &'static dyn VerificationAlgorithm,
    point: Vec<u8>,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

impl Key {
    /// A public key in PEM, of Ed25519 or of ECDSA on P-256, as `openssl pkey -pubout` and `cosign generate-key-pair` write it.
    pub fn parse(pem: &str) -> Option<Self> {
        let body = pem.split_once(BEGIN)?.1.split_once(END)?.0;
        let body: String = body.chars().filter(|c| !c.is_whitespace()).collect();
        let info = BASE64_STANDARD.decode(body).ok()?;
        let of = |start: &[u8], length: usize, algorithm| {
            let point = info.strip_prefix(start).filter(|point| point.len() == length)?;
            Some(Self { algorithm, point: point.to_vec() })
        };
        of(ED25519_INFO, ED25519_KEY, &ED25519).or_else(|| of(P256_INFO, P256_KEY, &ECDSA_P256_SHA256_ASN1))
    }

    /// A signature is in bytes, as of openssl, or in base64, as of cosign.
    pub fn made(&self, signature: &[u8], message: &[u8]) -> bool {
        let key = UnparsedPublicKey::new(self.algorithm, &self.point);
        let text: Vec<u8> = signature.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let decoded = BASE64_STANDARD.decode(text).unwrap_or_default();
        key.verify(message, signature).is_ok() || key.verify(message, &decoded).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_signature_of_openssl_is_for_one_message_and_of_one_key() {
        let folder = tempfile::tempdir().unwrap();
        let openssl = |arguments: &str| {
            let output = Command::new("openssl").args(arguments.split(' ')).current_dir(folder.path()).output().unwrap();
            assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
        };
        std::fs::write(folder.path().join("list"), "abc  disk.img\n").unwrap();
        let mut keys = Vec::new();
        for (name, make, sign) in [
            ("ed", "genpkey -algorithm ed25519 -out ed", "pkeyutl -sign -rawin -inkey ed -in list -out ed.sig"),
            ("ec", "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ec", "dgst -sha256 -sign ec -out ec.sig list"),
        ] {
            openssl(make);
            openssl(&format!("pkey -in {name} -pubout -out {name}.pub"));
            openssl(sign);
            let key = Key::parse(&std::fs::read_to_string(folder.path().join(format!("{name}.pub"))).unwrap()).unwrap();
            let signature = std::fs::read(folder.path().join(format!("{name}.sig"))).unwrap();
            let text = format!("{}\n", BASE64_STANDARD.encode(&signature));
            assert!(key.made(&signature, b"abc  disk.img\n") && key.made(text.as_bytes(), b"abc  disk.img\n"), "{name}");
            assert!(!key.made(&signature, b"abd  disk.img\n"), "{name}: another list");
            assert!(!key.made(b"", b"abc  disk.img\n"), "{name}: no signature");
            keys.push((key, signature));
        }
        assert!(!keys[0].0.made(&keys[1].1, b"abc  disk.img\n"), "another key");
    }

    #[test]
    fn what_is_not_such_a_key_is_refused() {
        for pem in ["", "MCowBQYDK2VwAyEA", "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----"] {
            assert!(Key::parse(pem).is_none(), "{pem}");
        }
    }
}
