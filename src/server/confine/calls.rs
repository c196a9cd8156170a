//! Calls refused: by seccomp, a process gives up calls to the system that no balancer needs.
//!
//! # Why a list of what is refused, and not of what is allowed?
//! Memory, threads, names and cryptography are libraries' business: what they call changes with their versions, with the
//! C library and with the kernel, and a call that is missing on such a list is a balancer that falls over at the worst
//! time. What is refused here is what breaks out of a process, a container or a machine with, and nothing that serves
//! requests has ever called. Commands of `exec` checks live by the same list.
//!
//! # Why EPERM, and not the end of the process?
//! A resolver's module or a check's command may try one of them and go on without.

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter,
};

/// Other processes; mounts and roots; namespaces; code in the kernel; keys; ways around the file system; clocks; the
/// machine itself.
const REFUSED: &[libc::c_long] = &[
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_personality,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_bpf,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_syslog,
    libc::SYS_lookup_dcookie,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_quotactl,
    libc::SYS_acct,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_reboot,
    libc::SYS_vhangup,
];

#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[libc::c_long] =
    &[libc::SYS_kexec_file_load, libc::SYS_iopl, libc::SYS_ioperm, libc::SYS_modify_ldt, libc::SYS_uselib];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[libc::c_long] = &[];

/// Flags of clone(2) that make a namespace.
const NAMESPACES: &[libc::c_int] = &[
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// The number that musl has no name for.
const AF_XDP: libc::c_int = 44;

/// Kinds of sockets that reach past the network's own rules, or into little used parts of the kernel.
const SOCKETS: &[libc::c_int] = &[
    libc::AF_PACKET,
    libc::AF_ALG,
    libc::AF_VSOCK,
    libc::AF_KEY,
    AF_XDP,
    libc::AF_BLUETOOTH,
    libc::AF_TIPC,
    libc::AF_RDS,
    libc::AF_CAN,
];

/// Gives them up, for this thread and all that come of it; says what holds, or why nothing does.
pub(super) fn refuse() -> Result<String, String> {
    let architecture = std::env::consts::ARCH;
    let known = TargetArch::try_from(architecture);
    let known = known.map_err(|_unknown| format!("calls are numbered in an unknown way on {architecture}"))?;
    // The call that cannot be looked into is called absent: the C library takes clone(2) instead.
    let absent = program(BTreeMap::from([(libc::SYS_clone3, Vec::new())]), libc::ENOSYS, known)?;
    let refused = program(rules()?, libc::EPERM, known)?;
    for filter in [absent, refused] {
        apply_filter(&filter).map_err(|error| format!("the kernel takes no filter: {error}"))?;
    }
    let count = REFUSED.len() + REFUSED_HERE.len();
    Ok(format!("{count} calls, new namespaces and uncommon kinds of sockets are refused"))
}

fn rules() -> Result<BTreeMap<i64, Vec<SeccompRule>>, String> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        REFUSED.iter().chain(REFUSED_HERE).map(|call| (*call, Vec::new())).collect();
    let flags = NAMESPACES.iter().map(|flag| {
        let flag = u64::from(flag.unsigned_abs());
        rule(SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(flag), flag)
    });
    rules.insert(libc::SYS_clone, flags.collect::<Result<_, _>>()?);
    let kinds =
        SOCKETS.iter().map(|kind| rule(SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, u64::from(kind.unsigned_abs())));
    rules.insert(libc::SYS_socket, kinds.collect::<Result<_, _>>()?);
    Ok(rules)
}

/// A rule for the first argument.
fn rule(length: SeccompCmpArgLen, operator: SeccompCmpOp, value: u64) -> Result<SeccompRule, String> {
    let condition = SeccompCondition::new(0, length, operator, value);
    condition.and_then(|condition| SeccompRule::new(vec![condition])).map_err(|error| error.to_string())
}

fn program(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    answer: libc::c_int,
    architecture: TargetArch,
) -> Result<BpfProgram, String> {
    let refused = SeccompAction::Errno(answer.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, architecture);
    filter.and_then(BpfProgram::try_from).map_err(|error| error.to_string())
}

/// Whether this process lives by a filter already.
pub(super) fn are_refused() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line.strip_prefix("Seccomp:").is_some_and(|mode| mode.trim() == "2"))
}
