//! The client's commands against a server on a real socket.
#![allow(clippy::unwrap_used)]

mod desk;

use std::path::Path;

use desk::{Desk, OBJECTS, command, error, lines};
use model::{ActionState, AgentId, Kind};
use server::SyslogLine;
use server::progress::Report;

#[tokio::test]
async fn an_operators_day() {
    let desk = Desk::new().await;
    let file = desk.file("all.yaml", OBJECTS);
    let (text, fine) = desk.run(&format!("apply -f {file}")).await;
    assert_eq!(
        (lines(&text), fine),
        (vec!["Hardware default/node-1 created", "Template default/one created", "Workflow default/w created"], true)
    );
    let (text, _) = desk.run("get hardware").await;
    assert_eq!(
        lines(&text)[1].split_whitespace().take(5).collect::<Vec<_>>(),
        ["node-1", "52:54:00:12:34:56", "10.0.0.20", "yes", "/dev/vda"]
    );
    let (text, _) = desk.run("get wf").await;
    assert_eq!(
        lines(&text)[1].split_whitespace().take(5).collect::<Vec<_>>(),
        ["w", "PENDING", "0/1", "stream", "52:54:00:12:34:56"]
    );
    let (text, _) = desk.run("get workflows w -o json").await;
    assert!(text.contains("\"templateRef\": \"one\""), "{text}");
    let (yaml, _) = desk.run("get templates one -o yaml").await;
    let again = desk.file("again.yaml", &yaml);
    assert_eq!(desk.run(&format!("apply -f {again}")).await.0, "Template default/one unchanged\n", "{yaml}");
    let (text, _) = desk.run("workflow show w").await;
    assert!(text.contains("install  stream  PENDING") && text.contains("\nWaits     boot since "), "{text}");
    let (text, _) = desk.run("machine 52:54:00:12:34:56").await;
    let shown = lines(&text);
    let machine = ["Machine   52:54:00:12:34:56", "Hardware  node-1", "Boots     install default/w"];
    assert_eq!(shown[..3], machine);
    assert!(shown[3].starts_with("Intent    install by apply at ") && shown[3].ends_with(": workflow default/w was ordered"));
    assert_eq!((shown[4], shown.len()), ("Orders    default/w", 6));
    assert!(shown[5].starts_with("Queue     1. default/w PENDING, waits for boot since "), "{text}");
    assert_eq!(desk.run("machine node-1").await.0, text);
    assert!(desk.error("delete template one").await.contains("is used by Workflow default/w; delete them first, or use --force"));
    assert_eq!(desk.run("delete workflow w").await.0, "Workflow default/w deleted\n");
    assert_eq!(desk.error("workflow show w").await, "Workflow default/w does not exist");
}

#[tokio::test]
async fn machines_that_wait_for_approval_are_listed() {
    let desk = Desk::new().await;
    desk.run(&format!("apply -f {}", desk.file("objects.yaml", OBJECTS))).await;
    assert_eq!(desk.run("machine list").await.0.lines().count(), 1, "the heading alone");
    desk.run("machine hold node-1 --reason fan").await;
    let (text, done) = desk.run("machine list").await;
    assert!(done && text.lines().nth(1).unwrap().starts_with("default/node-1  hold"), "{text}");
    assert!(text.trim_end().ends_with("fan"), "{text}");
    desk.run("machine local node-1").await;
    assert_eq!(desk.run("machine list").await.0.lines().count(), 1);
    assert!(desk.run("machine list --all").await.0.contains("default/node-1  local"));
}

