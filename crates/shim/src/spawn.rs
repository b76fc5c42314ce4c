//! Making processes: one clone with the namespaces and the cgroup given, told apart by the result.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::sys;

/// What a clone returned.
pub(crate) enum Side {
    /// In the new process.
    Child,
    /// In the shim.
    Parent(Child),
}

/// A process of ours.
#[derive(Debug)]
pub(crate) struct Child {
    /// Its number on the node.
    pub(crate) pid: libc::pid_t,
    /// Stays that process whatever happens to the number.
    pub(crate) pidfd: OwnedFd,
}

/// Clones this process.
///
/// `kinds` are namespaces to make; `pid_of` is a process or namespace whose process namespace to be born in;
/// `cgroup` a v2 cgroup to be born in.
pub(crate) fn clone(kinds: i32, pid_of: Option<&OwnedFd>, cgroup: Option<&OwnedFd>) -> io::Result<Side> {
    let Some(target) = pid_of else { return clone_here(kinds, cgroup) };
    let own = File::open("/proc/self/ns/pid")?;
    sys::enter(target, libc::CLONE_NEWPID)?;
    match clone_here(kinds, cgroup) {
        Ok(Side::Child) => Ok(Side::Child),
        other => {
            // Only the namespace of future children was changed; taking it back can fail only if it no longer exists.
            sys::enter(&own, libc::CLONE_NEWPID)?;
            other
        }
    }
}

fn clone_here(kinds: i32, cgroup: Option<&OwnedFd>) -> io::Result<Side> {
    let mut pidfd: libc::c_int = -1;
    // SAFETY: all-zero is a valid value of this plain struct of numbers.
    let mut how: libc::clone_args = unsafe { std::mem::zeroed() };
    how.flags = u64::from((libc::CLONE_PIDFD | kinds).unsigned_abs());
    how.pidfd = &raw mut pidfd as u64;
    how.exit_signal = libc::SIGCHLD as u64;
    if let Some(cgroup) = cgroup {
        how.flags |= libc::CLONE_INTO_CGROUP as u64;
        how.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: like fork (no shared memory, no new stack); single-threaded, so the child may run any code.
    let pid = sys::check_long(unsafe {
        libc::syscall(libc::SYS_clone3, &raw mut how, size_of::<libc::clone_args>())
    })?;
    if pid == 0 {
        return Ok(Side::Child);
    }
    // SAFETY: the call stored a new descriptor of ours.
    Ok(Side::Parent(Child { pid, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } }))
}
