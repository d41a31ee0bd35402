use model::{Object, parse_documents};

use super::*;

const OBJECTS: &str = r#"
apiVersion: tinkerbell.org/v1alpha1
kind: Hardware
metadata: {name: node-1}
spec:
  agentID: agent-7
  disks: [{device: /dev/nvme0n1}]
  interfaces:
    - dhcp: {mac: 52:54:00:12:34:56, lease_time: 3600, ip: {address: 10.0.0.20, netmask: 255.255.255.0}}
  metadata: {instance: {hostname: node, operating_system: {slug: debian}}}
---
apiVersion: tinkerbell.org/v1alpha1
kind: Workflow
metadata: {name: w}
spec: {templateRef: t, hardwareRef: node-1, hardwareMap: {device_1: 52:54:00:12:34:56, mode: 0644}}
"#;

fn objects() -> (Hardware, Workflow) {
    let (mut hardware, mut workflow) = (None, None);
    for object in parse_documents(OBJECTS, "f").unwrap() {
        match object {
            Object::Hardware(found) => hardware = Some(*found),
            Object::Workflow(found) => workflow = Some(*found),
            Object::Template(_) => {}
        }
    }
    (hardware.unwrap(), workflow.unwrap())
}

fn text(source: &str) -> Result<String, String> {
    let (hardware, workflow) = objects();
    let data = data::build(&workflow.spec.hardware_map, Some(&hardware));
    execute("template t", source, &data).map_err(|mistake| mistake.to_string())
}

#[test]
fn a_template_sees_map_hardware_and_the_old_struct() {
    for (source, rendered) in [
        ("{{ .device_1 }} {{ .mode }}", "52:54:00:12:34:56 0644"),
        ("{{ .hardware.spec.agentID }}", "agent-7"),
        ("{{ .hardware.metadata.namespace }}", "default"),
        ("{{ (index .hardware.spec.interfaces 0).dhcp.lease_time }}", "3600"),
        ("{{ index .Hardware.Disks 0 }}", "/dev/nvme0n1"),
        ("{{ (index .Hardware.Interfaces 0).DHCP.IP.Address }}", "10.0.0.20"),
        ("[{{ (index .Hardware.Interfaces 0).DHCP.IP.Gateway }}]", "[]"),
        ("{{ .Hardware.Metadata.Instance.OperatingSystem.Slug }}", "debian"),
        ("[{{ .Hardware.Metadata.Facility.PlanSlug }}]", "[]"),
        ("{{ (index .Hardware.Interfaces 0).Netboot.AllowPXE }}", "false"),
        ("{{ formatPartition ( index .Hardware.Disks 0 ) 1 }}", "/dev/nvme0n1p1"),
    ] {
        assert_eq!(text(source).as_deref(), Ok(rendered), "{source}");
    }
}

