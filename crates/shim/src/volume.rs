//! A container's mounts: copies of their sources, taken while the node's files are in sight, put in place when only the
//! container's are.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use outrigger_shim_protocol::{Mount, Propagation};

use crate::child::{Failed, MOUNT_ATTR_RDONLY, during, make_dir, make_parent};
use crate::sys;
use crate::users::{Users, as_root};

const MOUNT_ATTR_NOEXEC: u64 = 8;

/// Takes a copy of a mount's source. Of a shared one the agent has sent it.
pub fn open(
    mount: &Mount,
    shared: &mut impl Iterator<Item = OwnedFd>,
    users: Option<&Users>,
) -> Result<OwnedFd, Failed> {
    let step = || format!("open {} for {}", mount.source, mount.target);
    let tree = if mount.propagation == Propagation::Shared {
        let sent = shared.next().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound));
        during(step(), sent)?
    } else if mount.layers.is_empty() {
        during(step(), copy(&mount.source, &mount.beneath))?
    } else {
        during(step(), image(mount))?
    };
    let propagation = match mount.propagation {
        Propagation::Private => Some(libc::MS_PRIVATE),
        Propagation::Slave => Some(libc::MS_SLAVE),
        // What either side mounts later, both see.
        Propagation::Shared => None,
    };
    if let Some(propagation) = propagation {
        during(step(), sys::set_tree(&tree, 0, propagation, true))?;
    }
    if let Some(users) = users {
        let step = format!("show {} with the ids of the user namespace", mount.target);
        during(step, users.translate(&tree))?;
    }
    if mount.recursive_readonly {
        during(step(), sys::set_tree(&tree, MOUNT_ATTR_RDONLY, 0, true))?;
    } else if mount.readonly {
        during(step(), sys::set_tree(&tree, MOUNT_ATTR_RDONLY, 0, false))?;
    }
    Ok(tree)
}

/// A path inside a volume is looked up by the kernel in one go, whatever containers do to the links in it meanwhile.
fn copy(source: &str, beneath: &str) -> io::Result<OwnedFd> {
    if beneath.is_empty() {
        return sys::clone_tree(source);
    }
    let file = sys::open_beneath(source, beneath)?;
    let kind = fs::metadata(format!("/proc/self/fd/{}", file.as_raw_fd()))?.file_type();
    if kind.is_block_device() || kind.is_char_device() {
        return Err(io::Error::other("a device inside a volume is not mounted"));
    }
    sys::clone_tree_of(&file)
}

/// R12.28: an image's layers put together, in this process's mount namespace only.
fn image(mount: &Mount) -> io::Result<OwnedFd> {
    match mount.layers.as_slice() {
        [only] => sys::mount(only, &mount.scratch, "", libc::MS_BIND, "")?,
        layers => {
            let parts: Vec<(&str, &str)> = layers.iter().map(|layer| ("lowerdir+", layer.as_str())).collect();
            let options = format!("lowerdir={}", layers.join(":"));
            let plain = options.len() < 4000 && !layers.iter().any(|path| path.contains([':', ',', '\\']));
            if plain {
                sys::mount("overlay", &mount.scratch, "overlay", libc::MS_RDONLY, &options)?;
            } else {
                sys::mount_overlay_by_parts(&parts, &mount.scratch)?;
            }
        }
    }
    let tree = copy(&mount.scratch, &mount.beneath)?;
    sys::set_tree(&tree, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOEXEC, 0, true)?;
    Ok(tree)
}

/// Attaches a copy. The root is the container's already, so no link in its image leads out of it.
pub fn attach(mount: &Mount, tree: &OwnedFd, users: Option<&Users>) -> Result<(), Failed> {
    let source = format!("/proc/self/fd/{}", tree.as_raw_fd());
    let is_dir = during(format!("look at {}", mount.source), fs::metadata(&source))?.is_dir();
    if !Path::new(&mount.target).exists() {
        as_root(users, || {
            if is_dir {
                return make_dir(&mount.target, 0o755);
            }
            make_parent(&mount.target)?;
            during(format!("make {}", mount.target), fs::write(&mount.target, ""))
        })?;
    }
    during(format!("attach {}", mount.target), sys::attach_tree(tree, &mount.target))
}
