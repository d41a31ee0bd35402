//! The port of the workflow service: TLS and plain connections side by side. The first byte says which it is, so agents of
//! Tinkerbell work unchanged.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use access::https::{HANDSHAKE, speaks_tls};
use access::{Caller, Origin};
use api::serve::{Gate, Pass, each};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

/// Connections that have finished their handshake and wait to be served.
const WAITING: usize = 64;
/// What HTTP/2 is called in a handshake.
pub const HTTP2: &str = "h2";

/// A listening socket, and the TLS of those who speak it.
pub struct Port {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    gate: Gate,
}

impl From<TcpListener> for Port {
    fn from(listener: TcpListener) -> Self {
        Self { listener, tls: None, gate: Gate::default() }
    }
}

impl Port {
    #[must_use]
    pub fn with_tls(listener: TcpListener, tls: TlsAcceptor) -> Self {
        Self { tls: Some(tls), ..Self::from(listener) }
    }

    /// The connections, until the stream is dropped. A slow handshake is one task, and stops no other.
    pub(super) fn incoming(self) -> ReceiverStream<io::Result<Connection>> {
        let (ready, connections) = mpsc::channel(WAITING);
        let Self { listener, tls, gate } = self;
        tokio::spawn(async move {
            let serve = |socket: TcpStream, address, pass, _| {
                let (ready, tls) = (ready.clone(), tls.clone());
                async move {
                    let greeted = timeout(HANDSHAKE, greet(socket, tls)).await;
                    if let Ok(Ok((socket, encrypted))) = greeted {
                        let connection = Connection { socket, address, encrypted, _pass: pass };
                        let _ = ready.send(Ok(connection)).await; // an error means that the service has ended
                    }
                }
            };
            each("gRPC", gate, ready.closed(), listener, serve).await;
        });
        ReceiverStream::new(connections)
    }
}

/// The connection as the service reads it, and whether it is encrypted.
async fn greet(socket: TcpStream, tls: Option<TlsAcceptor>) -> io::Result<(Socket, bool)> {
    match (speaks_tls(&socket).await?, tls) {
        (true, Some(tls)) => Ok((Socket::Tls(Box::new(tls.accept(socket).await?)), true)),
        // Without TLS the service answers the nonsense.
        (true, None) | (false, _) => Ok((Socket::Plain(socket), false)),
    }
}

enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

pub(super) struct Connection {
    socket: Socket,
    address: SocketAddr,
    encrypted: bool,
    /// Its place at the gate.
    _pass: Pass,
}

impl Connected for Connection {
    type ConnectInfo = Caller;

    /// No agent shows who it is, as long as machines have no certificates.
    fn connect_info(&self) -> Caller {
        Caller::anonymous(Origin::Network { address: self.address, encrypted: self.encrypted })
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().socket {
            Socket::Plain(socket) => Pin::new(socket).poll_read(context, buffer),
            Socket::Tls(socket) => Pin::new(socket).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().socket {
            Socket::Plain(socket) => Pin::new(socket).poll_write(context, bytes),
            Socket::Tls(socket) => Pin::new(socket).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().socket {
            Socket::Plain(socket) => Pin::new(socket).poll_flush(context),
            Socket::Tls(socket) => Pin::new(socket).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().socket {
            Socket::Plain(socket) => Pin::new(socket).poll_shutdown(context),
            Socket::Tls(socket) => Pin::new(socket).poll_shutdown(context),
        }
    }
}
