//! The kernel's file-descriptor mount calls.
//!
//! A mount made or copied here hangs nowhere until it is attached, so a container's mounts are collected while the
//! node's paths are visible and attached after the root was changed, where no path can lead back to the node.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use crate::sys::{self, c_path, check_long, owned_long};

const FSCONFIG_SET_FLAG: u32 = 0;
const FSCONFIG_SET_STRING: u32 = 1;
const FSCONFIG_CMD_CREATE: u32 = 6;
const FSOPEN_CLOEXEC: u32 = 1;
const FSMOUNT_CLOEXEC: u32 = 1;
const MOVE_MOUNT_F_EMPTY_PATH: u32 = 4;
const OPEN_TREE_CLONE: u32 = 1;

/// Mount attributes.
pub(crate) const RDONLY: u64 = 0x01;
pub(crate) const NOSUID: u64 = 0x02;
pub(crate) const NODEV: u64 = 0x04;
pub(crate) const NOEXEC: u64 = 0x08;

#[repr(C)]
#[derive(Default)]
struct Attributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// A file system being configured.
pub(crate) struct Filesystem(OwnedFd);

impl Filesystem {
    pub(crate) fn open(kind: &CStr) -> io::Result<Self> {
        // SAFETY: a terminated name.
        owned_long(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), FSOPEN_CLOEXEC) }).map(Self)
    }

    pub(crate) fn set(&self, key: &CStr, value: impl AsRef<Path>) -> io::Result<()> {
        let value = c_path(value)?;
        self.configure(FSCONFIG_SET_STRING, key.as_ptr(), value.as_ptr())
    }

    pub(crate) fn flag(&self, key: &CStr) -> io::Result<()> {
        self.configure(FSCONFIG_SET_FLAG, key.as_ptr(), std::ptr::null())
    }

    /// Makes it and gives a mount that hangs nowhere yet.
    pub(crate) fn mount(self, attributes: u64) -> io::Result<OwnedFd> {
        self.configure(FSCONFIG_CMD_CREATE, std::ptr::null(), std::ptr::null())?;
        // SAFETY: numbers only.
        owned_long(unsafe {
            libc::syscall(libc::SYS_fsmount, self.0.as_raw_fd(), FSMOUNT_CLOEXEC, attributes)
        })
    }

    fn configure(
        &self,
        command: u32,
        key: *const libc::c_char,
        value: *const libc::c_char,
    ) -> io::Result<()> {
        // SAFETY: callers pass terminated strings or null, as the command wants.
        check_long(unsafe { libc::syscall(libc::SYS_fsconfig, self.0.as_raw_fd(), command, key, value, 0) })
            .map(drop)
    }
}

/// A copy of the mounts at a path, submounts included, hanging nowhere.
pub(crate) fn copy(path: impl AsRef<Path>) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC.unsigned_abs() | libc::AT_RECURSIVE.unsigned_abs();
    // SAFETY: a terminated path.
    owned_long(unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) })
}

/// Hangs a mount over an open directory or file.
pub(crate) fn attach(tree: &OwnedFd, target: &OwnedFd) -> io::Result<()> {
    const MOVE_MOUNT_T_EMPTY_PATH: u32 = 0x40;
    // SAFETY: terminated empty paths: both descriptors are themselves the objects.
    check_long(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            target.as_raw_fd(),
            c"".as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH,
        )
    })
    .map(drop)
}

/// As [`attach`] by path.
pub(crate) fn attach_at(tree: &OwnedFd, path: &str) -> io::Result<()> {
    attach(tree, &sys::open(path, libc::O_PATH, 0)?)
}

/// Sets attributes of the mount a descriptor is at the top of, and with `recursive` of all below it.
pub(crate) fn change(tree: &OwnedFd, set: u64, propagation: u64, recursive: bool) -> io::Result<()> {
    let attributes = Attributes { set, propagation, ..Attributes::default() };
    let depth = if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: a terminated empty path and the struct with its size.
    check_long(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | depth,
            &raw const attributes,
            size_of::<Attributes>(),
        )
    })
    .map(drop)
}

/// mount(2) with neither source nor type: changes what is mounted at `path`.
pub(crate) fn propagation(path: &CStr, flags: libc::c_ulong) -> io::Result<()> {
    // SAFETY: a terminated path; the other pointers may be null with these flags.
    sys::check(unsafe {
        libc::mount(std::ptr::null(), path.as_ptr(), std::ptr::null(), flags, std::ptr::null())
    })
    .map(drop)
}

/// The classic mount(2) with an option text, for kernels whose overlay cannot take layers one by one.
pub(crate) fn mount_classic(kind: &CStr, target: &str, options: &str) -> io::Result<()> {
    let target = c_path(target)?;
    let options = c_path(options)?;
    // SAFETY: all strings are terminated.
    sys::check(unsafe {
        libc::mount(kind.as_ptr(), target.as_ptr(), kind.as_ptr(), 0, options.as_ptr().cast())
    })
    .map(drop)
}

/// Takes a mount away; its users keep what they hold.
pub(crate) fn detach(path: &str) -> io::Result<()> {
    let path = c_path(path)?;
    // SAFETY: a terminated path.
    sys::check(unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) }).map(drop)
}

/// Makes the current directory the root, and the old root unreachable.
pub(crate) fn pivot_here() -> io::Result<()> {
    // SAFETY: terminated paths.
    check_long(unsafe { libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) })?;
    detach(".")?;
    std::env::set_current_dir("/")
}
