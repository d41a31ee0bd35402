//! The data folder of a server on this host, for commands that work on its files: tokens, and the certificate authority.

use std::io;
use std::path::{Path, PathBuf};

use access::FOLDER;
use anyhow::{Context, bail};
use clap::Args;
use machine::ports;

use crate::config::Settings;

/// Where clients reach the server. The server writes it at each start.
const URL: &str = "server-url";

#[derive(Args, Debug)]
pub struct DataFolder {
    /// Folder of the server's data; the default is that of the settings file, or /var/lib/thimble
    #[arg(long, env = "THIMBLE_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// Settings file of the server
    #[arg(long, env = "THIMBLE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

impl DataFolder {
    /// Where it is, which need not exist.
    ///
    /// # Errors
    /// If the settings file cannot be read.
    pub fn path(&self) -> anyhow::Result<PathBuf> {
        let settings = self.config.as_deref().map(Settings::read).transpose()?.unwrap_or_default();
        Ok(self.data.clone().or(settings.data).unwrap_or_else(|| PathBuf::from("/var/lib/thimble")))
    }

    /// The store of the server, if it is not a file of the folder.
    ///
    /// # Errors
    /// If the settings file cannot be read.
    pub fn store(&self) -> anyhow::Result<Option<String>> {
        let settings = self.config.as_deref().map(Settings::read).transpose()?.unwrap_or_default();
        Ok(std::env::var("THIMBLE_STORE").ok().filter(|store| !store.is_empty()).or(settings.store))
    }

    /// The folder below it that says who may call.
    ///
    /// # Errors
    /// If no server has run with it, or it is another user's.
    pub fn access(&self) -> anyhow::Result<PathBuf> {
        let folder = self.path()?.join(FOLDER);
        match std::fs::read_dir(&folder) {
            Ok(_) => Ok(folder),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                bail!("{} does not exist: start `thimble up` first, or name its data folder with --data", folder.display())
            }
            Err(error) => Err(error).with_context(|| format!("cannot read {}; run this as root", folder.display())),
        }
    }

    /// Where machines reach this host by HTTP: as its settings file says, else as its server has written.
    ///
    /// # Errors
    /// If neither says it.
    pub fn http(&self) -> anyhow::Result<String> {
        let settings = self.config.as_deref().map(Settings::read).transpose()?.unwrap_or_default();
        let port = settings.http.map_or(ports::HTTP, |http| http.port());
        if let Some(address) = settings.address {
            return Ok(format!("http://{address}:{port}"));
        }
        let url = url(&self.path()?.join(FOLDER)).context("give the settings file with --config")?;
        let host = url.strip_prefix("https://").and_then(|rest| Some(rest.rsplit_once(':')?.0));
        Ok(format!("http://{}:{port}", host.with_context(|| format!("{url} is not the URL of a server"))?))
    }

    /// The certificate authority of this host's server, or where it would be.
    ///
    /// # Errors
    /// If the settings file cannot be read.
    pub fn authority(&self) -> anyhow::Result<PathBuf> {
        Ok(self.path()?.join(FOLDER).join(access::CERTIFICATE))
    }
}

/// Writes only what is new, so a full disk does not keep a server from starting.
pub fn write_url(data: &Path, url: &str) -> io::Result<()> {
    let (path, line) = (data.join(FOLDER).join(URL), format!("{url}\n"));
    match std::fs::read_to_string(&path) {
        Ok(written) if written == line => Ok(()),
        _ => access::replace(&path, line.as_bytes(), 0o644),
    }
}

/// Where clients reach the server of this folder.
pub fn url(folder: &Path) -> anyhow::Result<String> {
    let path = folder.join(URL);
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}; start `thimble up` once, or give --server URL", path.display()))?;
    Ok(text.trim().to_owned())
}
