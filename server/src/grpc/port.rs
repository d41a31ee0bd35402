//! The port of the workflow service: TLS and plain connections side by side. The first byte says which it is, so agents of
//! Tinkerbell work unchanged.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use access::https::{HANDSHAKE, speaks_tls};
use access::{Caller, Origin};
use api::serve::{Gate, Pass, each};
use rustix::net::sockopt::set_tcp_user_timeout;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Sleep, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

/// Connections that have finished their handshake and wait to be served.
const WAITING: usize = 64;
/// The bytes with which an HTTP/2 connection begins (RFC 9113, 3.4), and its first frame.
const PREFACE: usize = 24 + 9;
/// A client that does not acknowledge an answer in this time has gone. In milliseconds, as the kernel wants it.
const UNACKNOWLEDGED: u32 = 40_000;
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
                    let _ = set_tcp_user_timeout(&socket, UNACKNOWLEDGED); // without it a held call is freed later
                    let greeted = timeout(HANDSHAKE, greet(socket, tls)).await;
                    if let Ok(Ok((socket, encrypted))) = greeted {
                        let connection = Connection { socket, address, encrypted, begins: Some(Begins::now()), _pass: pass };
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
    /// Until it has begun to speak HTTP/2.
    begins: Option<Begins>,
    /// Its place at the gate.
    _pass: Pass,
}

/// The first bytes have to come in time, so that silent connections do not stay.
struct Begins {
    bytes: usize,
    late: Pin<Box<Sleep>>,
}

impl Begins {
    fn now() -> Self {
        Self { bytes: 0, late: Box::pin(sleep(HANDSHAKE)) }
    }

    /// Looks at a read of this many bytes. False when the time is over.
    fn goes_on(&mut self, read: Poll<usize>, context: &mut Context<'_>) -> bool {
        match read {
            Poll::Ready(bytes) => {
                self.bytes += bytes;
                true
            }
            Poll::Pending => self.late.as_mut().poll(context).is_pending(),
        }
    }
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
        let this = self.get_mut();
        let before = buffer.filled().len();
        let polled = match &mut this.socket {
            Socket::Plain(socket) => Pin::new(socket).poll_read(context, buffer),
            Socket::Tls(socket) => Pin::new(socket).poll_read(context, buffer),
        };
        if let Some(begins) = &mut this.begins {
            let read = if polled.is_ready() { Poll::Ready(buffer.filled().len() - before) } else { Poll::Pending };
            if !begins.goes_on(read, context) {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            if begins.bytes >= PREFACE {
                this.begins = None;
            }
        }
        polled
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
