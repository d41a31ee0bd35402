//! The answer to a known machine's request. Pure.

use std::net::Ipv4Addr;

use dhcp::v4::{MessageType, Op, Packet, Text, code};

use super::client::{Client, IpxeBuild};
use crate::machine::{CustomBoot, Reservation};
use crate::{BootInterface, BootState, Config, ipxe};

/// PXE "skip discovery" (sub-option 6 = 8) and the end of the list. ROMs then do not look for a boot server.
const PXE_BOOT_DIRECTLY: [u8; 4] = [6, 1, 8, 255];
/// smee's boot file for a machine that must not boot from the network. No server has this file.
const NOT_ALLOWED: &str = "/netboot-not-allowed";

/// Why a packet gets no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Ignored {
    #[error("it is another server's reply")]
    Reply,
    #[error("it carries no Ethernet address")]
    NoMac,
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
}

impl Ignored {
    /// Checks what needs no knowledge of the machine.
    pub fn check(request: &Packet) -> Result<MessageType, Self> {
        if request.op != Op::Request {
            return Err(Self::Reply);
        }
        request.mac().ok_or(Self::NoMac)?;
        match request.message_type().ok_or(Self::Bootp)? {
            kind @ (MessageType::Discover | MessageType::Request) => Ok(kind),
            MessageType::Decline => Err(Self::Declined { address: request.requested_ip().unwrap_or(Ipv4Addr::UNSPECIFIED) }),
            kind => Err(Self::Kind(kind)),
        }
    }
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
    // Some relays write their own address as server into the request.
    let is_us = |server: Ipv4Addr| server == config.address || server == request.giaddr;
    if let Some(server) = request.server_id().filter(|&server| !is_us(server)) {
        return Err(Ignored::OtherServer(server));
    }
    let wanted = request.requested_ip().unwrap_or(request.ciaddr);
    if !wanted.is_unspecified() && wanted != reservation.address {
        return Ok(nak(config, request, wanted, reservation.address));
    }
    Ok(lease(config, machine, reservation, request, MessageType::Ack))
}

fn nak(config: &Config, request: &Packet, wanted: Ipv4Addr, own: Ipv4Addr) -> Packet {
    let mut reply = request.reply(MessageType::Nak);
    if !request.giaddr.is_unspecified() {
        reply.set_wants_broadcast(true); // by the relay, whose client may not use its address (RFC 2131 section 4.3.2)
    }
    reply.options.set_ip(code::SERVER_ID, config.address);
    reply.options.set_text(code::MESSAGE, &format!("{wanted} is not yours, {own} is"));
    reply
}

fn lease(config: &Config, machine: &BootInterface, reservation: &Reservation, request: &Packet, kind: MessageType) -> Packet {
    let mut reply = request.reply(kind);
    reply.yiaddr = reservation.address;
    reply.siaddr = config.address;
    set_address_options(&mut reply, config, reservation);
    match &reservation.custom_boot {
        Some(custom) => set_custom_boot(&mut reply, custom),
        None => set_netboot(&mut reply, config, machine, &Client::of(request)),
    }
    reply
}

fn set_address_options(reply: &mut Packet, config: &Config, reservation: &Reservation) {
    let options = &mut reply.options;
    let netmask = reservation.netmask;
    let gateway: Vec<Ipv4Addr> = reservation.gateway.into_iter().collect();
    options
        .set_ip(code::SERVER_ID, config.address)
        .set_u32(code::LEASE_TIME, reservation.lease_time.unwrap_or(config.default_lease_time))
        .set_ip(code::SUBNET_MASK, netmask)
        .set_ip(code::BROADCAST_ADDRESS, reservation.address | !netmask)
        .set_ips(code::ROUTERS, &gateway)
        .set_ips(code::DNS_SERVERS, &reservation.name_servers)
        .set_ips(code::NTP_SERVERS, &reservation.time_servers)
        .set_ip(code::LOG_SERVERS, config.address)
        .set_classless_routes(&reservation.routes);
    if let Some(hostname) = reservation.hostname.as_deref().filter(|name| !name.is_empty()) {
        options.set_text(code::HOSTNAME, hostname);
    }
    if let Some(domain) = reservation.domain_name.as_deref().filter(|name| !name.is_empty()) {
        options.set_text(code::DOMAIN_NAME, domain).set_domain_search(&[domain]);
    }
}

fn set_custom_boot(reply: &mut Packet, custom: &CustomBoot) {
    reply.options.set_text(code::TFTP_SERVER_NAME, &custom.tftp_server_name);
    reply.options.set_text(code::BOOT_FILE_NAME, &custom.boot_file_name);
    if let Ok(server) = custom.tftp_server_name.parse() {
        reply.siaddr = server;
    }
    if let Ok(file) = Text::new(&custom.boot_file_name) {
        reply.file = file;
    }
}

fn set_netboot(reply: &mut Packet, config: &Config, machine: &BootInterface, client: &Client) {
    if *client == Client::Plain {
        return;
    }
    let nbp = || nbp(machine, client);
    let file = match client {
        _ if !machine.netboot_allowed => None,
        Client::Plain => None,
        Client::Ipxe { build: IpxeBuild::Tinkerbell, .. } => Some(script_url(config, machine)),
        Client::Ipxe { build: IpxeBuild::Stock, .. } if !config.chainload_own_ipxe => Some(script_url(config, machine)),
        Client::Ipxe { .. } => nbp().map(|file| config.tftp_url(machine.mac, file)),
        Client::Http { .. } => nbp().map(|file| config.http_url(&format!("ipxe/binary/{}/{file}", machine.mac))),
        Client::Pxe { .. } => nbp().map(str::to_owned),
    };
    let Some(file) = file else {
        reply.siaddr = Ipv4Addr::UNSPECIFIED;
        set_boot_file(reply, NOT_ALLOWED);
        return;
    };
    set_boot_file(reply, &file);
    match client {
        Client::Http { .. } => reply.options.set_text(code::VENDOR_CLASS, "HTTPClient"), // EDK2 ignores an offer without it
        _ => reply.options.set(code::VENDOR_SPECIFIC, PXE_BOOT_DIRECTLY),
    };
}

fn nbp<'a>(machine: &'a BootInterface, client: &Client) -> Option<&'a str> {
    machine.ipxe.binary.as_deref().or_else(|| ipxe::file_for(machine.mac.bytes(), client.archs()))
}

/// The script URL of the Hardware goes out directly. If the machine shall boot from its disk, boots' script says so.
fn script_url(config: &Config, machine: &BootInterface) -> String {
    match (&machine.ipxe.url, &machine.boot) {
        (Some(url), BootState::Install { .. } | BootState::Wait { .. }) => url.clone(),
        _ => config.script_url(machine.mac),
    }
}

/// In the header, where all firmware looks. A URL that does not fit goes into option 67.
fn set_boot_file(reply: &mut Packet, file: &str) {
    match Text::new(file) {
        Ok(text) => reply.file = text,
        Err(_) => {
            reply.options.set_text(code::BOOT_FILE_NAME, file);
        }
    }
}
