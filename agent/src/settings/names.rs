//! Every name a setting goes by: flags of ours and of Tinkerbell's two agents (tink-agent, tink-worker), and variables.

/// A flag, the names in the environment that set the same thing (the last one that is set wins), and whether it takes no value.
pub struct Setting {
    pub flag: &'static str,
    pub names: &'static [&'static str],
    pub switch: bool,
}

const fn value(flag: &'static str, names: &'static [&'static str]) -> Setting {
    Setting { flag, names, switch: false }
}

const fn switch(flag: &'static str, names: &'static [&'static str]) -> Setting {
    Setting { flag, names, switch: true }
}

pub const SETTINGS: &[Setting] = &[
    value("id", &["AGENT_ID", "ID", "WORKER_ID"]),
    value("runtime", &["AGENT_RUNTIME"]),
    value("transport", &["AGENT_TRANSPORT"]),
    value("workflow-path", &["AGENT_WORKFLOW_PATH"]),
    value("state-dir", &["THIMBLE_STATE_DIR"]),
    value("containerd-socket", &["AGENT_CONTAINERD_SOCKET"]),
    value("containerd-namespace", &["AGENT_CONTAINERD_NAMESPACE"]),
    value("grpc-server", &["AGENT_GRPC_SERVER", "AGENT_TINKERBELL_GRPC_AUTHORITY", "TINKERBELL_GRPC_AUTHORITY"]),
    switch("grpc-tls", &["AGENT_GRPC_TLS", "AGENT_TINKERBELL_TLS", "TINKERBELL_TLS"]),
    switch("grpc-insecure-tls", &["AGENT_GRPC_INSECURE_TLS", "AGENT_TINKERBELL_INSECURE_TLS", "TINKERBELL_INSECURE_TLS"]),
    value("registry-name", &["AGENT_REGISTRY_NAME", "AGENT_DOCKER_REGISTRY", "DOCKER_REGISTRY"]),
    value("registry-user", &["AGENT_REGISTRY_USER", "AGENT_REGISTRY_USERNAME", "REGISTRY_USERNAME"]),
    value("registry-pass", &["AGENT_REGISTRY_PASS", "AGENT_REGISTRY_PASSWORD", "REGISTRY_PASSWORD"]),
    value("insecure-registries", &["INSECURE_REGISTRIES"]),
    value("syslog-host", &["SYSLOG_HOST"]),
    value("syslog-port", &["SYSLOG_PORT"]),
    value("log", &["THIMBLE_LOG"]),
    value("backoff-max-interval", &["AGENT_BACKOFF_MAX_INTERVAL"]),
    switch("attribute-detection", &["AGENT_ATTRIBUTE_DETECTION"]),
    value("ca-file", &["SSL_CERT_FILE"]),
    value("registries", &["THIMBLE_REGISTRIES"]),
    value("mirrors", &["THIMBLE_MIRRORS"]),
    value("images", &["THIMBLE_IMAGES"]),
    value("embedded", &["THIMBLE_EMBEDDED"]),
    value("http-proxy", &["http_proxy", "HTTP_PROXY"]),
    value("https-proxy", &["https_proxy", "HTTPS_PROXY"]),
    value("no-proxy", &["no_proxy", "NO_PROXY"]),
];

/// Other spellings of the flags above: `-workflow` is ours, the others Tinkerbell's, the letters tink-worker's.
pub const ALIASES: &[(&str, &str)] = &[
    ("workflow", "workflow-path"),
    ("tinkerbell-grpc-authority", "grpc-server"),
    ("tinkerbell-tls", "grpc-tls"),
    ("tinkerbell-insecure-tls", "grpc-insecure-tls"),
    ("docker-registry", "registry-name"),
    ("registry-username", "registry-user"),
    ("registry-password", "registry-pass"),
    ("i", "id"),
    ("r", "registry-name"),
    ("u", "registry-user"),
    ("p", "registry-pass"),
];

/// Flags of Tinkerbell's agents that choose what we do not have a choice in: accepted, so that its units start us unchanged.
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
    switch("capture-action-logs", &[]),
];
