//! What the server does when an agent calls: it records the call, and logs the first one.

use std::net::SocketAddr;

use api::{Attributes, What};
use jiff::Timestamp;
use log::{info, warn};
use model::{AgentId, Mac};
use proto::AgentAttributes;

use super::{Facts, First, Source};
use crate::service::Server;

impl Server {
    /// Where the latest call of this agent came from, in either notation of its name.
    pub(crate) fn called_from(&self, id: &AgentId) -> Option<SocketAddr> {
        let canonical = || id.0.parse::<Mac>().ok().map(|mac| AgentId(mac.to_string()));
        let last = self.0.agents.last_call(id).or_else(|| self.0.agents.last_call(&canonical()?));
        last?.0
    }

    /// An agent called. The call is recorded, and stored in the background if an object names the agent. True if one does.
    pub(crate) fn agent_called(&self, id: &AgentId, address: Option<SocketAddr>, reported: Option<&AgentAttributes>) -> bool {
        let (view, now) = (self.snapshot(), Timestamp::now());
        let is_known = view.knows_agent(id);
        if !is_known {
            self.announce(id, address, self.0.agents.stranger(id, address, now));
            return false;
        }
        // While a machine waits for approval its inventory is what it reported first, which was counted.
        let waits = view.machine_of(id).is_some_and(|stored| view.discovered.contains(&stored.object.name()));
        let facts = reported.filter(|_| !waits).map(Facts::from);
        let news = self.0.agents.known(id, address, facts, now, |id| view.knows_agent(id));
        self.announce(id, address, news.first);
        self.keep_call(&view, id, now);
        if news.attributes {
            self.has_reported(id.clone());
        }
        true
    }

    fn announce(&self, id: &AgentId, address: Option<SocketAddr>, first: First) {
        let address = address.map(|address| address.to_string()).unwrap_or_default();
        match first {
            First::No | First::Silent => {}
            First::Announce => {
                info!("agent={id} address={address} calls for the first time");
                self.publish(What::Agent { agent: id.clone(), address });
            }
            First::TooMany => {
                warn!("address={address} calls with many agent ids that no object names; further ones are not shown")
            }
        }
    }

    pub(crate) fn attributes_of(&self, id: &AgentId) -> Option<Attributes> {
        self.0.agents.get(id)?.attributes
    }

    /// A place in which an unknown agent's call may wait. Dropping it frees the place.
    pub(crate) fn place_for(&self, address: Option<SocketAddr>) -> Option<Place> {
        let source = Source::from(address);
        self.0.agents.hold(source).then(|| Place { server: self.clone(), source })
    }
}

/// The right of one call to wait.
pub(crate) struct Place {
    server: Server,
    source: Source,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.server.0.agents.release(self.source);
    }
}
