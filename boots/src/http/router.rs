//! The paths of boots. [`serve`](super::serve) adds the peer's address as `ConnectInfo<SocketAddr>`. If a path does not name
//! the machine, that address does.

use std::fs::File;
use std::hash::Hash;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ::machine::{Chain, said};
use api::StepKind;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use devices::modalias::Device;
use http::request::Parts;
use http::{StatusCode, header};
use jiff::Timestamp;
use model::Mac;

use super::download::{Download, Known};
use super::front::{Caller, Local};
use super::tls::Secure;
use super::{files, images, iso, loaders, metadata};
use crate::beneath::{self, OpenError};
use crate::config::Current;
use crate::images::Images;
use crate::ipxe::Packs;
use crate::machine::known_at;
use crate::packs::{self, Shelf, scan};
use crate::quota::{Rates, Seldom};
use crate::server_ca;
use crate::{BootInterface, Config, Events, MachineSource, Milestone, ipxe, steps};

#[derive(Clone)]
pub(super) struct Boots {
    pub(super) config: Current,
    pub(super) source: Arc<dyn MachineSource>,
    pub(super) events: Events,
    pub(super) packs: Arc<Shelf>,
    pub(super) images: Option<Arc<Images>>,
    /// Anybody can ask for the script of any MAC, at any rate.
    strangers: Arc<Mutex<Seldom<String>>>,
    /// The same for machines with Hardware, so a flood of invented ones does not hide them.
    known: Arc<Mutex<Seldom<Mac>>>,
    /// The client of a mirror asks for thousands of files that are not there.
    files: Arc<Mutex<Rates<Option<IpAddr>>>>,
}

/// How often a machine without Hardware has a line and a step, as with DHCP, and how often one with Hardware.
const STRANGER_EVERY: Duration = Duration::from_secs(60);
const KNOWN_EVERY: Duration = Duration::from_secs(1);
/// How many files that a client does not get have a line and a step, each second.
const REFUSED_FILES: u32 = 4;

pub fn router(config: impl Into<Current>, source: Arc<dyn MachineSource>, events: Events) -> Router {
    let config = config.into();
    let now = config.now();
    let packs = Arc::new(Shelf::new(now.files.clone()));
    let images = now.images.clone().map(|folder| Arc::new(Images::new(folder)));
    let (metadata, iso) = (metadata::router(&config, &source), iso::router(&config, &source));
    let (strangers, known) = (limited(STRANGER_EVERY), limited(KNOWN_EVERY));
    let files = Arc::new(Mutex::new(Rates::new(REFUSED_FILES)));
    let boots = Boots { config, source, events, packs, images, strangers, known, files };
    Router::new()
        .route("/ipxe/script/{*path}", get(script))
        .route("/ipxe/binary/{*path}", get(binary))
        .route("/ipxe/server-ca.cpio.zst", get(authority))
        .route("/files/{*path}", get(file))
        .route("/pxelinux.cfg/{name}", get(loaders::configuration))
        .route("/grub/{*path}", get(loaders::configuration))
        .route("/onie-installer", get(loaders::onie))
        .route("/v2", any(images::v2))
        .route("/v2/", any(images::v2))
        .route("/v2/{*path}", any(images::v2))
        .with_state(boots)
        .merge(metadata)
        .merge(iso)
}

fn limited<K: Eq + Hash>(every: Duration) -> Arc<Mutex<Seldom<K>>> {
    Arc::new(Mutex::new(Seldom::new(every)))
}

fn allows<K: Eq + Hash>(seldom: &Mutex<Seldom<K>>, key: K) -> bool {
    seldom.lock().unwrap_or_else(PoisonError::into_inner).allows(key, Instant::now())
}

/// The same for boots alone, with its own probes and metrics.
pub fn alone(config: impl Into<Current>, source: Arc<dyn MachineSource>, events: Events) -> Router {
    let counted = events.clone();
    let scrape = move || {
        let mut text = metrics::Text::default();
        counted.write_metrics(&mut text);
        std::future::ready(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text.into_string()))
    };
    // Its sockets are open before it serves.
    let probe = || get(async || "ok");
    let announced = post(booted).layer(DefaultBodyLimit::max(MAX_BOOTED)).with_state(Arc::clone(&source));
    router(config, source, events)
        .route(api::paths::BOOTED, announced)
        .route("/healthz", probe())
        .route("/readyz", probe())
        .route("/metrics", get(scrape))
}

