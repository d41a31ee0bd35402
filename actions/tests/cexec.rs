//! `cexec` on file systems of loop devices, as a program of its own: it makes namespaces for a whole process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use support::Loop;

/// A system of busybox alone, as small images have it.
fn with_busybox(root: &Path) {
    for folder in ["usr/bin", "etc"] {
        std::fs::create_dir_all(root.join(folder)).unwrap();
    }
    symlink("usr/bin", root.join("bin")).unwrap(); // usrmerge
    std::fs::copy("/bin/busybox", root.join("usr/bin/busybox")).expect("the tests need Debian's package busybox-static");
    for tool in ["sh", "sleep", "setsid", "cat", "mount", "ls", "kill", "grep"] {
        symlink("busybox", root.join("usr/bin").join(tool)).unwrap();
    }
}

fn command(disk: &Loop, line: &str, more: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_actions"));
    command.arg("cexec").envs([("BLOCK_DEVICE", disk.name()), ("FS_TYPE", "ext4"), ("CHROOT", "y"), ("CMD_LINE", line)]);
    command.env("DEFAULT_INTERPRETER", "/bin/sh -c").envs(more.iter().copied()).stdin(Stdio::null());
    command
}

fn cexec(disk: &Loop, line: &str, more: &[(&str, &str)]) -> Output {
    command(disk, line, more).output().unwrap()
}

fn text(output: &[u8]) -> String {
    String::from_utf8_lossy(output).into_owned()
}

fn succeeds(output: &Output) -> String {
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// That no mount, no process and no use of the disk is left.
fn is_as_found(disk: &Loop, mark: &str) {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(disk.name()) && !mounts.contains("/mountAction"), "{mounts}");
    let running = Command::new("grep").args(["-sal", mark]).args(cmdlines()).output().unwrap();
    assert_eq!(text(&running.stdout), "", "processes are left");
    let file = std::fs::OpenOptions::new().read(true).write(true).open(disk.name()).unwrap();
    drop(file);
    disk.wait_until_free();
}

fn cmdlines() -> Vec<String> {
    let own = std::process::id().to_string();
    let entries = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().into_string().ok());
    entries.filter(|name| name.parse::<u32>().is_ok() && *name != own).map(|name| format!("/proc/{name}/cmdline")).collect()
}

#[test]
fn the_command_finds_the_kernels_file_systems_and_its_own_processes() {
    let Some(disk) = Loop::with_ext4() else { return };
    disk.fill(with_busybox);
    let line =
        "cat /proc/self/comm; ls /sys/block >/dev/null && test -c /dev/null && echo $$ of $(ls -d /proc/[0-9]* | busybox wc -l)";
    let output = succeeds(&cexec(&disk, line, &[]));
    assert!(output.contains("cat\n") && output.contains("2 of "), "{output}");
    // `timeout` ends its command by SIGTERM, and waits for SIGCHLD.
    let output = succeeds(&cexec(&disk, "busybox timeout 1 sleep 1000; echo $?; grep SigBlk /proc/self/status", &[]));
    assert!(output.contains("143\n") && output.contains("SigBlk:\t0000000000000000"), "{output}");
    let root = disk.look("ls -l /");
    assert!(!root.contains("proc") && !root.contains("run"), "the folders that were made are gone: {root}");
    is_as_found(&disk, "nothing-of-this-name");
}

