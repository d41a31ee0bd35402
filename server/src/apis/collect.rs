//! Deletions that follow from another one: what belongs to an object, what is in a Namespace, and all that is selected.

use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use kubernetes::delete::Deletion;
use kubernetes::{Request, Resource, Status, table};
use model::ObjectName;
use serde_json::{Value, json};

use super::change::one;
use super::plain::in_namespaces;
use super::{Asked, masked, sent};
use crate::service::Server;

/// A request to delete an object of a resource, for a deletion that follows.
fn request(resource: &'static Resource, like: Option<&Request>) -> Request {
    Request {
        resource,
        namespace: None,
        name: None,
        status: false,
        log: false,
        verb: kubernetes::Verb::Delete,
        filter: kubernetes::selector::Filter::default(),
        options: like.map(|like| like.options.clone()).unwrap_or_default(),
        form: kubernetes::request::Form::Whole,
    }
}

/// Deletes all that is selected, and answers with it.
pub(super) async fn delete_collection(server: &Server, asked: &Asked) -> Result<Response, Status> {
    let listing = &asked.request;
    let resource = listing.resource;
    let deletion = Deletion::parse(listing, &asked.content_type, &asked.body)?;
    let listed = server.objects(resource, listing.namespace.as_deref()).await?;
    let mut gone = Vec::new();
    for (name, object) in listed.objects.into_iter().filter(|(_, object)| listing.filter.selects(object)) {
        match one(server, &request(resource, Some(listing)), &name, &deletion).await {
            Ok(_) => gone.push(masked(&asked.caller, resource, object)),
            Err(status) if status.code == 404 => {} // another client was faster
            Err(status) => return Err(status),
        }
    }
    let metadata = json!({"resourceVersion": server.view().revision.to_string()});
    let shown = table::list(resource, gone, &metadata, listing.form, listing.options.include, Timestamp::now());
    Ok(sent(StatusCode::OK, shown.into(), &[]))
}

/// Objects of a namespace, with their resource.
async fn content(server: &Server, namespace: &str) -> Result<Vec<(&'static Resource, ObjectName, Value)>, Status> {
    let mut found = Vec::new();
    for resource in in_namespaces() {
        let listed = server.objects(resource, Some(namespace)).await?;
        found.extend(listed.objects.into_iter().map(|(name, object)| (resource, name, object)));
    }
    Ok(found)
}

fn owners(object: &Value) -> impl Iterator<Item = &str> {
    let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array).into_iter().flatten();
    owners.filter_map(|owner| owner.get("uid")?.as_str())
}

/// Deletes what belonged to an object that is gone and to nothing else, and what belonged to that.
pub(super) async fn dependents(server: &Server, gone: &Value) -> Result<(), Status> {
    let text = |pointer: &str| gone.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (uid, namespace) = (text("/metadata/uid"), text("/metadata/namespace"));
    if uid.is_empty() || namespace.is_empty() {
        return Ok(());
    }
    let objects = content(server, namespace).await?;
    let mut gone = vec![uid.to_owned()];
    let alive = |gone: &[String], uid: &str| {
        let has = |object: &Value| object.pointer("/metadata/uid").and_then(Value::as_str) == Some(uid);
        !gone.iter().any(|gone| gone == uid) && objects.iter().any(|(.., object)| has(object))
    };
    // Found from the owner down, so that a chain of any length is one pass for each of its links.
    let mut doomed: Vec<&(&'static Resource, ObjectName, Value)> = Vec::new();
    loop {
        let next: Vec<_> = objects
            .iter()
            .filter(|(.., object)| owners(object).any(|owner| gone.iter().any(|gone| gone == owner)))
            .filter(|(.., object)| !owners(object).any(|owner| alive(&gone, owner)))
            .filter(|one| !doomed.iter().any(|known| known.1 == one.1 && std::ptr::eq(known.0, one.0)))
            .collect();
        if next.is_empty() {
            break;
        }
        gone.extend(next.iter().filter_map(|(.., object)| object.pointer("/metadata/uid")?.as_str().map(str::to_owned)));
        doomed.extend(next);
    }
    for (resource, name, _) in doomed {
        let deletion = Deletion { grace: Some(0), orphans: true, ..Deletion::default() };
        match Box::pin(one(server, &request(resource, None), name, &deletion)).await {
            Ok(_) => {}
            Err(status) if status.code == 404 => {}
            Err(status) => return Err(status),
        }
    }
    Ok(())
}

/// Deletes what is in a Namespace, or says what keeps it.
pub(super) async fn empty_namespace(server: &Server, like: &Request, namespace: &str, deletion: &Deletion) -> Result<(), Status> {
    if namespace == "default" {
        return Err(Status::forbidden(like.resource, namespace, "this namespace may not be deleted"));
    }
    let force = deletion.grace == Some(0);
    let running = {
        let view = server.view();
        let open = view.workflows.values().filter(|stored| stored.object.metadata.namespace == namespace);
        open.filter(|stored| crate::boot::is_open(&stored.object)).map(|stored| stored.object.name().to_string()).next()
    };
    if let Some(running) = running.filter(|_| !force) {
        let why = format!("Workflow {running} is not finished; cancel it first, or set gracePeriodSeconds to 0");
        return Err(Status::conflict(like.resource, namespace, &why));
    }
    if deletion.dry_run {
        return Ok(());
    }
    let within = Deletion { grace: Some(0), orphans: true, ..Deletion::default() };
    let mut kept = Vec::new();
    for (resource, name, object) in content(server, namespace).await? {
        if object.pointer("/metadata/finalizers").and_then(Value::as_array).is_some_and(|list| !list.is_empty()) {
            kept.push(format!("{} {}", resource.kind, name.name));
        }
        match Box::pin(one(server, &request(resource, None), &name, &within)).await {
            Ok(_) => {}
            Err(status) if status.code == 404 => {}
            Err(status) => return Err(status),
        }
    }
    if kept.is_empty() {
        return Ok(());
    }
    kept.truncate(5);
    let why = format!("finalizers keep {}; it can be deleted when they are gone", kept.join(", "));
    Err(Status::conflict(like.resource, namespace, &why))
}
