use std::time::Duration;

use model::{Object, parse_documents};

use super::*;
use crate::references::{Source, resolve};

const OBJECTS: &str = r#"
apiVersion: tinkerbell.org/v1alpha1
kind: Hardware
metadata: {name: node-1}
spec:
  agentID: agent-7
  disks: [{device: /dev/nvme0n1}]
  references: {lvm: {name: lvm, namespace: default, group: example.org, version: v1, resource: lvms}}
  interfaces:
    - dhcp: {mac: 52:54:00:12:34:56, lease_time: 3600, ip: {address: 10.0.0.20, netmask: 255.255.255.0}}
  metadata: {instance: {hostname: node, operating_system: {slug: debian}}}
---
apiVersion: tinkerbell.org/v1alpha1
kind: Workflow
metadata: {name: w}
spec: {templateRef: t, hardwareRef: node-1, hardwareMap: {device_1: 52:54:00:12:34:56, mode: 0644}}
"#;

fn objects_of_a_workflow() -> (Hardware, Workflow) {
    let (mut hardware, mut workflow) = (None, None);
    for object in parse_documents(OBJECTS, "f").unwrap() {
        match object {
            Object::Hardware(found) => hardware = Some(*found),
            Object::Workflow(found) => workflow = Some(*found),
            _ => {}
        }
    }
    (hardware.unwrap(), workflow.unwrap())
}

fn template(source: &str) -> Template {
    Template {
        api_version: String::new(),
        kind: String::new(),
        metadata: model::Metadata { name: "t".into(), ..model::Metadata::default() },
        spec: model::TemplateSpec { data: source.into(), ..model::TemplateSpec::default() },
        status: model::TemplateStatus::default(),
    }
}

fn text(source: &str) -> Result<String, String> {
    let (hardware, workflow) = objects_of_a_workflow();
    let refers = Source { kind: model::Kind::Hardware, metadata: &hardware.metadata };
    let references = resolve(refers, &hardware.spec.references, std::iter::empty(), |_, _| None);
    let data = Data::new(&workflow.spec.hardware_map, Some(&hardware), references);
    execute(source, &data, Limits::default()).map_err(|fault| mistake(&template(source), fault, &data).to_string())
}

#[test]
fn a_template_sees_the_map_the_hardware_and_the_old_struct() {
    for (source, rendered) in [
        ("{{ .device_1 }} {{ .mode }}", "52:54:00:12:34:56 0644"),
        ("{{ .hardware.spec.agentID }}", "agent-7"),
        ("{{ .hardware.metadata.namespace }}", "default"),
        ("{{ .hardware.status }}", "map[]"),
        ("{{ (index .hardware.spec.interfaces 0).dhcp.lease_time }}", "3600"),
        ("{{ index .Hardware.Disks 0 }}", "/dev/nvme0n1"),
        ("{{ (index .Hardware.Interfaces 0).DHCP.IP.Address }}", "10.0.0.20"),
        ("[{{ (index .Hardware.Interfaces 0).DHCP.IP.Gateway }}]", "[]"),
        ("{{ .Hardware.Metadata.Instance.OperatingSystem.Slug }}", "debian"),
        ("{{ if .Hardware.Metadata.Facility }}yes{{ else }}no{{ end }}", "no"),
        ("{{ with (index .Hardware.Interfaces 0).Netboot }}yes{{ else }}no{{ end }}", "no"),
        ("{{ formatPartition ( index .Hardware.Disks 0 ) 1 }}", "/dev/nvme0n1p1"),
        ("a {{- /* only the left side is trimmed */}} b", "a b"),
    ] {
        assert_eq!(text(source).as_deref(), Ok(rendered), "{source}");
    }
}

