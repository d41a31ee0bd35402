//! The commands on the pages. Every `sh` block of README.md, CONTRIBUTING.md and docs/ runs unchanged, each page in a
//! separate folder. A block with the comment `# Not run by the lab: WHY` is skipped. If a command would need the Internet
//! or a long build, a stand-in with the same name does what its script says.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::mount::{MsFlags, mount};

use crate::command::{self, effect};
use crate::scene::Scene;
use crate::segment;
use crate::setup::{TARGET, workspace};

const PAGE_LIMIT: Duration = Duration::from_secs(600);
const NOT_RUN: &str = "# Not run by the lab:";

/// `cargo lab WORDS` is only parsed, by the lab itself. `cargo ramdisk` and `cargo install` must name existing packages.
/// The lab has built their programs already.
const CARGO: &str = r#"#!/bin/sh
case "$1" in
  lab) shift; exec "$LAB" "$@" --help > /dev/null ;;
  install) while [ "$1" != --path ]; do shift; done; exec test -f "$CHECKOUT/$2/Cargo.toml" ;;
  *) exec grep -q "^$1 = " "$CHECKOUT/.cargo/config.toml" ;;
esac
"#;
/// A download gives a kernel package that the lab has. Thimble's own package brings the programs that the lab has built. Any
/// other installation is only simulated.
const APT_GET: &str = r#"#!/bin/sh
case "$*" in
  install\ ./*) exec install -D -t /usr/local/lib/thimble target/*/image/init target/*/image/actions ;;
  download\ *) shift; for name; do ln -s "$PACKAGES/$name"_*.deb . || exit 1; done ;;
  *) exec /usr/bin/apt-get -s "$@" > /dev/null ;;
esac
"#;
/// `up` stays in the background once it is healthy, and `--watch` is ended after a while. The lab has no https registry, so
/// commands that name one are only parsed.
const THIMBLE: &str = r#"#!/bin/sh
case "$*" in
  up\ *)
    "$THIMBLE" "$@" > up.log 2>&1 &
    # The daemon of an earlier page still runs, and the store is in use.
    grep -q . "/proc/$(cat "$0.pid" || echo none)/cmdline" 2> /dev/null || echo $! > "$0.pid"
    for try in $(seq 100); do "$THIMBLE" get workflows > /dev/null 2>&1 && exit 0; sleep 0.2; done
    cat up.log; exit 1 ;;
  *--watch*) timeout 3 "$THIMBLE" "$@"; code=$?; [ $code = 124 ] || exit $code ;;
  *https://*) exec "$THIMBLE" "$@" --help > /dev/null ;;
  *) exec "$THIMBLE" "$@" ;;
esac
"#;
/// No systemd runs here. Its unit starts the daemons with the settings of the host.
const SYSTEMCTL: &str = r#"#!/bin/sh
case "$*" in
  'enable --now thimble' | 'start thimble') exec thimble up --config /etc/thimble/thimble.yaml ;;
  'stop thimble')
    pid=$(cat "$(dirname "$0")/thimble.pid") && kill "$pid" || exit 1
    # Nobody waits for it here, and a process that has ended has no command line.
    while grep -q . "/proc/$pid/cmdline" 2> /dev/null; do sleep 0.1; done ;;
  *) echo "systemctl $*: not known to the lab"; exit 1 ;;
esac
"#;
/// On a host without kubectl its commands are left out. The server's tests need none on the path.
const KUBECTL: &str = r#"#!/bin/sh
real=$(PATH=${PATH#*:} command -v kubectl) || { echo "no kubectl on this host"; exit 0; }
exec "$real" "$@"
"#;
/// The lab is root already.
const SUDO: &str = "#!/bin/sh\nexec \"$@\"\n";
const STAND_INS: &[(&str, &str)] = &[
    ("cargo", CARGO),
    ("apt-get", APT_GET),
    ("sudo", SUDO),
    ("kubectl", KUBECTL),
    ("systemctl", SYSTEMCTL),
    ("thimble", THIMBLE),
];
/// What a page takes for granted.
const BEFORE: &[(&str, &str)] = &[
    (
        "backup",
        "thimble init host; cp host/settings/thimble.yaml /etc/thimble/; systemctl enable --now thimble; thimble apply -f host",
    ),
    ("media", "apt-get download $(apt-cache depends linux-image-amd64 | awk '/Depends: linux-image/ {print $2}')"),
];
/// Folders outside of the page's folder that the commands write to. Here they are in memory.
const WRITTEN: &[&str] = &["/usr/local/lib", "/var/lib", "/var/backups", "/etc"];
/// Folders that packages bring, ours and Prometheus'.
const OF_PACKAGES: &[&str] = &["/etc/thimble", "/etc/prometheus"];

pub fn commands(scene: &Scene) -> Result<()> {
    let root = workspace()?;
    let _registry = scene.registry()?;
    let tools = stand_ins(scene)?;
    own_places(scene)?;
    validate_examples(scene, &root)?;
    let mut failed = Vec::new();
    for page in pages(&root)? {
        let text = fs::read_to_string(&page).with_context(|| format!("cannot read {}", page.display()))?;
        let script = blocks(&text).join("\n");
        let name = page.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if script.is_empty() {
            continue;
        }
        println!("{}: {} lines", page.display(), script.lines().count());
        let run = run_page(scene, &root, &tools, &name, &script);
        failed.extend(run.err().map(|error| format!("the commands of {}: {error:#}", page.display())));
    }
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(())
}

fn validate_examples(scene: &Scene, root: &Path) -> Result<()> {
    let mut validate = Command::new(&scene.setup.thimble);
    validate.arg("validate").current_dir(root.join("examples"));
    for folder in ["hardware", "templates", "workflows"] {
        validate.args(["-f", folder]);
    }
    command::run(&mut validate, &scene.folder.join("examples.log"), Duration::from_secs(60)).context("examples/")
}

fn pages(root: &Path) -> Result<Vec<PathBuf>> {
    let mut pages = vec![root.join("README.md"), root.join("CONTRIBUTING.md")];
    for entry in fs::read_dir(root.join("docs")).context("cannot list docs")? {
        pages.push(entry.context("cannot list docs")?.path());
    }
    pages.retain(|page| page.extension().is_some_and(|end| end == "md"));
    pages.sort();
    ensure!(pages.len() > 2, "docs/ has no pages");
    Ok(pages)
}

/// The contents of the page's `sh` blocks, at any indentation.
fn blocks(page: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = page.lines().map(str::trim);
    while let Some(line) = lines.next() {
        if line == "```sh" {
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            blocks.push(block.join("\n"));
        }
    }
    blocks.retain(|block| !block.contains(NOT_RUN));
    blocks
}

fn run_page(scene: &Scene, root: &Path, tools: &Path, name: &str, script: &str) -> Result<()> {
    let folder = scene.place(name)?;
    let statics = folder.join("target").join(TARGET).join("image");
    fs::create_dir_all(&statics).context("cannot make the page's folder")?;
    for program in [&scene.setup.init, &scene.setup.actions] {
        symlink(program, statics.join(program.file_name().unwrap_or_default())).context("cannot link a program")?;
    }
    symlink(root.join("examples"), folder.join("examples")).context("cannot link the examples")?;
    let mut shell = Command::new("sh");
    let before = BEFORE.iter().find(|(page, _)| *page == name).map_or("", |(_, before)| before);
    shell.args(["-eux", "-c", &format!("{before}\n{script}")]).current_dir(&folder);
    shell.env("PATH", format!("{}:{}", tools.display(), std::env::var("PATH").unwrap_or_default()));
    shell.env("LAB", std::env::current_exe().context("cannot find the lab's own program")?);
    shell.env("CHECKOUT", root).env("PACKAGES", &scene.setup.lab).env("THIMBLE", &scene.setup.thimble);
    // The daemon that a page starts ends with this segment.
    command::run(&mut shell, &scene.folder.join(format!("{name}.log")), PAGE_LIMIT)
}

fn stand_ins(scene: &Scene) -> Result<PathBuf> {
    let folder = scene.place("stand-ins")?;
    for (name, script) in STAND_INS {
        let path = folder.join(name);
        fs::write(&path, script)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(folder)
}

/// Puts memory over the folders that commands write to, gives this segment's registry the pages' name, and sets the address
/// of the example settings.
fn own_places(scene: &Scene) -> Result<()> {
    let memory = scene.place("memory")?;
    mount(Some("tmpfs"), &memory, Some("tmpfs"), MsFlags::empty(), None::<&str>).context("cannot mount memory")?;
    for (number, folder) in WRITTEN.iter().enumerate() {
        let (upper, work) = (memory.join(format!("upper{number}")), memory.join(format!("work{number}")));
        fs::create_dir_all(&upper).and_then(|()| fs::create_dir_all(&work)).context("cannot make folders in memory")?;
        let options = format!("lowerdir={folder},upperdir={},workdir={}", upper.display(), work.display());
        mount(Some("overlay"), *folder, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
            .with_context(|| format!("cannot lay memory over {folder}"))?;
    }
    OF_PACKAGES.iter().try_for_each(fs::create_dir_all).context("cannot make the folders of packages")?;
    let hosts = memory.join("hosts");
    fs::write(&hosts, format!("127.0.0.1 localhost\n{} registry.example\n", segment::HOST)).context("cannot write hosts")?;
    mount(Some(&hosts), "/etc/hosts", None::<&str>, MsFlags::MS_BIND, None::<&str>).context("cannot replace /etc/hosts")?;
    effect(Command::new("ip").args(["addr", "add", "192.0.2.1/24", "dev", segment::BRIDGE]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_shell_blocks_that_may_run_are_taken() {
        let page = "Text\n```sh\none\n```\n1. list\n   ```sh\n   two \\\n     --three\n   ```\n```json\n{}\n```\n\
                    ```sh\n# Not run by the lab: it needs a real machine\nfour\n```\n";
        assert_eq!(blocks(page), ["one", "two \\\n--three"]);
    }
}
