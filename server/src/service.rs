//! The server as one value: opens the store, keeps the view in step with it, and answers everybody's questions.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, Weak};
use std::time::Duration;

use jiff::Timestamp;
use log::{error, info, warn};
use model::{AgentId, Kind, Mac, Mistake, Object, ObjectName};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::access::Network;
use crate::agents::{Agent, Agents, Facts};
use crate::events::{Hub, Reader, What};
use crate::machine::{Machine, decide};
use crate::plan::{Changed, Plan, plan};
use crate::store::{Memory, Redb, Store, StoreError, Transaction, Watch};
use crate::view::{View, key};

/// How often a write is tried again when somebody else wrote the same object meanwhile.
pub(crate) const TRIES: usize = 32;

/// For answers to reach those who are there when the server stops.
const GRACE: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
pub struct Config {
    /// The store's file; without it nothing survives the process.
    pub store: Option<PathBuf>,
    /// Networks that may use the API besides loopback.
    pub api_allow: Vec<Network>,
    /// How long a call for work is held open. Tinkerbell's agents expect about a minute.
    pub long_poll: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { store: None, api_allow: Vec::new(), long_poll: Duration::from_secs(55) }
    }
}

/// A handle; clones are the same server. The store closes when the last one is dropped.
#[derive(Clone)]
pub struct Server(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub store: Arc<dyn Store>,
    view: RwLock<View>,
    revision: watch::Sender<u64>,
    stopping: watch::Sender<bool>,
    pub events: Hub,
    pub agents: Agents,
    pub config: Config,
}

#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("nothing was changed: {} mistakes", .0.len())]
    Refused(Vec<Mistake>),
    #[error("the objects are changed by others all the time; try again")]
    Busy,
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    #[error("{kind} {name} does not exist")]
    NotFound { kind: Kind, name: ObjectName },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What `apply` did. Workflows in `failed` are stored, but their templates cannot be rendered.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Applied {
    pub changed: Vec<Changed>,
    pub failed: Vec<Mistake>,
}

impl Server {
    /// Opens the store and reads it. Needs a running executor.
    ///
    /// # Errors
    /// When the store cannot be opened or read.
    pub async fn open(config: Config) -> Result<Self, StoreError> {
        let store: Arc<dyn Store> = match config.store.clone() {
            None => Arc::new(Memory::default()),
            Some(path) => {
                let open = tokio::task::spawn_blocking(move || Redb::open(&path)).await;
                Arc::new(open.map_err(|source| StoreError::Failed { doing: "open", source: source.into() })??)
            }
        };
        let (entries, revision) = store.list("/").await?;
        let watch = store.watch(revision)?;
        let agents = Agents::default();
        for (id, agent) in entries
            .iter()
            .filter_map(|entry| Some((entry.key.strip_prefix("/agents/")?, serde_json::from_slice(&entry.value).ok()?)))
        {
            agents.restore(AgentId(id.to_owned()), agent);
        }
        let view = View::load(entries, revision);
        info!(
            "{} hardware, {} templates, {} workflows in the store",
            view.hardware.len(),
            view.templates.len(),
            view.workflows.len()
        );
        let server = Self(Arc::new(Inner {
            store,
            view: RwLock::new(view),
            revision: watch::Sender::new(revision),
            stopping: watch::Sender::new(false),
            events: Hub::new(Timestamp::now()),
            agents,
            config,
        }));
        tokio::spawn(follow(Arc::downgrade(&server.0), watch));
        tokio::spawn(expire(Arc::downgrade(&server.0)));
        Ok(server)
    }

    /// Ends all calls that are held open; agents ask again elsewhere or later.
    pub fn stop(&self) {
        self.0.stopping.send_replace(true);
    }

    pub(crate) fn stopping(&self) -> watch::Receiver<bool> {
        self.0.stopping.subscribe()
    }

    /// Some time after the stop: who has not let go of its connection by then has lost power, or means us no good.
    pub(crate) fn overdue(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut stopping = self.stopping();
        async move {
            let _ = stopping.wait_for(|stopping| *stopping).await; // an error means that the server is gone
            tokio::time::sleep(GRACE).await;
        }
    }

