//! What a client asks: path, query and headers as one checked value.

use crate::query::{Query, decoded};
use crate::resources::{Resource, find, groups};
use crate::selector::Filter;
use crate::status::{Cause, FORBIDDEN, INVALID, Status};

/// A path of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// `/api`
    Versions,
    /// `/apis`
    Groups,
    /// `/apis/GROUP`
    Group(&'static str),
    /// `/api/v1`, `/apis/GROUP/VERSION`
    Resources {
        group: &'static str,
        version: &'static str,
    },
    OpenApiV2,
    OpenApiV3,
    /// `/openapi/v3/apis/GROUP/VERSION`
    OpenApiOf {
        group: &'static str,
        version: &'static str,
    },
    Version,
    Objects(Box<Request>),
}

/// A request for objects.
#[derive(Debug, Clone)]
pub struct Request {
    pub resource: &'static Resource,
    pub namespace: Option<String>,
    pub name: Option<String>,
    /// The path ends with `/status`.
    pub status: bool,
    /// The path ends with `/log`.
    pub log: bool,
    pub verb: Verb,
    pub filter: Filter,
    pub options: Options,
    pub form: Form,
}

impl PartialEq for Request {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.resource, other.resource)
            && (&self.namespace, &self.name, self.status, self.log, self.verb)
                == (&other.namespace, &other.name, other.status, other.log, other.verb)
            && (&self.filter, &self.options, self.form) == (&other.filter, &other.options, other.form)
    }
}

impl Eq for Request {}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch(Patch),
    Delete,
    DeleteCollection,
}

impl Verb {
    /// The word of discovery and of access rules.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch(_) => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patch {
    Json,
    Merge,
    Strategic,
    Apply,
}

/// How objects are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    #[default]
    Whole,
    /// With this version of `meta.k8s.io`.
    Table(&'static str),
    Metadata,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Validation {
    Strict,
    #[default]
    Warn,
    Ignore,
}

/// What rows of a Table carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Include {
    #[default]
    Metadata,
    Object,
    None,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// `None` for absent, empty and `0`: any revision will do.
    pub revision: Option<u64>,
    /// `resourceVersion` was given at all, `0` included.
    pub revision_given: bool,
    pub exact: bool,
    pub limit: Option<usize>,
    pub continues: Option<Continue>,
    pub timeout: Option<u64>,
    pub bookmarks: bool,
    pub initial_events: bool,
    pub dry_run: bool,
    pub manager: Option<String>,
    pub force: bool,
    pub validation: Validation,
    /// The query has `fieldValidation`.
    pub include: Include,
    /// As the query of a DELETE may have it.
    pub grace: Option<i64>,
}

/// Where a list goes on: the revision of its first page, and the last key of the page before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Continue {
    pub revision: u64,
    pub namespace: String,
    pub name: String,
}

impl Continue {
    #[must_use]
    pub fn token(&self) -> String {
        format!("{}.{}/{}", self.revision, self.namespace, self.name)
    }

    fn parse(text: &str) -> Option<Self> {
        let (revision, key) = text.split_once('.')?;
        let (namespace, name) = key.split_once('/')?;
        Some(Self { revision: revision.parse().ok()?, namespace: namespace.to_owned(), name: name.to_owned() })
    }
}

/// The parts of an HTTP request that decide what it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Head<'h> {
    pub method: &'h str,
    pub path: &'h str,
    pub query: &'h str,
    pub accept: &'h str,
    pub content_type: &'h str,
    pub user_agent: &'h str,
}

/// The parts of a path, decoded.
#[must_use]
pub fn segments(path: &str) -> Vec<String> {
    path.split('/').filter(|part| !part.is_empty()).map(|part| decoded(part, false)).collect()
}

/// # Errors
/// What the client gets instead.
pub fn parse(head: &Head<'_>) -> Result<Call, Status> {
    let segments = segments(head.path);
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let document = match segments.as_slice() {
        ["version"] => Call::Version,
        ["api"] => Call::Versions,
        ["apis"] => Call::Groups,
        ["openapi", "v2"] => Call::OpenApiV2,
        ["openapi", "v3"] => Call::OpenApiV3,
        ["openapi", "v3", "api", version] => version_of("", version, |group, version| Call::OpenApiOf { group, version })?,
        ["openapi", "v3", "apis", group, version] => {
            version_of(group, version, |group, version| Call::OpenApiOf { group, version })?
        }
        ["api", version] => version_of("", version, |group, version| Call::Resources { group, version })?,
        ["apis", group] => Call::Group(groups().iter().find(|(known, _)| known == group).ok_or_else(Status::no_such_path)?.0),
        ["apis", group, version] => version_of(group, version, |group, version| Call::Resources { group, version })?,
        ["api", version, rest @ ..] => return objects(head, "", version, rest),
        ["apis", group, version, rest @ ..] => return objects(head, group, version, rest),
        _ => return Err(Status::no_such_path()),
    };
    if matches!(head.method, "GET" | "HEAD") { Ok(document) } else { Err(Status::method_not_allowed()) }
}

