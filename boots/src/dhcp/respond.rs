//! The answer to a known machine's request. Pure.

use std::net::Ipv4Addr;

use dhcp::v4::{MessageType, Op, Packet, Route, code};

use super::network::Subnet;
use super::{Boot, Client};
use crate::machine::Reservation;
use crate::{BootInterface, Config};

/// Why a packet gets no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Ignored {
    #[error("it is another server's reply")]
    Reply,
    #[error("it carries no Ethernet address of a host")]
    NoMac,
    #[error("it says that {0} is its own address or its relay's, which is an address of many hosts")]
    OfMany(Ipv4Addr),
    #[error("it has no message type: plain BOOTP")]
    Bootp,
    #[error("{0} needs no answer")]
    Kind(MessageType),
    #[error("the machine DECLINED {address}: another host on the network uses it")]
    Declined { address: Ipv4Addr },
    #[error("it chose another server, {0}")]
    OtherServer(Ipv4Addr),
    #[error("its Hardware has no IPv4 address here, or disables DHCP")]
    NoReservation,
    #[error("another DHCP server answers a {0} here, because the mode is proxy")]
    AddressServer(MessageType),
    #[error("it wants an address and no boot, and another DHCP server gives those here")]
    WantsAddress,
    #[error("no boot program is known for its architecture, and another DHCP server may know one")]
    NoProgram,
    #[error("it says that it has {0}, which is not of its network")]
    Elsewhere(Ipv4Addr),
}

impl Ignored {
    /// Silence that is right for a known machine: another server has its turn, or the packet wants no answer.
    #[must_use]
    pub const fn is_usual(&self) -> bool {
        matches!(self, Self::AddressServer(_) | Self::WantsAddress | Self::Reply | Self::Kind(_))
    }
}

impl Ignored {
    /// Checks what needs no knowledge of the machine.
    pub fn check(request: &Packet) -> Result<MessageType, Self> {
        if request.op != Op::Request {
            return Err(Self::Reply);
        }
        // A group address is not a station's (IEEE 802), and an answer must not go to many hosts (RFC 1122 section 3.2.1.3).
        request.mac().filter(|[first, ..]| first & 1 == 0).ok_or(Self::NoMac)?;
        if let Some(address) = [request.giaddr, request.ciaddr].into_iter().find(|address| is_of_many(*address)) {
            return Err(Self::OfMany(address));
        }
        match request.message_type().ok_or(Self::Bootp)? {
            kind @ (MessageType::Discover | MessageType::Request | MessageType::Inform) => Ok(kind),
            MessageType::Decline => Err(Self::Declined { address: request.requested_ip().unwrap_or(Ipv4Addr::UNSPECIFIED) }),
            kind => Err(Self::Kind(kind)),
        }
    }
}

/// No host has such an address, so a packet with it is forged.
pub(super) const fn is_of_many(address: Ipv4Addr) -> bool {
    address.is_multicast() || address.is_broadcast()
}

/// OFFER, ACK, or NAK for a client that insists on an address that is not its own.
///
/// smee acknowledges any REQUEST. boots is silent in an exchange with another server, and answers a wrong address with a NAK
/// (RFC 2131 section 4.3.2). Clients differ in what they do with an address that they did not ask for.
pub fn respond(config: &Config, machine: &BootInterface, request: &Packet) -> Result<Packet, Ignored> {
    let kind = Ignored::check(request)?;
    let reservation = machine.reservation.as_ref().ok_or(Ignored::NoReservation)?;
    if kind == MessageType::Discover {
        return Ok(lease(config, machine, reservation, request, MessageType::Offer));
    }
    if kind == MessageType::Inform {
        return informed(config, machine, reservation, request);
    }
    if let Some(server) = request.server_id().filter(|_| !is_for_us(config, request)) {
        return Err(Ignored::OtherServer(server));
    }
    let wanted = request.requested_ip().unwrap_or(request.ciaddr);
    if !wanted.is_unspecified() && wanted != reservation.address {
        return Ok(nak(config, request, &format!("{wanted} is not yours, {} is", reservation.address)));
    }
    Ok(lease(config, machine, reservation, request, MessageType::Ack))
}

