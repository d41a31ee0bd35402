//! The ports of metadata, and the key in the data folder that makes the secrets of machines.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context, anyhow};
use rustix::rand::{GetRandomFlags, getrandom};
use tokio::net::TcpListener;

use crate::config::Config;

/// Below the data folder. Without it, all secrets of machines are new ones.
const KEY: &str = "metadata-key";

pub fn listen(config: &Config) -> anyhow::Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    for address in config.metadata.iter().flat_map(|metadata| &metadata.listen) {
        listeners.push(super::listen::listen("metadata", *address)?);
    }
    Ok(listeners)
}

pub fn settings(config: &Config) -> anyhow::Result<Option<boots::Metadata>> {
    let Some(metadata) = &config.metadata else { return Ok(None) };
    Ok(Some(boots::Metadata {
        key: key(&config.data)?,
        proxies: metadata.proxies.iter().map(|network| network.parts()).collect(),
        proof: metadata.proof,
    }))
}

/// The key of this host. The first use makes it.
pub fn key(data: &Path) -> anyhow::Result<metadata::Key> {
    let path = data.join(KEY);
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(data).with_context(|| format!("cannot make the data folder {}", data.display()))?;
            let mut bytes = [0; 32];
            let filled = getrandom(&mut bytes[..], GetRandomFlags::empty()).context("the kernel gives no random bytes")?;
            anyhow::ensure!(filled == bytes.len(), "the kernel gives no random bytes");
            let text = hex::encode(bytes);
            access::replace(&path, text.as_bytes(), 0o600).with_context(|| format!("cannot write {}", path.display()))?;
            text
        }
        read => read.with_context(|| format!("cannot read {}", path.display()))?,
    };
    let bytes = hex::decode(text.trim()).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    let remedy = "delete it, and machines get new secrets";
    Ok(metadata::Key::new(&bytes.ok_or_else(|| anyhow!("{} does not have 64 hexadecimal digits; {remedy}", path.display()))?))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_key_is_made_once_and_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("new");
        let name = model::ObjectName::new("lab", "m1");
        let secret = key(&data).unwrap().secret(&name);
        assert_eq!(key(&data).unwrap().secret(&name), secret);
        assert_eq!(fs::metadata(data.join(KEY)).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(data.join(KEY), "short").unwrap();
        let error = key(&data).unwrap_err().to_string();
        assert!(error.contains("metadata-key does not have 64 hexadecimal digits; delete it"), "{error}");
    }
}
