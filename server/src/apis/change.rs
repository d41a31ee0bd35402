//! Create, update, patch, apply and delete. Each is tried again if another writer was faster.

use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use kubernetes::delete::{Deletion, Step, is_released};
use kubernetes::request::Patch;
use kubernetes::resources::Plain;
use kubernetes::write::{Write, Written, is_same};
use kubernetes::{Family, Request, Status, Verb, body, status, table};
use model::{Kind, ObjectName};
use serde_json::Value;

use super::source::asked_name;
use super::typed::{Outcome, Seen};
use super::{Asked, answered, masked, notes};
use crate::service::Server;

/// More lost tries in a row are a fault, not a race.
const TRIES: u32 = 32;

/// The result of a change: the code, what is shown, and warnings.
type Changed = (StatusCode, Value, Vec<String>);

pub(super) async fn answer(server: &Server, asked: &Asked) -> Result<Response, Status> {
    let request = &asked.request;
    let (code, value, mut warnings) = match request.verb {
        Verb::Delete => delete(server, asked).await?,
        Verb::DeleteCollection => return super::collect::delete_collection(server, asked).await,
        Verb::Create => create(server, asked).await?,
        _ => update(server, asked).await?,
    };
    warnings.extend(notes(request.resource));
    if value.get("kind").and_then(Value::as_str) == Some("Status") {
        return Ok(answered(code, &value, &warnings));
    }
    let value = masked(&asked.caller, request.resource, value);
    let shown = table::one(request.resource, value, request.form, request.options.include, true, Timestamp::now());
    Ok(answered(code, &shown, &warnings))
}

fn overtaken() -> Status {
    Status::unavailable("other writers were faster every time; try again")
}

/// Five letters that make a generated name.
fn suffix() -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut random = ulid::Ulid::new().random();
    let letter = |_| {
        let index = usize::try_from(random % LETTERS.len() as u128).unwrap_or(0);
        random /= LETTERS.len() as u128;
        LETTERS.get(index).map_or('x', |letter| char::from(*letter))
    };
    (0..5).map(letter).collect()
}

fn write<'w>(request: &'w Request, suffix: &'w str) -> Write<'w> {
    Write { request, now: Timestamp::now(), suffix }
}

fn name_of(object: &Value) -> ObjectName {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    ObjectName::new(text("/metadata/namespace"), text("/metadata/name"))
}

async fn create(server: &Server, asked: &Asked) -> Result<Changed, Status> {
    let request = &asked.request;
    let resource = request.resource;
    server.namespace_exists(request.namespace.as_deref()).await?;
    let body = body::decode(&asked.content_type, &asked.body, resource)?;
    let suffix = suffix();
    let Written { object, warnings } = write(request, &suffix).create(body)?;
    if resource.family == Family::Rollout {
        let name = server.begin_rollout(request, &object, &asked.caller.name).await?;
        let stored = server.object(resource, &name).await?.unwrap_or(object);
        return Ok((StatusCode::CREATED, stored, warnings));
    }
    created(server, request, &object, warnings).await
}

/// Stores an object that must not exist yet.
async fn created(server: &Server, request: &Request, object: &Value, warnings: Vec<String>) -> Result<Changed, Status> {
    let (resource, name) = (request.resource, name_of(object));
    for _ in 0..TRIES {
        // A Namespace that only exists because it is used can be created.
        let exists = match resource.family {
            Family::Plain(prefix, Plain::Namespace) => {
                let key = super::plain::key(prefix, &name);
                server.0.store.get(&key).await.map_err(|reason| super::failed("reading an object", &reason))?.is_some()
            }
            _ => server.object(resource, &name).await?.is_some(),
        };
        if exists {
            return Err(Status::already_exists(resource, &name.name));
        }
        match put(server, request, &name, object, Seen::default()).await? {
            Outcome::Done(stored, more) => {
                return Ok((StatusCode::CREATED, stored, warnings.into_iter().chain(more).collect()));
            }
            Outcome::Overtaken => {}
        }
    }
    Err(overtaken())
}

async fn put(server: &Server, request: &Request, name: &ObjectName, object: &Value, seen: Seen) -> Result<Outcome, Status> {
    let (resource, dry_run) = (request.resource, request.options.dry_run);
    match resource.family {
        Family::Tinkerbell(kind) => server.put_typed(resource, kind, name, object, seen, dry_run).await,
        _ => {
            let stored = server.put_plain(resource, name, object, seen.modified, dry_run).await?;
            Ok(stored.map_or(Outcome::Overtaken, |stored| Outcome::Done(stored, Vec::new())))
        }
    }
}

/// The revisions of the record behind an object that a client sees.
fn seen(server: &Server, request: &Request, name: &ObjectName, current: &Value) -> Seen {
    match request.resource.family {
        Family::Tinkerbell(kind) => server.seen(kind, name),
        _ => {
            let modified = current.pointer("/metadata/resourceVersion").and_then(Value::as_str);
            let modified = modified.and_then(|text| text.parse().ok()).unwrap_or(0);
            Seen { created: modified, modified }
        }
    }
}

