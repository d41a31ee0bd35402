//! Get and list.

use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use kubernetes::request::Continue;
use kubernetes::{Status, Verb, table};
use serde_json::{Value, json};

use super::source::{Listed, asked_name};
use super::{Asked, answered, masked, notes};
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
    let (items, metadata) = list(server, asked).await?;
    let shown = table::list(resource, items, &metadata, form, include, Timestamp::now());
    Ok(answered(StatusCode::OK, &shown, &notes(resource)))
}

/// The selected objects of a page, and the metadata of the list.
async fn list(server: &Server, asked: &Asked) -> Result<(Vec<Value>, Value), Status> {
    let request = &asked.request;
    let (resource, options, namespace) = (request.resource, &request.options, request.namespace.as_deref());
    let listed = match (&options.continues, options.revision) {
        (Some(from), _) => server.objects_at(resource, namespace, from.revision).await?,
        (None, Some(revision)) if options.exact => server.objects_at(resource, namespace, revision).await?,
        (None, revision) => {
            let listed = server.objects(resource, namespace).await?;
            not_newer(revision, &listed)?;
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
    let mut metadata = json!({"resourceVersion": revision.to_string()});
    if let (Some(last), Some(fields)) = (last.filter(|_| rest > 0), metadata.as_object_mut()) {
        let token = Continue { revision, namespace: last.namespace, name: last.name }.token();
        fields.insert("continue".to_owned(), json!(token));
        if request.filter.is_empty() {
            fields.insert("remainingItemCount".to_owned(), json!(rest));
        }
    }
    Ok((items, metadata))
}

fn not_newer(asked: Option<u64>, listed: &Listed) -> Result<(), Status> {
    match asked {
        Some(asked) if asked > listed.revision => Err(Status::too_new(asked, listed.revision)),
        _ => Ok(()),
    }
}
