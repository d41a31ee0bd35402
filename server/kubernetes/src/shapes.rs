//! Which fields objects have. Those of Tinkerbell's kinds come from `model`, the others are here.

use model::yaml::{Field, Shape};

use crate::resources::{Family, Plain};

const fn f(key: &'static str, shape: Shape) -> Field {
    Field::new(key, shape)
}

const TEXT: Shape = Shape::Text;
const TIME: Shape = Shape::Text;
const INT: Shape = Shape::Int(i64::MIN, i64::MAX);
const TEXTS: Shape = Shape::List(&Shape::Text);
const TEXT_MAP: Shape = Shape::Map(&Shape::Raw);

/// `metadata` with everything that a client may send or gets.
pub static OBJECT_META: Shape = Shape::Record(&[
    f("annotations", TEXT_MAP),
    f("creationTimestamp", TIME),
    f("deletionGracePeriodSeconds", INT),
    f("deletionTimestamp", TIME),
    f("finalizers", TEXTS),
    f("generateName", TEXT),
    f("generation", INT),
    f("labels", TEXT_MAP),
    f("managedFields", Shape::List(&MANAGED)),
    f("name", TEXT),
    f("namespace", TEXT),
    f("ownerReferences", Shape::List(&OWNER)),
    f("resourceVersion", TEXT),
    f("selfLink", TEXT),
    f("uid", TEXT),
]);

static MANAGED: Shape = Shape::Record(&[
    f("apiVersion", TEXT),
    f("fieldsType", TEXT),
    f("fieldsV1", Shape::Any),
    f("manager", TEXT),
    f("operation", TEXT),
    f("subresource", TEXT),
    f("time", TIME),
]);

static OWNER: Shape = Shape::Record(&[
    Field::required("apiVersion", TEXT),
    f("blockOwnerDeletion", Shape::Bool),
    f("controller", Shape::Bool),
    Field::required("kind", TEXT),
    Field::required("name", TEXT),
    Field::required("uid", TEXT),
]);

macro_rules! object {
    ($($rest:expr),* $(,)?) => {
        Shape::Record(&[f("apiVersion", TEXT), f("kind", TEXT), f("metadata", TEXT), $($rest),*])
    };
}

static NAMESPACE: Shape = object!(
    f("spec", Shape::Record(&[f("finalizers", TEXTS)])),
    f("status", Shape::Record(&[f("phase", TEXT), f("conditions", Shape::Any)])),
);
static SECRET: Shape = object!(f("data", TEXT_MAP), f("immutable", Shape::Bool), f("stringData", TEXT_MAP), f("type", TEXT));
static CONFIG_MAP: Shape = object!(f("binaryData", TEXT_MAP), f("data", TEXT_MAP), f("immutable", Shape::Bool));
static LEASE: Shape = object!(f(
    "spec",
    Shape::Record(&[
        f("acquireTime", TIME),
        f("holderIdentity", TEXT),
        f("leaseDurationSeconds", INT),
        f("leaseTransitions", INT),
        f("preferredHolder", TEXT),
        f("renewTime", TIME),
        f("strategy", TEXT),
    ])
));

/// What a boots keeps of an address of a pool.
static DHCP_LEASE: Shape = object!(Field::required(
    "spec",
    Shape::Record(&[
        Field::required("address", TEXT),
        f("id", TEXT),
        Field::required("mac", TEXT),
        Field::required("since", INT),
        Field::required("state", Shape::Choice(&["bound", "released", "declined"])),
        Field::required("until", INT),
    ])
));

const OBJECT_REFERENCE: Shape = Shape::Record(&[
    f("apiVersion", TEXT),
    f("fieldPath", TEXT),
    f("kind", TEXT),
    f("name", TEXT),
    f("namespace", TEXT),
    f("resourceVersion", TEXT),
    f("uid", TEXT),
]);
const SOURCE: Shape = Shape::Record(&[f("component", TEXT), f("host", TEXT)]);
const SERIES: Shape = Shape::Record(&[f("count", INT), f("lastObservedTime", TIME)]);

