//! What went wrong with a call, and whether it may have had an effect.

use tonic::{Code, Status};

/// A call that got no good answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error(
        "etcd at {members} does not answer ({doing}): are its members running, does a majority of them see each other, and may this \
         host reach them?"
    )]
    Silent {
        members: String,
        doing: &'static str,
        #[source]
        source: Trouble,
    },
    #[error("etcd at {members} refuses to {doing}{}", advice(.source))]
    Refused {
        members: String,
        doing: &'static str,
        #[source]
        source: Box<Status>,
    },
    #[error("{member} is not an address of etcd")]
    Address {
        member: String,
        #[source]
        source: tonic::transport::Error,
    },
    #[error("the certificates for etcd cannot be used: are all of them PEM, and does the key belong to the certificate?")]
    Tls(#[source] tonic::transport::Error),
}

impl CallError {
    /// The revision that was asked for is compacted.
    #[must_use]
    pub fn is_compacted(&self) -> bool {
        matches!(self, Self::Refused { source, .. } if source.code() == Code::OutOfRange && source.message().contains("compacted"))
    }
}

/// The latest reason of a member that gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    #[error("{member} did not answer within {seconds} s")]
    Late { member: String, seconds: u64 },
    #[error("{member}: {}", .status.message())]
    Status {
        member: String,
        #[source]
        status: Box<Status>,
    },
}

/// Whether etcd has refused a request for what it is, so that it had no effect and another member would refuse it, too.
pub(crate) fn is_refusal(status: &Status) -> bool {
    match status.code() {
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Unimplemented
        | Code::Unauthenticated => true,
        Code::OutOfRange => status.message().contains("revision"), // otherwise an answer that is too large
        _ => false,
    }
}

/// What to do about a refusal, after a semicolon.
fn advice(status: &Status) -> &'static str {
    let message = status.message();
    let has = |text: &str| message.contains(text);
    if has("too many operations") {
        "; it has too many writes: start each member with --max-txn-ops=16384"
    } else if has("request is too large") || has("message larger than max") {
        "; it is too large: start each member with --max-request-bytes=10485760"
    } else if has("database space exceeded") || has("NOSPACE") {
        "; its database is full: raise --quota-backend-bytes, run `etcdctl defrag` for each member, then `etcdctl alarm disarm`"
    } else if matches!(status.code(), Code::Unauthenticated | Code::PermissionDenied) {
        "; the certificate of this server must be one that etcd accepts, with the right to read and write below the prefix"
    } else {
        ""
    }
}
