//! Certificates in files as people keep them: PEM between comments and other blocks, with any line ends, or one in DER.

use std::borrow::Cow;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::x509;

/// More than any distribution trusts.
const MOST: usize = 2000;
const BEGIN: &str = "-----BEGIN ";
const DASHES: &str = "-----";

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPem {
    #[error("certificate number {0} does not end: -----END CERTIFICATE----- is missing")]
    Unfinished(usize),
    #[error("certificate number {0} is not base64 of a certificate")]
    Broken(usize),
    #[error("it has more than {MOST} certificates")]
    TooMany,
}

/// Every certificate of the text, in its order. Keys, lists of revocations and whatever stands between are skipped.
///
/// # Errors
/// If a certificate has no end or no content.
pub fn certificates(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, BadPem> {
    if let Some(der) = x509::whole(bytes) {
        return Ok(vec![CertificateDer::from(der.to_vec())]);
    }
    let text = text(bytes);
    let (mut rest, mut found) = (text.as_ref(), Vec::new());
    while let Some((_, after)) = rest.split_once(BEGIN) {
        let Some((label, body)) = after.split_once(DASHES) else { break };
        let number = found.len() + 1;
        // "TRUSTED CERTIFICATE" is OpenSSL's, with its own notes behind the certificate.
        if !matches!(label, "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE") {
            rest = body;
            continue;
        }
        let (inside, after) = body.split_once(&format!("-----END {label}-----")).ok_or(BadPem::Unfinished(number))?;
        if inside.contains(BEGIN) {
            return Err(BadPem::Unfinished(number));
        }
        if number > MOST {
            return Err(BadPem::TooMany);
        }
        found.push(decode(inside).ok_or(BadPem::Broken(number))?);
        rest = after;
    }
    Ok(found)
}

/// The base64 between the lines, whatever its lines look like.
fn decode(inside: &str) -> Option<CertificateDer<'static>> {
    let body: String = inside.split_whitespace().collect();
    let strict = format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n");
    let der = CertificateDer::from_pem_slice(strict.as_bytes()).ok()?;
    x509::first(&der).map(|certificate| CertificateDer::from(certificate.to_vec()))
}

/// PowerShell writes UTF-16 with a byte order mark.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    let wide = |read: fn([u8; 2]) -> u16| {
        let units = bytes.chunks_exact(2).filter_map(|pair| pair.try_into().ok()).map(read);
        Cow::Owned(char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect())
    };
    match bytes {
        [0xff, 0xfe, ..] => wide(u16::from_le_bytes),
        [0xfe, 0xff, ..] => wide(u16::from_be_bytes),
        _ => String::from_utf8_lossy(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The outermost element of a certificate. Its content is not examined here.
    const DER: [u8; 6] = [0x30, 0x04, 0x30, 0x00, 0x05, 0x00];
    const BODY: &str = "MAQwAAUA";

    fn block(label: &str) -> String {
        format!("-----BEGIN {label}-----\n{BODY}\n-----END {label}-----\n")
    }

    fn count(bytes: &[u8]) -> Result<usize, BadPem> {
        certificates(bytes).map(|found| found.iter().inspect(|der| assert_eq!(der.as_ref(), DER)).count())
    }

    #[test]
    fn a_bundle_is_read_as_people_keep_it() {
        let one = block("CERTIFICATE");
        let noted = format!("-----BEGIN TRUSTED CERTIFICATE-----\nMAQwAAUAMAA=\n{}", "-----END TRUSTED CERTIFICATE-----");
        for (case, text, want) in [
            ("one", one.clone(), 1),
            ("two, the first without a line end", format!("{}{one}", one.trim_end()), 2),
            ("comments of `openssl x509 -text`", format!("# root\nCertificate:\n    Data: -----\n{one}\n# end"), 1),
            ("lines of Windows", one.replace('\n', "\r\n"), 1),
            ("lines of an old Mac", one.replace('\n', "\r"), 1),
            ("a byte order mark, also in the middle", format!("\u{feff}{one}\u{feff}{one}"), 2),
            ("blank lines", one.replace('\n', "\n\n \n"), 1),
            ("indented, as in YAML", one.replace('\n', "\n    "), 1),
            ("short lines", one.replace("MAQw", "MAQw\n"), 1),
            (
                "a key and a list of revocations",
                [&block("PRIVATE KEY"), &one, &block("X509 CRL"), &one].map(String::as_str).concat(),
                2,
            ),
            ("OpenSSL's other names", block("X509 CERTIFICATE") + &noted, 2),
            ("nothing", String::new(), 0),
            ("a page", "<html>".into(), 0),
            ("a key only", block("EC PRIVATE KEY"), 0),
        ] {
            assert_eq!(count(text.as_bytes()), Ok(want), "{case}");
        }
        assert_eq!(count(&DER), Ok(1), "DER");
        for endian in [u16::to_le_bytes, u16::to_be_bytes] {
            let wide: Vec<u8> = format!("\u{feff}{one}").encode_utf16().flat_map(endian).collect();
            assert_eq!(count(&wide), Ok(1), "UTF-16");
        }
    }

    #[test]
    fn a_broken_certificate_is_named_by_its_number() {
        let one = block("CERTIFICATE");
        for (text, want) in [
            (format!("{one}-----BEGIN CERTIFICATE-----\nMAQw"), BadPem::Unfinished(2)),
            (format!("-----BEGIN CERTIFICATE-----\nMAQw\n{one}"), BadPem::Unfinished(1)),
            (one.replace("MAQw", "MA?w"), BadPem::Broken(1)),
            (one.replace(BODY, ""), BadPem::Broken(1)),
            (one.repeat(MOST + 1), BadPem::TooMany),
        ] {
            assert_eq!(count(text.as_bytes()), Err(want));
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, text in "\\PC{0,40}") {
            let _ = (certificates(&bytes), certificates(format!("{BEGIN}{text}").as_bytes()));
            let _ = certificates(format!("-----BEGIN CERTIFICATE-----{text}-----END CERTIFICATE-----").as_bytes());
        }
    }
}
