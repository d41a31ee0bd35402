//! Watches: the objects as they are, if asked, then each change.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::Weak;
use std::time::Duration;

use access::Caller;
use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use kubernetes::watch::{Event, Lines, error, seen};
use kubernetes::{Family, Request, Status};
use model::Kind;
use serde_json::Value;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::items::{AT_ONCE, Names, seen as seen_by};
use super::source::{in_namespace, moved};
use super::{Asked, JSON, failed, masked};
use crate::service::{Inner, Server};
use crate::store::{Change, StoreError, Watch};
use crate::view::View;

/// How often a quiet client learns how far the store is.
const BOOKMARKS: Duration = Duration::from_secs(60);
/// For clients that name no limit.
const LONGEST: Duration = Duration::from_secs(3600);

struct Watching {
    server: Weak<Inner>,
    request: Request,
    caller: Caller,
    changes: Watch,
    lines: Lines,
    /// Objects whose first lines are still to be made, a few at a time.
    initial: Option<Initial>,
    /// Lines that are ready.
    ready: VecDeque<String>,
    bookmarks: Interval,
    end: Instant,
    stopping: tokio::sync::watch::Receiver<bool>,
    /// How far the view is.
    viewed: tokio::sync::watch::Receiver<u64>,
    over: bool,
}

/// The objects of a checked kind at the beginning of a watch.
struct Initial {
    view: View,
    kind: Kind,
    names: Names,
    /// A bookmark follows them.
    ends_with_bookmark: bool,
}

pub(super) async fn watch(server: &Server, asked: &Asked) -> Result<Response, Status> {
    let Asked { request, caller, .. } = asked;
    let (resource, options) = (request.resource, &request.options);
    let mut lines = Lines::new(resource, request.form, options.include);
    let (mut initial, mut ready) = (None, VecDeque::new());
    let begin = match options.revision {
        Some(revision) if !options.initial_events => {
            let current = server.view().revision;
            if revision > current {
                return Err(Status::too_new(revision, current));
            }
            revision
        }
        asked => match resource.family {
            Family::Tinkerbell(kind) => {
                let view = server.snapshot();
                let (revision, namespace) = (view.revision, request.namespace.as_deref());
                not_too_new(asked, revision)?;
                let names = Names::of(view.clone(), kind, namespace, None);
                initial = Some(Initial { view, kind, names, ends_with_bookmark: options.initial_events });
                revision
            }
            _ => {
                let listed = server.objects(resource, request.namespace.as_deref()).await?;
                not_too_new(asked, listed.revision)?;
                let selected = listed.objects.into_values().filter(|object| request.filter.selects(object));
                let now = Timestamp::now();
                ready.extend(selected.map(|object| lines.event(Event::Added, masked(caller, resource, object), now)));
                if options.initial_events {
                    ready.push_back(lines.bookmark(listed.revision, true));
                }
                listed.revision
            }
        },
    };
    let changes = match server.0.store.watch(begin) {
        Ok(changes) => changes,
        Err(StoreError::Compacted { oldest }) => return Err(Status::too_old(begin, oldest)),
        Err(reason) => return Err(failed("watching", &reason)),
    };
    let mut bookmarks = interval_at(Instant::now() + BOOKMARKS, BOOKMARKS);
    bookmarks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let length = options.timeout.map_or(LONGEST, Duration::from_secs);
    let watching = Watching {
        server: std::sync::Arc::downgrade(&server.0),
        request: request.clone(),
        caller: caller.clone(),
        changes,
        lines,
        initial,
        ready,
        bookmarks,
        end: Instant::now() + length.min(LONGEST),
        stopping: server.stopping(),
        viewed: server.0.revision.subscribe(),
        over: false,
    };
    let stream = futures_util::stream::unfold(watching, |mut watching| async move {
        let line = watching.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(line)), watching))
    });
    Ok(([(header::CONTENT_TYPE, JSON)], Body::from_stream(stream)).into_response())
}

