//! Calls without TLS: agents of Tinkerbell make them. They are taken from the networks of known Hardware, unless the operator
//! names others.

use std::net::IpAddr;

use access::{Caller, Origin};
use machine::network::covers;
use model::{AgentId, Ip};
use tonic::{Request, Status};

use crate::service::Server;
use crate::view::View;

/// # Errors
/// If the caller has to use TLS.
pub fn allowed(server: &Server, caller: &Caller) -> Result<(), Status> {
    let Origin::Network { address, encrypted: false } = caller.origin else { return Ok(()) };
    let address = address.ip().to_canonical();
    let config = server.0.config();
    let is_known = || {
        config.addresses.contains(&address)
            || config.discovery.iter().any(|network| network.contains(address))
            || is_of_known_hardware(&server.view(), address)
    };
    if config.plain_grpc.allows(address, is_known) {
        return Ok(());
    }
    Err(Status::permission_denied(format!(
        "this server takes calls without TLS {} and {address} is not one of them; use TLS, or name its network with --plain-grpc",
        config.plain_grpc
    )))
}

/// Whether an interface of a Hardware has the address, or its network does.
fn is_of_known_hardware(view: &View, address: IpAddr) -> bool {
    let given = |ip: &Ip| ip.address.is_some_and(|own| covers(own, length(ip.netmask, own), address));
    view.by_address(address).is_some()
        || view.hardware.values().any(|stored| {
            let reserved = stored.object.spec.interfaces.iter().filter_map(|interface| interface.dhcp.as_ref()?.ip.as_ref());
            reserved.into_iter().any(given)
        })
}

/// The length of a network's prefix. Without a netmask it is what boots gives to the machine.
fn length(netmask: Option<IpAddr>, own: IpAddr) -> u8 {
    let ones = match (netmask, own) {
        (Some(IpAddr::V4(mask)), IpAddr::V4(_)) => u32::from(mask).leading_ones(),
        (Some(IpAddr::V6(mask)), IpAddr::V6(_)) => u128::from(mask).leading_ones(),
        (_, IpAddr::V4(_)) => 24,
        (_, IpAddr::V6(_)) => 128,
    };
    u8::try_from(ones).unwrap_or(128)
}

/// Where a request came from. `None` if it did not come by a port.
pub fn origin<T>(request: &Request<T>) -> Option<Origin> {
    request.extensions().get::<Caller>().map(|caller| caller.origin)
}

/// Remembers how the agent speaks. The log has one line about each that does it without TLS.
pub fn note(server: &Server, agent: &AgentId, origin: Option<Origin>) {
    if let Some(Origin::Network { encrypted, .. }) = origin
        && server.0.agents.speaks(agent, encrypted)
    {
        log::info!("agent={agent} speaks with this server without TLS; --plain-grpc says which networks may");
    }
}

#[cfg(test)]
mod tests {
    use model::parse_documents;

    use super::*;
    use crate::service::Config;

    #[tokio::test]
    async fn networks_of_hardware_of_discovery_and_of_this_host_are_known() {
        let discovery = vec!["192.0.2.0/28".parse().unwrap()];
        let config = Config { discovery, addresses: vec!["10.9.0.1".parse().unwrap()], ..Config::default() };
        let server = Server::open(config).await.unwrap();
        let hardware = "apiVersion: tinkerbell.org/v1alpha1\nkind: Hardware\nmetadata: {name: a}\nspec:\n  interfaces:\n  \
                        - dhcp: {mac: '02:00:00:00:00:01', ip: {address: 10.0.0.20}}\n  \
                        - dhcp: {mac: '02:00:00:00:00:02', ip: {address: 10.1.0.20, netmask: 255.255.0.0}}\n  \
                        - dhcp: {mac: '02:00:00:00:00:03'}\n";
        server.apply(parse_documents(hardware, "test.yaml").unwrap()).await.unwrap();
        for (address, encrypted, expected) in [
            ("10.0.0.20", false, true),
            ("10.0.0.99", false, true),
            ("::ffff:10.0.0.99", false, true),
            ("10.0.1.20", false, false),
            ("10.1.200.1", false, true),
            ("10.2.0.1", false, false),
            ("10.2.0.1", true, true),
            ("192.0.2.9", false, true),
            ("192.0.2.99", false, false),
            ("10.9.0.1", false, true),
            ("10.9.0.2", false, false),
            ("127.0.0.1", false, true),
            ("fd00::1", false, false),
        ] {
            let address = std::net::SocketAddr::new(address.parse().unwrap(), 1);
            let caller = Caller::anonymous(Origin::Network { address, encrypted });
            assert_eq!(allowed(&server, &caller).is_ok(), expected, "{address} {encrypted}");
        }
    }

    #[test]
    fn a_network_is_known_by_its_netmask() {
        for (mask, own, expected) in [
            (Some("255.255.255.0"), "10.0.0.1", 24),
            (Some("255.255.255.255"), "10.0.0.1", 32),
            (Some("0.0.0.0"), "10.0.0.1", 0),
            (None, "10.0.0.1", 24),
            (Some("ffff:ffff:ffff:ffff::"), "fd00::1", 64),
            (Some("255.255.255.0"), "fd00::1", 128),
            (None, "fd00::1", 128),
        ] {
            assert_eq!(length(mask.map(|mask| mask.parse().unwrap()), own.parse().unwrap()), expected, "{mask:?} {own}");
        }
    }
}
