//! Requests in short.

use crate::rpc::compare::{CompareTarget, TargetUnion};
use crate::rpc::request_op::Request;
use crate::rpc::response_op::Response;
use crate::rpc::{Compare, DeleteRangeRequest, KeyValue, PutRequest, RangeRequest, RequestOp, ResponseOp};

pub type Op = RequestOp;

/// The end of the range of all keys with this prefix.
#[must_use]
pub fn end_of(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    vec![0] // all keys from the first one on
}

#[must_use]
pub fn put(key: impl Into<Vec<u8>>, value: Vec<u8>) -> Op {
    RequestOp { request: Some(Request::RequestPut(PutRequest { key: key.into(), value, lease: 0 })) }
}

#[must_use]
pub fn delete(key: impl Into<Vec<u8>>) -> Op {
    RequestOp { request: Some(Request::RequestDeleteRange(DeleteRangeRequest { key: key.into(), range_end: Vec::new() })) }
}

#[must_use]
pub const fn get(range: RangeRequest) -> Op {
    RequestOp { request: Some(Request::RequestRange(range)) }
}

/// The key must not exist.
#[must_use]
pub fn absent(key: impl Into<Vec<u8>>) -> Compare {
    let (target, union) = (CompareTarget::Create, TargetUnion::CreateRevision(0));
    Compare { result: 0, target: target as i32, key: key.into(), target_union: Some(union) }
}

/// The latest write of the key must have this revision.
#[must_use]
pub fn at_revision(key: impl Into<Vec<u8>>, revision: i64) -> Compare {
    let (target, union) = (CompareTarget::Mod, TargetUnion::ModRevision(revision));
    Compare { result: 0, target: target as i32, key: key.into(), target_union: Some(union) }
}

/// What no key fulfils.
#[must_use]
pub fn never(key: impl Into<Vec<u8>>) -> Compare {
    let (target, union) = (CompareTarget::Version, TargetUnion::Version(i64::MAX));
    Compare { result: 0, target: target as i32, key: key.into(), target_union: Some(union) }
}

/// The pairs that a `get` of a transaction found.
#[must_use]
pub fn value_of(response: ResponseOp) -> Vec<KeyValue> {
    match response.response {
        Some(Response::ResponseRange(range)) => range.kvs,
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_is_behind_all_its_keys() {
        for (prefix, end) in [(&b"/a/"[..], &b"/a0"[..]), (b"a\xff", b"b"), (b"\xff\xff", b"\0"), (b"", b"\0")] {
            assert_eq!(end_of(prefix), end, "{prefix:?}");
        }
    }
}
