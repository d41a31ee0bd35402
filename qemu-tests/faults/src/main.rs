//! The program that the fault scenarios start instead of `/init` (`rdinit=/faults`). It makes the system calls that the
//! kernel argument `faults=NAME:ERROR` names fail, in PID 1 and all its children. Then it becomes `/init`.
//!
//! The kernel passes unknown arguments to its first program as environment variables.

use std::error::Error;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

fn main() -> ExitCode {
    let error = match arm() {
        Ok(()) => Command::new("/init").exec().into(),
        Err(error) => error,
    };
    eprintln!("faults: {error}");
    ExitCode::FAILURE
}

fn arm() -> Result<(), Box<dyn Error>> {
    let wish = std::env::var("faults").map_err(|_| "the kernel argument faults= is missing")?;
    let (name, error) = wish.split_once(':').ok_or("expected faults=NAME:ERROR")?;
    let calls = system_calls(name).ok_or_else(|| format!("{name:?} is not a known group of system calls"))?;
    let rules = calls.iter().map(|call| (*call, Vec::new())).collect();
    let failing = SeccompAction::Errno(number(error).ok_or_else(|| format!("{error:?} is not a known error"))?);
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, failing, std::env::consts::ARCH.try_into()?)?;
    apply_filter(&BpfProgram::try_from(filter)?)?;
    Ok(())
}

/// All system calls with which programs make the same request.
fn system_calls(name: &str) -> Option<&'static [libc::c_long]> {
    Some(match name {
        "mount" => &[libc::SYS_mount, libc::SYS_fsopen, libc::SYS_move_mount, libc::SYS_open_tree],
        "mknod" => &[libc::SYS_mknod, libc::SYS_mknodat],
        "create" => &[
            libc::SYS_mkdir,
            libc::SYS_mkdirat,
            libc::SYS_mknod,
            libc::SYS_mknodat,
            libc::SYS_symlink,
            libc::SYS_symlinkat,
            libc::SYS_rename,
            libc::SYS_renameat,
            libc::SYS_renameat2,
            libc::SYS_unlink,
            libc::SYS_unlinkat,
        ],
        "fork" => &[libc::SYS_fork, libc::SYS_vfork, libc::SYS_clone, libc::SYS_clone3],
        "signalfd" => &[libc::SYS_signalfd, libc::SYS_signalfd4],
        "socket" => &[libc::SYS_socket, libc::SYS_socketpair],
        "poll" => &[libc::SYS_poll, libc::SYS_ppoll, libc::SYS_select, libc::SYS_pselect6, libc::SYS_epoll_wait],
        "pipe" => &[libc::SYS_pipe, libc::SYS_pipe2],
        "module" => &[libc::SYS_init_module, libc::SYS_finit_module],
        "limit" => &[libc::SYS_setrlimit, libc::SYS_prlimit64],
        "list" => &[libc::SYS_getdents, libc::SYS_getdents64],
        "inotify" => &[libc::SYS_inotify_init, libc::SYS_inotify_init1],
        _ => return None,
    })
}

fn number(error: &str) -> Option<u32> {
    let number = match error {
        "ENOMEM" => libc::ENOMEM,
        "EROFS" => libc::EROFS,
        "EMFILE" => libc::EMFILE,
        "EPERM" => libc::EPERM,
        _ => return None,
    };
    u32::try_from(number).ok()
}
