//! Serving an HTTP router until the program stops.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// Serves until `shutdown`. Requests under way then have `grace` to end; afterwards they are cut.
///
/// Handlers find the caller's address as `ConnectInfo<SocketAddr>`.
///
/// # Errors
/// When the listening socket fails.
pub async fn until(shutdown: impl Future<Output = ()>, grace: Duration, listener: TcpListener, router: Router) -> io::Result<()> {
    let (stop, stopped) = oneshot::channel::<()>();
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let serving = axum::serve(listener, service).with_graceful_shutdown(async { drop(stopped.await) });
    let over = async {
        shutdown.await;
        drop(stop);
        tokio::time::sleep(grace).await;
    };
    tokio::select! {
        served = async { serving.await } => served,
        () = over => Ok(()),
    }
}
