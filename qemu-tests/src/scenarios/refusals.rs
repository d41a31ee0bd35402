//! Workflows that must fail: each one reports why in one line, and the same machine does the next one.

use anyhow::{Result, ensure};

use crate::objects::Step;
use crate::oci::Image;
use crate::provisioner::Options;
use crate::scene::{Ready, Scene};

/// A workflow that must fail: its name, its first step, and the texts that the server and the console must show.
struct Case {
    name: &'static str,
    step: Step,
    state: &'static str,
    says: &'static [&'static str],
}

pub fn bad_actions(scene: &Scene) -> Result<()> {
    let ready = scene.ready(Options::default())?;
    let broken = Image::busybox("echo never", 4096)?;
    broken.push(ready.registry.address(), "broken", "1")?;
    ready.registry.corrupt(&broken.layer_digest())?;
    for case in cases(&ready) {
        check(&ready, &case)?;
    }
    ready.still_works("afterwards")
}

fn cases(ready: &Ready) -> Vec<Case> {
    let ignores_term = "trap 'echo ignoring TERM' TERM; echo started; while :; do sleep 1; done";
    vec![
        Case {
            name: "missing-image",
            step: Step::image("bad", &ready.registry.reference("no-such-image:1")),
            state: "FAILED",
            says: &["ImageNotFound", "no-such-image"],
        },
        Case {
            name: "wrong-digest",
            step: Step::image("bad", &ready.registry.reference("broken:1")),
            state: "FAILED",
            says: &["DigestMismatch", "sha256:"],
        },
        Case {
            name: "exit-code",
            step: ready.shell("bad", "echo about to fail; exit 7"),
            state: "FAILED",
            says: &["NonZeroExit", "exit code 7"],
        },
        Case {
            name: "no-program",
            step: Step::image("bad", &ready.registry.reference("busybox:1")).command("/bin/no-such-program"),
            state: "FAILED",
            says: &["CouldNotStart", "no-such-program"],
        },
        Case {
            name: "ignores-term",
            step: ready.shell("bad", ignores_term).timeout(4),
            state: "TIMEOUT",
            says: &["Timeout", "4 s"],
        },
    ]
}

fn check(ready: &Ready, case: &Case) -> Result<()> {
    let after = ready.shell("after", "echo THIS MUST NOT RUN");
    let workflow = ready.run(case.name, &[case.step.clone(), after])?;
    let (state, message) = (workflow.state(), workflow.message("bad"));
    ensure!(state == case.state, "{}: ended as {state} instead of {}: {}", case.name, case.state, workflow.status());
    for words in case.says {
        ensure!(message.contains(words), "{}: the server's message lacks {words:?}: {message:?}", case.name);
    }
    let pattern = format!("workflow default/{} action bad: {}", case.name, case.state);
    let lines = ready.machine.serial.all(&pattern)?;
    ensure!(lines.len() == 1, "{}: {} lines on the console say {pattern:?}", case.name, lines.len());
    ensure!(ready.machine.serial.all("THIS MUST NOT RUN")?.is_empty(), "{}: an action ran after a failure", case.name);
    Ok(())
}
