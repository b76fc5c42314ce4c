//! A Pod's own user namespace (`hostUsers: false`): root inside is nobody in particular on the node.
//!
//! Everything a container sees is mounted before its process joins the namespace, with ids translated: image layers,
//! writable layer, volumes. A file system that cannot translate ids refuses, and the container is not started.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use outrigger_shim_protocol::IdRange;

use crate::sys;

/// The namespace and the node's ids of it.
pub struct Users {
    namespace: OwnedFd,
    range: IdRange,
}

impl Users {
    /// Makes a namespace with its maps. A process is born in it for that and ends at once.
    pub fn make(range: IdRange) -> io::Result<Self> {
        let (gate, open) = sys::pipe()?;
        let pid = sys::clone3(libc::CLONE_NEWUSER as u64, None)?;
        if pid == 0 {
            drop(open);
            // Ends when the parent has closed its side.
            let _ = sys::read(&gate, &mut [0]);
            sys::exit_now(0);
        }
        let map = format!("0 {} {}\n", range.base, range.size);
        let made = fs::write(format!("/proc/{pid}/uid_map"), &map)
            .and_then(|()| fs::write(format!("/proc/{pid}/gid_map"), &map))
            .and_then(|()| fs::File::open(format!("/proc/{pid}/ns/user")));
        drop(open);
        sys::wait_for(pid);
        Ok(Self { namespace: made?.into(), range })
    }

    /// The same namespace under another descriptor.
    pub fn share(&self) -> io::Result<Self> {
        Ok(Self { namespace: sys::dup(&self.namespace)?, range: self.range })
    }

    /// Its descriptor, which a child has to keep.
    pub fn number(&self) -> RawFd {
        self.namespace.as_raw_fd()
    }

    /// Translates the ids of a detached tree.
    pub fn translate(&self, tree: &OwnedFd) -> io::Result<()> {
        sys::translate_ids(tree, &self.namespace)
    }

    /// Does `work` as the namespace's root where files are concerned: what it makes or mounts is that root's.
    pub fn as_root<T>(&self, work: impl FnOnce() -> T) -> T {
        sys::set_file_ids(self.range.base, self.range.base);
        // Being another user's files costs the rights over everybody's, which stay permitted. If they do not come back,
        // the work fails and tells.
        let _ = sys::set_capabilities(sys::permitted_capabilities());
        let done = work();
        sys::set_file_ids(0, 0);
        done
    }

    /// The node's id of group `id` inside.
    pub fn on_node(&self, id: u32) -> u32 {
        self.range.base.saturating_add(id)
    }

    /// Becomes root of the namespace.
    pub fn enter(&self) -> io::Result<()> {
        sys::setns(&self.namespace, libc::CLONE_NEWUSER)?;
        sys::set_ids(0, 0, &[])
    }
}

/// [`Users::as_root`] for a Pod that may have no namespace of its own.
pub fn as_root<T>(users: Option<&Users>, work: impl FnOnce() -> T) -> T {
    match users {
        Some(users) => users.as_root(work),
        None => work(),
    }
}
