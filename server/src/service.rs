//! The server as one value. It opens the store, and plans and commits what agents, boots and operators ask.

mod follow;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use ::logs::Logs;
use access::{Names, Network, PlainGrpc};
use api::{Agent, Applied, What};
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use log::{error, info};
use machine::Chain;
use model::{AgentId, Kind, Mistake, Object, ObjectName};
use serde_json::Value;
use steps::Steps;
use tokio::sync::{Notify, watch};

use self::follow::follow;
use crate::agents::{Agents, reported};
use crate::backlog::Backlog;
use crate::change::Tries;
use crate::deadlines::{expire, host_clock};
use crate::discovery::Discovery;
use crate::due::Due;
use crate::events::{Hub, Reader};
use crate::health::Health;
use crate::http::uploads::Turns;
use crate::last_steps;
use crate::latest::Latest;
use crate::leader::Leader;
use crate::log_servers::LogServers;
use crate::metrics::{Commits, Metrics};
use crate::others::Others;
use crate::percents::{self, Percents};
use crate::plan::{Kept, Person, Plan, Rules, deletion, plan};
use crate::restored;
use crate::rollout;
use crate::store::{Etcd, EtcdSettings, Measured, Memory, Redb, Store, StoreError, Transaction, Watch};
use crate::v1alpha2;
use crate::view::View;
use crate::wake::{Calls, Held, Subject, Waiting};

/// The time for answers to reach their clients when the server stops.
pub(crate) const GRACE: Duration = Duration::from_secs(1);
/// Their records in the store.
pub(crate) const AGENTS: &str = "/agents/";
/// For the view to show what was stored.
const SHOWN: Duration = Duration::from_secs(10);

#[derive(Debug, Clone)]
pub struct Config {
    /// The path of the store. Without it nothing survives the process.
    pub store: Option<PathBuf>,
    /// Where etcd is, which is then the store in place of the file.
    pub etcd: Option<EtcdSettings>,
    /// Networks that may read metrics on the plain port besides loopback.
    pub api_allow: Vec<Network>,
    /// How long a call for work is held open. Tinkerbell's agents expect about a minute.
    pub long_poll: Duration,
    /// Whether the first order of a machine that never finished one waits for approval.
    pub hold_new_machines: bool,
    /// This host's addresses, which no machine may have.
    pub addresses: Vec<IpAddr>,
    /// Networks whose unknown agents become Hardware that waits for approval.
    pub discovery: Vec<Network>,
    /// Under which clients reach this host; a call for another name is one of a web page.
    pub names: Names,
    /// Which agents may call without TLS.
    pub plain_grpc: PlainGrpc,
    /// Where the logs of machines are kept, and how much of them. Without it they are not kept.
    pub logs: Option<(PathBuf, ::logs::Limits)>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            store: None,
            etcd: None,
            api_allow: Vec::new(),
            long_poll: Duration::from_secs(55),
            hold_new_machines: false,
            addresses: Vec::new(),
            discovery: Vec::new(),
            names: Names::local(),
            plain_grpc: PlainGrpc::default(),
            logs: None,
        }
    }
}

/// A handle; clones are the same server. The store closes when the last one is dropped.
#[derive(Clone)]
pub struct Server(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub store: Arc<dyn Store>,
    view: RwLock<View>,
    pub revision: watch::Sender<u64>,
    calls: Calls,
    stopping: watch::Sender<bool>,
    pub uploads: Turns,
    pub events: Hub,
    pub agents: Agents,
    /// Workflows with a running action.
    pub due: Mutex<Due>,
    pub discovery: Discovery,
    pub logs: Option<Logs>,
    pub steps: Steps,
    pub metrics: Metrics,
    pub commits: Arc<Commits>,
    pub health: Health,
    pub percents: Percents,
    pub last_steps: Backlog<ObjectName>,
    /// Agents whose report is not stored yet.
    pub reported: Backlog<AgentId>,
    pub leader: Leader,
    pub latest: Latest,
    /// The other servers of the site, once they know where this one is.
    pub others: OnceLock<Others>,
    pub log_servers: LogServers,
    /// Wakes the task that shares the tokens of the site.
    pub tokens: Arc<Notify>,
    pub rollouts: Arc<rollout::Wake>,
    config: RwLock<Arc<Config>>,
    /// When the server started. Earlier calls of agents are not known.
    pub started: Mutex<Timestamp>,
}