#[test]
fn name_servers_are_there_for_the_command_and_the_disk_does_not_change() {
    let names = std::fs::read_to_string("/etc/resolv.conf").unwrap();
    let update = [("UPDATE_RESOLV_CONF", "true")];
    type Prepare = fn(&Path);
    let cases: [(&str, Prepare, &str); 5] = [
        ("none", |_| {}, ""),
        ("a file", |etc| std::fs::write(etc.join("resolv.conf"), "nameserver 192.0.2.1\n").unwrap(), "nameserver 192.0.2.1\n"),
        (
            "systemd-resolved's",
            |etc| symlink("../run/systemd/resolve/stub-resolv.conf", etc.join("resolv.conf")).unwrap(),
            "link",
        ),
        ("a link to nothing", |etc| symlink("/gone/resolv.conf", etc.join("resolv.conf")).unwrap(), "link"),
        (
            "a link out of the target",
            |etc| symlink("../../../../../../tmp/cexec-outside", etc.join("resolv.conf")).unwrap(),
            "link",
        ),
    ];
    for (case, prepare, expected) in cases {
        let Some(disk) = Loop::with_ext4() else { return };
        disk.fill(|root| {
            with_busybox(root);
            prepare(&root.join("etc"));
        });
        let before = disk.look("stat /etc/resolv.conf").split("ctime").next().unwrap().to_owned();
        let output = succeeds(&cexec(&disk, "cat /etc/resolv.conf; echo x >> /etc/resolv.conf", &update));
        assert!(output.contains(names.trim()), "{case}: {output}");
        assert_eq!(disk.look("stat /etc/resolv.conf").split("ctime").next().unwrap(), before, "{case}");
        if expected != "link" {
            assert_eq!(disk.look("cat /etc/resolv.conf"), expected, "{case}");
        }
        assert!(!Path::new("/tmp/cexec-outside").exists(), "{case}");
        assert_eq!(std::fs::read_to_string("/etc/resolv.conf").unwrap(), names, "{case}: the machine's own");
    }
}

#[test]
fn what_the_command_leaves_behind_ends_with_it() {
    let Some(disk) = Loop::with_ext4() else { return };
    disk.fill(with_busybox);
    let line = "mkdir -p /mnt; mount -t tmpfs x /mnt; cd /mnt; (setsid sleep 4711 </dev/null >/dev/null 2>&1 &); \
                until busybox pidof sleep >/dev/null; do :; done; echo done > /etc/proof";
    let line = line.replace("mkdir", "busybox mkdir");
    let output = succeeds(&cexec(&disk, &line, &[]));
    assert!(
        output.contains("left processes, which are ended: sleep") && output.contains("left mounts, which are undone: /mnt"),
        "{output}"
    );
    assert_eq!(disk.look("cat /etc/proof"), "done\n");
    is_as_found(&disk, "4711");
}

#[test]
fn a_killed_action_leaves_nothing() {
    for signal in ["TERM", "KILL"] {
        let Some(disk) = Loop::with_ext4() else { return };
        disk.fill(|root| {
            with_busybox(root);
            std::fs::write(root.join("etc/resolv.conf"), "nameserver 192.0.2.1\n").unwrap();
        });
        let line = "(setsid sleep 4712 &) ; echo begun; sleep 4713";
        let mut child = command(&disk, line, &[("UPDATE_RESOLV_CONF", "1")]).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
        let mut seen = String::new();
        while !seen.contains("begun\n") {
            assert!(std::io::BufRead::read_line(&mut output, &mut seen).unwrap() > 0, "{seen}");
        }
        assert!(Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap().success());
        let status = child.wait().unwrap();
        assert!(!status.success(), "{signal}");
        assert_eq!(status.code(), (signal == "TERM").then_some(30));
        let start = Instant::now();
        while disk.is_busy() && start.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(20));
        }
        is_as_found(&disk, "471[23]");
        assert_eq!(disk.look("cat /etc/resolv.conf"), "nameserver 192.0.2.1\n", "{signal}");
    }
}

