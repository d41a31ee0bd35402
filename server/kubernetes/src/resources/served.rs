//! The table of resources.

use model::Kind;

use super::{Column, Family, Plain, Resource};

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
            wide("Boot step", ".status.bootStep"),
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
        group: THIMBLE,
        plural: "dhcpleases",
        singular: "dhcplease",
        kind: "DHCPLease",
        short_names: &["dl"],
        namespaced: false,
        status: false,
        columns: &[
            column("MAC", ".spec.mac"),
            column("State", ".spec.state"),
            wide("Client", ".spec.id"),
            wide("Until", ".spec.until"),
            AGE,
        ],
        fields: &[("spec.mac", ".spec.mac"), ("spec.state", ".spec.state")],
        family: Family::Plain("dhcp/leases/", Plain::DhcpLease),
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
