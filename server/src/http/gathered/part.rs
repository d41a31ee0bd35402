//! The lines that another server sends. While they are followed, it is asked again after its answer has ended.

use std::sync::Weak;
use std::time::Duration;

use api::LogLine;
use futures_util::stream::{self, BoxStream, StreamExt};
use jiff::{SignedDuration, Timestamp};
use machine::Chain;
use reqwest::Response;
use tokio::time::sleep;

use super::merge::Part;
use super::question;
use crate::http::logs::{LogQuery, Place, has_ended};
use crate::others::{Other, OtherError};
use crate::service::{Inner, Server};

/// Between two calls.
const AGAIN: Duration = Duration::from_secs(2);
/// A server never sends a longer line.
const LONGEST: usize = 1 << 20;

/// What a server says of a log.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    Lines(Vec<LogLine>),
    /// That was all until now.
    Quiet,
    /// It does not go on, for this reason.
    Lost(String),
}

/// How a server is asked again.
pub struct Again {
    server: Weak<Inner>,
    other: Other,
    place: Place,
    query: LogQuery,
}

impl Again {
    pub fn new(server: &Server, other: Other, place: Place, query: LogQuery) -> Self {
        Self { server: std::sync::Arc::downgrade(&server.0), other, place, query }
    }

    /// `None` when nothing more will come.
    async fn open(&self, last: Option<Timestamp>) -> Option<Result<Response, OtherError>> {
        sleep(AGAIN).await;
        let server = Server(self.server.upgrade()?);
        let is_over = matches!(&self.place, Place::Workflow(name) if has_ended(&server, name));
        if is_over || *server.stopping().borrow() {
            return None;
        }
        let after = last.map(|last| last.checked_add(SignedDuration::from_nanos(1)).unwrap_or(last));
        let query = LogQuery { since_time: after.or(self.query.since_time), ..self.query.clone() };
        let (path, asked) = question(&self.place, &query);
        let answer = server.ask(&self.other, &path, &asked).await;
        Some(answer.and_then(|answer| match answer.status() {
            status if status.is_success() => Ok(answer),
            status => Err(OtherError::Refused { other: self.other.clone(), status }),
        }))
    }
}

/// An answer of another server.
#[derive(Default)]
pub struct Remote {
    /// The name of the server.
    from: String,
    answer: Option<Response>,
    again: Option<Again>,
    unread: Vec<u8>,
    is_quiet: bool,
    /// It was said that it does not answer.
    is_lost: bool,
    /// Why it did not answer at first, until that was said.
    was_away: Option<String>,
    last: Option<Timestamp>,
}

impl Remote {
    pub fn new(other: &Other, answer: Response, again: Option<Again>) -> Self {
        Self { from: other.to_string(), answer: Some(answer), again, ..Self::default() }
    }

    /// A server that does not answer yet.
    pub fn away(reason: String, again: Again) -> Self {
        let from = again.other.to_string();
        Self { from, again: Some(again), is_lost: true, was_away: Some(reason), ..Self::default() }
    }

    /// Its lines as a part of the whole.
    pub fn part(self) -> Part {
        let from = self.from.clone();
        Part::of(self.said()).from(from)
    }

    fn said(self) -> BoxStream<'static, Said> {
        stream::unfold(self, |mut remote| async move { Some((remote.next().await?, remote)) }).boxed()
    }

    async fn next(&mut self) -> Option<Said> {
        if let Some(reason) = self.was_away.take() {
            return Some(Said::Lost(reason));
        }
        loop {
            let lines = self.whole_lines();
            if !lines.is_empty() {
                self.last = lines.last().map(|line| line.time).max(self.last);
                return Some(Said::Lines(lines));
            }
            if std::mem::take(&mut self.is_quiet) {
                return Some(Said::Quiet);
            }
            match &mut self.answer {
                Some(answer) => match answer.chunk().await {
                    Ok(Some(bytes)) if self.unread.len() + bytes.len() <= LONGEST => self.unread.extend_from_slice(&bytes),
                    Ok(Some(_)) => {
                        self.answer = None;
                        return Some(Said::Lost(format!("{} sends a line without an end", self.from)));
                    }
                    Ok(None) => self.answer = None,
                    Err(reason) => {
                        self.answer = None;
                        let said = format!("{} broke off: {}", self.from, Chain(&reason.without_url()));
                        return Some(self.lost(said));
                    }
                },
                None => {
                    self.unread.clear();
                    match self.again.as_ref()?.open(self.last).await? {
                        Ok(answer) => (self.answer, self.is_lost) = (Some(answer), false),
                        Err(reason) if !self.is_lost => return Some(self.lost(Chain(&reason).to_string())),
                        Err(_) => {}
                    }
                }
            }
        }
    }

    fn lost(&mut self, reason: String) -> Said {
        self.is_lost = true;
        Said::Lost(reason)
    }

    /// An empty line says that there is nothing new.
    fn whole_lines(&mut self) -> Vec<LogLine> {
        let Some(end) = self.unread.iter().rposition(|byte| *byte == b'\n') else { return Vec::new() };
        let whole: Vec<u8> = self.unread.drain(..=end).collect();
        let mut lines = Vec::new();
        for line in whole.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii) {
            match serde_json::from_slice(line) {
                Ok(line) => lines.push(line),
                Err(_) if line.is_empty() => {}
                Err(_) => log::debug!("another server sends a line that is not one of a log"),
            }
        }
        self.is_quiet |= whole.ends_with(b"\n\n") || whole == b"\n";
        lines
    }
}
