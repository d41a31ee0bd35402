//! Objects from YAML: what is read, what is refused and where the mistake is said to be.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use model::{Document, Kind, Mac, Object, parse_documents, parse_noting};
use proptest::prelude::*;

const MACHINE: &str = r#"apiVersion: tinkerbell.org/v1alpha1
kind: Hardware
metadata:
  name: node-1
  labels: {rack: "7"}
  uid: 1234
spec:
  agentID: 52:54:00:12:34:56
  disks: [{device: /dev/vda}]
  interfaces:
    - dhcp:
        mac: 52:54:00:12:34:56
        hostname: 0123
        lease_time: 86400
        name_servers: [10.0.0.1]
        ip: &ip {address: 10.0.0.20, netmask: 255.255.255.0, gateway: ""}
        classless_static_routes: [{destination_descriptor: 10.9.0.0/16, router: 10.0.0.1}]
      netboot: {allowPXE: true, osie: {kernelParams: [quiet]}}
    - dhcp: {mac: 52-54-00-12-34-57, ip: {<<: *ip, gateway: 10.0.0.1}}
  metadata: {instance: {operating_system: {slug: debian_12}, storage: {disks: [{device: /dev/vda, wipe_table: true}]}}}
status: {state: whatever}
"#;

const WORKFLOW: &str = "apiVersion: tinkerbell.org/v1alpha1
kind: Workflow
metadata: {name: w, namespace: lab}
spec:
  templateRef: debian
  hardwareRef: node-1
  hardwareMap:
    device_1: 52:54:00:12:34:56
    mode: 0644
    nothing:
";

fn one(text: &str) -> Object {
    parse_documents(text, "f.yaml").unwrap().pop().unwrap()
}

