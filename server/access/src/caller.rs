//! The caller of a request: one type for people, programs and machines, however they prove who they are.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// In the groups of every caller that has proved who it is, as in Kubernetes.
pub const AUTHENTICATED: &str = "system:authenticated";
pub const ANONYMOUS: &str = "system:anonymous";
const UNAUTHENTICATED: &str = "system:unauthenticated";
/// Groups that carry a role: `thimble:viewer`, or `thimble:viewer:NAMESPACE`.
const PREFIX: &str = "thimble:";

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything.
    Admin,
    /// Objects of its namespaces.
    Operator,
    /// Reads objects of its namespaces, without secrets.
    Viewer,
    /// A second host with `thimble boots`.
    Boots,
    /// A second host with `thimble server`.
    Server,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a role; there are admin, operator, viewer, boots and server")]
pub struct NotARole(String);

impl Role {
    pub const ALL: [Self; 5] = [Self::Admin, Self::Operator, Self::Viewer, Self::Boots, Self::Server];

    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::Viewer => "viewer",
            Self::Boots => "boots",
            Self::Server => "server",
        }
    }

    /// Admins and other hosts are for the whole server.
    #[must_use]
    pub const fn is_by_namespace(self) -> bool {
        matches!(self, Self::Operator | Self::Viewer)
    }
}

impl FromStr for Role {
    type Err = NotARole;

    fn from_str(text: &str) -> Result<Self, NotARole> {
        Self::ALL.into_iter().find(|role| role.word() == text).ok_or_else(|| NotARole(text.chars().take(64).collect()))
    }
}

impl fmt::Display for Role {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.word())
    }
}

/// A role, for all namespaces or for some.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Grant {
    pub role: Role,
    /// `None` means all namespaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<BTreeSet<String>>,
}

impl Grant {
    #[must_use]
    pub const fn everywhere(role: Role) -> Self {
        Self { role, namespaces: None }
    }

    /// Whether it covers the namespace. `None` means all of them, or what belongs to none.
    #[must_use]
    pub fn covers(&self, namespace: Option<&str>) -> bool {
        match (&self.namespaces, namespace) {
            (None, _) => true,
            (Some(own), Some(namespace)) => own.contains(namespace),
            (Some(_), None) => false,
        }
    }

    /// One group for each namespace.
    #[must_use]
    pub fn groups(&self) -> Vec<String> {
        match &self.namespaces {
            None => vec![format!("{PREFIX}{}", self.role)],
            Some(namespaces) => namespaces.iter().map(|namespace| format!("{PREFIX}{}:{namespace}", self.role)).collect(),
        }
    }

    fn of_group(group: &str) -> Option<Self> {
        let text = group.strip_prefix(PREFIX)?;
        match text.split_once(':') {
            None => Some(Self::everywhere(text.parse().ok()?)),
            Some((role, namespace)) => {
                let role: Role = role.parse().ok().filter(|role: &Role| role.is_by_namespace())?;
                (!namespace.is_empty()).then(|| Self { role, namespaces: Some(BTreeSet::from([namespace.to_owned()])) })
            }
        }
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespaces {
            None => write!(out, "{}", self.role),
            Some(namespaces) => {
                let namespaces: Vec<&str> = namespaces.iter().map(String::as_str).collect();
                write!(out, "{} in {}", self.role, namespaces.join(", "))
            }
        }
    }
}

/// How the call came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The Unix socket; the kernel names the user.
    Socket { uid: u32 },
    Network {
        address: SocketAddr,
        /// By TLS.
        encrypted: bool,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket { uid } => write!(out, "the socket, uid {uid}"),
            Self::Network { address, encrypted: true } => write!(out, "{address}"),
            Self::Network { address, encrypted: false } => write!(out, "{address}, without TLS"),
        }
    }
}

/// What shows who the caller is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// Nothing does.
    None,
    /// The user of a local process.
    LocalUser,
    /// The public part of its token.
    Token(String),
    Certificate,
}

/// A caller, in the extensions of each request that is let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub name: String,
    pub groups: Vec<String>,
    pub grants: Vec<Grant>,
    pub origin: Origin,
    pub proof: Proof,
}