#[test]
fn functions_follow_sprig() {
    for (source, rendered) in [
        (
            r#"{{ formatPartition "/dev/sda" 2 }} {{ formatPartition "/dev/disk/by-id/x" 3 }}"#,
            "/dev/sda2 /dev/disk/by-id/x-part3",
        ),
        (
            r#"{{ netmaskToPrefixLength "255.255.254.0" }} {{ netmaskToPrefixLength "255.255.255.255" }} {{ netmaskToPrefixLength "0.0.0.0" }}"#,
            "23 32 0",
        ),
        (r#"{{ "" | default "x" }} {{ "y" | default "x" }}"#, "x y"),
        (r#"{{ quote "a\"b" 1 }} {{ squote "a" }}"#, r#""a\"b" "1" 'a'"#),
        ("{{ quote \"tab\\tü\\u0001\" }}", r#""tab\tü\x01""#),
        (r#"{{ "AbC" | lower }}{{ upper "x" }}{{ title "ab cd" }}"#, "abcXAb Cd"),
        (r#"{{ trim "  a " }}|{{ trimAll "$" "$5$" }}|{{ trimPrefix "-" "-a-" }}|{{ trimSuffix "-" "-a-" }}"#, "a|5|a-|-a"),
        (r#"{{ "I Am" | replace " " "-" }} {{ repeat 3 "ab" }}"#, "I-Am ababab"),
        (r#"{{ list "a" "b" | join "," }} {{ join "-" (list 1 2) }}"#, "a,b 1-2"),
        (r#"{{ $p := split "$" "a$b" }}{{ $p._1 }} {{ splitList ":" "a:b:c" | last }}"#, "b c"),
        ("a:{{ \"x\\ny\" | nindent 2 }}", "a:\n  x\n  y"),
        (r#"{{ indent 2 "x" }}"#, "  x"),
        (r#"{{ b64enc "hello" }} {{ "aGVsbG8=" | b64dec }}"#, "aGVsbG8= hello"),
        (r#"{{ ternary "a" "b" true }}{{ true | ternary "a" "b" }}{{ ternary "a" "b" false }}"#, "aab"),
        (r#"{{ coalesce "" 0 "c" }} {{ empty "" }} {{ empty 1 }}"#, "c true false"),
        (
            r#"{{ $d := dict "a" 1 "b" (dict "c" 2) }}{{ get $d "a" }}{{ dig "b" "c" 0 $d }}{{ dig "x" "c" 9 $d }}{{ hasKey $d "a" }}"#,
            "129true",
        ),
        (r#"{{ keys (dict "b" 1 "a" 2) | join "," }}"#, "a,b"),
        (
            r#"{{ add 1 "2" 3 }} {{ sub 5 2 }} {{ mul 2 3 4 }} {{ div 7 2 }} {{ mod 7 4 }} {{ max 1 5 3 }} {{ min 4 2 }} {{ add1 1 }}"#,
            "6 3 24 3 3 5 2 2",
        ),
        (r#"{{ int "42" }} {{ int "x" }} {{ atoi "7" }}"#, "42 0 7"),
        (r#"{{ toString 5 | quote }}"#, r#""5""#),
        (
            r#"{{ regexMatch "^[a-z]+$" "abc" }} {{ regexReplaceAll "a(x*)b" "-ab-axxb-" "${1}W" }} {{ regexFind "[0-9]+" "a12b" }}"#,
            "true -W-xxW- 12",
        ),
        (r#"{{ trunc 3 "abcdef" }} {{ trunc -3 "abcdef" }} {{ substr 1 3 "abcdef" }}"#, "abc def bc"),
        (r#"{{ range until 3 }}{{ . }}{{ end }} {{ range untilStep 6 0 -2 }}{{ . }}{{ end }}"#, "012 642"),
        (
            r#"{{ has "a" (list "a" "b") }} {{ first (list 1 2) }} {{ rest (list 1 2 3) }} {{ without (list 1 2 3) 2 }} {{ uniq (list 1 1 2) }}"#,
            "true 1 [2 3] [1 3] [1 2]",
        ),
        (r#"{{ toJson (dict "a" (list 1 "x")) }}"#, r#"{"a":[1,"x"]}"#),
        (r#"{{ (fromYaml "a: {b: 0x10}").a.b }} {{ (fromJson "{\"a\":1}").a }}"#, "16 1"),
        ("{{ toYaml (dict \"b\" (list 1 \"yes\") \"a\" \"x: y\") }}", "a: \"x: y\"\nb:\n- 1\n- \"yes\""),
        (r#"{{ contains "b" "abc" }} {{ hasPrefix "a" "abc" }} {{ hasSuffix "a" "abc" }}"#, "true true false"),
        (r#"{{ kindOf (list 1) }} {{ kindIs "string" "x" }}"#, "slice true"),
    ] {
        assert_eq!(text(source).as_deref(), Ok(rendered), "{source}");
    }
}

#[test]
fn a_mistake_names_template_line_and_remedy() {
    for (case, source, expected) in [
        (
            "missing key",
            "a\nb: {{ .device_2 }}\n",
            "template t:2:1: there is no value for \"device_2\" (the workflow's hardwareMap gives",
        ),
        ("missing key in a branch", "{{ if true }}\n\n{{ .nope }}{{ end }}", "template t:3:1: there is no value for \"nope\""),
        (
            "missing key in a loop",
            "{{ range list 1 2 }}\n{{ $.nope }}{{ end }}",
            "template t:2:1: there is no value for \"nope\"",
        ),
        (
            "missing key in a definition",
            "{{ define \"x\" }}\n{{ .nope }}{{ end }}\n\n{{ template \"x\" . }}",
            "template t:2:1: there is no",
        ),
        ("syntax", "a\n{{ if }}{{ end }}", "template t:2:"),
        ("branch without end", "a\n{{ if true }}b\n{{ if false }}c\n", "template t:3:1: this {{if}} has no {{end}}"),
        ("end without branch", "a\n{{ end }}\nlost\n", "template t:2:1: this {{end}} ends nothing"),
        ("unknown function", "\n{{ now }}", "template t:2:1: the function \"now\" is not known (functions that ask for time"),
        ("failure by the author", "{{ fail \"no disk\" }}", "template t:1:1: fail: no disk"),
        (
            "bad netmask",
            "{{ netmaskToPrefixLength \"255.0.255.0\" }}",
            "template t:1:1: netmaskToPrefixLength: 255.0.255.0 is not a netmask",
        ),
        ("bad expression", "{{ regexMatch \"(\" \"x\" }}", "template t:1:1: regexMatch: "),
        ("division", "{{ div 1 0 }}", "template t:1:1: div: "),
        ("too much output", "{{ range until 60000 }}0123456789{{ end }}", "template t:1:1: renders to more than 262144 bytes"),
        ("too much text", "{{ repeat 1000000000 \"abc\" }}", "template t:1:1: repeat: the result has more"),
        (
            "too many loops",
            "{{ range until 60000 }}{{ range until 60000 }}{{ end }}{{ end }}",
            "template t:1:1: loops more than 100000 times",
        ),
        (
            "endless recursion",
            "{{ define \"x\" }}{{ template \"x\" . }}{{ end }}{{ template \"x\" . }}",
            "template t:1:1: recursion limit",
        ),
    ] {
        let refused = text(source).expect_err(case);
        assert!(refused.starts_with(expected), "{case}: {refused}");
    }
}

#[test]
fn a_mistake_in_the_rendered_text_shows_the_line() {
    let (hardware, workflow) = objects();
    let source =
        "name: x\ntasks:\n- name: t\n  worker: {{ .device_1 }}\n  actions:\n  - {name: a, image: i, timeout: \"{{ .mode }}\"}\n";
    let template = Template {
        api_version: String::new(),
        kind: String::new(),
        metadata: model::Metadata { name: "t".into(), ..model::Metadata::default() },
        spec: model::TemplateSpec { data: source.into() },
        status: model::TemplateStatus::default(),
    };
    let mistakes = render(&template, &workflow, Some(&hardware)).unwrap_err();
    assert_eq!(
        mistakes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "template t as rendered for workflow w:6:34: tasks[0].actions[0].timeout: \"0644\" is text; write the number without quotes \
          (the line reads: - {name: a, image: i, timeout: \"0644\"})"
        ]
    );
    assert_eq!(check_syntax(&template), Ok(()));
}
