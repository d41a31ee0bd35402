//! `/iso/MAC/NAME.iso`: an image with the kernel arguments of one machine in place of the placeholder. A BMC mounts it as virtual
//! media, and reads it in thousands of ranges.

mod source;

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ::machine::Chain;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, header};
use model::{Hardware, Mac};
use sha2::{Digest, Sha256};

use self::source::{Image, Sources, Unusable};
use super::front::Local;
use super::range::{Version, Wanted, date, wanted};
use super::router::refuse;
use crate::config::Current;
use crate::dhcp6::{Links, is_reachable};
use crate::iso::{self, Window};
use crate::quota::Seldom;
use crate::{BootInterface, Config, MachineSource};

/// How often a machine's image has a line in the log.
const SAYS: Duration = Duration::from_secs(60);

#[derive(Clone)]
struct Isos {
    config: Current,
    source: Arc<dyn MachineSource>,
    sources: Arc<Sources>,
    links: Arc<Mutex<Links>>,
    said: Arc<Mutex<Seldom<(Mac, StatusCode)>>>,
}

pub fn router(config: &Current, source: &Arc<dyn MachineSource>) -> Router {
    let isos = Isos {
        config: config.clone(),
        source: Arc::clone(source),
        sources: Arc::default(),
        links: Arc::default(),
        said: Arc::new(Mutex::new(Seldom::new(SAYS))),
    };
    Router::new().route("/iso/{*path}", get(answer)).with_state(isos)
}

async fn answer(State(isos): State<Isos>, Path(path): Path<String>, parts: Parts) -> Response {
    let mut names = path.rsplit('/');
    let Some(name) = names.next().filter(|name| name.len() > 4 && name.ends_with(".iso")) else {
        return refuse(StatusCode::NOT_FOUND, "the path does not end in .iso");
    };
    let Some(mac) = names.next().and_then(|mac| mac.parse::<Mac>().ok()) else {
        return refuse(StatusCode::BAD_REQUEST, "the path is not /iso/MAC/NAME.iso");
    };
    let (machine, hardware) = match isos.machine(mac).await {
        Ok(Some(found)) => found,
        Ok(None) => return isos.refused(mac, StatusCode::NOT_FOUND, "it is an unknown machine; apply a Hardware with its MAC"),
        Err(error) => {
            let text = format!("cannot find out which machine it is: {}", Chain(&error));
            return isos.refused(mac, StatusCode::SERVICE_UNAVAILABLE, &text);
        }
    };
    let config = isos.seen_by(&machine, parts.extensions.get::<Local>().map(|local| local.0));
    let (text, notes) = match iso::text(&config, &machine, hardware.as_deref()) {
        Ok(made) => made,
        Err(error) => return isos.refused(mac, StatusCode::UNPROCESSABLE_ENTITY, &error.to_string()),
    };
    let image = match isos.sources.image(&config, hardware.as_deref(), name).await {
        Ok(image) => image,
        Err(unusable) => {
            let status = match unusable {
                Unusable::Missing(_) => StatusCode::NOT_FOUND,
                Unusable::NoPlaceholder(_) => StatusCode::UNPROCESSABLE_ENTITY,
                Unusable::File(_) => StatusCode::INTERNAL_SERVER_ERROR,
                Unusable::NotAUrl(_) | Unusable::Unreachable { .. } | Unusable::Answer { .. } => StatusCode::BAD_GATEWAY,
            };
            let text = Chain(&unusable).to_string();
            // The URL of a source may have a password in it.
            let told = if status == StatusCode::BAD_GATEWAY { SOURCE_FAILED } else { &text };
            return isos.refused_with(mac, status, &text, told);
        }
    };
    if isos.is_news(mac, StatusCode::OK) {
        log::info!("HTTP: {mac} ({}) gets {name} with its own kernel arguments", machine.name);
        for note in notes {
            log::warn!("{name} for {mac} ({}): {note}", machine.name);
        }
    }
    isos.respond(mac, &parts, image, text).await
}

