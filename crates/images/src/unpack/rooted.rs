//! Making files below a folder without ever leaving it.
//!
//! Parents are opened by the kernel with the folder as root; the last component is created with O_EXCL relative to
//! that descriptor, so nothing here follows a link the archive laid.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::{LayerError, Refusal};

/// overlayfs: a directory that hides everything of the same name below it. The second is what a user without the
/// privilege for the first may write; mounts honour it with `userxattr`.
pub(crate) const OPAQUE_XATTRS: [&str; 2] = ["trusted.overlay.opaque", "user.overlay.opaque"];
const DIR_FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
const COPY_BUFFER: usize = 128 << 10;

/// Ownership, mode, time and attributes of an entry.
#[derive(Clone, Debug, Default)]
pub(super) struct Meta {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Seconds since 1970.
    pub(super) mtime: i64,
    pub(super) mtime_nanos: i64,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// The layer's folder while it is being filled.
pub(super) struct Root {
    root: Rc<OwnedFd>,
    /// The parent of the last entry: archives are sorted by folder.
    last_parent: Option<(PathBuf, Rc<OwnedFd>)>,
    /// Directory times, set at the end because filling a directory changes them.
    dir_times: Vec<(PathBuf, Timestamps)>,
    buffer: Vec<u8>,
}

impl Root {
    pub(super) fn open(folder: &Path) -> Result<Self, LayerError> {
        let root = rustix::fs::open(folder, DIR_FLAGS, Mode::empty()).map_err(disk("open", folder))?;
        Ok(Self {
            root: Rc::new(root),
            last_parent: None,
            dir_times: Vec::new(),
            buffer: vec![0; COPY_BUFFER],
        })
    }

    pub(super) fn set_root_meta(&mut self, meta: &Meta) -> Result<(), LayerError> {
        set_meta(self.root.as_fd(), meta, Path::new("."))?;
        self.dir_times.push((PathBuf::from("."), times(meta)));
        Ok(())
    }

    pub(super) fn make_dir(&mut self, path: &Path, meta: &Meta) -> Result<(), LayerError> {
        let (parent, name) = self.place(path)?;
        match self.existing(&parent, name, path)? {
            Some(FileType::Directory) => {}
            Some(old) => {
                self.remove(&parent, name, path)?;
                self.mkdir(&parent, name, path)?;
                if old == FileType::CharacterDevice {
                    // The layer deletes the lower directory and makes a new one of that name.
                    self.make_opaque(path)?;
                }
            }
            None => self.mkdir(&parent, name, path)?,
        }
        let dir = open_child(&parent, name, path)?;
        set_meta(dir.as_fd(), meta, path)?;
        self.dir_times.push((path.to_path_buf(), times(meta)));
        Ok(())
    }

    pub(super) fn make_file(
        &mut self,
        path: &Path,
        meta: &Meta,
        size: u64,
        content: &mut impl Read,
    ) -> Result<(), LayerError> {
        let (parent, name) = self.clear(path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&*parent, name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(disk("create", path))?;
        let mut file = File::from(file);
        self.copy(&mut file, path, size, content)?;
        set_meta(file.as_fd(), meta, path)?;
        rustix::fs::futimens(&file, &times(meta)).map_err(disk("set the times of", path))
    }

    /// Copies exactly `size` bytes, telling a bad archive from a bad disk.
    fn copy(
        &mut self,
        file: &mut File,
        path: &Path,
        size: u64,
        content: &mut impl Read,
    ) -> Result<(), LayerError> {
        let mut left = size;
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
            let got = content.read(&mut self.buffer[..want]).map_err(LayerError::Corrupt)?;
            if got == 0 {
                return Err(LayerError::Corrupt(io::ErrorKind::UnexpectedEof.into()));
            }
            file.write_all(&self.buffer[..got]).map_err(|source| LayerError::Disk {
                action: "write",
                path: show(path),
                source,
            })?;
            left -= got as u64;
        }
        Ok(())
    }

    pub(super) fn make_symlink(
        &mut self,
        path: &Path,
        meta: &Meta,
        target: &OsStr,
    ) -> Result<(), LayerError> {
        let (parent, name) = self.clear(path)?;
        rustix::fs::symlinkat(target, &*parent, name).map_err(disk("make symlink", path))?;
        self.set_meta_at(&parent, name, path, meta)
    }

