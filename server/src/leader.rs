//! Of several servers on one store one leads: it ends what has timed out, drives rollouts, and writes and removes Events.
//!
//! It holds a Lease (`kubectl get leases`) that each server may take by compare-and-swap once its holder has not renewed it. No
//! clock of another host counts: a server measures how long it has seen the same revision. Everything that a leader does is
//! compare-and-swap too, so two leaders for a moment do no harm.

use std::sync::Weak;
use std::time::Duration;

use jiff::Timestamp;
use log::{info, warn};
use machine::Chain;
use model::ObjectName;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::change::encoded;
use crate::service::{Inner, Server};
use crate::store::{KeyValue, StoreError, Transaction};

/// How often the holder renews it, and others look.
const EVERY: Duration = Duration::from_secs(3);
/// So long after the beginning of its latest renewal a holder leads.
const HELD: Duration = Duration::from_secs(8);
/// Others take a lease that has not changed for so long.
const LOST: Duration = Duration::from_secs(12);
const NAME: &str = "thimble-server";

/// The Lease, as Kubernetes has it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Lease {
    metadata: Metadata,
    spec: Spec,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    name: String,
    namespace: String,
    creation_timestamp: Option<Timestamp>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    /// Empty if its holder has given it back.
    holder_identity: String,
    lease_duration_seconds: u64,
    acquire_time: Option<Timestamp>,
    renew_time: Option<Timestamp>,
    lease_transitions: u64,
}

fn key() -> String {
    format!("core/leases/{}", ObjectName::new("default", NAME))
}

pub(crate) struct Leader {
    id: String,
    /// A server that is the only one of its store always leads.
    alone: bool,
    until: watch::Sender<Option<Instant>>,
}

impl Leader {
    pub fn new(alone: bool) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self { id: format!("{host}_{}", ulid::Ulid::new()), alone, until: watch::Sender::new(None) }
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn leads(&self) -> bool {
        self.alone || self.until.borrow().is_some_and(|until| Instant::now() < until)
    }
}

/// What a look at the lease leads to.
#[derive(Debug, Clone, Copy)]
enum Look {
    /// It is another server's.
    Other,
    Renewed,
    Taken,
}

/// What another server's lease was like when it was last different.
type Seen = Option<(u64, Instant)>;

/// Until the server is dropped or stops. Then the lease is free for others.
pub(crate) async fn campaign(server: Weak<Inner>, mut stopping: watch::Receiver<bool>) {
    let (mut seen, mut works) = (None, true);
    loop {
        {
            let Some(inner) = server.upgrade() else { return };
            let server = Server(inner);
            let begun = Instant::now();
            let looked = timeout(HELD, server.look(&mut seen)).await;
            match &looked {
                Ok(Ok(Look::Other)) => drop(server.0.leader.until.send_replace(None)),
                Ok(Ok(look)) => {
                    let led = server.leads();
                    server.0.leader.until.send_replace(Some(begun + HELD));
                    if matches!(look, Look::Taken) || !led {
                        server.leads_anew(Timestamp::now());
                    }
                }
                Ok(Err(reason)) if works => warn!("the lease of the servers cannot be looked at: {}", Chain(reason)),
                Err(_) if works => warn!("the lease of the servers cannot be looked at within {} s", HELD.as_secs()),
                _ => {}
            }
            works = matches!(looked, Ok(Ok(_)));
        }
        tokio::select! {
            () = sleep(EVERY) => {}
            _ = stopping.wait_for(|stopping| *stopping) => break,
        }
    }
    let Some(inner) = server.upgrade() else { return };
    let server = Server(inner);
    if server.0.leader.leads()
        && let Err(reason) = server.give_back().await
    {
        warn!("another server leads only in {} s: {}", LOST.as_secs(), Chain(&reason));
    }
}

impl Server {
    pub(crate) fn leads(&self) -> bool {
        self.0.leader.leads()
    }

    /// From now on the silence of agents counts: this server does not know when others heard them.
    fn leads_anew(&self, now: Timestamp) {
        info!("this server leads: it ends what has timed out, and drives rollouts");
        self.begin_to_hear(now);
        self.0.rollouts.notify_one();
    }

    async fn look(&self, seen: &mut Seen) -> Result<Look, StoreError> {
        let found = self.0.store.get(&key()).await?;
        let modified = found.as_ref().map_or(0, |pair| pair.modified);
        let lease = found.and_then(read).unwrap_or_default();
        let (own, holder) = (&self.0.leader.id, &lease.spec.holder_identity);
        let look = if own == holder {
            Look::Renewed
        } else {
            let now = Instant::now();
            let (latest, since) = *seen.get_or_insert((modified, now));
            if latest != modified {
                *seen = Some((modified, now));
            }
            let is_lost = latest == modified && now.duration_since(since) >= LOST;
            if !holder.is_empty() && !is_lost {
                return Ok(Look::Other);
            }
            Look::Taken
        };
        let now = Timestamp::now();
        let taken = matches!(look, Look::Taken);
        let spec = Spec {
            holder_identity: own.clone(),
            lease_duration_seconds: LOST.as_secs(),
            acquire_time: if taken { Some(now) } else { lease.spec.acquire_time },
            renew_time: Some(now),
            lease_transitions: lease.spec.lease_transitions + u64::from(taken && modified > 0),
        };
        let metadata = Metadata {
            name: NAME.to_owned(),
            namespace: "default".to_owned(),
            creation_timestamp: lease.metadata.creation_timestamp.or(Some(now)),
        };
        match self.0.store.commit(Transaction::default().put(key(), modified, encoded(&Lease { metadata, spec })?)).await {
            Err(StoreError::Conflict { .. }) => Ok(Look::Other), // another server was faster
            done => done.map(|_| look),
        }
    }

    async fn give_back(&self) -> Result<(), StoreError> {
        let Some(pair) = self.0.store.get(&key()).await? else { return Ok(()) };
        let modified = pair.modified;
        let Some(mut lease) = read(pair).filter(|lease| lease.spec.holder_identity == self.0.leader.id) else { return Ok(()) };
        self.0.leader.until.send_replace(None);
        lease.spec.holder_identity.clear();
        match self.0.store.commit(Transaction::default().put(key(), modified, encoded(&lease)?)).await {
            Err(StoreError::Conflict { .. }) => Ok(()),
            done => done.map(drop),
        }
    }
}

/// A lease that cannot be read is taken like one that does not exist.
fn read(pair: KeyValue) -> Option<Lease> {
    serde_json::from_slice(&pair.value).ok()
}
