//! What is served: a table of resources. Discovery, paths, columns and schemas follow from it.

mod served;

use model::Kind;

pub use self::served::{AGE_PATH, BMC, RESOURCES, THIMBLE, TINKERBELL};

/// One resource of one version.
#[derive(Debug)]
pub struct Resource {
    /// Empty for the core group.
    pub group: &'static str,
    pub version: &'static str,
    pub plural: &'static str,
    pub singular: &'static str,
    pub kind: &'static str,
    pub short_names: &'static [&'static str],
    pub categories: &'static [&'static str],
    pub namespaced: bool,
    /// Whether it has the subresource `status`.
    pub status: bool,
    /// Whether it has the subresource `log`: lines of plain text, which are only read.
    pub log: bool,
    /// Its further subresources, with their verbs. They follow conventions of the server's own.
    pub calls: &'static [(&'static str, &'static [&'static str])],
    pub verbs: &'static [&'static str],
    pub columns: &'static [Column],
    /// Field selectors besides `metadata.name` and `metadata.namespace`: the label and where its value is.
    pub fields: &'static [(&'static str, &'static str)],
    pub family: Family,
    /// A kind of Kubernetes itself. Clients send these as protobuf and patch them by strategic merge.
    pub native: bool,
}

/// Where the objects of a resource come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Checked types, written through the server's plan.
    Tinkerbell(Kind),
    /// Kept as they are, below this prefix of the store.
    Plain(&'static str, Plain),
    /// Made from this table.
    Definition,
    /// Answered at once, not stored.
    Review,
    /// There are none: `kubectl cluster-info` asks for them.
    Nothing,
    MachineState,
    Rollout,
}

/// The shapes of the kinds that are kept as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plain {
    Namespace,
    Secret,
    ConfigMap,
    Event,
    NewEvent,
    Lease,
    DhcpLease,
    Machine,
    Job,
    Task,
}

/// A printer column.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    pub name: &'static str,
    /// Where in the object, for example `.status.state`.
    pub path: &'static str,
    /// Shown by `-o wide` only.
    pub wide: bool,
}

impl Resource {
    /// `v1`, `tinkerbell.org/v1alpha1`.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `secrets`, `hardware.tinkerbell.org`.
    #[must_use]
    pub fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }

    #[must_use]
    pub fn has(&self, verb: &str) -> bool {
        self.verbs.contains(&verb)
    }

    /// Whether objects get a generation: those of custom kinds do.
    #[must_use]
    pub const fn counts_generations(&self) -> bool {
        !self.native
    }
}

#[must_use]
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
    RESOURCES.iter().find(|one| (one.group, one.version, one.plural) == (group, version, plural))
}

/// The resource of a checked kind.
#[must_use]
pub fn of_kind(kind: Kind) -> Option<&'static Resource> {
    RESOURCES.iter().find(|one| one.family == Family::Tinkerbell(kind))
}

/// Groups with their versions, in the order of the table. The core group is the empty one.
#[must_use]
pub fn groups() -> Vec<(&'static str, Vec<&'static str>)> {
    let mut found: Vec<(&str, Vec<&str>)> = Vec::new();
    for one in RESOURCES {
        match found.iter_mut().find(|(group, _)| *group == one.group) {
            Some((_, versions)) if !versions.contains(&one.version) => versions.push(one.version),
            Some(_) => {}
            None => found.push((one.group, vec![one.version])),
        }
    }
    found
}

/// The resources of a group and version.
pub fn in_version<'v>(group: &'v str, version: &'v str) -> impl Iterator<Item = &'static Resource> + use<'v> {
    RESOURCES.iter().filter(move |one| (one.group, one.version) == (group, version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tinkerbell_is_the_first_group_and_has_both_versions() {
        assert_eq!(groups()[0], ("tinkerbell.org", vec!["v1alpha1", "v1alpha2"]));
    }

    #[test]
    fn every_checked_kind_is_served() {
        for kind in Kind::ALL {
            let resource = of_kind(kind).unwrap();
            assert_eq!((resource.kind, resource.api_version().as_str()), (kind.word(), kind.api_version()));
        }
    }
}
