//! The body of a call to [`crate::paths::IMPORT`].

use serde::{Deserialize, Serialize};

use crate::Intent;

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Import {
    /// Objects of Tinkerbell's kinds as YAML or JSON documents.
    pub objects: String,
    #[serde(default)]
    pub machines: Vec<ImportedMachine>,
}

/// What a machine shall boot, as the server decided that it comes from. The specification of an exported MachineState.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImportedMachine {
    pub namespace: String,
    /// Of the Hardware.
    pub name: String,
    pub intent: Intent,
    #[serde(default)]
    pub by: String,
    #[serde(default)]
    pub reason: String,
    /// Workflows that are ordered for it, oldest first.
    #[serde(default)]
    pub orders: Vec<String>,
    #[serde(default)]
    pub finished: bool,
}
