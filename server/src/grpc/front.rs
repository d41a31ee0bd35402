//! The layer in front of the workflow service. It bounds messages before they are decoded, and logs one line about each
//! caller that cannot be served.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use access::{Caller, Origin, page};
use api::serve::Client;
use axum::body::{Body, HttpBody, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use log::warn;
use machine::{Chain, said};
use tokio::time::{Instant, sleep_until};
use tonic::transport::server::TcpConnectInfo;
use tonic::{Code, Status};

use super::share::Shares;
use super::{MAX_MESSAGE, plain};
use crate::service::Server;

/// The calls that carry output of actions.
const LOGS: &str = "/thimble.v1.Logs/";
/// A gRPC message begins with a flag and its length.
const PREFIX: usize = 5;
/// The attributes of a large machine take a tenth of this.
const MAX_QUESTION: usize = 256 << 10;
/// The most records in the attributes of a message. An empty record takes two bytes on the wire, and hundreds in memory.
const MAX_RECORDS: usize = 8 << 10;
/// In this time a caller that is refused for the same reason gets one line.
const QUIET: Duration = Duration::from_secs(60);
/// How many callers are remembered for that.
const CALLERS: usize = 1024;

/// When a caller was last refused with a code.
type Refused = HashMap<(Option<IpAddr>, i32), Instant>;

#[derive(Clone)]
pub struct Front {
    server: Server,
    refused: Arc<Mutex<Refused>>,
    output: Arc<Shares>,
}

pub async fn serve(State(front): State<Front>, mut request: Request, next: Next) -> Response {
    let caller = request.extensions().get::<Caller>().cloned();
    let address = caller.as_ref().and_then(|caller| match caller.origin {
        Origin::Network { address, .. } => Some(address),
        Origin::Socket { .. } => None,
    });
    // Where `Request::remote_addr` looks.
    request.extensions_mut().insert(TcpConnectInfo { local_addr: None, remote_addr: address });
    let path = request.uri().path().to_owned();
    let checked = async {
        if let Some(caller) = &caller {
            plain::allowed(&front.server, caller)?;
        }
        // An agent may know this host by any name, so its `Host` says nothing.
        page::origin(request.headers()).map_err(|_| Status::permission_denied("web pages may not use the workflow service"))?;
        if !path.starts_with(LOGS) {
            let caught_up = front.server.caught_up().await;
            caught_up.map_err(|reason| Status::unavailable(Chain(&reason).to_string()))?;
        }
        match address {
            Some(address) if path.starts_with(LOGS) => front.output(address, request).await,
            _ => whole(request).await,
        }
    };
    // Boxed, because a held call keeps the room of everything that came before.
    let checked = Box::pin(checked).await;
    let response = match checked {
        Ok(request) => next.run(request).await,
        Err(status) => status.into_http(),
    };
    let status = Status::from_header_map(response.headers());
    front.server.0.metrics.answered(&path, status.as_ref().map_or(Code::Ok, Status::code));
    if let Some(status) = status {
        front.note(address, &path, &status);
    }
    response
}

/// The request with its body.
async fn whole(request: Request) -> Result<Request, Status> {
    let (parts, body) = request.into_parts();
    // A report has no lists, and an agent repeats a refused report for ever. So only its size is checked.
    let path = parts.uri.path();
    let most = match path {
        path if path.ends_with("/GetAction") => MAX_QUESTION,
        path if path.starts_with(LOGS) => proto::logs::MAX_MESSAGE,
        _ => MAX_MESSAGE,
    };
    let too_long = |_| Status::resource_exhausted(format!("a message has at most {most} bytes"));
    let bytes = to_bytes(body, PREFIX + most).await.map_err(too_long)?;
    if path.ends_with("/GetAction") && records(&bytes) > MAX_RECORDS {
        return Err(Status::invalid_argument(format!("attributes have at most {MAX_RECORDS} entries in their lists")));
    }
    Ok(Request::from_parts(parts, Body::from(bytes)))
}

/// The records of the attributes in a message: a disk, a network interface, a processor.
fn records(framed: &[u8]) -> usize {
    let message = framed.get(PREFIX..).unwrap_or_default();
    let attributes = Fields(message).filter(|(number, _)| *number == ATTRIBUTES);
    let records = attributes.flat_map(|(_, attributes)| Fields(attributes));
    let with_inner = |(number, record)| if matches!(number, CPU | PLATFORM) { 1 + Fields(record).count() } else { 1 };
    records.map(with_inner).sum()
}

/// Field numbers: `agent_attributes` of a request, and the attributes that contain records.
const ATTRIBUTES: u64 = 2;
const CPU: u64 = 1;
const PLATFORM: u64 = 1000;

/// The fields that have a length, up to the first bytes that are not protobuf.
struct Fields<'m>(&'m [u8]);