#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("nothing was changed: {} mistakes", .0.len())]
    Refused(Vec<Mistake>),
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    #[error("{kind} {name} does not exist")]
    NotFound { kind: Kind, name: ObjectName },
    #[error("{kind} {name} is used by {}; delete them first, or use --force", list(.users))]
    InUse { kind: Kind, name: ObjectName, users: Vec<ObjectName> },
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn list(users: &[ObjectName]) -> String {
    let shown: Vec<String> = users.iter().take(5).map(|user| format!("Workflow {user}")).collect();
    let more = users.len().saturating_sub(shown.len());
    if more > 0 { format!("{} and {more} more", shown.join(", ")) } else { shown.join(", ") }
}

impl Inner {
    /// The settings as they are now.
    pub(crate) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn view(&self) -> RwLockReadGuard<'_, View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Server {
    /// Follows new settings, as far as a running server can. The others need a restart.
    pub fn reconfigure(&self, new: &Config) {
        let mut config = self.0.config.write().unwrap_or_else(PoisonError::into_inner);
        *config = Arc::new(Config {
            api_allow: new.api_allow.clone(),
            hold_new_machines: new.hold_new_machines,
            discovery: new.discovery.clone(),
            plain_grpc: new.plain_grpc.clone(),
            ..Config::clone(&config)
        });
    }

