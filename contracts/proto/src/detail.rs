//! The error detail in which "no action available" travels: a `google.rpc.PreconditionFailure` inside a `google.rpc.Status`.

use prost::Message;
use prost_types::Any;

use crate::PreconditionFailureViolation;

const TYPE: &str = "google.rpc.PreconditionFailure";

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

#[derive(Clone, PartialEq, Message)]
struct PreconditionFailure {
    #[prost(message, repeated, tag = "1")]
    violations: Vec<Violation>,
}

#[derive(Clone, PartialEq, Message)]
struct Violation {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(string, tag = "2")]
    subject: String,
    #[prost(string, tag = "3")]
    description: String,
}

/// The details of a status with this gRPC code: no action is available now.
#[must_use]
pub fn no_action_available(code: i32, message: &str) -> Vec<u8> {
    encode(code, message, PreconditionFailureViolation::NoActionAvailable)
}

fn encode(code: i32, message: &str, kind: PreconditionFailureViolation) -> Vec<u8> {
    let kind = kind.as_str_name().to_owned();
    let violation = Violation { kind, subject: "Workflow".to_owned(), description: message.to_owned() };
    let failure = PreconditionFailure { violations: vec![violation] };
    let any = Any { type_url: format!("type.googleapis.com/{TYPE}"), value: failure.encode_to_vec() };
    RpcStatus { code, message: message.to_owned(), details: vec![any] }.encode_to_vec()
}

/// Whether a status' details say so. Other bytes do not.
#[must_use]
pub fn says_no_action_available(details: &[u8]) -> bool {
    let Ok(status) = RpcStatus::decode(details) else { return false };
    let failures = status.details.iter().filter(|any| any.type_url.ends_with(TYPE));
    let failures = failures.filter_map(|any| PreconditionFailure::decode(any.value.as_slice()).ok());
    let wanted = PreconditionFailureViolation::NoActionAvailable.as_str_name();
    failures.flat_map(|failure| failure.violations).any(|violation| violation.kind == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_understands_what_the_server_says() {
        assert!(says_no_action_available(&no_action_available(9, "nothing")));
        assert!(!says_no_action_available(&encode(9, "x", PreconditionFailureViolation::Unspecified)), "another violation");
        assert!(!says_no_action_available(b""), "no details");
        assert!(!says_no_action_available(&[0xff; 9]), "no protobuf");
    }

    #[test]
    fn the_bytes_are_those_of_googles_messages() {
        let bytes = no_action_available(9, "m");
        assert!(bytes.starts_with(&[0x08, 9, 0x12, 1, b'm', 0x1a]), "{bytes:?}");
        let text = String::from_utf8_lossy(&bytes);
        for part in ["type.googleapis.com/google.rpc.PreconditionFailure", "PRECONDITION_FAILURE_VIOLATION_NO_ACTION_AVAILABLE"] {
            assert!(text.contains(part), "{part}");
        }
    }
}
