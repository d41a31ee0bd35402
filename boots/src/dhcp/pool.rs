//! Addresses of a range, for machines without a reservation. [`leases`] decides in the [`order`] of the addresses, [`journal`]
//! keeps, [`probe`] looks for other hosts.

mod journal;
mod leases;
mod order;
mod probe;
mod site;

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use dhcp::v4::{MessageType, Packet};
use jiff::Timestamp;
use model::Mac;

use super::leasequery::Query;
use super::network::{Modes, Pool};
use crate::MachineSource;
use crate::machine::{Addresses, Reservation, SourceError};
use journal::Journal;
pub use journal::{JournalError, read as read_leases};
pub use leases::Lease;
use leases::{ASIDE, Denied, Leases, Who};
use probe::{Found, Probe};
pub use site::{Answer, Change, Changes, Put, SharedLeases, Stored};
use site::{Site, Written};

/// How many addresses one request may find in use by a probe before it is given up. The client asks again.
const TRIES: usize = 16;
/// Seconds until an address is looked up again that a reservation has.
const RESERVED: u64 = 60;

/// All pools of this host.
#[derive(Debug)]
pub struct Pools {
    leases: Mutex<Leases>,
    /// `None` keeps the leases in memory only.
    journal: Option<Journal>,
    /// Leases that other boots give, too. The journal is not written then.
    site: OnceLock<Site>,
    probe: Probe,
}

/// What a client gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Lease(Ipv4Addr),
    Nak(String),
}

/// Why a client gets nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoLease {
    #[error("all addresses of the pool {0}-{1} are leased")]
    Exhausted(Ipv4Addr, Ipv4Addr),
    #[error("{TRIES} addresses of the pool are used by other hosts, or all of it is reserved")]
    Busy,
    #[error("it asks for {0}, which is not of the pool")]
    NotOurs(Ipv4Addr),
    #[error("it asks for {0}, which it was not offered, and has no lease here")]
    NoRecord(Ipv4Addr),
    #[error("it names no address")]
    NoAddress,
    #[error("its lease cannot be written to the disk, or to the servers")]
    NotWritten,
    #[error("the leases of the site have not been read yet")]
    NotRead,
    #[error("cannot find out whether {address} is reserved")]
    Source {
        address: Ipv4Addr,
        #[source]
        source: SourceError,
    },
}

fn now() -> u64 {
    u64::try_from(Timestamp::now().as_second()).unwrap_or(0)
}

impl Pools {
    /// Reads the leases below the folder. Leases of pools that are no longer in the settings are forgotten.
    pub fn open(folder: Option<&Path>, modes: &Modes) -> Result<Self, JournalError> {
        let (journal, found) = match folder {
            Some(folder) => {
                let (journal, found) = Journal::open(folder)?;
                (Some(journal), found)
            }
            None => (None, Vec::new()),
        };
        let mut leases = Leases::default();
        for lease in found.into_iter().filter(|lease| modes.pools().any(|pool| pool.contains(lease.address))) {
            leases.insert(lease);
        }
        for pool in modes.pools() {
            let active = leases.active(pool, now());
            log::info!("DHCP pool {}-{}: {active} of {} addresses are leased", pool.first, pool.last, pool.len());
        }
        Ok(Self { leases: Mutex::new(leases), journal, site: OnceLock::new(), probe: Probe::open() })
    }

    #[cfg(test)]
    fn in_memory() -> Self {
        Self { leases: Mutex::default(), journal: None, site: OnceLock::new(), probe: Probe::without_socket() }
    }

    /// Other boots give addresses of these pools, too. It counts once, before the first request.
    pub fn share(&self, shared: Arc<dyn SharedLeases>) {
        self.site.get_or_init(|| Site::new(shared));
    }

    /// Reads answers of probed hosts, and what other boots change. Never ends.
    pub async fn listen(&self, is_ours: impl Fn(Ipv4Addr) -> bool) {
        let follow = async {
            match self.site.get() {
                Some(site) => site.follow(&self.leases, is_ours).await,
                None => std::future::pending().await,
            }
        };
        tokio::join!(self.probe.listen(), follow);
    }

