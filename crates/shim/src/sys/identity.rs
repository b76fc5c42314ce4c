//! Who a process is and what it may do.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use super::{check, check_long, ignore_signal};

pub fn set_ids(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    // SAFETY: pointer and count describe `groups`.
    unsafe {
        check(libc::setgroups(groups.len(), groups.as_ptr()))?;
        check(libc::setresgid(gid, gid, gid))?;
        check(libc::setresuid(uid, uid, uid)).map(drop)
    }
}

/// Whom files made from now on belong to; what is asked of the kernel otherwise stays as it is.
pub fn set_file_ids(uid: u32, gid: u32) {
    // SAFETY: no memory is involved. Neither reports failure; a file made as somebody else is refused by the kernel.
    unsafe {
        libc::setfsgid(gid);
        libc::setfsuid(uid);
    }
}

/// The capabilities this process may use, as bits.
pub fn permitted_capabilities() -> u64 {
    let header = CapHeader { version: CAPABILITY_VERSION, pid: 0 };
    let none = CapData { effective: 0, permitted: 0, inheritable: 0 };
    let mut data = [none; 2];
    // SAFETY: header and data have version 3's layout, which has two data elements.
    unsafe { libc::syscall(libc::SYS_capget, &raw const header, data.as_mut_ptr()) };
    u64::from(data[0].permitted) | u64::from(data[1].permitted) << 32
}

/// Gives an open file to somebody.
pub fn chown(fd: &impl AsRawFd, uid: u32, gid: u32) -> io::Result<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::fchown(fd.as_raw_fd(), uid, gid) }).map(drop)
}

/// Closes every descriptor from `first` on.
pub fn close_from(first: RawFd) {
    // SAFETY: only called in a child that has nothing left to do with them; failure leaves them to exec.
    unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) };
}

/// Closes every descriptor from `first` on but those to keep.
pub fn close_all_but(first: RawFd, keep: &[RawFd]) {
    let mut keep: Vec<RawFd> = keep.iter().copied().filter(|fd| *fd >= first).collect();
    keep.sort_unstable();
    let mut from = first;
    for fd in keep {
        if fd > from {
            // SAFETY: as in close_from.
            unsafe { libc::syscall(libc::SYS_close_range, from, fd - 1, 0) };
        }
        from = fd + 1;
    }
    close_from(from);
}

/// Sleeps for ever; children are collected by the kernel.
pub fn sleep_as_init() -> ! {
    extern "C" fn leave(_: libc::c_int) {
        // SAFETY: it may be called in a signal handler, and nothing is left to tidy up.
        unsafe { libc::_exit(0) }
    }
    ignore_signal(libc::SIGCHLD);
    for signal in [libc::SIGTERM, libc::SIGINT] {
        // Without a handler the kernel keeps both from the first process of a namespace.
        // SAFETY: the handler is a function of the expected form.
        unsafe { libc::signal(signal, leave as *const () as libc::sighandler_t) };
    }
    loop {
        // SAFETY: no memory is involved.
        unsafe { libc::pause() };
    }
}

const CAPABILITY_VERSION: u32 = 0x2008_0522;

#[repr(C)]
struct CapHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct CapData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Sets permitted and effective capabilities; nothing is inheritable.
pub fn set_capabilities(mask: u64) -> io::Result<()> {
    let header = CapHeader { version: CAPABILITY_VERSION, pid: 0 };
    let half = |bits: u64| CapData { effective: bits as u32, permitted: bits as u32, inheritable: 0 };
    let data = [half(mask & 0xffff_ffff), half(mask >> 32)];
    // SAFETY: header and data have version 3's layout, which has two data elements.
    check_long(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) }).map(drop)
}
