//! The filter of system calls for an unprivileged action. libcontainer without libseccomp silently ignores `linux.seccomp`,
//! so the filter is made and set here, as the last step before the action's program.
//!
//! There are two filters, because a filter has one answer. Calls newer than this list do not exist (ENOSYS, so programs
//! fall back). Calls that Docker's profile denies are not permitted (EPERM). Calls of a foreign architecture end the
//! process.

use std::collections::BTreeMap;
use std::io;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, apply_filter,
};

/// `set_mempolicy_home_node` of Linux 5.17. Newer calls may have powers that this list does not consider.
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

/// Calls that act on the machine instead of the container.
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

/// The personalities that Docker allows: Linux, its 32-bit form, and the query.
const PERSONALITIES: [u64; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];
/// The address families that programs of an action may use. The others reach the machine's links, hypervisor or kernel.
const FAMILIES: [libc::c_int; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];
/// The end of the known families. `AF_MCTP`, 45, is the last one of Linux 6.
const FAMILIES_END: libc::c_int = 46;
/// `SOCK_TYPE_MASK`. The other bits of a socket's type are flags.
const TYPE: u64 = 0xf;
/// The transports of `AF_INET` that actions do not need: DCCP, L2TP, SCTP, UDP-Lite, SMC.
const TRANSPORTS: [u64; 5] = [33, 115, 132, 136, 256];

/// What an argument must be for a rule to match.
#[derive(Debug, Clone, Copy)]
enum Test {
    Is(u64),
    IsNot(u64),
    AtLeast(u64),
    /// Of the bits in the first number, exactly those of the second are set.
    Bits(u64, u64),
}

/// Tests by the argument's number. Each number occurs at most once, because a runtime reads several tests of one argument
/// as alternatives.
type Rule = Vec<(u8, Test)>;

/// Rules for socket(2) and socketpair(2). A call that matches one is denied.
fn socket_rules() -> Vec<Rule> {
    let word = |family: libc::c_int| u64::from(family.unsigned_abs());
    let others = (0..FAMILIES_END).filter(|family| !FAMILIES.contains(family));
    let mut rules: Vec<Rule> = others.map(|family| vec![(0, Test::Is(word(family)))]).collect();
    rules.push(vec![(0, Test::AtLeast(word(FAMILIES_END)))]);
    // Only routing netlink is allowed. Its changes of links, addresses and routes need NET_ADMIN.
    rules.push(vec![(0, Test::Is(word(libc::AF_NETLINK))), (2, Test::IsNot(0))]);
    let plain = [libc::SOCK_STREAM, libc::SOCK_DGRAM].map(word);
    for family in [libc::AF_INET, libc::AF_INET6].map(word) {
        let types = (0..=TYPE).filter(|kind| !plain.contains(kind));
        rules.extend(types.map(|kind| vec![(0, Test::Is(family)), (1, Test::Bits(TYPE, kind))]));
        rules.extend(TRANSPORTS.map(|transport| vec![(0, Test::Is(family)), (2, Test::Is(transport))]));
    }
    rules
}

pub fn confine() -> io::Result<()> {
    for program in programs().map_err(io::Error::other)? {
        apply_filter(&program).map_err(io::Error::other)?;
    }
    Ok(())
}

fn programs() -> Result<[BpfProgram; 2], seccompiler::Error> {
    // clone3 has its flags in memory, where a filter cannot read them. Programs fall back to clone.
    let known = (0..=LAST_KNOWN).filter(|call| *call != libc::SYS_clone3).map(|call| (call, Vec::new()));
    let mut denied: BTreeMap<i64, Vec<SeccompRule>> = DENIED.iter().map(|call| (call.number, Vec::new())).collect();
    let bit = |flag: libc::c_int| condition(SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(flag as u64), flag as u64);
    denied.insert(libc::SYS_clone, rules(NAMESPACES.map(bit))?);
    let sockets = socket_rules().iter().map(compiled).collect::<Result<Vec<_>, _>>()?;
    denied.insert(libc::SYS_socket, sockets.clone());
    denied.insert(libc::SYS_socketpair, sockets);
    let others = PERSONALITIES.map(|p| condition(SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, p));
    let others = others.into_iter().collect::<Result<Vec<_>, _>>()?;
    denied.insert(libc::SYS_personality, vec![SeccompRule::new(others)?]);
    Ok([
        filter(known.collect(), errno(libc::ENOSYS), SeccompAction::Allow)?,
        filter(denied, SeccompAction::Allow, errno(libc::EPERM))?,
    ])
}

