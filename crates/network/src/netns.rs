//! Network namespaces that outlive whoever made them: each is bind-mounted on a file.

use std::fs::File;
use std::future::Future;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, mount_bind, unmount};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

use crate::NetworkError;

/// The magic number of the kernel's namespace file system.
const NSFS: i64 = 0x6e73_6673;

/// Whether a namespace is mounted at `path`.
pub(crate) fn exists(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|found| found.f_type == NSFS)
}

/// Makes a namespace and mounts it at `path`, which must not be one yet.
pub(crate) async fn create(path: &Path) -> Result<(), NetworkError> {
    let target = path.to_owned();
    on_thread(move || {
        File::create(&target)?;
        // SAFETY: only the namespace of this thread changes, which ends right after; no file table is unshared.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET)? };
        mount_bind("/proc/thread-self/ns/net", &target)?;
        Ok(())
    })
    .await
    .map_err(|source| NetworkError::Io {
        doing: format!("make network namespace {}", path.display()),
        source,
    })
}

/// Unmounts and removes the file; nothing there is success. The namespace ends with its last process.
pub(crate) fn remove(path: &Path) -> Result<(), NetworkError> {
    let unmounted = match unmount(path, UnmountFlags::DETACH) {
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => Ok(()),
        Err(errno) => Err(io::Error::from(errno)),
    };
    let removed = unmounted.and_then(|()| match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    });
    removed.map_err(|source| NetworkError::Io {
        doing: format!("remove network namespace {}", path.display()),
        source,
    })
}

/// Runs `work` to its end on a thread of its own inside the namespace at `path`. Sockets it opens stay there.
/// Dropping the future abandons the wait; the work goes on to its end.
pub(crate) async fn inside<F, R>(path: &Path, work: F) -> Result<R::Output, NetworkError>
where
    F: FnOnce() -> R + Send + 'static,
    R: Future,
    R::Output: Send + 'static,
{
    let target = path.to_owned();
    on_thread(move || {
        let namespace = rustix::fs::openat(
            CWD,
            &target,
            rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )?;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(runtime.block_on(work()))
    })
    .await
    .map_err(|source| NetworkError::Io {
        doing: format!("enter network namespace {}", path.display()),
        source,
    })
}

/// A fresh thread, because one that changed its namespace must never go back to a pool.
async fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (tell, told) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("netns".into()).spawn(move || {
        // Nobody listens any more when the caller was dropped; the work is done all the same.
        let _ = tell.send(work());
    })?;
    told.await.unwrap_or_else(|_| Err(io::Error::other("the namespace thread died")))
}
