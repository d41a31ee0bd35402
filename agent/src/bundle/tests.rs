use super::*;
use oci::manifest::Process;
use oci_spec::runtime::{LinuxNamespaceType, Spec};

fn action() -> Action {
    Action {
        workflow: "default/w".into(),
        task: "t".into(),
        id: "a".into(),
        name: "n".into(),
        image: "i".into(),
        timeout: None,
        command: vec![],
        volumes: vec![],
        environment: vec![].into(),
        pid: String::new(),
        network: String::new(),
        next_image: None,
        background: false,
    }
}

fn image() -> ImageConfig {
    let words = |text: &str| text.split(' ').map(str::to_owned).collect();
    ImageConfig {
        config: Process {
            entrypoint: words("/image2disk"),
            cmd: words("-h"),
            env: words("A=image B=image"),
            ..Process::default()
        },
    }
}

fn host() -> Host {
    Host {
        id: "x-1".into(),
        rootfs: "/r".into(),
        capabilities: 0b10_0000_0001,
        drivers: vec![("/lib/modules".into(), "/usr/lib/modules".into())],
        ..Host::default()
    }
}

fn spec(action: &Action) -> Spec {
    read(bundle(action, action.environment.wishes().unwrap(), &image(), &host()).unwrap())
}

/// Parses the bundle like the runtime.
fn read(bundle: Bundle) -> Spec {
    serde_json::from_slice(&serde_json::to_vec(&bundle.spec).unwrap()).unwrap()
}

#[test]
fn the_actions_command_replaces_the_images_but_keeps_its_entrypoint() {
    let args = |a: &Action| spec(a).process().as_ref().unwrap().args().clone().unwrap();
    assert_eq!(args(&action()), ["/image2disk", "-h"]);
    assert_eq!(args(&Action { command: vec!["go".into()], ..action() }), ["/image2disk", "go"]);
    let nothing = bundle(&action(), &Wishes::default(), &ImageConfig::default(), &host());
    assert!(matches!(nothing, Err(BundleError::NothingToRun)));
}

