//! What the agent prints before it has a log. In the ramdisk its stderr is the kernel log, which shows each write
//! separately.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

#[test]
fn wrong_arguments_and_settings_are_one_record_with_the_programs_name() {
    for (args, want) in [
        (&["run"][..], "thimble: agent: wrong settings: WORKER_ID (or -id) is not set; "),
        (&["vmlinuz"], "thimble: agent: \"vmlinuz\" is not a role"),
    ] {
        // A datagram is one write, like a record of the kernel log.
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        ours.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_agent"));
        let status = command.args(args).env_clear().stderr(Stdio::from(OwnedFd::from(theirs))).status().unwrap();
        assert_eq!(status.code(), Some(2));
        let mut buffer = [0; 4096];
        let length = ours.recv(&mut buffer).unwrap();
        let record = String::from_utf8_lossy(&buffer[..length]).into_owned();
        assert!(record.starts_with(want) && record.ends_with('\n') && record.lines().count() == 1, "{record:?}");
    }
}

#[test]
fn an_agent_that_cannot_start_says_why_even_if_backtraces_are_enabled() {
    let said = |backtrace: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_agent"));
        command.env_clear().env("RUST_BACKTRACE", backtrace).env("SSL_CERT_FILE", "/no/such/authorities.crt");
        let output = command.args(["-id", "x", "-grpc-server", "127.0.0.1:1", "-grpc-tls", "-state-dir", "/proc/none"]).output();
        let output = output.unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, text) = said("1");
    assert_eq!((code, &text), (Some(1), &said("0").1));
    assert!(text.lines().last().is_some_and(|line| line.contains("the agent cannot work: cannot ")), "{text}");
}
