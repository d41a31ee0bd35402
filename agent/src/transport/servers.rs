//! The servers of a site. Each of them has all work, so an agent asks any, and goes on with the next when one fails.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use machine::files;
use tonic::Status;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use trust::{TrustAnyone, Verifier};

use super::clock::BootServerClock;
use crate::settings::{Settings, Tls};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub struct Servers {
    /// Never empty.
    all: Vec<Server>,
    at: usize,
}

#[derive(Clone)]
struct Server {
    authority: String,
    endpoint: Endpoint,
}

impl Servers {
    pub fn new(settings: &Settings) -> Result<Self, crate::CannotWork> {
        let authorities = std::iter::once(&settings.authority).chain(&settings.servers);
        let all: Vec<Server> = authorities.map(|authority| Server::new(authority, settings)).collect::<Result<_, _>>()?;
        let at = first(&settings.id, all.len());
        Ok(Self { all, at })
    }

    /// The one that is in use.
    pub fn authority(&self) -> &str {
        self.all.get(self.at).map_or("", |server| &server.authority)
    }

    /// The one in use has failed.
    pub fn leave(&mut self) {
        self.at = (self.at + 1) % self.all.len().max(1);
    }

    /// Connects to the one in use, or to the next that answers. Host names are resolved again for every connection.
    ///
    /// # Errors
    /// That of the last one, if none answers.
    pub async fn connect(&mut self) -> Result<Channel, Status> {
        let mut refused = Status::unavailable("no server is known");
        for tried in 1..=self.all.len() {
            let Some(server) = self.all.get(self.at) else { break };
            match server.endpoint.connect().await {
                Ok(channel) => return Ok(channel),
                Err(error) => refused = not_connected(error, &server.authority),
            }
            self.leave();
            if tried < self.all.len() {
                log::info!("{}; trying {}", super::decide::text(&refused), self.authority());
            }
        }
        Err(refused)
    }
}

impl Server {
    fn new(authority: &str, settings: &Settings) -> Result<Self, crate::CannotWork> {
        let scheme = if settings.tls == Tls::Off { "http" } else { "https" };
        // TCP's probes detect a server that vanished. HTTP/2 pings would, too, but Go's gRPC servers close a connection
        // that pings more than once in five minutes.
        let endpoint = Endpoint::from_shared(format!("{scheme}://{authority}"))?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .tcp_keepalive(Some(Duration::from_secs(10)))
            .tcp_keepalive_interval(Some(Duration::from_secs(3)))
            .tcp_keepalive_retries(Some(3));
        let endpoint = match settings.tls {
            Tls::Off => endpoint,
            Tls::Unverified => endpoint.tls_config_with_verifier(ClientTlsConfig::new(), Arc::new(TrustAnyone::default()))?,
            Tls::Verified => {
                let mut extra = trust::certificates_if_there(settings.registries.ca_file.as_deref())?;
                extra.extend(trust::certificates_if_there(Some(Path::new(files::SERVER_CA)))?);
                let verifier = Verifier::new(&extra);
                let verifier = match settings.boot_time {
                    Some(time) => verifier.with_clock(Arc::new(BootServerClock(time))),
                    None => verifier,
                };
                endpoint.tls_config_with_verifier(ClientTlsConfig::new(), Arc::new(verifier))?
            }
        };
        Ok(Self { authority: authority.to_owned(), endpoint })
    }
}

/// Agents of a site begin with different servers, and each with the same one at every start.
fn first(agent: &str, servers: usize) -> usize {
    let mut hasher = DefaultHasher::new();
    agent.hash(&mut hasher);
    usize::try_from(hasher.finish() % servers.max(1) as u64).unwrap_or(0)
}

/// The server's certificate was refused.
#[derive(Debug, thiserror::Error)]
#[error(
    "the certificate of the server {authority} is not accepted ({problem}): build the ramdisk with its CA (--ca FILE), or check \
     whether the clock is right"
)]
struct Untrusted {
    authority: String,
    problem: String,
}

fn not_connected(error: tonic::transport::Error, authority: &str) -> Status {
    match trust::of_certificate(&error) {
        Some(problem) => {
            Status::from_error(Box::new(Untrusted { authority: authority.to_owned(), problem: trust::words(&problem) }))
        }
        None => Status::from_error(Box::new(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_are_spread_over_the_servers_and_each_keeps_its_own() {
        let counts = (0..3000).fold([0; 3], |mut counts, number| {
            counts[first(&format!("02:00:00:00:{:02x}:{:02x}", number / 256, number % 256), 3)] += 1;
            counts
        });
        assert!(counts.iter().all(|count| (800..1200).contains(count)), "{counts:?}");
        assert_eq!(first("machine", 3), first("machine", 3));
        assert_eq!(first("machine", 1), 0);
    }
}
