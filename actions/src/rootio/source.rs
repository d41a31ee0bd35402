//! Where the metadata comes from: the metadata service of the provisioning host, or a file.

use super::storage::{DOCUMENT_MAX, Storage, StorageError};
use crate::image2disk::{self, StreamError};
use crate::variables::{VariableError, Variables};
use std::io::Read;
use std::time::Duration;

/// Upstream's, which boots serves too.
const PORT: &str = "50061";
/// How long the service may be unreachable.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    #[error("MIRROR_HOST and METADATA_SERVICE_PORT, or JSON_FILE")]
    Stream(#[from] StreamError),
    #[error("cannot read {url}")]
    Read {
        url: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{url} does not describe storage")]
    Storage {
        url: String,
        #[source]
        source: StorageError,
    },
}

/// A URL or a path.
pub struct Source {
    url: String,
    variables: Variables,
}

impl Source {
    /// # Errors
    /// If neither a host nor a file is named.
    pub fn read(variables: &Variables) -> Result<Self, VariableError> {
        let url = if variables.optional("JSON_FILE").is_some() {
            variables.absolute_path("JSON_FILE")?.to_string_lossy().into_owned()
        } else {
            let host = variables.text("MIRROR_HOST")?;
            let port = if variables.optional("METADATA_SERVICE_PORT").is_some() {
                variables.text("METADATA_SERVICE_PORT")?
            } else {
                PORT.to_owned()
            };
            url(&host, &port)
        };
        Ok(Self { url, variables: variables.clone() })
    }

    /// # Errors
    /// What cannot be read, or is not such a document.
    pub fn storage(&self) -> Result<Storage, MetadataError> {
        let stream = image2disk::open(&self.url, &self.variables, PATIENCE)?;
        let mut document = Vec::new();
        let read = stream.take(DOCUMENT_MAX).read_to_end(&mut document);
        read.map_err(|source| MetadataError::Read { url: self.url.clone(), source })?;
        Storage::parse(&document).map_err(|source| MetadataError::Storage { url: self.url.clone(), source })
    }
}

/// A host may be an IPv6 address.
fn url(host: &str, port: &str) -> String {
    let host = host.trim().trim_end_matches('/');
    let host = host.strip_prefix("http://").unwrap_or(host);
    if host.parse::<std::net::Ipv6Addr>().is_ok() {
        format!("http://[{host}]:{port}/metadata")
    } else {
        format!("http://{host}:{port}/metadata")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_has_upstreams_address() {
        assert_eq!(url("192.168.56.4", PORT), "http://192.168.56.4:50061/metadata");
        assert_eq!(url("http://boots/", "7080"), "http://boots:7080/metadata");
        assert_eq!(url("fd00::1", "7080"), "http://[fd00::1]:7080/metadata");
    }

    #[test]
    fn a_file_is_read_in_its_place() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, r#"{"metadata":{"instance":{"storage":{"disks":[{"device":"/dev/sda"}]}}}}"#).unwrap();
        let variables = Variables::of([("JSON_FILE", file.path().to_str().unwrap())]);
        assert_eq!(Source::read(&variables).unwrap().storage().unwrap().disks[0].device, "/dev/sda");
        let none = Source::read(&Variables::of([])).err().unwrap();
        assert_eq!(none.to_string(), "MIRROR_HOST is not set");
    }
}
