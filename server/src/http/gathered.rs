//! The log of a workflow or a machine from all servers of the site, line by line in the order of time. Each line is in the files of
//! the server that received it.
//!
//! This server asks each of those once that the Workflow names, with `here=true`, and such a call is never passed on. For a
//! machine it asks all of them. A server that does not answer in time costs a line that names it.

mod joining;
mod merge;
mod part;

use std::collections::BTreeSet;

use api::LogLine;
use api::paths::{machine_log, of_workflow};
use axum::response::Response;
use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use machine::Chain;
use model::LogServer;
use reqwest::StatusCode;

use super::logs::{Format, LogQuery, Place, RUN, lines_of, own, sent};
use crate::others::{Other, OtherError};
use crate::service::Server;
use crate::store::StoreError;
use joining::{Joining, asked};
use merge::{Merge, Part};
use part::{Again, Remote};

#[derive(Debug, thiserror::Error)]
pub(crate) enum GatherError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{place} is not known here, and it is not known whether another server has a log of it: {reason}")]
    Unknown { place: Place, reason: String },
}

/// A log that another server has begun to send.
struct Opened {
    run: u64,
    remote: Remote,
}

/// `None` if there is no log of it at all.
pub(crate) async fn log(server: Server, place: Place, query: LogQuery) -> Result<Option<Response>, GatherError> {
    let Some(own_id) = server.0.others.get().filter(|_| !query.here).map(|others| others.id().to_owned()) else {
        return Ok(own(server, &place, query));
    };
    let others = server.others().await?;
    let (named, created) = named_in(&server, &place);
    let (others, gone) = asked(&named, others, &own_id);
    let format = query.format;
    let since = query.since(Timestamp::now());
    let query = LogQuery { here: true, since_time: since, since_seconds: None, format: Format::Json, ..query };
    let known = named.into_iter().map(|one| one.id).chain(others.iter().map(|other| other.id.clone())).chain([own_id]);
    let known: BTreeSet<String> = known.collect();
    let (mut opened, mut missing) = (Vec::new(), Vec::new());
    for (other, answer) in join_all(others.into_iter().map(|other| open(&server, other, &place, &query))).await {
        match answer {
            Ok(Some(found)) => opened.push(found),
            Ok(None) => {}
            Err(reason) => missing.push((other, reason)),
        }
    }
    let own = lines_of(server.clone(), &place, query.clone());
    // If the workflow was deleted, the servers may know different runs of its name.
    let runs = opened.iter().map(|one| one.run).chain(own.as_ref().map(|(run, _)| *run));
    let Some(run) = runs.max() else {
        return match missing.first() {
            None => Ok(None),
            Some((_, reason)) => Err(GatherError::Unknown { place, reason: Chain(reason).to_string() }),
        };
    };
    let mut parts: Vec<Part> = own.into_iter().filter(|one| one.0 == run).map(|(_, lines)| Part::own(lines)).collect();
    parts.extend(opened.into_iter().filter(|one| one.run == run).map(|one| one.remote.part()));
    parts.extend(missing.into_iter().map(|(other, reason)| away(&server, other, &place, &query, &reason)));
    parts.extend(gone.iter().map(|reason| Part::missing(&Chain(reason).to_string())));
    let merge = match (place, created) {
        (Place::Workflow(name), Some(created)) if query.follow => {
            Merge::new(parts, true).joined_by(Joining::new(&server, name, created, query, known).parts())
        }
        _ => Merge::new(parts, query.follow),
    };
    Ok(Some(sent(format, run, merged(merge))))
}

/// The servers that a Workflow names, and the revision of its first write. A machine names none.
fn named_in(server: &Server, place: &Place) -> (Vec<LogServer>, Option<u64>) {
    let Place::Workflow(name) = place else { return (Vec::new(), None) };
    let found = server.view().workflows.get(name).map(|stored| (stored.object.status.log_servers.clone(), stored.created));
    found.map_or_else(|| (Vec::new(), None), |(named, created)| (named, Some(created)))
}

fn merged(merge: Merge) -> super::logs::Lines {
    stream::unfold(merge, |mut merge| async move { Some((merge.next().await?, merge)) }).boxed()
}

/// The line for a server that does not answer. While the log is followed, it is asked again.
fn away(server: &Server, other: Other, place: &Place, query: &LogQuery, reason: &OtherError) -> Part {
    let reason = Chain(reason).to_string();
    if !query.follow {
        return Part::missing(&reason);
    }
    Remote::away(reason, Again::new(server, other, place.clone(), query.clone())).part()
}

/// Asks another server for its lines. `None` if it has none.
async fn open(server: &Server, other: Other, place: &Place, query: &LogQuery) -> (Other, Result<Option<Opened>, OtherError>) {
    let (path, asked) = question(place, query);
    let answer = server.ask(&other, &path, &asked).await.and_then(|answer| match answer.status() {
        status if status.is_success() => {
            let run = answer.headers().get(RUN).and_then(|run| run.to_str().ok()?.parse().ok()).unwrap_or(0);
            let again = query.follow.then(|| Again::new(server, other.clone(), place.clone(), query.clone()));
            Ok(Some(Opened { run, remote: Remote::new(&other, answer, again) }))
        }
        StatusCode::NOT_FOUND => Ok(None),
        status => Err(OtherError::Refused { other: other.clone(), status }),
    });
    (other, answer)
}

/// The path and the query of a question for the lines that another server has itself.
fn question(place: &Place, query: &LogQuery) -> (String, Vec<(&'static str, String)>) {
    let path = match place {
        Place::Workflow(name) => of_workflow(name, "log"),
        Place::Machine(name) => machine_log(name),
    };
    let mut asked = vec![("format", "json".to_owned()), ("here", "true".to_owned()), ("follow", query.follow.to_string())];
    asked.extend(query.action.clone().map(|action| ("action", action)));
    asked.extend(query.since_time.map(|since| ("sinceTime", since.to_string())));
    (path, asked)
}

/// The line for lines that are missing.
fn note(reason: &str) -> LogLine {
    LogLine {
        time: Timestamp::now(),
        from: String::new(),
        action: String::new(),
        stream: api::LogStream::Note,
        text: format!("{}; the lines that it has are missing here", machine::said(reason, 500)),
    }
}
