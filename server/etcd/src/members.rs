//! The members of etcd. Calls go to one of them, and to the next one as soon as it does not answer.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status, Streaming};

use crate::Address;
use crate::error::{CallError, Trouble, is_refusal};
use crate::rpc::kv_client::KvClient;
use crate::rpc::lease_client::LeaseClient;
use crate::rpc::watch_client::WatchClient;
use crate::rpc::watch_request::RequestUnion;
use crate::rpc::{
    CompactionRequest, LeaseGrantRequest, PutRequest, RangeRequest, RangeResponse, TxnRequest, TxnResponse, WatchCreateRequest,
    WatchRequest, WatchResponse,
};

/// For a member to take a connection.
const CONNECT: Duration = Duration::from_secs(2);
/// For a member to answer. A new leader is elected within two seconds.
const TRY: Duration = Duration::from_secs(4);
/// For any of the members.
const LIMIT: Duration = Duration::from_secs(10);
/// Before the next try.
const PAUSE: Duration = Duration::from_millis(100);
/// A connection without an answer to its pings is closed. etcd admits a ping each five seconds.
const PING: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(5));
/// A list has as many pairs as its caller asks for, and etcd has its own limit for each value.
const LARGEST: usize = 1 << 30;

/// The certificates in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Of the authority that signed the members' certificates.
    pub authority: Vec<u8>,
    /// Certificate and key of this host.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

struct Member {
    name: String,
    channel: Channel,
}

pub struct Members {
    list: Vec<Member>,
    current: AtomicUsize,
    names: String,
}

/// What is known of a call that may write.
pub type Once<T> = Result<T, (CallError, Effect)>;

/// Whether a failed call may have had an effect, or may have one later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    None,
    Unknown,
}

impl Members {
    /// Connects with the first call. It must be made inside a running executor.
    ///
    /// # Errors
    /// When an address or a certificate cannot be used.
    pub fn new(address: &Address, tls: Option<&Tls>) -> Result<Self, CallError> {
        let list = address.members.iter().map(|name| member(name, tls)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { list, current: AtomicUsize::new(0), names: address.members.join(",") })
    }

    /// As an error names them.
    #[must_use]
    pub fn names(&self) -> &str {
        &self.names
    }

    fn current(&self) -> (usize, &Member) {
        let index = self.current.load(Ordering::Relaxed) % self.list.len();
        (index, &self.list[index])
    }

    /// Takes the next member, unless another call did so.
    fn leave(&self, index: usize) {
        let next = (index + 1) % self.list.len();
        let _ = self.current.compare_exchange(index, next, Ordering::Relaxed, Ordering::Relaxed); // another call was faster
    }

    /// One try with the current member.
    async fn once<T, F>(&self, doing: &'static str, call: impl FnOnce(Channel) -> F) -> Once<T>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        let (index, member) = self.current();
        let status = match timeout(TRY, call(member.channel.clone())).await {
            Ok(Ok(answer)) => return Ok(answer.into_inner()),
            Ok(Err(status)) => status,
            Err(_) => {
                self.leave(index);
                let source = Trouble::Late { member: member.name.clone(), seconds: TRY.as_secs() };
                return Err((CallError::Silent { members: self.names.clone(), doing, source }, Effect::Unknown));
            }
        };
        if is_refusal(&status) {
            let refused = CallError::Refused { members: self.names.clone(), doing, source: Box::new(status) };
            return Err((refused, Effect::None));
        }
        self.leave(index);
        let source = Trouble::Status { member: member.name.clone(), status: Box::new(status) };
        Err((CallError::Silent { members: self.names.clone(), doing, source }, Effect::Unknown))
    }

    /// Tries one member after another. For calls that may happen twice.
    async fn any<T, F>(&self, doing: &'static str, call: impl Fn(Channel) -> F) -> Result<T, CallError>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        let end = Instant::now() + LIMIT;
        loop {
            match self.once(doing, &call).await {
                Err((_, Effect::Unknown)) if Instant::now() + PAUSE < end => tokio::time::sleep(PAUSE).await,
                done => return done.map_err(|(error, _)| error),
            }
        }
    }

    /// # Errors
    /// When no member answers, or the range is refused.
    pub async fn range(&self, doing: &'static str, range: &RangeRequest) -> Result<RangeResponse, CallError> {
        self.any(doing, |channel| {
            let range = asked(range.clone());
            async move { kv(channel).range(range).await }
        })
        .await
    }

    /// A transaction that only reads, or that may happen twice.
    ///
    /// # Errors
    /// When no member answers, or the transaction is refused.
    pub async fn read(&self, doing: &'static str, transaction: &TxnRequest) -> Result<TxnResponse, CallError> {
        self.any(doing, |channel| {
            let transaction = asked(transaction.clone());
            async move { kv(channel).txn(transaction).await }
        })
        .await
    }

