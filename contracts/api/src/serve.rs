//! Serving an HTTP router until the program stops. A client that is slow on purpose costs a connection for a while, and
//! nothing else.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use futures_util::stream::{self, Stream, StreamExt};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use log::error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tower::ServiceExt;

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
pub async fn until(shutdown: impl Future<Output = ()>, grace: Duration, listener: TcpListener, router: Router) -> io::Result<()> {
    patiently(Patience::default(), shutdown, grace, listener, router).await
}

/// `until` with other limits.
///
/// # Errors
/// As `until`.
pub async fn patiently(
    patience: Patience,
    shutdown: impl Future<Output = ()>,
    grace: Duration,
    listener: TcpListener,
    router: Router,
) -> io::Result<()> {
    let (stop, stopped) = watch::channel(());
    let accepting = async {
        loop {
            match listener.accept().await {
                Ok((socket, address)) => {
                    tokio::spawn(connection(patience, socket, address, router.clone(), grace, stopped.clone()));
                }
                Err(reason) if of_the_client(&reason) => {}
                Err(reason) => {
                    error!("no HTTP connection can be accepted for a second: {reason}");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    };
    tokio::select! {
        () = accepting => {}
        () = shutdown => {}
    }
    drop((listener, stopped));
    let _ = stop.send(()); // an error means that no connection is open
    stop.closed().await;
    Ok(())
}

fn of_the_client(reason: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(reason.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn connection(
    patience: Patience,
    socket: TcpStream,
    address: SocketAddr,
    router: Router,
    grace: Duration,
    mut stopped: watch::Receiver<()>,
) {
    let _ = socket.set_nodelay(true); // an error costs a little time only
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request: Request = request.map(|body| Body::from_stream(in_time(Body::new(body), patience.body)));
        request.extensions_mut().insert(ConnectInfo(address));
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
