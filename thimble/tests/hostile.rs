//! Malicious files: each one ends with a clear mistake, within a limit of memory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The limit in KiB of address space. The program and the stack of a template's thread take a part of it.
const LIMIT: u32 = 700 << 10;

fn validate(text: &str) -> (Option<i32>, String) {
    let command = format!("ulimit -v {LIMIT}; exec {} validate -f -", env!("CARGO_BIN_EXE_thimble"));
    let mut shell = Command::new("sh");
    let mut child =
        shell.args(["-c", &command]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let bytes = text.as_bytes().to_owned();
    let writer = std::thread::spawn(move || drop(input.write_all(&bytes)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let out = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), out)
}

fn template(data: &str) -> String {
    format!("apiVersion: tinkerbell.org/v1alpha1\nkind: Template\nmetadata: {{name: t}}\nspec:\n  data: '{data}'\n")
}

fn task(value: &str) -> String {
    format!(
        "apiVersion: tinkerbell.org/v1alpha2\nkind: Task\nmetadata: {{name: t}}\nspec:\n  env: {{A: '{value}'}}\n  actions: [{{name: a, image: i}}]\n---\n\
         apiVersion: tinkerbell.org/v1alpha2\nkind: Workflow\nmetadata: {{name: w}}\nspec: {{tasks: [{{agentID: a, taskRef: {{name: t}}}}]}}\n"
    )
}

#[test]
fn hostile_files_end_with_a_mistake_and_within_memory() {
    let aliases: String =
        (0..40).map(|n| format!("b{}: &b{} [{}]\n", n + 1, n + 1, vec![format!("*b{n}"); 20].join(","))).collect();
    let bomb = |head: &str| format!("{head}\nx-bomb: &b0 [x,x]\n{}", aliases.replace("\nb", "\nx-b").replacen("b1:", "x-b1:", 1));
    let old = "apiVersion: tinkerbell.org/v1alpha1\nkind: Template\nmetadata: {name: t}\nspec: {data: x}";
    let new = "apiVersion: tinkerbell.org/v1alpha2\nkind: Task\nmetadata: {name: t}\nspec: {actions: [{name: a, image: i}]}";
    let doubling = "{{ $a := \"0123456789\" }}{{ range until 60 }}{{ $a = print $a $a }}{{ end }}{{ $a }}";
    for (case, text, expected) in [
        ("an alias bomb", bomb(old), "aliases counted as often as used"),
        ("an alias bomb of v1alpha2", bomb(new), "aliases counted as often as used"),
        ("deep YAML", "[".repeat(1 << 20), "nested deeper than 64 levels"),
        (
            "deep JSON",
            format!("{{\"apiVersion\":\"tinkerbell.org/v1alpha2\",\"kind\":\"Policy\",\"spec\":{}", "{\"a\":".repeat(1 << 18)),
            "nested deeper than 64 levels",
        ),
        (
            "a template of 1 MB with one mistake",
            template(&format!("{}{{{{ nosuch }}}}", "name: x ".repeat(1 << 17))),
            "function \"nosuch\" not defined",
        ),
        ("a template of 1 MB of calls", template(&"{{ nosuch }}".repeat(1 << 17)), "not defined"),
        ("a template that is nested", template(&"{{ if .a }}".repeat(1 << 17)), "mistake"),
        ("a value of 1 MB", task(&"{{ .task.spec.env.A }}".repeat(1 << 16)), "mistake"),
        ("a value that doubles", task(doubling), "MiB of memory"),
        ("a file of 9 MB", "x".repeat(9 << 20), "at most"),
    ] {
        let begun = Instant::now();
        let (code, out) = validate(&text);
        let shown: String = out.chars().take(500).collect();
        assert_eq!(code, Some(1), "{case}: {shown}");
        assert!(out.contains(expected), "{case}: {shown}");
        assert!(out.len() < 4 << 20, "{case}: {} bytes of mistakes", out.len());
        assert!(begun.elapsed() < Duration::from_secs(60), "{case}");
    }
}
