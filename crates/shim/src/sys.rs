//! System calls as functions that return [`io::Result`]; every `unsafe` block of this program but the clone is here.

mod identity;
mod terminal;

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

pub use identity::*;
pub use terminal::*;

/// A C string from text that was checked to hold no NUL.
pub fn c(text: &str) -> CString {
    CString::new(text).unwrap_or_else(|error| {
        let mut bytes = error.into_vec();
        bytes.retain(|byte| *byte != 0);
        CString::new(bytes).unwrap_or_default()
    })
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn check_long(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn owned(fd: RawFd) -> OwnedFd {
    // SAFETY: every caller passes a descriptor the kernel has just handed out to it alone.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

pub fn setsid() -> io::Result<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::setsid() }).map(drop)
}

pub fn prctl(option: libc::c_int, argument: u64) -> io::Result<()> {
    // SAFETY: only options whose arguments are plain numbers are used with this function.
    check(unsafe { libc::prctl(option, argument as libc::c_ulong, 0, 0, 0) }).map(drop)
}

pub fn set_seccomp(program: &[libc::sock_filter]) -> io::Result<()> {
    let length = u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?;
    let filter = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    let mode = libc::SECCOMP_MODE_FILTER as libc::c_ulong;
    // SAFETY: the program outlives the call and the kernel only reads it.
    check(unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const filter, 0, 0) }).map(drop)
}

pub fn unshare(flags: libc::c_int) -> io::Result<()> {
    // SAFETY: no memory is involved; this process has one thread.
    check(unsafe { libc::unshare(flags) }).map(drop)
}

pub fn setns(fd: &impl AsRawFd, flags: libc::c_int) -> io::Result<()> {
    // SAFETY: no memory is involved; this process has one thread.
    check(unsafe { libc::setns(fd.as_raw_fd(), flags) }).map(drop)
}

pub fn sethostname(name: &str) -> io::Result<()> {
    // SAFETY: pointer and length describe `name`.
    check(unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) }).map(drop)
}

pub fn mount(source: &str, target: &str, kind: &str, flags: libc::c_ulong, data: &str) -> io::Result<()> {
    let (source, target, kind, data) = (c(source), c(target), c(kind), c(data));
    // SAFETY: all four are NUL-terminated and outlive the call.
    let result =
        unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, data.as_ptr().cast()) };
    check(result).map(drop)
}

pub fn umount_detached(target: &str) -> io::Result<()> {
    let target = c(target);
    // SAFETY: NUL-terminated and outlives the call.
    check(unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) }).map(drop)
}

/// Makes `new` the root and puts the old root on top of it, to be detached.
pub fn pivot_root_here(new: &str) -> io::Result<()> {
    let new = c(new);
    // SAFETY: NUL-terminated and outlives the calls.
    unsafe {
        check(libc::chdir(new.as_ptr()))?;
        check_long(libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()))?;
    }
    umount_detached(".")?;
    chdir("/")
}

pub fn chdir(path: &str) -> io::Result<()> {
    let path = c(path);
    // SAFETY: NUL-terminated and outlives the call.
    check(unsafe { libc::chdir(path.as_ptr()) }).map(drop)
}

const OPEN_TREE_CLONE: libc::c_uint = 1;
const AT_RECURSIVE: libc::c_uint = 0x8000;
const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 4;

/// A detached copy of the mounts at and below `path`.
pub fn clone_tree(path: &str) -> io::Result<OwnedFd> {
    let path = c(path);
    let flags = OPEN_TREE_CLONE | AT_RECURSIVE | libc::O_CLOEXEC as libc::c_uint;
    // SAFETY: NUL-terminated and outlives the call.
    let fd = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) };
    check_long(fd).map(|fd| owned(fd as RawFd))
}

