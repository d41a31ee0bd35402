//! Every name of a setting: those of the kernel arguments, and those of the agent only.

use cmdline::{ARGUMENTS, Setting};

const fn value(flag: &'static str, variables: &'static [&'static str]) -> Setting {
    Setting::new(flag, &[], variables)
}

/// All settings that have an effect.
pub fn settings() -> impl Iterator<Item = &'static Setting> {
    ARGUMENTS.iter().filter_map(|argument| argument.setting.as_ref()).chain(OTHERS)
}

/// Settings that are not kernel arguments.
const OTHERS: &[Setting] = &[
    value("runtime", &["AGENT_RUNTIME"]),
    value("transport", &["AGENT_TRANSPORT"]),
    Setting::new("workflow-path", &["workflow"], &["AGENT_WORKFLOW_PATH"]),
    value("state-dir", &["THIMBLE_STATE_DIR"]),
    value("containerd-socket", &["AGENT_CONTAINERD_SOCKET"]),
    value("containerd-namespace", &["AGENT_CONTAINERD_NAMESPACE"]),
    value("log", &["THIMBLE_LOG"]),
    value("backoff-max-interval", &["AGENT_BACKOFF_MAX_INTERVAL"]),
    value("attribute-detection", &["AGENT_ATTRIBUTE_DETECTION"]).switch(),
    value("ca-file", &["SSL_CERT_FILE"]),
    value("registries", &["THIMBLE_REGISTRIES"]),
    value("images", &["THIMBLE_IMAGES"]),
];

/// Flags of Tinkerbell's agents for choices that this agent does not have. It accepts them, so that Tinkerbell's units can
/// start it unchanged.
pub const WITHOUT_EFFECT: &[Setting] = &[
    value("log-level", &[]),
    value("grpc-retry-interval", &[]),
    value("docker-socket", &[]),
    value("containerd-data-root", &[]),
    value("containerd-registry-config-path", &[]),
    value("kubernetes-namespace", &[]),
    value("kubernetes-kubeconfig", &[]),
    value("kubernetes-service-account", &[]),
    value("nats-server", &[]),
    value("nats-stream", &[]),
    value("nats-events", &[]),
    value("nats-actions", &[]),
    value("retry-interval", &[]),
    value("max-retry", &[]),
    value("max-file-size", &[]),
    value("timeout", &[]),
    value("capture-action-logs", &[]).switch(),
];