/// What a client learns of a source that fails.
const SOURCE_FAILED: &str = "the source of the image cannot be read; the log of boots says why";

impl Isos {
    async fn machine(&self, mac: Mac) -> Result<Option<(BootInterface, Option<Arc<Hardware>>)>, crate::SourceError> {
        let Some(machine) = self.source.machine(mac).await? else { return Ok(None) };
        Ok(Some((machine, self.source.hardware_with(mac).await?)))
    }

    /// The settings as the machine sees them. A BMC asks, which may be on another network, and by the other family.
    fn seen_by(&self, machine: &BootInterface, asked_at: Option<IpAddr>) -> Arc<Config> {
        let four = machine.reservation.as_ref().map(|reservation| reservation.address.into());
        let six = machine.reservation6.as_ref().filter(|_| four.is_none()).map(|reservation| reservation.address);
        let Some(six) = six else { return self.config.seen_by(four, None) };
        let now = self.config.now();
        let near = || self.links.lock().unwrap_or_else(PoisonError::into_inner).toward(six, Instant::now());
        let asked_at = || match asked_at {
            Some(IpAddr::V6(address)) => Some(address).filter(|address| is_reachable(*address)),
            _ => None,
        };
        let own: Option<Ipv6Addr> = now.address6.or_else(near).or_else(asked_at);
        own.map_or_else(|| Arc::clone(&now), |own| Arc::new(now.reached_at(own)))
    }

    /// Answers GET and HEAD, of the whole image or of one range.
    async fn respond(&self, mac: Mac, parts: &Parts, image: Image, text: String) -> Response {
        // Other arguments make another image. Its parts must not be mixed with those of this one.
        let digest: String = Sha256::digest(&text).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let version = Version { etag: format!("\"{}-{digest}\"", image.version.etag.trim_matches('"')), ..image.version.clone() };
        let size = image.size;
        let (status, start, end) = match wanted(&parts.headers, &version, size) {
            Wanted::Whole => (StatusCode::OK, 0, size),
            Wanted::Part { start, end } => (StatusCode::PARTIAL_CONTENT, start, end + 1),
            Wanted::NotModified => (StatusCode::NOT_MODIFIED, 0, 0),
            Wanted::Unsatisfiable => (StatusCode::RANGE_NOT_SATISFIABLE, 0, 0),
        };
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        let mut set = |name, value: String| HeaderValue::try_from(value).ok().map(|value| headers.insert(name, value));
        set(header::ETAG, version.etag);
        set(header::LAST_MODIFIED, date(version.modified));
        set(header::ACCEPT_RANGES, "bytes".to_owned());
        match status {
            StatusCode::NOT_MODIFIED => return response,
            StatusCode::PARTIAL_CONTENT => drop(set(header::CONTENT_RANGE, format!("bytes {start}-{}/{size}", end - 1))),
            StatusCode::RANGE_NOT_SATISFIABLE => drop(set(header::CONTENT_RANGE, format!("bytes */{size}"))),
            _ => {}
        }
        set(header::CONTENT_TYPE, "application/octet-stream".to_owned());
        set(header::CONTENT_LENGTH, (end - start).to_string());
        if parts.method == Method::GET && end > start {
            match image.body(Window::new(text, start, end)).await {
                Ok(body) => *response.body_mut() = body,
                Err(unusable) => return self.refused(mac, StatusCode::BAD_GATEWAY, &Chain(&unusable).to_string()),
            }
        }
        response
    }

    fn is_news(&self, mac: Mac, status: StatusCode) -> bool {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).allows((mac, status), Instant::now())
    }

    fn refused(&self, mac: Mac, status: StatusCode, reason: &str) -> Response {
        self.refused_with(mac, status, reason, reason)
    }

    /// The operator reads the reason, and the client what it is told.
    fn refused_with(&self, mac: Mac, status: StatusCode, reason: &str, told: &str) -> Response {
        if self.is_news(mac, status) {
            log::warn!("HTTP: no image for {mac}: {reason}");
        }
        refuse(status, told)
    }
}