/// Update, patch and apply.
async fn update(server: &Server, asked: &Asked) -> Result<Changed, Status> {
    let request = &asked.request;
    let (resource, name) = (request.resource, asked_name(request));
    let applies = request.verb == Verb::Patch(Patch::Apply);
    for _ in 0..TRIES {
        let current = server.object(resource, &name).await?;
        let suffix = suffix();
        let write = write(request, &suffix);
        let Some(current) = current else {
            if !applies || request.status || !resource.has("create") || resource.family == Family::Rollout {
                return Err(Status::not_found(resource, &name.name));
            }
            server.namespace_exists(request.namespace.as_deref()).await?;
            let body = body::decode("application/apply-patch+yaml", &asked.body, resource)?;
            let Written { object, warnings } = write.apply(None, body)?;
            return created(server, request, &object, warnings).await;
        };
        let before = seen(server, request, &name, &current);
        let Written { object, mut warnings } = match request.verb {
            Verb::Patch(Patch::Apply) => {
                write.apply(Some(&current), body::decode("application/apply-patch+yaml", &asked.body, resource)?)?
            }
            Verb::Patch(_) => write.patch(&current, &asked.body)?,
            _ => write.replace(&current, body::decode(&asked.content_type, &asked.body, resource)?)?,
        };
        if is_same(&object, &current) {
            return Ok((StatusCode::OK, current, warnings));
        }
        steady_status(request, &name, &object, &current)?;
        if matches!(resource.family, Family::MachineState | Family::Rollout) {
            return order(server, asked, &object, &current, warnings).await;
        }
        if is_released(&object) {
            if remove(server, request, &name, before, true, request.options.dry_run).await? {
                super::collect::dependents(server, &object).await?;
                return Ok((StatusCode::OK, object, warnings));
            }
            continue;
        }
        match put(server, request, &name, &object, before).await? {
            Outcome::Done(stored, more) => {
                warnings.extend(more);
                return Ok((StatusCode::OK, stored, warnings));
            }
            Outcome::Overtaken => {}
        }
    }
    Err(overtaken())
}

/// A changed spec of these kinds is an order.
async fn order(server: &Server, asked: &Asked, new: &Value, current: &Value, warnings: Vec<String>) -> Result<Changed, Status> {
    let (request, by) = (&asked.request, asked.caller.name.as_str());
    if request.resource.family == Family::Rollout {
        server.order_rollout(request, new, current, by).await?;
    } else if new.pointer("/spec/intent") != current.pointer("/spec/intent") {
        server.order_machine(request, new, by).await?;
    }
    let name = asked_name(request);
    let shown = if request.options.dry_run { None } else { server.object(request.resource, &name).await? };
    Ok((StatusCode::OK, shown.unwrap_or_else(|| new.clone()), warnings))
}

/// The status of a Workflow follows from what its agents report, and nothing else writes it.
fn steady_status(request: &Request, name: &ObjectName, new: &Value, current: &Value) -> Result<(), Status> {
    let is_workflow = matches!(request.resource.family, Family::Tinkerbell(Kind::Workflow | Kind::WorkflowV1alpha2));
    if !is_workflow || !request.status || new.get("status") == current.get("status") {
        return Ok(());
    }
    let why = "it follows from what agents report; `thimble workflow` cancels, retries or pauses";
    Err(Status::invalid(request.resource, &name.name, &[status::Cause::new(status::FORBIDDEN, "status", why)]))
}

async fn delete(server: &Server, asked: &Asked) -> Result<Changed, Status> {
    let request = &asked.request;
    let deletion = Deletion::parse(request, &asked.content_type, &asked.body)?;
    one(server, request, &asked_name(request), &deletion).await
}

/// Deletes one object, or marks it while it has finalizers.
pub(super) async fn one(server: &Server, request: &Request, name: &ObjectName, deletion: &Deletion) -> Result<Changed, Status> {
    let resource = request.resource;
    let force = deletion.grace == Some(0);
    for _ in 0..TRIES {
        let current = server.object(resource, name).await?.ok_or_else(|| Status::not_found(resource, &name.name))?;
        let before = seen(server, request, name, &current);
        match deletion.step(resource, &current, Timestamp::now())? {
            Step::Marked => return Ok((StatusCode::OK, current, Vec::new())),
            Step::Mark(marked) => {
                if let Family::Tinkerbell(kind) = resource.family {
                    // It stays for now, but what uses it is said at once.
                    server.remove_typed(resource, kind, name, before, force, true).await?;
                }
                let mut writes = request.clone();
                writes.options.dry_run = deletion.dry_run;
                if let Outcome::Done(stored, _) = put(server, &writes, name, &marked, before).await? {
                    return Ok((StatusCode::OK, stored, Vec::new()));
                }
            }
            Step::Now => {
                if matches!(resource.family, Family::Plain(_, Plain::Namespace)) {
                    super::collect::empty_namespace(server, request, &name.name, deletion).await?;
                }
                if remove(server, request, name, before, force, deletion.dry_run).await? {
                    if !deletion.orphans && !deletion.dry_run {
                        super::collect::dependents(server, &current).await?;
                    }
                    let uid = current.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default();
                    return Ok((StatusCode::OK, status::deleted(resource, &name.name, uid), Vec::new()));
                }
            }
        }
    }
    Err(overtaken())
}

async fn remove(
    server: &Server,
    request: &Request,
    name: &ObjectName,
    seen: Seen,
    force: bool,
    dry_run: bool,
) -> Result<bool, Status> {
    let resource = request.resource;
    match resource.family {
        Family::Tinkerbell(kind) => server.remove_typed(resource, kind, name, seen, force, dry_run).await,
        Family::Rollout if !dry_run => server.forget_rollout(request, name).await.map(|()| true),
        Family::Plain(prefix, Plain::Namespace) => {
            let key = super::plain::key(prefix, name);
            let stored = server.0.store.get(&key).await.map_err(|reason| super::failed("reading an object", &reason))?;
            match stored {
                Some(pair) if !dry_run => server.remove_plain(resource, name, pair.modified).await,
                _ => Ok(true),
            }
        }
        _ if dry_run => Ok(true),
        _ => server.remove_plain(resource, name, seen.modified).await,
    }
}
