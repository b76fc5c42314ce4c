//! The runtime's own seccomp profile (R13.24): everything but what reaches past the container.
//!
//! A list of what is refused, not of what is allowed: programs built for newer kernels keep working, at the price that
//! a dangerous new call is open until it is listed here. With CAP_SYS_ADMIN the calls it stands for are open, as in
//! every runtime's default profile.

use std::collections::BTreeMap;
use std::io;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

const CAP_SYS_ADMIN: u8 = 21;
const CAP_SYS_MODULE: u8 = 16;
const CAP_SYS_BOOT: u8 = 22;
const CAP_SYS_TIME: u8 = 25;
const CAP_SYS_PTRACE: u8 = 19;

/// Calls refused with EPERM unless the container has the capability.
const REFUSED: &[(libc::c_long, Option<u8>)] = &[
    (libc::SYS_acct, None),
    (libc::SYS_add_key, None),
    (libc::SYS_bpf, Some(CAP_SYS_ADMIN)),
    (libc::SYS_clock_adjtime, Some(CAP_SYS_TIME)),
    (libc::SYS_clock_settime, Some(CAP_SYS_TIME)),
    (libc::SYS_settimeofday, Some(CAP_SYS_TIME)),
    (libc::SYS_delete_module, Some(CAP_SYS_MODULE)),
    (libc::SYS_finit_module, Some(CAP_SYS_MODULE)),
    (libc::SYS_init_module, Some(CAP_SYS_MODULE)),
    (libc::SYS_fsconfig, Some(CAP_SYS_ADMIN)),
    (libc::SYS_fsmount, Some(CAP_SYS_ADMIN)),
    (libc::SYS_fsopen, Some(CAP_SYS_ADMIN)),
    (libc::SYS_fspick, Some(CAP_SYS_ADMIN)),
    (libc::SYS_kcmp, Some(CAP_SYS_PTRACE)),
    (libc::SYS_kexec_file_load, Some(CAP_SYS_BOOT)),
    (libc::SYS_kexec_load, Some(CAP_SYS_BOOT)),
    (libc::SYS_keyctl, None),
    (libc::SYS_lookup_dcookie, Some(CAP_SYS_ADMIN)),
    (libc::SYS_mount, Some(CAP_SYS_ADMIN)),
    (libc::SYS_mount_setattr, Some(CAP_SYS_ADMIN)),
    (libc::SYS_move_mount, Some(CAP_SYS_ADMIN)),
    (libc::SYS_move_pages, None),
    (libc::SYS_name_to_handle_at, Some(CAP_SYS_ADMIN)),
    (libc::SYS_nfsservctl, None),
    (libc::SYS_open_by_handle_at, Some(CAP_SYS_ADMIN)),
    (libc::SYS_open_tree, Some(CAP_SYS_ADMIN)),
    (libc::SYS_perf_event_open, Some(CAP_SYS_ADMIN)),
    (libc::SYS_pivot_root, Some(CAP_SYS_ADMIN)),
    (libc::SYS_process_vm_writev, Some(CAP_SYS_PTRACE)),
    (libc::SYS_quotactl, Some(CAP_SYS_ADMIN)),
    (libc::SYS_reboot, Some(CAP_SYS_BOOT)),
    (libc::SYS_request_key, None),
    (libc::SYS_setns, Some(CAP_SYS_ADMIN)),
    (libc::SYS_swapoff, Some(CAP_SYS_ADMIN)),
    (libc::SYS_swapon, Some(CAP_SYS_ADMIN)),
    (libc::SYS_umount2, Some(CAP_SYS_ADMIN)),
    (libc::SYS_unshare, Some(CAP_SYS_ADMIN)),
    (libc::SYS_userfaultfd, Some(CAP_SYS_PTRACE)),
    (libc::SYS_io_uring_setup, None),
    (libc::SYS_io_uring_enter, None),
    (libc::SYS_io_uring_register, None),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_ioperm, Some(17)),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_iopl, Some(17)),
];

/// Namespaces a container may not make for itself by clone.
const NAMESPACES: u64 = 0x7e02_0000;

/// The programs as the sandbox process reads them: a count (u32, little endian), then the instructions.
pub(crate) fn runtime_default(capabilities: u64) -> io::Result<Vec<u8>> {
    let has = |capability: u8| capabilities & (1 << capability) != 0;
    let mut refused: BTreeMap<i64, Vec<SeccompRule>> = REFUSED
        .iter()
        .filter(|(_, opens)| !opens.is_some_and(has))
        .map(|(call, _)| (*call, Vec::new()))
        .collect();
    let to_io = |error: seccompiler::BackendError| io::Error::other(error);
    let mut unknown = BTreeMap::new();
    if !has(CAP_SYS_ADMIN) {
        // Any of the namespace bits.
        let rules = (0..64).filter(|bit| NAMESPACES & (1 << bit) != 0).map(|bit| {
            let mask = 1_u64 << bit;
            let condition =
                SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(mask), mask)?;
            SeccompRule::new(vec![condition])
        });
        let rules = rules.collect::<Result<Vec<_>, _>>().map_err(to_io)?;
        refused.insert(libc::SYS_clone, rules);
        // clone3 hides its flags in memory: programs that get ENOSYS fall back to clone.
        unknown.insert(libc::SYS_clone3, Vec::new());
    }
    let mut bytes = program(refused, libc::EPERM)?;
    if !unknown.is_empty() {
        bytes.extend(program(unknown, libc::ENOSYS)?);
    }
    Ok(bytes)
}

fn program(rules: BTreeMap<i64, Vec<SeccompRule>>, errno: i32) -> io::Result<Vec<u8>> {
    let arch = std::env::consts::ARCH
        .try_into()
        .map_err(|error: seccompiler::BackendError| io::Error::other(error))?;
    let refusal = SeccompAction::Errno(errno.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refusal, arch).map_err(io::Error::other)?;
    let program: BpfProgram =
        filter.try_into().map_err(|error: seccompiler::BackendError| io::Error::other(error))?;
    encode(&program)
}

/// One program as the sandbox process reads it.
pub(crate) fn encode(program: &BpfProgram) -> io::Result<Vec<u8>> {
    let count = u32::try_from(program.len()).map_err(io::Error::other)?;
    let mut bytes = count.to_le_bytes().to_vec();
    for instruction in program {
        bytes.extend(instruction.code.to_le_bytes());
        bytes.extend([instruction.jt, instruction.jf]);
        bytes.extend(instruction.k.to_le_bytes());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R13.24
    #[test]
    fn capabilities_open_what_they_stand_for() {
        let closed = runtime_default(0).unwrap();
        let open = runtime_default(1 << CAP_SYS_ADMIN).unwrap();
        assert!(open.len() < closed.len());
        assert_eq!((closed.len() - 4) % 4, 0);
    }
}