    pub(super) fn make_fifo(&mut self, path: &Path, meta: &Meta) -> Result<(), LayerError> {
        let (parent, name) = self.clear(path)?;
        rustix::fs::mknodat(&*parent, name, FileType::Fifo, Mode::from_raw_mode(0o600), 0)
            .map_err(disk("make fifo", path))?;
        self.set_meta_at(&parent, name, path, meta)?;
        // Freshly made by us in a folder nobody else writes to: the name is still the fifo.
        rustix::fs::chmodat(&*parent, name, Mode::from_raw_mode(meta.mode), AtFlags::empty())
            .map_err(disk("set the mode of", path))
    }

    /// Hard links stay inside the layer: a layer is stored once for all images that share it, so its content cannot
    /// depend on what lies below it in one of them.
    pub(super) fn make_link(&mut self, path: &Path, target: &Path) -> Result<(), LayerError> {
        let missing = || hostile(path, Refusal::LinkTarget(show(target)));
        let target_dir = target.parent().unwrap_or(Path::new(""));
        let target_name = target.file_name().ok_or_else(missing)?;
        let target_fd = self.resolve(target_dir).map_err(|_| missing())?;
        match self.existing(&target_fd, target_name, path)? {
            None | Some(FileType::CharacterDevice | FileType::Directory) => return Err(missing()),
            Some(_) if target == path => return Ok(()),
            Some(_) => {}
        }
        let (parent, name) = self.clear(path)?;
        rustix::fs::linkat(&*target_fd, target_name, &*parent, name, AtFlags::empty())
            .map_err(disk("link", path))
    }

    /// The name is gone from the layers below.
    pub(super) fn make_whiteout(&mut self, path: &Path) -> Result<(), LayerError> {
        let (parent, name) = self.place(path)?;
        match self.existing(&parent, name, path)? {
            // The layer itself has the name: a whiteout only speaks of the layers below.
            Some(FileType::Directory) => self.make_opaque(path),
            Some(_) => Ok(()),
            None => rustix::fs::mknodat(&*parent, name, FileType::CharacterDevice, Mode::empty(), 0)
                .map_err(disk("make whiteout", path)),
        }
    }

    /// The directory's contents in the layers below are gone.
    pub(super) fn make_opaque(&mut self, dir: &Path) -> Result<(), LayerError> {
        let fd = self.parent_fd(dir, dir)?;
        let set = |name: &str| rustix::fs::fsetxattr(&*fd, name, b"y", XattrFlags::empty());
        match set(OPAQUE_XATTRS[0]) {
            Err(Errno::PERM) => set(OPAQUE_XATTRS[1]),
            other => other,
        }
        .map_err(disk("make opaque", dir))
    }

    /// Sets what had to wait for the end.
    pub(super) fn finish(self) -> Result<(), LayerError> {
        for (path, times) in self.dir_times.iter().rev() {
            match self.resolve(path) {
                Ok(dir) => rustix::fs::futimens(&*dir, times).map_err(disk("set the times of", path))?,
                // A later entry put something else in its place.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(errno) => return Err(disk("open", path)(errno)),
            }
        }
        Ok(())
    }

    /// The opened parent and the last component of `path`.
    fn place<'p>(&mut self, path: &'p Path) -> Result<(Rc<OwnedFd>, &'p OsStr), LayerError> {
        let name = path.file_name().ok_or_else(|| hostile(path, Refusal::BadName))?;
        let parent = path.parent().unwrap_or(Path::new(""));
        Ok((self.parent_fd(parent, path)?, name))
    }