    /// Wakes with every change of any object.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.0.revision.subscribe()
    }

    pub(crate) fn view(&self) -> RwLockReadGuard<'_, View> {
        self.0.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits and waits until the view shows it, so that who asks next sees what was acknowledged.
    pub(crate) async fn commit(&self, transaction: Transaction) -> Result<u64, StoreError> {
        let revision = self.0.store.commit(transaction).await?;
        let mut shown = self.0.revision.subscribe();
        let _ = shown.wait_for(|now| *now >= revision).await; // an error means that the server is going away
        Ok(revision)
    }

    /// Runs to its end even when the caller goes away: a client that disconnects must not leave half of the work undone.
    pub(crate) async fn detached<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Option<T> {
        match tokio::spawn(work).await {
            Ok(done) => Some(done),
            Err(failure) => {
                error!("a request ended early: {failure}");
                None
            }
        }
    }

    /// Stores objects, all or none; workflows are rendered at once.
    ///
    /// # Errors
    /// `Refused` with every mistake; then nothing was changed.
    pub async fn apply(&self, objects: Vec<Object>) -> Result<Applied, ApplyError> {
        for _ in 0..TRIES {
            let Plan { transaction, changed, failed } = self.plan(objects.clone()).await?.map_err(ApplyError::Refused)?;
            if transaction.writes.is_empty() {
                return Ok(Applied { changed, failed });
            }
            match self.commit(transaction).await {
                Ok(_) => return Ok(Applied { changed, failed }),
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ApplyError::Busy)
    }

    /// On a thread of its own and on a copy of the view: a template may take its time.
    async fn plan(&self, objects: Vec<Object>) -> Result<Result<Plan, Vec<Mistake>>, StoreError> {
        let view = View::clone(&self.view());
        let work = move || {
            let mut ids = ulid::Generator::new();
            let mut new_id = || ids.generate().unwrap_or_else(|_| ulid::Ulid::new()).to_string();
            plan(&view, objects, Timestamp::now(), &mut new_id)
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|source| StoreError::Failed { doing: "plan a change", source: source.into() })
    }

    /// # Errors
    /// When there is no such object, or the store fails.
    pub async fn delete(&self, kind: Kind, name: &ObjectName) -> Result<(), DeleteError> {
        let key = key(kind, name);
        loop {
            let found = self.0.store.get(&key).await?.ok_or_else(|| DeleteError::NotFound { kind, name: name.clone() })?;
            match self.commit(Transaction::default().delete(&key, found.modified)).await {
                Err(StoreError::Conflict { .. }) => {}
                done => return Ok(done.map(drop)?),
            }
        }
    }

    /// An object as JSON.
    #[must_use]
    pub fn get(&self, kind: Kind, name: &ObjectName) -> Option<Value> {
        let view = self.view();
        match kind {
            Kind::Hardware => view.hardware.get(name).and_then(|stored| serde_json::to_value(&*stored.object).ok()),
            Kind::Template => view.templates.get(name).and_then(|stored| serde_json::to_value(&*stored.object).ok()),
            Kind::Workflow => view.workflows.get(name).and_then(|stored| serde_json::to_value(&*stored.object).ok()),
        }
    }

    /// All objects of a kind, by namespace and name.
    #[must_use]
    pub fn list(&self, kind: Kind) -> Vec<Value> {
        let view = self.view();
        match kind {
            Kind::Hardware => view.hardware.values().filter_map(|stored| serde_json::to_value(&*stored.object).ok()).collect(),
            Kind::Template => view.templates.values().filter_map(|stored| serde_json::to_value(&*stored.object).ok()).collect(),
            Kind::Workflow => view.workflows.values().filter_map(|stored| serde_json::to_value(&*stored.object).ok()).collect(),
        }
    }

    /// Who has this MAC, and what shall it boot now?
    #[must_use]
    pub fn machine(&self, mac: Mac) -> Option<Machine> {
        let view = self.view();
        Some(decide(&view, &view.by_mac(mac)?.object, Some(mac)))
    }

    /// The same by the address its Hardware gives it: for requests that do not carry a MAC.
    #[must_use]
    pub fn machine_by_address(&self, address: IpAddr) -> Option<Machine> {
        let view = self.view();
        let hardware = &view.by_address(address)?.object;
        let mac = hardware.spec.interfaces.iter().filter_map(|interface| interface.dhcp.as_ref());
        let mac = mac.filter(|dhcp| dhcp.ip.as_ref().and_then(|ip| ip.address) == Some(address)).find_map(|dhcp| dhcp.mac);
        Some(decide(&view, hardware, mac))
    }

    /// What is known of the agents of a machine.
    #[must_use]
    pub fn agent_of(&self, machine: &Machine) -> Option<(AgentId, Agent)> {
        let spec = &machine.hardware.spec;
        let mut ids = spec.agent_id.iter().cloned().chain(spec.macs().map(|mac| mac.to_string())).map(AgentId);
        ids.find_map(|id| Some((id.clone(), self.0.agents.get(&id)?)))
    }

    /// Tells those who follow events.
    pub fn publish(&self, what: What) {
        self.0.events.publish(what);
    }

    #[must_use]
    pub fn events(&self, since: Option<u64>) -> Reader {
        self.0.events.read(since)
    }

    /// The installed system of a machine announced itself.
    ///
    /// # Errors
    /// `Ok(false)` when the machine is not known; an error when the store fails.
    pub async fn booted(&self, mac: Mac, text: String) -> Result<bool, StoreError> {
        if self.machine(mac).is_none() {
            return Ok(false);
        }
        info!("mac={mac} the installed system is up: {text}");
        let value = json!({"time": Timestamp::now(), "text": text}).to_string().into_bytes();
        self.overwrite(&format!("/booted/{mac}"), value).await?;
        self.publish(What::Booted { mac, text });
        Ok(true)
    }

    /// When and how the installed system last announced itself.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn last_booted(&self, mac: Mac) -> Result<Option<Value>, StoreError> {
        let entry = self.0.store.get(&format!("/booted/{mac}")).await?;
        Ok(entry.and_then(|entry| serde_json::from_slice(&entry.value).ok()))
    }

    /// An agent called: remembered, and stored in the background when it is one of ours.
    pub(crate) fn agent_called(&self, id: &AgentId, address: Option<SocketAddr>, facts: Option<Facts>) {
        let news = self.0.agents.seen(id, address, facts, Timestamp::now());
        if news.first_call {
            let address = address.map(|address| address.to_string()).unwrap_or_default();
            info!("agent={id} address={address} calls for the first time");
            self.publish(What::Agent { agent: id.to_string(), address });
        }
        if news.attributes && self.view().knows_agent(id) {
            let (server, id) = (self.clone(), id.clone());
            tokio::spawn(async move {
                let Some(value) = server.0.agents.get(&id).and_then(|agent| serde_json::to_vec(&agent).ok()) else { return };
                if let Err(reason) = server.overwrite(&format!("/agents/{id}"), value).await {
                    warn!("agent={id} its attributes could not be stored: {reason}");
                }
            });
        }
    }

    /// The latest writer wins.
    async fn overwrite(&self, key: &str, value: Vec<u8>) -> Result<(), StoreError> {
        loop {
            let modified = self.0.store.get(key).await?.map_or(0, |entry| entry.modified);
            match self.commit(Transaction::default().put(key, modified, value.clone())).await {
                Err(StoreError::Conflict { .. }) => {}
                done => return done.map(drop),
            }
        }
    }
}

