//! The system calls of an unprivileged action. libcontainer without libseccomp ignores `linux.seccomp` silently, so the
//! filter is made and set here, as the last thing before the action's program.
//!
//! Two filters, because one has one answer: what this kernel interface did not have when this was written does not
//! exist (ENOSYS: programs fall back), and what Docker's profile denies is not permitted (EPERM). Calls of a foreign
//! architecture end the process.

use std::collections::BTreeMap;
use std::io;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, apply_filter,
};

/// `set_mempolicy_home_node`, Linux 5.17; beyond it new powers arrive that nobody has judged for us.
const LAST_KNOWN: i64 = 450;

/// Calls that act on the machine, not on the container.
const DENIED: &[i64] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_bpf,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_get_mempolicy,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kcmp,
    libc::SYS_kexec_file_load,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_lookup_dcookie,
    libc::SYS_mbind,
    libc::SYS_migrate_pages,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_move_pages,
    libc::SYS_name_to_handle_at,
    libc::SYS_nfsservctl,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_pivot_root,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_set_mempolicy,
    libc::SYS_setns,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
    libc::SYS_vhangup,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_sysfs,
    #[cfg(target_arch = "x86_64")]
    libc::SYS__sysctl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_uselib,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ustat,
];

const NAMESPACES: [libc::c_int; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// Linux, its 32-bit look, and asking: the personalities Docker lets pass.
const PERSONALITIES: [u64; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];
/// Sockets that reach the hypervisor, and the kernel's cipher code.
const FAMILIES: [libc::c_int; 2] = [libc::AF_VSOCK, libc::AF_ALG];

pub fn confine() -> io::Result<()> {
    for program in programs().map_err(io::Error::other)? {
        apply_filter(&program).map_err(io::Error::other)?;
    }
    Ok(())
}

fn programs() -> Result<[BpfProgram; 2], seccompiler::Error> {
    // clone3 has its flags in memory, where no filter can read them: programs fall back to clone.
    let known = (0..=LAST_KNOWN).filter(|call| *call != libc::SYS_clone3).map(|call| (call, Vec::new()));
    let mut denied: BTreeMap<i64, Vec<SeccompRule>> = DENIED.iter().map(|call| (*call, Vec::new())).collect();
    let bit = |flag: libc::c_int| condition(SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(flag as u64), flag as u64);
    denied.insert(libc::SYS_clone, rules(NAMESPACES.map(bit))?);
    denied.insert(
        libc::SYS_socket,
        rules(FAMILIES.map(|family| condition(SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, family as u64)))?,
    );
    let others = PERSONALITIES.map(|p| condition(SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, p));
    let others = others.into_iter().collect::<Result<Vec<_>, _>>()?;
    denied.insert(libc::SYS_personality, vec![SeccompRule::new(others)?]);
    Ok([
        filter(known.collect(), errno(libc::ENOSYS), SeccompAction::Allow)?,
        filter(denied, SeccompAction::Allow, errno(libc::EPERM))?,
    ])
}

fn errno(number: libc::c_int) -> SeccompAction {
    SeccompAction::Errno(number.unsigned_abs())
}

/// On the first argument.
fn condition(length: SeccompCmpArgLen, how: SeccompCmpOp, value: u64) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(0, length, how, value)
}

/// Any of them is enough.
fn rules<const N: usize>(
    conditions: [Result<SeccompCondition, seccompiler::BackendError>; N],
) -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    conditions.into_iter().map(|condition| SeccompRule::new(vec![condition?])).collect()
}

fn filter(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    matched: SeccompAction,
) -> Result<BpfProgram, seccompiler::Error> {
    let architecture = std::env::consts::ARCH.try_into()?;
    Ok(SeccompFilter::new(rules, otherwise, matched, architecture)?.try_into()?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn the_filters_are_small_enough_for_the_kernel() {
        for program in programs().unwrap() {
            assert!((1..=4096).contains(&program.len()), "{} instructions", program.len());
        }
    }
}
