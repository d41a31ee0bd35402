//! The other servers of the site: where each one is, and calls to them.
//!
//! Each server has a Lease of its own (`kubectl get leases`), with its host as holder and its URL as annotation. A server shows
//! itself to the others with a certificate of the site's authority.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use access::{Authority, AuthorityError};
use jiff::{SignedDuration, Timestamp};
use log::{error, warn};
use machine::Chain;
use model::{LogServer, ObjectName};
use reqwest::{Client, Response, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use crate::change::encoded;
use crate::log_servers;
use crate::service::{Inner, Server};
use crate::store::{Change, KeyValue, StoreError, Transaction};

const PREFIX: &str = "thimble-server-";
const URL: &str = "thimble.dev/url";
/// On the Lease of a server that names itself in each Workflow of which it has lines.
const NAMES_ITSELF: &str = "thimble.dev/names-itself";
/// On the Lease of a server: which process wrote it.
const START: &str = "thimble.dev/start";
/// How often a server says that it is there.
const EVERY: Duration = Duration::from_secs(60);
/// A server that was silent for so long has no lines left that others could miss.
const FORGOTTEN: SignedDuration = SignedDuration::from_hours(30 * 24);
/// Another server accepts a connection within this time, with TLS.
const CONNECT: Duration = Duration::from_secs(2);
/// For the beginning of an answer.
pub(crate) const ANSWER: Duration = Duration::from_secs(4);
/// Of an answer that is one value.
const LONGEST: usize = 8 << 20;
/// How often it is said that two servers have one id.
const SAID_AGAIN: Duration = Duration::from_secs(3600);
/// The certificate for calls, and when a new one is made.
const LIFETIME: SignedDuration = SignedDuration::from_hours(14 * 24);
const RENEWED: Duration = Duration::from_secs(24 * 3600);

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Myself {
    /// Of the data folder, which has the logs.
    pub id: String,
    pub host: String,
    /// At which other servers reach its API.
    pub url: String,
}

/// Another server of the site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Other {
    /// As in the name of its Lease.
    pub id: String,
    pub host: String,
    pub url: String,
    /// Each Workflow of which it has lines names it. Servers of earlier versions do not.
    pub names_itself: bool,
}

impl fmt::Display for Other {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "server {} at {}", self.host, self.url)
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum OtherError {
    #[error("{other} does not answer")]
    Unreachable {
        other: Other,
        #[source]
        source: reqwest::Error,
    },
    #[error("{0} does not answer within {seconds} s", seconds = ANSWER.as_secs())]
    Slow(Other),
    #[error("{other} answers {status}")]
    Refused { other: Other, status: StatusCode },
    #[error("{other} has another version: its answer cannot be read")]
    Content {
        other: Other,
        #[source]
        source: serde_json::Error,
    },
    #[error("server {host} has left the site, because there is no Lease {PREFIX}{id} of the last 30 days")]
    Gone { id: String, host: String },
    #[error("{0} does not have a URL that can be called")]
    Url(Other),
    #[error("no call to other servers can be made")]
    Certificate(#[from] AuthorityError),
    #[error("no call to other servers can be made")]
    Client(#[source] reqwest::Error),
}

/// Of a server that others know.
pub(crate) struct Others {
    me: Myself,
    names_itself: AtomicBool,
    /// Of this process.
    start: String,
    /// Another server with the same id, and when that was said.
    twin: Mutex<Option<(Other, Instant)>>,
    /// Its Lease shall be written now.
    hurry: Arc<Notify>,
    authority: Arc<Authority>,
    client: Mutex<Option<(Instant, Client)>>,
}

/// The Lease of a server.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Lease {
    metadata: Metadata,
    spec: Spec,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: String,
    namespace: String,
    #[serde(default)]
    creation_timestamp: Option<Timestamp>,
    #[serde(default)]
    annotations: Map<String, Value>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(default)]
    holder_identity: String,
    #[serde(default)]
    lease_duration_seconds: u64,
    #[serde(default)]
    acquire_time: Option<Timestamp>,
    #[serde(default)]
    renew_time: Option<Timestamp>,
}

fn key(name: &str) -> String {
    format!("core/leases/{}", ObjectName::new("default", name))
}

