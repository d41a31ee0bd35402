//! `rescue`: an SSH server beside the agent, for owners of the keys on the kernel command line. It only runs if requested,
//! only exists if the ramdisk was built with it, and never accepts a password.

use std::fs::{self, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use cmdline::Arguments;

use crate::ready::Ready;
use crate::service::Facts;
use crate::{PathError, StepError};

const SERVER: &str = "/usr/sbin/dropbear";
const KEY_TOOL: &str = "/usr/bin/dropbearkey";
const SHELL_PROGRAM: &str = "/bin/busybox";
const HOST_KEY: &str = "/etc/dropbear/dropbear_ed25519_host_key";
const AUTHORIZED: &str = "/root/.ssh/authorized_keys";

/// Why the server does not start, for the operator who requested it.
fn refusal(arguments: &Arguments, has_server: bool) -> Option<&'static str> {
    if arguments.ssh_keys.is_empty() {
        Some("it needs a key: add ssh_key=AAAA... (the middle part of an SSH public key) to the kernel arguments")
    } else if !has_server {
        Some("this ramdisk has no SSH server: build it with `thimble image build --rescue`")
    } else {
        None
    }
}

pub fn run(facts: &Facts, _: Ready) -> Result<(), StepError> {
    if !facts.arguments.rescue {
        return Ok(());
    }
    if let Some(reason) = refusal(&facts.arguments, Path::new(SERVER).exists()) {
        log::warn!("rescue: no shell: {reason}");
        return Ok(());
    }
    let keys: String = facts.arguments.ssh_keys.iter().map(cmdline::SshKey::line).collect();
    authorize(Path::new(AUTHORIZED), &keys)?;
    call(SHELL_PROGRAM, &["--install", "-s", "/bin"])?;
    if !Path::new(HOST_KEY).exists() {
        fs::create_dir_all("/etc/dropbear").map_err(PathError::new("cannot make", "/etc/dropbear"))?;
        let said = call(KEY_TOOL, &["-t", "ed25519", "-f", HOST_KEY])?;
        let print = said.lines().find_map(|line| line.strip_prefix("Fingerprint: ")).unwrap_or("of unknown fingerprint");
        log::info!("rescue: ssh root@ this machine, host key {print}");
    }
    // It makes a process for each connection, without passwords (-s), in the foreground. It logs each login to the console.
    let log = OpenOptions::new().write(true).open("/dev/kmsg").map_or_else(|_| Stdio::null(), Stdio::from);
    let mut server = Command::new(SERVER);
    server.args(["-F", "-E", "-s", "-j", "-k", "-r", HOST_KEY]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let status = server.status().map_err(PathError::new("cannot execute", SERVER))?;
    Err(format!("{SERVER} ended: {status}").into())
}

fn authorize(file: &Path, keys: &str) -> Result<(), PathError> {
    let only_root = |path: &Path, mode| {
        fs::set_permissions(path, Permissions::from_mode(mode)).map_err(PathError::new("cannot protect", path))
    };
    for folder in file.ancestors().skip(1).take(2).collect::<Vec<_>>().into_iter().rev() {
        fs::create_dir_all(folder).map_err(PathError::new("cannot make", folder))?;
        only_root(folder, 0o700)?;
    }
    fs::write(file, keys).map_err(PathError::new("cannot write", file))?;
    only_root(file, 0o600)
}

fn call(program: &str, arguments: &[&str]) -> Result<String, StepError> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(PathError::new::<io::Error>("cannot execute", program))?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        Ok(said(&output.stdout))
    } else {
        Err(format!("{program} failed ({}): {}", output.status, said(&output.stderr)).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh_key=AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";

    #[test]
    fn without_a_key_or_a_server_there_is_no_shell_and_a_reason() {
        for (line, has_server, refused) in
            [("rescue", true, Some("a key")), (KEY, false, Some("no SSH server")), (KEY, true, None), ("", false, Some("a key"))]
        {
            let reason = refusal(&Arguments::parse(line).arguments, has_server);
            assert_eq!(reason.is_some(), refused.is_some(), "{line}");
            assert!(reason.unwrap_or_default().contains(refused.unwrap_or_default()), "{line}: {reason:?}");
        }
    }

    #[test]
    fn only_root_can_read_the_keys() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("root/.ssh/authorized_keys");
        authorize(&file, "ssh-ed25519 AAAA\n").unwrap();
        authorize(&file, "ssh-ed25519 BBBB\n").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(fs::read_to_string(&file).unwrap(), "ssh-ed25519 BBBB\n");
        assert_eq!((mode(&file), mode(file.parent().unwrap()), mode(&root.path().join("root"))), (0o600, 0o700, 0o700));
    }
}
