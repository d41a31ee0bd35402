//! The layer before the API: it names the caller of each request, or refuses it, and records changes.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use api::serve::Quiet;
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use http::header::{AUTHORIZATION, USER_AGENT, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use jiff::Timestamp;
use tokio::sync::watch;

use crate::audit::{Audit, Change};
use crate::authority::{Authority, AuthorityError};
use crate::caller::{Caller, Origin};
use crate::certificate::ServerCertificate;
use crate::folder::{FolderError, take_over};
use crate::held::{Right, bounded};
use crate::names::Names;
use crate::tokens::{BadToken, Tokens};
use crate::{page, status};

/// Below the data folder.
pub const FOLDER: &str = "access";
pub const AUDIT_FOLDER: &str = "log/audit";
/// What anyone may ask: whether the server is there.
const OPEN: [&str; 4] = ["/version", "/healthz", "/livez", "/readyz"];

#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error("the TLS library refuses the server's certificate authority")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Everything that decides who may call.
pub struct Access {
    pub authority: Arc<Authority>,
    pub certificate: Arc<ServerCertificate>,
    pub tokens: Tokens,
    pub audit: Audit,
    pub names: Names,
    pub(crate) tokens_changed: watch::Sender<()>,
    quiet: Quiet<(Option<SocketAddr>, u16)>,
}

/// The other end of a connection, as its listener knows it.
#[derive(Debug, Clone)]
pub enum Peer {
    Network {
        address: SocketAddr,
        certificate: Option<Arc<Subject>>,
    },
    /// The user of a local process, and where it connected.
    Local {
        uid: u32,
        socket: Arc<PathBuf>,
    },
}

/// What a client's certificate says, which the handshake has checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    pub name: String,
    pub organizations: Vec<String>,
    /// A connection can live longer than its certificate.
    pub not_after: i64,
}

/// Why a request is not let in.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    /// Asked by a web page, or by a local user without rights.
    Forbidden(String),
    /// What the log says. The caller learns only that it is not known.
    Unauthorized(String),
}

impl Access {
    /// Reads or makes what lies below the data folder, which becomes its owner's only.
    ///
    /// # Errors
    /// If the folder cannot be used, or the certificate authority cannot be read.
    pub fn open(data: &Path, names: Names, now: Timestamp) -> Result<Arc<Self>, AccessError> {
        let folder = data.join(FOLDER);
        take_over(&folder, &["ca.key", "tokens.json"])?;
        let authority = Arc::new(Authority::open(&folder, now)?);
        let certificate = Arc::new(ServerCertificate::new(Arc::clone(&authority), names.clone(), now)?);
        let (tokens, audit) = (Tokens::below(&folder), Audit::below(&data.join(AUDIT_FOLDER)));
        let (tokens_changed, _) = watch::channel(());
        Ok(Arc::new(Self { authority, certificate, tokens, audit, names, tokens_changed, quiet: Quiet::default() }))
    }

    /// The router behind this layer. Its handlers find a [`Caller`] in the extensions.
    pub fn admit(self: &Arc<Self>, router: Router) -> Router {
        router.layer(from_fn_with_state(Arc::clone(self), admit))
    }

    /// The caller, by what the connection and the request show.
    fn identify(&self, peer: &Peer, headers: &HeaderMap, now: Timestamp) -> Result<Caller, Refusal> {
        match peer {
            Peer::Network { address, certificate } => {
                page::check(headers, &self.names).map_err(|refused| Refusal::Forbidden(refused.to_string()))?;
                let origin = Origin::Network { address: *address, encrypted: true };
                match (certificate, bearer(headers)) {
                    (Some(subject), _) if subject.not_after <= now.as_second() => Err(Refusal::Unauthorized(format!(
                        "its certificate for {:?} has expired",
                        machine::said(&subject.name, 80)
                    ))),
                    (Some(subject), _) => Ok(Caller::of_certificate(&subject.name, &subject.organizations, origin)),
                    (None, Some(token)) => self.by_token(token, origin, now),
                    (None, None) => Err(Refusal::Unauthorized("it shows neither a token nor a certificate".to_owned())),
                }
            }
            Peer::Local { uid, socket } => match bearer(headers) {
                Some(token) => self.by_token(token, Origin::Socket { uid: *uid }, now),
                None if is_owner(*uid) => Ok(Caller::root(*uid)),
                None => Err(Refusal::Forbidden(for_local_user(*uid, socket))),
            },
        }
    }

    fn by_token(&self, token: &str, origin: Origin, now: Timestamp) -> Result<Caller, Refusal> {
        let found = self.tokens.lookup(token, now);
        found.map(|token| token.caller(origin)).map_err(|refused: BadToken| Refusal::Unauthorized(refused.to_string()))
    }

    fn refuse(&self, refusal: Refusal, peer: &Peer, path: &str) -> Response {
        let (code, logged, answer) = match refusal {
            Refusal::Forbidden(text) => (StatusCode::FORBIDDEN, text.clone(), text),
            Refusal::Unauthorized(text) => (StatusCode::UNAUTHORIZED, text, "Unauthorized".to_owned()),
        };
        let (about, from) = match peer {
            // A new port for each connection is the same client.
            Peer::Network { address, .. } => (Some(SocketAddr::new(address.ip(), 0)), format!("address={address}")),
            Peer::Local { uid, .. } => (None, format!("uid={uid}")),
        };
        if self.quiet.is_news((about, code.as_u16()), Instant::now()) {
            log::warn!("API: {from} calls {} and is refused: {logged}", machine::said(path, 120));
        }
        let mut response = status::answer(code, &answer);
        if code == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"thimble\""));
        }
        response
    }
}

/// The owner of the host, and the user that the server runs as: both can read the store anyway.
fn is_owner(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}

fn for_local_user(uid: u32, socket: &Path) -> String {
    format!(
        "uid {uid} may not use {}, which is for root; run the command with sudo, or have root run \
         `thimble kubeconfig --role operator --name NAME > kubeconfig` and give you the file",
        socket.display()
    )
}

/// The token of `Authorization: Bearer TOKEN`.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

async fn admit(State(access): State<Arc<Access>>, mut request: Request, next: Next) -> Response {
    let Some(peer) = request.extensions().get::<Peer>().cloned() else {
        return status::answer(StatusCode::FORBIDDEN, "calls are taken from known addresses only");
    };
    let path = request.uri().path_and_query().map_or_else(String::new, ToString::to_string);
    let now = Timestamp::now();
    let caller = match access.identify(&peer, request.headers(), now) {
        Ok(caller) => caller,
        Err(Refusal::Unauthorized(_)) if OPEN.contains(&request.uri().path()) && bearer(request.headers()).is_none() => {
            Caller::anonymous(origin(&peer))
        }
        Err(refusal) => return access.refuse(refusal, &peer, &path),
    };
    request.headers_mut().remove(AUTHORIZATION); // no handler can leak it
    request.extensions_mut().insert(caller.clone());
    let method = request.method().clone();
    let agent = request.headers().get(USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default().to_owned();
    let right = Right::of(&caller, &peer);
    let response = bounded(&access, right, next.run(request).await);
    if !matches!(method, Method::GET | Method::HEAD | Method::OPTIONS) {
        let code = response.status().as_u16();
        access.audit.note(&Change { at: now, caller: &caller, method: method.as_str(), path: &path, code, agent: &agent });
    }
    response
}

const fn origin(peer: &Peer) -> Origin {
    match peer {
        Peer::Network { address, .. } => Origin::Network { address: *address, encrypted: true },
        Peer::Local { uid, .. } => Origin::Socket { uid: *uid },
    }
}
