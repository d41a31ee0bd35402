//! The paths of boots. [`serve`](super::serve) adds the peer's address as `ConnectInfo<SocketAddr>`. If a path does not name
//! the machine, that address does.

use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ::machine::Chain;
use ::machine::network::covers;
use axum::Router;
use axum::extract::{ConnectInfo, Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use devices::modalias::Device;
use http::request::Parts;
use http::{StatusCode, header};
use jiff::Timestamp;
use model::Mac;

use super::download::Download;
use super::front::Caller;
use super::{files, images};
use crate::beneath::{self, OpenError};
use crate::images::Images;
use crate::ipxe::Packs;
use crate::machine::mac_at;
use crate::packs::{self, Shelf, scan};
use crate::server_ca;
use crate::{BootInterface, Config, Events, MachineSource, Milestone, ipxe};

#[derive(Clone)]
pub(super) struct Boots {
    config: Arc<Config>,
    source: Arc<dyn MachineSource>,
    events: Events,
    packs: Arc<Shelf>,
    pub(super) images: Option<Arc<Images>>,
}

pub fn router(config: Arc<Config>, source: Arc<dyn MachineSource>, events: Events) -> Router {
    let packs = Arc::new(Shelf::new(config.files.clone()));
    let images = config.images.clone().map(|folder| Arc::new(Images::new(folder)));
    Router::new()
        .route("/ipxe/script/{*path}", get(script))
        .route("/ipxe/binary/{*path}", get(binary))
        .route("/ipxe/server-ca.cpio.zst", get(authority))
        .route("/files/{*path}", get(file))
        .route("/v2", any(images::v2))
        .route("/v2/", any(images::v2))
        .route("/v2/{*path}", any(images::v2))
        .with_state(Boots { config, source, events, packs, images })
}

/// The same for boots alone, with its own probes and metrics.
pub fn alone(config: Arc<Config>, source: Arc<dyn MachineSource>, events: Events) -> Router {
    let counted = events.clone();
    let scrape = move || {
        let mut text = metrics::Text::default();
        counted.write_metrics(&mut text);
        std::future::ready(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text.into_string()))
    };
    // Its sockets are open before it serves.
    let probe = || get(async || "ok");
    router(config, source, events).route("/healthz", probe()).route("/readyz", probe()).route("/metrics", get(scrape))
}

/// iPXE shows the status only; `curl` shows the reason.
fn refuse(status: StatusCode, reason: impl Into<String>) -> Response {
    (status, format!("{}\n", reason.into())).into_response()
}

pub(super) fn peer(parts: &Parts) -> Option<IpAddr> {
    parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip().to_canonical())
}

async fn script(State(boots): State<Boots>, Path(path): Path<String>, parts: Parts) -> Response {
    let (folder, name) = path.rsplit_once('/').map_or(("", path.as_str()), |(folder, name)| (folder, name));
    if !matches!(name, "auto.ipxe" | "custom.ipxe") {
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
        Ok(Some(machine)) => boots.script(&machine, peer, scan::reported(parts.uri.query().unwrap_or_default())).await,
        Ok(None) => {
            if let Some(machine) = boots.discovered(mac, peer) {
                return boots.script(&machine, peer, scan::reported(parts.uri.query().unwrap_or_default())).await;
            }
            log::warn!("HTTP: no script for {who}: unknown machine");
            refuse(StatusCode::NOT_FOUND, format!("{who} is an unknown machine; apply a Hardware with its MAC"))
        }
        Err(error) => {
            log::error!("HTTP: no script for {who}: {}", Chain(&error));
            refuse(StatusCode::SERVICE_UNAVAILABLE, format!("cannot find out which machine {who} is; try again"))
        }
    }
}

/// Nothing in it is secret.
async fn authority(State(boots): State<Boots>) -> Response {
    match boots.config.server_ca.as_deref().map(server_ca::segment) {
        Some(Ok(segment)) => ([(header::CONTENT_TYPE, "application/octet-stream")], segment).into_response(),
        Some(Err(error)) => {
            log::error!("HTTP: no segment with the server's certificate authority: {error}");
            refuse(StatusCode::INTERNAL_SERVER_ERROR, "the certificate authority cannot be sent")
        }
        None => refuse(StatusCode::NOT_FOUND, "this host has no certificate authority"),
    }
}

impl Boots {
    /// An unknown machine on a network where machines are discovered: it gets the ramdisk, whose agent makes it known.
    fn discovered(&self, mac: Option<Mac>, peer: Option<IpAddr>) -> Option<BootInterface> {
        let peer = peer?;
        let is_on = |(network, length): &(IpAddr, u8)| covers(*network, *length, peer);
        self.config.discovery.iter().any(is_on).then(|| mac.map(BootInterface::unknown)).flatten()
    }

