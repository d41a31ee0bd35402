//! The decision: a request, what its machine gets, and the reply or why there is none. Pure.

use std::net::Ipv6Addr;

use dhcp::v6::{self, Address, Association, Message, Options, Wanted};

use super::boot::{Boot, HTTP_CLIENT};
use super::network::Subnet;
use super::{Grant, Request};
use crate::{BootInterface, Config};

/// Clients stop looking for other servers (RFC 8415, 21.8).
const HIGHEST_PREFERENCE: u8 = 255;
/// Seconds: the shortest time after which a client without an address asks again (RFC 8415, 7.6).
const REFRESH_MIN: u32 = 600;
const FOR_EVER: u32 = u32::MAX;
/// How many addresses of a client are answered.
const ADDRESSES: usize = 8;
/// How many of its associations.
const ASSOCIATIONS: usize = 8;

/// Why there is no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Ignored {
    #[error("it is not a request of a client")]
    NotARequest,
    #[error("it does not name its sender")]
    NoIdentifier,
    #[error("it names a server where it must not")]
    NamesServer,
    #[error("it is for another server")]
    OtherServer,
    #[error("it asks for no address of the kind that boots gives (IA_NA)")]
    NoAssociation,
    #[error("its address is not of this server")]
    NotOurs,
    #[error("its Hardware disables DHCP")]
    Disabled,
    #[error("its Hardware has no IPv6 address")]
    NoReservation,
    #[error("its network has no addresses by DHCPv6: the mode is stateless")]
    Stateless,
    #[error("no Hardware has this MAC")]
    Unknown,
    #[error("other hosts use all addresses that were tried")]
    AllUsed,
    #[error("DHCPv6 is off on its network")]
    Off,
}

impl Ignored {
    /// The client talks to another server, or this is usual on a network that boots does not serve.
    #[must_use]
    pub const fn is_usual(self) -> bool {
        matches!(self, Self::NotARequest | Self::OtherServer | Self::NotOurs | Self::Off | Self::NoAssociation | Self::Stateless)
    }
}

/// What a decision needs besides the request.
#[derive(Debug)]
pub struct Facts<'a> {
    /// With the address at which the machine reaches this host.
    pub config: &'a Config,
    pub duid: &'a [u8],
    /// What the machine gets, or why it gets nothing.
    pub grant: Result<&'a Grant, Ignored>,
    /// The machine that boots. `None` if it gets no boot file.
    pub machine: Option<&'a BootInterface>,
    /// The networks of the client's link. Empty if they are not known.
    pub on_link: &'a [Subnet],
}

/// # Errors
/// Why there is no reply.
pub fn respond(facts: &Facts<'_>, request: &Request) -> Result<Message, Ignored> {
    let options = &request.message.options;
    let kind = request.message.kind;
    let duid = request.duid();
    let server = options.get(v6::SERVER_ID);
    match kind {
        v6::SOLICIT | v6::REBIND | v6::CONFIRM if server.is_some() => return Err(Ignored::NamesServer),
        v6::SOLICIT | v6::REBIND | v6::CONFIRM if duid.is_none() => return Err(Ignored::NoIdentifier),
        v6::REQUEST | v6::RENEW | v6::RELEASE | v6::DECLINE if duid.is_none() => return Err(Ignored::NoIdentifier),
        v6::REQUEST | v6::RENEW | v6::RELEASE | v6::DECLINE if server != Some(facts.duid) => return Err(Ignored::OtherServer),
        v6::INFORMATION_REQUEST if server.is_some_and(|server| server != facts.duid) => return Err(Ignored::OtherServer),
        _ => {}
    }
    let wanted = options.wanted();
    match kind {
        v6::SOLICIT => solicited(facts, request, &wanted),
        v6::REQUEST | v6::RENEW => Ok(requested(facts, request, &wanted)),
        v6::REBIND => {
            let grant = facts.grant?;
            let is_ours = |address: &Ipv6Addr| grant.address == Some(*address);
            if !wanted.iter().flat_map(|wanted| &wanted.addresses).any(is_ours) {
                return Err(Ignored::NotOurs);
            }
            Ok(granted(facts, request, grant, &wanted, v6::REPLY))
        }
        v6::CONFIRM => confirmed(facts, request, &wanted),
        // Firmware waits for this reply before it starts its program.
        v6::RELEASE | v6::DECLINE => Ok(begun(facts, request, v6::REPLY).done(|options| options.with_status(0, ""))),
        v6::INFORMATION_REQUEST => {
            let grant = facts.grant?;
            let seconds = grant.lease_time.max(REFRESH_MIN).to_be_bytes();
            let reply = begun(facts, request, v6::REPLY);
            Ok(reply.done(|options| with_rest(options, facts, request, grant).with(v6::INFORMATION_REFRESH, seconds)))
        }
        _ => Err(Ignored::NotARequest),
    }
}

trait Done {
    fn done(self, change: impl FnOnce(Options) -> Options) -> Self;
}

impl Done for Message {
    fn done(mut self, change: impl FnOnce(Options) -> Options) -> Self {
        self.options = change(self.options);
        self
    }
}

fn begun(facts: &Facts<'_>, request: &Request, kind: u8) -> Message {
    let mut options = Options::default().with(v6::SERVER_ID, facts.duid);
    if let Some(duid) = request.duid() {
        options = options.with(v6::CLIENT_ID, duid);
    }
    Message { kind, transaction: request.message.transaction, options }
}

