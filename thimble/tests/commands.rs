//! Objects by the command line: forms of output, namespaces, selectors, what changes, and what would change.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod desk;

use std::process::Stdio;
use std::time::Duration;

use desk::{Desk, OBJECTS, command, lines};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

fn hardware(name: &str, namespace: &str, rack: &str, number: u8) -> String {
    format!(
        "---\napiVersion: tinkerbell.org/v1alpha1\nkind: Hardware\nmetadata: {{name: {name}, namespace: {namespace}, labels: {{rack: '{rack}'}}}}\n\
         spec: {{interfaces: [{{dhcp: {{mac: '52:54:00:00:00:{number:02x}', ip: {{address: 10.0.1.{number}}}}}, netboot: {{allowPXE: true}}}}]}}\n"
    )
}

/// `node-2`, `node-10` and `spare` in default, `node-2` in lab.
fn site() -> String {
    let nodes =
        [("node-2", "default", "7", 2), ("node-10", "default", "7", 10), ("spare", "default", "8", 3), ("node-2", "lab", "7", 4)];
    nodes.iter().map(|(name, namespace, rack, number)| hardware(name, namespace, rack, *number)).collect()
}

async fn site_desk() -> Desk {
    let desk = Desk::new().await;
    let file = desk.file("site.yaml", &site());
    assert!(desk.run(&format!("apply -f {file}")).await.1);
    desk
}

fn column(text: &str, number: usize) -> Vec<&str> {
    text.lines().filter_map(|line| line.split_whitespace().nth(number)).collect()
}

#[tokio::test]
async fn a_list_is_of_one_namespace_or_of_all_and_of_what_is_selected() {
    let desk = site_desk().await;
    for (words, expected) in [
        ("get hw", &["NAME", "node-2", "node-10", "spare"][..]),
        ("get hw --no-headers", &["node-2", "node-10", "spare"]),
        ("get hardware -n lab", &["NAME", "node-2"]),
        ("get hw -l rack=7", &["NAME", "node-2", "node-10"]),
        ("get hw -l rack=7,rack!=8 --field-selector metadata.name!=node-2", &["NAME", "node-10"]),
        ("get hw spare node-2", &["NAME", "node-2", "spare"]),
        ("get hw/spare hardware.tinkerbell.org/node-10", &["NAME", "node-10", "spare"]),
        ("get hw --sort-by address", &["NAME", "node-2", "spare", "node-10"]),
        (
            "get hw -A -o name",
            &[
                "hardware.tinkerbell.org/node-2",
                "hardware.tinkerbell.org/node-10",
                "hardware.tinkerbell.org/spare",
                "hardware.tinkerbell.org/node-2",
            ],
        ),
        ("get ms", &["NAME", "node-2", "node-10", "spare"]),
    ] {
        let (text, fine) = desk.run(words).await;
        assert_eq!((column(&text, 0).as_slice(), fine), (expected, true), "{words}: {text}");
    }
    let (text, _) = desk.run("get hw -A --show-labels").await;
    assert_eq!(column(&text, 0), ["NAMESPACE", "default", "default", "default", "lab"]);
    assert!(lines(&text)[1].ends_with("rack=7"), "{text}");
    let (wide, _) = desk.run("get hw -o wide").await;
    assert!(wide.lines().next().unwrap().contains("HOSTNAME"), "{wide}");
    let nothing = command("get wf", &desk.url).await;
    assert!(nothing.status.success() && nothing.stdout.is_empty(), "an empty list is not an error");
}

#[tokio::test]
async fn programs_read_json_and_yaml_and_the_exit_code() {
    let desk = site_desk().await;
    let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let list = read(&desk.run("get hw -o json").await.0);
    assert_eq!((list["kind"].as_str(), list["items"].as_array().unwrap().len()), (Some("List"), 3));
    assert_eq!(list["items"][0]["apiVersion"], "tinkerbell.org/v1alpha1");
    let one = read(&desk.run("get hw spare -o json").await.0);
    assert_eq!((one["kind"].as_str(), one["metadata"]["name"].as_str()), (Some("Hardware"), Some("spare")));
    assert!(desk.run("get hw spare -o yaml").await.0.starts_with("apiVersion: tinkerbell.org/v1alpha1\nkind: Hardware\n"));
    let machine = read(&desk.run("machine show spare -o json").await.0);
    assert_eq!(machine["hardware"]["metadata"]["name"], "spare");
    let held = read(&desk.run("machine hold node-10 spare --reason fan -o json").await.0);
    assert_eq!((held["done"][1]["change"].as_str(), held["done"][1]["message"].as_str()), (Some("hold"), Some("fan")));
    for (words, code, said) in [
        ("get hw", 0, ""),
        ("get hw nothing", 1, "Hardware default/nothing does not exist"),
        ("get pods", 2, "\"pods\" is not a kind of objects"),
        ("get hw -l a=b spare", 2, "names and a selector exclude each other"),
        ("get hw --sort-by colour", 2, "has no column \"colour\"; it has name, mac"),
        ("get hw --output xml", 2, "possible values"),
        ("delete hw", 2, "name the hardware to delete, select them with -l, or give --all"),
        ("workflow pause", 2, "name the workflows"),
        ("machine hold", 2, "required"),
        ("get hw -l ==", 1, "unable to parse requirement"),
    ] {
        let output = command(words, &desk.url).await;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{words}: {text}");
        assert!(text.contains(said), "{words}: {text}");
    }
}

