//! `thimble server`: the workflow service and the API, each on its socket.

use log::warn;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
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

/// Raises this process's limit of connections to the host's limit. Each waiting agent has one connection, and the usual
/// limit is 1024.
pub fn allow_many_connections() {
    let most = getrlimit(Resource::Nofile).maximum;
    if let Err(reason) = setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }) {
        warn!("the limit of open files cannot be raised, so only few agents can wait at once: {reason}");
    }
}

/// Serves both until `shutdown`.
///
/// # Errors
/// When one of them cannot continue.
pub async fn run(
    server: Server,
    grpc: impl Into<grpc::Port>,
    http: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RunError> {
    server.expect(&["gRPC", "HTTP"]);
    let router = http::router(server.clone());
    let _served = server.serving("HTTP");
    let mut stopping = server.stopping();
    let stopped = async move { drop(stopping.wait_for(|stopping| *stopping).await) };
    let http = async { api::serve::until(stopped, GRACE, http, router).await.map_err(RunError::from) };
    let grpc = async { grpc::serve(server, grpc, shutdown).await.map_err(RunError::from) };
    tokio::try_join!(grpc, http).map(drop)
}