#[tokio::test]
async fn several_machines_are_installed_only_after_a_question() {
    let desk = Desk::new().await;
    let other = OBJECTS.split("---\n").filter(|object| !object.contains("kind: Template")).collect::<Vec<_>>().join("---\n");
    let other = other
        .replace("node-1", "node-2")
        .replace("name: w", "name: v")
        .replace("12:34:56", "12:34:57")
        .replace("10.0.0.20", "10.0.0.21");
    let file = desk.file("all.yaml", &format!("{OBJECTS}---\n{other}"));
    let asked = desk.error(&format!("apply -f {file}")).await; // this process has no terminal
    assert!(asked.starts_with("This orders 2 machines to be installed: default/node-1, default/node-2. Give --yes"), "{asked}");
    assert!(desk.server.list(Kind::Hardware).is_empty());
    let done = command(&format!("apply --yes -f {file}"), &desk.url).await;
    let said = String::from_utf8(done.stderr).unwrap();
    assert!(done.status.success() && said.contains("2 machines will be installed: default/node-1 and 1 others"), "{said}");
    let (text, fine) = desk.run(&format!("delete -f {file}")).await;
    assert!(fine && lines(&text)[..2] == ["Workflow default/w deleted", "Workflow default/v deleted"], "{text}");
    assert_eq!(lines(&text).len(), 5);
}

#[tokio::test]
async fn an_operator_decides_what_a_machine_boots() {
    let desk = Desk::new().await;
    let file = desk.file("all.yaml", OBJECTS);
    desk.run(&format!("apply -f {file}")).await;
    for (words, expected) in [
        ("machine hold node-1 --reason fan", "node-1: hold by "),
        ("machine approve node-1", "node-1: install by "),
        ("machine rescue 52:54:00:12:34:56", "52:54:00:12:34:56: rescue by "),
        ("machine local 10.0.0.20", "10.0.0.20: local by "),
        ("machine reinstall default/node-1", "default/node-1: install by "),
    ] {
        let (text, fine) = desk.run(words).await;
        assert!(fine && text.starts_with(expected), "{words}: {text}");
    }
    assert_eq!(
        desk.error("machine approve node-1").await,
        "Hardware default/node-1 cannot take the order approve: it is not held; its intent is install"
    );
}

#[tokio::test]
async fn watching_ends_with_the_workflow() {
    for (state, fine) in [(ActionState::Success, true), (ActionState::Failed, false)] {
        let desk = Desk::new().await;
        let file = desk.file("all.yaml", OBJECTS);
        desk.run(&format!("apply -f {file}")).await;
        let agent = AgentId::from("52:54:00:12:34:56");
        let work = async {
            let given = desk.server.next_action(&agent).await.unwrap();
            let report = |state| Report {
                agent: agent.clone(),
                task_id: given.task.id.clone(),
                action_id: given.action.id.clone(),
                state,
                ..Report::default()
            };
            desk.server.report(&given.workflow, &report(ActionState::Running)).await.unwrap();
            desk.server.report(&given.workflow, &report(state)).await.unwrap();
        };
        let (shown, ()) = tokio::join!(desk.run("workflow show w --watch"), work);
        let (text, ended_well) = shown;
        assert_eq!(ended_well, fine, "{text}");
    }
}

#[tokio::test]
async fn a_workflow_is_paused_resumed_retried_and_rerun_and_its_log_shows_it() {
    let desk = Desk::new().await;
    let file = desk.file("all.yaml", OBJECTS);
    desk.run(&format!("apply -f {file}")).await;
    let orders = |words: &'static str, expected: &'static str| {
        let desk = &desk;
        async move {
            let (text, fine) = desk.run(words).await;
            assert!(fine && text.starts_with(expected), "{words}: {text}");
        }
    };
    orders("workflow pause w --reason switch", "Workflow default/w: paused").await;
    orders("workflow resume w", "Workflow default/w: resumed").await;
    assert_eq!(
        desk.error("workflow retry w").await,
        "Workflow default/w: a workflow that is PENDING cannot be retried; it continues without an order"
    );
    assert_eq!(
        desk.error("workflow rerun w").await,
        "Workflow default/w is PENDING; only a workflow that has ended can run again. `thimble workflow cancel` ends it"
    );
    orders("workflow cancel w --reason no", "Workflow default/w cancelled").await;
    orders("workflow retry w --from stream --reason yes", "Workflow default/w: ordered again from action stream by ").await;
    orders("workflow cancel default/w", "Workflow default/w cancelled").await;
    orders("workflow rerun w", "Workflow default/w-run2: workflow default/w-run2 repeats default/w").await;
    assert_eq!(
        desk.error("workflow rerun w").await,
        "Workflow default/w-run2, which repeats default/w, has not ended; wait for its end, or cancel it first"
    );
    let (text, fine) = desk.run("workflow history w").await;
    let events: Vec<&str> = text.lines().skip(1).filter_map(|line| line.split_whitespace().nth(3)).collect();
    assert_eq!(events, ["prepared", "paused", "resumed", "cancelled", "retried", "cancelled"], "{text}");
    assert!(fine && text.contains(": switch") && text.contains("rendered with 1 actions and ordered"), "{text}");
    assert_eq!(desk.error("workflow history v").await, "Workflow default/v does not exist");
}

