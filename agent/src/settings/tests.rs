use super::*;
use std::collections::HashMap;

fn read(flags: &str, env: &[(&str, &str)]) -> Result<Settings, Mistakes> {
    let env: HashMap<_, _> = env.iter().copied().collect();
    let flags: Vec<_> = flags.split_whitespace().map(OsString::from).collect();
    Settings::read(&flags, |name| env.get(name).map(|v| (*v).to_owned()))
}

#[test]
fn environment_wins_over_flags_as_in_the_go_agent() {
    let env = [("ID", "b"), ("WORKER_ID", "c"), ("TINKERBELL_TLS", "false")];
    let settings = read("-id a --grpc-server=10.0.0.1:42113 -grpc-tls", &env).unwrap();
    assert_eq!((settings.id.as_str(), settings.tls), ("c", Tls::Off));
}

#[test]
fn every_kernel_argument_for_the_agent_is_one_of_its_settings() {
    let given = cmdline::ARGUMENTS.iter().filter_map(|a| Some((*a.setting.as_ref()?.variables.last()?, a.example)));
    let given: Vec<_> = given.collect();
    let shown = |env: &[_]| read("", env).map(|s| (format!("{s:?}"), s.registries.login.password));
    for (without, _) in &given {
        let rest: Vec<_> = given.iter().copied().filter(|(name, _)| name != without).collect();
        assert_ne!(shown(&rest), shown(&given), "{without} changes nothing");
    }
}

#[test]
fn a_capture_of_the_systemd_unit_is_understood() {
    let line = "-runtime containerd -containerd-socket /run/c.sock -transport grpc -grpc-server srv:42113 \
                -grpc-tls=true -grpc-insecure-tls -id 02:00:00:00:00:01 -registry-name reg.example:5000";
    let settings = read(line, &[]).unwrap();
    assert_eq!(settings.tls, Tls::Unverified);
    assert_eq!(settings.registries.login.registry, "reg.example:5000");
}

