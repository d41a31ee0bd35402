//! The sockets of the API, and what lies in the data folder for it.

use std::sync::Arc;
use std::time::Duration;

use access::{Access, Local, Names, ServerCertificate};
use jiff::Timestamp;
use machine::Chain;
use server::Entrance;
use server::grpc::{HTTP2, Port};
use server::store::remedy;
use tokio::net::TcpListener;

use crate::config::Config;
use crate::data_folder;

/// How often the addresses of this host are looked at.
const LOOK: Duration = Duration::from_secs(5);

pub fn open(config: &Config) -> anyhow::Result<Entrance> {
    let access = Access::open(&config.data, names(config), Timestamp::now());
    let access = access.map_err(|error| below(config, "prepare who may call, below", error.into()))?;
    let https = super::listen::listen("API", config.api)?;
    // A server that stands behind a load balancer has loopback as its address.
    let url = format!("https://{}:{}", config.host(), https.local_addr()?.port());
    data_folder::write_url(&config.data, &url).map_err(|error| below(config, "write below", error.into()))?;
    let local = Some(Local::bind(&config.socket)?);
    log::info!("API at {url} and {}; `thimble kubeconfig` prints what kubectl needs", config.socket.display());
    Ok(Entrance { access, https, local })
}

/// What the certificate is for. Machines of other networks find the workflow service at other addresses of this host.
fn names(config: &Config) -> Names {
    let mut names = config.names.clone();
    for own in super::own_addresses(config).into_iter().chain(config.dhcp.addresses().map(Into::into)) {
        let _ = names.add(&own.to_string()); // an address is a name that a certificate may have
    }
    names
}

/// Never ends. An interface may get its address, or another one, after the start.
pub async fn follow_addresses(certificate: Arc<ServerCertificate>, config: Config) {
    loop {
        tokio::time::sleep(LOOK).await;
        match certificate.cover(&names(&config), Timestamp::now()) {
            Ok(true) => log::info!("this host has other addresses; the server's certificate is for them now"),
            Ok(false) => {}
            Err(error) => log::error!("cannot make a certificate for the addresses of this host: {}", Chain(&error)),
        }
    }
}

/// A failure in the data folder, with what to do about its disk.
fn below(config: &Config, doing: &str, error: anyhow::Error) -> anyhow::Error {
    let remedy = remedy(&format!("{error:#}"));
    error.context(format!("cannot {doing} {}{remedy}", config.data.display()))
}

/// The port of the workflow service with the same certificate.
pub fn grpc(entrance: &Entrance, listener: TcpListener) -> anyhow::Result<Port> {
    Ok(Port::with_tls(listener, entrance.access.tls(&[HTTP2], false)?))
}
