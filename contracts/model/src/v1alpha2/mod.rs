//! Tinkerbell's objects of `tinkerbell.org/v1alpha2`, where they add something: Task, Workflow and Policy.
//!
//! They are documents before they are templates: the keys are checked first, and only values hold `{{ }}`.

mod places;
mod policy;
mod shapes;
mod task;
mod workflow;

pub use places::Places;
pub use policy::{AccessRule, Policy, PolicySpec, ReferenceAccess, RuleLists, Rules};
pub use task::{Action, Task, TaskSpec, is_command};
pub use workflow::{BootOptions, Extra, SimpleReference, Workflow, WorkflowHardware, WorkflowSpec, WorkflowTask};

pub(crate) use policy::rules as policy_rules;
pub(crate) use shapes::{POLICY, TASK, WORKFLOW};
pub(crate) use task::rules as task_rules;
pub(crate) use workflow::rules as workflow_rules;

pub const API_VERSION: &str = "tinkerbell.org/v1alpha2";

/// Whether a value has a template in it, so that it is known only when it is rendered.
#[must_use]
pub fn is_template(text: &str) -> bool {
    text.contains("{{")
}
