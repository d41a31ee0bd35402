//! What makes a server one of several: the secrets that all of a site share, and where the others find this one.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use server::{Entrance, Myself, Server};
use tokio::net::UdpSocket;

use super::metadata;
use crate::config::Config;

/// Below the data folder: which server its logs are of.
const ID: &str = "server-id";

/// A server of a site with others has their authority and tokens.
pub async fn join(server: &Server, config: &Config) -> anyhow::Result<()> {
    let Some(path) = &config.site_key else {
        if config.etcd.is_some() {
            log::warn!(
                "site-key is not set, so this server has a certificate authority and tokens that no other server knows, and shows \
                 only the logs that it has itself"
            );
        }
        return Ok(());
    };
    let key = access::SiteKey::read(path)?;
    server
        .join_site(&config.data, key, || {
            access::Access::open(&config.data, config.names.clone(), jiff::Timestamp::now())?;
            metadata::key(&config.data).map(drop)
        })
        .await?
}

/// Lets the other servers know where this one is, if there may be others that it can trust.
pub async fn meet(server: &Server, config: &Config, entrance: &Entrance) -> anyhow::Result<()> {
    let (Some(etcd), Some(_)) = (&config.etcd, &config.site_key) else { return Ok(()) };
    let address = match config.api.ip() {
        address if is_of_one_host(address) || address.is_loopback() => address,
        _ => own_address(config, &etcd.address.members).await,
    };
    let url = format!("https://{}", SocketAddr::new(address, entrance.https.local_addr()?.port()));
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let id = id(&config.data).with_context(|| format!("cannot keep the id of this server in {}", config.data.display()))?;
    log::info!("the other servers of the site find this one at {url}");
    let me = Myself { id, host, url };
    server.meet_others(me, Arc::clone(&entrance.access.authority)).await.context("cannot become a server of the site")
}

const fn is_of_one_host(address: IpAddr) -> bool {
    !address.is_unspecified() && !address.is_loopback()
}

/// The address that machines know, else the one from which this host reaches etcd.
async fn own_address(config: &Config, members: &[String]) -> IpAddr {
    let set = [Some(IpAddr::V4(config.address)), config.address6.map(IpAddr::V6)];
    if let Some(set) = set.into_iter().flatten().find(|address| is_of_one_host(*address)) {
        return set;
    }
    for member in members {
        if let Some(address) = towards(member).await {
            return address;
        }
    }
    IpAddr::V4(Ipv4Addr::LOCALHOST)
}

/// Sends nothing: the kernel chooses the address when the socket gets its peer.
async fn towards(member: &str) -> Option<IpAddr> {
    for peer in tokio::net::lookup_host(member).await.ok()? {
        let any: SocketAddr = if peer.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
        let socket = UdpSocket::bind(any).await.ok()?;
        if socket.connect(peer).await.is_ok()
            && let Ok(own) = socket.local_addr()
        {
            return Some(own.ip());
        }
    }
    None
}

/// The first start makes it.
fn id(data: &Path) -> io::Result<String> {
    let path = data.join(ID);
    match std::fs::read_to_string(&path) {
        Ok(text) if is_id(text.trim()) => return Ok(text.trim().to_owned()),
        Ok(_) => log::warn!("{} is not the id of a server, and is replaced", path.display()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let id = ulid::Ulid::new().to_string().to_lowercase();
    access::replace(&path, format!("{id}\n").as_bytes(), 0o600)?;
    Ok(id)
}

fn is_id(text: &str) -> bool {
    text.len() == 26 && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_folder_has_one_id_for_ever_and_nonsense_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let first = id(folder.path()).unwrap();
        assert!(is_id(&first) && id(folder.path()).unwrap() == first, "{first}");
        std::fs::write(folder.path().join(ID), "../../x\n").unwrap();
        let second = id(folder.path()).unwrap();
        assert!(is_id(&second) && second != first, "{second}");
    }

    #[tokio::test]
    async fn the_address_towards_a_member_is_one_of_this_host() {
        assert_eq!(towards("127.0.0.1:2379").await, Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    }
}