#[tokio::test]
async fn what_is_selected_is_deleted_and_nothing_else() {
    let desk = site_desk().await;
    let (text, fine) = desk.run("delete hw -l rack=7 --dry-run").await;
    assert_eq!(
        (lines(&text), fine),
        (vec!["Hardware default/node-10 would be deleted", "Hardware default/node-2 would be deleted"], true)
    );
    let (text, fine) = desk.run("delete hw -l rack=7 -o name").await;
    assert_eq!((lines(&text), fine), (vec!["hardware.tinkerbell.org/node-10", "hardware.tinkerbell.org/node-2"], true));
    assert_eq!(column(&desk.run("get hw -A --no-headers").await.0, 1), ["spare", "node-2"]);
    let both = command("delete hw spare gone", &desk.url).await;
    assert_eq!(both.status.code(), Some(1));
    assert_eq!(String::from_utf8(both.stdout).unwrap(), "Hardware default/spare deleted\n");
    assert!(String::from_utf8(both.stderr).unwrap().starts_with("Hardware default/gone does not exist\n"));
    assert_eq!(desk.run("delete hw gone --ignore-not-found").await, (String::new(), true));
    assert_eq!(desk.run("delete hw --all -n lab").await.0, "Hardware lab/node-2 deleted\n");
    assert_eq!(desk.run("get hw -A").await, (String::new(), true));
}

#[tokio::test]
async fn orders_are_for_several_workflows_and_machines() {
    let desk = site_desk().await;
    desk.run(&format!("apply -f {}", desk.file("all.yaml", OBJECTS))).await;
    let second = OBJECTS.rsplit("---\n").next().unwrap().replace("name: w", "name: v, labels: {a: b}");
    desk.run(&format!("apply -f {}", desk.file("second.yaml", &second))).await;
    let (text, fine) = desk.run("workflow pause w v").await;
    assert!(fine && text.lines().count() == 2 && text.contains("Workflow default/v: paused"), "{text}");
    assert_eq!(desk.run("workflow resume -l a=b -o name").await.0, "workflow.tinkerbell.org/v\n");
    let some = command("workflow resume --all", &desk.url).await;
    assert_eq!(some.status.code(), Some(1), "one of them is not paused");
    let (text, fine) = desk.run("machine hold -l rack=7 --reason power").await;
    assert!(fine && text.lines().all(|line| line.contains(": hold by ") && line.ends_with(": power")), "{text}");
    assert_eq!(column(&desk.run("get ms -l rack=7 --no-headers").await.0, 1), ["hold", "hold"]);
    let (names, _) = desk.run("machine list -o name").await;
    assert_eq!(lines(&names), ["hardware.tinkerbell.org/node-10", "hardware.tinkerbell.org/node-2"]);
    assert!(desk.run("machine show spare node-2 -n default").await.0.contains("\n\nMachine"));
}

