//! The log of a workflow or a machine from all servers of the site, line by line in the order of time. Each line is in the files of
//! the server that received it.
//!
//! This server asks each of the others once, with `here=true`, and such a call is never passed on. A server that does not answer in
//! time costs a line that names it.

mod merge;
mod part;

use api::LogLine;
use api::paths::{machine_log, of_workflow};
use axum::response::Response;
use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use machine::Chain;
use reqwest::StatusCode;

use super::logs::{Format, LogQuery, Place, RUN, lines_of, own, sent};
use crate::others::{Other, OtherError};
use crate::service::Server;
use crate::store::StoreError;
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
    let others = if query.here { Vec::new() } else { server.others().await? };
    if others.is_empty() {
        return Ok(own(server, &place, query));
    }
    let format = query.format;
    let since = query.since(Timestamp::now());
    let query = LogQuery { here: true, since_time: since, since_seconds: None, format: Format::Json, ..query };
    let (mut opened, mut missing) = (Vec::new(), Vec::new());
    for answer in join_all(others.into_iter().map(|other| open(&server, other, &place, &query))).await {
        match answer {
            Ok(Some(found)) => opened.push(found),
            Ok(None) => {}
            Err(reason) => missing.push(reason),
        }
    }
    let own = lines_of(server.clone(), &place, query.clone());
    // If the workflow was deleted, the servers may know different runs of its name.
    let runs = opened.iter().map(|one| one.run).chain(own.as_ref().map(|(run, _)| *run));
    let Some(run) = runs.max() else {
        return match missing.first() {
            None => Ok(None),
            Some(reason) => Err(GatherError::Unknown { place, reason: Chain(reason).to_string() }),
        };
    };
    let mut parts: Vec<Part> = own.into_iter().filter(|one| one.0 == run).map(|(_, lines)| Part::own(lines)).collect();
    parts.extend(opened.into_iter().filter(|one| one.run == run).map(|one| Part::of(one.remote.said())));
    parts.extend(missing.iter().map(|reason| Part::missing(&Chain(reason).to_string())));
    Ok(Some(sent(format, run, merged(Merge::new(parts, query.follow)))))
}

fn merged(merge: Merge) -> super::logs::Lines {
    stream::unfold(merge, |mut merge| async move { Some((merge.next().await?, merge)) }).boxed()
}

/// Asks another server for its lines. `None` if it has none.
async fn open(server: &Server, other: Other, place: &Place, query: &LogQuery) -> Result<Option<Opened>, OtherError> {
    let (path, asked) = question(place, query);
    let answer = server.ask(&other, &path, &asked).await?;
    match answer.status() {
        status if status.is_success() => {
            let run = answer.headers().get(RUN).and_then(|run| run.to_str().ok()?.parse().ok()).unwrap_or(0);
            let again = query.follow.then(|| Again::new(server, other, place.clone(), query.clone()));
            Ok(Some(Opened { run, remote: Remote::new(answer, again) }))
        }
        StatusCode::NOT_FOUND => Ok(None),
        status => Err(OtherError::Refused { other, status }),
    }
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