    /// Opens the store and reads it. It must be called inside a running executor.
    ///
    /// # Errors
    /// When the store cannot be opened or read.
    pub fn open(config: Config) -> BoxFuture<'static, Result<Self, StoreError>> {
        Box::pin(Self::opened(config))
    }

    async fn opened(config: Config) -> Result<Self, StoreError> {
        let store: Arc<dyn Store> = match (&config.etcd, config.store.clone()) {
            (Some(settings), _) => Arc::new(Etcd::open(settings).await?),
            (None, None) => Arc::new(Memory::default()),
            (None, Some(path)) => {
                let open = tokio::task::spawn_blocking(move || Redb::open(&path)).await;
                Arc::new(open.map_err(|source| StoreError::Failed { doing: "open", source: source.into() })??)
            }
        };
        let server = Self::on(store, config).await?;
        tokio::spawn(expire(Arc::downgrade(&server.0), host_clock));
        tokio::spawn(percents::write(Arc::downgrade(&server.0), server.percents_to_write()));
        tokio::spawn(last_steps::write(Arc::downgrade(&server.0), server.0.last_steps.news()));
        tokio::spawn(reported::write(Arc::downgrade(&server.0), server.0.reported.news()));
        Ok(server)
    }

    /// Builds the server on an open store. Without background tasks, so nothing ends by itself.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn on(store: Arc<dyn Store>, config: Config) -> Result<Self, StoreError> {
        let commits = Arc::new(Commits::default());
        let store: Arc<dyn Store> = Arc::new(Measured::new(store, Arc::clone(&commits)));
        let is_shared = store.is_shared();
        restored::hold(&*store, Timestamp::now()).await?;
        let folder = config.logs.as_ref().map(|(folder, _)| folder.clone());
        // Each reads much, and none needs another.
        let (loaded, logs, steps) = tokio::join!(load(&*store), open_logs(config.logs.clone()), open_steps(folder));
        let (view, agents, watch) = loaded?;
        let (revision, due) = (view.revision, Due::of(view.running().map(|stored| stored.object.name())));
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
            calls: Calls::default(),
            stopping: watch::Sender::new(false),
            uploads: Turns::default(),
            events: Hub::new(Timestamp::now()),
            agents,
            due: Mutex::new(due),
            discovery: Discovery::default(),
            logs,
            steps,
            metrics: Metrics::default(),
            commits,
            health: Health::default(),
            percents: Percents::default(),
            last_steps: Backlog::default(),
            reported: Backlog::default(),
            leader: Leader::new(!is_shared),
            latest: Latest::default(),
            others: OnceLock::new(),
            log_servers: LogServers::default(),
            tokens: Arc::default(),
            rollouts: Arc::default(),
            config: RwLock::new(Arc::new(config)),
            started: Mutex::new(Timestamp::now()),
        }));
        tokio::spawn(follow(Arc::downgrade(&server.0), watch));
        if is_shared {
            server.join_others();
        }
        tokio::spawn(rollout::drive(Arc::downgrade(&server.0), Arc::clone(&server.0.rollouts)));
        Ok(server)
    }

    /// Ends all held calls, so that agents ask again elsewhere or later.
    pub fn stop(&self) {
        self.0.stopping.send_replace(true);
    }

    pub(crate) fn stopping(&self) -> watch::Receiver<bool> {
        self.0.stopping.subscribe()
    }

    /// Completes some time after the stop. A connection that is still open then belongs to a machine without power, or to
    /// an attacker.
    pub(crate) fn overdue(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut stopping = self.stopping();
        async move {
            let _ = stopping.wait_for(|stopping| *stopping).await; // an error only means that the server was dropped
            tokio::time::sleep(GRACE).await;
        }
    }

    /// Wakes with every change that concerns the subject.
    pub(crate) fn wait_for(&self, subject: Subject) -> Waiting {
        self.0.calls.wait_for(subject)
    }

    pub(crate) fn held_calls(&self) -> Held {
        self.0.calls.held()
    }

    pub(crate) fn view(&self) -> RwLockReadGuard<'_, View> {
        self.0.view()
    }

    /// A copy of the current view, for work that takes longer than a lookup. It costs the same at any size.
    pub(crate) fn snapshot(&self) -> View {
        self.view().clone()
    }

    /// Commits and waits until the view shows the change, so that the next question sees what was acknowledged.
    pub(crate) async fn commit(&self, transaction: Transaction) -> Result<u64, StoreError> {
        let mut shown = self.0.revision.subscribe();
        let revision = match self.0.store.commit(transaction).await {
            Err(StoreError::Conflict { key }) => {
                // The next try must start from the other writer's state.
                let other = self.0.store.get(&key).await?.map_or(0, |pair| pair.modified);
                let _ = tokio::time::timeout(GRACE, shown.wait_for(|now| *now >= other)).await;
                return Err(StoreError::Conflict { key });
            }
            done => done?,
        };
        // With several servers the view may be cut off from the store, and what is stored is stored.
        let _ = tokio::time::timeout(SHOWN, shown.wait_for(|now| *now >= revision)).await;
        Ok(revision)
    }

    /// Runs to its end even if the caller disconnects, so that no work is left half done.
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
    /// `Refused` with every mistake. In that case nothing was changed.
    pub async fn apply(&self, objects: Vec<Object>) -> Result<Applied, ApplyError> {
        self.apply_by(objects, None).await
    }

    /// `apply` with workflows that a person orders explicitly.
    pub(crate) async fn apply_by(&self, objects: Vec<Object>, person: Option<Person>) -> Result<Applied, ApplyError> {
        let mut tries = Tries::default();
        loop {
            let plan = self.plan_by(objects.clone(), person.clone()).await?.map_err(ApplyError::Refused)?;
            let (transaction, applied) = answer(plan);
            if transaction.writes.is_empty() || tries.done(self.commit(transaction).await)? {
                return Ok(applied);
            }
        }
    }

    /// What `apply` would do now. Nothing is stored.
    ///
    /// # Errors
    /// The same as those of `apply`.
    pub async fn try_apply(&self, objects: Vec<Object>) -> Result<Applied, ApplyError> {
        let plan = self.plan(objects).await?.map_err(ApplyError::Refused)?;
        Ok(answer(plan).1)
    }

    pub(crate) async fn plan(&self, objects: Vec<Object>) -> Result<Result<Plan, Vec<Mistake>>, StoreError> {
        self.plan_by(objects, None).await
    }

    async fn plan_by(&self, objects: Vec<Object>, person: Option<Person>) -> Result<Result<Plan, Vec<Mistake>>, StoreError> {
        self.plan_under(Rules { person, ..self.rules() }, objects).await
    }

    /// The operator's settings for all machines.
    pub(crate) fn rules(&self) -> Rules {
        let config = self.0.config();
        let (hold_new, addresses, shared) = (config.hold_new_machines, config.addresses.clone(), self.0.store.is_shared());
        Rules { hold_new, addresses, shared, ..Rules::default() }
    }

    /// Plans on a separate thread and on a copy of the view, because a template may take long.
    pub(crate) async fn plan_under(&self, rules: Rules, objects: Vec<Object>) -> Result<Result<Plan, Vec<Mistake>>, StoreError> {
        let view = self.snapshot();
        let work = move || {
            let mut ids = ulid::Generator::new();
            let mut new_id = || ids.generate().unwrap_or_else(|_| ulid::Ulid::new()).to_string();
            plan(&view, objects, &rules, Timestamp::now(), &mut new_id)
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|source| StoreError::Failed { doing: "plan a change", source: source.into() })
    }

    /// Deletes an object. With `force` this includes Hardware or a Template that an unfinished workflow uses.
    ///
    /// # Errors
    /// When the object does not exist or is in use, or the store fails.
    pub async fn delete(&self, kind: Kind, name: &ObjectName, force: bool) -> Result<(), DeleteError> {
        let mut tries = Tries::default();
        loop {
            let plan = deletion(&self.view(), kind, name, force, Timestamp::now()).map_err(|kept| match kept {
                Kept::Missing => DeleteError::NotFound { kind, name: name.clone() },
                Kept::Used(users) => DeleteError::InUse { kind, name: name.clone(), users },
            })?;
            if tries.done(self.commit(plan.transaction).await)? {
                return Ok(());
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
            Kind::Workflow => {
                let stored = view.workflows.get(name).filter(|stored| !v1alpha2::runs(&stored.object))?;
                serde_json::to_value(&*stored.object).ok()
            }
            Kind::WorkflowRuleSet => view.rule_sets.get(name).and_then(|stored| serde_json::to_value(&*stored.object).ok()),
            other => v1alpha2::get(&view, other, name),
        }
    }

    /// All objects of a kind, by namespace and name. Writers do not wait for this.
    #[must_use]
    pub fn list(&self, kind: Kind) -> Vec<Value> {
        let view = self.snapshot();
        match kind {
            Kind::Hardware => view.hardware.values().filter_map(|stored| serde_json::to_value(&*stored.object).ok()).collect(),
            Kind::Template => view.templates.values().filter_map(|stored| serde_json::to_value(&*stored.object).ok()).collect(),
            Kind::Workflow => {
                let own = view.workflows.values().filter(|stored| !v1alpha2::runs(&stored.object));
                own.filter_map(|stored| serde_json::to_value(&*stored.object).ok()).collect()
            }
            Kind::WorkflowRuleSet => {
                view.rule_sets.values().filter_map(|stored| serde_json::to_value(&*stored.object).ok()).collect()
            }
            other => v1alpha2::list(&view, other),
        }
    }

    /// Sends this to the readers of events.
    pub fn publish(&self, what: What) {
        self.0.events.publish(what);
    }

    #[must_use]
    pub fn events(&self, since: Option<u64>) -> Reader {
        self.0.events.read(since)
    }
}

