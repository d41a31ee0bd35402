//! TLS in front of a fake server without TLS, with certificates made for the test.
#![allow(dead_code)]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

const EXTENSIONS: &str = "subjectAltName = IP:127.0.0.1\nbasicConstraints = critical, CA:false\n";

/// The certificates that clients trust, and the servers' certificate.
pub struct Authority {
    folder: PathBuf,
    trusted: &'static str,
}

pub struct Front {
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Authority {
    pub fn new(folder: &Path) -> Self {
        let authority = Self::in_folder(&folder.join("authority"), "ca.pem");
        std::fs::write(authority.folder.join("extensions"), EXTENSIONS).unwrap();
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        authority.openssl(&format!("req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=tests"));
        authority.openssl(&format!("req {key} -keyout server.key -out server.csr -subj /CN=server"));
        let signed = "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2";
        authority.openssl(&format!("{signed} -extfile extensions -out server.pem"));
        authority
    }

    /// A certificate as in Docker's guide: self-signed with CA:TRUE, and given to clients and servers.
    pub fn self_signed(folder: &Path) -> Self {
        let authority = Self::in_folder(&folder.join("self-signed"), "server.pem");
        let names = "-addext subjectAltName=DNS:localhost,IP:127.0.0.1";
        let key = "-newkey rsa:2048 -nodes -sha256";
        authority.openssl(&format!("req -x509 {key} -keyout server.key -out server.pem -days 2 -subj /CN=localhost {names}"));
        authority
    }

    /// For `ca.pem`, `server.pem` and `server.key` in this folder.
    pub fn of_files(folder: &Path) -> Self {
        Self::in_folder(folder, "ca.pem")
    }

    fn in_folder(folder: &Path, trusted: &'static str) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        Self { folder: folder.to_owned(), trusted }
    }

    fn openssl(&self, words: &str) {
        let mut command = Command::new("openssl");
        let output = command.args(words.split(' ')).current_dir(&self.folder).output().expect("apt-get install openssl");
        assert!(output.status.success(), "openssl {words}: {}", String::from_utf8_lossy(&output.stderr));
    }

    pub fn certificate(&self) -> PathBuf {
        self.folder.join(self.trusted)
    }

    /// A socket that speaks TLS with clients and plain TCP with the server.
    pub async fn before(&self, server: SocketAddr, protocols: &[&str]) -> Front {
        self.on(TcpListener::bind("127.0.0.1:0").await.unwrap(), server, protocols)
    }

    pub fn on(&self, listener: TcpListener, server: SocketAddr, protocols: &[&str]) -> Front {
        let chain = CertificateDer::pem_file_iter(self.folder.join("server.pem")).unwrap().collect::<Result<_, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_file(self.folder.join("server.key")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = builder.with_no_client_auth().with_single_cert(chain, key).unwrap();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(acceptor.clone(), client, server));
            }
        });
        Front { address, task }
    }
}

/// Either side may disconnect at any time, which ends the other side.
async fn pass(acceptor: TlsAcceptor, client: TcpStream, server: SocketAddr) -> std::io::Result<()> {
    let mut client = acceptor.accept(client).await?;
    let mut server = TcpStream::connect(server).await?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await.map(drop)
}
