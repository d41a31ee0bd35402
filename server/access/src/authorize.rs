//! What each role may do. Pure.

use serde_json::{Value, json};

use crate::caller::{Caller, Grant, Role};
use crate::status;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
}

impl Verb {
    pub const ALL: [Self; 8] =
        [Self::Get, Self::List, Self::Watch, Self::Create, Self::Update, Self::Patch, Self::Delete, Self::DeleteCollection];

    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }

    #[must_use]
    pub const fn is_reading(self) -> bool {
        matches!(self, Self::Get | Self::List | Self::Watch)
    }
}

/// What a request is about, in the words of a `SelfSubjectAccessReview`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResourceAttributes<'a> {
    pub verb: Verb,
    /// Empty for the core group.
    pub group: &'a str,
    /// The plural, such as `workflows`.
    pub resource: &'a str,
    /// `status` or `log`; empty without one.
    pub subresource: &'a str,
    /// `None` for all namespaces, and for what has none.
    pub namespace: Option<&'a str>,
    pub name: Option<&'a str>,
}

/// Resources that the roles treat alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Hardware, Workflows and what belongs to them.
    Object,
    Secret,
    /// ConfigMaps, Events, Leases.
    Core,
    Namespace,
    /// The same for everyone, and never changed: definitions, and the services that are always empty.
    Fixed,
    /// What a caller asks about itself.
    Review,
    Unknown,
}

fn class(group: &str, resource: &str) -> Class {
    match (group, resource) {
        ("tinkerbell.org" | "bmc.tinkerbell.org" | "thimble.dev", _) => Class::Object,
        ("", "secrets") => Class::Secret,
        ("", "configmaps" | "events") | ("events.k8s.io", "events") | ("coordination.k8s.io", "leases") => Class::Core,
        ("", "namespaces") => Class::Namespace,
        ("", "services") | ("apiextensions.k8s.io", "customresourcedefinitions") => Class::Fixed,
        ("authorization.k8s.io", "selfsubjectaccessreviews" | "selfsubjectrulesreviews")
        | ("authentication.k8s.io", "selfsubjectreviews") => Class::Review,
        _ => Class::Unknown,
    }
}

/// Whether the role may do this somewhere.
fn permits(role: Role, class: Class, asked: &ResourceAttributes<'_>) -> bool {
    let reads = asked.verb.is_reading();
    match (role, class) {
        (Role::Admin, _) => true,
        (_, Class::Review) => asked.verb == Verb::Create,
        (_, Class::Fixed) => reads,
        (Role::Operator | Role::Server, Class::Object | Class::Core) | (Role::Operator, Class::Secret | Class::Namespace) => true,
        (Role::Viewer, Class::Object | Class::Core | Class::Secret | Class::Namespace) => reads,
        (Role::Server, Class::Secret | Class::Namespace) | (Role::Boots, Class::Namespace) => reads,
        (Role::Boots, Class::Object) => match (asked.group, asked.resource, asked.subresource) {
            // What machines say reaches the server through it. It does not read it.
            ("thimble.dev", "machinestates", "log" | "booted") => asked.verb == Verb::Create,
            (_, _, "log") => false,
            ("tinkerbell.org", "hardware" | "workflows", _) => reads,
            // Which step of a boot a machine has reached.
            // All boots of a site share the leases of their pools.
            ("thimble.dev", "dhcpleases", _) => reads || matches!(asked.verb, Verb::Create | Verb::Update),
            ("thimble.dev", "machinestates", part) => reads || (part == "status" && asked.verb == Verb::Patch),
            _ => false,
        },
        (Role::Boots, Class::Core) => asked.resource == "events" && matches!(asked.verb, Verb::Create | Verb::Patch),
        (Role::Boots, Class::Secret) | (_, Class::Unknown) => false,
    }
}

/// Whether the grant covers the place of what is asked for.
fn covers(grant: &Grant, class: Class, asked: &ResourceAttributes<'_>) -> bool {
    match class {
        Class::Fixed | Class::Review => true,
        // One's own Namespace can be read. To make or delete one is for those who have them all.
        Class::Namespace => grant.covers(asked.name.filter(|_| asked.verb == Verb::Get)),
        _ => grant.covers(asked.namespace),
    }
}

/// # Errors
/// If no role of the caller permits it.
pub fn authorize(caller: &Caller, asked: &ResourceAttributes<'_>) -> Result<(), Denied> {
    let class = class(asked.group, asked.resource);
    let allowed = |grant: &Grant| permits(grant.role, class, asked) && covers(grant, class, asked);
    if caller.grants.iter().any(allowed) { Ok(()) } else { Err(Denied::of(caller, asked)) }
}

/// A refusal, in Kubernetes' words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Denied {
    pub message: String,
    group: String,
    resource: String,
    name: Option<String>,
}

impl Denied {
    fn of(caller: &Caller, asked: &ResourceAttributes<'_>) -> Self {
        let ResourceAttributes { verb, group, resource, subresource, namespace, name } = *asked;
        let qualified = if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") };
        let named = name.map_or_else(String::new, |name| format!(" {name:?}"));
        let part = if subresource.is_empty() { String::new() } else { format!("/{subresource}") };
        let place = namespace.map_or_else(|| "at the cluster scope".to_owned(), |name| format!("in the namespace {name:?}"));
        let (user, verb) = (&caller.name, verb.word());
        let message = format!(
            "{qualified}{named} is forbidden: User {user:?} cannot {verb} resource \"{resource}{part}\" in API group {group:?} \
             {place}: it is {}",
            caller.roles()
        );
        Self { message, group: group.to_owned(), resource: resource.to_owned(), name: name.map(str::to_owned) }
    }

    /// The body of the answer, whose code is 403.
    #[must_use]
    pub fn status(&self) -> Value {
        let mut details = json!({"group": self.group, "kind": self.resource});
        if let (Some(name), Some(map)) = (&self.name, details.as_object_mut()) {
            map.insert("name".to_owned(), name.clone().into());
        }
        status::body(403, &self.message, details)
    }
}

#[cfg(test)]
mod tests;