fn not_too_new(asked: Option<u64>, revision: u64) -> Result<(), Status> {
    match asked.filter(|asked| *asked > revision) {
        Some(asked) => Err(Status::too_new(asked, revision)),
        None => Ok(()),
    }
}

impl Watching {
    /// The next lines; `None` at the end of the watch.
    async fn next(&mut self) -> Option<String> {
        loop {
            if !self.ready.is_empty() {
                return Some(self.ready.drain(..).collect());
            }
            if self.over {
                return None;
            }
            if self.initial.is_some() {
                tokio::task::yield_now().await; // other calls come between the parts
                self.begin();
                continue;
            }
            let change = tokio::select! {
                change = self.changes.next() => Some(change?),
                _ = self.bookmarks.tick(), if self.request.options.bookmarks => None,
                () = tokio::time::sleep_until(self.end) => return None,
                _ = self.stopping.wait_for(|stopping| *stopping) => return None,
            };
            match change {
                Some(Ok(change)) => {
                    // A client that reads the object now must not get an older one: it would take the event for handled.
                    let _ended = self.viewed.wait_for(|revision| *revision >= change.revision).await.is_err();
                    self.take(change);
                }
                Some(Err(StoreError::Compacted { oldest })) => self.fail(&Status::too_old(oldest.saturating_sub(1), oldest)),
                Some(Err(reason)) => self.fail(&failed("watching", &reason)),
                // Not the revision of the view: a change that is on its way here may be in it.
                None => self.ready.push_back(self.lines.bookmark(self.changes.seen(), false)),
            }
        }
    }

    /// Makes the next lines of the objects that were there at the beginning.
    fn begin(&mut self) {
        let Some(mut initial) = self.initial.take() else { return };
        let mut names = initial.names.by_ref().take(AT_ONCE).peekable();
        if names.peek().is_none() {
            let bookmark = initial.ends_with_bookmark.then(|| self.lines.bookmark(initial.view.revision, true));
            self.ready.extend(bookmark);
            return;
        }
        for name in names {
            if let Some(object) = seen_by(&initial.view, &self.request, &self.caller, initial.kind, &name) {
                self.ready.push_back(self.lines.event(Event::Added, object, Timestamp::now()));
            }
        }
        self.initial = Some(initial);
    }

    fn fail(&mut self, status: &Status) {
        self.ready.push_back(error(status));
        self.over = true;
    }

    /// A change, with the rest of its transaction: an object that consists of two records changes once.
    fn take(&mut self, change: Change) {
        let Some(inner) = self.server.upgrade() else {
            self.over = true;
            return;
        };
        let changes = std::iter::once(change).chain(self.changes.rest());
        let view = Server(inner).snapshot();
        let resource = self.request.resource;
        let mut states: BTreeMap<_, (u64, Option<Value>, Option<Value>)> = BTreeMap::new();
        for change in changes {
            let Some(moved) = moved(&view, resource, &change) else { continue };
            if !in_namespace(&moved.name, self.request.namespace.as_deref()) {
                continue;
            }
            match states.get_mut(&moved.name) {
                Some(state) => *state = (change.revision, state.1.take().or(moved.old), moved.new),
                None => drop(states.insert(moved.name, (change.revision, moved.old, moved.new))),
            }
        }
        // A client that is cut off goes on after the revision of the latest event that it got.
        let mut states: Vec<_> = states.into_values().collect();
        states.sort_unstable_by_key(|(revision, ..)| *revision);
        for (revision, old, new) in states {
            let Some((event, object)) = seen(old.as_ref(), new.as_ref(), &self.request.filter) else { continue };
            let mut object = masked(&self.caller, resource, object.clone());
            if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
                metadata.insert("resourceVersion".to_owned(), Value::String(revision.to_string()));
            }
            self.ready.push_back(self.lines.event(event, object, Timestamp::now()));
        }
    }
}
