//! HTTPS for downloads, with the agent's verifier. ureq does not take a verifier, so this is the last of its connectors.

use crate::variables::Variables;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::collections::HashSet;
use std::fmt;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use trust::{Trust, TrustError};
use ureq::Error;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport, TransportAdapter,
};

/// Where images of actions and volumes of the machine have certificates. Go's programs look there too.
const FILES: [&str; 3] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem"];
const FOLDERS: [&str; 2] = ["/etc/ssl/certs", "/etc/pki/tls/certs"];
/// More certificates than a distribution has.
const FILES_MAX: usize = 1000;
const CERTIFICATES_MAX: usize = 3000;

/// Trusts Mozilla's roots, which are part of the program, and the certificates that the action was given: `SSL_CERT_FILE`,
/// `SSL_CERT_DIR`, and what lies at the usual places of the container.
pub fn config(variables: &Variables) -> Result<Arc<ClientConfig>, TrustError> {
    let mut found: HashSet<CertificateDer<'static>> = HashSet::new();
    match variables.optional("SSL_CERT_FILE") {
        Some(path) => found.extend(trust::certificates(Path::new(path))?),
        None => found.extend(FILES.iter().find_map(|path| trust::certificates(Path::new(path)).ok()).unwrap_or_default()),
    }
    let folders: Vec<PathBuf> = match variables.optional("SSL_CERT_DIR") {
        Some(list) => std::env::split_paths(list).collect(),
        None => FOLDERS.iter().map(PathBuf::from).collect(),
    };
    for file in folders.iter().flat_map(|folder| std::fs::read_dir(folder).into_iter().flatten().flatten()).take(FILES_MAX) {
        if found.len() >= CERTIFICATES_MAX {
            break;
        }
        // Folders of certificates have other files too. A file that cannot be read as a certificate is skipped.
        found.extend(trust::certificates(&file.path()).unwrap_or_default());
    }
    Ok(Arc::new(Trust { extra: found.into_iter().collect(), ..Trust::default() }.client_config()?))
}

/// Trusts only what is part of the program.
pub fn built_in() -> Result<Arc<ClientConfig>, TrustError> {
    Ok(Arc::new(Trust::default().client_config()?))
}

/// For a registry that the operator names as insecure.
pub fn unverified() -> Result<Arc<ClientConfig>, TrustError> {
    Ok(Arc::new(Trust { unverified: true, ..Trust::default() }.client_config()?))
}

#[derive(Debug)]
pub struct TlsConnector(pub Arc<ClientConfig>);

impl<In: Transport> Connector<In> for TlsConnector {
    type Out = Either<In, TlsTransport>;

    fn connect(&self, details: &ConnectionDetails<'_>, chained: Option<In>) -> Result<Option<Self::Out>, Error> {
        let Some(transport) = chained else { return Ok(None) };
        if !details.needs_tls() || transport.is_tls() {
            return Ok(Some(Either::A(transport)));
        }
        let host = details.uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned()).map_err(|_| Error::BadUri(details.uri.to_string()))?;
        let mut connection = ClientConnection::new(self.0.clone(), name).map_err(std::io::Error::other)?;
        let mut socket = TransportAdapter::new(transport.boxed(), details.current_time.clone());
        socket.set_timeout(details.timeout);
        connection.complete_io(&mut socket)?;
        let buffers = LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Some(Either::B(TlsTransport { buffers, stream: StreamOwned::new(connection, socket) })))
    }
}

pub struct TlsTransport {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl fmt::Debug for TlsTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsTransport")
    }
}

impl Transport for TlsTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.stream.get_mut().set_timeout(timeout);
        let output = self.buffers.output();
        self.stream.write_all(output.get(..amount).unwrap_or_default())?;
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.stream.get_mut().set_timeout(timeout);
        let amount = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.get_mut().get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}