    fn leases(&self) -> MutexGuard<'_, Leases> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The client that has an address now.
    pub fn mac_at(&self, address: Ipv4Addr) -> Option<Mac> {
        self.leases()
            .at(address)
            .filter(|lease| lease.is_active(now()) && lease.state == leases::State::Bound)
            .map(|lease| lease.mac)
    }

    /// The leases that clients have now: of an address, a MAC, or a client identifier. Also the time.
    pub(super) fn active(&self, query: &Query) -> (Vec<Lease>, u64) {
        let now = now();
        let leases = self.leases();
        let found: Vec<&Lease> = match query {
            Query::Address(address) => leases.at(*address).into_iter().collect(),
            Query::Mac(mac) => leases.of_mac(*mac).collect(),
            Query::Client(id) => leases.of_client(id).collect(),
        };
        let is_bound = |lease: &&Lease| lease.is_active(now) && lease.state == leases::State::Bound;
        let mut found: Vec<Lease> = found.into_iter().filter(is_bound).cloned().collect();
        found.sort_by_key(|lease| std::cmp::Reverse(lease.since));
        (found, now)
    }

    /// What a DISCOVER or REQUEST gets. `is_here` says whether this host has an address. A machine is known by its Hardware.
    pub(super) async fn decide(
        &self,
        pool: &Pool,
        request: &Packet,
        (mac, is_known): (Mac, bool),
        source: &dyn MachineSource,
        is_here: impl Fn(Ipv4Addr) -> bool,
    ) -> Result<Verdict, NoLease> {
        if self.site.get().is_some_and(|site| !site.is_read()) {
            return Err(NoLease::NotRead);
        }
        let who = Who::of(mac, request);
        if request.message_type() == Some(MessageType::Discover) {
            return self.offer(pool, request, &who, source, is_here).await.map(Verdict::Lease);
        }
        let wanted = request.requested_ip().unwrap_or(request.ciaddr);
        if wanted.is_unspecified() {
            return Err(NoLease::NoAddress);
        }
        let (is_selecting, is_renewing) = (request.server_id().is_some(), request.requested_ip().is_none());
        // A client that has its address can renew it through a router, and then a NAK would go to the wrong link.
        if is_renewing && request.giaddr.is_unspecified() && !pool.subnet.contains(wanted) {
            return Err(NoLease::NotOurs(wanted));
        }
        if !pool.subnet.contains(wanted) {
            return Ok(Verdict::Nak(format!("{wanted} is not of the network {}", pool.subnet)));
        }
        let checked = self.leases().check(pool, &who, wanted, now());
        let is_new = match checked {
            Ok(is_new) => is_new,
            // Another server may have given it, unless the client chose this one, or has a lease here.
            Err(Denied::Outside(_)) if !is_selecting && self.leases().of(pool, &who, now()).is_none() => {
                return Err(NoLease::NotOurs(wanted));
            }
            Err(denied) => return Ok(Verdict::Nak(denied.to_string())),
        };
        // Anybody can invent a machine and an address. Without a record of both there is no lease (RFC 2131 section 4.3.2).
        if is_new && !is_known && !self.leases().has_record(&who, wanted) {
            return match is_selecting {
                true => Ok(Verdict::Nak(format!("{wanted} was not offered to this machine"))),
                false => Err(NoLease::NoRecord(wanted)),
            };
        }
        if self.is_reserved(wanted, mac, source, &is_here).await? {
            return Ok(Verdict::Nak(format!("{wanted} is reserved for another machine")));
        }
        // A client that renews has its address, and would answer itself.
        if is_new && request.ciaddr.is_unspecified() && self.is_used(wanted, mac).await {
            return Ok(Verdict::Nak(format!("{wanted} is used by another host")));
        }
        let changed = {
            let mut leases = self.leases();
            match leases.check(pool, &who, wanted, now()) {
                Ok(_) => leases.bind(pool, &who, wanted, now()),
                Err(denied) => return Ok(Verdict::Nak(denied.to_string())), // another client was faster
            }
        };
        match self.write(changed).await {
            Written::Yes => Ok(Verdict::Lease(wanted)),
            Written::No => Err(NoLease::NotWritten),
            Written::Taken => Ok(Verdict::Nak(format!("another boots has given {wanted} to another machine"))),
        }
    }

