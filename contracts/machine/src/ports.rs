//! The ports at which a machine looks for its provisioning host, unless something names another one.

/// The workflow service; Tinkerbell's.
pub const GRPC: u16 = 42113;
/// Boots' files and scripts, and the API.
pub const HTTP: u16 = 7080;
/// The API by TLS; Kubernetes'.
pub const API: u16 = 6443;
