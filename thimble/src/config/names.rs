//! What the server's certificate is for: every name and address at which machines and clients look for this host.

use std::net::{Ipv4Addr, Ipv6Addr};

use access::Names;

use super::list;

/// More than a host has.
const MOST_ADDRESSES: usize = 16;

/// The IPv6 addresses of this host: each machine uses the one of its own network, unless the settings name one.
pub fn addresses6(set: Option<Ipv6Addr>) -> impl Iterator<Item = Ipv6Addr> {
    let own = nix::ifaddrs::getifaddrs().into_iter().flatten().filter(move |_| set.is_none());
    let own = own.filter_map(|interface| Some(interface.address?.as_sockaddr_in6()?.ip()));
    set.into_iter().chain(own.filter(|address| boots::dhcp6::is_reachable(*address)).take(MOST_ADDRESSES))
}

/// Where machines and clients look for this host, its own name, and what the operator adds. Each server of a site has the names of
/// all, because the settings do not say which one is here.
pub fn of<'a>(
    address: Ipv4Addr,
    addresses6: impl Iterator<Item = Ipv6Addr>,
    authorities: impl Iterator<Item = &'a String>,
    more: Option<&str>,
    mistakes: &mut Vec<String>,
) -> Names {
    let mut names = Names::local();
    let grpc = authorities.filter_map(|text| text.rsplit_once(':').map(|(host, _)| host.trim_matches(['[', ']']).to_owned()));
    let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    // A host's name can be one that no certificate may have.
    let address = (!address.is_unspecified()).then(|| address.to_string());
    for own in [address, host].into_iter().flatten().chain(grpc).chain(addresses6.map(|address| address.to_string())) {
        let _ = names.add(&own);
    }
    for text in list(more) {
        if let Err(error) = names.add(&text) {
            mistakes.push(format!("tls-name: {error}"));
        }
    }
    names
}