/// What `beneath` leads to without leaving `root`, as a path-only descriptor.
pub fn open_beneath(root: &str, beneath: &str) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct OpenHow {
        flags: u64,
        mode: u64,
        resolve: u64,
    }
    const NO_MAGICLINKS: u64 = 2;
    const BENEATH: u64 = 8;
    let (root, beneath) = (c(root), c(beneath));
    let flags = libc::O_PATH | libc::O_CLOEXEC;
    let how = OpenHow { flags: flags as u64, mode: 0, resolve: BENEATH | NO_MAGICLINKS };
    // SAFETY: paths are NUL-terminated, the structure is the kernel's first published version with its size.
    unsafe {
        let root = owned(check(libc::open(root.as_ptr(), flags | libc::O_DIRECTORY))?);
        let (number, size) = (libc::SYS_openat2, size_of::<OpenHow>());
        let fd = libc::syscall(number, root.as_raw_fd(), beneath.as_ptr(), &raw const how, size);
        check_long(fd).map(|fd| owned(fd as RawFd))
    }
}

/// A detached copy of the mounts at and below an open file.
pub fn clone_tree_of(file: &impl AsRawFd) -> io::Result<OwnedFd> {
    let empty_path = libc::AT_EMPTY_PATH as libc::c_uint;
    let flags = OPEN_TREE_CLONE | AT_RECURSIVE | empty_path | libc::O_CLOEXEC as libc::c_uint;
    // SAFETY: NUL-terminated.
    let fd = unsafe { libc::syscall(libc::SYS_open_tree, file.as_raw_fd(), c"".as_ptr(), flags) };
    check_long(fd).map(|fd| owned(fd as RawFd))
}

/// Puts a detached tree where `target` is.
pub fn attach_tree(tree: &OwnedFd, target: &str) -> io::Result<()> {
    let target = c(target);
    // SAFETY: both paths are NUL-terminated and outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            target.as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH,
        )
    };
    check_long(result).map(drop)
}

#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

/// Changes attributes of a detached tree.
pub fn set_tree(tree: &OwnedFd, set: u64, propagation: u64, recursive: bool) -> io::Result<()> {
    let attributes = MountAttr { set, clear: 0, propagation, userns: 0 };
    let flags = libc::AT_EMPTY_PATH as libc::c_uint | if recursive { AT_RECURSIVE } else { 0 };
    // SAFETY: the structure is the kernel's first published version and its size is passed along.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<MountAttr>(),
        )
    };
    check_long(result).map(drop)
}

/// Shows a detached tree with the ids of a user namespace.
pub fn translate_ids(tree: &OwnedFd, users: &OwnedFd) -> io::Result<()> {
    const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;
    let userns = users.as_raw_fd() as u64;
    let attributes = MountAttr { set: MOUNT_ATTR_IDMAP, clear: 0, propagation: 0, userns };
    let flags = libc::AT_EMPTY_PATH as libc::c_uint | AT_RECURSIVE;
    // SAFETY: the structure is the kernel's first published version and its size is passed along.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<MountAttr>(),
        )
    };
    check_long(result).map(drop)
}

/// An overlay with more layers than fit into the options of mount(2).
pub fn mount_overlay_by_parts(options: &[(&str, &str)], target: &str) -> io::Result<()> {
    const FSCONFIG_SET_STRING: libc::c_uint = 1;
    const FSCONFIG_CMD_CREATE: libc::c_uint = 6;
    // SAFETY: all strings are NUL-terminated and outlive the calls; descriptors are checked before use.
    unsafe {
        let fs = owned(check_long(libc::syscall(libc::SYS_fsopen, c"overlay".as_ptr(), 1))? as RawFd);
        for (key, value) in options {
            let (key, value) = (c(key), c(value));
            let (command, raw) = (FSCONFIG_SET_STRING, fs.as_raw_fd());
            check_long(libc::syscall(libc::SYS_fsconfig, raw, command, key.as_ptr(), value.as_ptr(), 0))?;
        }
        let none = ptr::null::<libc::c_char>();
        check_long(libc::syscall(libc::SYS_fsconfig, fs.as_raw_fd(), FSCONFIG_CMD_CREATE, none, none, 0))?;
        let mount = owned(check_long(libc::syscall(libc::SYS_fsmount, fs.as_raw_fd(), 1, 0))? as RawFd);
        attach_tree(&mount, target)
    }
}

