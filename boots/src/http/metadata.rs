//! What installed machines ask about themselves. The address of a caller says which machine it is, or a secret in the path.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ::machine::Chain;
use ::machine::network::covers;
use ::metadata::LONGEST_TOKEN;
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use jiff::Timestamp;
use model::{Hardware, ObjectName, is_name};

use super::router::{peer, refuse};
use crate::config::{Current, Metadata, Proof};
use crate::quota::Seldom;
use crate::{MachineSource, SourceError};

const TOKEN: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token");
const TTL: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");
const TOKEN_PATH: &str = "/latest/api/token";
const FORWARDED: &str = "x-forwarded-for";
/// Seconds, as EC2 has it.
const LONGEST_TTL: u64 = 21_600;
/// How often an address without a machine gets a line in the log.
const SAYS: Duration = Duration::from_secs(60);
const PATHS: [&str; 5] = ["metadata", "meta-data", "user-data", "vendor-data", "network-config"];
const OFF: &str = "the settings serve no metadata";
/// A path that begins with this and a secret is answered to every caller.
const INSTANCE: &str = "/instance/";

/// What stays from one request to the next.
#[derive(Clone)]
struct Lasting {
    config: Current,
    source: Arc<dyn MachineSource>,
    unknown: Arc<Mutex<Seldom<IpAddr>>>,
}

/// With the settings of one request.
struct Service {
    settings: Metadata,
    source: Arc<dyn MachineSource>,
    unknown: Arc<Mutex<Seldom<IpAddr>>>,
}

impl Lasting {
    fn now(self) -> Option<Service> {
        let settings = self.config.now().metadata.clone()?;
        Some(Service { settings, source: self.source, unknown: self.unknown })
    }
}

/// The paths of metadata.
pub fn router(config: &Current, source: &Arc<dyn MachineSource>) -> Router {
    let lasting =
        Lasting { config: config.clone(), source: Arc::clone(source), unknown: Arc::new(Mutex::new(Seldom::new(SAYS))) };
    let mut router = Router::new().route(TOKEN_PATH, put(token)).route("/instance/{*path}", get(answer).put(token));
    for version in ["2009-04-04", "latest"] {
        for path in [format!("/{version}"), format!("/{version}/"), format!("/{version}/{{*path}}")] {
            router = router.route(&path, get(answer));
        }
    }
    for path in PATHS {
        router = router.route(&format!("/{path}"), get(answer)).route(&format!("/{path}/"), get(answer));
    }
    router.with_state(lasting)
}

async fn answer(State(lasting): State<Lasting>, parts: Parts) -> Response {
    let Some(service) = lasting.now() else { return refuse(StatusCode::NOT_FOUND, OFF) };
    let caller = match service.caller(&parts).await {
        Ok(caller) => caller,
        Err(refused) => return *refused,
    };
    if let Err(refused) = service.check_token(&parts.headers, &caller) {
        return *refused;
    }
    let Some(answer) = ::metadata::answer(&caller.hardware, caller.path) else {
        return refuse(StatusCode::NOT_FOUND, "metadata has no such path");
    };
    if caller.path.trim_end_matches('/').ends_with("user-data") {
        log::info!("metadata: {} reads the user data of {}", caller.who, caller.hardware.name());
    }
    ([(header::CONTENT_TYPE, answer.content_type), (header::CACHE_CONTROL, "no-store")], answer.body).into_response()
}

/// A token of `IMDSv2`. EC2 refuses it to a request that a proxy has passed on, because the machine may not have sent it.
async fn token(State(lasting): State<Lasting>, parts: Parts) -> Response {
    let Some(service) = lasting.now() else { return refuse(StatusCode::NOT_FOUND, OFF) };
    if parts.headers.contains_key(FORWARDED) && !peer(&parts).is_some_and(|peer| service.is_proxy(peer)) {
        return refuse(StatusCode::FORBIDDEN, "a proxy that the settings do not name has passed this request on");
    }
    let caller = match service.caller(&parts).await {
        Ok(caller) => caller,
        Err(refused) => return *refused,
    };
    if caller.path != TOKEN_PATH {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, format!("only {TOKEN_PATH} takes PUT"));
    }
    let ttl = parts.headers.get(&TTL).and_then(|value| value.to_str().ok()?.trim().parse::<u64>().ok());
    let Some(ttl) = ttl.filter(|ttl| (1..=LONGEST_TTL).contains(ttl)) else {
        return refuse(StatusCode::BAD_REQUEST, format!("the header {TTL} must have the seconds, 1 to {LONGEST_TTL}"));
    };
    let token = service.settings.key.token(&caller.hardware.name(), seconds() + ttl);
    let headers = [(header::CONTENT_TYPE, HeaderValue::from_static("text/plain")), (TTL, HeaderValue::from(ttl))];
    (headers, token).into_response()
}