/// Settings for a client that has its address (RFC 2131 section 4.3.5): no lease, and no address.
fn informed(config: &Config, machine: &BootInterface, reservation: &Reservation, request: &Packet) -> Result<Packet, Ignored> {
    if !Subnet::with_mask(reservation.address, reservation.netmask).contains(request.ciaddr) {
        return Err(Ignored::Elsewhere(request.ciaddr));
    }
    let mut reply = lease(config, machine, reservation, request, MessageType::Ack);
    reply.yiaddr = Ipv4Addr::UNSPECIFIED;
    reply.options.remove(code::LEASE_TIME);
    Ok(reply)
}

/// Where the client finds this server, as its relay sees it.
fn server_id(config: &Config, request: &Packet) -> Ipv4Addr {
    request.server_id_override().filter(|_| !request.giaddr.is_unspecified()).unwrap_or(config.address)
}

/// Whether the client chose this server, or no server. Some relays write their own address as server into the request, or an
/// address that they chose (RFC 5107).
pub(super) fn is_for_us(config: &Config, request: &Packet) -> bool {
    let is_us = |server: Ipv4Addr| server == config.address || server == request.giaddr || server == server_id(config, request);
    request.server_id().is_none_or(is_us)
}

pub(super) fn nak(config: &Config, request: &Packet, why: &str) -> Packet {
    let mut reply = request.reply(MessageType::Nak);
    if !request.giaddr.is_unspecified() {
        reply.set_wants_broadcast(true); // by the relay, whose client may not use its address (RFC 2131 section 4.3.2)
    }
    reply.options.set_ip(code::SERVER_ID, server_id(config, request));
    reply.options.set_text(code::MESSAGE, why);
    reply
}

fn lease(config: &Config, machine: &BootInterface, reservation: &Reservation, request: &Packet, kind: MessageType) -> Packet {
    let mut reply = request.reply(kind);
    reply.yiaddr = reservation.address;
    reply.siaddr = config.address;
    set_address_options(&mut reply, config, reservation);
    reply.options.set_ip(code::SERVER_ID, server_id(config, request));
    if let Some(boot) = Boot::of(config, machine, &Client::of(request), request) {
        boot.write(&mut reply);
    }
    reply
}

/// A client that gets option 121 ignores the routers of option 3, so the default route is in both (RFC 3442).
fn with_default(routes: &[Route], gateway: Option<Ipv4Addr>) -> Vec<Route> {
    let default = gateway.filter(|_| !routes.is_empty() && routes.iter().all(|route| route.prefix != 0));
    let default = default.map(|router| Route { destination: Ipv4Addr::UNSPECIFIED, prefix: 0, router });
    routes.iter().copied().chain(default).collect()
}

fn set_address_options(reply: &mut Packet, config: &Config, reservation: &Reservation) {
    let options = &mut reply.options;
    let netmask = reservation.netmask;
    let gateway: Vec<Ipv4Addr> = reservation.gateway.into_iter().collect();
    options
        .set_u32(code::LEASE_TIME, reservation.lease_time.unwrap_or(config.default_lease_time))
        .set_ip(code::SUBNET_MASK, netmask)
        .set_ip(code::BROADCAST_ADDRESS, reservation.address | !netmask)
        .set_ips(code::ROUTERS, &gateway)
        .set_ips(code::DNS_SERVERS, &reservation.name_servers)
        .set_ips(code::NTP_SERVERS, &reservation.time_servers)
        .set_ip(code::LOG_SERVERS, config.address)
        .set_classless_routes(&with_default(&reservation.routes, reservation.gateway));
    if let Some(hostname) = reservation.hostname.as_deref().filter(|name| !name.is_empty()) {
        options.set_text(code::HOSTNAME, hostname);
    }
    if let Some(domain) = reservation.domain_name.as_deref().filter(|name| !name.is_empty()) {
        options.set_text(code::DOMAIN_NAME, domain).set_domain_search(&[domain]);
    }
}