#[test]
fn a_mistake_names_the_template_the_line_and_a_remedy() {
    for (case, source, expected) in [
        (
            "missing key",
            "a\nb: {{ .device_2 }}\n",
            "template t:2:7: <.device_2>: map has no entry for key \"device_2\" (the workflow's hardwareMap gives top level values; it has device_1, mode)",
        ),
        (
            "missing key in a branch",
            "{{ if true }}\n\n{{ .nope }}{{ end }}",
            "template t:3:4: <.nope>: map has no entry for key \"nope\"",
        ),
        ("missing key in a loop", "{{ range list 1 2 }}\n{{ $.nope }}{{ end }}", "template t:2:5: <$.nope>: map has no"),
        (
            "missing key in a definition",
            "{{ define \"x\" }}\n{{ .nope }}{{ end }}\n\n{{ template \"x\" . }}",
            "template t:2:4: <.nope>: map has no",
        ),
        (
            "below an unset part",
            "{{ .Hardware.Metadata.Facility.PlanSlug }}",
            "template t:1:13: <.Hardware.Metadata.Facility.PlanSlug>: nil pointer evaluating *tinkerbell.MetadataFacility.PlanSlug",
        ),
        (
            "a reference",
            "{{ .references.lvm }}",
            "template t:1:15: <.references.lvm>: map has no entry for key \"lvm\" (the reference lvm has no data: no Policy allows it)",
        ),
        ("syntax", "a\n{{ if }}{{ end }}", "template t:2:1: missing value for if"),
        ("branch without end", "a\n{{ if true }}b\n", "template t:3:1: unexpected EOF"),
        ("end without branch", "a\n{{ end }}\nlost\n", "template t:2:1: unexpected {{end}}"),
        ("unknown function", "\n{{ nosuch }}", "template t:2:1: function \"nosuch\" not defined"),
        ("removed function", "\n{{ now }}", "template t:2:1: function \"now\" not defined (Tinkerbell has removed it"),
        (
            "too many arguments",
            "{{ upper \"a\" \"b\" }}",
            "template t:1:4: <upper>: wrong number of args for upper: want 1 got 2",
        ),
        ("failure by the author", "{{ fail \"no disk\" }}", "template t:1:4: <fail \"no disk\">: error calling fail: no disk"),
        (
            "bad expression",
            "{{ regexFind \"(\" \"x\" }}",
            "template t:1:4: <regexFind \"(\" \"x\">: error calling regexFind: regexp: Compile(`(`)",
        ),
        ("not text", "{{ \"\\xff\" }}", "template t: renders to text that is not UTF-8, from byte 0"),
    ] {
        let refused = text(source).expect_err(case);
        assert!(refused.starts_with(expected), "{case}: {refused}");
    }
}

