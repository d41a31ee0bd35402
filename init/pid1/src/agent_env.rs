//! The agent's environment: Tinkerbell's names for the kernel arguments, and what a static program needs here.

use cmdline::{Arguments, HwAddr};
use machine::files::CA_BUNDLE;

/// What the server calls this machine: without `worker_id` the address of the NIC that reached the network.
pub fn worker_id(arguments: &Arguments, mac: Option<HwAddr>) -> Option<String> {
    arguments.worker_id.clone().or_else(|| Some(arguments.hw_addr.or(mac)?.to_string()))
}

/// Everything the agent gets to see; PID 1's own environment, which the kernel fills with stray words, is not passed on.
pub fn agent_env(arguments: &Arguments, mac: Option<HwAddr>) -> Vec<(&'static str, String)> {
    let flag = |on: Option<bool>| on.map(|on| on.to_string());
    let registries = (!arguments.insecure_registries.is_empty()).then(|| arguments.insecure_registries.join(","));
    let mirrors = (!arguments.mirrors.is_empty()).then(|| arguments.mirrors.join(" "));
    let given = [
        ("TINKERBELL_GRPC_AUTHORITY", arguments.grpc_authority.clone()),
        ("WORKER_ID", worker_id(arguments, mac)),
        ("TINKERBELL_TLS", flag(arguments.tinkerbell_tls)),
        ("TINKERBELL_INSECURE_TLS", flag(arguments.tinkerbell_insecure_tls)),
        ("DOCKER_REGISTRY", arguments.docker_registry.clone()),
        ("REGISTRY_USERNAME", arguments.registry_username.clone()),
        ("REGISTRY_PASSWORD", arguments.registry_password.as_ref().map(|secret| secret.expose().to_owned())),
        ("INSECURE_REGISTRIES", registries),
        ("THIMBLE_MIRRORS", mirrors),
        ("THIMBLE_EMBEDDED", arguments.embedded.map(|when| when.to_string())),
        ("SYSLOG_HOST", arguments.syslog_host.clone()),
        ("SYSLOG_PORT", arguments.syslog_port.map(|port| port.to_string())),
        ("HTTP_PROXY", arguments.http_proxy.as_ref().map(|proxy| proxy.expose().to_owned())),
        ("HTTPS_PROXY", arguments.https_proxy.as_ref().map(|proxy| proxy.expose().to_owned())),
        ("NO_PROXY", arguments.no_proxy.clone()),
    ];
    let fixed = [
        ("THIMBLE_LOG", "kmsg"),
        ("SSL_CERT_FILE", CA_BUNDLE),
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("HOME", "/"),
        ("MALLOC_ARENA_MAX", "1"), // one heap: a small machine has no memory for one per thread
    ];
    let given = given.into_iter().filter_map(|(name, value)| Some((name, value?)));
    given.chain(fixed.map(|(name, value)| (name, value.to_owned()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(line: &str, mac: Option<HwAddr>) -> String {
        let env = agent_env(&Arguments::parse(line).arguments, mac);
        env.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn kernel_arguments_arrive_under_tinkerbells_names() {
        let env = env(
            "worker_id=w1 grpc_authority=10.0.0.1:42113 tinkerbell_tls=0 insecure_registries=a:5000,b thimble.mirror=docker.io=http://m thimble.embedded=fallback registry_password=p HTTP_PROXY=http://x",
            None,
        );
        for expected in [
            "WORKER_ID=w1",
            "TINKERBELL_GRPC_AUTHORITY=10.0.0.1:42113",
            "TINKERBELL_TLS=false",
            "INSECURE_REGISTRIES=a:5000,b",
            "THIMBLE_MIRRORS=docker.io=http://m",
            "THIMBLE_EMBEDDED=fallback",
            "REGISTRY_PASSWORD=p",
            "HTTP_PROXY=http://x",
            "THIMBLE_LOG=kmsg",
            "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt",
        ] {
            assert!(env.contains(expected), "{expected} in {env}");
        }
        assert!(!env.contains("DOCKER_REGISTRY"), "what is not given is not set");
    }

    #[test]
    fn a_machine_without_a_name_is_called_by_its_address() {
        let mac = HwAddr([2, 0, 0, 0, 0, 9]);
        for (case, line, mac, expected) in [
            ("the name", "worker_id=w1 hw_addr=02:00:00:00:00:01", Some(mac), "WORKER_ID=w1"),
            ("the NIC that booted", "hw_addr=02:00:00:00:00:01", Some(mac), "WORKER_ID=02:00:00:00:00:01"),
            ("the NIC that got the address", "", Some(mac), "WORKER_ID=02:00:00:00:00:09"),
        ] {
            assert!(env(line, mac).contains(expected), "{case}");
        }
        assert!(!env("", None).contains("WORKER_ID"));
    }
}
