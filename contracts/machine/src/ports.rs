//! The ports at which a machine looks for its provisioning host, unless something names another one.

/// The workflow service; Tinkerbell's.
pub const GRPC: u16 = 42113;
/// Boots' files and scripts, and the API.
pub const HTTP: u16 = 7080;
/// Boots' files and scripts by TLS, if the operator gives a certificate.
pub const HTTPS: u16 = 7443;
/// The API by TLS; Kubernetes'.
pub const API: u16 = 6443;
/// Metadata of installed machines, where Tinkerbell's rootio looks for it.
pub const METADATA: u16 = 50061;