impl<'m> Iterator for Fields<'m> {
    type Item = (u64, &'m [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let tag = varint(&mut self.0)?;
            let length = match tag & 7 {
                0 => varint(&mut self.0).map(|_| 0)?,
                1 => 8,
                5 => 4,
                2 => usize::try_from(varint(&mut self.0)?).ok()?,
                _ => return None,
            };
            let (field, rest) = self.0.split_at_checked(length)?;
            self.0 = rest;
            if tag & 7 == 2 {
                return Some((tag >> 3, field));
            }
        }
    }
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

impl Front {
    pub fn before(server: Server) -> Self {
        Self { server, refused: Arc::default(), output: Arc::default() }
    }

    /// Reads a message of output when the client's share allows it. Until then the message stays with the sender.
    async fn output(&self, address: SocketAddr, request: Request) -> Result<Request, Status> {
        let client = Client::from(address.ip());
        let taken = PREFIX + proto::logs::MAX_MESSAGE;
        let Some(begin) = self.output.take(client, taken, Instant::now()) else {
            return Err(Status::resource_exhausted("too much output comes from this address; what does not fit is lost"));
        };
        sleep_until(begin).await;
        let read = whole(request).await;
        let bytes = read.as_ref().map_or(0, |request| request.body().size_hint().exact().unwrap_or(0));
        self.output.give_back(client, taken.saturating_sub(usize::try_from(bytes).unwrap_or(0)));
        read
    }

    fn note(&self, address: Option<SocketAddr>, path: &str, status: &Status) {
        // Other codes are answers, and the service logs its own failures.
        let refused = matches!(
            status.code(),
            Code::InvalidArgument
                | Code::PermissionDenied
                | Code::ResourceExhausted
                | Code::OutOfRange
                | Code::Unimplemented
                | Code::Internal
        );
        if refused {
            self.server.0.metrics.refused(status.code());
        }
        if refused && is_news(&self.refused, address.map(|address| address.ip()), status.code() as i32, Instant::now()) {
            let from = address.map_or_else(|| "an unknown address".to_owned(), |address| address.to_string());
            let (path, message) = (said(path, 120), said(status.message(), 120));
            warn!("address={from} calls {path} and is refused: {}", reason(&path, status.code(), &message));
        }
    }
}

fn is_news(refused: &Mutex<Refused>, address: Option<IpAddr>, code: i32, now: Instant) -> bool {
    let mut said = refused.lock().unwrap_or_else(PoisonError::into_inner);
    if said.get(&(address, code)).is_some_and(|at| now.duration_since(*at) < QUIET) {
        return false;
    }
    if said.len() >= CALLERS {
        said.retain(|_, at| now.duration_since(*at) < QUIET);
    }
    // During a flood of callers only the first ones are logged.
    said.len() < CALLERS && said.insert((address, code), now).is_none_or(|_| true)
}

fn reason(path: &str, code: Code, message: &str) -> String {
    match code {
        Code::Unimplemented if path.starts_with("/github.com.tinkerbell.") => {
            "it is a worker of tink v0.8 or older, which cannot be served; boot it with a newer worker".to_owned()
        }
        Code::Unimplemented if path.starts_with("/internal.proto.workflow.v2.") => {
            "it speaks Tinkerbell's internal v2 protocol, which no release serves".to_owned()
        }
        Code::Unimplemented => "this server does not have that call".to_owned(),
        _ => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    #[test]
    fn a_caller_gets_one_line_for_each_reason_in_a_minute() {
        let (front, now) = (Mutex::default(), Instant::now());
        let address = |last| Some(IpAddr::from([10, 0, 0, last]));
        assert!(is_news(&front, address(1), 12, now) && !is_news(&front, address(1), 12, now + QUIET / 2));
        assert!(is_news(&front, address(1), 3, now) && is_news(&front, address(2), 12, now));
        assert!(is_news(&front, address(1), 12, now + QUIET));
        let many = |n: u32| Some(IpAddr::from(n.to_be_bytes()));
        assert!((0..5000).filter(|n| is_news(&front, many(*n), 12, now + QUIET)).count() <= CALLERS);
    }

    #[test]
    fn records_are_counted_before_they_are_decoded() {
        let framed = |request: &proto::ActionRequest| [&[0, 0, 0, 0, 0][..], &request.encode_to_vec()].concat();
        let processors = vec![proto::Processor::default(); 50];
        let attributes = proto::AgentAttributes {
            block: vec![proto::Block::default(); 1000],
            network: vec![proto::Network { enabled_capabilities: vec!["x".into(); 60], ..proto::Network::default() }; 3],
            cpu: Some(proto::Cpu { processors, ..proto::Cpu::default() }),
            ..proto::AgentAttributes::default()
        };
        let request = proto::ActionRequest { agent_id: Some("a".into()), agent_attributes: Some(attributes) };
        assert_eq!(records(&framed(&request)), 1000 + 3 + 1 + 50);
        assert_eq!(records(&framed(&proto::ActionRequest { agent_id: Some("a".repeat(500)), agent_attributes: None })), 0);
        for broken in [&b""[..], b"\0\0", b"\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"\0\0\0\0\0\x12\xff\x7f"] {
            assert_eq!(records(broken), 0);
        }
    }
}