    async fn offer(
        &self,
        pool: &Pool,
        request: &Packet,
        who: &Who,
        source: &dyn MachineSource,
        is_here: impl Fn(Ipv4Addr) -> bool,
    ) -> Result<Ipv4Addr, NoLease> {
        let (mut used, mut passed) = (0, None);
        // Reserved addresses cost a lookup each, and no probe.
        for _ in 0..=pool.len() {
            let found = match passed {
                None => self.leases().candidate(pool, who, request.requested_ip(), now()),
                Some(last) => self.leases().candidate_after(pool, last, now()),
            };
            let Some(candidate) = found else { return Err(NoLease::Exhausted(pool.first, pool.last)) };
            let address = candidate.address;
            passed = Some(address);
            if self.is_reserved(address, who.mac, source, &is_here).await? {
                tokio::task::yield_now().await;
                continue;
            }
            // The hold comes first, so that two clients are not offered one address while it is probed.
            self.leases().hold(who, address, now());
            if !candidate.is_new || !self.is_used(address, who.mac).await {
                return Ok(address);
            }
            used += 1;
            if used == TRIES {
                break;
            }
        }
        Err(NoLease::Busy)
    }

    /// Whether another machine has a reservation of the address, or this host has it. Then it is left alone for a while.
    async fn is_reserved(
        &self,
        address: Ipv4Addr,
        mac: Mac,
        source: &dyn MachineSource,
        is_here: &impl Fn(Ipv4Addr) -> bool,
    ) -> Result<bool, NoLease> {
        let owner = source.machine_at(address.into()).await.map_err(|source| NoLease::Source { address, source })?;
        let is_reserved = is_here(address) || owner.is_some_and(|machine| machine.mac != mac);
        if is_reserved {
            self.leases().set_aside(address, now() + RESERVED);
        }
        Ok(is_reserved)
    }

    async fn is_used(&self, address: Ipv4Addr, mac: Mac) -> bool {
        let former = self.leases().at(address).map(|lease| lease.mac);
        let Found::Host(other) = self.probe.ask(address, mac, former).await else { return false };
        let other = other.map_or_else(String::new, |other| format!(" with the MAC {other}"));
        log::warn!(
            "DHCP {mac}: another host{other} uses {address} of the pool; it is not offered for {} minutes. Give that host another \
             address, or shorten the range",
            ASIDE / 60
        );
        self.leases().set_aside(address, now() + ASIDE);
        true
    }

    /// RELEASE and DECLINE, which have no answer. Returns a line for the log.
    pub(super) async fn give_back(&self, request: &Packet, mac: Mac) -> Option<String> {
        let (who, now) = (Who::of(mac, request), now());
        let (changed, text) = match request.message_type()? {
            MessageType::Release => (self.leases().release(&who, request.ciaddr, now)?, "gave its address back"),
            MessageType::Decline => (
                self.leases().decline(&who, request.requested_ip()?, now)?,
                "DECLINED its address, because another host on the network uses it",
            ),
            _ => return None,
        };
        let address = changed.address;
        self.write(vec![changed]).await;
        Some(format!("{text}: {address}"))
    }

    /// The client took the offer of another server.
    pub(super) fn forget_offer(&self, request: &Packet, mac: Mac) {
        self.leases().forget_offer(&Who::of(mac, request));
    }

    async fn write(&self, changed: Vec<Lease>) -> Written {
        match (self.site.get(), &self.journal) {
            (Some(site), _) => site.write(&self.leases, &changed).await,
            (None, Some(journal)) if !journal.write(changed).await => Written::No,
            _ => Written::Yes,
        }
    }
}

impl Addresses for Pools {
    fn mac(&self, address: IpAddr) -> Option<Mac> {
        let IpAddr::V4(address) = address.to_canonical() else { return None };
        self.mac_at(address)
    }

    fn proves_machine(&self) -> bool {
        true
    }
}

impl Pool {
    /// What a lease says.
    pub(super) fn reservation(&self, address: Ipv4Addr) -> Reservation {
        Reservation {
            address,
            netmask: self.subnet.mask(),
            gateway: self.router,
            lease_time: Some(self.lease_time),
            hostname: None,
            domain_name: self.domain.clone(),
            name_servers: self.name_servers.clone(),
            time_servers: Vec::new(),
            routes: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
