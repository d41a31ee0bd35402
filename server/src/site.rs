//! What the servers of a site share besides objects: the certificate authority, the key of metadata, and the tokens. They lie
//! sealed in the store, and each server keeps them in its data folder, where its commands read and change them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use access::{FOLDER, SiteKey, SiteKeyError, Token, TokenError, Tokens};
use log::{error, info};
use machine::Chain;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout};

use crate::service::{Inner, Server};
use crate::store::{Store, StoreError, Transaction};

/// The files that all servers have, sealed as one. Not below `/`, so the view does not hold it.
const SECRETS: &str = "site/secrets";
pub(crate) const TOKENS: &str = "site/tokens";
/// Each with its permissions.
const FILES: [(&str, u32); 3] = [("access/ca.key", 0o600), ("access/ca.crt", 0o644), ("metadata-key", 0o600)];
/// How often the file of the tokens is looked at: one that was deleted here ends everywhere within this time.
const LOOK: Duration = Duration::from_secs(1);
/// How often the site is asked, even if no change was seen.
const ANYWAY: Duration = Duration::from_secs(60);
/// Writers that meet: as many servers as any site has.
const TRIES: usize = 20;

#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    #[error(transparent)]
    Key(#[from] SiteKeyError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Tokens(#[from] TokenError),
    #[error("cannot {doing} {}", .path.display())]
    File {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is not that of the site: move it away (and what else belongs to it), so that this host gets the site's; or give another store", .0.display())]
    Differs(PathBuf),
    #[error("{name} in the store is not what a server writes")]
    Content {
        name: &'static str,
        #[source]
        source: serde_json::Error,
    },
    #[error("other servers change the tokens all the time; this happens again in a moment")]
    Busy,
}

/// File by file, below the data folder.
#[derive(Serialize, Deserialize)]
struct Secrets(BTreeMap<String, String>);

#[derive(Serialize, Deserialize)]
struct Shared {
    tokens: Vec<Token>,
}

impl Server {
    /// Takes the site's secrets into the data folder. The first server gives it its own, which `make` makes if they are missing.
    /// From then on a token that is made or deleted at one server is so at all.
    ///
    /// # Errors
    /// If this host has other secrets, the key is not the site's, or store or folder cannot be used.
    pub async fn join_site<E>(
        &self,
        data: &Path,
        key: SiteKey,
        make: impl FnOnce() -> Result<(), E>,
    ) -> Result<Result<(), E>, SiteError> {
        let store = &*self.0.store;
        if !take_secrets(store, data, &key).await? {
            if let Err(error) = make() {
                return Ok(Err(error));
            }
            give_secrets(store, data, &key).await?;
        }
        let tokens = Tokens::below(&data.join(FOLDER));
        exchange(store, &tokens, &key).await?;
        tokio::spawn(keep(Arc::downgrade(&self.0), tokens, key));
        Ok(Ok(()))
    }
}

/// Writes the site's secrets below the folder. False if the site has none yet.
async fn take_secrets(store: &dyn Store, data: &Path, key: &SiteKey) -> Result<bool, SiteError> {
    let Some(pair) = store.get(SECRETS).await? else { return Ok(false) };
    let opened = key.open(SECRETS, &pair.value)?;
    let Secrets(found) = serde_json::from_slice(&opened).map_err(|source| SiteError::Content { name: SECRETS, source })?;
    let missing: Vec<_> = FILES.iter().filter_map(|(name, mode)| Some((data.join(name), found.get(*name)?, *mode))).collect();
    for (path, content, _) in &missing {
        match fs::read_to_string(path) {
            Ok(own) if own.trim() != content.trim() => return Err(SiteError::Differs(path.clone())),
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(SiteError::File { doing: "read", path: path.clone(), source });
            }
            _ => {}
        }
    }
    for (path, content, mode) in missing.into_iter().filter(|(path, ..)| !path.exists()) {
        write(&path, content, mode).map_err(|source| SiteError::File { doing: "write", path: path.clone(), source })?;
    }
    Ok(true)
}

fn write(path: &Path, content: &str, mode: u32) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    access::replace(path, content.as_bytes(), mode)
}

/// Gives the site the secrets of this host.
async fn give_secrets(store: &dyn Store, data: &Path, key: &SiteKey) -> Result<(), SiteError> {
    let mut secrets = BTreeMap::new();
    for (name, _) in FILES {
        let path = data.join(name);
        let content = fs::read_to_string(&path).map_err(|source| SiteError::File { doing: "read", path, source })?;
        secrets.insert(name.to_owned(), content);
    }
    let text = serde_json::to_vec(&Secrets(secrets)).map_err(|source| SiteError::Content { name: SECRETS, source })?;
    match store.commit(Transaction::default().put(SECRETS, 0, key.seal(SECRETS, &text)?)).await {
        Ok(_) => {
            info!("this server gave the site its certificate authority; further servers take it from the store");
            Ok(())
        }
        // Another server was faster. This one has its own secrets by now, which is said with what to do.
        Err(StoreError::Conflict { .. }) => take_secrets(store, data, key).await.map(drop),
        Err(other) => Err(other.into()),
    }
}

/// Brings the tokens of this server and those of the site together.
async fn exchange(store: &dyn Store, tokens: &Tokens, key: &SiteKey) -> Result<(), SiteError> {
    for _ in 0..TRIES {
        let pair = store.get(TOKENS).await?;
        let site = match &pair {
            None => Vec::new(),
            Some(pair) => {
                let opened = key.open(TOKENS, &pair.value)?;
                let shared: Shared =
                    serde_json::from_slice(&opened).map_err(|source| SiteError::Content { name: TOKENS, source })?;
                shared.tokens
            }
        };
        let joined = tokens.join(&site)?;
        if joined != site {
            let text = serde_json::to_vec(&Shared { tokens: joined.clone() });
            let text = text.map_err(|source| SiteError::Content { name: TOKENS, source })?;
            let seen = pair.map_or(0, |pair| pair.modified);
            match store.commit(Transaction::default().put(TOKENS, seen, key.seal(TOKENS, &text)?)).await {
                Err(StoreError::Conflict { .. }) => continue,
                done => done.map(drop)?,
            }
        }
        return Ok(tokens.are_shared(&joined)?);
    }
    Err(SiteError::Busy)
}

/// Until the server is dropped.
async fn keep(server: Weak<Inner>, tokens: Tokens, key: SiteKey) {
    let Some(changed) = server.upgrade().map(|server| Arc::clone(&server.tokens)) else { return };
    let mut fails = false;
    let mut seen = None;
    let mut asked = Instant::now();
    loop {
        let is_changed = timeout(LOOK, changed.notified()).await.is_ok();
        let Some(server) = server.upgrade() else { return };
        let now = Some(tokens.stamp());
        if !is_changed && !fails && now == seen && asked.elapsed() < ANYWAY {
            continue;
        }
        asked = Instant::now();
        match exchange(&*server.store, &tokens, &key).await {
            Ok(()) => {
                if std::mem::take(&mut fails) {
                    info!("the tokens of the site are shared again");
                }
                // If the exchange itself wrote the file, it is looked at once more, and changes nothing.
                seen = now;
            }
            Err(reason) if !std::mem::replace(&mut fails, true) => {
                error!("tokens that are made or deleted elsewhere do not arrive: {}", Chain(&reason));
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests;
