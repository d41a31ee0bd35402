//! The sockets of the API, and what lies in the data folder for it.

use access::{Access, Local};
use anyhow::Context;
use jiff::Timestamp;
use server::Entrance;
use server::grpc::{HTTP2, Port};
use tokio::net::TcpListener;

use crate::config::Config;
use crate::data_folder;

pub async fn open(config: &Config) -> anyhow::Result<Entrance> {
    let access = Access::open(&config.data, config.names.clone(), Timestamp::now())
        .with_context(|| format!("cannot prepare who may call, below {}", config.data.display()))?;
    let https = super::listen("API", config.api).await?;
    // A server that stands behind a load balancer has loopback as its address.
    let url = format!("https://{}:{}", config.address, https.local_addr()?.port());
    data_folder::write_url(&config.data, &url).with_context(|| format!("cannot write below {}", config.data.display()))?;
    let local = Some(Local::bind(&config.socket)?);
    log::info!("API at {url} and {}; `thimble kubeconfig` prints what kubectl needs", config.socket.display());
    Ok(Entrance { access, https, local })
}

/// The port of the workflow service with the same certificate.
pub fn grpc(entrance: &Entrance, listener: TcpListener) -> anyhow::Result<Port> {
    Ok(Port::with_tls(listener, entrance.access.tls(&[HTTP2], false)?))
}
