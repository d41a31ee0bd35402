//! The API for callers that show who they are: by TLS, and by the Unix socket of this host.

use std::sync::Arc;

use access::{Access, AccessError, Local, https};
use api::serve::Gate;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use tokio::net::TcpListener;

use crate::http::for_callers;
use crate::service::{GRACE, Server};

/// Both ways in. Without the socket, local commands need a token like those of other hosts.
pub struct Entrance {
    pub access: Arc<Access>,
    pub https: TcpListener,
    pub local: Option<Local>,
}

impl Entrance {
    /// Serves until the server stops. Keeps its certificate fresh, and ends the watches of deleted tokens.
    ///
    /// # Errors
    /// If the TLS library refuses the certificate authority.
    pub async fn serve(self, server: Server) -> Result<(), AccessError> {
        let stopped = || {
            let mut stopping = server.stopping();
            async move { drop(stopping.wait_for(|stopping| *stopping).await) }
        };
        let _served = server.serving("the API");
        let router = self.access.admit(for_callers(server.clone())).layer(from_fn_with_state(server.clone(), counted));
        let local = async {
            if let Some(local) = self.local {
                local.serve(router.clone(), GRACE, stopped()).await;
            }
            Ok(())
        };
        let https = https::serve(&self.access, self.https, Gate::default(), router.clone(), GRACE, stopped());
        let fresh = Arc::clone(&self.access.certificate).keep_fresh();
        let follow = Arc::clone(&self.access).follow_tokens();
        tokio::select! {
            served = async { tokio::try_join!(https, local).map(drop) } => served,
            () = fresh => Ok(()), // never
            never = follow => match never {},
        }
    }
}

/// Also those that are not let in.
async fn counted(State(server): State<Server>, request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let response = next.run(request).await;
    server.0.metrics.api(method.as_str(), response.status().as_u16());
    response
}
