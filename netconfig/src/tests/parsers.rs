//! The systems' own parsers on what is written for them. Each is first shown a mistake, so that its silence means something.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use super::all;
use crate::{File, files};

const UNSHARE: &[&str] = &["unshare", "--net", "ip", "link", "add", "name", "near", "type", "veth", "peer", "name", "far"];

/// A parser that this host lacks is named and skipped. `cargo lab test` installs it.
fn is_here(tool: &[&str]) -> bool {
    let works = Command::new(tool[0]).args(&tool[1..]).output().is_ok_and(|output| output.status.success());
    if !works {
        println!("skipped: {} does not work here", tool.join(" "));
    }
    works
}

fn write(folder: &Path, files: &[File]) {
    for (name, text) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn shell(script: &str, folder: &Path) -> Output {
    Command::new("sh").args(["-c", script]).current_dir(folder).output().unwrap()
}

#[test]
fn netplan_makes_something_of_it() {
    if !is_here(&["netplan", "--help"]) {
        return;
    }
    let generate = |text: &str| {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), &[("etc/netplan/netplan.yaml".to_owned(), text.to_owned())]);
        let output = Command::new("netplan").args(["generate", "--root-dir"]).arg(root.path()).output().unwrap();
        (output.status.success(), said(&output), said(&shell("cat run/systemd/network/*", root.path())))
    };
    assert!(!generate("network:\n  version: 2\n  ethernets:\n    eth0:\n      dhcp9: true\n").0);
    for (case, learned) in all() {
        let text = super::text_of(&learned, "netplan.yaml");
        let (good, said, made) = generate(&text);
        assert!(good, "{case}: {said}\n{text}");
        let address = format!("Address={}/{}", learned.address, learned.prefix);
        let expected = match (learned.is_dynamic(), learned.is_ipv4()) {
            (false, _) => address.as_str(),
            (true, true) => "DHCP=ipv4",
            (true, false) => "IPv6AcceptRA=yes",
        };
        assert!(made.contains(expected), "{case}: no {expected} in\n{made}");
        assert!(learned.bond.is_none() || made.contains("LACPTransmitRate=fast"), "{case}:\n{made}");
        assert!(learned.vlan.is_none() || made.contains("Id=100"), "{case}:\n{made}");
    }
}

/// The daemon reads its files, says what it does not understand, and finds no link to use them for.
#[test]
fn networkd_understands_every_line() {
    const DAEMON: &str = "/lib/systemd/systemd-networkd";
    if !is_here(&["unshare", "--net", "--mount", "--pid", "--fork", DAEMON, "--version"]) {
        return;
    }
    let complaints = |files: &[File]| {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), files);
        let script = format!(
            "mount -t tmpfs none /run && mkdir -p /run/systemd/network && cp networkd/* /run/systemd/network && mkfifo /run/log && \
             {{ env SYSTEMD_LOG_LEVEL=info SYSTEMD_LOG_TARGET=console {DAEMON} >/run/log 2>&1 & }} && \
             timeout 10 sed '/Enumeration completed/q' /run/log"
        );
        let output = Command::new("unshare")
            .args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", &script])
            .current_dir(folder.path())
            .output()
            .unwrap();
        said(&output)
    };
    let wrong = [("networkd/10-eth0.network".to_owned(), "[Match]\nName=x\n\n[Network]\nDHCQ=yes\n".to_owned())];
    let shown = complaints(&wrong);
    assert!(shown.contains("DHCQ"), "it overlooks a mistake: {shown}");
    for (case, learned) in all() {
        let shown = complaints(&files(&learned));
        let about = shown.lines().any(|line| line.contains(".network") || line.contains(".netdev"));
        assert!(shown.contains("Enumeration completed") && !about, "{case}: {shown}");
    }
}

/// libnm is what NetworkManager reads its files with.
#[test]
fn network_manager_takes_each_connection() {
    const SCRIPT: &str = "import gi, os, sys
gi.require_version('NM', '1.0')
from gi.repository import NM, GLib
def warn(keyfile, connection, kind, data, user):
    print(name, NM.KeyfileHandlerData.warn_get(data)[0]); return True
for name in sorted(os.listdir('.')):
    file = GLib.KeyFile()
    file.load_from_file(name, GLib.KeyFileFlags.NONE)
    connection = NM.keyfile_read(file, os.getcwd(), NM.KeyfileHandlerFlags.NONE, warn, None)
    connection.normalize()
    connection.verify()
";
    if !is_here(&["python3", "-c", "import gi; gi.require_version('NM', '1.0'); from gi.repository import NM"]) {
        return;
    }
    let read = |files: &[File]| {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), files);
        let folder = folder.path().join("NetworkManager");
        Command::new("python3").args(["-c", SCRIPT]).current_dir(folder).output().unwrap()
    };
    let wrong = "[connection]\nid=a\nuuid=7468696d-626c-8000-8000-020000000001\ntype=ethernet\n[ipv4]\nmethod=manual\n";
    assert!(!read(&[("NetworkManager/a.nmconnection".to_owned(), wrong.to_owned())]).status.success());
    for (case, learned) in all() {
        let output = read(&files(&learned));
        assert!(output.status.success() && said(&output).is_empty(), "{case}: {}\n{:?}", said(&output), files(&learned));
    }
}

#[test]
fn ifup_knows_what_it_would_do() {
    if !is_here(&["ifup", "--version"]) || !is_here(UNSHARE) {
        return;
    }
    let would = |text: &str, asked: &str| {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &[("interfaces".to_owned(), text.to_owned())]);
        let script = format!(
            "mount -t sysfs none /sys && ip link set lo up && ip link add name en7 address 02:00:00:00:00:01 type veth peer name far && \
             ip link set dev far address 02:00:00:00:00:02 && ifup --no-act --verbose --force --no-scripts --no-loopback --state-dir=$PWD -i interfaces {asked}"
        );
        let output =
            Command::new("unshare").args(["--net", "--mount", "sh", "-c", &script]).current_dir(folder.path()).output().unwrap();
        (output.status.success(), said(&output))
    };
    assert!(!would("iface x inet dhcpp\n", "-a").0);
    for (case, learned) in all() {
        let text = super::text_of(&learned, "interfaces");
        let (good, said) = would(&text, "-a");
        assert!(good && said.contains("en7"), "{case}: {said}\n{text}");
        let tagged =
            if learned.vlan.is_some() && learned.bond.is_none() { would(&text, "en7.100=vlan-100") } else { (true, said) };
        let address = learned.address.to_string();
        let expected = match (learned.is_dynamic(), learned.is_ipv4()) {
            (false, _) => address.as_str(),
            (true, true) => "dhc", // whichever client there is,
            (true, false) => "accept_ra",
        };
        assert!(tagged.0 && tagged.1.contains(expected), "{case}: no {expected} in {}\n{text}", tagged.1);
    }
}

/// No package of Debian reads these; they are shell all the same.
#[test]
fn a_shell_reads_ifcfg_files_and_variables() {
    for (case, learned) in all() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &files(&learned));
        let script = "set -eu; for file in ifcfg/* learned.env; do test -z \"$(. ./$file 2>&1)\"; . ./$file; done; echo $ADDRESS";
        let output = shell(script, folder.path());
        assert_eq!(said(&output).trim(), learned.address.to_string(), "{case}");
    }
}