/// The machine that asks, and what it asks for.
struct Caller<'a> {
    hardware: Arc<Hardware>,
    path: &'a str,
    who: IpAddr,
    /// Known by the secret in its path, and not by its address.
    by_secret: bool,
}

impl Service {
    async fn caller<'a>(&self, parts: &'a Parts) -> Result<Caller<'a>, Box<Response>> {
        let path = parts.uri.path();
        let Some(who) = peer(parts).and_then(|peer| self.client(peer, &parts.headers)) else {
            return Err(Box::new(refuse(StatusCode::NOT_FOUND, "the address of the caller is not known")));
        };
        let (found, path, by_secret) = match path.strip_prefix(INSTANCE) {
            None if self.settings.proof == Proof::Secret => (Ok(None), path, false),
            None => (self.source.hardware_at(who).await, path, false),
            Some(rest) => match self.shown(rest) {
                Some((name, below)) => (self.source.hardware_named(&name).await, below, true),
                None => (Ok(None), path, true),
            },
        };
        match found {
            Ok(Some(hardware)) => Ok(Caller { hardware, path, who, by_secret }),
            Ok(None) => {
                let reason = match (by_secret, self.settings.proof) {
                    (true, _) => "its secret is not the one of a Hardware",
                    (false, Proof::Secret) => "its path has no secret, and the settings want one",
                    (false, _) => "no Hardware has this address",
                };
                if self.is_news(who) {
                    log::warn!("metadata: nothing for {who}: {reason}");
                }
                Err(Box::new(refuse(StatusCode::NOT_FOUND, format!("{who} gets no metadata: {reason}"))))
            }
            Err(error @ SourceError::Ambiguous { .. }) => {
                if self.is_news(who) {
                    log::warn!("metadata: nothing for {who}: {error}; correct one of them");
                }
                Err(Box::new(refuse(StatusCode::NOT_FOUND, format!("{who} gets no metadata: its address is not of one machine"))))
            }
            Err(error) => {
                if self.is_news(who) {
                    log::error!("metadata: nothing for {who}: {}", Chain(&error));
                }
                let text = format!("cannot find out which machine {who} is; try again");
                Err(Box::new(refuse(StatusCode::SERVICE_UNAVAILABLE, text)))
            }
        }
    }

    /// The machine whose secret is in `NAMESPACE/NAME/SECRET/...`, and the path behind it.
    fn shown<'a>(&self, rest: &'a str) -> Option<(ObjectName, &'a str)> {
        let (namespace, rest) = rest.split_once('/')?;
        let (name, rest) = rest.split_once('/')?;
        let (secret, _) = rest.split_once('/')?;
        let below = rest.get(secret.len()..)?;
        let name = ObjectName::new(namespace, name);
        let is_shown = is_name(&name.namespace) && is_name(&name.name) && self.settings.key.is_secret(&name, secret);
        is_shown.then_some((name, below))
    }

    fn check_token(&self, headers: &HeaderMap, caller: &Caller<'_>) -> Result<(), Box<Response>> {
        let token = headers.get(&TOKEN).map(|value| value.to_str().unwrap_or_default());
        let is_valid = |token: &str| {
            let name = caller.hardware.name();
            token.len() <= LONGEST_TOKEN && self.settings.key.is_token(&name, token, seconds())
        };
        match token {
            Some(token) if is_valid(token) => Ok(()),
            Some(_) => Err(Box::new(refuse(StatusCode::UNAUTHORIZED, "the token is not valid, or its time is over"))),
            None if self.settings.proof == Proof::Token && !caller.by_secret => {
                Err(Box::new(refuse(StatusCode::UNAUTHORIZED, format!("a token is needed: PUT {TOKEN_PATH}"))))
            }
            None => Ok(()),
        }
    }

    fn is_proxy(&self, address: IpAddr) -> bool {
        self.settings.proxies.iter().any(|(network, length)| covers(*network, *length, address))
    }

    /// The sender of the request. A proxy that the settings name says for whom it asks, and that one may be another of them. `None`
    /// if what it says is not an address.
    fn client(&self, peer: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
        let values = headers.get_all(FORWARDED).into_iter().map(|value| value.to_str().unwrap_or("?"));
        let mut hops: Vec<&str> = values.flat_map(|value| value.split(',')).map(str::trim).collect();
        let mut client = peer;
        while self.is_proxy(client)
            && let Some(hop) = hops.pop()
        {
            client = hop.parse::<IpAddr>().ok()?.to_canonical();
        }
        Some(client)
    }

    fn is_news(&self, who: IpAddr) -> bool {
        self.unknown.lock().unwrap_or_else(PoisonError::into_inner).allows(who, Instant::now())
    }
}

fn seconds() -> u64 {
    u64::try_from(Timestamp::now().as_second()).unwrap_or(0)
}