#[test]
fn exit_codes_are_upstreams_and_causes_are_named() {
    let Some(disk) = Loop::with_ext4() else { return };
    disk.fill(|root| {
        with_busybox(root);
        std::fs::write(root.join("usr/bin/broken"), "#!/bin/nothing\n").unwrap();
        std::fs::set_permissions(root.join("usr/bin/broken"), std::fs::Permissions::from_mode(0o755)).unwrap();
    });
    for (case, line, more, code, expected) in [
        ("the command fails", "exit 4", &[("X", "")][..], 30, "CMD_LINE: /bin/sh ended with exit code 4"),
        ("no interpreter", "true", &[("DEFAULT_INTERPRETER", "/bin/bash -c")], 30, "of shells there is /bin/sh"),
        (
            "a loader is missing",
            "/usr/bin/broken",
            &[("DEFAULT_INTERPRETER", "")],
            30,
            "its interpreter or its loader is missing",
        ),
        ("nothing to run", "", &[], 20, "CMD_LINE is not set"),
        ("a wrong flag", "true", &[("UPDATE_RESOLV_CONF", "perhaps")], 10, "wanted true or false"),
        ("another file system", "true", &[("FS_TYPE", "xfs")], 30, "holds no readable xfs file system"),
        ("a signal", "kill -9 $$", &[], 30, "ended with signal 9"),
        ("the command wants a reboot", "busybox reboot -f", &[], 30, "asked for reboot"),
    ] {
        let output = cexec(&disk, line, more);
        assert_eq!(output.status.code(), Some(code), "{case}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains(expected), "{case}: {}", text(&output.stderr));
    }
    is_as_found(&disk, "nothing-of-this-name");
}

#[test]
fn without_an_interpreter_programs_are_found_and_without_chroot_the_target_is_at_upstreams_place() {
    let Some(disk) = Loop::with_ext4() else { return };
    disk.fill(with_busybox);
    let plain = [("DEFAULT_INTERPRETER", ""), ("JSON_OUTPUT", "true")];
    let output = succeeds(&cexec(&disk, "busybox touch /a; busybox touch /b", &plain));
    assert!(output.starts_with("{\"level\":\"INFO\",\"msg\":\"running busybox touch /a\"}\n"), "{output}");
    assert!(disk.look("ls -l /").contains(" b\n"));
    let output =
        succeeds(&cexec(&disk, "touch /mountAction/c; readlink /proc/self", &[("DEFAULT_INTERPRETER", ""), ("CHROOT", "")]));
    assert!(output.lines().last().unwrap().parse::<u32>().unwrap() < 10, "{output}");
    assert!(disk.look("ls -l /").contains(" c\n"));
}

#[test]
fn a_dry_run_says_what_would_run_and_changes_nothing() {
    let Some(disk) = Loop::with_ext4() else { return };
    let before = std::fs::read(&disk.file).unwrap();
    let output = succeeds(&command(&disk, "busybox touch /x", &[]).arg("--dry-run").output().unwrap());
    assert!(output.contains("run inside of it") && output.contains("  /bin/sh -c busybox touch /x"), "{output}");
    assert!(before == std::fs::read(&disk.file).unwrap());
}

#[test]
fn a_system_in_a_subvolume_of_btrfs_is_found() {
    let Some(disk) = Loop::of_size(128 << 20) else { return };
    match Command::new("mkfs.btrfs").args(["-q", disk.name()]).status() {
        Ok(status) if status.success() => {}
        _ => return eprintln!("SKIPPED: mkfs.btrfs: apt-get install btrfs-progs"),
    }
    disk.fill(|root| {
        for name in ["@", "@home"] {
            let made = Command::new("btrfs").args(["-q", "subvolume", "create"]).arg(root.join(name)).output().unwrap();
            assert!(made.status.success(), "{}", text(&made.stderr));
        }
        with_busybox(&root.join("@"));
    });
    let output = succeeds(&cexec(&disk, "cat /proc/self/mountinfo", &[("FS_TYPE", "btrfs")]));
    assert!(output.contains("the system is in the subvolume @") && output.contains("subvol=/@"), "{output}");
    let named = [("FS_TYPE", "btrfs"), ("MOUNT_OPTIONS", "subvol=@,noatime")];
    assert!(succeeds(&cexec(&disk, "cat /proc/self/mountinfo", &named)).contains("noatime"));
}
