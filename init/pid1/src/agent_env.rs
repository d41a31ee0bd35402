//! The agent's environment: the variables from the kernel arguments, and those that a static program needs here.

use cmdline::{Arguments, HwAddr};
use machine::files::CA_BUNDLE;

/// The whole environment of the agent. The kernel fills PID 1's environment with unknown words, so the agent does not get
/// that.
pub fn agent_env(arguments: &Arguments, mac: Option<HwAddr>) -> Vec<(&'static str, String)> {
    let given = arguments.for_agent(mac).filter_map(|(setting, value)| Some((*setting.variables.last()?, value)));
    let fixed = [
        ("THIMBLE_LOG", "kmsg"),
        ("SSL_CERT_FILE", CA_BUNDLE),
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("HOME", "/"),
        ("MALLOC_ARENA_MAX", "1"), // one heap: a small machine has no memory for one per thread
    ];
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
            assert!(env.contains(expected), "{expected} is missing in {env}");
        }
        assert!(!env.contains("DOCKER_REGISTRY"), "an argument that is not given must not be set");
    }

    #[test]
    fn a_machine_without_a_name_is_named_by_its_address() {
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
