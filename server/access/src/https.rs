//! The API by TLS. A client's certificate is asked for and not required: tokens are the other way in.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use api::serve::{Gate, Patience, connection, each};
use axum::Router;
use http::Extensions;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use trust::x509::Certificate;

use crate::admission::{Access, AccessError, Peer, Subject};

/// A client that has not finished its handshake by then is cut.
pub const HANDSHAKE: Duration = Duration::from_secs(10);
/// The first byte of every TLS connection: a record with a handshake message.
const TLS: u8 = 0x16;
/// What Go's servers answer to the same mistake.
const PLAIN: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n\
                       This port speaks TLS. Use https://, and the CA that `thimble kubeconfig` prints.\n";

impl Access {
    /// The TLS of a server that speaks these protocols.
    ///
    /// # Errors
    /// If the TLS library refuses the authority.
    pub fn tls(&self, protocols: &[&str], asks_for_certificate: bool) -> Result<TlsAcceptor, AccessError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let failed = |error: rustls::Error| AccessError::Tls(error.into());
        let config =
            ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().map_err(failed)?;
        let config = if asks_for_certificate {
            let mut roots = RootCertStore::empty();
            roots.add(self.authority.certificate().clone()).map_err(failed)?;
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).allow_unauthenticated().build();
            let verifier: Arc<dyn ClientCertVerifier> = verifier.map_err(|error| AccessError::Tls(error.into()))?;
            config.with_client_cert_verifier(verifier)
        } else {
            config.with_no_client_auth()
        };
        let mut config = config.with_cert_resolver(Arc::clone(&self.certificate) as _);
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

/// Serves the router, which `Access::admit` has made, until `shutdown`.
///
/// # Errors
/// If the TLS library refuses the authority.
pub async fn serve(
    access: &Access,
    listener: TcpListener,
    gate: Gate,
    router: Router,
    grace: Duration,
    shutdown: impl Future<Output = ()>,
) -> Result<(), AccessError> {
    let acceptor = access.tls(&["http/1.1"], true)?;
    let serve = |socket: TcpStream, address, pass, stopped| {
        let (acceptor, router) = (acceptor.clone(), router.clone());
        async move {
            let Some(socket) = handshake(&acceptor, socket).await else { return };
            let peer = Peer::Network { address, certificate: subject(&socket).map(Arc::new) };
            let extend = move |extensions: &mut Extensions| {
                extensions.insert(peer.clone());
            };
            connection(Patience::default(), socket, extend, router, grace, stopped).await;
            drop(pass);
        }
    };
    each("API", gate, shutdown, listener, serve).await;
    Ok(())
}

/// `None` if the client gives up, is too slow, or speaks something else.
async fn handshake(acceptor: &TlsAcceptor, socket: TcpStream) -> Option<TlsStream<TcpStream>> {
    timeout(HANDSHAKE, async {
        match speaks_tls(&socket).await {
            Ok(true) => acceptor.accept(socket).await.ok(),
            Ok(false) => {
                let mut socket = socket;
                let _ = socket.write_all(PLAIN).await; // an error means that the client has gone
                let _ = socket.shutdown().await;
                None
            }
            Err(_) => None,
        }
    })
    .await
    .ok()
    .flatten()
}

/// By the first byte, which stays in the socket.
///
/// # Errors
/// If the client closes the connection before it.
pub async fn speaks_tls(socket: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    match socket.peek(&mut first).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(first == [TLS]),
    }
}

fn subject(socket: &TlsStream<TcpStream>) -> Option<Subject> {
    let (_, connection) = socket.get_ref();
    let read = Certificate::parse(connection.peer_certificates()?.first()?)?;
    let name = read.common_names.first()?.clone();
    let organizations = read.organizations.iter().flat_map(|names| names.split(',')).map(str::to_owned).collect();
    Some(Subject { name, organizations, not_after: read.not_after })
}
