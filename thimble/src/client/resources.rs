//! The kinds of the API, where it has them, and the words by which commands name them.

use model::ObjectName;
use serde_json::Value;

/// A kind of the API.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    pub api_version: &'static str,
    pub kind: &'static str,
    /// With a suffix where another kind has the plain word.
    pub plural: &'static str,
    pub short: &'static str,
    pub namespaced: bool,
    pub way: Way,
}

/// How an object of the kind is imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// One by one, as it is.
    Plain,
    /// Checked, all or none.
    Checked,
    /// As the intent of its machine.
    Machine,
    /// Not at all: it belongs to its server.
    Stays,
}

pub const TINKERBELL: &str = "tinkerbell.org/v1alpha1";
pub const NEXT: &str = "tinkerbell.org/v1alpha2";
pub const BMC: &str = "bmc.tinkerbell.org/v1alpha1";
pub const THIMBLE: &str = "thimble.dev/v1alpha1";

const fn kind(api_version: &'static str, kind: &'static str, plural: &'static str, short: &'static str, way: Way) -> Kind {
    Kind { api_version, kind, plural, short, namespaced: true, way }
}

/// In the order in which an export writes them: what others need comes first.
pub static KINDS: [Kind; 19] = [
    Kind { namespaced: false, ..kind("v1", "Namespace", "namespaces", "ns", Way::Plain) },
    kind("v1", "ConfigMap", "configmaps", "cm", Way::Plain),
    kind("v1", "Secret", "secrets", "", Way::Plain),
    kind(BMC, "Machine", "machines.bmc", "", Way::Plain),
    kind(BMC, "Job", "jobs.bmc", "", Way::Plain),
    kind(BMC, "Task", "tasks.bmc", "", Way::Plain),
    kind(TINKERBELL, "Hardware", "hardware", "hw", Way::Checked),
    kind(TINKERBELL, "Template", "templates", "tpl", Way::Checked),
    kind(TINKERBELL, "WorkflowRuleSet", "workflowrulesets", "wrs", Way::Checked),
    kind(TINKERBELL, "Workflow", "workflows", "wf", Way::Checked),
    kind(NEXT, "Task", "tasks", "", Way::Checked),
    kind(NEXT, "Policy", "policies", "pol", Way::Checked),
    kind(NEXT, "Workflow", "workflows.v1alpha2", "", Way::Checked),
    kind(THIMBLE, "MachineState", "machinestates", "ms", Way::Machine),
    kind(THIMBLE, "Rollout", "rollouts", "ro", Way::Stays),
    Kind { namespaced: false, ..kind(THIMBLE, "DHCPLease", "dhcpleases", "dl", Way::Stays) },
    kind("v1", "Event", "events", "ev", Way::Stays),
    kind("coordination.k8s.io/v1", "Lease", "leases", "", Way::Stays),
    Kind {
        namespaced: false,
        ..kind("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", "crd", Way::Stays)
    },
];

/// What `thimble get all` shows.
pub const ALL: [&str; 7] = ["hardware", "templates", "workflowrulesets", "workflows", "tasks", "policies", "workflows.v1alpha2"];

impl Kind {
    /// By the word of a command: `hardware`, `hw`, `Hardware`, `workflows.v1alpha2`, `hardware.tinkerbell.org`.
    pub fn named(word: &str) -> Option<&'static Self> {
        let word = word.to_ascii_lowercase();
        let (head, tail) = word.split_once('.').unwrap_or((&word, ""));
        let is = |one: &&Self| {
            let (plural, suffix) = one.plural.split_once('.').unwrap_or((one.plural, ""));
            let by_head = head == plural || head == one.kind.to_ascii_lowercase() || (!head.is_empty() && head == one.short);
            let whole = format!("{}.{}", one.version(), one.group());
            by_head && (tail == suffix || (!tail.is_empty() && (tail == one.group() || tail == one.version() || tail == whole)))
        };
        // A group alone means its first version.
        let by_suffix = |one: &&Self| is(one) && one.plural.split_once('.').map_or("", |(_, suffix)| suffix) == tail;
        KINDS.iter().find(by_suffix).or_else(|| KINDS.iter().find(is))
    }

    /// Of an object.
    pub fn of(object: &Value) -> Option<&'static Self> {
        let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
        KINDS.iter().find(|one| (one.api_version, one.kind) == (text("apiVersion"), text("kind")))
    }

    /// Of a checked kind.
    pub fn checked(kind: model::Kind) -> Option<&'static Self> {
        KINDS.iter().find(|one| one.way == Way::Checked && one.plural == kind.plural())
    }

    /// Empty for the core group.
    pub fn group(&self) -> &'static str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }

    pub fn version(&self) -> &'static str {
        self.api_version.rsplit('/').next().unwrap_or_default()
    }

    /// The kind as messages name it: `Workflow.v1alpha2` for the one whose plain word is another kind's.
    pub fn shown(&self) -> String {
        match self.plural.split_once('.') {
            Some((_, suffix)) => format!("{}.{suffix}", self.kind),
            None => self.kind.to_owned(),
        }
    }

    /// `hardware.tinkerbell.org/NAME`, as `-o name` prints it and `kubectl` takes it.
    pub fn reference(&self, name: &str) -> String {
        let version = if self.api_version == NEXT && self.kind == "Workflow" { "v1alpha2." } else { "" };
        let group = if self.group().is_empty() { String::new() } else { format!(".{version}{}", self.group()) };
        format!("{}{group}/{name}", self.kind.to_ascii_lowercase())
    }

    /// The path of its objects, in one namespace or in all.
    pub fn path(&self, namespace: Option<&str>) -> String {
        let root = if self.api_version == "v1" { "/api/v1".to_owned() } else { format!("/apis/{}", self.api_version) };
        let plural = self.plural.split('.').next().unwrap_or_default();
        match namespace.filter(|_| self.namespaced) {
            Some(namespace) => format!("{root}/namespaces/{}/{plural}", encoded(namespace)),
            None => format!("{root}/{plural}"),
        }
    }

    /// The path of one object.
    pub fn object_path(&self, name: &ObjectName) -> String {
        format!("{}/{}", self.path(Some(&name.namespace)), encoded(&name.name))
    }

    /// The name as messages have it: without a namespace if the kind has none.
    pub fn full_name(&self, name: &ObjectName) -> String {
        if self.namespaced { name.to_string() } else { name.name.clone() }
    }
}

