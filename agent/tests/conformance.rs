//! The agent against `crun run`, with images made by the usual tools. Exit code, output and tree of files must be the same.
//! The image lists its tree itself: kind, mode, owner, links, size, time, SHA-256.
//!
//! Needs root and umoci, skopeo and crun. Without them it says so and ends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/lab.rs"]
mod lab;
#[path = "../../oci/tests/support/registry.rs"]
mod registry;
#[path = "support/server.rs"]
mod server;

use std::path::Path;
use std::process::Command;

use lab::Lab;
use server::{action, message};

/// Lists everything in the image, except what every runtime puts there.
const LIST: &str = r#"
find / -xdev | sort | while IFS= read -r f; do
  case "$f" in /proc*|/sys*|/dev*|/tinkerbell*|/lib*|/etc/resolv.conf|/etc/hosts|/etc/hostname|/bin/*|/) continue;; esac
  if [ -L "$f" ]; then echo "$f link $(stat -c '%u %g' "$f") $(readlink "$f")"
  elif [ -d "$f" ]; then echo "$f dir $(stat -c '%f %u %g' "$f")"
  elif [ -f "$f" ]; then echo "$f file $(stat -c '%f %u %g %h %s %Y' "$f") $(sha256sum < "$f")"
  else echo "$f other $(stat -c '%f %u %g %t:%T' "$f")"; fi
done
"#;

/// Makes the base once. `add` packs the folder `l` as another layer.
const BASE: &str = r#"
set -eu
umask 022
mkdir -p l/bin l/proc l/sys l/dev l/etc l/tmp l/lib l/home/build
cp /bin/busybox l/bin/
for name in sh find sort stat readlink sha256sum cat id env pwd kill ls; do ln -s busybox l/bin/$name; done
cp list l/list
printf 'root:x:0:0::/root:/bin/sh\nbuild:x:1000:100::/home/build:/bin/sh\n' > l/etc/passwd
printf 'root:x:0:\nusers:x:100:\ndisk:x:6:build\n' > l/etc/group
umoci init --layout oci
umoci new --image oci:base
tar -C l --numeric-owner -cf layer.tar .
umoci raw add-layer --image oci:base layer.tar
umoci config --image oci:base --config.cmd sh --config.cmd /list
"#;

const CASE: &str = r#"
set -eu
umask 022
umoci tag --image oci:base "$NAME"
rm -rf l; mkdir l
add() { (cd l && find . -mindepth 1 -maxdepth 1 -print0) | tar -C l --null --numeric-owner -T - -cf layer.tar; umoci raw add-layer --image oci:"$NAME" layer.tar; rm -rf l; mkdir l; }
cfg() { umoci config --image oci:"$NAME" --clear config.entrypoint --clear config.cmd "$@"; }
"#;

/// The name of a case, and its difference from the base.
const CASES: &[(&str, &str)] = &[
    ("base", ""),
    ("cmd-only", "cfg --config.cmd sh --config.cmd -c --config.cmd 'echo one; echo two'"),
    ("entrypoint-only", "cfg --config.entrypoint /bin/id"),
    ("entrypoint-and-cmd", "cfg --config.entrypoint sh --config.entrypoint -c --config.cmd 'echo entry; exit 4'"),
    (
        "words-with-blanks",
        r#"cfg --config.entrypoint sh --config.cmd -c --config.cmd 'echo "$0|$1|$#"' --config.cmd 'a  b' --config.cmd ''"#,
    ),
    (
        "environment",
        "cfg --config.env A=b --config.env 'C=d e' --config.env A=z --config.cmd sh --config.cmd -c --config.cmd 'echo $A $C $HOME'",
    ),
    (
        "path-of-the-image",
        "mkdir -p l/opt/x; printf '#!/bin/sh\necho mine\n' > l/opt/x/tool; chmod 755 l/opt/x/tool; add; cfg --config.env PATH=/opt/x:/bin --config.cmd tool",
    ),
    ("working-directory", "mkdir -p l/srv/deep; add; cfg --config.workingdir /srv/deep --config.cmd pwd"),
    ("user-number", "cfg --config.user 4242 --config.cmd id"),
    ("user-and-group-numbers", "cfg --config.user 4242:77 --config.cmd id"),
    (
        "user-name",
        "cfg --config.user build --config.cmd sh --config.cmd -c --config.cmd 'id; echo $HOME; { echo x > /home/build/x; } 2>/dev/null || exit 9'",
    ),
    ("user-name-and-group", "cfg --config.user build:disk --config.cmd id"),
    ("user-number-with-entry", "cfg --config.user 1000 --config.cmd id"),
    ("exit-3", "cfg --config.cmd sh --config.cmd -c --config.cmd 'exit 3'"),
    ("exit-255", "cfg --config.cmd sh --config.cmd -c --config.cmd 'exit 255'"),
    ("killed", "cfg --config.cmd sh --config.cmd -c --config.cmd 'sh -c \"kill -9 \\$\\$\" 2>/dev/null; exit $?'"),
    (
        "script-with-interpreter",
        "printf '#!/bin/sh\necho script $1\n' > l/run.sh; chmod 755 l/run.sh; add; cfg --config.entrypoint /run.sh --config.cmd arg",
    ),
    ("file-replaced", "mkdir l/d; echo one > l/d/f; add; mkdir l/d; echo two > l/d/f; chmod 600 l/d/f; add"),
    ("whiteout-file", "mkdir l/d; echo one > l/d/f; echo two > l/d/g; add; mkdir l/d; : > l/d/.wh.f; add"),
    ("whiteout-directory", "mkdir -p l/d/e; echo one > l/d/e/f; add; mkdir l/d; : > l/d/.wh.e; add"),
    ("whiteout-and-again", "mkdir l/d; echo one > l/d/f; add; mkdir l/d; : > l/d/.wh.f; add; mkdir l/d; echo new > l/d/f; add"),
    (
        "opaque-directory",
        "mkdir -p l/d/e; echo one > l/d/e/f; echo 2 > l/d/g; add; mkdir l/d; : > l/d/.wh..wh..opq; echo new > l/d/h; add",
    ),
    ("hard-links", "mkdir l/d; echo one > l/d/a; ln l/d/a l/d/b; ln l/d/a l/c; add"),
    ("hard-link-outlives-its-first-name", "mkdir l/d; echo one > l/d/a; ln l/d/a l/d/b; add; mkdir l/d; : > l/d/.wh.a; add"),
    ("symbolic-links", "mkdir l/d; ln -s /etc/passwd l/d/abs; ln -s ../etc l/d/rel; ln -s /none l/d/dangling; ln -s d l/e; add"),
    ("link-replaced-by-directory", "ln -s /tmp l/d; add; mkdir l/d; echo inside > l/d/f; add"),
    ("directory-replaced-by-file", "mkdir -p l/d/e; echo 1 > l/d/e/f; add; echo plain > l/d; add"),
    ("file-replaced-by-directory", "echo plain > l/d; add; mkdir -p l/d/e; echo 1 > l/d/e/f; add"),
    (
        "special-modes",
        "mkdir l/t; chmod 1777 l/t; echo x > l/suid; chmod 4755 l/suid; echo x > l/sgid; chmod 2750 l/sgid; echo x > l/none; chmod 0 l/none; add",
    ),
    ("owners", "mkdir l/d; echo x > l/d/f; chown 1000:100 l/d/f; chown 65534:65534 l/d; ln -s f l/d/l; chown -h 7:8 l/d/l; add"),
    ("fifo-and-devices", "mkfifo l/fifo; mknod l/null c 1 3; mknod l/disk b 250 9; chown 0:6 l/disk; add"),
    (
        "long-and-odd-names",
        r#"d=$(printf 'x%.0s' $(seq 120)); mkdir -p "l/$d/$d"; echo x > "l/$d/$d/ü name"; echo y > "l/a b'c"; add"#,
    ),
    ("times", "echo x > l/f; touch -d @86400 l/f; echo y > l/g; touch -d @4000000000 l/g; add"),
    ("sparse-and-empty", "truncate -s 3M l/sparse; echo end >> l/sparse; : > l/empty; add"),
    ("ten-layers", "for n in 0 1 2 3 4 5 6 7 8 9; do mkdir -p l/d; echo $n > l/d/f$n; echo $n > l/last; add; done"),
    ("directory-mode-changed", "mkdir l/d; echo x > l/d/f; add; mkdir l/d; chmod 700 l/d; chown 5:5 l/d; echo y > l/d/g; add"),
];

/// The forms in which the image reaches the agent.
const FORMS: [&[&str]; 4] = [
    &["--format", "oci", "--dest-compress", "--dest-compress-format", "gzip"],
    &["--format", "oci", "--dest-compress", "--dest-compress-format", "zstd"],
    &["--format", "oci", "--dest-decompress"],
    &["--format", "v2s2", "--dest-compress", "--dest-compress-format", "gzip"],
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_of_the_usual_tools_behave_as_with_crun() {
    for tool in ["umoci", "skopeo", "crun"] {
        if Command::new(tool).arg("--version").output().is_err() {
            println!("skipped: {tool} is not installed (apt-get install umoci skopeo crun)");
            return;
        }
    }
    let lab = Lab::new().await;
    let _agent = lab.agent();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("list"), LIST).unwrap();
    shell(folder.path(), "base", BASE);
    let mut differences = Vec::new();
    for (number, (name, script)) in CASES.iter().enumerate() {
        shell(folder.path(), name, &format!("{CASE}{script}"));
        let want = crun(folder.path(), name);
        let form = FORMS[number % FORMS.len()];
        let image = publish(&lab, folder.path(), name, form);
        let got = ours(&lab, name, &image).await;
        if want != got {
            differences.push(format!("{name} {form:?}\n{}", difference(&want, &got)));
        }
    }
    assert!(differences.is_empty(), "{} of {} differ:\n{}", differences.len(), CASES.len(), differences.join("\n"));
    assert!(CASES.len() >= 30);
    lab.assert_clean();
}

#[derive(Debug, PartialEq)]
struct Ran {
    code: i32,
    output: Vec<String>,
}

fn shell(folder: &Path, name: &str, script: &str) {
    let output = Command::new("bash").args(["-c", script]).env("NAME", name).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
}

fn crun(folder: &Path, name: &str) -> Ran {
    let bundle = folder.join("bundle");
    let _ = std::fs::remove_dir_all(&bundle);
    shell(folder, name, r#"umoci unpack --image oci:"$NAME" bundle"#);
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(bundle.join("config.json")).unwrap()).unwrap();
    config["process"]["terminal"] = false.into();
    // umoci gives root fewer capabilities than the usual agents do. With them it could not read every file of the image.
    let powers = ["CAP_KILL", "CAP_DAC_OVERRIDE"];
    config["process"]["capabilities"] = serde_json::json!({ "bounding": powers, "effective": powers, "permitted": powers });
    config["process"]["rlimits"] = serde_json::json!([]);
    std::fs::write(bundle.join("config.json"), config.to_string()).unwrap();
    // Mounts a cgroup2 where crun expects it and the agent has it. Runs without a cgroup, because hosts with two
    // hierarchies refuse one.
    let script = "umount -R /sys/fs/cgroup 2>/dev/null; mount -t cgroup2 cgroup2 /sys/fs/cgroup; \
                  exec crun --cgroup-manager=disabled run -b bundle \"$0\"";
    let mut command = Command::new("unshare");
    command.args(["-m", "--propagation", "private", "sh", "-c", script, &format!("conformance-{}-{name}", std::process::id())]);
    let output = command.current_dir(folder).output().unwrap();
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.code().is_some() && !errors.contains("capset"), "{name}: {errors}");
    Ran { code: output.status.code().unwrap(), output: text.lines().map(str::to_owned).collect() }
}

fn publish(lab: &Lab, folder: &Path, name: &str, form: &[&str]) -> String {
    let target = folder.join("published");
    let _ = std::fs::remove_dir_all(&target);
    let mut command = Command::new("skopeo");
    command.args(["copy", "--insecure-policy", "--quiet"]).args(form).args([format!("oci:oci:{name}"), "dir:published".into()]);
    let output = command.current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    lab.registry.folder(name, &target)
}

async fn ours(lab: &Lab, name: &str, image: &str) -> Ran {
    let before = lab.text().len();
    let report = lab.run(action(name, image)).await;
    let text = message(&report).to_owned();
    let code = match text.strip_prefix("NonZeroExit: exit code ") {
        Some(rest) => rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap(),
        None if text.starts_with("completed") => 0,
        None => panic!("{name}: {text}\n{}", lab.text()),
    };
    let log = lab.text().split_off(before);
    let lines = log.lines().filter_map(|line| line.split_once("A| ").map(|(_, line)| line.to_owned()));
    Ran { code, output: lines.collect() }
}

fn difference(want: &Ran, got: &Ran) -> String {
    let only = |of: &Ran, other: &Ran, sign: &str| -> String {
        of.output.iter().filter(|line| !other.output.contains(line)).map(|line| format!("  {sign} {line}\n")).collect()
    };
    format!("  crun {}, agent {}\n{}{}", want.code, got.code, only(want, got, "crun "), only(got, want, "agent"))
}
