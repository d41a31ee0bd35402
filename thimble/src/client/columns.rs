//! What a table shows of the objects of each kind.

use std::cmp::Ordering;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use self::Cell::{At, Count, Of, Since};
use super::resources::{BMC, Kind, NEXT, text};
use super::table::{age, natural};

pub struct Column {
    pub heading: &'static str,
    /// Shown by `-o wide` only.
    pub is_wide: bool,
    cell: Cell,
}

enum Cell {
    /// The value at a JSON pointer.
    At(&'static str),
    /// The time since the one at a JSON pointer.
    Since(&'static str),
    /// How many fields or items there are.
    Count(&'static str),
    Of(fn(&Value) -> String),
}

const fn column(heading: &'static str, cell: Cell) -> Column {
    Column { heading, is_wide: false, cell }
}

const fn wide(heading: &'static str, cell: Cell) -> Column {
    Column { heading, is_wide: true, cell }
}

const NAME: Column = column("NAME", At("/metadata/name"));
const AGE: Column = column("AGE", Since("/metadata/creationTimestamp"));

static HARDWARE: [Column; 9] = [
    NAME,
    column("MAC", Of(|one| of_interfaces(one, "/dhcp/mac"))),
    column("ADDRESS", Of(|one| of_interfaces(one, "/dhcp/ip/address"))),
    column("PXE", Of(netboots)),
    column("DISKS", Of(|one| list(items(one, "/spec/disks").filter_map(|disk| disk.pointer("/device")?.as_str())))),
    AGE,
    wide("HOSTNAME", Of(|one| of_interfaces(one, "/dhcp/hostname"))),
    wide("ARCH", Of(|one| of_interfaces(one, "/dhcp/arch"))),
    wide("STATE", At("/status/state")),
];
static TEMPLATES: [Column; 4] = [
    NAME,
    column("LINES", Of(|one| text(one, "/spec/data").lines().count().to_string())),
    AGE,
    wide("STATE", At("/status/state")),
];
static WORKFLOWS: [Column; 9] = [
    NAME,
    column("STATE", At("/status/state")),
    column("DONE", Of(done)),
    column("ACTION", Of(current_action)),
    column("AGENT", At("/status/agentID")),
    wide("TEMPLATE", At("/spec/templateRef")),
    wide("HARDWARE", At("/spec/hardwareRef")),
    AGE,
    column("MESSAGE", Of(|one| text(one, "/status/message").to_owned())),
];
static RULE_SETS: [Column; 6] = [
    NAME,
    column("RULES", Count("/spec/rules")),
    column("TEMPLATE", At("/spec/workflow/template/name")),
    column("TO", At("/spec/workflow/namespace")),
    column("DISABLED", Of(|one| yes(one.pointer("/spec/workflow/disabled") == Some(&Value::Bool(true))))),
    AGE,
];
static TASKS: [Column; 3] = [
    NAME,
    column("ACTIONS", Of(|one| list(items(one, "/spec/actions").filter_map(|action| action.pointer("/name")?.as_str())))),
    AGE,
];
static POLICIES: [Column; 4] =
    [NAME, column("ALLOW", Of(|one| rules(one, "allow"))), column("DENY", Of(|one| rules(one, "deny"))), AGE];
static MACHINE_STATES: [Column; 8] = [
    NAME,
    column("INTENT", At("/spec/intent")),
    column("BOOT", At("/status/boot")),
    column("SINCE", Since("/status/at")),
    column("BY", At("/status/by")),
    column("WORKFLOW", At("/status/workflow")),
    column("LAST", At("/status/lastStep")),
    wide("REASON", Of(|one| text(one, "/status/reason").to_owned())),
];
static ROLLOUTS: [Column; 7] = [
    NAME,
    column("TEMPLATE", At("/spec/templateRef")),
    column("STATE", At("/status/state")),
    column("MACHINES", At("/status/machines")),
    column("AGE", Since("/metadata/creationTimestamp")),
    wide("SELECTOR", At("/spec/selector")),
    wide("REASON", Of(|one| text(one, "/status/reason").to_owned())),
];
static DHCP_LEASES: [Column; 6] = [
    NAME,
    column("MAC", At("/spec/mac")),
    column("STATE", At("/spec/state")),
    wide("CLIENT", At("/spec/id")),
    wide("UNTIL", At("/spec/until")),
    AGE,
];
static EVENTS: [Column; 6] = [
    column("LAST SEEN", Since("/lastTimestamp")),
    column("TYPE", At("/type")),
    column("REASON", At("/reason")),
    column("OBJECT", Of(|one| format!("{}/{}", text(one, "/involvedObject/kind"), text(one, "/involvedObject/name")))),
    column("MESSAGE", Of(|one| text(one, "/message").to_owned())),
    wide("NAME", At("/metadata/name")),
];
static NAMESPACES: [Column; 3] = [NAME, column("STATUS", At("/status/phase")), AGE];
static SECRETS: [Column; 4] = [NAME, column("TYPE", At("/type")), column("DATA", Count("/data")), AGE];
static CONFIG_MAPS: [Column; 3] = [NAME, column("DATA", Count("/data")), AGE];
static LEASES: [Column; 3] = [NAME, column("HOLDER", At("/spec/holderIdentity")), AGE];
static BMC_MACHINES: [Column; 4] =
    [NAME, column("HOST", At("/spec/connection/host")), column("POWER", At("/status/powerState")), AGE];
static JOBS: [Column; 3] = [NAME, column("MACHINE", At("/spec/machineRef/name")), AGE];
static BMC_TASKS: [Column; 3] = [NAME, column("HOST", At("/spec/connection/host")), AGE];
static OTHERS: [Column; 2] = [NAME, AGE];

/// The columns of a kind.
pub fn of(kind: &Kind) -> &'static [Column] {
    match (kind.kind, kind.api_version) {
        ("Hardware", _) => &HARDWARE,
        ("Template", _) => &TEMPLATES,
        ("Workflow", _) => &WORKFLOWS,
        ("WorkflowRuleSet", _) => &RULE_SETS,
        ("Task", NEXT) => &TASKS,
        ("Policy", _) => &POLICIES,
        ("MachineState", _) => &MACHINE_STATES,
        ("Rollout", _) => &ROLLOUTS,
        ("DHCPLease", _) => &DHCP_LEASES,
        ("Event", _) => &EVENTS,
        ("Namespace", _) => &NAMESPACES,
        ("Secret", _) => &SECRETS,
        ("ConfigMap", _) => &CONFIG_MAPS,
        ("Lease", _) => &LEASES,
        ("Machine", BMC) => &BMC_MACHINES,
        ("Job", BMC) => &JOBS,
        ("Task", BMC) => &BMC_TASKS,
        _ => &OTHERS,
    }
}

impl Column {
    pub fn cell(&self, object: &Value, now: Timestamp) -> String {
        match self.cell {
            At(pointer) => match object.pointer(pointer) {
                None | Some(Value::Null) => "-".to_owned(),
                Some(Value::String(text)) if text.is_empty() => "-".to_owned(),
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
            },
            Since(pointer) => age(text(object, pointer).parse().ok(), now),
            Count(pointer) => match object.pointer(pointer) {
                Some(Value::Object(fields)) => fields.len().to_string(),
                Some(Value::Array(items)) => items.len().to_string(),
                _ => "0".to_owned(),
            },
            Of(cell) => cell(object),
        }
    }
}

/// Sorts by namespace and name, or by a column, or by a path such as `.spec.templateRef`.
///
/// # Errors
/// With the columns, if this kind has no such column.
pub fn sort(kind: &Kind, objects: &mut [Value], by: Option<&str>) -> Result<(), String> {
    let place = |one: &Value, other: &Value| {
        let field = |pointer| natural(text(one, pointer), text(other, pointer));
        field("/metadata/namespace").then_with(|| field("/metadata/name"))
    };
    let Some(by) = by else {
        objects.sort_by(place);
        return Ok(());
    };
    if by.contains('.') {
        let path = by.trim_start_matches(['{', '.']).trim_end_matches('}').replace('.', "/");
        let pointer = format!("/{path}");
        objects.sort_by(|one, other| values(one.pointer(&pointer), other.pointer(&pointer)).then_with(|| place(one, other)));
        return Ok(());
    }
    let Some(column) = of(kind).iter().find(|column| column.heading.eq_ignore_ascii_case(by)) else {
        let known: Vec<String> = of(kind).iter().map(|column| column.heading.to_ascii_lowercase()).collect();
        return Err(format!("{} has no column {by:?}; it has {}", kind.shown(), known.join(", ")));
    };
    objects.sort_by(|one, other| {
        let order = match column.cell {
            // The youngest has the least age.
            Since(pointer) => seconds(other, pointer).cmp(&seconds(one, pointer)),
            _ => natural(&column.cell(one, Timestamp::UNIX_EPOCH), &column.cell(other, Timestamp::UNIX_EPOCH)),
        };
        order.then_with(|| place(one, other))
    });
    Ok(())
}

fn seconds(object: &Value, pointer: &str) -> Option<SignedDuration> {
    let time: Timestamp = text(object, pointer).parse().ok()?;
    Some(time.as_duration())
}

/// What is missing comes first.
fn values(one: Option<&Value>, other: Option<&Value>) -> Ordering {
    let shown = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match (one, other) {
        (Some(one), Some(other)) => natural(&shown(one), &shown(other)),
        (one, other) => one.is_some().cmp(&other.is_some()),
    }
}

fn items<'o>(object: &'o Value, pointer: &str) -> impl Iterator<Item = &'o Value> + use<'o> {
    object.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

fn list<'o>(items: impl Iterator<Item = &'o str>) -> String {
    let text = items.collect::<Vec<_>>().join(",");
    if text.is_empty() { "-".to_owned() } else { text }
}

fn yes(is: bool) -> String {
    if is { "yes" } else { "no" }.to_owned()
}

fn of_interfaces(object: &Value, pointer: &str) -> String {
    list(items(object, "/spec/interfaces").filter_map(|interface| interface.pointer(pointer)?.as_str()))
}

fn netboots(object: &Value) -> String {
    yes(items(object, "/spec/interfaces").any(|interface| interface.pointer("/netboot/allowPXE") == Some(&Value::Bool(true))))
}

fn actions(object: &Value) -> impl Iterator<Item = &Value> {
    items(object, "/status/tasks").flat_map(|task| items(task, "/actions"))
}

fn is_done(action: &&Value) -> bool {
    text(action, "/state") == "SUCCESS"
}

fn done(object: &Value) -> String {
    format!("{}/{}", actions(object).filter(is_done).count(), actions(object).count())
}

fn current_action(object: &Value) -> String {
    actions(object).find(|action| !is_done(action)).map_or("-", |action| text(action, "/name")).to_owned()
}

fn rules(object: &Value, word: &str) -> String {
    let lists = ["hardware", "task", "workflow"].map(|kind| format!("/spec/rules/referenceAccess/{kind}/{word}"));
    lists.iter().map(|pointer| items(object, pointer).count()).sum::<usize>().to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::resources::KINDS;
    use super::*;

    fn row(kind: &str, object: &Value) -> Vec<String> {
        let now = "2026-01-02T03:05:05Z".parse().unwrap();
        of(Kind::named(kind).unwrap()).iter().map(|column| column.cell(object, now)).collect()
    }

    #[test]
    fn a_row_shows_what_an_operator_looks_for() {
        let created = "2026-01-02T03:04:05Z";
        let hardware = json!({
            "metadata": {"name": "n", "creationTimestamp": created},
            "spec": {
                "disks": [{"device": "/dev/vda"}, {}],
                "interfaces": [
                    {"dhcp": {"mac": "02:00:00:00:00:01", "ip": {"address": "10.0.0.2"}}, "netboot": {"allowPXE": true}},
                    {"dhcp": {"mac": "02:00:00:00:00:02"}},
                ],
            },
        });
        let expected = ["n", "02:00:00:00:00:01,02:00:00:00:00:02", "10.0.0.2", "yes", "/dev/vda", "60s", "-", "-", "-"];
        assert_eq!(row("hw", &hardware), expected);
        let workflow = json!({
            "metadata": {"name": "w"}, "spec": {"templateRef": "t", "hardwareRef": "n"},
            "status": {"state": "RUNNING", "agentID": "a", "message": "m", "tasks": [
                {"actions": [{"name": "x", "state": "SUCCESS"}, {"name": "y", "state": "RUNNING"}]}, {"actions": [{"name": "z"}]},
            ]},
        });
        assert_eq!(row("wf", &workflow), ["w", "RUNNING", "1/3", "y", "a", "t", "n", "-", "m"]);
        assert_eq!(row("secret", &json!({"metadata": {"name": "s"}, "data": {"a": "", "b": ""}})), ["s", "-", "2", "-"]);
    }

    #[test]
    fn an_object_of_any_shape_has_a_row_of_its_kind() {
        for kind in &KINDS {
            let headings = of(kind).len();
            for object in [json!(null), json!({"spec": [], "status": "x", "metadata": 1}), json!({"data": 1})] {
                assert_eq!(row(kind.plural, &object).len(), headings, "{}", kind.plural);
            }
        }
    }

    #[test]
    fn tables_are_sorted_by_name_or_by_what_is_asked() {
        let object = |namespace: &str, name: &str, created: &str, template: Option<&str>| {
            let metadata = json!({"namespace": namespace, "name": name, "creationTimestamp": created});
            json!({"metadata": metadata, "spec": {"templateRef": template}})
        };
        let objects = [
            object("b", "w1", "2026-01-01T00:00:00Z", Some("t2")),
            object("a", "w10", "2026-01-03T00:00:00Z", None),
            object("a", "w9", "2026-01-02T00:00:00Z", Some("t1")),
        ];
        let sorted = |by: Option<&str>| {
            let mut objects = objects.to_vec();
            sort(Kind::named("wf").unwrap(), &mut objects, by).map(|()| {
                let names: Vec<String> = objects.iter().map(|object| text(object, "/metadata/name").to_owned()).collect();
                names.join(" ")
            })
        };
        for (by, expected) in [
            (None, "w9 w10 w1"),
            (Some("age"), "w10 w9 w1"),
            (Some("NAME"), "w1 w9 w10"),
            (Some("template"), "w10 w9 w1"),
            (Some(".metadata.creationTimestamp"), "w1 w9 w10"),
            (Some("{.spec.templateRef}"), "w10 w9 w1"),
        ] {
            assert_eq!(sorted(by).as_deref(), Ok(expected), "{by:?}");
        }
        assert!(sorted(Some("colour")).unwrap_err().contains("Workflow has no column \"colour\"; it has name, state"));
    }
}
