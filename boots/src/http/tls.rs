//! HTTPS for files and scripts: the same paths by TLS. hyper serves the inside of a connection.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use api::serve::{Gate, Patience, connection, each};
use axum::Router;
use axum::extract::ConnectInfo;
use rustls::ServerConfig;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::certificate::Certificate;
use super::front::{Limits, Local};
use super::impatient::Impatient;

/// A client that has not finished its handshake by then is cut.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// The first byte of every TLS connection: a record with a handshake message.
const TLS: u8 = 0x16;
const PLAIN: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n\
                       This port speaks TLS. Use https:// in the URL.\n";

/// In a request: it came by HTTPS.
#[derive(Debug, Clone, Copy)]
pub(super) struct Secure;

/// Serves the router by TLS until `shutdown`. The limits are those of plain HTTP.
///
/// # Errors
/// If the TLS library refuses its own defaults.
pub async fn serve_tls(
    shutdown: impl Future<Output = ()>,
    listener: TcpListener,
    certificate: Arc<Certificate>,
    router: Router,
) -> io::Result<()> {
    let (acceptor, limits) = (acceptor(Arc::clone(&certificate)).map_err(io::Error::other)?, Limits::default());
    let serve = |socket: TcpStream, peer, pass, stopped| {
        let (acceptor, router) = (acceptor.clone(), router.clone());
        async move {
            let local = Local::of(&socket);
            let Some(socket) = handshake(&acceptor, socket).await else { return };
            let (read, write) = tokio::io::split(socket);
            let socket = tokio::io::join(read, Impatient::new(write, limits.stalled));
            let extend = move |extensions: &mut http::Extensions| {
                extensions.insert(ConnectInfo(peer));
                extensions.insert(Secure);
                local.map(|local| extensions.insert(local));
            };
            let patience = Patience { head: limits.head, ..Patience::default() };
            connection(patience, socket, extend, router, Duration::ZERO, stopped).await;
            drop(pass);
        }
    };
    tokio::select! {
        () = each("HTTPS", Gate::default(), shutdown, listener, serve) => Ok(()),
        never = certificate.follow() => match never {},
    }
}

fn acceptor(certificate: Arc<Certificate>) -> Result<TlsAcceptor, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = config.with_no_client_auth().with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// `None` if the client gives up, is too slow, or speaks something else. It sees why.
async fn handshake(acceptor: &TlsAcceptor, mut socket: TcpStream) -> Option<TlsStream<TcpStream>> {
    let shake = async {
        let mut first = [0];
        match socket.peek(&mut first).await {
            Ok(1..) if first == [TLS] => acceptor.accept(socket).await.ok(),
            Ok(1..) => {
                let _ = socket.write_all(PLAIN).await; // an error means that the client has gone
                let _ = socket.shutdown().await;
                None
            }
            Ok(0) | Err(_) => None,
        }
    };
    timeout(HANDSHAKE, shake).await.ok().flatten()
}
