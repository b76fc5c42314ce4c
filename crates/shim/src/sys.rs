//! System calls, each as a function with Rust types. Nothing here knows what a container is.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use libc::{c_int, c_long, c_uint};

/// Turns -1 into the error it stands for.
pub(crate) fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// As [`check`] for raw system calls that return a descriptor or a small number.
pub(crate) fn check_long(result: c_long) -> io::Result<c_int> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    c_int::try_from(result).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// A path or text as the kernel wants it.
pub(crate) fn c_path(path: impl AsRef<Path>) -> io::Result<CString> {
    Ok(CString::new(path.as_ref().as_os_str().as_bytes())?)
}

fn owned(result: c_int) -> io::Result<OwnedFd> {
    let fd = check(result)?;
    // SAFETY: the call just returned this new descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// As [`owned`] for raw system calls.
pub(crate) fn owned_long(result: c_long) -> io::Result<OwnedFd> {
    let fd = check_long(result)?;
    // SAFETY: the call just returned this new descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Ends the process without running any more of it.
pub(crate) fn exit_now(code: c_int) -> ! {
    // SAFETY: always allowed.
    unsafe { libc::_exit(code) }
}

/// `Some(child)` in the parent.
pub(crate) fn fork() -> io::Result<Option<libc::pid_t>> {
    // SAFETY: the process is single-threaded, so the child may run any code.
    let pid = check(unsafe { libc::fork() })?;
    Ok((pid != 0).then_some(pid))
}

pub(crate) fn set_session() -> io::Result<()> {
    // SAFETY: no memory involved.
    check(unsafe { libc::setsid() }).map(drop)
}

pub(crate) fn set_child_subreaper() -> io::Result<()> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, 1).map(drop)
}

pub(crate) fn set_name(name: &CStr) {
    // SAFETY: the name is a terminated string the kernel copies; failing leaves the old name.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}

/// prctl calls whose arguments are numbers.
pub(crate) fn prctl(option: c_int, argument: u64) -> io::Result<c_int> {
    // SAFETY: callers use options that take numbers only.
    check(unsafe { libc::prctl(option, argument, 0u64, 0u64, 0u64) })
}

/// A copy above the standard descriptors, closed on exec.
pub(crate) fn duplicate_high(fd: &impl AsRawFd) -> io::Result<OwnedFd> {
    // SAFETY: no memory involved.
    owned(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 3) })
}

/// Puts `fd` at the number `at`, open across exec.
pub(crate) fn put_at(fd: RawFd, at: RawFd) -> io::Result<()> {
    // SAFETY: no memory involved; `at` is a standard descriptor nothing here owns.
    check(unsafe { libc::dup2(fd, at) }).map(drop)
}

pub(crate) fn null_stdin() -> io::Result<()> {
    let null = open("/dev/null", libc::O_RDWR, 0)?;
    if null.as_raw_fd() == 0 {
        std::mem::forget(null);
        return Ok(());
    }
    put_at(null.as_raw_fd(), 0)
}

/// open(2), always closed on exec.
pub(crate) fn open(path: impl AsRef<Path>, flags: c_int, mode: c_uint) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    // SAFETY: a terminated path.
    owned(unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC, mode) })
}

/// Opens a path below the root without passing through the kernel's magic links.
pub(crate) fn open_plain(path: &str, flags: c_int) -> io::Result<OwnedFd> {
    const RESOLVE_NO_MAGICLINKS: u64 = 0x02;
    let path = c_path(path)?;
    let how: [u64; 3] =
        [u64::from((flags | libc::O_CLOEXEC).unsigned_abs()), 0, RESOLVE_NO_MAGICLINKS];
    // SAFETY: a terminated path and the three words of `struct open_how` with their size.
    owned_long(unsafe {
        libc::syscall(
            libc::SYS_openat2,
            libc::AT_FDCWD,
            path.as_ptr(),
            how.as_ptr(),
            std::mem::size_of_val(&how),
        )
    })
}

/// A pipe as (read, write), both closed on exec.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: room for the two descriptors the call stores.
    check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
    // SAFETY: both descriptors are new and ours.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

/// A connected pair of stream sockets.
pub(crate) fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    // SAFETY: room for the two descriptors the call stores.
    check(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) })?;
    // SAFETY: both descriptors are new and ours.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

/// A fresh TCP socket.
pub(crate) fn tcp_socket(v6: bool) -> io::Result<OwnedFd> {
    let family = if v6 { libc::AF_INET6 } else { libc::AF_INET };
    // SAFETY: no memory involved.
    owned(unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0) })
}

/// A waiting connection.
pub(crate) fn accept(listener: &OwnedFd) -> io::Result<OwnedFd> {
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no address is asked for.
    owned(unsafe {
        libc::accept4(listener.as_raw_fd(), std::ptr::null_mut(), std::ptr::null_mut(), flags)
    })
}

pub(crate) fn set_nonblocking(fd: &impl AsRawFd) -> io::Result<()> {
    // SAFETY: no memory involved.
    let flags = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) })?;
    // SAFETY: no memory involved.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK) }).map(drop)
}