#[test]
fn the_machines_proxies_are_for_actions_with_its_network_that_have_no_others() {
    let machine = words("http_proxy=m HTTP_PROXY=m no_proxy=x");
    for (case, network, variables, expected) in [
        ("none given", "", vec![], "http_proxy=m HTTP_PROXY=m no_proxy=x"),
        ("another one in capitals", "", vec!["HTTP_PROXY=own".to_owned()], "no_proxy=x HTTP_PROXY=own"),
        ("switched off", "", vec!["http_proxy=".to_owned()], "no_proxy=x http_proxy="),
        ("no network", "none", vec![], ""),
    ] {
        let action = Action { environment: variables.into(), network: network.into(), ..action() };
        let host = Host { environment: machine.clone(), ..host() };
        let image = ImageConfig { config: Process { env: Vec::new(), ..image().config } };
        let made = read(bundle(&action, action.environment.wishes().unwrap(), &image, &host).unwrap());
        let env = made.process().as_ref().unwrap().env().clone().unwrap();
        let expected: Vec<String> = expected.split_whitespace().map(str::to_owned).collect();
        assert_eq!(env[2..], expected, "{case}");
    }
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

#[test]
fn the_actions_environment_wins_over_the_images_and_path_is_always_there() {
    let action = Action { environment: vec!["B=action".into(), "NOVALUE".into(), "C=x=y".into()].into(), ..action() };
    let env = spec(&action).process().as_ref().unwrap().env().clone().unwrap();
    assert_eq!(env, [PATH, "HOME=/root", "A=image", "B=action", "C=x=y"]);
}

#[test]
fn namespaces_follow_the_action() {
    let types = |a: &Action| -> Vec<_> {
        spec(a).linux().as_ref().unwrap().namespaces().as_ref().unwrap().iter().map(|n| n.typ()).collect()
    };
    use LinuxNamespaceType::{Ipc, Mount, Network, Pid, Uts};
    assert_eq!(types(&action()), [Mount, Ipc, Uts, Pid]);
    assert_eq!(types(&Action { pid: "host".into(), ..action() }), [Mount, Ipc, Uts]);
    assert_eq!(types(&Action { network: "none".into(), ..action() }), [Mount, Ipc, Uts, Pid, Network]);
    let foreign = Action { network: "container:x".into(), ..action() };
    assert!(matches!(bundle(&foreign, &Wishes::default(), &image(), &host()), Err(BundleError::Network(_))));
}

#[test]
fn an_unprivileged_action_sees_the_machines_network_only_if_it_asks_for_it() {
    const CONFINED: &str = "THIMBLE_PRIVILEGED=false";
    for (case, network, variables, want) in [
        ("privileged", "", &[][..], Reach::Machine),
        ("privileged, wants none", "none", &[], Reach::Nothing),
        ("privileged, wants none in other words", "", &["THIMBLE_NETWORK=none"], Reach::Nothing),
        ("unprivileged", "", &[CONFINED], Reach::NothingUnasked),
        ("wants it", "host", &[CONFINED], Reach::Machine),
        ("wants it in other words", "", &[CONFINED, "THIMBLE_NETWORK=host"], Reach::Machine),
        ("wants its low ports", "", &[CONFINED, "THIMBLE_LOW_PORTS=true"], Reach::Machine),
        ("wants low ports of its own", "none", &[CONFINED, "THIMBLE_LOW_PORTS=true"], Reach::Nothing),
        ("wants both", "host", &[CONFINED, "THIMBLE_NETWORK=none"], Reach::Nothing),
    ] {
        let environment: Vec<String> = variables.iter().map(|variable| (*variable).to_owned()).collect();
        let action = Action { network: network.into(), environment: environment.into(), ..action() };
        assert_eq!(action.reach(action.environment.wishes().unwrap()), want, "{case}");
        let spec = spec(&action);
        let namespaces = spec.linux().as_ref().unwrap().namespaces().clone().unwrap();
        let has_own = namespaces.iter().any(|one| one.typ() == LinuxNamespaceType::Network);
        assert_eq!(has_own, want != Reach::Machine, "{case}");
    }
}

#[test]
fn capabilities_are_all_we_have_ourselves() {
    let spec = spec(&action());
    let effective = spec.process().as_ref().unwrap().capabilities().as_ref().unwrap().effective().clone().unwrap();
    assert_eq!(effective.len(), 2, "CHOWN and LINUX_IMMUTABLE: {effective:?}");
    assert_eq!(effective_capabilities("Name:\tx\nCapEff:\t000001ffffffffff\n"), 0x1ff_ffff_ffff);
    assert_eq!(capability_names(0x1ff_ffff_ffff).len(), 41);
}

#[test]
fn volumes_come_last_and_their_sources_are_created() {
    let action = Action { volumes: vec!["/worker:/worker:rshared".into(), "/my:/etc/resolv.conf".into()], ..action() };
    let bundle = bundle(&action, &Wishes::default(), &image(), &host()).unwrap();
    assert_eq!(bundle.directories, [PathBuf::from("/worker"), "/my".into()]);
    assert_eq!(bundle.shared, [PathBuf::from("/worker")]);
    let mounts: Vec<_> = read(bundle).mounts().as_ref().unwrap().iter().map(|m| m.destination().clone()).collect();
    assert_eq!(mounts.last().unwrap(), Path::new("/etc/resolv.conf"));
}

#[test]
fn drivers_are_the_machines_unless_the_image_has_some() {
    let source = |volumes: &[&str]| {
        let action = Action { volumes: volumes.iter().map(|v| (*v).to_owned()).collect(), ..action() };
        let mounts = spec(&action).mounts().clone().unwrap();
        let at: Vec<_> = mounts.iter().filter(|m| m.destination().ends_with("lib/modules")).collect();
        assert_eq!(at.len(), 1);
        at[0].source().clone().unwrap()
    };
    assert_eq!(source(&[]), Path::new("/lib/modules"));
    assert_eq!(source(&["/my:/lib/modules"]), Path::new("/my"));
    let action = Action { volumes: vec!["/my:/usr/lib/modules/extra".into()], ..action() };
    let mounts = spec(&action).mounts().clone().unwrap();
    let below: Vec<_> = mounts.iter().filter(|m| m.destination().starts_with("/usr/lib/modules")).collect();
    assert_eq!(below.len(), 1, "a read-only folder has no place for a volume: {below:?}");
}

#[test]
fn lists_of_an_image_are_bounded_and_refused_with_their_numbers() {
    let words = |count: usize| -> Vec<String> { (0..count).map(|n| format!("K{n}=v")).collect() };
    let many = || words(250_000);
    for (case, image, action, want) in [
        (
            "variables",
            Process { env: many(), ..Process::default() },
            action(),
            "variables of action and image are 250000 together",
        ),
        ("an entrypoint", Process { entrypoint: many(), ..Process::default() }, action(), "words in the commands"),
        ("a command", Process { cmd: many(), ..Process::default() }, action(), "words in the commands"),
        ("the action's", Process::default(), Action { environment: many().into(), ..action() }, "variables"),
        ("volumes", Process::default(), Action { volumes: words(1000), ..action() }, "volumes of action and image are 1000"),
        ("bytes", Process { env: vec!["x".repeat(5 << 20)], ..Process::default() }, action(), "bytes in commands and variables"),
        (
            "NUL in a variable",
            Process { env: vec!["A=\0".into()], ..Process::default() },
            action(),
            "the environment of the action",
        ),
        ("NUL in the command", Process { cmd: vec!["\0".into()], ..Process::default() }, action(), "the command of the action"),
        ("NUL in the folder", Process { working_dir: "/\0".into(), ..Process::default() }, action(), "NUL"),
    ] {
        let began = std::time::Instant::now();
        let refused = bundle(&action, &Wishes::default(), &ImageConfig { config: image }, &host()).unwrap_err().to_string();
        assert!(refused.contains(want), "{case}: {refused}");
        assert!(began.elapsed() < std::time::Duration::from_secs(1), "{case} took {:?}", began.elapsed());
    }
    let most = Process { env: words(10_000), cmd: vec!["/x".into()], ..Process::default() };
    let made = bundle(&action(), &Wishes::default(), &ImageConfig { config: most }, &host()).unwrap();
    assert_eq!(read(made).process().as_ref().unwrap().env().as_ref().unwrap().len(), 10_002);
}

#[test]
fn the_image_names_its_stop_signal() {
    for (text, want) in
        [("SIGQUIT", Signal::QUIT), ("USR1", Signal::USR1), ("2", Signal::INT), ("", Signal::TERM), ("SIGNONSENSE", Signal::TERM)]
    {
        let image = ImageConfig { config: Process { stop_signal: text.into(), ..Process::default() } };
        assert_eq!(stop_signal(&image), want, "{text:?}");
    }
}

#[test]
fn nothing_is_masked_and_the_cgroup_is_the_agents() {
    let spec = spec(&action());
    let linux = spec.linux().as_ref().unwrap();
    assert_eq!(linux.cgroups_path().as_deref(), Some(Path::new("/actions/x-1")));
    assert_eq!((linux.masked_paths().as_deref(), linux.readonly_paths().as_deref()), (Some(&[][..]), Some(&[][..])));
}

#[test]
fn memory_is_limited_where_the_kernel_accounts_it() {
    let limit = |memory| {
        let bundle = bundle(&action(), &Wishes::default(), &image(), &Host { memory, ..host() }).unwrap();
        assert_eq!(bundle.memory, memory);
        let spec = read(bundle);
        let resources = spec.linux().as_ref().unwrap().resources().clone();
        resources.and_then(|r| r.memory().as_ref().and_then(|m| m.limit()))
    };
    assert_eq!(limit(Some(40 << 20)), Some(40 << 20));
    assert_eq!(limit(None), None);
}

#[test]
fn a_requested_memory_limit_includes_swap() {
    let swap_of = |wish: &str, swap| {
        let action = Action { environment: vec![wish.into()].into(), ..action() };
        let host = Host { memory: Some(40 << 20), controllers: vec!["memory".into()], swap, ..host() };
        let resources = read(bundle(&action, action.environment.wishes().unwrap(), &image(), &host).unwrap())
            .linux()
            .as_ref()
            .unwrap()
            .resources()
            .clone()
            .unwrap();
        resources.unified().as_ref().and_then(|files| files.get("memory.swap.max").cloned())
    };
    assert_eq!(swap_of("THIMBLE_MEMORY=8m", true).as_deref(), Some("0"));
    assert_eq!(swap_of("THIMBLE_MEMORY=8m", false), None, "a kernel without swap has no such file");
    assert_eq!(swap_of("X=1", true), None, "an action within the machine's limit may be compressed");
}
