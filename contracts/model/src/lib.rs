//! Tinkerbell's objects as checked types: Hardware, Template and Workflow, read from strict YAML whose mistakes carry
//! file, line and column, all of them at once.

mod document;
mod files;
mod hardware;
mod image_name;
mod mac;
mod mistake;
mod object;
mod rule_set;
mod selector;
mod shapes;
mod template;
mod upstream;
pub mod v1alpha2;
mod workflow;
pub mod yaml;

pub use document::{Noted, final_state, parse_documents, parse_mixed, parse_mixed_noting, parse_noting, parse_values, shape};
pub use files::{FilesError, Mistakes, parse_texts, read_files, read_texts};
pub use hardware::{
    Auto, BmcRef, Dhcp, Disk, Hardware, HardwareSpec, HardwareStatus, Interface, Ip, Ipxe, Isoboot, Netboot, Osie, Pxelinux,
    Reference, Route, Rpi,
};
pub use image_name::is_image;
pub use mac::{Mac, NotAMac};
pub use mistake::Mistake;
pub use object::{API_VERSION, Kept, Kind, Metadata, Object, ObjectName, OwnerReference, Resource, is_name};
pub use rule_set::{RuleSetTemplate, RuleSetWorkflow, WorkflowRuleSet, WorkflowRuleSetSpec};
pub use selector::{Selector, SelectorError, check_label};
pub use template::{
    Action, Document, FailureWord, Namespaces, OnFailure, Task, Template, TemplateSpec, TemplateStatus, Written, condition,
};
pub use upstream::{Ignored, ignored_keys, ignored_objects};
pub use workflow::{
    ActionState, AgentId, AllowNetboot, BootOptions, BootOptionsStatus, Cancellation, CurrentState, LogServer, Logged, Paused,
    Progress, Workflow, WorkflowAction, WorkflowSpec, WorkflowState, WorkflowStatus, WorkflowTask, took_text,
};