/// Reads once; 0 is the end.
pub(crate) fn read(fd: &impl AsRawFd, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the buffer's own length is given.
    let count = unsafe { libc::read(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// Writes once.
pub(crate) fn write(fd: &impl AsRawFd, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: the buffer's own length is given.
    let count = unsafe { libc::write(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// Blocks all signals and gives a descriptor that tells of ended children.
pub(crate) fn child_signals() -> io::Result<OwnedFd> {
    // SAFETY: an all-zero set is a valid value to pass to sigemptyset, which initialises it.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is ours.
    unsafe {
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        for ignored in [libc::SIGHUP, libc::SIGINT, libc::SIGTERM, libc::SIGPIPE] {
            libc::signal(ignored, libc::SIG_IGN);
        }
    }
    // SAFETY: the set is initialised; no old set is asked for.
    check(unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) })?;
    // SAFETY: the set is initialised.
    owned(unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) })
}

/// Undoes [`child_signals`] in a child: the program starts with the defaults.
pub(crate) fn default_signals() {
    // SAFETY: default dispositions and an empty mask involve no code or memory of ours.
    unsafe {
        for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGTERM, libc::SIGPIPE] {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
    }
}

/// An ended child and its wait status, if there is one.
pub(crate) fn reap() -> Option<(libc::pid_t, c_int)> {
    let mut status = 0;
    // SAFETY: room for the status.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
    (pid > 0).then_some((pid, status))
}

/// Signals a process through its descriptor: never a stranger that got its number.
pub(crate) fn signal(pidfd: &OwnedFd, signal: c_int) -> io::Result<()> {
    // SAFETY: no siginfo is given.
    check_long(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    })
    .map(drop)
}

/// Nanoseconds since 1970.
pub(crate) fn now() -> i64 {
    let time = clock(libc::CLOCK_REALTIME);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// Milliseconds since boot, for waiting.
pub(crate) fn ticks() -> i64 {
    let time = clock(libc::CLOCK_MONOTONIC);
    time.tv_sec * 1000 + time.tv_nsec / 1_000_000
}

fn clock(id: libc::clockid_t) -> libc::timespec {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: room for the time; these clocks always exist.
    unsafe { libc::clock_gettime(id, &raw mut time) };
    time
}

/// Waits for events, at most `timeout` milliseconds, for ever if negative. An interruption is no event.
pub(crate) fn poll(fds: &mut [libc::pollfd], timeout: c_int) -> io::Result<()> {
    // SAFETY: the slice's own length is given.
    match check(unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout) }) {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
        _ => Ok(()),
    }
}

/// Enters namespaces: `target` is a pidfd with several kinds, or one namespace's own descriptor.
pub(crate) fn enter(target: &impl AsRawFd, kinds: c_int) -> io::Result<()> {
    // SAFETY: no memory involved; the process is single-threaded.
    check(unsafe { libc::setns(target.as_raw_fd(), kinds) }).map(drop)
}

/// Leaves for new namespaces.
pub(crate) fn unshare(kinds: c_int) -> io::Result<()> {
    // SAFETY: no memory involved; the process is single-threaded.
    check(unsafe { libc::unshare(kinds) }).map(drop)
}

/// Writes a small file of the kernel's.
pub(crate) fn write_file(path: impl AsRef<Path>, text: &str) -> io::Result<()> {
    let file = open(path, libc::O_WRONLY, 0)?;
    write(&file, text.as_bytes()).map(drop)
}

/// Closes everything above the standard streams but `keep`.
pub(crate) fn close_all_but(keep: &mut [RawFd]) {
    keep.sort_unstable();
    let mut from: c_uint = 3;
    for fd in keep.iter().filter_map(|fd| c_uint::try_from(*fd).ok()).filter(|fd| *fd >= 3) {
        if fd > from {
            close_range(from, fd - 1);
        }
        from = fd + 1;
    }
    close_range(from, c_uint::MAX);
}

fn close_range(first: c_uint, last: c_uint) {
    // SAFETY: only a child that is about to become another program calls this, and uses none of these again.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
}

/// Sends bytes with descriptors attached to the first of them.
pub(crate) fn send(socket: &impl AsRawFd, bytes: &[u8], fds: &[RawFd]) -> io::Result<usize> {
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut control = [0u64; 16];
    // SAFETY: all-zero is a valid msghdr.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    if !fds.is_empty() {
        let size = c_uint::try_from(std::mem::size_of_val(fds)).map_err(|_| io::ErrorKind::InvalidInput)?;
        message.msg_control = control.as_mut_ptr().cast();
        // SAFETY: pure arithmetic, and the control buffer has room for `MAX_FRAME_FDS` descriptors and a header.
        unsafe {
            message.msg_controllen = libc::CMSG_SPACE(size) as usize;
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(size) as usize;
            std::ptr::copy_nonoverlapping(fds.as_ptr().cast(), libc::CMSG_DATA(header), size as usize);
        }
    }
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    // SAFETY: every pointer in the message is valid for the call.
    let count = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, flags) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// Receives bytes and the descriptors sent with them; 0 is the end.
pub(crate) fn receive(
    socket: &impl AsRawFd,
    buffer: &mut [u8],
    fds: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut control = [0u64; 16];
    // SAFETY: all-zero is a valid msghdr.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = std::mem::size_of_val(&control);
    let flags = libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT;
    // SAFETY: every pointer in the message is valid for the call.
    let count = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) };
    let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the kernel filled the control buffer; the macros stay inside `msg_controllen`.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    while !header.is_null() {
        // SAFETY: as above; each descriptor is new and ours.
        unsafe {
            if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_RIGHTS {
                let bytes = (*header).cmsg_len - libc::CMSG_LEN(0) as usize;
                let data = libc::CMSG_DATA(header).cast::<RawFd>();
                for at in 0..bytes / size_of::<RawFd>() {
                    fds.push(OwnedFd::from_raw_fd(data.add(at).read_unaligned()));
                }
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
    }
    Ok(count)
}