/// Keeps the view in step with the store until the server is gone. A transaction is shown as a whole: its revision tells
/// whoever waits for it that all of it is there.
async fn follow(server: Weak<Inner>, mut watch: Watch) {
    while let Some(change) = watch.next().await {
        match change {
            Ok(change) => {
                let Some(inner) = server.upgrade() else { return };
                let revision = change.revision;
                let changes: Vec<_> = std::iter::once(change).chain(watch.rest()).collect();
                let what: Vec<What> = {
                    let mut view = inner.view.write().unwrap_or_else(PoisonError::into_inner);
                    changes.iter().flat_map(|change| view.apply(change)).collect()
                };
                what.into_iter().for_each(|what| inner.events.publish(what));
                inner.revision.send_replace(revision);
            }
            Err(reason) => {
                warn!("the view fell behind the store and is read again: {reason}");
                let Some(new) = resumed(&server).await else { return };
                watch = new;
            }
        }
    }
}

/// Not before it worked: the changes that were missed do not come again.
async fn resumed(server: &Weak<Inner>) -> Option<Watch> {
    loop {
        let inner = server.upgrade()?;
        match read_again(&inner).await {
            Ok(watch) => {
                inner.events.publish(What::Missed { count: None });
                return Some(watch);
            }
            Err(reason) => error!("the store cannot be read: {:#}", anyhow::Error::from(reason)),
        }
        drop(inner);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn read_again(inner: &Inner) -> Result<Watch, StoreError> {
    let (entries, revision) = inner.store.list("/").await?;
    let watch = inner.store.watch(revision)?;
    *inner.view.write().unwrap_or_else(PoisonError::into_inner) = View::load(entries, revision);
    inner.revision.send_replace(revision);
    Ok(watch)
}

/// Ends workflows whose global timeout has passed.
async fn expire(server: Weak<Inner>) {
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    loop {
        tick.tick().await;
        let Some(inner) = server.upgrade() else { return };
        let server = Server(inner);
        let now = Timestamp::now();
        let expired = server.view().expired(now);
        for name in expired {
            if let Err(reason) = server.expire(&name, now).await {
                warn!("workflow={name} its timeout could not be stored: {reason}");
            }
        }
    }
}