#[tokio::test]
async fn mistakes_are_printed_with_their_lines_and_nothing_is_sent() {
    let desk = Desk::new().await;
    let one = desk.file("a.yaml", &OBJECTS.replace("disks:", "disk:"));
    desk.file("b.yml", &OBJECTS.replace("hardwareRef:", "hardwareref:").replace("name: ", "name: x"));
    desk.file("ignored.txt", "x: [");
    let folder = Path::new(&one).parent().unwrap().display().to_string();
    for command in ["apply", "validate"] {
        let (text, fine) = desk.run(&format!("{command} -f {folder}")).await;
        let found = lines(&text);
        assert!(found[0].starts_with("a.yaml:5:3: spec: unknown key \"disk\" (did you mean \"disks\"?)"), "{text}");
        assert!(found[1].starts_with("b.yml:22:26: spec: unknown key \"hardwareref\" (did you mean \"hardwareRef\"?)"), "{text}");
        assert_eq!((found[2], fine), ("2 mistakes", false));
    }
    assert!(desk.server.list(Kind::Hardware).is_empty());
}

#[tokio::test]
async fn a_mistake_that_the_server_finds_names_the_file_and_its_line() {
    let desk = Desk::new().await;
    let (hardware, rest) = OBJECTS.split_once("---\n").unwrap();
    let one = desk.file("a.yaml", hardware);
    desk.file("b.yaml", &format!("# a comment\n\n{}", rest.replace("name: install", "name: '{{ nosuch }}'")));
    let folder = Path::new(&one).parent().unwrap().display().to_string();
    for command in ["apply", "validate"] {
        let (text, fine) = desk.run(&format!("{command} -f {folder}")).await;
        assert_eq!(lines(&text)[0], "b.yaml:10:5: spec.data: function \"nosuch\" not defined", "{command}");
        assert!(!fine && desk.server.list(Kind::Hardware).is_empty());
    }
    desk.file("b.yaml", &rest.replace("{{.device_1}}", "{{ .device_9 }}"));
    let (text, _) = desk.run(&format!("apply -f {folder}")).await;
    assert!(lines(&text)[0].starts_with("b.yaml:9:21: spec.data: <.device_9>: map has no entry"), "{text}");
}

#[tokio::test]
async fn validate_renders_what_is_in_the_files() {
    let desk = Desk::new().await;
    let fine = desk.file("fine.yaml", OBJECTS);
    assert_eq!(
        desk.run(&format!("validate -f {fine}")).await,
        ("Hardware default/node-1 ok\nTemplate default/one ok\nWorkflow default/w ok\n".to_owned(), true)
    );
    let broken = desk.file("broken.yaml", &OBJECTS.replace(".device_1", ".device_9"));
    let (text, ok) = desk.run(&format!("validate -f {broken}")).await;
    assert!(text.starts_with("broken.yaml:16:") && text.contains("map has no entry for key \"device_9\"") && !ok, "{text}");
    let alone = desk.file("alone.yaml", OBJECTS.rsplit("---\n").next().unwrap());
    let (text, ok) = desk.run(&format!("validate -f {alone}")).await;
    assert_eq!(
        (text.as_str(), ok),
        ("Workflow default/w ok, but waits for Hardware default/node-1, which is not in these files\n", true)
    );
    let empty = desk.file("empty.yaml", "# nothing\n");
    assert!(desk.error(&format!("validate -f {empty}")).await.starts_with("no objects in"));
}

