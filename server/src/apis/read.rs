//! Get and list.

use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use kubernetes::request::Continue;
use kubernetes::{Family, Request, Status, Verb, table};
use model::{Kind, ObjectName};
use serde_json::{Value, json};

use super::items::{self, Names, seen};
use super::source::{Listed, asked_name, is_of};
use super::{Asked, answered, masked, notes, sent};
use crate::service::Server;

pub(super) async fn answer(server: &Server, asked: &Asked) -> Result<Response, Status> {
    let request = &asked.request;
    let (resource, form, include) = (request.resource, request.form, request.options.include);
    if request.verb == Verb::Get {
        let name = asked_name(request);
        let found = server.object(resource, &name).await?.ok_or_else(|| Status::not_found(resource, &name.name))?;
        let shown = table::one(resource, masked(&asked.caller, resource, found), form, include, true, Timestamp::now());
        return Ok(answered(StatusCode::OK, &shown, &notes(resource)));
    }
    if let Some(kind) = whole_list(request) {
        let view = server.snapshot();
        not_newer(request.options.revision, view.revision)?;
        return Ok(sent(StatusCode::OK, items::body(view, request, &asked.caller, kind), &notes(resource)));
    }
    let (items, metadata) = list(server, asked).await?;
    let shown = table::list(resource, items, &metadata, form, include, Timestamp::now());
    Ok(sent(StatusCode::OK, shown.into(), &notes(resource)))
}

/// The kind, if all its objects are asked for as they are now.
fn whole_list(request: &Request) -> Option<Kind> {
    let options = &request.options;
    let now = options.limit.is_none() && options.continues.is_none() && !(options.exact && options.revision.is_some());
    match request.resource.family {
        Family::Tinkerbell(kind) if now => Some(kind),
        _ => None,
    }
}

/// The selected objects of a page, and the metadata of the list.
async fn list(server: &Server, asked: &Asked) -> Result<(Vec<Value>, Value), Status> {
    let request = &asked.request;
    let (resource, options, namespace) = (request.resource, &request.options, request.namespace.as_deref());
    if let Some(page) = page(server, asked) {
        return Ok(page);
    }
    let listed = match (&options.continues, options.revision) {
        (Some(from), _) => server.objects_at(resource, namespace, from.revision).await?,
        (None, Some(revision)) if options.exact => server.objects_at(resource, namespace, revision).await?,
        (None, revision) => {
            let listed = server.objects(resource, namespace).await?;
            not_newer(revision, listed.revision)?;
            listed
        }
    };
    let Listed { objects, revision } = listed;
    let after = options.continues.as_ref().map(|from| (from.namespace.as_str(), from.name.as_str()));
    let mut selected = objects
        .into_iter()
        .filter(|(name, _)| after.is_none_or(|after| (name.namespace.as_str(), name.name.as_str()) > after))
        .filter(|(_, object)| request.filter.selects(object));
    let most = options.limit.unwrap_or(usize::MAX);
    let mut items = Vec::new();
    let mut last = None;
    for (name, object) in selected.by_ref().take(most) {
        items.push(masked(&asked.caller, resource, object));
        last = Some(name);
    }
    let rest = selected.count();
    Ok((items, metadata(request, revision, last.filter(|_| rest > 0), rest)))
}

/// A page of a checked kind, of which only the page is looked at. None where the whole list is needed.
fn page(server: &Server, asked: &Asked) -> Option<(Vec<Value>, Value)> {
    let request = &asked.request;
    let (resource, options, namespace) = (request.resource, &request.options, request.namespace.as_deref());
    let Family::Tinkerbell(kind) = resource.family else { return None };
    let most = options.limit?;
    let from = options.continues.as_ref();
    if from.is_none() && options.revision.is_some() {
        return None;
    }
    let view = server.unchanged_since(resource, from.map(|from| from.revision))?;
    let after = from.map(|from| ObjectName::new(from.namespace.clone(), from.name.clone()));
    let mut names = Names::of(view.clone(), kind, namespace, after);
    let mut objects = names.by_ref().filter_map(|name| {
        let object = seen(&view, request, &asked.caller, kind, &name)?;
        Some((name, object))
    });
    let mut items = Vec::new();
    let mut last = None;
    for (name, object) in objects.by_ref().take(most) {
        items.push(object);
        last = Some(name);
    }
    // Whether there are more; how many counts only where all of them are selected.
    let more = usize::from(objects.next().is_some());
    let rest =
        more + if more > 0 && request.filter.is_empty() { names.filter(|name| is_of(&view, kind, name)).count() } else { 0 };
    let revision = from.map_or(view.revision, |from| from.revision);
    Some((items, metadata(request, revision, last.filter(|_| rest > 0), rest)))
}

fn metadata(request: &Request, revision: u64, last: Option<ObjectName>, rest: usize) -> Value {
    let mut metadata = json!({"resourceVersion": revision.to_string()});
    if let (Some(last), Some(fields)) = (last, metadata.as_object_mut()) {
        let token = Continue { revision, namespace: last.namespace, name: last.name }.token();
        fields.insert("continue".to_owned(), json!(token));
        if request.filter.is_empty() {
            fields.insert("remainingItemCount".to_owned(), json!(rest));
        }
    }
    metadata
}

fn not_newer(asked: Option<u64>, revision: u64) -> Result<(), Status> {
    match asked {
        Some(asked) if asked > revision => Err(Status::too_new(asked, revision)),
        _ => Ok(()),
    }
}