/// The same rules for a runtime that supports `linux.seccomp`, by name. There, newer calls pass, because the format can
/// only name calls and has no "all others".
#[cfg(feature = "containerd")]
pub fn oci() -> serde_json::Value {
    use serde_json::json;
    let names: Vec<&str> = DENIED.iter().map(|call| call.name).collect();
    let denied = |names: &[&str], errno: libc::c_int, args: serde_json::Value| json!({ "names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": errno, "args": args });
    let mut calls = vec![denied(&names, libc::EPERM, json!([])), denied(&["clone3"], libc::ENOSYS, json!([]))];
    let masked = |flag: libc::c_int| json!([{ "index": 0, "value": flag, "valueTwo": flag, "op": "SCMP_CMP_MASKED_EQ" }]);
    calls.extend(NAMESPACES.map(|flag| denied(&["clone"], libc::EPERM, masked(flag))));
    let named = |(index, test): &(u8, Test)| match test {
        Test::Is(value) => json!({ "index": index, "value": value, "op": "SCMP_CMP_EQ" }),
        Test::IsNot(value) => json!({ "index": index, "value": value, "op": "SCMP_CMP_NE" }),
        Test::AtLeast(value) => json!({ "index": index, "value": value, "op": "SCMP_CMP_GE" }),
        Test::Bits(mask, value) => json!({ "index": index, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ" }),
    };
    let sockets = socket_rules();
    calls.extend(
        sockets
            .iter()
            .map(|rule| denied(&["socket", "socketpair"], libc::EPERM, rule.iter().map(named).collect::<Vec<_>>().into())),
    );
    let others: Vec<_> = PERSONALITIES.iter().map(|p| json!({ "index": 0, "value": p, "op": "SCMP_CMP_NE" })).collect();
    calls.push(denied(&["personality"], libc::EPERM, others.into()));
    json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": calls })
}

fn errno(number: libc::c_int) -> SeccompAction {
    SeccompAction::Errno(number.unsigned_abs())
}

fn compiled(rule: &Rule) -> Result<SeccompRule, seccompiler::BackendError> {
    let tests = rule.iter().map(|(argument, test)| {
        let (how, value) = match *test {
            Test::Is(value) => (SeccompCmpOp::Eq, value),
            Test::IsNot(value) => (SeccompCmpOp::Ne, value),
            Test::AtLeast(value) => (SeccompCmpOp::Ge, value),
            Test::Bits(mask, value) => (SeccompCmpOp::MaskedEq(mask), value),
        };
        SeccompCondition::new(*argument, SeccompCmpArgLen::Dword, how, value)
    });
    SeccompRule::new(tests.collect::<Result<_, _>>()?)
}

/// A condition on the first argument.
fn condition(length: SeccompCmpArgLen, how: SeccompCmpOp, value: u64) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(0, length, how, value)
}

/// Rules of which any one is enough.
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
    use rustix::io::Errno;
    use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, socket_with, socketpair};

    fn open(family: u32, kind: u32, protocol: u32) -> Result<(), Errno> {
        let family = AddressFamily::from_raw(family.try_into().unwrap());
        let protocol = std::num::NonZeroU32::new(protocol).map(Protocol::from_raw);
        socket_with(family, SocketType::from_raw(kind), SocketFlags::CLOEXEC, protocol).map(drop)
    }

    /// Runs the work in a new thread, because a filter belongs to a thread.
    fn confined<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
        let thread = std::thread::spawn(|| {
            confine().unwrap();
            work()
        });
        thread.join().unwrap()
    }

    #[test]
    fn an_action_opens_only_ordinary_sockets() {
        const ALLOWED: &[(&str, u32, u32, u32)] = &[
            ("unix", 1, 1, 0),
            ("unix packets", 1, 5, 0),
            ("TCP", 2, 1, 0),
            ("TCP by number", 10, 1, 6),
            ("UDP", 2, 2, 17),
            ("UDP, IPv6, not blocking", 10, 2 | 0o4000, 0),
            ("rtnetlink", 16, 3, 0),
        ];
        let found = confined(|| ALLOWED.iter().map(|(_, f, t, p)| open(*f, *t, *p)).collect::<Vec<_>>());
        for ((case, ..), found) in ALLOWED.iter().zip(found) {
            // A kernel without IPv6 refuses it with this error.
            assert!(matches!(found, Ok(()) | Err(Errno::AFNOSUPPORT)), "{case}: {found:?}");
        }
        const SOCK_PACKET: u32 = 10;
        let mut denied = vec![
            ("raw IP", 2, 3, 1),
            ("raw IP with flags", 2, 3 | 0o2000000, 1),
            ("raw IPv6", 10, 3, 58),
            ("packets through the oldest interface", 2, SOCK_PACKET, 0x0300),
            ("SCTP", 2, 1, 132),
            ("SCTP in its own type", 2, 5, 132),
            ("DCCP", 2, 6, 33),
            ("L2TP", 10, 2, 115),
            ("UDP-Lite", 2, 2, 136),
            ("SMC over IP", 2, 1, 256),
            ("the family of netfilter", 16, 3, 12),
            ("uevents", 16, 3, 15),
            ("generic netlink", 16, 3, 16),
            ("IPsec", 16, 3, 6),
            ("a family of the future", 46, 1, 0),
        ];
        denied.extend((0..60).filter(|family| ![1, 2, 10, 16].contains(family)).map(|family| ("another family", family, 2, 0)));
        let tried = denied.clone();
        let found = confined(move || tried.iter().map(|(_, f, t, p)| open(*f, *t, *p)).collect::<Vec<_>>());
        for (case, found) in denied.iter().zip(found) {
            assert_eq!(found, Err(Errno::PERM), "{case:?}");
        }
    }

    #[test]
    fn a_pair_of_sockets_is_of_the_unix_family() {
        let pair = |family| socketpair(family, SocketType::STREAM, SocketFlags::CLOEXEC, None).map(drop);
        let found = confined(move || [AddressFamily::UNIX, AddressFamily::from_raw(30)].map(pair));
        assert_eq!(found, [Ok(()), Err(Errno::PERM)], "30 is TIPC");
    }

    #[test]
    fn the_filters_are_small_enough_for_the_kernel() {
        for program in programs().unwrap() {
            assert!((1..=4096).contains(&program.len()), "{} instructions", program.len());
        }
    }
}
