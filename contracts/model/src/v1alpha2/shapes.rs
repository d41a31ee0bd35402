//! Which keys the objects of v1alpha2 have. The types say the same; a test compares them.

use crate::shapes::{BOOL, METADATA, NAMESPACES, RAW_MAP, RAWS, REFERENCE, RETRIES, SECONDS, TEXT, TEXTS, f, object};
use crate::yaml::{Field, Shape};

pub(crate) static TASK: Shape = object!(Shape::Record(&[
    Field::required("actions", Shape::List(&ACTION)),
    f("env", RAW_MAP),
    f("references", Shape::Map(&REFERENCE)),
    f("vars", RAW_MAP),
    f("volumes", TEXTS),
]));

const ACTION: Shape = Shape::Record(&[
    Field::required("name", TEXT),
    f("if", TEXT),
    Field::required("image", TEXT),
    f("command", TEXT),
    f("args", RAWS),
    f("env", RAW_MAP),
    f("volumes", TEXTS),
    f("namespaces", NAMESPACES),
    f("retries", RETRIES),
    f("timeoutSeconds", SECONDS),
    f("background", BOOL),
]);

pub(crate) static WORKFLOW: Shape = object!(Shape::Record(&[
    f("disabled", BOOL),
    f("globals", EXTRA),
    f("references", Shape::Map(&REFERENCE)),
    f("timeoutSeconds", SECONDS),
    Field::required("tasks", Shape::List(&WORKFLOW_TASK)),
    f("vars", RAW_MAP),
]));

const EXTRA: Shape = Shape::Record(&[f("env", RAW_MAP), f("templateMap", RAW_MAP), f("volumes", TEXTS)]);

const WORKFLOW_TASK: Shape = Shape::Record(&[
    Field::required("agentID", TEXT),
    f("extra", EXTRA),
    f("hardware", Shape::Record(&[f("bootOptions", BOOT_OPTIONS), f("hardwareRef", SIMPLE_REFERENCE)])),
    f("timeoutSeconds", SECONDS),
    Field::required("taskRef", SIMPLE_REFERENCE),
]);

const SIMPLE_REFERENCE: Shape = Shape::Record(&[Field::required("name", TEXT), f("namespace", TEXT)]);

const BOOT_OPTIONS: Shape = Shape::Record(&[
    f("toggleNetboot", BOOL),
    f("isoURL", TEXT),
    f("bootMode", Shape::Choice(&["netboot", "isoboot", "customboot"])),
    f("customboot", Shape::Record(&[f("preOperations", Shape::Any), f("postOperations", Shape::Any)])),
]);

pub(crate) static POLICY: Shape = object!(Shape::Record(&[Field::required(
    "rules",
    Shape::Record(&[f("referenceAccess", ACCESS), f("workflowAutoCreation", Shape::Dropped)])
)]));

const ACCESS: Shape = Shape::Record(&[f("hardware", RULE_LISTS), f("task", RULE_LISTS), f("workflow", RULE_LISTS)]);

const RULE_LISTS: Shape = Shape::Record(&[f("allow", Shape::List(&RULE)), f("deny", Shape::List(&RULE))]);

const RULE: Shape = Shape::Record(&[
    f("source", Shape::Record(&[f("name", PATTERN), f("namespace", PATTERN), f("labels", PATTERN)])),
    f(
        "reference",
        Shape::Record(&[
            f("name", PATTERN),
            f("namespace", PATTERN),
            f("group", PATTERN),
            f("version", PATTERN),
            f("resource", PATTERN),
        ]),
    ),
]);

const PATTERN: Shape = Shape::List(&Shape::Any);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shapes::same;
    use crate::v1alpha2::{Policy, Task, Workflow};

    #[test]
    fn shapes_and_types_know_the_same_keys() {
        same::<Task>(&TASK);
        same::<Workflow>(&WORKFLOW);
        same::<Policy>(&POLICY);
    }
}