fn solicited(facts: &Facts<'_>, request: &Request, wanted: &[Wanted]) -> Result<Message, Ignored> {
    let grant = facts.grant?;
    if grant.address.is_none() {
        return Err(Ignored::Stateless);
    }
    if wanted.is_empty() {
        return Err(Ignored::NoAssociation);
    }
    if request.message.options.get(v6::RAPID_COMMIT).is_some() {
        let reply = granted(facts, request, grant, wanted, v6::REPLY);
        return Ok(reply.done(|options| options.with(v6::RAPID_COMMIT, [])));
    }
    let offer = granted(facts, request, grant, wanted, v6::ADVERTISE);
    // Nobody else knows this machine's address. An address of a pool is one offer among others.
    Ok(if grant.is_reserved { offer.done(|options| options.with(v6::PREFERENCE, [HIGHEST_PREFERENCE])) } else { offer })
}

/// The client has chosen this server, so it gets a reply in any case.
fn requested(facts: &Facts<'_>, request: &Request, wanted: &[Wanted]) -> Message {
    match facts.grant {
        Ok(grant) if grant.address.is_some() => granted(facts, request, grant, wanted, v6::REPLY),
        _ => {
            let is_renewal = request.message.kind == v6::RENEW;
            let status = if is_renewal { v6::NO_BINDING } else { v6::NO_ADDRESSES };
            let reply = begun(facts, request, v6::REPLY);
            reply
                .done(|options| wanted.iter().take(ASSOCIATIONS).fold(options, |options, wanted| refuse(options, wanted, status)))
        }
    }
}

/// All of its addresses are of its link, or not all of them. Silence if that is not known (RFC 8415, 18.3.3).
fn confirmed(facts: &Facts<'_>, request: &Request, wanted: &[Wanted]) -> Result<Message, Ignored> {
    facts.grant?;
    let mut addresses = wanted.iter().flat_map(|wanted| &wanted.addresses).peekable();
    if facts.on_link.is_empty() || addresses.peek().is_none() {
        return Err(Ignored::NotOurs);
    }
    let fit = addresses.all(|address| facts.on_link.iter().any(|subnet| subnet.contains(*address)));
    let status = if fit { 0 } else { v6::NOT_ON_LINK };
    Ok(begun(facts, request, v6::REPLY).done(|options| options.with_status(status, "")))
}

fn refuse(options: Options, wanted: &Wanted, status: u16) -> Options {
    let association = Association { id: wanted.id, renew: 0, rebind: 0, addresses: Vec::new(), status };
    options.with(v6::IA_NA, association.encode())
}

/// One association gets the address. A machine has one address, so others get none.
fn granted(facts: &Facts<'_>, request: &Request, grant: &Grant, wanted: &[Wanted], kind: u8) -> Message {
    let part = |numerator: u64| match grant.lease_time {
        FOR_EVER => FOR_EVER,
        seconds => u32::try_from(u64::from(seconds) * numerator / 10).unwrap_or(FOR_EVER),
    };
    let has_it = |wanted: &Wanted| grant.address.is_some_and(|address| wanted.addresses.contains(&address));
    let chosen = wanted.iter().position(has_it).unwrap_or(0);
    let is_extended = matches!(request.message.kind, v6::RENEW | v6::REBIND);
    let mut message = begun(facts, request, kind);
    for (index, wanted) in wanted.iter().enumerate().take(ASSOCIATIONS) {
        let Some(address) = grant.address.filter(|_| index == chosen) else {
            message = message.done(|options| refuse(options, wanted, v6::NO_ADDRESSES));
            continue;
        };
        let own = Address { address, preferred: grant.lease_time, valid: grant.lease_time };
        // The client gives up what it had before.
        let old = wanted.addresses.iter().filter(|old| is_extended && **old != address).take(ADDRESSES);
        let old = old.map(|old| Address { address: *old, preferred: 0, valid: 0 });
        let addresses = std::iter::once(own).chain(old).collect();
        let association = Association { id: wanted.id, renew: part(5), rebind: part(8), addresses, status: 0 };
        message = message.done(|options| options.with(v6::IA_NA, association.encode()));
    }
    message.done(|options| with_rest(options, facts, request, grant))
}

/// Names, time servers and the boot file, as far as the client asks for them.
fn with_rest(mut options: Options, facts: &Facts<'_>, request: &Request, grant: &Grant) -> Options {
    let asked = &request.message.options;
    if asked.asks_for(v6::DNS_SERVERS) {
        options = options.with_addresses(v6::DNS_SERVERS, &grant.name_servers);
    }
    if asked.asks_for(v6::DOMAIN_LIST) {
        options = options.with_domains(v6::DOMAIN_LIST, grant.domain.as_slice());
    }
    if asked.asks_for(v6::SNTP_SERVERS) {
        options = options.with_addresses(v6::SNTP_SERVERS, &grant.time_servers);
    }
    if asked.asks_for(v6::NTP_SERVER) {
        options = options.with_time_servers(&grant.time_servers);
    }
    let boot = facts.machine.and_then(|machine| Boot::of(facts.config, machine, &request.kind_of_client()));
    if let Some(boot) = boot {
        options = options.with(v6::BOOT_FILE_URL, boot.url.as_bytes());
        if boot.is_http_boot {
            options = options.with(v6::VENDOR_CLASS, HTTP_CLIENT);
        }
    }
    options
}

/// The address and the boot file of a reply, for the log.
#[must_use]
pub fn shown(reply: &Message) -> (Option<Ipv6Addr>, String) {
    let wanted = reply.options.wanted();
    let address = wanted.iter().flat_map(|association| &association.addresses).next().copied();
    let url = reply.options.get(v6::BOOT_FILE_URL).map(|url| String::from_utf8_lossy(url).into_owned());
    (address, url.unwrap_or_default())
}