    /// The driver packs for the machine's devices. iPXE has just named them, or the agent did at an earlier boot.
    async fn packs(&self, machine: &BootInterface, reported: Option<Vec<Device>>) -> Packs {
        let Some(folder) = ipxe::ramdisk_folder(&self.config, machine) else { return Packs::default() };
        let (shelf, named, ask) = (Arc::clone(&self.packs), machine.packs.clone(), reported.is_none());
        let (config, ramdisk) = (Arc::clone(&self.config), ipxe::ramdisk(&self.config, machine).to_owned());
        let devices = reported.unwrap_or_else(|| machine.devices.clone());
        // This reads files, and compares hundreds of devices with thousands of patterns.
        let found = tokio::task::spawn_blocking(move || {
            let takes_server_ca = config.server_ca.is_some() && server_ca::is_understood(&config.files, &ramdisk);
            let Some(index) = shelf.index(&folder).filter(|index| !index.packs.is_empty()) else {
                return (Packs { takes_server_ca, ..Packs::default() }, Vec::new());
            };
            let unknown: Vec<String> = packs::unknown(&index, &named).into_iter().map(str::to_owned).collect();
            (Packs { wanted: packs::wanted(&index, &devices, &named), ask, takes_server_ca }, unknown)
        });
        match found.await {
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

    async fn script(&self, machine: &BootInterface, peer: Option<IpAddr>, reported: Option<Vec<Device>>) -> Response {
        let packs = self.packs(machine, reported).await;
        let now = u64::try_from(Timestamp::now().as_second()).unwrap_or(0);
        let (script, notes) = match ipxe::auto(&self.config, machine, &packs, now) {
            Ok(script) => script,
            Err(error) => {
                log::warn!("HTTP: no script for {}: {error}", machine.mac);
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
        ([(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-store")], script).into_response()
    }

    /// The address, which the reservation gave, says which machine downloads.
    pub(super) async fn download(&self, path: String, parts: &Parts) -> Download {
        let address = peer(parts);
        let ask = || async {
            match address {
                Some(peer) => mac_at(&*self.source, peer).await,
                None => None,
            }
        };
        let mac = match parts.extensions.get::<Caller>() {
            Some(caller) => *caller.0.get_or_init(ask).await,
            None => ask().await,
        };
        Download { events: self.events.clone(), mac, address, path }
    }

    async fn serve(&self, path: String, parts: &Parts, opened: Result<File, OpenError>) -> Response {
        let who = || peer(parts).map(|peer| peer.to_string()).unwrap_or_default();
        match opened {
            Ok(file) => files::respond(parts, file, self.download(path, parts).await),
            Err(error @ OpenError::Missing(_)) => {
                log::warn!("HTTP {}: {error}", who());
                refuse(StatusCode::NOT_FOUND, error.to_string())
            }
            Err(error @ OpenError::Outside(_)) => {
                log::warn!("HTTP {}: refused: {error}", who());
                refuse(StatusCode::FORBIDDEN, error.to_string())
            }
            Err(error @ OpenError::Io { .. }) => {
                log::error!("HTTP {}: {}", who(), Chain(&error));
                refuse(StatusCode::INTERNAL_SERVER_ERROR, "cannot open the file; the log of boots says why")
            }
        }
    }
}

async fn binary(State(boots): State<Boots>, Path(path): Path<String>, parts: Parts) -> Response {
    let (config, asked) = (Arc::clone(&boots.config), path.clone());
    let open = move || ipxe::open_asked(&config.nbp, &asked).map(|(name, file)| (name.to_owned(), file));
    match elsewhere(&path, open).await {
        Ok((name, file)) => boots.serve(name, &parts, Ok(file)).await,
        Err(error) => boots.serve(path, &parts, Err(error)).await,
    }
}

/// Opens a file on a thread that may wait for a disk.
async fn elsewhere<T: Send + 'static>(
    path: &str,
    open: impl FnOnce() -> Result<T, OpenError> + Send + 'static,
) -> Result<T, OpenError> {
    let failed = |error| OpenError::Io { path: path.to_owned(), source: io::Error::other(error) };
    tokio::task::spawn_blocking(open).await.map_err(failed)?
}

async fn file(State(boots): State<Boots>, Path(path): Path<String>, parts: Parts) -> Response {
    let opened = match beneath::open_cached(&boots.config.files, &path) {
        Some(opened) => opened,
        None => {
            let (config, asked) = (Arc::clone(&boots.config), path.clone());
            elsewhere(&path, move || beneath::open(&config.files, &asked)).await
        }
    };
    boots.serve(path, &parts, opened).await
}