/// What an installed system says about itself.
const MAX_BOOTED: usize = 4 << 10;

async fn booted(State(source): State<Arc<dyn MachineSource>>, Path(text): Path<String>, body: Bytes) -> Response {
    let Ok(mac) = text.parse::<Mac>() else {
        return refuse(StatusCode::NOT_FOUND, "the path names a machine by the MAC of an interface");
    };
    match source.booted(mac, said(&String::from_utf8_lossy(&body), MAX_BOOTED)).await {
        Ok(true) => StatusCode::NO_CONTENT.into_response(),
        Ok(false) => refuse(StatusCode::NOT_FOUND, format!("no Hardware has the interface {mac}")),
        Err(error) => {
            log::error!("HTTP: {mac} has booted its installed system, and the server does not know it yet: {}", Chain(&error));
            refuse(StatusCode::SERVICE_UNAVAILABLE, "the server cannot be told now; try again")
        }
    }
}

/// iPXE shows the status only; `curl` shows the reason.
pub(super) fn refuse(status: StatusCode, reason: impl Into<String>) -> Response {
    (status, format!("{}\n", reason.into())).into_response()
}

pub(super) fn peer(parts: &Parts) -> Option<IpAddr> {
    parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip().to_canonical())
}

async fn script(State(boots): State<Boots>, Path(path): Path<String>, parts: Parts) -> Response {
    let (folder, name) = path.rsplit_once('/').map_or(("", path.as_str()), |(folder, name)| (folder, name));
    if !matches!(name, crate::ipxe::SCRIPT | "custom.ipxe") {
        return refuse(StatusCode::NOT_FOUND, format!("{name:?} is not a script; only auto.ipxe is"));
    }
    let peer = peer(&parts);
    let mac = folder.rsplit('/').next().and_then(|part| part.parse::<Mac>().ok());
    let who = mac.map(|mac| mac.to_string()).or_else(|| peer.map(|peer| peer.to_string())).unwrap_or_default();
    let machine = match (mac, peer) {
        (Some(mac), _) => boots.source.machine(mac).await,
        (None, Some(peer)) => boots.source.machine_at(peer).await,
        (None, None) => Ok(None),
    };
    match machine {
        Ok(Some(machine)) => boots.script(&machine, peer, &parts).await,
        Ok(None) => {
            if let Some(machine) = boots.discovered(mac, peer) {
                return boots.script(&machine, peer, &parts).await;
            }
            if allows(&boots.strangers, who.clone()) {
                log::warn!("HTTP: no script for {who}: unknown machine");
                boots.refused(mac, StepKind::ScriptRefused, "auto.ipxe", StatusCode::NOT_FOUND, "no Hardware has this MAC");
            }
            refuse(StatusCode::NOT_FOUND, format!("{who} is an unknown machine; apply a Hardware with its MAC"))
        }
        Err(error) => {
            let Some(mac) = mac else {
                log::error!("HTTP: no script for {who}: {}", Chain(&error));
                return refuse(StatusCode::SERVICE_UNAVAILABLE, format!("cannot find out which machine {who} is; try again"));
            };
            let query = parts.uri.query().unwrap_or_default();
            let tries = query.split('&').find_map(|part| part.strip_prefix(ipxe::UNKNOWN)?.parse().ok()).unwrap_or(0);
            // Whether it has Hardware is not known.
            if allows(&boots.known, mac) {
                log::error!("HTTP: no script for {who}: {}; it asks again, and at last boots its disk", Chain(&error));
                let why = "boots could not find out what it boots";
                boots.refused(Some(mac), StepKind::ScriptRefused, "auto.ipxe", StatusCode::SERVICE_UNAVAILABLE, why);
            }
            sent(ipxe::unknown(&boots.config_for(&parts), mac, tries, speaks_https(&parts)))
        }
    }
}