impl Caller {
    #[must_use]
    pub fn new(name: impl Into<String>, grants: Vec<Grant>, origin: Origin, proof: Proof) -> Self {
        let groups = grants.iter().flat_map(Grant::groups).chain([AUTHENTICATED.to_owned()]).collect();
        Self { name: name.into(), groups, grants, origin, proof }
    }

    /// A caller that has shown nothing. It has no role.
    #[must_use]
    pub fn anonymous(origin: Origin) -> Self {
        let groups = vec![UNAUTHENTICATED.to_owned()];
        Self { name: ANONYMOUS.to_owned(), groups, grants: Vec::new(), origin, proof: Proof::None }
    }

    /// The owner of this host, by the socket.
    #[must_use]
    pub fn root(uid: u32) -> Self {
        Self::new("root", vec![Grant::everywhere(Role::Admin)], Origin::Socket { uid }, Proof::LocalUser)
    }

    /// The subject of a client certificate of the server's CA: its common name, and its organizations as groups.
    #[must_use]
    pub fn of_certificate(name: &str, organizations: &[String], origin: Origin) -> Self {
        let grants = organizations.iter().filter_map(|group| Grant::of_group(group)).collect();
        Self::new(name, grants, origin, Proof::Certificate)
    }

    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.proof == Proof::None
    }

    /// Whether one of its roles may see secrets of the namespace. What a viewer gets goes through `mask` first. boots hands
    /// user data to machines, so it sees them.
    #[must_use]
    pub fn sees_secrets(&self, namespace: Option<&str>) -> bool {
        self.grants.iter().any(|grant| grant.role != Role::Viewer && grant.covers(namespace))
    }

    /// Its roles for a message.
    #[must_use]
    pub fn roles(&self) -> String {
        let roles: Vec<String> = self.grants.iter().map(ToString::to_string).collect();
        if roles.is_empty() { "without a role".to_owned() } else { roles.join("; ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: Origin = Origin::Socket { uid: 1000 };

    #[test]
    fn the_groups_of_a_certificate_are_its_roles() {
        for (groups, roles) in [
            (&["thimble:admin"][..], "admin"),
            (&["thimble:viewer:lab", "thimble:operator:rack-7"], "viewer in lab; operator in rack-7"),
            (&["thimble:viewer"], "viewer"),
            // An admin of one namespace is not a role. It must not become an admin.
            (&["thimble:admin:lab"], "without a role"),
            (&["thimble:viewer:"], "without a role"),
            (&["system:masters", "admin", "thimble:root", "thimble:"], "without a role"),
            (&[], "without a role"),
        ] {
            let groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
            assert_eq!(Caller::of_certificate("alice", &groups, LOCAL).roles(), roles, "{groups:?}");
        }
    }

    #[test]
    fn a_grant_survives_as_groups() {
        let namespaces = Some(BTreeSet::from(["a".to_owned(), "b".to_owned()]));
        let grant = Grant { role: Role::Viewer, namespaces };
        assert_eq!(grant.groups(), ["thimble:viewer:a", "thimble:viewer:b"]);
        assert!(grant.covers(Some("a")) && !grant.covers(Some("c")) && !grant.covers(None));
        assert!(Grant::everywhere(Role::Viewer).covers(None));
        assert_eq!(Grant::of_group("thimble:viewer:a").unwrap().to_string(), "viewer in a");
    }

    #[test]
    fn secrets_are_not_for_viewers() {
        let lab = |role| Grant { role, namespaces: Some(BTreeSet::from(["lab".to_owned()])) };
        for (grant, namespace, sees) in [
            (Grant::everywhere(Role::Admin), None, true),
            (lab(Role::Operator), Some("lab"), true),
            (lab(Role::Operator), Some("other"), false),
            (lab(Role::Operator), None, false),
            (Grant::everywhere(Role::Viewer), Some("lab"), false),
            (Grant::everywhere(Role::Boots), Some("lab"), true),
        ] {
            let caller = Caller::new("x", vec![grant.clone()], LOCAL, Proof::LocalUser);
            assert_eq!(caller.sees_secrets(namespace), sees, "{grant} {namespace:?}");
        }
        assert!(!Caller::anonymous(LOCAL).sees_secrets(None));
    }
}
