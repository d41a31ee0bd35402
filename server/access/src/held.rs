//! Answers without an end, such as those of watches. They end with the right of their caller: when its token is deleted, or
//! when the token or certificate expires.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes, HttpBody};
use axum::response::Response;
use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};

use crate::admission::{Access, Peer};
use crate::caller::{Caller, Proof};
use crate::tokens::Tokens;

/// How soon a deleted token is noticed.
const LOOKS: Duration = Duration::from_secs(1);
/// How soon the end of its time is noticed.
const ENDS: Duration = Duration::from_secs(60);

/// What let the caller in, if that can end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Right {
    /// The id of the token.
    Token(String),
    Certificate {
        not_after: i64,
    },
}

impl Right {
    pub fn of(caller: &Caller, peer: &Peer) -> Option<Self> {
        match (&caller.proof, peer) {
            (Proof::Token(id), _) => Some(Self::Token(id.clone())),
            (Proof::Certificate, Peer::Network { certificate: Some(subject), .. }) => {
                Some(Self::Certificate { not_after: subject.not_after })
            }
            _ => None,
        }
    }

    fn holds(&self, tokens: &Tokens, now: Timestamp) -> bool {
        match self {
            Self::Token(id) => tokens.is_valid(id, now),
            Self::Certificate { not_after } => *not_after > now.as_second(),
        }
    }
}

struct Held {
    access: Arc<Access>,
    right: Right,
    body: BodyDataStream,
    changed: watch::Receiver<()>,
    ends: Interval,
    over: bool,
}

/// The answer, which is cut when the right ends. An answer of known length is on its way already.
pub fn bounded(access: &Arc<Access>, right: Option<Right>, response: Response) -> Response {
    let Some(right) = right.filter(|_| response.body().size_hint().exact().is_none()) else { return response };
    let (parts, body) = response.into_parts();
    let mut ends = interval(ENDS);
    ends.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (access, changed) = (Arc::clone(access), access.tokens_changed.subscribe());
    let held = Held { access, right, body: body.into_data_stream(), changed, ends, over: false };
    let stream = stream::unfold(held, |mut held| async move { Some((held.next().await?, held)) });
    Response::from_parts(parts, Body::from_stream(stream))
}

impl Held {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        while !self.over {
            tokio::select! {
                data = self.body.next() => return Some(data?.map_err(io::Error::other)),
                _ = self.changed.changed() => {}
                _ = self.ends.tick() => {}
            }
            if !self.right.holds(&self.access.tokens, Timestamp::now()) {
                // An error, because a regular end would say that the answer is complete.
                self.over = true;
                return Some(Err(io::Error::other("the caller may no longer call")));
            }
        }
        None
    }
}

impl Access {
    /// Notices when tokens are deleted, and ends the answers of their callers.
    pub async fn follow_tokens(self: Arc<Self>) -> Infallible {
        let mut seen = self.tokens.version();
        loop {
            sleep(LOOKS).await;
            let version = self.tokens.version();
            if version != seen {
                seen = version;
                self.tokens_changed.send_replace(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::{Grant, Role};
    use crate::tokens::Lifetime;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_right_ends_with_its_token_or_its_time() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = Tokens::below(folder.path());
        let made = |name: &str, lifetime: &str| {
            let lifetime: Lifetime = lifetime.parse().unwrap();
            Right::Token(tokens.create(name, Grant::everywhere(Role::Viewer), lifetime, at(0)).unwrap().1.id)
        };
        let (short, long, deleted) = (made("short", "1h"), made("long", "never"), made("deleted", "never"));
        assert!(deleted.holds(&tokens, at(0)));
        tokens.delete("deleted").unwrap();
        for (case, right, second, holds) in [
            ("a token before its end", &short, 3599, true),
            ("a token at its end", &short, 3600, false),
            ("a token without an end", &long, 1_000_000, true),
            ("a token that was deleted", &deleted, 1, false),
            ("a certificate before its end", &Right::Certificate { not_after: 10 }, 9, true),
            ("a certificate at its end", &Right::Certificate { not_after: 10 }, 10, false),
        ] {
            assert_eq!(right.holds(&tokens, at(second)), holds, "{case}");
        }
        std::fs::write(folder.path().join("tokens.json"), "nonsense").unwrap();
        assert!(!long.holds(&tokens, at(1)), "tokens that cannot be read let no caller in");
    }
}