    /// A transaction that is sent once.
    ///
    /// # Errors
    /// With what is known of its effect.
    pub async fn transact(&self, doing: &'static str, transaction: TxnRequest) -> Once<TxnResponse> {
        self.once(doing, |channel| async move { kv(channel).txn(asked(transaction)).await }).await
    }

    /// Writes a key that no other process writes, and returns the revision. The key has a lease of this many seconds, if any.
    ///
    /// # Errors
    /// When no member answers, or the write is refused.
    pub async fn put(&self, doing: &'static str, key: Vec<u8>, value: Vec<u8>, seconds: Option<i64>) -> Result<i64, CallError> {
        let lease = match seconds {
            Some(seconds) => {
                let grant = |channel| async move {
                    LeaseClient::new(channel).lease_grant(asked(LeaseGrantRequest { ttl: seconds, id: 0 })).await
                };
                self.any(doing, grant).await?.id
            }
            None => 0,
        };
        let written = self.any(doing, |channel| {
            let put = asked(PutRequest { key: key.clone(), value: value.clone(), lease });
            async move { kv(channel).put(put).await }
        });
        Ok(written.await?.header.map_or(0, |header| header.revision))
    }

    /// Forgets the history before a revision. That others did so is no error.
    ///
    /// # Errors
    /// When no member answers, or etcd refuses it.
    pub async fn compact(&self, revision: i64) -> Result<(), CallError> {
        let compacted = self.any("compact its history", |channel| async move {
            kv(channel).compact(asked(CompactionRequest { revision, physical: false })).await
        });
        match compacted.await {
            Err(error) if error.is_compacted() => Ok(()),
            done => done.map(drop),
        }
    }

    /// The events of a range from a revision on.
    ///
    /// # Errors
    /// When the current member does not answer.
    pub async fn watch(&self, key: Vec<u8>, range_end: Vec<u8>, start_revision: i64) -> Result<Events, CallError> {
        let (index, member) = self.current();
        let (sender, requests) = mpsc::channel::<WatchRequest>(1);
        let create = WatchCreateRequest { key, range_end, start_revision, prev_kv: true };
        let _ = sender.try_send(WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }); // it is empty
        let requests = ReceiverStream::new(requests);
        let watch = async {
            let mut client = WatchClient::new(member.channel.clone()).max_decoding_message_size(LARGEST);
            client.watch(asked(requests)).await
        };
        let silent = |source| CallError::Silent { members: self.names.clone(), doing: "watch", source };
        match timeout(TRY, watch).await {
            Ok(Ok(stream)) => Ok(Events { stream: stream.into_inner(), _sender: sender, index, member: member.name.clone() }),
            Ok(Err(status)) => {
                self.leave(index);
                Err(silent(Trouble::Status { member: member.name.clone(), status: Box::new(status) }))
            }
            Err(_) => {
                self.leave(index);
                Err(silent(Trouble::Late { member: member.name.clone(), seconds: TRY.as_secs() }))
            }
        }
    }

    /// A watch has ended, so its member is left.
    pub fn left(&self, member: usize) {
        self.leave(member);
    }
}

/// A watch, until it is dropped.
pub struct Events {
    stream: Streaming<WatchResponse>,
    /// The watch ends with it.
    _sender: mpsc::Sender<WatchRequest>,
    index: usize,
    member: String,
}

impl Events {
    /// Which member it is at.
    #[must_use]
    pub const fn at(&self) -> usize {
        self.index
    }

    /// # Errors
    /// When the member ends the watch.
    pub async fn next(&mut self) -> Result<WatchResponse, Trouble> {
        let status = match self.stream.message().await {
            Ok(Some(response)) => return Ok(response),
            Ok(None) => Status::unavailable("it ended the watch"),
            Err(status) => status,
        };
        Err(Trouble::Status { member: self.member.clone(), status: Box::new(status) })
    }
}

fn member(name: &str, tls: Option<&Tls>) -> Result<Member, CallError> {
    let scheme = if tls.is_some() { "https" } else { "http" };
    let address = |source| CallError::Address { member: name.to_owned(), source };
    let mut endpoint = Endpoint::from_shared(format!("{scheme}://{name}")).map_err(address)?;
    if let Some(tls) = tls {
        let mut config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&tls.authority));
        if let Some((certificate, key)) = &tls.identity {
            config = config.identity(Identity::from_pem(certificate, key));
        }
        endpoint = endpoint.tls_config(config).map_err(CallError::Tls)?;
    }
    let endpoint = endpoint
        .connect_timeout(CONNECT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING.0)
        .keep_alive_timeout(PING.1)
        .keep_alive_while_idle(true);
    Ok(Member { name: name.to_owned(), channel: endpoint.connect_lazy() })
}

fn kv(channel: Channel) -> KvClient<Channel> {
    KvClient::new(channel).max_decoding_message_size(LARGEST)
}

/// A member that has lost its leader refuses the request, and ends the stream.
fn asked<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
    request
}
