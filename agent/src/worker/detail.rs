//! The error details of gRPC, as far as "nothing to do" hides in them.

use prost::Message;

/// google.rpc.Status
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<prost_types::Any>,
}

/// google.rpc.PreconditionFailure
#[derive(Clone, PartialEq, Message)]
struct PreconditionFailure {
    #[prost(message, repeated, tag = "1")]
    violations: Vec<Violation>,
}

#[derive(Clone, PartialEq, Message)]
struct Violation {
    #[prost(string, tag = "1")]
    kind: String,
}

const PRECONDITION_FAILURE: &str = "google.rpc.PreconditionFailure";
const NO_ACTION: &str = "PRECONDITION_FAILURE_VIOLATION_NO_ACTION_AVAILABLE";

pub fn no_action_available(details: &[u8]) -> bool {
    let Ok(status) = RpcStatus::decode(details) else { return false };
    let failures = status.details.iter().filter(|any| any.type_url.ends_with(PRECONDITION_FAILURE));
    let failures = failures.filter_map(|any| PreconditionFailure::decode(any.value.as_slice()).ok());
    failures.flat_map(|f| f.violations).any(|v| v.kind == NO_ACTION)
}

#[cfg(test)]
pub fn encoded(kind: &str) -> Vec<u8> {
    let failure = PreconditionFailure { violations: vec![Violation { kind: kind.to_owned() }] };
    let any =
        prost_types::Any { type_url: format!("type.googleapis.com/{PRECONDITION_FAILURE}"), value: failure.encode_to_vec() };
    RpcStatus { code: 2, message: String::new(), details: vec![any] }.encode_to_vec()
}
