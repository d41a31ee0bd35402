//! Joins the lines of several servers in the order of time. No server holds the others up for longer than a limit.

use std::collections::VecDeque;
use std::time::Duration;

use api::LogLine;
use futures_util::StreamExt;
use futures_util::future::select_all;
use futures_util::stream::BoxStream;
use tokio::time::{Instant, timeout_at};

use super::note;
use super::part::Said;
use crate::http::HEARTBEAT;
use crate::http::logs::Lines;

/// The longest that the lines of others wait for those of a server, at once and in all.
const PATIENCE: Duration = Duration::from_secs(5);
const IN_ALL: Duration = Duration::from_secs(20);
/// For late lines of other servers, after this one knows that nothing more will come.
const LATE: Duration = Duration::from_secs(3);
/// Lines of one step.
const TOGETHER: usize = 512;

/// What one server has.
pub struct Part {
    /// The name of its server.
    from: String,
    said: Option<BoxStream<'static, Said>>,
    ready: VecDeque<LogLine>,
    /// It has sent what it had. From then on its lines are new ones, and others do not wait for them.
    is_caught_up: bool,
    is_own: bool,
    /// For how long others have waited for it.
    held_up: Duration,
}

impl Part {
    pub fn of(said: BoxStream<'static, Said>) -> Self {
        let (from, ready) = ("a server of the site".to_owned(), VecDeque::new());
        Self { from, said: Some(said), ready, is_caught_up: false, is_own: false, held_up: Duration::ZERO }
    }

    pub fn from(self, from: String) -> Self {
        Self { from, ..self }
    }

    /// The lines of this server.
    pub fn own(lines: Lines) -> Self {
        let said = lines.map(|lines| if lines.is_empty() { Said::Quiet } else { Said::Lines(lines) });
        Self { is_own: true, ..Self::of(said.boxed()) }
    }

    /// A server that does not answer.
    pub fn missing(reason: &str) -> Self {
        Self { said: None, ready: VecDeque::from([note(reason)]), ..Self::of(futures_util::stream::empty().boxed()) }
    }

    /// Whether its next line may be before those of others.
    fn holds_up(&self) -> bool {
        self.said.is_some() && self.ready.is_empty() && !self.is_caught_up
    }
}

/// What a merge waits for.
enum News {
    Said(usize, Option<Said>),
    Joined(Option<Part>),
}

pub struct Merge {
    parts: Vec<Part>,
    /// Parts that come later.
    joining: Option<BoxStream<'static, Part>>,
    follow: bool,
    /// The part that is asked first the next time, so that no other one keeps its turn away.
    first: usize,
    /// When a follower's answer ends, after this server's part has.
    ends: Option<Instant>,
}

impl Merge {
    pub fn new(parts: Vec<Part>, follow: bool) -> Self {
        Self { parts, joining: None, follow, first: 0, ends: None }
    }

    /// With parts that come while the others are read.
    pub fn joined_by(self, parts: BoxStream<'static, Part>) -> Self {
        Self { joining: Some(parts), ..self }
    }

    /// The next lines. None for a while in which nothing came; `None` at the end.
    pub async fn next(&mut self) -> Option<Vec<LogLine>> {
        let begun = Instant::now();
        loop {
            if !self.parts.iter().any(Part::holds_up) {
                let lines = self.in_order();
                if !lines.is_empty() {
                    return Some(lines);
                }
                let is_over = self.joining.is_none() && self.parts.iter().all(|part| part.said.is_none());
                if is_over || self.ends.is_some_and(|ends| ends <= Instant::now()) {
                    return None;
                }
            }
            let from = Instant::now();
            let waited = timeout_at(self.limit(begun), self.said()).await;
            for part in self.parts.iter_mut().filter(|part| part.holds_up()) {
                part.held_up += from.elapsed();
            }
            match waited {
                Ok(News::Said(at, said)) => self.take(at, said),
                Ok(News::Joined(Some(part))) => self.parts.push(part),
                Ok(News::Joined(None)) => self.joining = None,
                Err(_) if self.parts.iter().any(Part::holds_up) => self.give_up(),
                Err(_) if self.ends.is_some() => {}
                Err(_) => return Some(Vec::new()),
            }
        }
    }

    /// How long the next word is waited for.
    fn limit(&self, begun: Instant) -> Instant {
        let slowest = self.parts.iter().filter(|part| part.holds_up()).map(|part| part.held_up).max();
        match (slowest, self.ends) {
            (Some(held_up), _) => (begun + PATIENCE).min(Instant::now() + IN_ALL.saturating_sub(held_up)),
            (None, Some(ends)) => ends,
            (None, None) => begun + HEARTBEAT,
        }
    }

    /// The next word of any part that has no line left, or the next part.
    async fn said(&mut self) -> News {
        let (count, first) = (self.parts.len().max(1), self.first);
        self.first = (first + 1) % count;
        let mut waiting: Vec<(usize, &mut Part)> =
            self.parts.iter_mut().enumerate().filter(|(_, part)| part.ready.is_empty() && part.said.is_some()).collect();
        waiting.sort_by_key(|(at, _)| (at + count - first) % count);
        let words = waiting.into_iter().filter_map(|(at, part)| {
            let said = part.said.as_mut()?;
            Some(Box::pin(async move { (at, said.next().await) }))
        });
        let words: Vec<_> = words.collect();
        let said = async {
            match words.is_empty() {
                true => std::future::pending().await, // lines are ready, or only further parts may come
                false => select_all(words).await.0,
            }
        };
        let joined = async {
            match &mut self.joining {
                Some(joining) => joining.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            (at, said) = said => News::Said(at, said),
            part = joined => News::Joined(part),
        }
    }

    fn take(&mut self, at: usize, said: Option<Said>) {
        let Some(part) = self.parts.get_mut(at) else { return };
        match said {
            Some(Said::Lines(lines)) => part.ready.extend(lines),
            Some(Said::Quiet) => part.is_caught_up = true,
            Some(Said::Lost(reason)) => {
                part.is_caught_up = true;
                part.ready.push_back(note(&reason));
            }
            None => {
                part.said = None;
                if part.is_own && self.follow {
                    self.ends = Some(Instant::now() + LATE);
                }
            }
        }
    }

    /// A follower gets the lines of a slow server when they come.
    fn give_up(&mut self) {
        let follow = self.follow;
        for part in self.parts.iter_mut().filter(|part| part.holds_up()) {
            part.is_caught_up = true;
            part.ready.push_back(note(&format!("{} sends its part of this log too slowly", part.from)));
            if !follow {
                part.said = None;
            }
        }
    }

    /// The lines of which no part can have an earlier one.
    fn in_order(&mut self) -> Vec<LogLine> {
        let mut lines = Vec::new();
        while lines.len() < TOGETHER && !self.parts.iter().any(Part::holds_up) {
            let ready = self.parts.iter_mut().filter(|part| !part.ready.is_empty());
            let Some(part) = ready.min_by_key(|part| part.ready.front().map(|line| line.time)) else { break };
            lines.extend(part.ready.pop_front());
        }
        lines
    }
}

#[cfg(test)]
mod tests;