/// `line:column path: message (hint)` of every mistake.
fn mistakes(text: &str) -> Vec<String> {
    parse_documents(text, "f").unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn hardware_keeps_tinkerbells_names_and_raw_texts() {
    let Object::Hardware(hardware) = one(MACHINE) else { panic!() };
    assert_eq!((hardware.metadata.namespace.as_str(), hardware.metadata.labels["rack"].as_str()), ("default", "7"));
    let mac: Mac = "52:54:00:12:34:56".parse().unwrap();
    let first = hardware.spec.interface(mac).unwrap();
    assert!(first.may_netboot());
    let dhcp = first.dhcp.as_ref().unwrap();
    assert_eq!((dhcp.hostname.as_deref(), dhcp.lease_time), (Some("0123"), Some(86400)));
    assert_eq!(dhcp.ip.as_ref().unwrap().gateway, None, "an empty text is no address");
    let second = hardware.spec.interfaces[1].dhcp.as_ref().unwrap();
    assert_eq!(second.mac.unwrap().to_string(), "52:54:00:12:34:57");
    assert_eq!(second.ip.as_ref().unwrap().address, dhcp.ip.as_ref().unwrap().address, "merged");
    let json = serde_json::to_value(&hardware).unwrap();
    assert_eq!(json["spec"]["interfaces"][0]["netboot"]["allowPXE"], true);
    assert_eq!(json["spec"]["interfaces"][0]["netboot"]["osie"]["kernelParams"][0], "quiet");
    assert_eq!(json["spec"]["metadata"]["instance"]["operating_system"]["slug"], "debian_12");
    assert!(json.get("status").is_none(), "the status is the server's word");
}

#[test]
fn what_was_read_reads_the_same_again_as_json() {
    for text in [MACHINE, WORKFLOW] {
        let object = one(text);
        assert_eq!(one(&serde_json::to_string_pretty(&object).unwrap()), object);
    }
}

#[test]
fn map_values_are_the_text_as_written() {
    let Object::Workflow(workflow) = one(WORKFLOW) else { panic!() };
    let map = &workflow.spec.hardware_map;
    assert_eq!((map["device_1"].as_str(), map["mode"].as_str(), map["nothing"].as_str()), ("52:54:00:12:34:56", "0644", ""));
}

#[test]
fn several_documents_and_lists_are_all_read() {
    let list = format!(
        "---\n{WORKFLOW}---\n# nothing here\n---\napiVersion: v1\nkind: List\nitems:\n- {}\n",
        MACHINE.replace('\n', "\n  ")
    );
    let kinds: Vec<Kind> = parse_documents(&list, "f").unwrap().iter().map(Object::kind).collect();
    assert_eq!(kinds, [Kind::Workflow, Kind::Hardware]);
    assert_eq!(parse_documents("", "f"), Ok(vec![]));
}

#[test]
fn all_mistakes_are_shown_at_once_with_their_places() {
    let text = "apiVersion: tinkerbell.org/v1alpha1
kind: Hardware
metadata: {name: Node_1}
spec:
  interfaces:
  - dhcp:
      mac: 52:54:00:12:34
      hostnam: x
      lease_time: \"60\"
      ip: {address: 10.0.0.300}
    netboot: {allow_pxe: yes}
  bogus: 1
";
    assert_eq!(
        mistakes(text),
        [
            "f:3:18: metadata.name: a name has small letters, digits, '-' and '.', begins and ends with a letter or digit",
            "f:7:12: spec.interfaces[0].dhcp.mac: \"52:54:00:12:34\" is not a MAC address such as 52:54:00:12:34:56",
            "f:8:7: spec.interfaces[0].dhcp: unknown key \"hostnam\" (did you mean \"hostname\"?)",
            "f:9:19: spec.interfaces[0].dhcp.lease_time: \"60\" is text; write the number without quotes",
            "f:10:21: spec.interfaces[0].dhcp.ip.address: \"10.0.0.300\" is not an IP address",
            "f:11:15: spec.interfaces[0].netboot: unknown key \"allow_pxe\" (did you mean \"allowPXE\"?)",
            "f:12:3: spec: unknown key \"bogus\" (known here: agentID, auto, bmcRef, disks, interfaces, metadata, references, resources, tinkVersion, userData, vendorData)",
        ]
    );
}

#[test]
fn a_rule_set_is_read_strictly() {
    let text = "apiVersion: tinkerbell.org/v1alpha1\nkind: WorkflowRuleSet\nmetadata: {name: r}\nspec:\n  rules: ['{}']\n  \
                workflow: {template: {ref: t, agentValue: device_1, kvs: {mode: 0644}}, addAttributes: true}\n";
    let Object::WorkflowRuleSet(found) = one(text) else { panic!() };
    let workflow = &found.spec.workflow;
    assert_eq!((workflow.template.name.as_str(), workflow.add_attributes), ("t", Some(true)));
    assert_eq!(workflow.template.kvs["mode"], "0644", "as it was written");
    for (wrong, mistake) in [
        (text.replace("agentValue: device_1, ", ""), "spec.workflow.template: agentValue is missing"),
        (text.replace("addAttributes", "addAtributes"), "did you mean \"addAttributes\"?"),
        (text.replace("['{}']", "{}"), "spec.rules"),
    ] {
        let found = mistakes(&wrong);
        assert!(found.len() == 1 && found[0].contains(mistake), "{found:?}");
    }
}

#[test]
fn a_mistake_says_what_is_wrong() {
    for (case, text, expected) in [
        ("key twice", "a: 1\nb: 2\na: 3\n", "f:3:1: key \"a\" is given twice, first in line 1"),
        (
            "not an object",
            "just text\n",
            "f:1:1: an object is a mapping, found a single value (Hardware, Template, Workflow and WorkflowRuleSet are kept here, and of v1alpha2 Task, Workflow and Policy)",
        ),
        (
            "no kind",
            "apiVersion: x\n",
            "f:1:1: kind is missing (Hardware, Template, Workflow and WorkflowRuleSet are kept here, and of v1alpha2 Task, Workflow and Policy)",
        ),
        (
            "other kind",
            "kind: Pod\n",
            "f:1:7: kind: \"Pod\" is not known here (Hardware, Template, Workflow and WorkflowRuleSet are kept here, and of v1alpha2 Task, Workflow and Policy)",
        ),
        (
            "other version",
            "apiVersion: v2\nkind: Workflow\n",
            "f:1:13: apiVersion: \"v2\" is not known here (write apiVersion: tinkerbell.org/v1alpha1 or tinkerbell.org/v1alpha2)",
        ),
        ("missing part", "apiVersion: tinkerbell.org/v1alpha1\nkind: Workflow\nmetadata: {name: w}\n", "f:1:1: spec is missing"),
        (
            "empty name",
            "apiVersion: tinkerbell.org/v1alpha1\nkind: Template\nmetadata: {name: }\nspec: {data: x}\n",
            "f:3:16: metadata: name is empty",
        ),
        ("unknown anchor", "a: *x\n", "f:1:4: while parsing node, found unknown anchor"),
    ] {
        let found = mistakes(text);
        assert!(found.iter().any(|line| line == expected), "{case}: {found:#?}");
    }
}

#[test]
fn a_broken_document_does_not_hide_the_next() {
    let text = "a: [1\n---\nkind: Pod\n";
    let found = mistakes(text);
    assert!(found.iter().any(|line| line.starts_with("f:3:7: kind: \"Pod\"")), "{found:#?}");
    assert!(found.len() >= 2, "{found:#?}");
}

#[test]
fn hostile_texts_are_refused_within_bounds() {
    let deep = "[".repeat(100_000);
    let wide = format!("a: &a [{}]\n", "x,".repeat(1000))
        + &(0..12)
            .map(|n| {
                format!("b{n}: &b{n} [{}]\n", vec![if n == 0 { "*a".to_owned() } else { format!("*b{}", n - 1) }; 10].join(","))
            })
            .collect::<String>();
    for (case, text) in
        [("deep", deep), ("billion laughs", wide), ("huge", "x".repeat(9 << 20)), ("self", "a: &a [*a]\n".to_owned())]
    {
        assert!(parse_documents(&text, "f").is_err(), "{case}");
    }
}

const RENDERED: &str = r#"version: "0.1"
name: debian
global_timeout: 1800
tasks:
  - name: install
    worker: "52:54:00:12:34:56"
    volumes: [/dev:/dev]
    environment: {MODE: 0644, NONE: }
    actions:
      - name: stream
        image: 10.0.0.1:5000/actions:v1
        timeout: 600
        command: [image2disk]
        environment:
          MODE: 0644
          FLAG: true
          EXP: 1e3
          QUOTED: "0o7"
          EMPTY: ~
          TEXT: |
            two
            lines
        namespaces: {pid: host}
        on-failure: [sh]
"#;

#[test]
fn environment_values_stay_raw() {
    let document = Document::parse(RENDERED, "t").unwrap();
    let action = &document.tasks[0].actions[0];
    let values: Vec<(&str, &str)> = action.environment.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(
        values,
        [("EMPTY", ""), ("EXP", "1e3"), ("FLAG", "true"), ("MODE", "0644"), ("QUOTED", "0o7"), ("TEXT", "two\nlines\n")]
    );
    assert_eq!(document.tasks[0].environment["NONE"], "");
    assert_eq!((document.global_timeout, action.timeout), (1800, 600));
}

#[test]
fn template_mistakes_are_found() {
    for (case, from, to, expected) in [
        ("lost key", "command: [image2disk]", "args: [x]", "t:13:9: tasks[0].actions[0]: unknown key \"args\""),
        ("quoted timeout", "timeout: 600", "timeout: \"600\"", "t:12:18: tasks[0].actions[0].timeout: \"600\" is text"),
        ("negative timeout", "timeout: 600", "timeout: -1", "t:12:18: tasks[0].actions[0].timeout: -1 is not between"),
        ("no worker", "    worker: \"52:54:00:12:34:56\"\n", "", "t:5:5: tasks[0]: worker is missing"),
        ("empty worker", "\"52:54:00:12:34:56\"", "\"\"", "t:6:13: tasks[0]: worker is empty"),
        ("no tasks", &RENDERED[RENDERED.find("tasks").unwrap()..], "tasks: []\n", "t:1:1: tasks: at least one task"),
        (
            "same name",
            "        on-failure: [sh]\n",
            "      - {name: stream, image: x}\n",
            "t:24:9: tasks[0].actions[1].name: the name \"stream\" is used twice",
        ),
        ("key twice", "FLAG: true", "MODE: 1", "t:16:11: key \"MODE\" is given twice, first in line 15"),
    ] {
        let text = RENDERED.replace(from, to);
        assert_ne!(text, RENDERED, "{case}");
        let found: Vec<String> = Document::parse(&text, "t").unwrap_err().iter().map(ToString::to_string).collect();
        assert!(found.iter().any(|line| line.starts_with(expected)), "{case}: {found:#?}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "[ a-z0-9:\\-\\[\\]{}&*!|>\"'#,\n<~%?é]{0,200}") {
        let _ = parse_documents(&text, "f");
        let _ = Document::parse(&text, "f");
    }

    #[test]
    fn a_damaged_file_is_read_or_refused(at in 0..MACHINE.len(), garbage in "[:\\-{}&*\n\t ]{0,3}") {
        let text = format!("{}{garbage}{}", &MACHINE[..at], &MACHINE[at..]);
        if let Err(found) = parse_documents(&text, "f") {
            prop_assert!(found.iter().all(|mistake| mistake.line > 0), "{found:#?}");
        }
    }
}

#[test]
fn a_status_that_is_not_kept_is_named() {
    let object = |kind: &str, name: &str, status: &str| {
        let spec = if kind == "Hardware" { "{}" } else { "{templateRef: t}" };
        format!("---\napiVersion: tinkerbell.org/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n{status}\n")
    };
    let note = |text: &str| parse_noting(text, "f").unwrap().note;
    for (case, text, expected) in [
        ("none", object("Hardware", "a", ""), None),
        ("an empty one", object("Hardware", "a", "status: {}"), None),
        ("a final state", object("Workflow", "w", "status: {state: STATE_SUCCESS}"), None),
        ("another state", object("Workflow", "w", "status: {state: RUNNING}"), Some("Workflow default/w is")),
        ("of Hardware", object("Hardware", "a", "status: {state: SUCCESS}"), Some("Hardware default/a is")),
    ] {
        let found = note(&text);
        assert_eq!(found.is_some(), expected.is_some(), "{case}: {found:?}");
        assert!(expected.is_none_or(|expected| found.unwrap().contains(expected)), "{case}");
    }
    let many: String = (0..5).map(|number| object("Hardware", &format!("m{number}"), "status: {state: x}")).collect();
    let expected = "the status of Hardware default/m0, Hardware default/m1, Hardware default/m2 and 2 more is the server's to say and was dropped";
    assert_eq!(note(&many).as_deref(), Some(expected));
}
