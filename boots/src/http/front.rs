//! The connections of HTTP. boots answers GET and HEAD of its own paths here, so that files leave by `sendfile(2)`. A
//! connection with another request goes to hyper, and stays there.
//!
//! A connection begins at the [`desk`](super::desk), which answers scripts. With its first other request it leaves for the
//! executor, and stays there.

use std::io::{self, Cursor};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::serve::{Gate, Pass, Patience};
use axum::Router;
use axum::body::to_bytes;
use axum::extract::ConnectInfo;
use axum::response::Response;
use bytes::{Buf, BytesMut};
use http::Version;
use jiff::Timestamp;
use rustix::net::SendFlags;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{OnceCell, watch};
use tokio::time::timeout;
use tower::ServiceExt;

use super::desk;
use super::download::Known;
use super::head::{self, Head, LONGEST, Malformed};
use super::impatient::Impatient;
use super::range;
use super::send::{self, Part};
use crate::apart;

/// A connection waits in this much memory. A longer head gets more.
const FIRST: usize = 1024;
/// What is read and forgotten of a client that still sends when it is refused, so that it sees why.
const FORGOTTEN: usize = 64 * 1024;
const LINGER: Duration = Duration::from_secs(2);

/// In a request: the answer may be a [`Part`] in the extensions instead of a body. It also keeps which machine it is.
#[derive(Debug, Clone, Default)]
pub(super) struct Caller(pub Arc<OnceCell<Option<Known>>>);

/// In a request: the address of this host at which the client asks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Local(pub IpAddr);

impl Local {
    pub fn of(socket: &TcpStream) -> Option<Self> {
        socket.local_addr().ok().map(|local| Self(local.ip()))
    }
}

/// How long a client may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// For the head of a request. A connection without requests stays open as long.
    pub head: Duration,
    /// Without taking a byte of its answer. A disk that is busy stops the client of an installation for a while.
    pub stalled: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { head: Patience::default().head, stalled: Duration::from_secs(120) }
    }
}

/// Serves the router until `shutdown`, which cuts what is under way: iPXE and the agents try again.
///
/// # Errors
/// When the listening socket fails.
pub async fn serve(shutdown: impl Future<Output = ()>, listener: TcpListener, router: Router) -> io::Result<()> {
    within(Limits::default(), shutdown, listener, router).await
}

/// `serve` with other limits.
///
/// # Errors
/// As `serve`, or when the thread of the scripts cannot be started.
pub async fn within(limits: Limits, shutdown: impl Future<Output = ()>, listener: TcpListener, router: Router) -> io::Result<()> {
    let (date, executor, listener) = (Arc::new(Date::default()), Handle::current(), listener.into_std()?);
    let serve = move |socket, peer, pass: Pass, mut stopped: watch::Receiver<()>| {
        let connection = Connection {
            local: Local::of(&socket),
            socket,
            peer,
            received: BytesMut::with_capacity(FIRST),
            caller: Caller::default(),
            router: router.clone(),
            date: Arc::clone(&date),
            limits,
        };
        let executor = executor.clone();
        async move {
            let left = tokio::select! {
                left = connection.scripts() => left,
                _ = stopped.changed() => None,
            };
            // An error is that of a socket which has failed.
            let Some(Ok(left)) = left.map(|connection| connection.with(TcpStream::into_std)) else { return };
            executor.spawn(left.rest(stopped, pass));
        }
    };
    apart::serve("scripts", shutdown, move |stopping| async move {
        api::serve::each("HTTP", Gate::default(), stopping, TcpListener::from_std(listener)?, serve).await;
        Ok(())
    })
    .await
}

struct Connection<S = TcpStream> {
    local: Option<Local>,
    socket: S,
    peer: SocketAddr,
    received: BytesMut,
    caller: Caller,
    router: Router,
    date: Arc<Date>,
    limits: Limits,
}

impl<S> Connection<S> {
    fn with<T>(self, change: impl FnOnce(S) -> io::Result<T>) -> io::Result<Connection<T>> {
        let Self { local, socket, peer, received, caller, router, date, limits } = self;
        Ok(Connection { local, socket: change(socket)?, peer, received, caller, router, date, limits })
    }
}

impl Connection<std::net::TcpStream> {
    /// Everything from the first request that is not for a script.
    async fn rest(self, mut stopped: watch::Receiver<()>, pass: Pass) {
        let handed = stopped.clone();
        if let Ok(connection) = self.with(TcpStream::from_std) {
            tokio::select! {
                () = connection.run(handed) => {}
                _ = stopped.changed() => {}
            }
        }
        drop(pass);
    }
}

// What takes long is boxed: a connection that waits for its next request is small, and thousands wait.
impl Connection {
    /// Answers scripts. Returns the connection when it has another request, which is not taken yet.
    async fn scripts(mut self) -> Option<Self> {
        loop {
            match timeout(self.limits.head, self.next()).await {
                Ok(Ok(Some(head))) if head.is_plain && desk::answers(head.request.uri().path()) => {
                    self.received.advance(head.length);
                    if !matches!(Box::pin(self.answer(head)).await, Ok(true)) {
                        return None;
                    }
                }
                Ok(Ok(Some(_)) | Err(_)) => return Some(self),
                Ok(Ok(None)) | Err(_) => return None,
            }
        }
    }

