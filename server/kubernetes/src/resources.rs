//! What is served: a table of resources. Discovery, paths, columns and schemas follow from it.

use model::Kind;

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

const fn column(name: &'static str, path: &'static str) -> Column {
    Column { name, path, wide: false }
}

const fn wide(name: &'static str, path: &'static str) -> Column {
    Column { name, path, wide: true }
}

/// The path of the column that shows the time since the creation.
pub const AGE_PATH: &str = ".metadata.creationTimestamp";
const AGE: Column = column("Age", AGE_PATH);

const ALL: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const READ: &[&str] = &["get", "list", "watch"];
const CREATE: &[&str] = &["create"];
const GET: &[&str] = &["get"];
const ORDER: &[&str] = &["get", "list", "patch", "update", "watch"];

const OF_WORKFLOWS: &[(&str, &[&str])] = &[("cancel", CREATE), ("change", CREATE), ("history", GET), ("waiting", GET)];
const OF_ROLLOUTS: &[(&str, &[&str])] = &[("change", CREATE), ("progress", GET), ("start", CREATE)];

pub const TINKERBELL: &str = "tinkerbell.org";
pub const BMC: &str = "bmc.tinkerbell.org";
pub const THIMBLE: &str = "thimble.dev";

const BASE: Resource = Resource {
    group: TINKERBELL,
    version: "v1alpha1",
    plural: "",
    singular: "",
    kind: "",
    short_names: &[],
    categories: &["tinkerbell"],
    namespaced: true,
    status: true,
    log: false,
    calls: &[],
    verbs: ALL,
    columns: &[AGE],
    fields: &[],
    family: Family::Review,
    native: false,
};

const CORE: Resource = Resource { group: "", version: "v1", categories: &[], status: false, native: true, ..BASE };

const REVIEW: Resource = Resource { namespaced: false, verbs: CREATE, columns: &[], ..CORE };

const EVENT_COLUMNS: &[Column] = &[
    column("Last Seen", ".lastTimestamp"),
    column("Type", ".type"),
    column("Reason", ".reason"),
    column("Object", ".involvedObject.name"),
    column("Message", ".message"),
];