#[test]
fn no_template_stops_or_blocks_the_server() {
    let nested = "(list ".repeat(3000) + &")".repeat(3000);
    let blocks = "{{ if true }}".repeat(3000) + &"{{ end }}".repeat(3000);
    let chain = "{{ if false }}".to_owned() + &"{{ else if false }}".repeat(3000) + "{{ end }}";
    for (case, source, expected) in [
        ("too much output", "{{ range until 60000 }}0123456789{{ end }}".to_owned(), "rendered template exceeds 262144 bytes"),
        ("one long text", "{{ repeat 1000000000 \"abc\" }}".into(), "more than 64 MiB"),
        ("doubling by print", "{{ $a := \"xx\" }}{{ range until 60 }}{{ $a = print $a $a }}{{ end }}".into(), "more than 64 MiB"),
        ("doubling by printf", "{{ $a := \"xx\" }}{{ range until 60 }}{{ $a = printf \"%s%s\" $a $a }}{{ end }}".into(), "more than 64 MiB"),
        ("doubling by join", "{{ $a := \"xx\" }}{{ range until 60 }}{{ $a = join $a (list 1 2 3) }}{{ end }}".into(), "more than 64 MiB"),
        ("doubling by replace", "{{ $a := \"xx\" }}{{ range until 60 }}{{ $a = replace \"x\" $a $a }}{{ end }}".into(), "more than 64 MiB"),
        ("doubling by a regular expression", "{{ $a := \"xx\" }}{{ range until 60 }}{{ $a = regexReplaceAll \"x\" $a $a }}{{ end }}".into(), "more than 64 MiB"),
        ("doubling by a list", "{{ $a := list 1 }}{{ range until 60 }}{{ $a = concat $a $a }}{{ end }}".into(), "more than 64 MiB"),
        ("a list in itself, printed", "{{ $a := list 1 }}{{ range until 60 }}{{ $a = list $a $a }}{{ end }}{{ $a }}".into(), "exceeds 262144 bytes"),
        ("a list in itself, compared", "{{ $a := list 1 }}{{ range until 60 }}{{ $a = list $a $a }}{{ end }}{{ deepEqual $a (deepCopy $a) }}".into(), "more than"),
        ("deep lists", "{{ $a := list }}{{ range until 100000 }}{{ $a = list $a }}{{ end }}".into(), "nested deeper than"),
        ("deep dictionaries", "{{ $a := dict }}{{ range until 100000 }}{{ $a = dict \"a\" $a }}{{ end }}{{ $a }}".into(), "exceeds"),
        ("a dictionary in itself", "{{ $d := dict }}{{ $_ := set $d \"d\" $d }}{{ toJson $d }}".into(), "more than"),
        ("long pauses", "{{ range until 2000 }}{{ $x := bcrypt \"x\" }}{{ end }}".into(), "the template "),
        ("many numbers", "{{ until 2000000000 }}".into(), "more than 64 MiB"),
        ("a long sequence", "{{ seq 1 2000000000 }}".into(), "more than 64 MiB"),
        ("a wide number", "{{ range until 1000 }}{{ $x := printf \"%1000000d\" 1 }}{{ end }}".into(), "more than 64 MiB"),
        ("deep indentation", "{{ indent 1000000000 \"a\\nb\" }}".into(), "more than 64 MiB"),
        ("loops in loops", "{{ range until 60000 }}{{ range until 60000 }}{{ end }}{{ end }}".into(), "more than"),
        ("a loop over a number", "{{ range 9000000000000000000 }}{{ end }}".into(), "more than 5000000 steps"),
        ("endless recursion", "{{ define \"x\" }}{{ template \"x\" . }}{{ end }}{{ template \"x\" . }}".into(), "maximum template depth"),
        ("twofold recursion", "{{ define \"x\" }}{{ if lt . 100 }}{{ template \"x\" (add1 .) }}{{ template \"x\" (add1 .) }}{{ end }}{{ end }}{{ template \"x\" 1 }}".into(), "more than 5000000 steps"),
        ("a large expression", "{{ regexMatch \"(a{1000}){1000}\" \"a\" | ternary 1 (fail \"no\") }}".into(), "no"),
        ("slow expressions", "{{ $t := repeat 200000 \"a\" }}{{ range until 100000 }}{{ $x := regexMatch \"(a|aa)+$\" $t }}{{ end }}".into(), "more than 5000000 steps"),
        ("deep parentheses", format!("{{{{ {nested} }}}}"), "nested deeper than 2000 levels"),
        ("deep blocks", blocks, "nested deeper than 2000 levels"),
        ("a long chain of else if", chain, "nested deeper than 2000 levels"),
    ] {
        let started = std::time::Instant::now();
        let refused = text(&source).expect_err(case);
        // On a busy host the time limit comes first.
        assert!(refused.contains(expected) || refused.contains("takes longer than"), "{case}: {refused}");
        assert!(started.elapsed() < Duration::from_secs(20), "{case}: {:?}", started.elapsed());
    }
    let loops = "{{ range until 60000 }}{{ range until 60000 }}{{ end }}{{ end }}";
    let started = std::time::Instant::now();
    for _ in 0..100 {
        assert!(text(loops).unwrap_err().contains("not tried again for 30 s"));
    }
    assert!(started.elapsed() < Duration::from_secs(1), "a costly template is rendered only once: {:?}", started.elapsed());
    let chain = "{{ if false }}".to_owned() + &"{{ else if false }}".repeat(1400) + "{{ else }}x{{ end }}";
    assert_eq!(text(&chain).as_deref(), Ok("x"));
}

#[test]
fn a_mistake_in_the_rendered_text_shows_the_line() {
    let (hardware, workflow) = objects_of_a_workflow();
    let source =
        "name: x\ntasks:\n- name: t\n  worker: {{ .device_1 }}\n  actions:\n  - {name: a, image: i, timeout: \"{{ .mode }}\"}\n";
    let template = template(source);
    let mistakes = render(&template, &workflow, Some(&hardware)).unwrap_err();
    assert_eq!(
        mistakes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "template t as rendered for workflow w:6:34: tasks[0].actions[0].timeout: \"0644\" is text; write the number without quotes \
          (the line reads: - {name: a, image: i, timeout: \"0644\"})"
        ]
    );
    assert_eq!(check(&template), Ok(()));
}

