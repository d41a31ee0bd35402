//! The first generation of `proto.WorkflowService`, which old servers (tink v0.9 to v0.12) speak: the messages that a
//! worker needs and its three calls. Written out, because package and service have the name of the second generation.

use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, skip_field};
use prost_types::Timestamp;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};
pub use tonic_prost::ProstCodec;

#[derive(Clone, PartialEq, Message)]
pub struct WorkflowContextRequest {
    #[prost(string, tag = "1")]
    pub worker_id: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct WorkflowContext {
    #[prost(string, tag = "1")]
    pub workflow_id: String,
    #[prost(string, tag = "2")]
    pub current_worker: String,
    #[prost(string, tag = "3")]
    pub current_task: String,
    #[prost(string, tag = "4")]
    pub current_action: String,
    #[prost(int64, tag = "5")]
    pub current_action_index: i64,
    #[prost(enumeration = "State", tag = "6")]
    pub current_action_state: i32,
    #[prost(int64, tag = "7")]
    pub total_number_of_actions: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct WorkflowActionsRequest {
    #[prost(string, tag = "1")]
    pub workflow_id: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct WorkflowActionList {
    #[prost(message, repeated, tag = "1")]
    pub action_list: Vec<WorkflowAction>,
}

#[derive(Clone, PartialEq, Message)]
pub struct WorkflowAction {
    #[prost(string, tag = "1")]
    pub task_name: String,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(string, tag = "3")]
    pub image: String,
    #[prost(int64, tag = "4")]
    pub timeout: i64,
    #[prost(string, repeated, tag = "5")]
    pub command: Vec<String>,
    #[prost(string, repeated, tag = "6")]
    pub on_timeout: Vec<String>,
    #[prost(string, repeated, tag = "7")]
    pub on_failure: Vec<String>,
    #[prost(string, tag = "8")]
    pub worker_id: String,
    #[prost(string, repeated, tag = "9")]
    pub volumes: Vec<String>,
    #[prost(string, repeated, tag = "10")]
    pub environment: Vec<String>,
    #[prost(string, tag = "11")]
    pub pid: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct WorkflowActionStatus {
    #[prost(string, tag = "1")]
    pub workflow_id: String,
    #[prost(string, tag = "2")]
    pub task_name: String,
    #[prost(string, tag = "3")]
    pub action_name: String,
    #[prost(enumeration = "State", tag = "4")]
    pub action_status: i32,
    #[prost(int64, tag = "5")]
    pub seconds: i64,
    #[prost(string, tag = "6")]
    pub message: String,
    #[prost(message, optional, tag = "7")]
    pub created_at: Option<Timestamp>,
    #[prost(string, tag = "8")]
    pub worker_id: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Empty {}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum State {
    Pending = 0,
    Running = 1,
    Failed = 2,
    Timeout = 3,
    Success = 4,
}

pub struct Client(Grpc<Channel>);

const CONTEXTS: &str = "/proto.WorkflowService/GetWorkflowContexts";
const ACTIONS: &str = "/proto.WorkflowService/GetWorkflowActions";
const REPORT: &str = "/proto.WorkflowService/ReportActionStatus";

impl Client {
    pub fn new(channel: Channel) -> Self {
        Self(Grpc::new(channel))
    }

    async fn ready(&mut self) -> Result<(), Status> {
        self.0.ready().await.map_err(|error| Status::from_error(Box::new(error)))
    }

    /// The workflows whose current task belongs to this worker. The stream ends at once, so the caller asks again for later
    /// workflows.
    pub async fn contexts(&mut self, request: WorkflowContextRequest) -> Result<Streaming<WorkflowContext>, Status> {
        self.ready().await?;
        let path = PathAndQuery::from_static(CONTEXTS);
        self.0.server_streaming(Request::new(request), path, ProstCodec::default()).await.map(Response::into_inner)
    }

    pub async fn actions(&mut self, request: WorkflowActionsRequest) -> Result<WorkflowActionList, Status> {
        self.ready().await?;
        self.0
            .unary(Request::new(request), PathAndQuery::from_static(ACTIONS), ProstCodec::default())
            .await
            .map(Response::into_inner)
    }

    pub async fn report(&mut self, request: WorkflowActionStatus) -> Result<(), Status> {
        self.ready().await?;
        let answer: Result<Response<Empty>, _> =
            self.0.unary(Request::new(request), PathAndQuery::from_static(REPORT), ProstCodec::default()).await;
        answer.map(drop)
    }
}

/// Whether the bytes are a report of the first generation. The second has the same path and another message: there, field
/// 4 is the action's id, a text, and field 6 its state, a number. An old worker always sends its state, in field 4,
/// because it never reports PENDING, which would be left out.
#[must_use]
pub fn is_report(mut message: &[u8]) -> bool {
    while let Ok((field, wire_type)) = decode_key(&mut message) {
        if matches!((field, wire_type), (4, WireType::Varint) | (6, WireType::LengthDelimited)) {
            return true;
        }
        if skip_field(wire_type, field, &mut message, DecodeContext::default()).is_err() {
            return false;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(|digit| *digit != b' ').collect();
        digits.chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
    }

    #[test]
    fn the_generation_of_a_report_is_read_from_its_bytes() {
        let second = "0a046e732f7712016d1a01742201612a016e30023a0b088092b8c398feffffff01420b088092b8c398feffffff014a005210\
                      0a0e72756e6e696e6720616374696f6e";
        for (case, hex, first) in [
            ("tink-worker, RUNNING", "0a046e732f77 120174 1a016e 2001 3211 5374617274656420657865637574696f6e 42016d", true),
            ("tink-worker, SUCCESS, with seconds", "0a046e732f77 120174 1a016e 2004 2803 42016d", true),
            ("a failure without seconds and message", "0a046e732f77 120174 1a016e 2002 42016d", true),
            ("fields in another order", "42016d 3201 78 2001 0a046e732f77", true),
            ("a message alone", "3200", true),
            ("tink-agent, RUNNING", second, false),
            ("a state alone", "3002", false),
            ("an unknown field before it", "f80101 2001", true),
            ("a text that looks like the field", "0a022001", false),
            ("nothing", "", false),
            ("cut short", "0a046e73", false),
            ("not a message", "ffffffffffffffffffffff", false),
            ("a group that does not end", "0b0b0b0b", false),
        ] {
            assert_eq!(is_report(&bytes(hex)), first, "{case}");
        }
        let pending = crate::ActionStatusRequest::default().encode_to_vec();
        assert!(!is_report(&pending));
    }

    /// The bytes are those of a report of tink-worker.
    #[test]
    fn a_report_is_what_old_workers_send() {
        let report = WorkflowActionStatus {
            workflow_id: "ns/w".into(),
            task_name: "t".into(),
            action_name: "n".into(),
            action_status: State::Running.into(),
            message: "Started execution".into(),
            worker_id: "m".into(),
            ..WorkflowActionStatus::default()
        };
        let hex = "0a046e732f771201741a016e200132115374617274656420657865637574696f6e42016d";
        let bytes: String = report.encode_to_vec().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(bytes, hex);
    }
}