/// The objects and agents of the store, and what changes from now on.
async fn load(store: &dyn Store) -> Result<(View, Agents, Watch), StoreError> {
    let (pairs, revision) = store.list("/").await?;
    let watch = store.watch(revision)?;
    let (of_agents, objects): (Vec<_>, Vec<_>) = pairs.into_iter().partition(|pair| pair.key.starts_with(AGENTS));
    let agents = move || {
        let agents = Agents::default();
        for pair in of_agents {
            if let Ok(agent) = serde_json::from_slice::<Agent>(&pair.value) {
                agents.restore(Agent { id: AgentId::from(pair.key.get(AGENTS.len()..).unwrap_or_default()), ..agent });
            }
        }
        agents
    };
    let view = tokio::task::spawn_blocking(move || View::load(objects, revision));
    let both = tokio::try_join!(view, tokio::task::spawn_blocking(agents));
    let (view, agents) = both.map_err(|source| StoreError::Failed { doing: "decode its content", source: source.into() })?;
    Ok((view, agents, watch))
}

/// Without its logs a server still does its work.
async fn open_logs(settings: Option<(PathBuf, ::logs::Limits)>) -> Option<Logs> {
    let (folder, limits) = settings?;
    match tokio::task::spawn_blocking(move || Logs::open(&folder, limits)).await {
        Ok(Ok(logs)) => Some(logs),
        Ok(Err(reason)) => {
            error!("{}; what machines say is not kept until the server starts again", Chain(&reason));
            None
        }
        Err(_) => None, // it panicked, which is reported already
    }
}

/// How machines boot is kept beside the logs.
async fn open_steps(folder: Option<PathBuf>) -> Steps {
    let Some(folder) = folder else { return Steps::default() };
    tokio::task::spawn_blocking(move || Steps::open(&folder)).await.unwrap_or_default() // it panicked, which is reported already
}

pub(crate) fn answer(plan: Plan) -> (Transaction, Applied) {
    let installs = plan.installs.iter().map(ToString::to_string).collect();
    (plan.transaction, Applied { changes: plan.changes, installs, ..Applied::default() })
}