#[test]
fn a_template_alone_is_checked_as_far_as_possible_without_values() {
    const HEAD: &str = "name: n\ntasks:\n- name: t\n  worker: \"{{ .device_1 }}\"\n  actions:\n";
    for (case, source, expected) in [
        (
            "unknown function",
            "{{ if .x }}\n{{ nosuch 1 }}{{ end }}".to_owned(),
            vec!["template t:2:1: function \"nosuch\" not defined"],
        ),
        ("undeclared variable", "{{ $x }}".into(), vec!["template t:1:1: undefined variable \"$x\""]),
        (
            "too many arguments",
            "{{ if .x }}{{ upper \"a\" .b }}{{ end }}".into(),
            vec!["template t:1:15: <upper>: wrong number of args for upper: want 1 got 2"],
        ),
        (
            "piped argument",
            "{{ .a | trunc }}".into(),
            vec!["template t:1:9: <trunc>: wrong number of args for trunc: want 2 got 1"],
        ),
        ("constant of another type", "{{ upper 5 }}".into(), vec!["template t:1:10: <5>: expected string; found 5"]),
        (
            "a template that does not exist",
            "{{ template \"no\" . }}".into(),
            vec!["template t:1:13: <{{template \"no\" .}}>: template \"no\" not defined"],
        ),
        (
            "unknown key of an action",
            format!(
                "{HEAD}  - name: a\n    image: i\n    {{{{ if .x }}}}\n    args: [x]\n    {{{{ end }}}}\n    timeout: {{{{ .t }}}}\n"
            ),
            vec!["template t:9:1: tasks[0].actions[0]: unknown key \"args\""],
        ),
        (
            "key after else",
            format!(
                "{HEAD}  - name: a\n    image: i\n    {{{{- if .x }}}}\n    timeout: 1\n    {{{{- else }}}}\n    timeuot: 1\n    {{{{- end }}}}\n"
            ),
            vec!["template t:11:1: tasks[0].actions[0]: unknown key \"timeuot\""],
        ),
        (
            "image",
            format!("{HEAD}  - name: a\n    image: quay.io/Tinkerbell/x\n"),
            vec!["template t:7:1: tasks[0].actions[0].image: \"quay.io/Tinkerbell/x\" is not the name of an image"],
        ),
        ("image with a value in it", format!("{HEAD}  - name: a\n    image: {{{{ .registry }}}}/X:{{{{ .tag }}}}\n"), vec![]),
        ("a part that depends on values", format!("{HEAD}{{{{ .actions | nindent 2 }}}}\n"), vec![]),
        (
            "a list of actions from a loop",
            format!("{HEAD}  {{{{- range .disks }}}}\n  - name: wipe-{{{{ . }}}}\n    image: i\n  {{{{- end }}}}\n"),
            vec![],
        ),
    ] {
        let found = check(&template(&source)).err().unwrap_or_default();
        assert_eq!(found.len(), expected.len(), "{case}: {found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.to_string().starts_with(expected), "{case}: {found}");
        }
    }
}

#[test]
fn a_mistake_names_the_file_and_the_line_in_it() {
    let text = "---\napiVersion: tinkerbell.org/v1alpha1\nkind: Template\nmetadata: {name: t}\nspec:\n  data: |\n    name: n\n    tasks: {{ nosuch }}\n";
    let objects = parse_documents(text, "site/t.yaml").unwrap();
    let Object::Template(template) = &objects[0] else { panic!("{objects:?}") };
    let found = check(template).unwrap_err();
    assert_eq!(found[0].to_string(), "site/t.yaml:8:5: spec.data: function \"nosuch\" not defined");
    let good = parse_documents(&text.replace("nosuch", ".x"), "site/t.yaml").unwrap();
    let Object::Template(template) = &good[0] else { panic!("{good:?}") };
    let (hardware, workflow) = objects_of_a_workflow();
    let found = render(template, &workflow, Some(&hardware)).unwrap_err();
    assert!(found[0].to_string().starts_with("site/t.yaml:8:15: spec.data: <.x>: map has no entry for key \"x\""), "{found:?}");
}

#[test]
fn of_very_many_mistakes_the_first_are_named_soon() {
    let keys: String = (0..40_000).map(|number| format!("key{number}: x\n")).collect();
    let began = std::time::Instant::now();
    let found = check(&template(&keys)).unwrap_err();
    assert_eq!(found.len(), MOST_MISTAKES);
    assert!(began.elapsed() < std::time::Duration::from_secs(20), "{:?}", began.elapsed());
}