fn version_of(group: &str, version: &str, call: fn(&'static str, &'static str) -> Call) -> Result<Call, Status> {
    let groups = groups();
    let (group, versions) = groups.iter().find(|(known, _)| *known == group).ok_or_else(Status::no_such_path)?;
    let version = versions.iter().find(|known| **known == version).ok_or_else(Status::no_such_path)?;
    Ok(call(group, version))
}

fn objects(head: &Head<'_>, group: &str, version: &str, rest: &[&str]) -> Result<Call, Status> {
    let known = |plural: &str| find(group, version, plural).ok_or_else(Status::no_such_path);
    // `/api/v1/namespaces/x` is the object, `/api/v1/namespaces/x/secrets` a list in it.
    let (namespace, resource, rest) = match rest {
        ["namespaces", namespace, plural, rest @ ..] if *plural != "status" => {
            let resource = known(plural)?;
            if !resource.namespaced {
                return Err(Status::no_such_path());
            }
            (Some((*namespace).to_owned()), resource, rest)
        }
        [plural, rest @ ..] => (None, known(plural)?, rest),
        [] => return Err(Status::no_such_path()),
    };
    let (name, part) = match rest {
        [] => (None, Part::Object),
        [name] => (Some((*name).to_owned()), Part::Object),
        [name, "status"] if resource.status => (Some((*name).to_owned()), Part::Status),
        [name, "log"] if resource.log => (Some((*name).to_owned()), Part::Log),
        _ => return Err(Status::no_such_path()),
    };
    if resource.namespaced && namespace.is_none() && name.is_some() {
        return Err(Status::no_such_path());
    }
    let query = Query::parse(head.query);
    let verb = verb(head, resource, &query, namespace.is_some(), name.is_some(), part)?;
    let filter = Filter::parse(resource, query.get("labelSelector"), query.get("fieldSelector"))?;
    let options = options(head, resource, verb, &query)?;
    let form = form(head.accept);
    let (status, log) = (part == Part::Status, part == Part::Log);
    Ok(Call::Objects(Box::new(Request { resource, namespace, name, status, log, verb, filter, options, form })))
}

/// What of an object a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Object,
    Status,
    Log,
}

fn verb(
    head: &Head<'_>,
    resource: &Resource,
    query: &Query,
    in_namespace: bool,
    named: bool,
    part: Part,
) -> Result<Verb, Status> {
    let verb = match (head.method, named) {
        ("GET" | "HEAD", true) => Verb::Get,
        ("GET" | "HEAD", false) if query.is_true("watch") => Verb::Watch,
        ("GET" | "HEAD", false) => Verb::List,
        ("POST", false) => Verb::Create,
        ("PUT", true) => Verb::Update,
        ("PATCH", true) => Verb::Patch(patch(head.content_type, resource)?),
        ("DELETE", true) => Verb::Delete,
        ("DELETE", false) => Verb::DeleteCollection,
        _ => return Err(Status::method_not_allowed()),
    };
    let needs_namespace = resource.namespaced && matches!(verb, Verb::Create | Verb::DeleteCollection);
    let of_part = match part {
        Part::Object => true,
        Part::Status => matches!(verb, Verb::Get | Verb::Update | Verb::Patch(_)),
        Part::Log => verb == Verb::Get,
    };
    if resource.has(verb.word()) && of_part && (in_namespace || !needs_namespace) {
        Ok(verb)
    } else {
        Err(Status::method_not_allowed())
    }
}

const PATCHES: &str = "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";

fn patch(content_type: &str, resource: &Resource) -> Result<Patch, Status> {
    match content_type.split(';').next().unwrap_or_default().trim() {
        "application/json-patch+json" => Ok(Patch::Json),
        "application/merge-patch+json" => Ok(Patch::Merge),
        "application/apply-patch+yaml" => Ok(Patch::Apply),
        "application/strategic-merge-patch+json" if resource.native => Ok(Patch::Strategic),
        _ => Err(Status::unsupported_media_type(PATCHES)),
    }
}

