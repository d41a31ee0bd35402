//! Serving an HTTP router until the program stops. A client that is slow on purpose costs a connection for a while, and
//! nothing else.

mod gate;
mod listen;

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::http::Extensions;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, Stream, StreamExt};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tower::ServiceExt;

pub use gate::{Client, Gate, PER_CLIENT, Pass, Quiet, Reason, Refused};
pub use listen::{Complaints, each};

/// How long a client may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For the head of a request. A connection without requests stays open as long.
    pub head: Duration,
    /// For the body of a request.
    pub body: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { head: Duration::from_secs(30), body: Duration::from_secs(60) }
    }
}

/// Serves until `shutdown`. Requests under way then have `grace` to end; afterwards they are cut.
///
/// Handlers find the caller's address as `ConnectInfo<SocketAddr>`.
///
/// # Errors
/// When the listening socket fails.
pub fn until(
    shutdown: impl Future<Output = ()> + Send + 'static,
    grace: Duration,
    listener: TcpListener,
    router: Router,
) -> BoxFuture<'static, io::Result<()>> {
    patiently(Patience::default(), shutdown, grace, listener, router)
}

/// `until` with other limits.
///
/// # Errors
/// As `until`.
pub fn patiently(
    patience: Patience,
    shutdown: impl Future<Output = ()> + Send + 'static,
    grace: Duration,
    listener: TcpListener,
    router: Router,
) -> BoxFuture<'static, io::Result<()>> {
    boxed(patience, Box::pin(shutdown), grace, listener, router)
}

/// Boxed here, so that a program that serves does not compile all of it again.
fn boxed(
    patience: Patience,
    shutdown: BoxFuture<'static, ()>,
    grace: Duration,
    listener: TcpListener,
    router: Router,
) -> BoxFuture<'static, io::Result<()>> {
    Box::pin(serving(patience, shutdown, grace, listener, router))
}

async fn serving(
    patience: Patience,
    shutdown: BoxFuture<'static, ()>,
    grace: Duration,
    listener: TcpListener,
    router: Router,
) -> io::Result<()> {
    let serve = |socket, address, pass, stopped| {
        let router = router.clone();
        async move {
            let extend = move |extensions: &mut Extensions| {
                extensions.insert(ConnectInfo(address));
            };
            connection(patience, socket, extend, router, grace, stopped).await;
            drop(pass);
        }
    };
    each("HTTP", Gate::default(), shutdown, listener, serve).await;
    Ok(())
}

/// Serves one connection, which may be the inside of TLS. Each request gets what `extend` adds.
pub async fn connection(
    patience: Patience,
    socket: impl AsyncRead + AsyncWrite + Unpin + Send,
    extend: impl Fn(&mut Extensions) + Send + Sync,
    router: Router,
    grace: Duration,
    mut stopped: watch::Receiver<()>,
) {
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request: Request = request.map(|body| Body::from_stream(in_time(Body::new(body), patience.body)));
        extend(request.extensions_mut());
        let router = router.clone();
        async move { Ok::<_, Infallible>(router.oneshot(request).await.unwrap_or_else(|never| match never {})) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(patience.head);
    let mut serving = pin!(http.serve_connection(TokioIo::new(socket), service));
    tokio::select! {
        _ = serving.as_mut() => return, // an error is the client's: it went away or sent nonsense
        _ = stopped.changed() => serving.as_mut().graceful_shutdown(),
    }
    let _ = timeout(grace, serving).await; // what is under way then is cut
}

/// The body, if all of it comes in time.
fn in_time(body: Body, limit: Duration) -> impl Stream<Item = Result<axum::body::Bytes, axum::Error>> + Send + 'static {
    let late = Instant::now() + limit;
    stream::unfold(Some(body.into_data_stream()), move |body| async move {
        let mut body = body?;
        tokio::select! {
            biased;
            () = sleep_until(late) => {
                let text = format!("the request's body did not come within {} s", limit.as_secs_f64());
                Some((Err(axum::Error::new(io::Error::new(io::ErrorKind::TimedOut, text))), None))
            }
            chunk = body.next() => Some((chunk?, Some(body))),
        }
    })
}
