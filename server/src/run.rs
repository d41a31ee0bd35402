//! `thimble server`: the workflow service and the API on their two sockets.

use axum::routing::get;
use tokio::net::TcpListener;

use crate::service::{GRACE, Server};
use crate::{grpc, http};

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("the workflow service ended")]
    Grpc(#[from] tonic::transport::Error),
    #[error("the HTTP API ended")]
    Http(#[from] std::io::Error),
}

/// Serves both until `shutdown`.
///
/// # Errors
/// When one of them cannot go on.
pub async fn run(
    server: Server,
    grpc: TcpListener,
    http: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let router = http::router(server.clone()).route("/healthz", get(|| async { "ok" }));
    let mut stopping = server.stopping();
    let stopped = async move { drop(stopping.wait_for(|stopping| *stopping).await) };
    let http = async { api::serve::until(stopped, GRACE, http, router).await.map_err(RunError::from) };
    let grpc = async { grpc::serve(server, grpc, shutdown).await.map_err(RunError::from) };
    tokio::try_join!(grpc, http).map(drop)
}