pub(super) fn sent(script: String) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-store")], script).into_response()
}

/// Nothing in it is secret.
async fn authority(State(boots): State<Boots>) -> Response {
    match boots.config.now().server_ca.as_deref().map(server_ca::segment) {
        Some(Ok(segment)) => ([(header::CONTENT_TYPE, "application/octet-stream")], segment).into_response(),
        Some(Err(error)) => {
            log::error!("HTTP: no segment with the server's certificate authority: {error}");
            refuse(StatusCode::INTERNAL_SERVER_ERROR, "the certificate authority cannot be sent")
        }
        None => refuse(StatusCode::NOT_FOUND, "this host has no certificate authority"),
    }
}

/// The settings as the client sees them: it has found this host at an address, and what was fetched by HTTPS names HTTPS.
pub(super) fn config_for(current: &Current, parts: &Parts) -> Arc<Config> {
    let local = parts.extensions.get::<Local>().map(|Local(local)| *local);
    let seen = current.seen_by(peer(parts), local);
    if parts.extensions.get::<Secure>().is_some() { Arc::new(seen.over_https()) } else { seen }
}

/// Whether the iPXE that asks has HTTPS: it uses it, or the URL that it got by DHCP says so.
fn speaks_https(parts: &Parts) -> Option<bool> {
    let uses_it = parts.extensions.get::<Secure>().map(|_| true);
    uses_it.or_else(|| ipxe::https_in(parts.uri.query().unwrap_or_default()))
}

impl Boots {
    pub(super) fn config_for(&self, parts: &Parts) -> Arc<Config> {
        config_for(&self.config, parts)
    }

    /// An unknown machine on a network where machines are discovered: it gets the ramdisk, whose agent makes it known.
    fn discovered(&self, mac: Option<Mac>, peer: Option<IpAddr>) -> Option<BootInterface> {
        self.config.now().discovers(peer?).then(|| mac.map(BootInterface::unknown)).flatten()
    }

    /// The driver packs for the machine's devices. iPXE has just named them, or the agent did at an earlier boot.
    async fn packs(&self, machine: &BootInterface, reported: Option<Vec<Device>>) -> Packs {
        let (config, shelf, asked) = (self.config.now(), Arc::clone(&self.packs), machine.clone());
        // This reads files, and compares hundreds of devices with thousands of patterns.
        match tokio::task::spawn_blocking(move || packs::gather(&config, &shelf, &asked, reported.as_deref())).await {
            Ok((packs, unknown)) => {
                for name in unknown {
                    log::warn!("{} ({}): thimble/packs: {name:?} is not a usable driver pack", machine.mac, machine.name);
                }
                packs
            }
            Err(error) => {
                log::error!("HTTP: {} boots without driver packs: {}", machine.mac, Chain(&error));
                Packs::default()
            }
        }
    }

    async fn script(&self, machine: &BootInterface, peer: Option<IpAddr>, parts: &Parts) -> Response {
        let reported = scan::reported(parts.uri.query().unwrap_or_default());
        let packs = Packs { speaks_https: speaks_https(parts), ..self.packs(machine, reported).await };
        let now = u64::try_from(Timestamp::now().as_second()).unwrap_or(0);
        let (script, notes) = match ipxe::auto(&self.config_for(parts), machine, &packs, now) {
            Ok(script) => script,
            Err(error) => {
                if allows(&self.known, machine.mac) {
                    log::warn!("HTTP: no script for {}: {error}", machine.mac);
                    let (mac, why) = (Some(machine.mac), error.to_string());
                    self.refused(mac, StepKind::ScriptRefused, "auto.ipxe", StatusCode::NOT_FOUND, &why);
                }
                return refuse(StatusCode::NOT_FOUND, error.to_string());
            }
        };
        for note in notes {
            log::warn!("script of {} ({}): {note}", machine.mac, machine.name);
        }
        let (boot, reason) = (machine.boot.word(), machine.boot.reason().to_owned());
        let names: Vec<&str> = packs.wanted.iter().map(|pack| pack.name.as_str()).collect();
        let with = match (packs.ask, names.as_slice()) {
            (true, _) => "; it is asked for its devices first, because driver packs exist".to_owned(),
            (false, []) => String::new(),
            (false, names) => format!("; driver packs: {}", names.join(", ")),
        };
        log::info!("HTTP: {} ({}) gets its script: {boot}: {reason}{with}", machine.mac, machine.name);
        self.events.publish(Some(machine.mac), peer, Milestone::ScriptSent { boot, reason });
        sent(script)
    }