fn options(head: &Head<'_>, resource: &Resource, verb: Verb, query: &Query) -> Result<Options, Status> {
    let number = |key: &str| match query.get(key).map(str::parse::<u64>) {
        None => Ok(None),
        Some(Ok(number)) => Ok(Some(number)),
        Some(Err(_)) => Err(Status::bad_request(format!("{key}: {:?} is not a number", query.get(key).unwrap_or_default()))),
    };
    let asked = number("resourceVersion")
        .map_err(|_| Status::invalid(resource, "", &[Cause::new(INVALID, "resourceVersion", "it is not a number")]))?;
    let invalid = |field: &str, why: &str| Status::invalid(resource, "", &[Cause::new(FORBIDDEN, field, why)]);
    let matching = query.get("resourceVersionMatch");
    let initial_events = query.is_true("sendInitialEvents");
    match (verb, initial_events, matching) {
        (Verb::Watch, true, Some("NotOlderThan")) | (Verb::Watch, false, None) => {}
        (Verb::Watch, true, _) => {
            return Err(invalid(
                "resourceVersionMatch",
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            ));
        }
        (Verb::Watch, false, Some(_)) => {
            return Err(invalid(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            ));
        }
        (Verb::List | Verb::DeleteCollection, true, _) => {
            return Err(invalid("sendInitialEvents", "sendInitialEvents is forbidden for list"));
        }
        (Verb::List, false, Some("Exact")) if asked.is_none_or(|asked| asked == 0) => {
            return Err(invalid("resourceVersionMatch", "Exact needs a resourceVersion other than 0"));
        }
        _ => {}
    }
    if verb == Verb::Patch(Patch::Apply) && query.get("fieldManager").is_none() {
        return Err(Status::bad_request(
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
        ));
    }
    if query.get("fieldManager").is_some_and(|manager| manager.chars().count() > MAX_MANAGER) {
        return Err(Status::bad_request(format!("fieldManager has more than {MAX_MANAGER} letters")));
    }
    let continues = match query.get("continue").map(Continue::parse) {
        None => None,
        Some(Some(found)) => Some(found),
        Some(None) => return Err(Status::bad_request("continue key is not valid")),
    };
    let validation = match query.get("fieldValidation") {
        None | Some("Warn") => Validation::Warn,
        Some("Strict") => Validation::Strict,
        Some("Ignore") => Validation::Ignore,
        Some(other) => return Err(Status::bad_request(format!("fieldValidation: {other:?} is not Strict, Warn or Ignore"))),
    };
    Ok(Options {
        revision: asked.filter(|asked| *asked > 0),
        revision_given: asked.is_some(),
        exact: matching == Some("Exact"),
        limit: number("limit")?.and_then(|limit| usize::try_from(limit).ok()).filter(|limit| *limit > 0),
        continues,
        timeout: number("timeoutSeconds")?.filter(|seconds| *seconds > 0),
        bookmarks: query.is_true("allowWatchBookmarks"),
        initial_events,
        dry_run: dry_run(query)?,
        manager: manager(query.get("fieldManager"), head.user_agent),
        force: query.is_true("force"),
        validation,
        include: match query.get("includeObject") {
            Some("Object") => Include::Object,
            Some("None") => Include::None,
            _ => Include::Metadata,
        },
        grace: query.get("gracePeriodSeconds").and_then(|seconds| seconds.parse().ok()),
    })
}

const MAX_MANAGER: usize = 128;

fn dry_run(query: &Query) -> Result<bool, Status> {
    match query.get("dryRun") {
        None => Ok(false),
        Some("All") => Ok(true),
        Some(other) => Err(Status::bad_request(format!("dryRun: Unsupported value: {other:?}: supported values: \"All\""))),
    }
}

/// The writer: the query's word, or the program's name.
fn manager(given: Option<&str>, user_agent: &str) -> Option<String> {
    let program = || user_agent.split('/').next().filter(|program| !program.is_empty());
    let name: String = given.or_else(program)?.chars().filter(|letter| !letter.is_control()).take(MAX_MANAGER).collect();
    (!name.is_empty()).then_some(name)
}

/// The first form of `Accept` that is known. Everything else gets whole objects.
#[must_use]
pub fn form(accept: &str) -> Form {
    for one in accept.split(',') {
        let (name, parameters) = media_type(one);
        let parameter = |key: &str| parameters.iter().find(|(known, _)| *known == key).map(|(_, value)| *value);
        if !matches!(name, "application/json" | "*/*" | "application/*")
            || parameter("g").is_some_and(|group| group != "meta.k8s.io")
        {
            continue;
        }
        let version = if parameter("v") == Some("v1beta1") { "meta.k8s.io/v1beta1" } else { "meta.k8s.io/v1" };
        match parameter("as") {
            Some("Table") => return Form::Table(version),
            Some("PartialObjectMetadata" | "PartialObjectMetadataList") => return Form::Metadata,
            Some(_) => {}
            None => return Form::Whole,
        }
    }
    Form::Whole
}

/// `application/json;as=Table;v=v1` as its name and parameters.
#[must_use]
pub fn media_type(text: &str) -> (&str, Vec<(&str, &str)>) {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default();
    (name, parts.filter_map(|part| part.split_once('=')).collect())
}

#[cfg(test)]
mod tests;