    /// Like `place`, with nothing of that name left.
    fn clear<'p>(&mut self, path: &'p Path) -> Result<(Rc<OwnedFd>, &'p OsStr), LayerError> {
        let (parent, name) = self.place(path)?;
        if self.existing(&parent, name, path)?.is_some() {
            self.remove(&parent, name, path)?;
        }
        Ok((parent, name))
    }

    /// Opens the directory `parent` for `entry`, making missing ones.
    fn parent_fd(&mut self, parent: &Path, entry: &Path) -> Result<Rc<OwnedFd>, LayerError> {
        if let Some((path, fd)) = &self.last_parent
            && path == parent
        {
            return Ok(Rc::clone(fd));
        }
        let fd = match self.resolve(parent) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => self.make_parents(parent, entry)?,
            Err(errno) => return Err(unusable_parent(entry, errno)),
        };
        self.last_parent = Some((parent.to_path_buf(), Rc::clone(&fd)));
        Ok(fd)
    }

    fn make_parents(&mut self, parent: &Path, entry: &Path) -> Result<Rc<OwnedFd>, LayerError> {
        let mut fd = Rc::clone(&self.root);
        let mut so_far = PathBuf::new();
        for name in parent.components() {
            so_far.push(name);
            fd = match self.resolve(&so_far) {
                Ok(next) => next,
                Err(Errno::NOENT) => {
                    // NOENT with the name there means a symlink to nowhere in this layer.
                    if self.existing(&fd, name.as_os_str(), entry)?.is_some() {
                        return Err(hostile(entry, Refusal::ThroughSymlink));
                    }
                    rustix::fs::mkdirat(&*fd, name.as_os_str(), Mode::from_raw_mode(0o755))
                        .map_err(disk("make directory", &so_far))?;
                    Rc::new(open_child(&fd, name.as_os_str(), &so_far)?)
                }
                Err(errno) => return Err(unusable_parent(entry, errno)),
            };
        }
        Ok(fd)
    }

    /// Opens a directory with this folder as the root of all links in its path.
    fn resolve(&self, dir: &Path) -> Result<Rc<OwnedFd>, Errno> {
        if dir.as_os_str().is_empty() {
            return Ok(Rc::clone(&self.root));
        }
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&*self.root, dir, DIR_FLAGS, Mode::empty(), resolve).map(Rc::new)
    }

    fn existing(&self, parent: &OwnedFd, name: &OsStr, entry: &Path) -> Result<Option<FileType>, LayerError> {
        match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(disk("look at", entry)(errno)),
        }
    }

    fn mkdir(&self, parent: &OwnedFd, name: &OsStr, path: &Path) -> Result<(), LayerError> {
        rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)).map_err(disk("make directory", path))
    }

    fn remove(&mut self, parent: &OwnedFd, name: &OsStr, path: &Path) -> Result<(), LayerError> {
        self.last_parent = None;
        remove_tree(parent.as_fd(), name).map_err(disk("replace", path))
    }

    fn set_meta_at(
        &self,
        parent: &OwnedFd,
        name: &OsStr,
        path: &Path,
        meta: &Meta,
    ) -> Result<(), LayerError> {
        let owner = (Some(Uid::from_raw(meta.uid)), Some(Gid::from_raw(meta.gid)));
        rustix::fs::chownat(parent, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(disk("set the owner of", path))?;
        rustix::fs::utimensat(parent, name, &times(meta), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(disk("set the times of", path))
    }
}

fn open_child(parent: &OwnedFd, name: &OsStr, path: &Path) -> Result<OwnedFd, LayerError> {
    rustix::fs::openat(parent, name, DIR_FLAGS | OFlags::NOFOLLOW, Mode::empty()).map_err(disk("open", path))
}

/// Owner before mode, because chown clears the set-id bits; capabilities after both, because chown drops them.
fn set_meta(fd: BorrowedFd<'_>, meta: &Meta, path: &Path) -> Result<(), LayerError> {
    rustix::fs::fchown(fd, Some(Uid::from_raw(meta.uid)), Some(Gid::from_raw(meta.gid)))
        .map_err(disk("set the owner of", path))?;
    rustix::fs::fchmod(fd, Mode::from_raw_mode(meta.mode)).map_err(disk("set the mode of", path))?;
    for (name, value) in &meta.xattrs {
        match rustix::fs::fsetxattr(fd, name.as_slice(), value, XattrFlags::empty()) {
            // A file system without users' attributes loses hints; without capabilities it would lose meaning.
            Err(Errno::OPNOTSUPP) if name.starts_with(b"user.") => {}
            done => done.map_err(disk("set an extended attribute of", path))?,
        }
    }
    Ok(())
}

fn times(meta: &Meta) -> Timestamps {
    let time = Timespec { tv_sec: meta.mtime, tv_nsec: meta.mtime_nanos };
    Timestamps { last_access: time, last_modification: time }
}

/// Removes whatever `name` is, directories with their contents, following nothing.
fn remove_tree(parent: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => {}
        done => return done,
    }
    let dir = rustix::fs::openat(parent, name, DIR_FLAGS | OFlags::NOFOLLOW, Mode::empty())?;
    for entry in rustix::fs::Dir::read_from(&dir)? {
        let entry = entry?;
        let child = OsStr::from_bytes(entry.file_name().to_bytes());
        if child != "." && child != ".." {
            remove_tree(dir.as_fd(), child)?;
        }
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}

fn unusable_parent(entry: &Path, errno: Errno) -> LayerError {
    match errno {
        Errno::NOTDIR => hostile(entry, Refusal::NotADirectory),
        Errno::LOOP | Errno::XDEV => hostile(entry, Refusal::ThroughSymlink),
        other => disk("open the folder of", entry)(other),
    }
}

fn hostile(path: &Path, why: Refusal) -> LayerError {
    LayerError::Hostile { path: show(path), why }
}

fn disk(action: &'static str, path: &Path) -> impl FnOnce(Errno) -> LayerError {
    move |errno| LayerError::Disk { action, path: show(path), source: errno.into() }
}

fn show(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
