//! Which programs of an image run, what the report says about the others, and how the agent's mounts affect an image. Needs
//! root, as `containers.rs` does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/lab.rs"]
mod lab;
#[path = "../../oci/tests/support/registry.rs"]
mod registry;
#[path = "support/server.rs"]
mod server;

use lab::{Lab, entry};
use proto::ActionResponse;
use proto::action_status_request::StateType::{Failed, Success};
use server::{action, message};
use tar::EntryType::{Regular, Symlink};

/// The head of a 64-bit ELF program for another architecture.
fn foreign_program() -> Vec<u8> {
    let mut bytes = vec![0; 128];
    bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    bytes[16] = 2;
    bytes[18] = if cfg!(target_arch = "x86_64") { 183 } else { 62 };
    bytes[20] = 1;
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_cannot_run_is_explained_and_never_given_to_a_shell() {
    let lab = Lab::new().await;
    let _agent = lab.agent();
    let files: [(&str, u32, Vec<u8>); 7] = [
        ("python", 0o755, b"#!/usr/bin/python3\nprint(1)\n".to_vec()),
        ("crlf", 0o755, b"#!/bin/sh\r\necho started\r\n".to_vec()),
        ("foreign", 0o755, foreign_program()),
        ("text", 0o755, b"echo A SHELL HAS STARTED THIS\n".to_vec()),
        ("plain", 0o644, b"#!/bin/sh\necho started\n".to_vec()),
        ("empty", 0o755, Vec::new()),
        ("root", 0o700, b"#!/bin/sh\necho only root\n".to_vec()),
    ];
    let image = lab.odd_image("odd", r#"{"Env":["PATH=/bin:/odd"]}"#, |tar| {
        for (name, mode, content) in &files {
            entry(tar, &format!("odd/{name}"), Regular, *mode, content);
        }
        entry(tar, "odd/link", Symlink, 0o777, b"/no/where");
    });
    for (command, wants) in [
        ("/odd/python", &["\"/odd/python\": ENOENT", "its interpreter \"/usr/bin/python3\" is not in the image"][..]),
        ("python", &["\"/odd/python\"", "/usr/bin/python3"]),
        ("/odd/crlf", &["CR LF", "\"/bin/sh\\r\""]),
        ("/odd/foreign", &["ENOEXEC", "it is a program for", "this machine is"]),
        ("/odd/text", &["ENOEXEC", "neither a program nor a script"]),
        ("/odd/plain", &["EACCES", "mode 0644"]),
        ("/odd/empty", &["ENOEXEC", "the file is empty"]),
        ("/odd/link", &["ENOENT", "/no/where"]),
        ("/odd", &["EACCES", "it is a directory"]),
        ("nothing", &["\"nothing\": ENOENT", "PATH (\"/bin:/odd\")"]),
    ] {
        let id = command.replace('/', "-");
        let report = lab.run(ActionResponse { command: vec![command.into()], ..action(&id, &image) }).await;
        let text = message(&report);
        assert_eq!(report.action_state(), Failed, "{command}: {text}");
        assert!(text.starts_with("CouldNotStart: cannot execute ") && text.matches("; try: ").count() == 1, "{command}: {text}");
        for want in wants {
            assert_eq!(text.matches(want).count(), 1, "{command}: {want} in {text}\n{}", lab.text());
        }
    }
    assert!(!lab.text().contains("A| A SHELL HAS STARTED"), "{}", lab.text());
    let root_only = ActionResponse { command: vec!["/odd/root".into()], ..action("root", &image) };
    assert_eq!(lab.run(root_only).await.action_state(), Success, "a program for root alone runs: {}", lab.text());
    lab.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_for_another_architecture_is_refused_before_its_layers_are_pulled() {
    let lab = Lab::new().await;
    let _agent = lab.agent();
    let (own, other) = if cfg!(target_arch = "x86_64") { ("amd64", "arm64") } else { ("arm64", "amd64") };
    let layers = [(registry::TAR, registry::tar(&[("x", "y")]))];
    let config = format!(r#"{{"os":"linux","architecture":"{other}","config":{{"Cmd":["/x"]}}}}"#);
    let image = lab.registry.image("foreign", &layers, &config);
    let report = lab.run(action("foreign", &image)).await;
    let want = format!("is for linux/{other}, and this machine is linux/{own}; try: ");
    assert!(message(&report).starts_with("ImageNotFound: ") && message(&report).contains(&want), "{}", message(&report));
    assert_eq!(lab.registry.requests("/blobs/"), 1, "only the configuration was pulled");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_of_another_user_opens_its_own_output() {
    let lab = Lab::new().await;
    let _agent = lab.agent();
    let script = "id -u; echo one > /dev/stdout; echo two > /dev/stderr; echo three > /proc/self/fd/1; \
                  echo four > /dev/fd/2; echo five >> /proc/self/fd/2";
    for (user, privileged) in [("1000", "true"), ("1000:1000", "false"), ("0", "true")] {
        let image = lab.image(&format!("user{}", user.replace(':', "-")), &format!(r#"{{"User":"{user}"}}"#), &[]);
        let id = format!("as-{}", user.replace(':', "-"));
        let environment = vec![format!("THIMBLE_PRIVILEGED={privileged}")];
        let run = ActionResponse { image: Some(image), environment, ..lab.shell(&id, script) };
        let report = lab.run(run).await;
        assert_eq!(report.action_state(), Success, "{user}: {}\n{}", message(&report), lab.text());
    }
    for word in ["one", "two", "three", "four", "five"] {
        assert_eq!(lab.text().matches(&format!("A| {word}\n")).count(), 3, "{word}: {}", lab.text());
    }
    lab.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_agents_mounts_do_not_break_any_image() {
    let lab = Lab::new().await;
    // What PID 1 and the agent provide: a network, firmware and modules.
    let before = "mkdir -p /run/thimble/network /run/upper /run/work; touch /run/thimble/network/learned.env; \
                  mount -t overlay -o lowerdir=/usr/lib,upperdir=/run/upper,workdir=/run/work none /usr/lib; \
                  mkdir -p /lib/modules /lib/firmware";
    let _agent = lab.agent_with(&[("BEFORE", before)]);
    let run_is = |kind, content: &'static [u8]| move |tar: &mut tar::Builder<Vec<u8>>| entry(tar, "run", kind, 0o755, content);
    type Fill = Box<dyn FnOnce(&mut tar::Builder<Vec<u8>>)>;
    let images: Vec<(&str, Fill, &str)> = vec![
        ("a-program-at-run", Box::new(run_is(Regular, b"#!/bin/sh\necho it is $0\n")), "/run"),
        ("run-is-a-dangling-link", Box::new(run_is(Symlink, b"/no/where")), "test -L /run"),
        ("run-is-a-link-in-a-circle", Box::new(run_is(Symlink, b"run")), "test -L /run"),
        ("run-is-a-link-to-a-folder", Box::new(run_is(Symlink, b"bin")), "test -e /bin/thimble/network/learned.env"),
        (
            "lib-is-a-link",
            Box::new(|tar| {
                entry(tar, "usr/lib/x", Regular, 0o644, b"");
                entry(tar, "lib", Symlink, 0o777, b"usr/lib");
            }),
            "test -d /usr/lib/firmware && test -e /lib/x",
        ),
        ("lib-is-a-file", Box::new(|tar| entry(tar, "lib", Regular, 0o644, b"")), "test -f /lib"),
        ("etc-is-a-file", Box::new(|tar| entry(tar, "etc", Regular, 0o644, b"")), "test -f /etc"),
        (
            "hosts-is-a-folder",
            Box::new(|tar| entry(tar, "etc/hosts/x", Regular, 0o644, b"")),
            "test -e /etc/hosts/x && test -f /etc/hostname",
        ),
        ("tinkerbell-is-a-file", Box::new(|tar| entry(tar, "tinkerbell", Regular, 0o644, b"")), "test -f /tinkerbell"),
        ("tinkerbell-is-a-link", Box::new(|tar| entry(tar, "tinkerbell", Symlink, 0o777, b"/no/where")), "test -L /tinkerbell"),
    ];
    for (name, fill, script) in images {
        let image = lab.odd_image(name, "{}", fill);
        for read_only in ["false", "true"] {
            let id = format!("{name}-{read_only}");
            let environment = vec![format!("THIMBLE_READ_ONLY={read_only}")];
            let run = ActionResponse { image: Some(image.clone()), environment, ..lab.shell(&id, script) };
            let report = lab.run(run).await;
            assert_eq!(report.action_state(), Success, "{id}: {}\n{}", message(&report), lab.text());
        }
    }
    let text = lab.text();
    for (name, what) in [
        ("a-program-at-run", "/run/thimble/network"),
        ("run-is-a-dangling-link", "/run/thimble/network"),
        ("run-is-a-link-in-a-circle", "/run/thimble/network"),
        ("lib-is-a-file", "/lib/firmware"),
        ("etc-is-a-file", "/etc/hosts"),
        ("hosts-is-a-folder", "/etc/hosts"),
        ("tinkerbell-is-a-file", "/tinkerbell"),
    ] {
        let line = format!("action {name}-false: continues without {what}, because the image has something else in its place: ");
        assert_eq!(text.matches(&line).count(), 1, "{line}\n{text}");
    }
    let below =
        ActionResponse { volumes: vec!["extra:/lib/firmware/extra".into()], ..lab.shell("below", "touch /lib/firmware/extra/x") };
    assert_eq!(lab.run(below).await.action_state(), Success, "a volume below a folder that the agent mounts: {}", lab.text());
    lab.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_that_cannot_be_made_says_why_once() {
    let lab = Lab::new().await;
    let _agent = lab.agent();
    let image = lab.odd_image("bad-sys", "{}", |tar| entry(tar, "sys", Regular, 0o644, b""));
    for (action, want) in [
        (
            ActionResponse { volumes: vec!["/worker:/proc/x".into()], ..lab.shell("in-proc", "true") },
            "cannot create the container: cannot mount /worker on /proc/x: ",
        ),
        (
            ActionResponse { image: Some(image), ..lab.shell("bad-sys", "true") },
            "cannot create the container: cannot mount /sys on /sys: ",
        ),
    ] {
        let report = lab.run(action).await;
        let text = message(&report);
        assert!(text.starts_with(&format!("CouldNotStart: {want}")), "{text}");
        assert!(text.len() < 400 && !text.contains("failed to prepare rootfs"), "the reason is repeated: {text}");
        assert!(text.contains("No such file or directory") || text.contains("Not a directory"), "{text}");
    }
    lab.assert_clean();
}