/// All flags and variables with which the units of tink-agent and tink-worker, HookOS and CaptainOS may start the agent.
#[test]
fn tinkerbells_flags_and_variables_are_understood() {
    type Shown = fn(&Settings) -> String;
    let id: Shown = |s| s.id.clone();
    let server: Shown = |s| s.authority.clone();
    let tls: Shown = |s| format!("{:?}", s.tls);
    let login: Shown =
        |s| format!("{} {} {}", s.registries.login.registry, s.registries.login.username, s.registries.login.password);
    let runtime: Shown = |s| format!("{:?}", s.runtime);
    let source: Shown = |s| format!("{:?}", s.source);
    let pause: Shown = |s| format!("{:?} {}", s.backoff_max, s.detect_attributes);
    let containerd = r#"Containerd { socket: "/run/containerd/containerd.sock", namespace: "tinkerbell" }"#;
    let all = "-log-level 0 -grpc-retry-interval 3s -docker-socket /d -containerd-data-root /v -containerd-registry-config-path /c \
         -kubernetes-namespace k -kubernetes-kubeconfig c -kubernetes-service-account s \
         -nats-server n -nats-stream s -nats-events e -nats-actions a";
    let worker = "--retry-interval 3s --max-retry 3 --max-file-size 1 --capture-action-logs --timeout 60m";
    for (case, flags, env, shown, want) in [
        ("tink-agent's id", "-id x", "", id, "x"),
        ("by its variable", "", "AGENT_ID=x", id, "x"),
        ("the old variables win, WORKER_ID last", "-id f", "AGENT_ID=a ID=b WORKER_ID=c", id, "c"),
        ("tink-worker's letter", "-i x", "", id, "x"),
        ("an address without a port", "-grpc-server srv", "", server, "srv:42113"),
        ("tink-worker's flag", "--tinkerbell-grpc-authority=srv:9", "", server, "srv:9"),
        ("the prefix before an old flag", "", "AGENT_TINKERBELL_GRPC_AUTHORITY=srv:9", server, "srv:9"),
        ("HookOS's variable", "-grpc-server f:1", "TINKERBELL_GRPC_AUTHORITY=e:2", server, "e:2"),
        ("further servers", "", "THIMBLE_SERVERS=b:1,c", |s| s.servers.join(" "), "b:1 c:42113"),
        ("TLS is off", "", "", tls, "Off"),
        ("a switch alone", "-grpc-tls", "", tls, "Verified"),
        ("a switch with its value", "--tinkerbell-tls=false", "", tls, "Off"),
        ("an unverified certificate", "-grpc-tls=true", "TINKERBELL_INSECURE_TLS=true", tls, "Unverified"),
        ("Go has many words for true", "", "TINKERBELL_TLS=T", tls, "Verified"),
        ("a login", "-registry-name r:5 -registry-user u -registry-pass p", "", login, "r:5 u p"),
        ("tink-worker's login", "-r r:5 -u u -p p", "", login, "r:5 u p"),
        ("its long form", "--docker-registry r --registry-username u --registry-password p", "", login, "r u p"),
        ("HookOS's login", "", "DOCKER_REGISTRY=r REGISTRY_USERNAME=u REGISTRY_PASSWORD=p", login, "r u p"),
        ("the default runtime", "", "", runtime, "Libcontainer"),
        ("tink-agent's default runtime", "-runtime docker", "", runtime, "Libcontainer"),
        ("CaptainOS's runtime", "-runtime containerd", "", runtime, containerd),
        (
            "another socket and namespace",
            "-containerd-socket /c.sock",
            "AGENT_RUNTIME=containerd AGENT_CONTAINERD_NAMESPACE=n",
            runtime,
            r#"Containerd { socket: "/c.sock", namespace: "n" }"#,
        ),
        ("a server", "-transport grpc", "", source, "Grpc"),
        ("a file", "-transport file -workflow-path /w", "", source, r#"File("/w")"#),
        ("a file in short", "--workflow /w", "", source, r#"File("/w")"#),
        ("pauses", "-backoff-max-interval 10s -attribute-detection=false", "", pause, "10s false"),
        ("a pause in Go's words", "-backoff-max-interval 1m1.5s", "", pause, "61.5s true"),
        ("Go's end of the flags", "-id x -- whatever", "", id, "x"),
        ("tink-agent's other flags", all, "", id, "m"),
        ("tink-worker's other flags", worker, "RETRY_INTERVAL=3 MAX_RETRY=3 TIMEOUT=60m", id, "m"),
    ] {
        let default = [("AGENT_GRPC_SERVER", "s"), ("AGENT_ID", "m")].into_iter();
        let given = env.split_whitespace().filter_map(|pair| pair.split_once('='));
        // A flag loses against any variable, so the defaults are removed for it.
        let default = default.filter(|(name, _)| match *name {
            "AGENT_ID" => !flags.starts_with("-i"),
            _ => !(flags.contains("grpc-server") || flags.contains("authority")),
        });
        let env: Vec<_> = default.chain(given).collect();
        let settings = read(flags, &env).unwrap_or_else(|mistakes| panic!("{case}: {mistakes}"));
        assert_eq!(shown(&settings), want, "{case}");
    }
}

#[test]
fn an_unsupported_choice_is_refused_by_name() {
    let env = [("WORKER_ID", "m"), ("TINKERBELL_GRPC_AUTHORITY", "s")];
    for (flags, want) in [
        ("-runtime kubernetes", "\"kubernetes\": use libcontainer or containerd"),
        ("-transport nats", "\"nats\": use grpc or file"),
        ("-transport file", "-workflow FILE"),
        ("-transport grpc -workflow /w", "cannot be combined"),
        ("-id", "-id needs a value"),
        ("stray", "\"stray\" is not a flag"),
    ] {
        let mistakes = read(flags, &env).unwrap_err().to_string();
        assert!(mistakes.contains(want), "{want} is missing in {mistakes}");
    }
    assert_eq!(read("--workflow /w", &[]).unwrap().id, "local", "a file needs neither a server nor a name");
}

#[test]
fn every_mistake_is_named_at_once() {
    let error = read("-nonsense -grpc-tls=maybe", &[("THIMBLE_LOG", "paper")]).unwrap_err().to_string();
    for part in ["WORKER_ID", "TINKERBELL_GRPC_AUTHORITY", "-nonsense", "maybe", "paper"] {
        assert!(error.contains(part), "{part} is missing in: {error}");
    }
}

#[test]
fn an_authority_without_a_port_gets_tinkerbells_port() {
    for (given, want) in [
        ("10.0.0.1", "10.0.0.1:42113"),
        ("10.0.0.1:9", "10.0.0.1:9"),
        ("fd00::1", "[fd00::1]:42113"),
        ("[fd00::1]:9", "[fd00::1]:9"),
        ("[fd00::1]", "[fd00::1]:42113"),
        ("server.example", "server.example:42113"),
    ] {
        assert_eq!(with_port(given), want);
    }
}

#[test]
fn the_syslog_port_is_the_one_given_or_514() {
    let env = |port: &'static str| [("WORKER_ID", "a"), ("TINKERBELL_GRPC_AUTHORITY", "s"), ("SYSLOG_PORT", port)];
    for (given, want) in [("", 514), ("5514", 5514)] {
        assert_eq!(read("", &env(given)).unwrap().syslog_port, want);
    }
    let error = read("", &env("0")).unwrap_err().to_string();
    assert!(error.contains("SYSLOG_PORT is \"0\""), "{error}");
}

#[test]
fn the_time_of_the_boot_server_is_a_number() {
    let env = |time: &'static str| [("WORKER_ID", "a"), ("TINKERBELL_GRPC_AUTHORITY", "s"), ("THIMBLE_TIME", time)];
    for (given, want) in [("", None), ("1700000000", Some(1_700_000_000))] {
        assert_eq!(read("", &env(given)).unwrap().boot_time, want);
    }
    for wrong in ["soon", "-1"] {
        let error = read("", &env(wrong)).unwrap_err().to_string();
        assert!(error.contains(&format!("THIMBLE_TIME is {wrong:?}")), "{error}");
    }
}

#[test]
fn a_login_for_docker_hub_has_many_names() {
    let names = ["docker.io", "index.docker.io", "https://index.docker.io/v1/", "registry-1.docker.io", "Docker.io"];
    for name in names {
        let env = [("WORKER_ID", "a"), ("TINKERBELL_GRPC_AUTHORITY", "s"), ("DOCKER_REGISTRY", name)];
        assert_eq!(read("", &env).unwrap().registries.login.registry, "docker.io", "{name}");
    }
}

#[test]
fn a_password_never_shows_in_debug_output() {
    let env = [("WORKER_ID", "a"), ("TINKERBELL_GRPC_AUTHORITY", "s"), ("REGISTRY_PASSWORD", "hunter2")];
    assert!(!format!("{:?}", read("", &env).unwrap()).contains("hunter2"));
}

/// A signed ramdisk's policy applies whatever the kernel command line has.
#[test]
fn no_flag_variable_or_kernel_argument_changes_the_policy() {
    for setting in super::names::settings().chain(super::names::WITHOUT_EFFECT) {
        let mut names = [&[setting.flag][..], setting.aliases, setting.variables].concat();
        names.extend(cmdline::ARGUMENTS.iter().map(|argument| argument.name));
        assert!(names.iter().all(|name| !name.to_lowercase().contains("policy")), "{names:?}");
    }
}
