//! Registries: their addresses, the requests to them, and their errors.

pub mod auth;
mod client;
mod pace;
mod proxy;
#[cfg(feature = "push")]
mod push;
mod registries;
mod request;
mod retry;
pub mod retry_after;
pub mod said;
mod ways;

pub use client::Client;
pub use pace::Limits;
pub use proxy::{LOCAL, Proxies};
#[cfg(feature = "push")]
pub use push::Push;
pub use registries::{Login, RegistriesError, Settings, check};
pub use request::RequestError;
pub use reqwest::Url;
pub use retry::Patience;
pub use said::Said;

pub(crate) use request::DOCUMENT_MAX;
pub(crate) use retry::Retry;