#[tokio::test]
async fn an_unreachable_server_is_named() {
    let desk = Desk::new().await;
    let gone = desk.folder.path().join("gone.sock").display().to_string();
    let refused = error("get hardware", &format!("unix:{gone}")).await;
    assert!(refused.starts_with(&format!("cannot reach the server at {gone}")), "{refused}");
    assert!(refused.contains("No such file"), "the cause is missing: {refused}");
    let plain = error("get hardware", "http://127.0.0.1:7080").await;
    assert!(plain.contains("serves no object") && plain.contains("thimble kubeconfig"), "{plain}");
    assert!(desk.error("get workflows nothing/here").await.contains("Workflow nothing/here does not exist"));
}

#[tokio::test]
async fn a_workflow_is_cancelled_with_a_reason() {
    let desk = Desk::new().await;
    let file = desk.file("all.yaml", OBJECTS);
    desk.run(&format!("apply -f {file}")).await;
    let agent = AgentId::from("52:54:00:12:34:56");
    let work = desk.server.next_action(&agent).await.unwrap();
    let report =
        Report { agent, task_id: work.task.id, action_id: work.action.id, state: ActionState::Running, ..Report::default() };
    desk.server.report(&work.workflow, &report).await.unwrap();
    let (text, fine) = desk.run("cancel w --reason wrong-machine").await;
    assert!(fine && text.starts_with("Workflow default/w ends when agent 52:54:00:12:34:56 has stopped action stream"), "{text}");
    let (text, _) = desk.run("cancel w --now").await;
    assert_eq!(text, "Workflow default/w cancelled\n");
    let (text, _) = desk.run("get workflows").await;
    assert!(text.contains("FAILED") && text.contains("cancelled: wrong-machine"), "the first reason must stay: {text}");
    assert_eq!(desk.error("cancel w").await, "Workflow default/w is FAILED already");
    assert_eq!(desk.error("cancel x").await, "Workflow default/x does not exist");
}

#[tokio::test]
async fn the_log_of_a_workflow_is_printed_without_effects_and_followed_to_its_end() {
    let desk = Desk::new().await;
    desk.run(&format!("apply -f {}", desk.file("all.yaml", OBJECTS))).await;
    let agent = AgentId::from("52:54:00:12:34:56");
    let work = desk.server.next_action(&agent).await.unwrap();
    let report = |state| Report {
        agent: agent.clone(),
        task_id: work.task.id.clone(),
        action_id: work.action.id.clone(),
        state,
        ..Report::default()
    };
    let say = |text: &str| {
        let line = SyslogLine { mac: agent.0.parse().ok(), address: None, tag: "hook", text };
        desk.server.keep_syslog(line, jiff::Timestamp::now());
    };
    say("the machine boots");
    desk.server.report(&work.workflow, &report(ActionState::Running)).await.unwrap();
    say("\u{1b}[2J one\ntwo\u{7}");
    let shown = async |words: &str, text: &str| {
        for _ in 0..200 {
            let (out, fine) = desk.run(words).await;
            if fine && out.contains(text) {
                return out;
            }
        }
        panic!("{words} does not show {text}");
    };
    let out = shown("logs w", "two").await;
    assert!(out.ends_with("  stream/syslog  hook: \\u{1b}[2J one\\ntwo\\u{7}\n") && !out.contains("boots"), "{out:?}");
    assert_eq!(desk.run("logs w stream --since 1h").await.0, out);
    assert_eq!(desk.run("logs w other").await, (String::new(), true));
    assert!(desk.run("logs w -o json").await.0.starts_with("{\"time\":\""));
    assert!(shown("logs --machine node-1", "boots").await.ends_with("  syslog  hook: the machine boots\n"));
    assert_eq!(desk.error("logs x").await, "Workflow default/x does not exist and has no log");
    assert!(
        String::from_utf8(command("logs w --since soon", &desk.url).await.stderr)
            .unwrap()
            .contains("neither a time span such as")
    );

    let follow = desk.run("logs w -f");
    let rest = async {
        say("later");
        desk.server.report(&work.workflow, &report(ActionState::Success)).await.unwrap();
    };
    let ((out, fine), ()) = tokio::join!(follow, rest);
    assert!(fine && out.contains("two") && out.ends_with("hook: later\n"), "{out}");
}