/// A server that a Lease describes. `None` for one that is not of a server, or is too old.
fn read(pair: &KeyValue, now: Timestamp) -> Option<Other> {
    let lease: Lease = serde_json::from_slice(&pair.value).ok()?;
    let id = lease.metadata.name.strip_prefix(PREFIX)?.to_owned();
    let url = lease.metadata.annotations.get(URL)?.as_str()?.to_owned();
    let seen = lease.spec.renew_time.unwrap_or(Timestamp::MIN);
    let names_itself = lease.metadata.annotations.contains_key(NAMES_ITSELF);
    let other = Other { id, host: machine::said(&lease.spec.holder_identity, 80), url, names_itself };
    (now.duration_since(seen) < FORGOTTEN).then_some(other)
}

/// Another server that writes the Lease of this one's id: a copy of the data folder is in use. What an earlier process of this
/// server wrote is not such a sign.
fn twin(pair: &KeyValue, me: &Myself, start: &str) -> Option<Other> {
    let lease: Lease = serde_json::from_slice(&pair.value).ok()?;
    let wrote = lease.metadata.annotations.get(START).and_then(Value::as_str);
    let other = read(pair, Timestamp::MIN)?;
    (wrote != Some(start) && (&other.host, &other.url) != (&me.host, &me.url)).then_some(other)
}

impl Inner {
    /// A change of the store that may be the Lease of this server, which another one has written.
    pub(crate) fn notice_twin(&self, change: &Change) {
        let (Some(own), Some(pair)) = (self.others.get(), &change.pair) else { return };
        if change.key != key(&format!("{PREFIX}{}", own.me.id)) {
            return;
        }
        let Some(other) = twin(pair, &own.me, &own.start) else { return };
        let mut said = own.twin.lock().unwrap_or_else(PoisonError::into_inner);
        if said.as_ref().is_some_and(|(last, at)| *last == other && at.elapsed() < SAID_AGAIN) {
            return;
        }
        error!(
            "{other} has the id {} of this server, so it runs on a copy of this data folder, and each of them misses the logs of the \
             other; stop one, remove the file server-id in its data folder, and start it again",
            own.me.id
        );
        *said = Some((other, Instant::now()));
        own.hurry.notify_one(); // so the other one says it too
    }
}

