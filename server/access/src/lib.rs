//! Callers of the server: certificates, tokens, roles, and the listeners that ask for them.
//!
//! `caller` is one type for every caller. `authorize` and `mask` are pure: what a role may do, and what a viewer gets to see.
//! `authority`, `certificate` and `tokens` keep what callers prove themselves with. `admission` is the layer before the API, and `held`
//! ends the answers of callers that may no longer call.

#![forbid(unsafe_code)]

mod admission;
mod audit;
mod authority;
mod authorize;
mod caller;
mod certificate;
mod folder;
mod held;
pub mod https;
mod local;
mod mask;
mod names;
mod network;
pub mod page;
mod seal;
pub mod status;
mod tokens;

pub use admission::{AUDIT_FOLDER, Access, AccessError, FOLDER, Peer, Subject};
pub use audit::{Audit, Change};
pub use authority::{Authority, AuthorityError, CERTIFICATE, ClientIdentity, ServerIdentity};
pub use authorize::{Denied, ResourceAttributes, Verb, authorize};
pub use caller::{ANONYMOUS, AUTHENTICATED, Caller, Grant, NotARole, Origin, Proof, Role};
pub use certificate::ServerCertificate;
pub use folder::{FolderError, replace, take_over};
pub use local::{Local, LocalError};
pub use mask::{MASKED, mask};
pub use names::{Names, NotAName};
pub use network::{Network, NotANetwork, PlainGrpc, is_operator};
pub use seal::{SiteKey, SiteKeyError};
pub use tokens::{BadToken, Lifetime, NotALifetime, Token, TokenError, Tokens, check_caller};
