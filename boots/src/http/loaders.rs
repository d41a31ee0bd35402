//! Configurations of boot loaders by HTTP, and installers for ONIE.

use std::sync::Arc;

use ::machine::Chain;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use http::request::Parts;
use jiff::Timestamp;

use super::router::{Boots, elsewhere, peer, refuse, sent};
use crate::Milestone;
use crate::beneath::{self, OpenError};
use crate::loaders::{self, By, Via};
use crate::packs::gather;

/// `pxelinux.cfg/...` and `grub/...`: Petitboot, and loaders that came by HTTP.
pub async fn configuration(State(boots): State<Boots>, parts: Parts) -> Response {
    let path = parts.uri.path().to_owned();
    let Some((asked, by)) = loaders::asked(&path) else {
        return refuse(StatusCode::NOT_FOUND, "boots makes no such file");
    };
    let address = peer(&parts);
    let found = match (by, address) {
        (By::Mac(mac), _) => boots.source.machine(mac).await,
        (By::Address(address), _) => boots.source.machine_at(address.into()).await,
        (By::Sender, Some(address)) => boots.source.machine_at(address).await,
        (By::Sender, None) => Ok(None),
    };
    let machine = match found {
        Ok(Some(machine)) => machine,
        Ok(None) => return refuse(StatusCode::NOT_FOUND, "no Hardware has this machine"),
        Err(error) => {
            log::error!("HTTP: no configuration: {}", Chain(&error));
            if let Some(made) = loaders::disk(&asked) {
                return sent(String::from_utf8_lossy(&made.bytes).into_owned());
            }
            return refuse(StatusCode::SERVICE_UNAVAILABLE, "cannot find out which machine this is; try again");
        }
    };
    let config = boots.config_for(&parts);
    let (shelf, settings, who) = (Arc::clone(&boots.packs), Arc::clone(&config), machine.clone());
    let gathered = tokio::task::spawn_blocking(move || gather(&settings, &shelf, &who, Some(&who.devices)).0).await;
    let packs = match gathered {
        Ok(packs) => packs,
        Err(error) => {
            log::error!("HTTP: no configuration for {}: {}", machine.mac, Chain(&error));
            return refuse(StatusCode::INTERNAL_SERVER_ERROR, "the files cannot be read; the log of boots says why");
        }
    };
    let now = u64::try_from(Timestamp::now().as_second()).unwrap_or(0);
    match loaders::make(&asked, Via::Http, &config, &machine, &packs, now) {
        Ok(made) => {
            let (boot, reason) = (machine.boot.word(), machine.boot.reason().to_owned());
            for note in &made.notes {
                log::warn!("configuration of {} ({}): {note}", machine.mac, machine.name);
            }
            log::info!("HTTP: {} ({}) gets its configuration: {boot}: {reason}", machine.mac, machine.name);
            boots.events.publish(Some(machine.mac), address, Milestone::ScriptSent { boot, reason });
            sent(String::from_utf8_lossy(&made.bytes).into_owned())
        }
        Err(why) => {
            log::warn!("HTTP: no configuration for {}: {why}", machine.mac);
            match loaders::instead(&asked, &machine, &why) {
                Some(made) => sent(String::from_utf8_lossy(&made.bytes).into_owned()),
                None => refuse(StatusCode::NOT_FOUND, why.to_string()),
            }
        }
    }
}

/// The installer for a switch, which says in headers what it is.
pub async fn onie(State(boots): State<Boots>, parts: Parts) -> Response {
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let names = loaders::onie_names(header("onie-arch"), header("onie-machine"), header("onie-machine-rev"));
    let config = boots.config.now();
    let open = move || {
        let found = names.into_iter().find_map(|name| Some((beneath::open(&config.files, &name).ok()?, name)));
        found.map(|(file, name)| (name, file)).ok_or_else(|| OpenError::Missing("onie-installer".to_owned()))
    };
    match elsewhere("onie-installer", open).await {
        Ok((name, file)) => boots.serve(name, &parts, Ok(file)).await,
        Err(error) => boots.serve("onie-installer".to_owned(), &parts, Err(error)).await,
    }
}