impl Server {
    /// Lets the other servers of the site know where this one is, and calls them from now on for what they have.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn meet_others(&self, me: Myself, authority: Arc<Authority>) -> Result<(), StoreError> {
        let (names_itself, start) = (AtomicBool::new(false), ulid::Ulid::new().to_string());
        let (twin, hurry, client) = (Mutex::default(), Arc::default(), Mutex::default());
        let others = Others { me, names_itself, start, twin, hurry, authority, client };
        self.say_where(&others).await?;
        if self.0.others.set(others).is_ok() {
            tokio::spawn(keep(Arc::downgrade(&self.0)));
            tokio::spawn(log_servers::write(Arc::downgrade(&self.0)));
        }
        Ok(())
    }

    /// The servers of the site without this one. None if this server does not know others.
    pub(crate) async fn others(&self) -> Result<Vec<Other>, StoreError> {
        let Some(own) = self.0.others.get() else { return Ok(Vec::new()) };
        let (pairs, _) = self.0.store.list(&key(PREFIX)).await?;
        let now = Timestamp::now();
        Ok(pairs.iter().filter_map(|pair| read(pair, now)).filter(|other| other.id != own.me.id).collect())
    }

    /// From now on each Workflow of which this server has lines names it, and only for those others ask it.
    pub(crate) async fn says_that_it_names_itself(&self) {
        let Some(own) = self.0.others.get() else { return };
        own.names_itself.store(true, Ordering::Relaxed);
        if let Err(reason) = self.say_where(own).await {
            warn!("the other servers ask this one for every log until its Lease is written: {}", Chain(&reason));
        }
    }

    /// Asks another server, which answers from what it has itself.
    pub(crate) async fn ask(&self, other: &Other, path: &str, query: &[(&str, String)]) -> Result<Response, OtherError> {
        let client = self.0.others.get().map(Others::client).transpose()?;
        let url = Url::parse_with_params(&format!("{}{path}", other.url), query);
        let (Some(client), Ok(url)) = (client, url) else { return Err(OtherError::Url(other.clone())) };
        match tokio::time::timeout(ANSWER, client.get(url).send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(source)) => Err(OtherError::Unreachable { other: other.clone(), source: source.without_url() }),
            Err(_) => Err(OtherError::Slow(other.clone())),
        }
    }

    /// Asks another server for a value, within the limit.
    pub(crate) async fn ask_for<T: DeserializeOwned>(
        &self,
        other: &Other,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<T, OtherError> {
        let mut answer = self.ask(other, path, query).await?;
        if !answer.status().is_success() {
            return Err(OtherError::Refused { other: other.clone(), status: answer.status() });
        }
        let unreachable = |source: reqwest::Error| OtherError::Unreachable { other: other.clone(), source: source.without_url() };
        let whole = async {
            let mut bytes = Vec::new();
            while let Some(more) = answer.chunk().await.map_err(unreachable)? {
                bytes.extend_from_slice(&more);
                if bytes.len() > LONGEST {
                    break; // it is cut, and so cannot be read
                }
            }
            Ok::<_, OtherError>(bytes)
        };
        let bytes = tokio::time::timeout(ANSWER, whole).await.map_err(|_| OtherError::Slow(other.clone()))??;
        serde_json::from_slice(&bytes).map_err(|source| OtherError::Content { other: other.clone(), source })
    }

    async fn say_where(&self, Others { me, names_itself, start, .. }: &Others) -> Result<(), StoreError> {
        let said = [(URL, &me.url), (START, start)];
        let mut annotations: Map<String, Value> =
            said.into_iter().map(|(name, text)| (name.to_owned(), text.clone().into())).collect();
        if names_itself.load(Ordering::Relaxed) {
            annotations.insert(NAMES_ITSELF.to_owned(), "true".into());
        }
        let (name, now) = (format!("{PREFIX}{}", me.id), Timestamp::now());
        let pair = self.0.store.get(&key(&name)).await?;
        let before: Option<Lease> = pair.as_ref().and_then(|pair| serde_json::from_slice(&pair.value).ok());
        let created = before.as_ref().and_then(|lease| lease.metadata.creation_timestamp).unwrap_or(now);
        let acquired = before.filter(|lease| lease.spec.holder_identity == me.host).and_then(|lease| lease.spec.acquire_time);
        let lease = Lease {
            metadata: Metadata {
                name: name.clone(),
                namespace: "default".to_owned(),
                creation_timestamp: Some(created),
                annotations,
            },
            spec: Spec {
                holder_identity: me.host.clone(),
                lease_duration_seconds: 2 * EVERY.as_secs(),
                acquire_time: Some(acquired.unwrap_or(now)),
                renew_time: Some(now),
            },
        };
        let seen = pair.map_or(0, |pair| pair.modified);
        match self.0.store.commit(Transaction::default().put(key(&name), seen, encoded(&lease)?)).await {
            Err(StoreError::Conflict { .. }) => Ok(()), // a person changes it; the next time comes soon
            done => done.map(drop),
        }
    }
}

impl Others {
    pub(crate) fn me(&self) -> LogServer {
        LogServer { id: self.me.id.clone(), host: self.me.host.clone() }
    }

    pub(crate) fn id(&self) -> &str {
        &self.me.id
    }

    fn client(&self) -> Result<Client, OtherError> {
        let mut kept = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, client)) = kept.as_ref().filter(|(made, _)| made.elapsed() < RENEWED) {
            return Ok(client.clone());
        }
        let tls = self.authority.between_servers(&self.me.host_as_name(), LIFETIME, Timestamp::now())?;
        let client = Client::builder().no_proxy().connect_timeout(CONNECT).tcp_keepalive(Duration::from_secs(10));
        let client = client.tls_backend_preconfigured(tls).build().map_err(OtherError::Client)?;
        *kept = Some((Instant::now(), client.clone()));
        Ok(client)
    }
}

impl Myself {
    /// In the certificate, and so in the lines of the other server.
    fn host_as_name(&self) -> String {
        let name: String = self.host.chars().filter(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(*letter)).collect();
        format!("server-{}", name.get(..48).unwrap_or(&name))
    }
}