/// Percent-encoding for a part of a path, or a value of a query.
pub fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// The text at a JSON pointer, or nothing.
pub fn text<'o>(object: &'o Value, pointer: &str) -> &'o str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

pub fn name_of(object: &Value) -> ObjectName {
    ObjectName::new(text(object, "/metadata/namespace"), text(object, "/metadata/name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_found_by_the_words_of_kubectl() {
        for (word, expected) in [
            ("hw", Some(("Hardware", TINKERBELL))),
            ("Hardware", Some(("Hardware", TINKERBELL))),
            ("hardware.tinkerbell.org", Some(("Hardware", TINKERBELL))),
            ("workflow", Some(("Workflow", TINKERBELL))),
            ("wf.tinkerbell.org", Some(("Workflow", TINKERBELL))),
            ("workflows.v1alpha1", Some(("Workflow", TINKERBELL))),
            ("workflows.v1alpha2", Some(("Workflow", NEXT))),
            ("workflow.v1alpha2.tinkerbell.org", Some(("Workflow", NEXT))),
            ("task", Some(("Task", NEXT))),
            ("tasks.tinkerbell.org", Some(("Task", NEXT))),
            ("tasks.bmc", Some(("Task", BMC))),
            ("task.bmc.tinkerbell.org", Some(("Task", BMC))),
            ("machines.bmc", Some(("Machine", BMC))),
            ("ms", Some(("MachineState", THIMBLE))),
            ("dhcpleases", Some(("DHCPLease", THIMBLE))),
            ("leases", Some(("Lease", "coordination.k8s.io/v1"))),
            ("ns", Some(("Namespace", "v1"))),
            ("namespace", Some(("Namespace", "v1"))),
            ("machines", None),
            ("hardware.apps", None),
            ("", None),
            (".", None),
            ("pods", None),
        ] {
            assert_eq!(Kind::named(word).map(|one| (one.kind, one.api_version)), expected, "{word}");
        }
    }

    #[test]
    fn what_is_printed_as_a_name_names_the_same_kind_again() {
        for kind in &KINDS {
            let reference = kind.reference("x");
            let (word, name) = reference.split_once('/').unwrap();
            assert_eq!((Kind::named(word), name), (Some(kind), "x"), "{reference}");
            assert_eq!(Kind::named(kind.plural), Some(kind));
            assert_eq!(Kind::named(&kind.shown()), Some(kind));
        }
    }

    #[test]
    fn paths_are_those_of_the_api() {
        let path = |word: &str, namespace| Kind::named(word).unwrap().path(namespace);
        assert_eq!(path("secrets", Some("lab")), "/api/v1/namespaces/lab/secrets");
        assert_eq!(path("namespaces", Some("lab")), "/api/v1/namespaces");
        assert_eq!(path("workflows.v1alpha2", None), "/apis/tinkerbell.org/v1alpha2/workflows");
        let hostile = ObjectName::new("a/b", "c?d#e%");
        let expected = "/apis/tinkerbell.org/v1alpha1/namespaces/a%2Fb/hardware/c%3Fd%23e%25";
        assert_eq!(Kind::named("hw").unwrap().object_path(&hostile), expected);
    }

    #[test]
    fn words_of_a_query_cannot_change_it() {
        assert_eq!(encoded("a&follow=true #ü"), "a%26follow%3Dtrue%20%23%C3%BC");
    }
}