static EVENT: Shape = object!(
    f("action", TEXT),
    f("count", INT),
    f("eventTime", TIME),
    f("firstTimestamp", TIME),
    f("involvedObject", OBJECT_REFERENCE),
    f("lastTimestamp", TIME),
    f("message", TEXT),
    f("reason", TEXT),
    f("related", OBJECT_REFERENCE),
    f("reportingComponent", TEXT),
    f("reportingInstance", TEXT),
    f("series", SERIES),
    f("source", SOURCE),
    f("type", TEXT),
);
static NEW_EVENT: Shape = object!(
    f("action", TEXT),
    f("deprecatedCount", INT),
    f("deprecatedFirstTimestamp", TIME),
    f("deprecatedLastTimestamp", TIME),
    f("deprecatedSource", SOURCE),
    f("eventTime", TIME),
    f("note", TEXT),
    f("reason", TEXT),
    f("regarding", OBJECT_REFERENCE),
    f("related", OBJECT_REFERENCE),
    f("reportingController", TEXT),
    f("reportingInstance", TEXT),
    f("series", SERIES),
    f("type", TEXT),
);

/// What nothing acts on yet is kept as it comes.
static FREE: Shape = object!(Field::required("spec", Shape::Any), f("status", Shape::Any));

static MACHINE_STATE: Shape = object!(
    Field::required(
        "spec",
        Shape::Record(&[
            f("intent", Shape::Choice(&["install", "local", "rescue", "hold", "approve", "inventory", "discover"])),
            f("reason", TEXT),
        ])
    ),
    f("status", Shape::Any),
);
static ROLLOUT: Shape = object!(
    Field::required(
        "spec",
        Shape::Record(&[
            f("atOnce", COUNT),
            f("machineTimeout", COUNT),
            Field::required("selector", TEXT),
            f("state", Shape::Choice(&["running", "paused", "stopped"])),
            f("stopAfter", COUNT),
            Field::required("templateRef", TEXT),
            f("waves", Shape::List(&COUNT)),
            f("workerKey", TEXT),
        ])
    ),
    f("status", Shape::Any),
);
static DEFINITION: Shape = object!(f("spec", Shape::Any), f("status", Shape::Any));
static REVIEW: Shape = object!(f("spec", Shape::Any), f("status", Shape::Any));

const COUNT: Shape = Shape::Int(0, u32::MAX as i64);

static STATE: Shape = Shape::Record(&[f("state", TEXT)]);
static HARDWARE_STATUS: Shape = Shape::Record(&[f("attributes", Shape::Any), f("state", TEXT)]);

/// What the server reports of a Workflow of either version.
static WORKFLOW_STATUS: Shape = Shape::Record(&[
    f("actionStop", TIME),
    f("agentID", TEXT),
    f("begun", TIME),
    f(
        "bootOptions",
        Shape::Record(&[f("allowNetboot", Shape::Record(&[f("toggledFalse", Shape::Bool), f("toggledTrue", Shape::Bool)]))]),
    ),
    f("cancellation", Shape::Record(&[f("reason", TEXT), f("requested", TIME)])),
    f(
        "currentState",
        Shape::Record(&[
            f("actionID", TEXT),
            f("actionName", TEXT),
            f("agentID", TEXT),
            f("state", TEXT),
            f("taskID", TEXT),
            f("taskName", TEXT),
        ]),
    ),
    f("globalExecutionStop", TIME),
    f("globalTimeout", INT),
    f("logServers", Shape::List(&LOG_SERVER)),
    f("logged", Shape::Record(&[f("entries", INT), f("latest", TIME)])),
    f("message", TEXT),
    f("ordered", TIME),
    f("paused", Shape::Record(&[f("by", TEXT), f("reason", TEXT), f("since", TIME)])),
    f("progress", Shape::Record(&[f("action", TEXT), f("percent", INT), f("workflow", TEXT)])),
    f("retryAt", TIME),
    f("state", TEXT),
    f("taskStop", TIME),
    f("tasks", Shape::List(&TASK_STATUS)),
    f("templateRendering", TEXT),
]);

static LOG_SERVER: Shape = Shape::Record(&[f("host", TEXT), f("id", TEXT)]);

static TASK_STATUS: Shape = Shape::Record(&[
    f("actions", Shape::List(&ACTION_STATUS)),
    f("agentID", TEXT),
    f("environment", TEXT_MAP),
    f("id", TEXT),
    f("name", TEXT),
    f("timeout", INT),
    f("volumes", TEXTS),
]);

