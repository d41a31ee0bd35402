//! Certificates from files and from servers are read or refused, and an unknown one is never taken for a configured one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;
use trust::rustls::client::danger::ServerCertVerifier;
use trust::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use trust::x509::Certificate;
use trust::{Verifier, pem};

static NOBODY: LazyLock<Verifier> = LazyLock::new(|| Verifier::new(&[]));

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, rest)) = bytes.split_first() else { return };
    match kind % 3 {
        0 => file(rest),
        1 => {
            file(format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----", String::from_utf8_lossy(rest)).as_bytes())
        }
        _ => presented(rest),
    }
});

fn file(bytes: &[u8]) {
    for certificate in pem::certificates(bytes).unwrap_or_default() {
        presented(&certificate);
    }
}

fn presented(der: &[u8]) {
    let certificate = CertificateDer::from(der.to_vec());
    for name in ["registry.example", "10.0.0.1", "fd00::1"] {
        let server = ServerName::try_from(name).unwrap();
        assert!(NOBODY.verify_server_cert(&certificate, &[], &server, &[], UnixTime::now()).is_err(), "no authority signed it");
        let configured = Verifier::new(std::slice::from_ref(&certificate));
        let accepted = configured.verify_server_cert(&certificate, &[], &server, &[], UnixTime::now()).is_ok();
        let read = Certificate::parse(der);
        assert!(
            !accepted || read.is_some_and(|read| read.is_for(&server)),
            "an accepted certificate must match the name and the dates"
        );
    }
}
