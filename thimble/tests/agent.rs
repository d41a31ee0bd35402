//! `thimble agent` as a host starts it: by hand, and with the unit file that comes with it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Output};

use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, sendmsg, socketpair,
};

const UNIT: &str = include_str!("../systemd/thimble-agent.service");
const PROGRAM: &str = "/usr/local/bin/thimble";

fn agent(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_thimble")).arg("agent").args(args).env_clear().output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn systemd_accepts_the_unit() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        return eprintln!("skipped: systemd-analyze is not installed (apt-get install systemd)");
    }
    let folder = tempfile::tempdir().unwrap();
    let unit = folder.path().join("thimble-agent.service");
    let verify = |text: &str| {
        std::fs::write(&unit, text).unwrap();
        Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&unit).output().unwrap()
    };
    let installed = UNIT.replace(PROGRAM, env!("CARGO_BIN_EXE_thimble"));
    let output = verify(&installed);
    assert!(output.status.success() && !text(&output).contains("thimble-agent.service"), "{}", text(&output));
    let output = verify(&installed.replace("KillMode=mixed", "KillMode=gently"));
    assert!(text(&output).contains("thimble-agent.service"), "systemd-analyze must have read the unit: {}", text(&output));
}

#[test]
fn the_units_flags_are_flags_of_the_agent() {
    let line = UNIT.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let mut words = line.split(' ').map(|word| word.replace("%S", "/var/lib"));
    assert_eq!((words.next().as_deref(), words.next().as_deref()), (Some(PROGRAM), Some("agent")));
    let flags: Vec<String> = words.collect();
    let output = agent(&flags.iter().map(String::as_str).collect::<Vec<_>>());
    let mistakes = text(&output);
    assert_eq!(output.status.code(), Some(2), "{mistakes}");
    assert!(
        mistakes.contains("WORKER_ID") && !mistakes.contains("is not a known flag"),
        "only the host's settings may be missing: {mistakes}"
    );
}

#[test]
fn the_agent_prints_its_version_and_its_flags() {
    let version = text(&agent(&["-version"]));
    assert!(version.starts_with("thimble agent "), "{version}");
    let help = text(&agent(&["--help"]));
    for part in ["-workflow-path", "-runtime", "TINKERBELL_GRPC_AUTHORITY", "-capture-action-logs"] {
        assert!(help.contains(part), "{part} is missing in {help}");
    }
    let listed = Command::new(env!("CARGO_BIN_EXE_thimble")).arg("--help").output().unwrap();
    assert!(text(&listed).contains("\n  agent "), "{}", text(&listed));
}

#[test]
fn a_workflow_file_with_mistakes_never_starts() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("w.yaml");
    let run = |content: &str, file: &Path| {
        std::fs::write(file, content).unwrap();
        agent(&["run", "--workflow", file.to_str().unwrap()])
    };
    for (content, want) in [("- {name: x}", "image"), ("tasks: [", "w.yaml:1"), ("tasks: []\nname: {{ .no }}", "no")] {
        let output = run(content, &file);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        assert!(text(&output).contains(want), "{}", text(&output));
    }
}

#[test]
fn the_program_is_its_own_launcher_of_containers() {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    let mut launcher =
        Command::new(env!("CARGO_BIN_EXE_thimble")).arg("launcher").stdin(std::process::Stdio::from(theirs)).spawn().unwrap();
    let (notes, for_notes) = std::os::unix::net::UnixStream::pair().unwrap();
    let null = std::fs::File::open("/dev/null").unwrap();
    let streams = [for_notes.as_fd(), null.as_fd(), null.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&streams)));
    sendmsg(&ours, &[IoSlice::new(b"/no/such/bundle\0x")], &mut control, SendFlags::empty()).unwrap();
    drop(for_notes);
    let told = std::io::read_to_string(notes).unwrap();
    assert!(told.contains("\"Failed\""), "{told:?}");
    drop(ours);
    assert!(launcher.wait().unwrap().success(), "the launcher ends with the agent");
}
