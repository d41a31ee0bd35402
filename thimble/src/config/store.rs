//! The settings `store`, `store-ca`, `store-certificate` and `store-key`: etcd in place of a file.

use std::path::{Path, PathBuf};

use anyhow::Context;
use server::store::{EtcdAddress, EtcdSettings, EtcdTls};

/// Where etcd is, and the files that TLS needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Etcd {
    pub address: EtcdAddress,
    pub tls: Option<Files>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    pub authority: PathBuf,
    /// Certificate and key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// The settings as they were given.
pub struct Given {
    pub store: Option<String>,
    pub ca: Option<PathBuf>,
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

/// Adds a mistake for a setting that has no effect without another one.
pub fn checked(given: Given, mistakes: &mut Vec<String>) -> Option<Etcd> {
    let Given { store, ca, certificate, key } = given;
    let others = [("store-ca", ca.is_some()), ("store-certificate", certificate.is_some()), ("store-key", key.is_some())];
    let Some(store) = store else {
        for (name, _) in others.iter().filter(|(_, is_given)| *is_given) {
            mistakes.push(format!("{name}: it is for etcd, which the setting store names"));
        }
        return None;
    };
    let address = store.parse().map_err(|error| mistakes.push(format!("store: {error}"))).ok()?;
    let Some(authority) = ca else {
        for (name, _) in others.iter().filter(|(_, is_given)| *is_given) {
            mistakes.push(format!("{name}: TLS with etcd needs store-ca, the authority of its members"));
        }
        return Some(Etcd { address, tls: None });
    };
    let identity = match (certificate, key) {
        (Some(certificate), key) => Some((certificate.clone(), key.unwrap_or(certificate))),
        (None, None) => None,
        (None, Some(_)) => {
            mistakes.push("store-key: its certificate is missing, which store-certificate names".to_owned());
            None
        }
    };
    Some(Etcd { address, tls: Some(Files { authority, identity }) })
}

impl Etcd {
    /// Every file that is read.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> {
        let identity = self.tls.iter().filter_map(|files| files.identity.clone());
        let identity = identity.flat_map(|(certificate, key)| [certificate, key]);
        self.tls.iter().map(|files| files.authority.clone()).chain(identity)
    }

    /// With the content of the files.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn read(&self) -> anyhow::Result<EtcdSettings> {
        let tls = match &self.tls {
            None => None,
            Some(Files { authority, identity }) => Some(EtcdTls {
                authority: content("store-ca", authority)?,
                identity: match identity {
                    Some((certificate, key)) => Some((content("store-certificate", certificate)?, content("store-key", key)?)),
                    None => None,
                },
            }),
        };
        Ok(EtcdSettings { address: self.address.clone(), tls })
    }
}

fn content(setting: &str, path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("{setting}: cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etcd_is_named_by_its_members_and_speaks_tls_with_an_authority() {
        let path = |text: &str| (!text.is_empty()).then(|| PathBuf::from(text));
        for (store, ca, certificate, key, files, mistakes) in [
            ("", "", "", "", "", ""),
            ("etcd://a,b:1/site", "", "", "", "", ""),
            ("etcd://a", "/ca", "", "", "/ca", ""),
            ("etcd://a", "/ca", "/c", "/k", "/ca /c /k", ""),
            ("etcd://a", "/ca", "/c", "", "/ca /c /c", ""),
            ("etcd://a", "", "/c", "/k", "", "store-certificate store-key"),
            ("etcd://a", "/ca", "", "/k", "/ca", "store-key"),
            ("", "/ca", "", "/k", "", "store-ca store-key"),
            ("redb://a", "/ca", "", "", "", "store"),
        ] {
            let mut found = Vec::new();
            let store = (!store.is_empty()).then(|| store.to_owned());
            let given = Given { store: store.clone(), ca: path(ca), certificate: path(certificate), key: path(key) };
            let etcd = checked(given, &mut found);
            let shown: Vec<String> = etcd.iter().flat_map(Etcd::files).map(|file| file.display().to_string()).collect();
            let named: Vec<&str> = found.iter().filter_map(|text| Some(text.split_once(':')?.0)).collect();
            assert_eq!(
                (shown.join(" ").as_str(), named.join(" ").as_str()),
                (files, mistakes),
                "{store:?} {ca} {certificate} {key}"
            );
        }
    }
}
