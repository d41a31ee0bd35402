//! A package of small programs: its files, its scripts, and the same bytes from two builds.

use super::*;
use std::os::unix::fs::PermissionsExt;

/// Prints what the package takes from the program.
const THIMBLE: &str = r##"#!/bin/sh
case $1 in
man) echo '.TH thimble 1' > "$2/thimble.1"; echo '.TH thimble-up 1' > "$2/thimble-up.1" ;;
completion) echo "# completion for $2" ;;
init) mkdir -p "$2/settings" && echo 'address: 192.0.2.1' > "$2/settings/thimble.yaml" ;;
esac
"##;

struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [("thimble", THIMBLE), ("init", "init"), ("actions", "actions")] {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        }
        Self(folder)
    }

    fn pack(&self, name: &str) -> PathBuf {
        let at = |name: &str| self.0.path().join(name);
        let programs = Programs { thimble: at("thimble"), init: at("init"), actions: at("actions") };
        let order =
            Order { programs: &programs, work: &at(name), version: "0.1.0+test", epoch: 1_700_000_000, compression: &["-Zgzip"] };
        pack(&workspace().unwrap(), &order, &at(&format!("{name}-output"))).unwrap()
    }
}

fn dpkg_deb(option: &str, package: &Path) -> String {
    output(Command::new("dpkg-deb").arg(option).arg(package)).unwrap()
}

#[test]
fn two_builds_give_the_same_bytes() {
    let bench = Bench::new();
    let (one, other) = (bench.pack("one"), bench.pack("other"));
    assert!(fs::read(one).unwrap() == fs::read(other).unwrap());
}

#[test]
fn the_package_has_its_files_for_everyone_and_of_root() {
    let bench = Bench::new();
    let package = bench.pack("work");
    let listing = dpkg_deb("-c", &package);
    for (mode, path) in [
        ("-rwxr-xr-x", "./usr/bin/thimble"),
        ("-rwxr-xr-x", "./usr/lib/thimble/init"),
        ("-rwxr-xr-x", "./usr/lib/thimble/actions"),
        ("-rw-r--r--", "./usr/lib/systemd/system/thimble.service"),
        ("-rw-r--r--", "./usr/lib/systemd/system/thimble-agent.service"),
        ("-rw-r--r--", "./usr/share/man/man1/thimble-up.1.gz"),
        ("-rw-r--r--", "./usr/share/bash-completion/completions/thimble"),
        ("-rw-r--r--", "./usr/share/thimble/thimble.yaml"),
        ("-rw-r--r--", "./usr/share/thimble/starter/settings/thimble.yaml"),
        ("-rw-r--r--", "./usr/share/thimble/examples/workflows/debian.yaml"),
        ("-rw-r--r--", "./usr/share/doc/thimble/copyright"),
        ("-rw-r--r--", "./usr/share/doc/thimble/changelog.gz"),
        ("-rw-r--r--", "./usr/share/doc/thimble/install.md"),
        ("drwxr-xr-x", "./etc/thimble/"),
    ] {
        let line =
            listing.lines().find(|line| line.ends_with(&format!(" {path}"))).unwrap_or_else(|| panic!("no {path}: {listing}"));
        assert!(line.starts_with(mode) && line.contains(" root/root "), "{line}");
    }
    assert!(!listing.contains("/var/lib"), "dpkg would remove what it has put there: {listing}");
    let control = dpkg_deb("-I", &package);
    assert!(control.contains("Version: 0.1.0+test") && control.contains("Depends: adduser"), "{control}");
    assert!(!dpkg_deb("--info", &package).contains("conffiles"), "an upgrade asks nothing");
}

#[test]
fn the_units_are_those_of_this_checkout_and_systemd_takes_them() {
    let bench = Bench::new();
    bench.pack("work");
    let units = bench.0.path().join("work/tree/usr/lib/systemd/system");
    for name in ["thimble.service", "thimble-agent.service"] {
        let text = fs::read_to_string(units.join(name)).unwrap();
        assert!(text.contains("ExecStart=/usr/bin/thimble ") && !text.contains("/usr/local"), "{text}");
        // The program is not installed here, and systemd looks for it.
        fs::write(units.join(name), text.replace("/usr/bin/thimble", "/bin/true")).unwrap();
        let verified = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(units.join(name)).output();
        match verified {
            Ok(found) => {
                assert!(found.status.success() && found.stderr.is_empty(), "{name}: {}", String::from_utf8_lossy(&found.stderr))
            }
            Err(error) => eprintln!("{name} is not checked, because systemd-analyze cannot be started: {error}"),
        }
    }
}

/// Runs a maintainer script where every program it calls writes a line, and nothing else happens.
fn calls_of(script: &str, arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    for name in ["systemctl", "deb-systemd-invoke", "adduser", "deluser", "getent", "install"] {
        let path = folder.path().join(name);
        fs::write(&path, format!("#!/bin/sh\necho {name} \"$@\" >> {}\n[ {name} != getent ]\n", log.display())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let text = fs::read_to_string(workspace().unwrap().join("packaging").join(script)).unwrap();
    // systemd does not run on every machine that tests.
    let text = text.replace("/run/systemd/system", "/").replace("/var/lib/thimble ]", "/nonexistent ]");
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &text, script]).args(arguments).env("PATH", folder.path());
    output(&mut shell).unwrap();
    fs::read_to_string(log).unwrap_or_default()
}

#[test]
fn no_script_starts_or_enables_a_daemon_and_data_stays() {
    let first = calls_of("postinst", &["configure", ""]);
    assert!(first.contains("adduser --quiet --system --group") && first.contains("install -d -m 0700 -o thimble"), "{first}");
    assert!(!first.contains("restart"), "{first}");
    let upgrade = calls_of("postinst", &["configure", "0.0.9"]);
    assert!(
        upgrade.contains("deb-systemd-invoke try-restart thimble.service"),
        "a running daemon takes the new program: {upgrade}"
    );
    assert_eq!(calls_of("prerm", &["upgrade", "0.2.0"]), "", "an upgrade does not stop the daemon");
    let removed = calls_of("prerm", &["remove"]);
    assert!(removed.contains("disable --now thimble.service"), "{removed}");
    for (script, arguments) in [("postinst", &["configure", ""][..]), ("postrm", &["remove"]), ("postrm", &["purge"])] {
        let calls = calls_of(script, arguments);
        assert!(!calls.contains(" start ") && !calls.contains(" enable "), "{script}: {calls}");
        let text = fs::read_to_string(workspace().unwrap().join("packaging").join(script)).unwrap();
        assert!(!text.contains("rm -") && !text.contains("--remove-home"), "{script}");
    }
}