    /// The address, which the reservation gave, says which machine downloads.
    pub(super) async fn download(&self, path: String, parts: &Parts) -> Download {
        let address = peer(parts);
        let ask = || async {
            let machine = known_at(&*self.source, address?).await?;
            Some(Known::of(&self.config.now(), &machine))
        };
        let said = |known: &Known| (known.mac, known.kind_of(parts.uri.path(), &path));
        let known = match parts.extensions.get::<Caller>() {
            Some(caller) => caller.0.get_or_init(ask).await.as_ref().map(said),
            None => ask().await.as_ref().map(said),
        };
        let (mac, kind) = known.map_or((None, StepKind::File), |(mac, kind)| (Some(mac), kind));
        Download { events: self.events.clone(), mac, address, path, kind }
    }

    /// A step of a machine that did not get what it asked for.
    pub(super) fn refused(&self, mac: Option<Mac>, kind: StepKind, path: &str, status: StatusCode, why: &str) {
        if let Some(mac) = mac {
            self.events.step(mac, steps::of_refusal(kind, path, status.as_u16(), why, Timestamp::now()));
        }
    }

    /// Whether another file that this client does not get has a line.
    pub(super) fn is_news(&self, client: Option<IpAddr>) -> bool {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).allows(client, Instant::now())
    }

    pub(super) async fn serve(&self, path: String, parts: &Parts, opened: Result<File, OpenError>) -> Response {
        let download = self.download(path, parts).await;
        let error = match opened {
            Ok(file) => return files::respond(parts, file, download),
            Err(error) => error,
        };
        let (status, level, said) = match &error {
            OpenError::Missing(_) => (StatusCode::NOT_FOUND, log::Level::Warn, error.to_string()),
            OpenError::Outside(_) => (StatusCode::FORBIDDEN, log::Level::Warn, error.to_string()),
            OpenError::Io { .. } => {
                let said = "cannot open the file; the log of boots says why".to_owned();
                (StatusCode::INTERNAL_SERVER_ERROR, log::Level::Error, said)
            }
        };
        let is_news = self.is_news(download.address);
        let who = download.address.map(|peer| peer.to_string()).unwrap_or_default();
        log::log!(if is_news { level } else { log::Level::Debug }, "HTTP {who}: {}", Chain(&error));
        if is_news {
            self.refused(download.mac, StepKind::FileRefused, &download.path, status, &said);
        }
        refuse(status, said)
    }
}

async fn binary(State(boots): State<Boots>, Path(path): Path<String>, parts: Parts) -> Response {
    let (config, asked) = (boots.config.now(), path.clone());
    let open = move || ipxe::open_asked(&config, &asked).map(|(name, file)| (name.to_owned(), file));
    match elsewhere(&path, open).await {
        Ok((name, file)) => boots.serve(name, &parts, Ok(file)).await,
        Err(error) => boots.serve(path, &parts, Err(error)).await,
    }
}

/// Opens a file on a thread that may wait for a disk.
pub(super) async fn elsewhere<T: Send + 'static>(
    path: &str,
    open: impl FnOnce() -> Result<T, OpenError> + Send + 'static,
) -> Result<T, OpenError> {
    let failed = |error| OpenError::Io { path: path.to_owned(), source: io::Error::other(error) };
    tokio::task::spawn_blocking(open).await.map_err(failed)?
}

async fn file(State(boots): State<Boots>, Path(path): Path<String>, parts: Parts) -> Response {
    let opened = match beneath::open_cached(&boots.config.now().files, &path) {
        Some(opened) => opened,
        None => {
            let (config, asked) = (boots.config.now(), path.clone());
            elsewhere(&path, move || beneath::open(&config.files, &asked)).await
        }
    };
    boots.serve(path, &parts, opened).await
}