#[tokio::test]
async fn diff_shows_what_apply_would_change() {
    let desk = Desk::new().await;
    let file = desk.file("all.yaml", OBJECTS);
    let new = command(&format!("diff -f {file}"), &desk.url).await;
    let text = String::from_utf8(new.stdout).unwrap();
    assert_eq!(new.status.code(), Some(1), "{text}");
    assert!(text.contains("--- /dev/null\n+++ Hardware default/node-1 (applied)\n@@ -0,0 +1,"), "{text}");
    assert!(String::from_utf8(new.stderr).unwrap().contains("would order these machines to be installed: default/node-1"));
    assert!(desk.run("get hw").await.0.is_empty(), "nothing is stored");
    desk.run(&format!("apply -f {file}")).await;
    assert_eq!(desk.run(&format!("diff -f {file}")).await, (String::new(), true));
    let changed = desk.file("changed.yaml", &OBJECTS.replace("timeout: 60", "timeout: 90").replace("/dev/vda", "/dev/vdb"));
    let differs = command(&format!("diff -f {changed}"), &desk.url).await;
    let text = String::from_utf8(differs.stdout).unwrap();
    assert_eq!(differs.status.code(), Some(1), "{text}");
    for expected in ["--- Hardware default/node-1 (stored)", "-  - device: /dev/vda", "+  - device: /dev/vdb", "timeout: 90"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let wrong = desk.file("wrong.yaml", &OBJECTS.replace("disks:", "disk:"));
    let trouble = command(&format!("diff -f {wrong}"), &desk.url).await;
    assert_eq!(trouble.status.code(), Some(2));
    assert!(String::from_utf8(trouble.stdout).unwrap().contains("wrong.yaml:5:3: spec: unknown key \"disk\""));
    assert_eq!(command("diff -f /nonexistent", &desk.url).await.status.code(), Some(2));
}

#[tokio::test]
async fn describe_shows_what_belongs_to_an_object() {
    let desk = Desk::new().await;
    desk.run(&format!("apply -f {}", desk.file("all.yaml", OBJECTS))).await;
    desk.run("machine hold node-1 --reason fan").await;
    let (text, fine) = desk.run("describe hw node-1").await;
    for expected in [
        "Name:         node-1",
        "Kind:         Hardware (tinkerbell.org/v1alpha1)",
        "Boots     hold fan",
        "\nWorkflows:\n",
        "Spec:\n  disks:",
        "\nLast steps:\n",
        "intent hold",
    ] {
        assert!(fine && text.contains(expected), "{expected}: {text}");
    }
    let (text, _) = desk.run("describe workflow w").await;
    for expected in ["Spec:\n", "State     PENDING", "install  stream  PENDING", "\nLog:\n", "prepared"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let (text, _) = desk.run("describe template one").await;
    assert!(text.contains("Data:\n  name: one\n"), "{text}");
    let (all, _) = desk.run("describe hw,tpl").await;
    assert!(all.contains("node-1") && all.contains("Data:\n  name: one"), "{all}");
}

#[tokio::test]
async fn events_are_listed_and_selected() {
    let desk = site_desk().await;
    desk.run("machine hold default/node-2 --reason fan").await;
    let (text, fine) = desk.run("events").await;
    assert!(
        fine && text.contains("Hardware default/spare created") && text.contains("machine default/node-2  intent hold"),
        "{text}"
    );
    let (text, _) = desk.run("events --for hw/node-2").await;
    assert!(text.contains("intent hold") && !text.contains("spare") && !text.contains("lab/node-2"), "{text}");
    let (text, _) = desk.run("events --for hw/node-2 -n lab -o json").await;
    assert_eq!(serde_json::from_str::<Value>(text.trim()).unwrap()["name"], "lab/node-2", "{text}");
    assert_eq!(desk.run("events --since 2999-01-01T00:00:00Z").await, (String::new(), true));
    assert!(desk.error("events --for pods/x").await.contains("\"pods\" is not a kind"));
}

/// A command that goes on, and its lines.
struct Following {
    child: tokio::process::Child,
    lines: tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
}

impl Following {
    fn start(words: &str, desk: &Desk) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_thimble"));
        command.args(words.split(' ')).env("THIMBLE_SERVER", &desk.url).kill_on_drop(true).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    async fn line(&mut self) -> String {
        tokio::time::timeout(Duration::from_secs(60), self.lines.next_line())
            .await
            .expect("no line came")
            .unwrap()
            .expect("it ended")
    }

    async fn until(&mut self, text: &str) -> String {
        loop {
            let line = self.line().await;
            if line.contains(text) {
                return line;
            }
        }
    }
}

#[tokio::test]
async fn a_watch_shows_what_changes() {
    let desk = site_desk().await;
    let mut table = Following::start("get ms -w", &desk);
    assert!(table.line().await.starts_with("NAME"));
    table.until("spare").await;
    desk.run("machine hold spare --reason fan").await;
    assert_eq!(table.until("hold").await.split_whitespace().next(), Some("spare"));
    let mut json = Following::start("get hw node-2 --watch -o json", &desk);
    assert!(json.line().await.contains("\"name\":\"node-2\""));
    desk.run(&format!("apply -f {}", desk.file("one.yaml", &hardware("node-2", "default", "9", 2)))).await;
    let changed: Value = serde_json::from_str(&json.line().await).unwrap();
    assert_eq!(changed["metadata"]["labels"]["rack"], "9");
    assert!(json.child.try_wait().unwrap().is_none() && table.child.try_wait().unwrap().is_none());
}

#[tokio::test]
async fn a_workflow_that_does_not_end_in_time_has_its_own_exit_code() {
    let desk = Desk::new().await;
    desk.run(&format!("apply -f {}", desk.file("all.yaml", OBJECTS))).await;
    let output = command("workflow show w --watch --timeout 1s", &desk.url).await;
    assert_eq!(output.status.code(), Some(124));
    assert!(String::from_utf8(output.stderr).unwrap().contains("Workflow default/w has not ended"));
}

#[tokio::test]
async fn a_reader_that_ends_is_not_an_error() {
    let desk = site_desk().await;
    for words in ["get hw -A", "get hw -o yaml", "events", "export", "completion bash"] {
        let script = format!("set -o pipefail; '{}' {words} | head -n 0", env!("CARGO_BIN_EXE_thimble"));
        let mut shell = Command::new("bash");
        let output = shell.args(["-c", &script]).env("THIMBLE_SERVER", &desk.url).output().await.unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{words}: {output:?}");
    }
}

#[tokio::test]
async fn what_a_machine_says_reaches_no_terminal_raw() {
    let desk = Desk::new().await;
    let hostile =
        OBJECTS.replace("metadata: {name: node-1}", "metadata: {name: node-1, annotations: {a: \"\\e[2J\\u202e\\x9b\"}}");
    desk.run(&format!("apply -f {}", desk.file("all.yaml", &hostile))).await;
    desk.run("machine hold node-1 --reason \u{1b}[31mred\u{202e}").await;
    for words in [
        "get hw node-1 -o json",
        "get hw node-1 -o yaml",
        "describe hw node-1",
        "describe wf w",
        "machine node-1",
        "machine list",
        "get ms -o wide",
        "get ms -o json",
        "workflow show w",
        "workflow history w",
        "events",
        "events -o json",
        "export hardware",
    ] {
        let (text, fine) = desk.run(words).await;
        let acts = |letter: char| letter != '\n' && (letter.is_control() || letter == '\u{202e}');
        assert!(fine && !text.is_empty() && !text.contains(acts), "{words}: {text:?}");
    }
}

#[tokio::test]
async fn foreign_kinds_are_skipped_when_that_is_asked() {
    let desk = Desk::new().await;
    let file = desk.file("mixed.yaml", &format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\n---\n{OBJECTS}"));
    let (text, fine) = desk.run(&format!("apply -f {file}")).await;
    assert!(!fine && text.contains("mixed.yaml:2:7: kind: \"Secret\" is not known here"), "{text}");
    for words in ["validate", "diff", "apply"] {
        let output = command(&format!("{words} --skip-foreign -f {file}"), &desk.url).await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("mixed.yaml: Secret s is skipped: v1 is not Tinkerbell's\n"), "{words}: {said}");
        let expected = if words == "diff" { Some(1) } else { Some(0) };
        assert_eq!(output.status.code(), expected, "{words}: {said}");
    }
    assert_eq!(column(&desk.run("get all -o name").await.0, 0).len(), 3);
}

#[tokio::test]
async fn render_shows_the_actions_with_their_values() {
    let desk = Desk::new().await;
    let file = desk.file("all.yaml", OBJECTS);
    let alone = async |words: &str| {
        let output = command(&format!("render {words} -f {file}"), "unix:/nonexistent").await;
        (String::from_utf8(output.stdout).unwrap(), output.status.code())
    };
    let (whole, code) = alone("w").await;
    for expected in ["workflow: default/w", "agentID: \"52:54:00:12:34:56\"", "image: actions", "timeout: 60"] {
        assert!(code == Some(0) && whole.contains(expected), "{expected}: {whole}");
    }
    assert!(!whole.contains("state:") && !whole.contains("id:"), "what a run adds is left out: {whole}");
    assert_eq!(alone("-o name").await, ("install/stream\n".to_owned(), Some(0)));
    let (table, _) = alone("-o table").await;
    assert_eq!(
        table.lines().nth(1).unwrap().split_whitespace().collect::<Vec<_>>(),
        ["install", "stream", "actions", "60s", "52:54:00:12:34:56"]
    );
    let (text, code) = alone("--template one --hardware node-1").await;
    assert!(code == Some(0) && text.contains("agentID: \"52:54:00:12:34:56\""), "{text}");
    assert!(alone("--template one --set device_1=abc").await.0.contains("agentID: abc"));
    assert_eq!(alone("other").await.1, Some(1));
    desk.run(&format!("apply -f {file}")).await;
    assert_eq!(desk.run("render w").await, (whole, true), "the stored one is the same");
    let (text, fine) = desk.run("render --template one --hardware node-1 --set device_1=abc").await;
    assert!(fine && text.contains("agentID: abc"), "{text}");
    assert_eq!(desk.run("get wf -o name").await.0, "workflow.tinkerbell.org/w\n", "nothing is stored");
    let broken = desk.file("broken.yaml", &OBJECTS.replace(".device_1", ".device_9"));
    let (text, fine) = desk.run(&format!("render -f {broken}")).await;
    assert!(!fine && text.starts_with("broken.yaml:16:") && text.contains("map has no entry"), "{text}");
    let lonely = desk.file("lonely.yaml", OBJECTS.rsplit("---\n").next().unwrap());
    let refused = command(&format!("render -f {lonely}"), &desk.url).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8(refused.stderr).unwrap().contains("Workflow default/w is not rendered: "));
}

#[tokio::test]
async fn people_read_their_own_time_and_programs_utc() {
    let desk = Desk::new().await;
    desk.run(&format!("apply -f {}", desk.file("all.yaml", OBJECTS))).await;
    let shown = async |zone: &str, words: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_thimble"));
        let output = command.args(words.split(' ')).env("THIMBLE_SERVER", &desk.url).env("TZ", zone).output().await.unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_ne!(shown("UTC0", "workflow history w").await, shown("XYZ5", "workflow history w").await);
    assert_eq!(shown("UTC0", "workflow history w -o json").await, shown("XYZ5", "workflow history w -o json").await);
}

#[tokio::test]
async fn a_machine_that_does_not_boot_is_explained() {
    let desk = Desk::new().await;
    desk.run(&format!("apply -f {}", desk.file("all.yaml", OBJECTS))).await;
    for words in ["boots explain node-1", "boots explain 52:54:00:12:34:56", "boots explain default/node-1"] {
        let (text, fine) = desk.run(words).await;
        assert!(!fine && text.contains("Hardware  default/node-1\n"), "{words}: {text}");
        assert!(text.contains("Stuck: nothing at all was heard from this MAC\n  1. "), "{words}: {text}");
    }
    let json: Value = serde_json::from_str(&desk.run("boots explain node-1 -o json").await.0).unwrap();
    assert_eq!((&json["diagnosis"]["verdict"], &json["boots"]["boot"]), (&"stuck".into(), &"install".into()));
    assert!(desk.error("boots explain nothing").await.contains("is neither a MAC nor the name or address of a Hardware"));
    let file = desk.file("boots.jsonl", "");
    let (text, _) = desk.run(&format!("boots explain 52:54:00:12:34:56 --file {file}")).await;
    assert!(text.contains("Hardware  none\n"), "{text}");
    let daemon = command("boots --address 10.0.0.1", &desk.url).await;
    assert_eq!(daemon.status.code(), Some(2), "without a subcommand it is the daemon, which wants machines");
}

#[tokio::test]
async fn doctor_looks_as_root_and_says_what_to_run_otherwise() {
    let doctor = async |namespace: &str| {
        let words = ["boots", "doctor", "--address", "192.0.2.1", "-o", "json"];
        let mut command = Command::new("unshare");
        command.arg(namespace).arg(env!("CARGO_BIN_EXE_thimble")).args(words).output().await.unwrap()
    };
    let nobody = doctor("--user").await;
    let text = String::from_utf8_lossy(&nobody.stderr).into_owned();
    if text.contains("unshare failed") {
        return eprintln!("skipped: this host allows no namespaces");
    }
    assert_eq!((nobody.status.code(), text.contains("Run: sudo thimble boots doctor")), (Some(3), true), "{text}");
    let root = doctor("--net").await;
    if String::from_utf8_lossy(&root.stderr).contains("unshare failed") {
        return eprintln!("skipped: it is not root");
    }
    assert_eq!(root.status.code(), Some(1), "{}", String::from_utf8_lossy(&root.stderr));
    let found: Value = serde_json::from_slice(&root.stdout).unwrap();
    let address = found.as_array().unwrap().iter().find(|one| one["check"] == "address").unwrap();
    assert_eq!((&address["level"], address["remedy"].as_str().unwrap().is_empty()), (&"error".into(), false));
}