static ACTION_STATUS: Shape = Shape::Record(&[
    f("attempts", INT),
    f("command", TEXTS),
    f("continueOnFailure", Shape::Bool),
    f("environment", TEXT_MAP),
    f("executionDuration", TEXT),
    f("executionStart", TIME),
    f("executionStop", TIME),
    f("firstStart", TIME),
    f("followsFailure", Shape::Bool),
    f("id", TEXT),
    f("image", TEXT),
    f("message", TEXT),
    f("name", TEXT),
    f("namespaces", Shape::Record(&[f("network", TEXT), f("pid", TEXT)])),
    f("onFailure", TEXTS),
    f("onTimeout", TEXTS),
    f("passedOver", Shape::Bool),
    f("pid", TEXT),
    f("retried", INT),
    f("retries", INT),
    f("skip", Shape::Bool),
    f("state", TEXT),
    f("timeout", INT),
    f("timeoutOfAll", Shape::Bool),
    f("volumes", TEXTS),
]);

/// The record of an object's fields. `top` says what `metadata` and `status` really have.
pub fn of(family: Family) -> &'static Shape {
    match family {
        Family::Tinkerbell(kind) => model::shape(kind),
        Family::Plain(_, plain) => match plain {
            Plain::Namespace => &NAMESPACE,
            Plain::Secret => &SECRET,
            Plain::ConfigMap => &CONFIG_MAP,
            Plain::Event => &EVENT,
            Plain::NewEvent => &NEW_EVENT,
            Plain::Lease => &LEASE,
            Plain::DhcpLease => &DHCP_LEASE,
            Plain::Machine | Plain::Job | Plain::Task => &FREE,
        },
        Family::Definition => &DEFINITION,
        Family::Review | Family::Nothing => &REVIEW,
        Family::MachineState => &MACHINE_STATE,
        Family::Rollout => &ROLLOUT,
    }
}

/// One of the outermost fields of an object.
pub struct Top {
    pub key: &'static str,
    pub shape: &'static Shape,
    pub required: bool,
}

/// The outermost fields of the objects of a family, without `apiVersion` and `kind`.
#[must_use]
pub fn top(family: Family) -> Vec<Top> {
    let Shape::Record(fields) = of(family) else { return Vec::new() };
    let fields = fields.iter().filter(|field| !matches!(field.key, "apiVersion" | "kind"));
    fields
        .map(|field| {
            let shape = match (field.key, family) {
                ("metadata", _) => &OBJECT_META,
                ("status", Family::Tinkerbell(model::Kind::Hardware)) => &HARDWARE_STATUS,
                ("status", Family::Tinkerbell(model::Kind::Workflow | model::Kind::WorkflowV1alpha2)) => &WORKFLOW_STATUS,
                ("status", Family::Tinkerbell(_)) => &STATE,
                _ => &field.shape,
            };
            Top { key: field.key, shape, required: field.required && field.key != "metadata" }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// A value with every field of a shape, as `model` tests its own.
    fn filled(shape: &Shape) -> Value {
        match shape {
            Shape::Record(fields) => fields.iter().map(|field| (field.key.to_owned(), filled(&field.shape))).collect(),
            Shape::List(of) => vec![filled(of)].into(),
            Shape::Map(of) => Value::Object([("key".to_owned(), filled(of))].into_iter().collect()),
            Shape::Bool => true.into(),
            Shape::Int(..) => 4.into(),
            _ => "x".into(),
        }
    }

    #[test]
    fn the_status_of_a_workflow_has_the_fields_of_its_type() {
        let mut value = filled(&WORKFLOW_STATUS);
        let time = Value::from("2026-01-02T03:04:05Z");
        fix(&mut value, &time);
        let typed: model::WorkflowStatus = serde_json::from_value(value.clone()).unwrap();
        assert_eq!(serde_json::to_value(typed).unwrap(), value);
    }

    fn fix(value: &mut Value, time: &Value) {
        let times = [
            "actionStop",
            "begun",
            "requested",
            "globalExecutionStop",
            "latest",
            "ordered",
            "since",
            "retryAt",
            "taskStop",
            "executionStart",
            "executionStop",
            "firstStart",
        ];
        match value {
            Value::Object(fields) => {
                for (key, value) in fields {
                    match key.as_str() {
                        "state" => *value = "RUNNING".into(),
                        key if times.contains(&key) => *value = time.clone(),
                        _ => fix(value, time),
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| fix(item, time)),
            _ => {}
        }
    }
}
