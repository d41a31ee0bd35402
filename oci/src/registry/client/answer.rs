//! An answer of a registry: its bytes at an acceptable pace, or its description of an error.

use bytes::Bytes;
use reqwest::Response;
use reqwest::header::{HeaderMap, HeaderName};
use tokio::time::timeout;

use crate::registry::pace::{Halt, Limits, Pace};
use crate::registry::request::RequestError;
use crate::registry::said::{self, Said};

/// An answer and its sender.
pub struct Answer {
    pub response: Response,
    pub name: String,
    pub(super) pace: Pace,
    pub(super) within: Limits,
}

impl Answer {
    pub async fn chunk(&mut self, what: &str) -> Result<Option<Bytes>, RequestError> {
        let registry = || self.name.clone();
        self.pace.next(&mut self.response).await.map_err(|halt| match halt {
            Halt::Broken(source) => RequestError::unreachable(registry(), source),
            Halt::TooSlow => RequestError::TooSlow { registry: registry(), what: what.to_owned() },
        })
    }

    /// The body of a small answer. A larger one does not fill the memory, and a slow one is cut off.
    pub(super) async fn whole(mut self, what: &str, limit: usize) -> Result<Vec<u8>, RequestError> {
        let (name, within) = (self.name.clone(), self.within);
        let read = async {
            let mut body = Vec::new();
            while let Some(chunk) = self.chunk(what).await? {
                if body.len() + chunk.len() > limit {
                    return Err(RequestError::TooLarge { registry: self.name, what: what.to_owned(), limit });
                }
                body.extend_from_slice(&chunk);
            }
            Ok(body)
        };
        let slow = || RequestError::TooSlow { registry: name, what: what.to_owned() };
        timeout(within.document(), read).await.unwrap_or_else(|_| Err(slow()))
    }

    /// The description in the body of an error, as far as it arrives soon.
    pub(super) async fn said(mut self) -> Said {
        let (mut body, within) = (Vec::new(), self.within.words());
        let read = async {
            while body.len() < said::READ
                && let Ok(Some(chunk)) = self.chunk("the text of an error").await
            {
                body.extend_from_slice(&chunk);
            }
        };
        let _ = timeout(within, read).await; // what has arrived by then is enough
        Said::read(&body)
    }

    pub(super) fn header(&self, name: &HeaderName) -> Option<&str> {
        text(self.response.headers(), name)
    }
}

pub(super) fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