pub fn mknod(path: &str, major: u32, minor: u32) -> io::Result<()> {
    let path = c(path);
    // SAFETY: NUL-terminated and outlives the calls.
    unsafe {
        check(libc::mknod(path.as_ptr(), libc::S_IFCHR | 0o666, libc::makedev(major, minor)))?;
        check(libc::chmod(path.as_ptr(), 0o666)).map(drop)
    }
}

/// A pipe whose ends are closed on exec.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: the array has room for two descriptors.
    check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
    Ok((owned(ends[0]), owned(ends[1])))
}

pub fn set_nonblocking(fd: &impl AsRawFd) -> io::Result<()> {
    // SAFETY: no memory is involved.
    unsafe {
        let flags = check(libc::fcntl(fd.as_raw_fd(), libc::F_GETFL))?;
        check(libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK)).map(drop)
    }
}

pub fn dup(fd: &impl AsRawFd) -> io::Result<OwnedFd> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 3) }).map(owned)
}

/// Makes `fd` the standard stream `number`, open across exec.
pub fn become_stream(fd: &impl AsRawFd, number: RawFd) -> io::Result<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::dup2(fd.as_raw_fd(), number) }).map(drop)
}

/// Makes `fd` the descriptor `number`, closed on exec.
pub fn keep_as(fd: &impl AsRawFd, number: RawFd) -> io::Result<()> {
    if fd.as_raw_fd() == number {
        return Ok(());
    }
    // SAFETY: no memory is involved.
    check(unsafe { libc::dup3(fd.as_raw_fd(), number, libc::O_CLOEXEC) }).map(drop)
}

pub fn read(fd: &impl AsRawFd, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: pointer and length describe `buffer`.
    let got = unsafe { libc::read(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) };
    usize::try_from(got).map_err(|_| io::Error::last_os_error())
}

pub fn write(fd: &impl AsRawFd, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: pointer and length describe `bytes`.
    let put = unsafe { libc::write(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) };
    usize::try_from(put).map_err(|_| io::Error::last_os_error())
}

/// SIGCHLD as readable bytes, and only so.
pub fn child_signals() -> io::Result<OwnedFd> {
    // SAFETY: the set is initialised by sigemptyset before it is read.
    unsafe {
        let mut set = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        check(libc::sigprocmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut()))?;
        let fd = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        check(fd).map(owned)
    }
}

/// What a new program expects: nothing blocked, nothing ignored.
pub fn reset_signals() {
    // SAFETY: the set is initialised by sigemptyset before it is read; handlers are reset to the default.
    unsafe {
        let mut set = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&raw mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, ptr::null_mut());
        // What is ignored here stays ignored across exec otherwise, and a shell cannot trap it then.
        for signal in [libc::SIGPIPE, libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            libc::signal(signal, libc::SIG_DFL);
        }
    }
}

pub fn ignore_signal(signal: libc::c_int) {
    // SAFETY: no handler runs.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// A child that ended: its pid and wait status.
pub fn reap() -> Option<(i32, i32)> {
    let mut status = 0;
    // SAFETY: the status outlives the call.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
    (pid > 0).then_some((pid, status))
}

/// Waits for one child.
pub fn wait_for(pid: i32) -> i32 {
    let mut status = 0;
    // SAFETY: the status outlives the call.
    while unsafe { libc::waitpid(pid, &raw mut status, 0) } < 0 {
        if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return 0;
        }
    }
    status
}

/// Waits until one of the descriptors is ready.
pub fn poll(entries: &mut [libc::pollfd], timeout_ms: i32) -> io::Result<()> {
    let count = entries.len() as libc::nfds_t;
    // SAFETY: pointer and count describe `entries`.
    match check(unsafe { libc::poll(entries.as_mut_ptr(), count, timeout_ms) }) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
        outcome => outcome.map(drop),
    }
}

