//! The system calls of an unprivileged action. libcontainer without libseccomp ignores `linux.seccomp` silently, so the
//! filter is made and set here, as the last thing before the action's program.
//!
//! Two filters, because a filter has one answer. Calls newer than this list do not exist (ENOSYS: programs fall back).
//! Calls that Docker's profile denies are not permitted (EPERM). Calls of a foreign architecture end the process.

use std::collections::BTreeMap;
use std::io;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, apply_filter,
};

/// `set_mempolicy_home_node`, Linux 5.17; newer calls may have powers that this list does not judge.
const LAST_KNOWN: i64 = 450;

struct Denied {
    #[cfg(feature = "containerd")]
    name: &'static str,
    number: i64,
}

macro_rules! call {
    ($name:ident $number:ident) => {
        Denied {
            #[cfg(feature = "containerd")]
            name: stringify!($name),
            number: libc::$number,
        }
    };
}

/// Calls that act on the machine, not on the container.
const DENIED: &[Denied] = &[
    call!(acct SYS_acct),
    call!(add_key SYS_add_key),
    call!(bpf SYS_bpf),
    call!(clock_adjtime SYS_clock_adjtime),
    call!(clock_settime SYS_clock_settime),
    call!(delete_module SYS_delete_module),
    call!(fanotify_init SYS_fanotify_init),
    call!(finit_module SYS_finit_module),
    call!(fsconfig SYS_fsconfig),
    call!(fsmount SYS_fsmount),
    call!(fsopen SYS_fsopen),
    call!(fspick SYS_fspick),
    call!(get_mempolicy SYS_get_mempolicy),
    call!(init_module SYS_init_module),
    call!(io_uring_enter SYS_io_uring_enter),
    call!(io_uring_register SYS_io_uring_register),
    call!(io_uring_setup SYS_io_uring_setup),
    call!(kcmp SYS_kcmp),
    call!(kexec_file_load SYS_kexec_file_load),
    call!(kexec_load SYS_kexec_load),
    call!(keyctl SYS_keyctl),
    call!(lookup_dcookie SYS_lookup_dcookie),
    call!(mbind SYS_mbind),
    call!(migrate_pages SYS_migrate_pages),
    call!(mount SYS_mount),
    call!(mount_setattr SYS_mount_setattr),
    call!(move_mount SYS_move_mount),
    call!(move_pages SYS_move_pages),
    call!(name_to_handle_at SYS_name_to_handle_at),
    call!(nfsservctl SYS_nfsservctl),
    call!(open_by_handle_at SYS_open_by_handle_at),
    call!(open_tree SYS_open_tree),
    call!(perf_event_open SYS_perf_event_open),
    call!(pivot_root SYS_pivot_root),
    call!(process_vm_readv SYS_process_vm_readv),
    call!(process_vm_writev SYS_process_vm_writev),
    call!(ptrace SYS_ptrace),
    call!(quotactl SYS_quotactl),
    call!(reboot SYS_reboot),
    call!(request_key SYS_request_key),
    call!(set_mempolicy SYS_set_mempolicy),
    call!(setns SYS_setns),
    call!(settimeofday SYS_settimeofday),
    call!(swapoff SYS_swapoff),
    call!(swapon SYS_swapon),
    call!(syslog SYS_syslog),
    call!(umount2 SYS_umount2),
    call!(unshare SYS_unshare),
    call!(userfaultfd SYS_userfaultfd),
    call!(vhangup SYS_vhangup),
    #[cfg(target_arch = "x86_64")]
    call!(ioperm SYS_ioperm),
    #[cfg(target_arch = "x86_64")]
    call!(iopl SYS_iopl),
    #[cfg(target_arch = "x86_64")]
    call!(sysfs SYS_sysfs),
    #[cfg(target_arch = "x86_64")]
    call!(_sysctl SYS__sysctl),
    #[cfg(target_arch = "x86_64")]
    call!(uselib SYS_uselib),
    #[cfg(target_arch = "x86_64")]
    call!(ustat SYS_ustat),
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
    let mut denied: BTreeMap<i64, Vec<SeccompRule>> = DENIED.iter().map(|call| (call.number, Vec::new())).collect();
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

/// The same for a runtime that takes `linux.seccomp`, by name. There, calls newer than this list pass: the format has
/// names only, not "all others".
#[cfg(feature = "containerd")]
pub fn oci() -> serde_json::Value {
    use serde_json::json;
    let names: Vec<&str> = DENIED.iter().map(|call| call.name).collect();
    let denied = |names: &[&str], errno: libc::c_int, args: serde_json::Value| json!({ "names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": errno, "args": args });
    let mut calls = vec![denied(&names, libc::EPERM, json!([])), denied(&["clone3"], libc::ENOSYS, json!([]))];
    let masked = |flag: libc::c_int| json!([{ "index": 0, "value": flag, "valueTwo": flag, "op": "SCMP_CMP_MASKED_EQ" }]);
    calls.extend(NAMESPACES.map(|flag| denied(&["clone"], libc::EPERM, masked(flag))));
    let family = |family: libc::c_int| json!([{ "index": 0, "value": family, "op": "SCMP_CMP_EQ" }]);
    calls.extend(FAMILIES.map(|f| denied(&["socket"], libc::EPERM, family(f))));
    let others: Vec<_> = PERSONALITIES.iter().map(|p| json!({ "index": 0, "value": p, "op": "SCMP_CMP_NE" })).collect();
    calls.push(denied(&["personality"], libc::EPERM, others.into()));
    json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": calls })
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
    use super::*;

    #[test]
    fn the_filters_are_small_enough_for_the_kernel() {
        for program in programs().unwrap() {
            assert!((1..=4096).contains(&program.len()), "{} instructions", program.len());
        }
    }
}
