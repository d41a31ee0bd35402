//! image2disk from web servers with certificates as openssl makes them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use actions::image2disk::run;
use actions::variables::Variables;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const IMAGE: &[u8] = &boot_sector();

const fn boot_sector() -> [u8; 69_632] {
    let mut image = [7; 69_632];
    (image[0], image[510], image[511]) = (0xeb, 0x55, 0xaa);
    image
}

struct Server {
    address: SocketAddr,
    certificate: PathBuf,
    asked: Arc<AtomicUsize>,
}

impl Server {
    /// `names` is what the certificate's subjectAltName says.
    fn start(folder: &Path, names: &str, more: &str) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let words = format!(
            "req -x509 -newkey rsa:2048 -nodes -sha256 -keyout server.key -out server.pem -days 2 -subj /CN=images \
             -addext subjectAltName={names} {more}"
        );
        let made = Command::new("openssl").args(words.split_whitespace()).current_dir(folder).output();
        assert!(made.expect("apt-get install openssl").status.success(), "{words}");
        let certificate = folder.join("server.pem");
        let chain = CertificateDer::pem_file_iter(&certificate).unwrap().collect::<Result<_, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_file(folder.join("server.key")).unwrap();
        let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let config = Arc::new(builder.with_no_client_auth().with_single_cert(chain, key).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, asked) = (listener.local_addr().unwrap(), Arc::<AtomicUsize>::default());
        let counted = asked.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                counted.fetch_add(1, Ordering::SeqCst);
                let connection = ServerConnection::new(config.clone()).unwrap();
                let _ = serve(StreamOwned::new(connection, client)); // a client that refuses the certificate leaves
            }
        });
        Self { address, certificate, asked }
    }
}

fn serve(mut client: StreamOwned<ServerConnection, TcpStream>) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.extend(byte);
    }
    write!(client, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", IMAGE.len())?;
    client.write_all(IMAGE)?;
    client.conn.send_close_notify();
    client.flush()
}

fn write(server: &Server, host: &str, variable: &str, value: &Path) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    std::fs::write(&disk, vec![0; 1 << 20]).unwrap();
    let url = format!("https://{host}:{}/image.raw", server.address.port());
    let values = [
        ("IMG_URL", url.as_str()),
        ("DEST_DISK", disk.to_str().unwrap()),
        ("RETRY_DURATION_MINUTES", "1"),
        (variable, value.to_str().unwrap()),
    ];
    let written = run(&Variables::of(values)).map_err(|error| {
        let causes = std::iter::successors(error.source(), |error| (*error).source());
        causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
    });
    assert_eq!(std::fs::read(&disk).unwrap().starts_with(IMAGE), written.is_ok());
    written
}

#[test]
fn an_image_comes_from_a_server_whose_own_certificate_was_given() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let ours = Server::start(&folder.join("ours"), "DNS:localhost,IP:127.0.0.1", "");
    let plain = Server::start(&folder.join("plain"), "IP:127.0.0.1", "-addext basicConstraints=critical,CA:FALSE");
    let theirs = Server::start(&folder.join("theirs"), "DNS:localhost,IP:127.0.0.1", "");
    let other = Server::start(&folder.join("other"), "DNS:images.example", "");
    let certificates = folder.join("certificates");
    std::fs::create_dir(&certificates).unwrap();
    std::fs::copy(&ours.certificate, certificates.join("one.pem")).unwrap();
    std::fs::write(certificates.join("README"), "no certificate").unwrap();
    for (case, server, host, variable, value, want) in [
        ("CA:TRUE, by address", &ours, "127.0.0.1", "SSL_CERT_FILE", &ours.certificate, None),
        ("CA:TRUE, by name", &ours, "localhost", "SSL_CERT_FILE", &ours.certificate, None),
        ("CA:FALSE", &plain, "127.0.0.1", "SSL_CERT_FILE", &plain.certificate, None),
        ("in a folder", &ours, "127.0.0.1", "SSL_CERT_DIR", &certificates, None),
        ("a stranger's", &theirs, "127.0.0.1", "SSL_CERT_FILE", &ours.certificate, Some("it is self-signed and is not one of")),
        ("nothing given", &ours, "127.0.0.1", "UNUSED", &certificates, Some("give the action its CA")),
        ("another name", &other, "127.0.0.1", "SSL_CERT_FILE", &other.certificate, Some("needs IP:127.0.0.1")),
    ] {
        let before = server.asked.load(Ordering::SeqCst);
        let written = write(server, host, variable, value);
        match want {
            None => assert_eq!(written, Ok(()), "{case}"),
            Some(words) => {
                assert!(written.as_ref().is_err_and(|error| error.contains(words)), "{case}: {written:?}");
                assert_eq!(server.asked.load(Ordering::SeqCst), before + 1, "{case}: it is not asked again");
            }
        }
    }
    let missing = write(&ours, "127.0.0.1", "SSL_CERT_FILE", &folder.join("no.pem")).unwrap_err();
    assert!(missing.contains("no.pem") && missing.contains("the certificates for IMG_URL"), "{missing}");
}