/// Until the server is dropped.
async fn keep(server: Weak<Inner>) {
    let mut works = true;
    loop {
        let hurry = {
            let Some(inner) = server.upgrade() else { return };
            let Some(own) = inner.others.get() else { return };
            Arc::clone(&own.hurry)
        };
        let _ = timeout(EVERY, hurry.notified()).await; // both lead to the next write
        let Some(inner) = server.upgrade() else { return };
        let server = Server(inner);
        let Some(own) = server.0.others.get() else { return };
        let said = server.say_where(own).await;
        if let Err(reason) = &said
            && works
        {
            warn!("the other servers do not learn where this one is: {}", Chain(reason));
        }
        works = said.is_ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(change: impl FnOnce(&mut Lease)) -> KeyValue {
        let mut lease = Lease {
            metadata: Metadata {
                name: "thimble-server-01a".to_owned(),
                namespace: "default".to_owned(),
                creation_timestamp: None,
                annotations: Map::from_iter([(URL.to_owned(), "https://192.0.2.21:6443".into())]),
            },
            spec: Spec {
                holder_identity: "node-b".to_owned(),
                lease_duration_seconds: 120,
                acquire_time: None,
                renew_time: Some(Timestamp::UNIX_EPOCH),
            },
        };
        change(&mut lease);
        KeyValue { key: String::new(), value: serde_json::to_vec(&lease).unwrap(), created: 1, modified: 1 }
    }

    #[test]
    fn only_the_lease_of_a_server_names_one_and_an_old_one_is_forgotten() {
        let hours = |hours: i64| Timestamp::from_second(hours * 3600).unwrap();
        let other = |names_itself| {
            let (id, host, url) = ("01a".to_owned(), "node-b".to_owned(), "https://192.0.2.21:6443".to_owned());
            Some(Other { id, host, url, names_itself })
        };
        let names_itself = |lease: &mut Lease| drop(lease.metadata.annotations.insert(NAMES_ITSELF.to_owned(), "true".into()));
        for (case, pair, now, expected) in [
            ("a server of an earlier version", lease(|_| {}), hours(1), other(false)),
            ("a server", lease(names_itself), hours(1), other(true)),
            ("after three weeks of silence", lease(names_itself), hours(21 * 24), other(true)),
            ("after a month of silence", lease(|_| {}), hours(31 * 24), None),
            ("the lease of the leader", lease(|lease| lease.metadata.name = "thimble-server".to_owned()), hours(1), None),
            ("one without a URL", lease(|lease| lease.metadata.annotations.clear()), hours(1), None),
        ] {
            assert_eq!(read(&pair, now), expected, "{case}");
        }
    }

    #[test]
    fn a_lease_of_its_own_id_shows_a_server_that_another_one_runs_on_a_copy_of_its_data_folder() {
        let me = Myself { id: "01a".to_owned(), host: "node-b".to_owned(), url: "https://192.0.2.21:6443".to_owned() };
        let by = |start: &str| {
            let start = start.to_owned();
            move |lease: &mut Lease| drop(lease.metadata.annotations.insert(START.to_owned(), start.into()))
        };
        let at = |url: &str| {
            let url = url.to_owned();
            move |lease: &mut Lease| drop(lease.metadata.annotations.insert(URL.to_owned(), url.into()))
        };
        for (case, pair, expected) in [
            ("this process", lease(by("now")), None),
            ("an earlier process of this server", lease(by("before")), None),
            ("an earlier version of this server", lease(|_| {}), None),
            (
                "this process on an address that was changed",
                lease(|lease| (by("now")(lease), at("https://[::1]:1")(lease)).1),
                None,
            ),
            (
                "another process on the same host",
                lease(at("https://192.0.2.21:6444")),
                Some("server node-b at https://192.0.2.21:6444"),
            ),
            (
                "the same on another host",
                lease(|lease| lease.spec.holder_identity = "node-c".to_owned()),
                Some("server node-c at https://192.0.2.21:6443"),
            ),
        ] {
            assert_eq!(twin(&pair, &me, "now").map(|other| other.to_string()).as_deref(), expected, "{case}");
        }
    }
}
