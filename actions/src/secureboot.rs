//! `secureboot`: gives the firmware the keys of Secure Boot, while it has none (setup mode).
//!
//! The order is db, dbx, KEK and PK: the last one ends setup mode. Everything is read and checked before the first is written.

pub mod lists;

use crate::efi::efivars::{Efivars, EfivarsError, GLOBAL, Value};
use crate::fetch::{self, FetchError};
use crate::image2disk::Web;
use crate::say;
use crate::variables::{VariableError, Variables, unusable};
use lists::ListError;
use std::path::Path;

/// `EFI_IMAGE_SECURITY_DATABASE_GUID`
const SECURITY: &str = "d719b2cb-3d3a-4596-a3bc-dad00e67656f";
/// Non-volatile, for boot services and at run time, with a signature that has a time.
const ATTRIBUTES: u32 = 0x27;
/// dbx of today has less than 32 KiB.
const FILE_MAX: u64 = 512 << 10;
/// In the order in which they are written.
const STORES: [(&str, &str); 4] = [("db", SECURITY), ("dbx", SECURITY), ("KEK", GLOBAL), ("PK", GLOBAL)];

#[derive(Debug, thiserror::Error)]
pub enum SecureBootError {
    #[error(transparent)]
    Variable(#[from] VariableError),
    #[error(transparent)]
    Efivars(#[from] EfivarsError),
    #[error("the certificates for KEYS")]
    Trust(#[from] trust::TrustError),
    #[error("KEYS")]
    Fetch(#[from] FetchError),
    #[error("KEYS: {file} cannot be enrolled; nothing was written")]
    List {
        file: String,
        #[source]
        source: ListError,
    },
    #[error("KEYS: {0} has none of db, dbx, KEK and PK as .auth or .esl")]
    NoKeys(String),
    #[error(
        "the firmware is not in setup mode, so it takes no keys; nothing was written. Delete its platform key in the firmware's \
         menu, or by the BMC, and start the machine again"
    )]
    NotInSetupMode,
    #[error("the firmware has no variable SetupMode: it does not support Secure Boot")]
    NotSupported,
    #[error(
        "KEYS: {keys} has PK and no {missing}, and neither has the firmware. PK ends setup mode, and afterwards only the owner of PK \
         could add it; nothing was written"
    )]
    Incomplete { keys: String, missing: &'static str },
    #[error("{0} was written, and reads as something else")]
    NotTaken(String),
    #[error("all keys were written, and the firmware is still in setup mode")]
    StillInSetupMode,
}

struct Key {
    name: &'static str,
    vendor: &'static str,
    file: String,
    value: Value,
    lists: Vec<u8>,
}

struct Settings {
    keys: String,
    efivars: Efivars,
    web: Web,
}

impl Settings {
    fn read(variables: &Variables) -> Result<Self, SecureBootError> {
        let keys = variables.text("KEYS")?;
        if !["http://", "https://", "file:///", "/"].iter().any(|start| keys.starts_with(start)) {
            return Err(unusable("KEYS", &keys, "the URL or the absolute path of a folder").into());
        }
        let keys = keys.trim_end_matches('/').to_owned();
        let web = Web::read::<SecureBootError>(variables)?;
        Ok(Self { keys, efivars: Efivars::open(variables.optional("EFIVARFS_PATH").map(Path::new))?, web })
    }
}

pub fn run(variables: &Variables) -> Result<(), SecureBootError> {
    let settings = Settings::read(variables)?;
    let keys = keys(&settings)?;
    for Key { name, vendor, file, value, lists } in &keys {
        settings.efivars.write(name, vendor, value)?;
        // The firmware keeps the lists without the signature.
        let taken = settings.efivars.read(name, vendor)?.is_some_and(|read| read.data.ends_with(lists));
        if !taken {
            return Err(SecureBootError::NotTaken((*name).to_owned()));
        }
        say(&format!("enrolled {} of {file} as {name}", lists::describe(lists)));
    }
    if keys.iter().any(|key| key.name == "PK") && setup_mode(&settings.efivars)? {
        return Err(SecureBootError::StillInSetupMode);
    }
    Ok(())
}

/// Reads and checks the keys, and says what `run` would write.
pub fn dry_run(variables: &Variables) -> Result<(), SecureBootError> {
    let settings = Settings::read(variables)?;
    for Key { name, file, lists, .. } in keys(&settings)? {
        say(&format!("would enrol {} of {file} as {name}", lists::describe(&lists)));
    }
    say("nothing was written");
    Ok(())
}

fn keys(settings: &Settings) -> Result<Vec<Key>, SecureBootError> {
    if !setup_mode(&settings.efivars)? {
        return Err(SecureBootError::NotInSetupMode);
    }
    let mut keys = Vec::new();
    for (name, vendor) in STORES {
        for ending in ["auth", "esl"] {
            let place = format!("{}/{name}.{ending}", settings.keys);
            let data = match fetch::bytes(&settings.web, &place, FILE_MAX) {
                Err(error) if error.is_absent() => continue,
                fetched => fetched?,
            };
            let file = format!("{name}.{ending}");
            let prepared = if ending == "auth" { lists::of_auth(&data) } else { lists::unsigned(&data, name == "PK") };
            let (data, lists) = prepared.map_err(|source| SecureBootError::List { file: file.clone(), source })?;
            keys.push(Key { name, vendor, file, value: Value { attributes: ATTRIBUTES, data }, lists });
            break;
        }
    }
    if keys.is_empty() {
        return Err(SecureBootError::NoKeys(settings.keys.clone()));
    }
    let has = |name: &str| keys.iter().any(|key| key.name == name);
    for (name, vendor) in STORES.into_iter().filter(|(name, _)| has("PK") && matches!(*name, "db" | "KEK")) {
        let in_firmware = settings.efivars.read(name, vendor)?.is_some_and(|value| !value.data.is_empty());
        if !has(name) && !in_firmware {
            return Err(SecureBootError::Incomplete { keys: settings.keys.clone(), missing: name });
        }
    }
    Ok(keys)
}

fn setup_mode(efivars: &Efivars) -> Result<bool, SecureBootError> {
    let value = efivars.read("SetupMode", GLOBAL)?.ok_or(SecureBootError::NotSupported)?;
    Ok(value.data.first() == Some(&1))
}

#[cfg(test)]
mod tests;