    async fn run(mut self, stopped: watch::Receiver<()>) {
        loop {
            // An error is the client's: it went away, sent nothing in time, or does not take its answer.
            match timeout(self.limits.head, self.next()).await {
                Ok(Ok(Some(head))) if head.is_plain && is_of_boots(head.request.uri().path()) => {
                    self.received.advance(head.length);
                    if !matches!(Box::pin(self.answer(head)).await, Ok(true)) {
                        return;
                    }
                }
                Ok(Ok(Some(_))) => return Box::pin(self.hand_over(stopped)).await,
                Ok(Err(malformed)) => return Box::pin(self.refuse(malformed)).await,
                Ok(Ok(None)) | Err(_) => return,
            }
        }
    }

    /// The next request. `None` at the end of the connection.
    async fn next(&mut self) -> Result<Option<Head>, Malformed> {
        loop {
            if !self.received.is_empty()
                && let Some(head) = Head::decode(&self.received)?
            {
                return Ok(Some(head));
            }
            if self.received.capacity() - self.received.len() < FIRST / 2 {
                self.received.reserve(self.received.len().clamp(FIRST, LONGEST));
            }
            match self.socket.read_buf(&mut self.received).await {
                Ok(0) | Err(_) => return Ok(None),
                Ok(_) => {}
            }
        }
    }

    /// Whether the connection stays open.
    async fn answer(&mut self, head: Head) -> io::Result<bool> {
        let Head { mut request, persistent, .. } = head;
        let version = request.version();
        request.extensions_mut().insert(ConnectInfo(self.peer));
        request.extensions_mut().insert(self.caller.clone());
        if let Some(local) = self.local {
            request.extensions_mut().insert(local);
        }
        let response: Response = self.router.clone().oneshot(request).await.unwrap_or_else(|never| match never {});
        let (mut parts, body) = response.into_parts();
        let part = parts.extensions.remove::<Arc<Part>>();
        let body = to_bytes(body, usize::MAX).await.map_err(io::Error::other)?; // boots made it, and it is whole
        let mut answer = head::encode(version, parts.status, &parts.headers, body.len(), persistent, &self.date.now());
        match part {
            Some(part) => {
                send::part(&self.socket, answer, &part, self.limits.stalled).await.inspect_err(|error| report(&part, error))?
            }
            None => {
                answer.extend_from_slice(&body);
                send::bytes(&self.socket, &answer, SendFlags::empty(), self.limits.stalled).await?;
            }
        }
        Ok(persistent)
    }

    async fn refuse(mut self, malformed: Malformed) {
        let text = format!("{malformed}\n");
        let headers = http::HeaderMap::new();
        let mut answer = head::encode(Version::HTTP_11, malformed.status(), &headers, text.len(), false, &self.date.now());
        answer.extend_from_slice(text.as_bytes());
        let sent = send::bytes(&self.socket, &answer, SendFlags::empty(), LINGER).await;
        if sent.is_err() || self.socket.shutdown().await.is_err() {
            return;
        }
        // A close with unread bytes would reset the connection, and the client would not see the answer.
        let forget = async {
            let (mut left, mut buffer) = (FORGOTTEN, [0; 1024]);
            while let Ok(length @ 1..) = self.socket.read(&mut buffer).await
                && length < left
            {
                left -= length;
            }
        };
        let _ = timeout(LINGER, forget).await; // it is only a courtesy
    }

    async fn hand_over(self, stopped: watch::Receiver<()>) {
        let (read, write) = self.socket.into_split();
        let write = Impatient::new(write, self.limits.stalled);
        let socket = tokio::io::join(AsyncReadExt::chain(Cursor::new(self.received), read), write);
        let (peer, local) = (self.peer, self.local);
        let extend = move |extensions: &mut http::Extensions| {
            extensions.insert(ConnectInfo(peer));
            local.map(|local| extensions.insert(local));
        };
        let patience = Patience { head: self.limits.head, ..Patience::default() };
        api::serve::connection(patience, socket, extend, self.router, Duration::ZERO, stopped).await;
    }
}

/// Paths whose answers are whole texts or files.
fn is_of_boots(path: &str) -> bool {
    ["/files/", "/ipxe/", "/grub/", "/pxelinux.cfg/", "/v2"].iter().any(|prefix| path.starts_with(prefix))
}

fn report(part: &Part, error: &io::Error) {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        let path = &part.download.path;
        log::error!("HTTP: {path} has become shorter while it was read; the download is broken off");
    }
}

/// The time as a header, made once a second.
#[derive(Debug, Default)]
struct Date(Mutex<(i64, Arc<str>)>);

impl Date {
    fn now(&self) -> Arc<str> {
        let now = Timestamp::now();
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if made.0 != now.as_second() {
            *made = (now.as_second(), range::date(now).into());
        }
        Arc::clone(&made.1)
    }
}