/// Groups in the order in which they are listed: clients take the first one that has a name.
pub static RESOURCES: &[Resource] = &[
    Resource {
        plural: "hardware",
        singular: "hardware",
        kind: "Hardware",
        short_names: &["hw"],
        columns: &[
            column("State", ".status.state"),
            wide("MAC", ".spec.interfaces[0].dhcp.mac"),
            wide("Address", ".spec.interfaces[0].dhcp.ip.address"),
            wide("Hostname", ".spec.interfaces[0].dhcp.hostname"),
            AGE,
        ],
        family: Family::Tinkerbell(Kind::Hardware),
        ..BASE
    },
    Resource {
        plural: "templates",
        singular: "template",
        kind: "Template",
        short_names: &["tpl"],
        columns: &[column("State", ".status.state"), AGE],
        family: Family::Tinkerbell(Kind::Template),
        ..BASE
    },
    Resource {
        plural: "workflows",
        singular: "workflow",
        kind: "Workflow",
        log: true,
        calls: OF_WORKFLOWS,
        short_names: &["wf"],
        columns: &[
            column("Template", ".spec.templateRef"),
            column("State", ".status.state"),
            wide("Task", ".status.currentState.taskName"),
            column("Action", ".status.currentState.actionName"),
            column("Agent", ".status.agentID"),
            column("Hardware", ".spec.hardwareRef"),
            wide("Template-Rendering", ".status.templateRendering"),
            wide("Message", ".status.message"),
            AGE,
        ],
        fields: &[
            ("spec.hardwareRef", ".spec.hardwareRef"),
            ("spec.templateRef", ".spec.templateRef"),
            ("status.agentID", ".status.agentID"),
            ("status.state", ".status.state"),
        ],
        family: Family::Tinkerbell(Kind::Workflow),
        ..BASE
    },
    Resource {
        plural: "workflowrulesets",
        singular: "workflowruleset",
        kind: "WorkflowRuleSet",
        short_names: &["wrs"],
        status: false,
        family: Family::Tinkerbell(Kind::WorkflowRuleSet),
        ..BASE
    },
    Resource {
        version: "v1alpha2",
        plural: "tasks",
        singular: "task",
        kind: "Task",
        status: false,
        family: Family::Tinkerbell(Kind::Task),
        ..BASE
    },
    Resource {
        version: "v1alpha2",
        plural: "workflows",
        singular: "workflow",
        kind: "Workflow",
        log: true,
        calls: OF_WORKFLOWS,
        short_names: &["wf"],
        columns: &[
            column("State", ".status.state"),
            wide("Task", ".status.currentState.taskName"),
            column("Action", ".status.currentState.actionName"),
            column("Agent", ".status.agentID"),
            wide("Message", ".status.message"),
            AGE,
        ],
        fields: &[("status.agentID", ".status.agentID"), ("status.state", ".status.state")],
        family: Family::Tinkerbell(Kind::WorkflowV1alpha2),
        ..BASE
    },
    Resource {
        version: "v1alpha2",
        plural: "policies",
        singular: "policy",
        kind: "Policy",
        status: false,
        family: Family::Tinkerbell(Kind::Policy),
        ..BASE
    },
    Resource {
        group: BMC,
        plural: "machines",
        singular: "machine",
        kind: "Machine",
        columns: &[column("Host", ".spec.connection.host"), column("Power", ".status.powerState"), AGE],
        family: Family::Plain("bmc/machines/", Plain::Machine),
        ..BASE
    },
    Resource {
        group: BMC,
        plural: "jobs",
        singular: "job",
        kind: "Job",
        short_names: &["j"],
        columns: &[column("Machine", ".spec.machineRef.name"), AGE],
        family: Family::Plain("bmc/jobs/", Plain::Job),
        ..BASE
    },
    Resource {
        group: BMC,
        plural: "tasks",
        singular: "task",
        kind: "Task",
        short_names: &["t"],
        columns: &[column("Host", ".spec.connection.host"), AGE],
        family: Family::Plain("bmc/tasks/", Plain::Task),
        ..BASE
    },
    Resource {
        group: THIMBLE,
        plural: "machinestates",
        singular: "machinestate",
        kind: "MachineState",
        log: true,
        short_names: &["ms"],
        status: false,
        verbs: ORDER,
        columns: &[
            column("Intent", ".spec.intent"),
            column("Boot", ".status.boot"),
            column("By", ".status.by"),
            column("Workflow", ".status.workflow"),
            column("Last", ".status.lastStep"),
            wide("Reason", ".status.reason"),
            column("Since", ".status.at"),
        ],
        fields: &[("spec.intent", ".spec.intent"), ("status.boot", ".status.boot"), ("status.workflow", ".status.workflow")],
        family: Family::MachineState,
        ..BASE
    },
    Resource {
        group: THIMBLE,
        plural: "rollouts",
        singular: "rollout",
        kind: "Rollout",
        calls: OF_ROLLOUTS,
        short_names: &["ro"],
        status: false,
        verbs: &["create", "delete", "get", "list", "patch", "update", "watch"],
        columns: &[
            column("Template", ".spec.templateRef"),
            column("State", ".status.state"),
            column("Machines", ".status.machines"),
            wide("Reason", ".status.reason"),
            column("Age", AGE_PATH),
        ],
        fields: &[("status.state", ".status.state")],
        family: Family::Rollout,
        ..BASE
    },
    Resource {
        plural: "namespaces",
        singular: "namespace",
        kind: "Namespace",
        short_names: &["ns"],
        namespaced: false,
        columns: &[column("Status", ".status.phase"), AGE],
        family: Family::Plain("core/namespaces/", Plain::Namespace),
        ..CORE
    },
    Resource {
        plural: "services",
        singular: "service",
        kind: "Service",
        short_names: &["svc"],
        verbs: &["get", "list"],
        family: Family::Nothing,
        ..CORE
    },
    Resource {
        plural: "secrets",
        singular: "secret",
        kind: "Secret",
        columns: &[column("Type", ".type"), column("Data", ".data#"), AGE],
        fields: &[("type", ".type")],
        family: Family::Plain("core/secrets/", Plain::Secret),
        ..CORE
    },
    Resource {
        plural: "configmaps",
        singular: "configmap",
        kind: "ConfigMap",
        short_names: &["cm"],
        columns: &[column("Data", ".data#"), AGE],
        family: Family::Plain("core/configmaps/", Plain::ConfigMap),
        ..CORE
    },
    Resource {
        plural: "events",
        singular: "event",
        kind: "Event",
        short_names: &["ev"],
        columns: EVENT_COLUMNS,
        fields: &[
            ("involvedObject.kind", ".involvedObject.kind"),
            ("involvedObject.namespace", ".involvedObject.namespace"),
            ("involvedObject.name", ".involvedObject.name"),
            ("involvedObject.uid", ".involvedObject.uid"),
            ("involvedObject.apiVersion", ".involvedObject.apiVersion"),
            ("involvedObject.resourceVersion", ".involvedObject.resourceVersion"),
            ("involvedObject.fieldPath", ".involvedObject.fieldPath"),
            ("reason", ".reason"),
            ("reportingComponent", ".reportingComponent"),
            ("source", ".source.component"),
            ("type", ".type"),
        ],
        family: Family::Plain("core/events/", Plain::Event),
        ..CORE
    },
    Resource {
        group: "events.k8s.io",
        plural: "events",
        singular: "event",
        kind: "Event",
        short_names: &["ev"],
        columns: &[
            column("Last Seen", ".deprecatedLastTimestamp"),
            column("Type", ".type"),
            column("Reason", ".reason"),
            column("Object", ".regarding.name"),
            column("Message", ".note"),
        ],
        fields: &[
            ("regarding.kind", ".regarding.kind"),
            ("regarding.namespace", ".regarding.namespace"),
            ("regarding.name", ".regarding.name"),
            ("regarding.uid", ".regarding.uid"),
            ("reason", ".reason"),
            ("reportingController", ".reportingController"),
            ("type", ".type"),
        ],
        family: Family::Plain("core/events/", Plain::NewEvent),
        ..CORE
    },
    Resource {
        group: "coordination.k8s.io",
        plural: "leases",
        singular: "lease",
        kind: "Lease",
        columns: &[column("Holder", ".spec.holderIdentity"), AGE],
        family: Family::Plain("core/leases/", Plain::Lease),
        ..CORE
    },
    Resource {
        group: "apiextensions.k8s.io",
        plural: "customresourcedefinitions",
        singular: "customresourcedefinition",
        kind: "CustomResourceDefinition",
        short_names: &["crd", "crds"],
        namespaced: false,
        verbs: READ,
        columns: &[column("Created At", AGE_PATH)],
        family: Family::Definition,
        ..CORE
    },
    Resource {
        group: "authorization.k8s.io",
        plural: "selfsubjectaccessreviews",
        singular: "selfsubjectaccessreview",
        kind: "SelfSubjectAccessReview",
        ..REVIEW
    },
    Resource {
        group: "authorization.k8s.io",
        plural: "selfsubjectrulesreviews",
        singular: "selfsubjectrulesreview",
        kind: "SelfSubjectRulesReview",
        ..REVIEW
    },
    Resource {
        group: "authentication.k8s.io",
        plural: "selfsubjectreviews",
        singular: "selfsubjectreview",
        kind: "SelfSubjectReview",
        ..REVIEW
    },
];

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
