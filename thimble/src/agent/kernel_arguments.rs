//! The kernel arguments of HookOS and CaptainOS as the agent's flags.

use cmdline::Arguments;

/// In memory only: a password in here never stands in a process list.
pub fn flags(arguments: &Arguments) -> Vec<String> {
    let flag = |on: Option<bool>| on.map(|on| on.to_string());
    let registries = (!arguments.insecure_registries.is_empty()).then(|| arguments.insecure_registries.join(","));
    let given = [
        ("id", arguments.worker_id.clone().or_else(|| arguments.hw_addr.map(|mac| mac.to_string()))),
        ("grpc-server", arguments.grpc_authority.clone()),
        ("grpc-tls", flag(arguments.tinkerbell_tls)),
        ("grpc-insecure-tls", flag(arguments.tinkerbell_insecure_tls)),
        ("registry-name", arguments.docker_registry.clone()),
        ("registry-user", arguments.registry_username.clone()),
        ("registry-pass", arguments.registry_password.as_ref().map(|secret| secret.expose().to_owned())),
        ("insecure-registries", registries),
        ("syslog-host", arguments.syslog_host.clone()),
        ("syslog-port", arguments.syslog_port.map(|port| port.to_string())),
        ("http-proxy", arguments.http_proxy.as_ref().map(|proxy| proxy.expose().to_owned())),
        ("https-proxy", arguments.https_proxy.as_ref().map(|proxy| proxy.expose().to_owned())),
        ("no-proxy", arguments.no_proxy.clone()),
    ];
    given.into_iter().filter_map(|(name, value)| Some(format!("-{name}={}", value?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_argument_that_concerns_the_agent_is_a_flag() {
        for (line, want) in [
            ("quiet console=ttyS0 root=/dev/sda1", ""),
            ("worker_id=m hw_addr=02:00:00:00:00:01", "-id=m"),
            ("hw_addr=02:00:00:00:00:01", "-id=02:00:00:00:00:01"),
            ("grpc_authority=10.0.0.1:42113 facility=", "-grpc-server=10.0.0.1:42113"),
            ("tinkerbell_tls=true tinkerbell_insecure_tls=false", "-grpc-tls=true -grpc-insecure-tls=false"),
            (
                "docker_registry=r:5000 registry_username=u registry_password=p",
                "-registry-name=r:5000 -registry-user=u -registry-pass=p",
            ),
            ("insecure_registries=a,b:5000", "-insecure-registries=a,b:5000"),
            ("syslog_host=10.0.0.2 syslog_port=5514", "-syslog-host=10.0.0.2 -syslog-port=5514"),
            ("HTTPS_PROXY=http://p:3128 NO_PROXY=10.0.0.0/8", "-https-proxy=http://p:3128 -no-proxy=10.0.0.0/8"),
        ] {
            assert_eq!(flags(&Arguments::parse(line).arguments).join(" "), want, "{line}");
        }
    }
}
