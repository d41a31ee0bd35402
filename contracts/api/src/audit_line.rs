//! A line of the audit log: one JSON object a line, in the files of the server and in its answers.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A change that a caller asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditLine {
    pub time: Timestamp,
    pub user: String,
    pub roles: String,
    /// The id of the token, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Its address, or its user id on this host.
    pub from: String,
    pub method: String,
    /// With its query.
    pub path: String,
    /// Of the answer.
    pub code: u16,
    /// The program.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub agent: String,
}
