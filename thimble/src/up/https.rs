//! The socket of HTTPS, with the operator's certificate.

use std::sync::Arc;

use anyhow::Context;
use boots::http::Certificate;
use jiff::Timestamp;
use tokio::net::TcpListener;

use crate::config::Config;

/// `None` if HTTPS is off.
///
/// # Errors
/// If the certificate cannot be used, or the socket cannot be opened.
pub fn listen(config: &Config) -> anyhow::Result<Option<(TcpListener, Arc<Certificate>)>> {
    let Some(https) = &config.https else { return Ok(None) };
    let certificate =
        Certificate::open(https.files.clone(), Timestamp::now()).context("cannot serve HTTPS (--https-certificate)")?;
    let listener = super::listen::listen("HTTPS", https.listen)?;
    log::info!("HTTPS on {}; an iPXE that lists HTTPS in option 175.20 gets its script and files by it", https.listen);
    Ok(Some((listener, Arc::new(certificate))))
}
