//! Certificates that openssl has made, as the guides of Docker, Harbor and the field describe, and which of them are trusted.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConnection, ServerConfig, ServerConnection, SupportedProtocolVersion};
use trust::{Trust, Verifier, of_certificate, words};

const EC: &str = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
const NAMES: &str = "subjectAltName=DNS:registry.example,DNS:*.wild.example,IP:10.0.0.1,IP:fd00::1";

/// A folder in which openssl works.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn openssl(&self, words: &str) -> String {
        let mut command = Command::new("openssl");
        let output = command.args(words.split(' ')).current_dir(self.0.path()).output().expect("apt-get install openssl");
        assert!(output.status.success(), "openssl {words}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// `NAME.pem` and `NAME.key`, signed by itself.
    fn self_signed(&self, name: &str, words: &str) {
        self.openssl(&format!("req -x509 {EC} -keyout {name}.key -out {name}.pem -days 9 {words}"));
    }

    /// `NAME.pem` and `NAME.key`, signed by `issuer`.
    fn issued(&self, name: &str, issuer: &str, extensions: &str) {
        std::fs::write(self.file("extensions"), extensions.replace('|', "\n")).unwrap();
        self.openssl(&format!("req {EC} -keyout {name}.key -out {name}.csr -subj /CN={name}"));
        let by = format!("-CA {issuer}.pem -CAkey {issuer}.key -CAcreateserial");
        self.openssl(&format!("x509 -req -in {name}.csr {by} -days 9 -extfile extensions -out {name}.pem"));
    }

    /// Without any extension: version 1.
    fn version_1(&self, name: &str, subject: &str) {
        self.openssl(&format!("req {EC} -keyout {name}.key -out {name}.csr -subj {subject}"));
        self.openssl(&format!("x509 -req -in {name}.csr -signkey {name}.key -days 9 -out {name}.pem"));
        if !self.openssl(&format!("x509 -in {name}.pem -noout -text")).contains("Version: 1 ") {
            self.openssl(&format!("req -x509 -x509v1 -key {name}.key -days 9 -subj {subject} -out {name}.pem"));
        }
        assert!(self.openssl(&format!("x509 -in {name}.pem -noout -text")).contains("Version: 1 "));
    }

    fn chain(&self, names: &[&str]) -> Vec<CertificateDer<'static>> {
        names.iter().flat_map(|name| trust::certificates(&self.file(&format!("{name}.pem"))).unwrap()).collect()
    }

    /// A handshake in memory: what a client that was given `configured` says of a server with `chain`.
    fn meets(&self, configured: &[&str], chain: &[&str], server: &str) -> Result<(), String> {
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let trust = Trust { extra: self.chain(configured), ..Trust::default() };
            self.handshake(&trust, chain, server, version)?;
        }
        Ok(())
    }

    fn handshake(
        &self,
        trust: &Trust,
        chain: &[&str],
        server: &str,
        version: &'static SupportedProtocolVersion,
    ) -> Result<(), String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::from_pem_file(self.file(&format!("{}.key", chain[0]))).unwrap();
        let presented =
            Presented(Arc::new(CertifiedKey::new(self.chain(chain), provider.key_provider.load_private_key(key).unwrap())));
        let config = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
        let config = config.with_no_client_auth().with_cert_resolver(Arc::new(presented));
        let mut there = ServerConnection::new(Arc::new(config)).unwrap();
        let name = ServerName::try_from(server.to_owned()).unwrap();
        let mut here = ClientConnection::new(Arc::new(trust.client_config().unwrap()), name).unwrap();
        let said = |error: rustls::Error| of_certificate(&error).map_or_else(|| error.to_string(), |problem| words(&problem));
        while here.is_handshaking() || there.is_handshaking() {
            let mut wire = Vec::new();
            here.write_tls(&mut wire).unwrap();
            there.read_tls(&mut wire.as_slice()).unwrap();
            there.process_new_packets().map_err(|error| format!("the server says: {error}"))?;
            let mut wire = Vec::new();
            there.write_tls(&mut wire).unwrap();
            let mut wire = wire.as_slice();
            while !wire.is_empty() {
                here.read_tls(&mut wire).unwrap();
                here.process_new_packets().map_err(said)?;
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Presented(Arc<CertifiedKey>);

impl ResolvesServerCert for Presented {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

#[test]
fn a_certificate_that_was_configured_is_accepted_whatever_its_extensions() {
    let desk = Desk::new();
    let plain = format!("-subj /CN=registry.example -addext {NAMES}");
    for (case, words) in [
        ("as Docker's guide makes it, CA:TRUE", String::new()),
        ("CA:FALSE", "-addext basicConstraints=critical,CA:FALSE".into()),
        ("no key usage of a server", "-addext keyUsage=critical,cRLSign".into()),
        ("a key usage of an authority only", "-addext keyUsage=critical,keyCertSign,cRLSign".into()),
        ("for clients", "-addext extendedKeyUsage=clientAuth".into()),
        ("for servers", "-addext extendedKeyUsage=serverAuth".into()),
        ("a critical extension that is unknown here", "-addext 1.2.3.4=critical,ASN1:UTF8String:x".into()),
        ("an authority that limits others", "-addext nameConstraints=critical,permitted;DNS:other.example".into()),
        ("the digest of old guides", "-sha1".into()),
    ] {
        desk.self_signed("self", format!("{plain} {words}").trim_end());
        for server in ["registry.example", "a.wild.example", "10.0.0.1", "fd00::1"] {
            assert_eq!(desk.meets(&["self"], &["self"], server), Ok(()), "{case}: {server}");
        }
        let other = desk.meets(&["self"], &["self"], "other.example").unwrap_err();
        assert!(other.contains("and not for other.example"), "{case}: {other}");
        let other = desk.meets(&["self"], &["self"], "10.0.0.2").unwrap_err();
        assert!(other.contains("needs IP:10.0.0.2"), "{case}: {other}");
    }
}

#[test]
fn every_kind_of_key_that_tls_knows_is_accepted_and_a_short_one_is_named() {
    let desk = Desk::new();
    for kind in ["rsa:2048", "ec -pkeyopt ec_paramgen_curve:secp384r1", "ed25519"] {
        desk.openssl(&format!(
            "req -x509 -newkey {kind} -nodes -keyout key.key -out key.pem -days 9 -subj /CN=registry.example -addext {NAMES}"
        ));
        assert_eq!(desk.meets(&["key"], &["key"], "registry.example"), Ok(()), "{kind}");
    }
    desk.openssl(&format!("req -x509 -newkey rsa:1024 -nodes -keyout key.key -out key.pem -days 9 -subj /CN=x -addext {NAMES}"));
    let short = Verifier::new(&desk.chain(&["key"])).verify_server_cert(
        &desk.chain(&["key"])[0],
        &[],
        &ServerName::try_from("registry.example").unwrap(),
        &[],
        UnixTime::now(),
    );
    assert!(words(&of_certificate(&short.unwrap_err()).unwrap()).contains("has 1024 bits"));
}

#[test]
fn a_certificate_of_version_1_is_known_by_its_common_name() {
    let desk = Desk::new();
    desk.version_1("old", "/O=lab/CN=registry.example");
    assert_eq!(desk.meets(&["old"], &["old"], "registry.example"), Ok(()));
    let other = desk.meets(&["old"], &["old"], "other.example").unwrap_err();
    assert_eq!(other, "it is for CN=registry.example and not for other.example; its subjectAltName needs DNS:other.example");
    desk.version_1("address", "/CN=10.0.0.1");
    assert_eq!(desk.meets(&["address"], &["address"], "10.0.0.1"), Ok(()));
    assert!(desk.meets(&["address"], &["address"], "10.0.0.2").is_err());
    desk.self_signed("mail", "-subj /CN=registry.example -addext subjectAltName=email:root@lab.example");
    assert_eq!(desk.meets(&["mail"], &["mail"], "registry.example"), Ok(()), "no server's name beside the common name");
    // Beside a subjectAltName the common name does not count.
    desk.self_signed("both", "-subj /CN=registry.example -addext subjectAltName=DNS:other.example");
    assert!(desk.meets(&["both"], &["both"], "registry.example").is_err());
}

#[test]
fn a_stranger_is_refused_whatever_the_certificate_says() {
    let desk = Desk::new();
    let words = format!("-subj /CN=registry.example -addext {NAMES}");
    for (ours, theirs) in [("", ""), (" -addext basicConstraints=CA:FALSE", ""), ("", " -addext basicConstraints=CA:FALSE")] {
        desk.self_signed("ours", &format!("{words}{ours}"));
        desk.self_signed("theirs", &format!("{words}{theirs}"));
        for configured in [&["ours"][..], &[]] {
            let said = desk.meets(configured, &["theirs"], "registry.example").unwrap_err();
            assert_eq!(said, "it is self-signed and is not one of the certificates that this machine was given");
        }
        // Our certificate with their key.
        std::fs::rename(desk.file("theirs.key"), desk.file("ours.key")).unwrap();
        assert!(desk.meets(&["ours"], &["ours"], "registry.example").is_err());
    }
    desk.version_1("ours", "/CN=registry.example");
    desk.version_1("theirs", "/CN=registry.example");
    assert!(desk.meets(&["ours"], &["theirs"], "registry.example").is_err());
}

#[test]
fn an_authority_signs_for_others_and_a_servers_own_certificate_does_not() {
    let desk = Desk::new();
    let leaf = format!("{NAMES}|basicConstraints=CA:FALSE|extendedKeyUsage=serverAuth");
    let authority = "basicConstraints=critical,CA:TRUE|keyUsage=critical,keyCertSign,cRLSign";
    desk.self_signed("root", "-subj /CN=root");
    desk.issued("between", "root", authority);
    desk.issued("leaf", "between", &leaf);
    for (case, configured, chain, want) in [
        ("the root", &["root"][..], &["leaf", "between"][..], None),
        ("an intermediate as the anchor", &["between"], &["leaf"], None),
        ("an intermediate as the anchor, and the whole chain", &["between"], &["leaf", "between", "root"], None),
        ("both", &["root", "between"], &["leaf"], None),
        ("the server's own", &["leaf"], &["leaf"], None),
        ("the server's own, and a chain from elsewhere", &["leaf"], &["leaf", "between"], None),
        ("the root, and an incomplete chain", &["root"], &["leaf"], Some("its issuer is unknown to this machine")),
        ("nothing", &[], &["leaf", "between"], Some("its issuer is unknown to this machine")),
    ] {
        let said = desk.meets(configured, chain, "registry.example").err();
        assert_eq!(said.as_deref(), want, "{case}");
    }
    desk.self_signed("server", &format!("-subj /CN=s -addext basicConstraints=CA:FALSE -addext {NAMES}"));
    desk.self_signed("usage", &format!("-subj /CN=u -addext keyUsage=digitalSignature -addext {NAMES}"));
    for signer in ["server", "usage"] {
        desk.issued("forged", signer, &leaf);
        assert!(desk.meets(&[signer], &["forged"], "registry.example").is_err(), "{signer} may sign no other");
        assert_eq!(desk.meets(&[signer], &[signer], "registry.example"), Ok(()), "{signer} itself");
    }
    desk.version_1("old", "/CN=old");
    desk.issued("leaf", "old", &leaf);
    assert_eq!(desk.meets(&["old"], &["leaf"], "registry.example"), Ok(()), "an authority of version 1");
}

#[test]
fn dates_count_for_a_configured_certificate_too() {
    let desk = Desk::new();
    desk.self_signed("self", &format!("-subj /CN=registry.example -addext {NAMES}"));
    desk.version_1("old", "/CN=registry.example");
    for name in ["self", "old"] {
        let certificate = desk.chain(&[name]).remove(0);
        let verifier = Verifier::new(std::slice::from_ref(&certificate));
        let server = ServerName::try_from("registry.example").unwrap();
        for (days, want) in [(0, None), (8, None), (10, Some("it has expired on ")), (-2, Some("it is not valid before "))] {
            let seconds = UnixTime::now().as_secs().saturating_add_signed(days * 86_400);
            let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
            let verdict = verifier.verify_server_cert(&certificate, &[], &server, &[], now);
            let problem = verdict.err().map(|error| of_certificate(&error).unwrap());
            assert!(problem.as_ref().is_none_or(trust::may_pass));
            let said = problem.map(|problem| words(&problem));
            assert_eq!(said.is_some(), want.is_some(), "{name} in {days} days: {said:?}");
            assert!(said.unwrap_or_default().starts_with(want.unwrap_or_default()), "{name} in {days} days");
        }
    }
}

/// A clock that was told the time.
#[derive(Debug)]
struct Fixed(Option<u64>);

impl TimeProvider for Fixed {
    fn current_time(&self) -> Option<UnixTime> {
        self.0.map(|seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

#[test]
fn a_certificate_that_is_valid_by_another_clock_is_accepted() {
    let desk = Desk::new();
    desk.self_signed("authority", "-subj /CN=authority");
    desk.issued("leaf", "authority", &format!("{NAMES}|basicConstraints=CA:FALSE"));
    let server = ServerName::try_from("registry.example").unwrap();
    let (leaf, now) = (desk.chain(&["leaf"]).remove(0), UnixTime::now());
    let day = |days: i64| now.as_secs().saturating_add_signed(days * 86_400);
    for (case, machine, other, expected) in [
        ("a machine years ahead", 4000, Some(day(0)), None),
        ("a machine in 1970", -18_000, Some(day(0)), None),
        ("an old announcement", 0, Some(day(-2)), None),
        ("a server with a wrong clock", 0, Some(day(4000)), None),
        ("both after the end", 20, Some(day(10)), Some("it has expired on ")),
        ("both before the beginning", -20, Some(day(-2)), Some("it is not valid before ")),
        ("the other clock shows no time", 10, None, Some("it has expired on ")),
    ] {
        let verifier = Verifier::new(&desk.chain(&["authority"])).with_clock(Arc::new(Fixed(other)));
        let machine = UnixTime::since_unix_epoch(Duration::from_secs(day(machine)));
        let verdict = verifier.verify_server_cert(&leaf, &[], &server, &[], machine);
        let said = verdict.err().map(|error| words(&of_certificate(&error).unwrap()));
        assert_eq!(said.is_some(), expected.is_some(), "{case}: {said:?}");
        assert!(said.unwrap_or_default().starts_with(expected.unwrap_or_default()), "{case}");
    }
}

#[test]
fn a_server_that_is_not_checked_may_show_anything() {
    let desk = Desk::new();
    desk.version_1("old", "/CN=other");
    let trust = Trust { unverified: true, ..Trust::default() };
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        assert_eq!(desk.handshake(&trust, &["old"], "registry.example", version), Ok(()));
    }
}

#[test]
fn files_of_certificates_are_read_as_openssl_writes_them() {
    let desk = Desk::new();
    desk.self_signed("self", "-subj /CN=registry.example");
    desk.openssl("x509 -in self.pem -text -out text.pem");
    desk.openssl("x509 -in self.pem -trustout -addtrust serverAuth -out trusted.pem");
    desk.openssl("x509 -in self.pem -outform DER -out der.pem");
    desk.openssl("x509 -in self.pem -out other.pem -outform PEM");
    let wanted = desk.chain(&["self"]);
    for name in ["text", "trusted", "der", "other"] {
        assert_eq!(desk.chain(&[name]), wanted, "{name}");
    }
    let none = trust::certificates(&desk.file("self.key")).unwrap_err().to_string();
    assert!(none.ends_with("self.key has no certificate: expected -----BEGIN CERTIFICATE-----"), "{none}");
    assert!(trust::certificates(Path::new("/no/such.pem")).is_err());
    assert!(trust::certificates_if_there(Some(Path::new("/no/such.pem"))).unwrap().is_empty());
}
