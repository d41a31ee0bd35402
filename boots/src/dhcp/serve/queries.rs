//! Relays that ask who has an address: the leases of pools, and the reservations of Hardware.

use std::sync::PoisonError;
use std::time::Instant;

use ::machine::Chain;
use dhcp::v4::Packet;

use super::request::v4;
use super::{Server, Shared};
use crate::datagram::Arrival;
use crate::dhcp::leasequery::{self, Active, Answer, Query};
use crate::dhcp::network::Mode;
use crate::dhcp::route::destination;
use crate::dhcp::socket::{Outgoing, Socket};

impl Server {
    /// A relay asks who has an address.
    pub(super) fn asked(&self, socket: &Socket, packet: Packet, arrival: Arrival, mode: &Mode) {
        let allowed = || self.0.queries.lock().unwrap_or_else(PoisonError::into_inner).allows(Instant::now());
        let Some(query) = Query::of(&packet).filter(|_| !mode.is_proxy() && allowed()) else { return };
        let Ok(place) = self.0.places.take(false) else { return };
        let (server, socket) = (self.clone(), socket.clone());
        tokio::spawn(async move {
            let Some(answer) = server.who_has(&query).await else { return };
            let address = server.0.config.now().address;
            let reply = leasequery::respond(address, &packet, &answer);
            let (to, from) = (destination(&reply, v4(arrival.peer)), arrival.local.or(server.0.own));
            let outgoing = Outgoing { bytes: reply.encode(), to, from, interface: 0, direct: None };
            match socket.send(&outgoing).await {
                Ok(()) => log::debug!(
                    "DHCP: {} to the relay {to} about {query:?}",
                    reply.message_type().map_or_else(String::new, |kind| kind.to_string())
                ),
                Err(error) => log::warn!("DHCP: cannot answer the relay {to}: {}", Chain(&error)),
            }
            drop(place);
        });
    }

    async fn who_has(&self, query: &Query) -> Option<Answer> {
        let Shared { source, pools, modes, .. } = &*self.0;
        let (leases, now) = pools.as_ref().map_or_else(Default::default, |pools| pools.active(query));
        if let Some(lease) = leases.first() {
            let seconds = |time: u64| u32::try_from(time).unwrap_or(u32::MAX);
            return Some(Answer::Active(Active {
                address: lease.address,
                mac: lease.mac,
                client: lease.client_id(),
                remaining: seconds(lease.until.saturating_sub(now)),
                last: Some(seconds(now.saturating_sub(lease.since))),
                associated: leases.iter().map(|lease| lease.address).collect(),
            }));
        }
        let machine = match query {
            Query::Address(address) => source.machine_at((*address).into()).await,
            Query::Mac(mac) => source.machine(*mac).await,
            Query::Client(_) => Ok(None),
        };
        let machine = machine.inspect_err(|error| log::debug!("DHCP: {query:?}: {}", Chain(error))).ok()?;
        let reserved = machine.and_then(|machine| Some((machine.mac, machine.reservation?)));
        Some(match (reserved, query) {
            (Some((mac, reservation)), _) => Answer::Active(Active {
                address: reservation.address,
                mac,
                client: None,
                remaining: reservation.lease_time.unwrap_or(self.0.config.now().default_lease_time),
                last: None,
                associated: Vec::new(),
            }),
            (None, Query::Address(address)) if modes.pools().any(|pool| pool.contains(*address)) => Answer::Unassigned,
            (None, _) => Answer::Unknown,
        })
    }
}
