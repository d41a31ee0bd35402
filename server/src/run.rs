//! `thimble server`: the workflow service and the API, each on its socket.

use futures_util::future::BoxFuture;
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

/// What a host with ten thousand machines needs, with room for those that mean harm.
const WANTED: u64 = 1 << 17;

/// Raises this process's limit of open files to the host's limit, and that one if the process may. Each waiting agent has
/// one connection, and the usual limit is 1024.
pub fn allow_many_connections() {
    let most = getrlimit(Resource::Nofile).maximum;
    let set = |limit| setrlimit(Resource::Nofile, Rlimit { current: limit, maximum: limit });
    let more = most.filter(|most| *most < WANTED).is_some_and(|_| set(Some(WANTED)).is_ok());
    if more {
        return;
    }
    if let Err(reason) = set(most) {
        warn!("the limit of open files cannot be raised, so only few agents can wait at once: {reason}");
    }
}

/// Serves both until `shutdown`.
///
/// # Errors
/// When one of them cannot continue.
pub fn run(
    server: Server,
    grpc: impl Into<grpc::Port>,
    http: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> BoxFuture<'static, Result<(), RunError>> {
    boxed(server, grpc.into(), http, Box::pin(shutdown))
}

/// Boxed here, so that a program that serves does not compile all of it again.
fn boxed(
    server: Server,
    grpc: grpc::Port,
    http: TcpListener,
    shutdown: BoxFuture<'static, ()>,
) -> BoxFuture<'static, Result<(), RunError>> {
    Box::pin(both(server, grpc, http, shutdown))
}

async fn both(server: Server, grpc: grpc::Port, http: TcpListener, shutdown: BoxFuture<'static, ()>) -> Result<(), RunError> {
    server.expect(&["gRPC", "HTTP"]);
    let router = http::router(server.clone());
    let _served = server.serving("HTTP");
    let mut stopping = server.stopping();
    let stopped = async move { drop(stopping.wait_for(|stopping| *stopping).await) };
    let http = async { api::serve::until(stopped, GRACE, http, router).await.map_err(RunError::from) };
    let grpc = async { grpc::serve(server, grpc, shutdown).await.map_err(RunError::from) };
    tokio::try_join!(grpc, http).map(drop)
}