/// Nanoseconds since 1970.
pub fn now() -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut time) };
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// Runs a program. Returns only if that fails.
pub fn execve(path: &CStr, args: &[CString], env: &[CString]) -> io::Error {
    let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
        list.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
    };
    let (args, env) = (pointers(args), pointers(env));
    // SAFETY: both arrays end with a null pointer and outlive the call.
    unsafe { libc::execve(path.as_ptr(), args.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// Leaves at once, without running anything of the parent's.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: does not return.
    unsafe { libc::_exit(code) }
}

#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Forks into new namespaces. Returns 0 in the child, the child's pid in the parent.
pub fn clone3(flags: u64, cgroup: Option<&OwnedFd>) -> io::Result<i32> {
    const INTO_CGROUP: u64 = 0x2_0000_0000;
    let mut args = CloneArgs { flags, exit_signal: libc::SIGCHLD as u64, ..CloneArgs::default() };
    if let Some(cgroup) = cgroup {
        args.flags |= INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: without a stack and CLONE_VM this is fork; this process has one thread, so the child may go on as usual.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) };
    check_long(pid).map(|pid| pid as i32)
}

/// A descriptor that stands for a process.
pub fn pidfd(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: no memory is involved.
    check_long(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) }).map(|fd| owned(fd as RawFd))
}

/// Receives bytes and descriptors.
pub fn receive(socket: &impl AsRawFd, buffer: &mut [u8], fds: &mut Vec<OwnedFd>) -> io::Result<usize> {
    #[repr(align(8))]
    struct Control([u8; 256]);
    let mut control = Control([0; 256]);
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: all pointers describe live buffers; control messages are walked with the kernel's own macros.
    unsafe {
        let mut message = std::mem::zeroed::<libc::msghdr>();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = control.0.len();
        let got = libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC);
        let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_RIGHTS {
                let data: *const RawFd = libc::CMSG_DATA(header).cast();
                let bytes = (*header).cmsg_len - libc::CMSG_LEN(0) as usize;
                for index in 0..bytes / size_of::<RawFd>() {
                    fds.push(owned(data.add(index).read_unaligned()));
                }
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
        Ok(got)
    }
}

/// Sends bytes with descriptors; says how many bytes went out. The descriptors go with the first byte.
pub fn send(socket: &impl AsRawFd, bytes: &[u8], fds: &[OwnedFd]) -> io::Result<usize> {
    #[repr(align(8))]
    struct Control([u8; 64]);
    let mut control = Control([0; 64]);
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: all pointers describe live buffers; the control buffer has room for the eight descriptors of a frame.
    unsafe {
        let mut message = std::mem::zeroed::<libc::msghdr>();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        if !fds.is_empty() {
            let size = (fds.len() * size_of::<RawFd>()) as libc::c_uint;
            message.msg_control = control.0.as_mut_ptr().cast();
            message.msg_controllen = libc::CMSG_SPACE(size) as usize;
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(size) as usize;
            let data: *mut RawFd = libc::CMSG_DATA(header).cast();
            for (index, fd) in fds.iter().enumerate() {
                data.add(index).write_unaligned(fd.as_raw_fd());
            }
        }
        let put =
            libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT);
        usize::try_from(put).map_err(|_| io::Error::last_os_error())
    }
}

pub fn accept(listener: &impl AsRawFd) -> io::Result<OwnedFd> {
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no address is asked for.
    let fd = unsafe { libc::accept4(listener.as_raw_fd(), ptr::null_mut(), ptr::null_mut(), flags) };
    check(fd).map(owned)
}

pub fn tcp_socket(v6: bool) -> io::Result<OwnedFd> {
    let family = if v6 { libc::AF_INET6 } else { libc::AF_INET };
    // SAFETY: no memory is involved.
    check(unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) }).map(owned)
}
