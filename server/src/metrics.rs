//! What `/metrics` shows. `docs/metrics.md` lists the families.
//!
//! The values of labels are words of this program, so a machine or a client cannot make series.

mod collect;
mod families;
mod process;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::What;
use jiff::SignedDuration;
use metrics::{Bounds, Counters, Histograms, Text};

pub use families::FAMILIES;

/// Actions take seconds to hours.
const ACTION: Bounds =
    &[("1", 1.0), ("5", 5.0), ("15", 15.0), ("60", 60.0), ("300", 300.0), ("900", 900.0), ("3600", 3600.0), ("14400", 14400.0)];
const RESULTS: &[&str] = &["SUCCESS", "FAILED", "TIMEOUT"];
const GRPC_METHODS: &[&str] = &["GetAction", "ReportActionStatus", "GetWorkflowContexts", "GetWorkflowActions", "other"];
const GRPC_CODES: &[&str] = &[
    "OK",
    "ABORTED",
    "DEADLINE_EXCEEDED",
    "FAILED_PRECONDITION",
    "INTERNAL",
    "INVALID_ARGUMENT",
    "NOT_FOUND",
    "OUT_OF_RANGE",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "UNAUTHENTICATED",
    "UNAVAILABLE",
    "UNIMPLEMENTED",
    "other",
];
const HTTP_METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "other"];
const HTTP_CODES: &[&str] = &[
    "200", "201", "204", "400", "401", "403", "404", "405", "406", "409", "410", "413", "415", "422", "429", "500", "503",
    "other",
];
/// Why a call was refused: in the words of gRPC, and for the API whether the caller is unknown or may not do it.
const REASONS: &[&str] = &[
    "invalid_argument",
    "permission_denied",
    "resource_exhausted",
    "out_of_range",
    "unimplemented",
    "unauthenticated",
    "forbidden",
    "other",
];

/// Writes the families of another part of the program.
pub type Part = Box<dyn Fn(&mut Text) + Send + Sync>;

pub(crate) struct Metrics {
    actions: Histograms,
    grpc: Counters,
    api: Counters,
    refused: Counters,
    parts: Mutex<Vec<Part>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            actions: Histograms::by(RESULTS, ACTION),
            grpc: Counters::of(GRPC_METHODS, GRPC_CODES),
            api: Counters::of(HTTP_METHODS, HTTP_CODES),
            refused: Counters::by(REASONS),
            parts: Mutex::default(),
        }
    }
}

impl Metrics {
    /// The end of an action. Everything else is counted where it is stored.
    pub fn happened(&self, what: &What) {
        if let What::Action { state, duration, .. } = what
            && state.is_final()
        {
            self.actions.add(state.as_str(), took(duration));
        }
    }

    /// A gRPC call was answered.
    pub fn answered(&self, path: &str, code: tonic::Code) {
        let method = path.rsplit('/').next().unwrap_or_default();
        self.grpc.add(method, grpc_code(code));
    }

    /// A caller was refused, as opposed to answered.
    pub fn refused(&self, code: tonic::Code) {
        self.refused.add(&grpc_code(code).to_ascii_lowercase(), "");
    }

    /// A request to the API was answered.
    pub fn api(&self, method: &str, code: u16) {
        self.api.add(method, &code.to_string());
        match code {
            401 => self.refused.add("unauthenticated", ""),
            403 => self.refused.add("forbidden", ""),
            _ => {}
        }
    }

    pub fn with(&self, part: Part) {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).push(part);
    }
}

/// The agent's text, such as `1m30s`. What is not a duration counts as zero.
fn took(text: &str) -> Duration {
    text.parse::<SignedDuration>().map_or(Duration::ZERO, |took| took.try_into().unwrap_or_default())
}

const fn grpc_code(code: tonic::Code) -> &'static str {
    use tonic::Code;
    match code {
        Code::Ok => "OK",
        Code::Aborted => "ABORTED",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Internal => "INTERNAL",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::NotFound => "NOT_FOUND",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::Unauthenticated => "UNAUTHENTICATED",
        Code::Unavailable => "UNAVAILABLE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Cancelled | Code::Unknown | Code::AlreadyExists | Code::DataLoss => "other",
    }
}

/// Commits, as the store's callers see them.
pub(crate) struct Commits {
    pub took: Histograms,
    pub failures: std::sync::atomic::AtomicU64,
}

/// A commit takes one write to the disk.
const COMMIT: Bounds =
    &[("0.001", 0.001), ("0.005", 0.005), ("0.02", 0.02), ("0.1", 0.1), ("0.5", 0.5), ("2", 2.0), ("10", 10.0)];

impl Default for Commits {
    fn default() -> Self {
        Self { took: Histograms::by(&[""], COMMIT), failures: Default::default() }
    }
}

impl crate::Server {
    /// Adds families to `/metrics`, such as those of boots in the same process.
    pub fn with_metrics(&self, part: Part) {
        self.0.metrics.with(part);
    }

    pub(crate) fn commits(&self) -> &Arc<Commits> {
        &self.0.commits
    }
}

#[cfg(test)]
mod tests;
