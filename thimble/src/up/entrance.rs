//! The sockets of the API, and what lies in the data folder for it.

use access::{Access, Local};
use jiff::Timestamp;
use server::Entrance;
use server::grpc::{HTTP2, Port};
use server::store::remedy;
use tokio::net::TcpListener;

use crate::config::Config;
use crate::data_folder;

pub async fn open(config: &Config) -> anyhow::Result<Entrance> {
    let access = Access::open(&config.data, config.names.clone(), Timestamp::now());
    let access = access.map_err(|error| below(config, "prepare who may call, below", error.into()))?;
    let https = super::listen("API", config.api).await?;
    // A server that stands behind a load balancer has loopback as its address.
    let url = format!("https://{}:{}", config.address, https.local_addr()?.port());
    data_folder::write_url(&config.data, &url).map_err(|error| below(config, "write below", error.into()))?;
    let local = Some(Local::bind(&config.socket)?);
    log::info!("API at {url} and {}; `thimble kubeconfig` prints what kubectl needs", config.socket.display());
    Ok(Entrance { access, https, local })
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
