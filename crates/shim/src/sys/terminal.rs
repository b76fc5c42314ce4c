//! Terminals and where their names come from.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use super::{c, check, check_long, owned};

/// `fsconfig` with a name that has no value.
const SET_FLAG: libc::c_long = 0;
/// `fsconfig` with a name and its value.
const SET_STRING: libc::c_long = 1;
/// `fsconfig` that makes the file system.
const CREATE: libc::c_long = 6;
const CLOEXEC: libc::c_long = 1;
/// Attributes of the mount: nothing in it gains rights or runs.
const NO_SUID_NO_EXEC: libc::c_long = 0x2 | 0x8;

/// A devpts of its own that is mounted nowhere yet. Terminals opened in it before have their names wherever it is
/// attached.
pub fn new_terminals(tty_group: u32) -> io::Result<OwnedFd> {
    let (group, none) = (c(&tty_group.to_string()), std::ptr::null::<libc::c_char>());
    // SAFETY: all strings are NUL-terminated and outlive the calls, which fill no memory.
    unsafe {
        let made = check_long(libc::syscall(libc::SYS_fsopen, c"devpts".as_ptr(), CLOEXEC))?;
        let made = owned(made as libc::c_int);
        let set = |how: libc::c_long, name: *const libc::c_char, value: *const libc::c_char| {
            check_long(libc::syscall(libc::SYS_fsconfig, made.as_raw_fd(), how, name, value, 0)).map(drop)
        };
        set(SET_FLAG, c"newinstance".as_ptr(), none)?;
        let options: [(&CStr, &CStr); 3] = [(c"ptmxmode", c"0666"), (c"mode", c"0620"), (c"gid", &group)];
        for (name, value) in options {
            set(SET_STRING, name.as_ptr(), value.as_ptr())?;
        }
        set(CREATE, none, none)?;
        let mount = check_long(libc::syscall(libc::SYS_fsmount, made.as_raw_fd(), CLOEXEC, NO_SUID_NO_EXEC))?;
        Ok(owned(mount as libc::c_int))
    }
}

/// The master and slave of a new terminal of the devpts mounted at `terminals`.
pub fn open_terminal_in(terminals: &OwnedFd) -> io::Result<(OwnedFd, OwnedFd)> {
    open(terminals.as_raw_fd(), c"ptmx")
}

/// The master and slave of a new terminal of the devpts behind `ptmx`.
pub fn open_terminal(ptmx: &str) -> io::Result<(OwnedFd, OwnedFd)> {
    open(libc::AT_FDCWD, &c(ptmx))
}

fn open(folder: libc::c_int, ptmx: &CStr) -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: the path is NUL-terminated; the lock argument is an integer that outlives the call.
    unsafe {
        let master = owned(check(libc::openat(folder, ptmx.as_ptr(), flags))?);
        let unlock: libc::c_int = 0;
        check(libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlock))?;
        let slave = owned(check(libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags))?);
        Ok((master, slave))
    }
}

/// Makes standard input the terminal of the calling session.
pub fn take_terminal() -> io::Result<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) }).map(drop)
}
