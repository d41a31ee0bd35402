//! Registries: where they are, how they are asked, and what can go wrong.

mod auth;
mod client;
mod pace;
mod proxy;
#[cfg(feature = "push")]
mod push;
mod registries;
mod request;
mod retry;
pub mod tls;

pub use client::Client;
pub use pace::Limits;
pub use proxy::Proxies;
#[cfg(feature = "push")]
pub use push::Push;
pub use registries::{Login, RegistriesError, Settings};
pub use request::RequestError;
pub use reqwest::Url;
pub use retry::Patience;

pub(crate) use request::DOCUMENT_MAX;
pub(crate) use retry::Retry;
