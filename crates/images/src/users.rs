//! Who `USER` means: names looked up in the image's own `etc/passwd` and `etc/group`.
//!
//! The files are read through the image's layers as overlayfs would show them, whiteouts, opaque folders and
//! symlinks included, without mounting anything and without leaving the layers.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::{Image, ImageStore};

/// The numbers behind a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedUser {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary groups from the image's `etc/group`, sorted, without the primary one.
    pub groups: Vec<u32>,
    /// Home folder, if `etc/passwd` knows the user.
    pub home: Option<String>,
}

/// A user that cannot be resolved.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// No such name in `etc/passwd`.
    #[error("unable to find user {0}: no matching entries in passwd file")]
    NoUser(String),
    /// No such name in `etc/group`.
    #[error("unable to find group {0}: no matching entries in group file")]
    NoGroup(String),
    /// The file is there and cannot be read.
    #[error("cannot read {path} of the image")]
    Read {
        /// Inside the image.
        path: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl ImageStore {
    /// Resolves `user[:group]`, names or numbers; empty means root. Numbers need no entry in any file; the group of
    /// a number without one is 0. Blocks on small reads.
    pub fn lookup_user(&self, image: &Image, user: &str) -> Result<ResolvedUser, UserError> {
        let passwd = read(&image.layers, "etc/passwd")?;
        let group = read(&image.layers, "etc/group")?;
        resolve(user, &passwd, &group)
    }
}

fn resolve(user: &str, passwd: &str, group: &str) -> Result<ResolvedUser, UserError> {
    let (user, wanted_group) = user.split_once(':').map_or((user, ""), |(user, group)| (user, group));
    let user = if user.is_empty() { "0" } else { user };
    let entry = passwd.lines().filter_map(Passwd::parse).find(|p| p.name == user).or_else(|| {
        let uid = user.parse::<u32>().ok()?;
        passwd.lines().filter_map(Passwd::parse).find(|p| p.uid == uid)
    });
    let (uid, mut gid) = match (&entry, user.parse::<u32>()) {
        (Some(entry), _) => (entry.uid, entry.gid),
        (None, Ok(uid)) => (uid, 0),
        (None, Err(_)) => return Err(UserError::NoUser(user.to_owned())),
    };
    let groups: Vec<Group<'_>> = group.lines().filter_map(Group::parse).collect();
    if !wanted_group.is_empty() {
        let named = groups.iter().find(|g| g.name == wanted_group).map(|g| g.gid);
        gid = named
            .or_else(|| wanted_group.parse().ok())
            .ok_or_else(|| UserError::NoGroup(wanted_group.to_owned()))?;
    }
    let name = entry.as_ref().map(|entry| entry.name);
    let member = |g: &&Group<'_>| name.is_some_and(|name| g.members.split(',').any(|m| m == name));
    let mut more: Vec<u32> = groups.iter().filter(member).map(|g| g.gid).filter(|g| *g != gid).collect();
    more.sort_unstable();
    more.dedup();
    let home = entry.map(|entry| entry.home.to_owned()).filter(|home| !home.is_empty());
    Ok(ResolvedUser { uid, gid, groups: more, home })
}

struct Passwd<'t> {
    name: &'t str,
    uid: u32,
    gid: u32,
    home: &'t str,
}

impl<'t> Passwd<'t> {
    fn parse(line: &'t str) -> Option<Self> {
        let mut fields = line.trim_end().split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let (_password, uid, gid) =
            (fields.next()?, fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let home = fields.nth(1).unwrap_or_default();
        Some(Self { name, uid, gid, home })
    }
}

struct Group<'t> {
    name: &'t str,
    gid: u32,
    members: &'t str,
}

impl<'t> Group<'t> {
    fn parse(line: &'t str) -> Option<Self> {
        let mut fields = line.trim_end().split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let (_password, gid) = (fields.next()?, fields.next()?.parse().ok()?);
        Some(Self { name, gid, members: fields.next().unwrap_or_default() })
    }
}

/// The file's text; empty if the image has none.
fn read(layers: &[PathBuf], path: &'static str) -> Result<String, UserError> {
    let failed = |source| UserError::Read { path, source };
    let Some(file) = find(layers, Path::new(path)).map_err(failed)? else { return Ok(String::new()) };
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES).read_to_end(&mut bytes).map_err(failed)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What one layer says about a path.
enum Seen {
    File(File),
    /// Go on with this path instead.
    Symlink(PathBuf),
    /// Not here; lower layers may have it.
    Below,
    /// Hidden from lower layers, or in the way.
    Gone,
}

/// Opens a regular file as the union of the layers, topmost first, shows it.
fn find(layers: &[PathBuf], path: &Path) -> io::Result<Option<File>> {
    let mut path = path.to_path_buf();
    'links: for _ in 0..MAX_LINKS {
        for layer in layers {
            match look(layer, &path)? {
                Seen::File(file) => return Ok(Some(file)),
                Seen::Gone => return Ok(None),
                Seen::Below => {}
                Seen::Symlink(next) => {
                    path = next;
                    continue 'links;
                }
            }
        }
        return Ok(None);
    }
    Ok(None)
}

fn look(layer: &Path, path: &Path) -> io::Result<Seen> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut dir: OwnedFd = rustix::fs::open(layer, flags, Mode::empty())?;
    let mut opaque = false;
    let mut walked = PathBuf::new();
    let mut rest = path.components();
    while let Some(component) = rest.next() {
        let name = component.as_os_str();
        let stat = match rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(if opaque { Seen::Gone } else { Seen::Below }),
            Err(errno) => return Err(errno.into()),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                dir = rustix::fs::openat(&dir, name, flags, Mode::empty())?;
                walked.push(name);
                opaque |= is_opaque(&dir);
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&dir, name, Vec::new())?;
                let target = join(&walked, OsStr::from_bytes(target.to_bytes()));
                return Ok(Seen::Symlink(join(&target, rest.as_path().as_os_str())));
            }
            FileType::RegularFile if rest.as_path().as_os_str().is_empty() => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                return Ok(Seen::File(File::from(rustix::fs::openat(&dir, name, flags, Mode::empty())?)));
            }
            _ => return Ok(Seen::Gone),
        }
    }
    Ok(Seen::Gone)
}

/// Where `target` leads from `folder`, as a path below the image's root.
fn join(folder: &Path, target: &OsStr) -> PathBuf {
    let mut parts: Vec<OsString> = folder.components().map(|c| c.as_os_str().to_owned()).collect();
    for component in Path::new(target).components() {
        match component {
            Component::RootDir => parts.clear(),
            Component::ParentDir => {
                parts.pop();
            }
            Component::Normal(name) => parts.push(name.to_owned()),
            Component::CurDir | Component::Prefix(_) => {}
        }
    }
    parts.iter().collect()
}

fn is_opaque(dir: &OwnedFd) -> bool {
    crate::unpack::OPAQUE_XATTRS.iter().any(|name| {
        let mut value = [0_u8; 4];
        matches!(rustix::fs::fgetxattr(dir, *name, &mut value), Ok(1) if value[0] == b'y')
    })
}

const MAX_FILE_BYTES: u64 = 4 << 20;
const MAX_LINKS: usize = 40;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n# comment\nweb:x:33:34:Web:/srv:/bin/false\n\
                          1000:x:5:6::/five:\n";
    const GROUP: &str = "root:x:0:\nwww:x:34:\nlogs:x:40:web,root\nadm:x:7:web\nadm2:x:7:web\n";

    fn numbers(user: &str) -> (u32, u32, Vec<u32>) {
        let user = resolve(user, PASSWD, GROUP).unwrap();
        (user.uid, user.gid, user.groups)
    }

    #[test]
    fn names_and_numbers_are_resolved() {
        assert_eq!(numbers(""), (0, 0, vec![40]));
        assert_eq!(numbers("web"), (33, 34, vec![7, 40]));
        assert_eq!(numbers("33"), (33, 34, vec![7, 40]));
        assert_eq!(numbers("web:logs"), (33, 40, vec![7]));
        assert_eq!(numbers("web:99"), (33, 99, vec![7, 40]));
        assert_eq!(numbers("77"), (77, 0, vec![]));
        assert_eq!(numbers("1000"), (5, 6, vec![]), "a name of digits is a name first");
        assert_eq!(resolve("web", PASSWD, GROUP).unwrap().home.as_deref(), Some("/srv"));
    }

    #[test]
    fn unknown_names_are_errors() {
        let error = resolve("ghost", PASSWD, GROUP).unwrap_err();
        assert_eq!(error.to_string(), "unable to find user ghost: no matching entries in passwd file");
        assert!(matches!(resolve("web:ghosts", PASSWD, GROUP), Err(UserError::NoGroup(_))));
        assert!(resolve("4294967296", PASSWD, GROUP).is_err());
    }

    #[test]
    fn files_are_found_through_layers_and_links() {
        let dir = tempfile::tempdir().unwrap();
        let (upper, lower) = (dir.path().join("u"), dir.path().join("l"));
        fs::create_dir_all(lower.join("etc")).unwrap();
        fs::create_dir_all(lower.join("usr/share")).unwrap();
        fs::create_dir_all(upper.join("etc")).unwrap();
        fs::write(lower.join("etc/passwd"), "lower").unwrap();
        fs::write(lower.join("usr/share/group"), "linked").unwrap();
        symlink("../../../usr/share/group", upper.join("etc/group")).unwrap();
        symlink("/etc/loop", upper.join("etc/loop")).unwrap();
        symlink("/proc/self/environ", upper.join("etc/leak")).unwrap();
        let layers = [upper.clone(), lower];
        let text = |path: &'static str| read(&layers, path).unwrap();
        assert_eq!((text("etc/passwd").as_str(), text("etc/group").as_str()), ("lower", "linked"));
        assert_eq!((text("etc/loop").as_str(), text("etc/leak").as_str()), ("", ""));
        fs::remove_dir_all(upper.join("etc")).unwrap();
        fs::write(upper.join("etc"), "in the way").unwrap();
        assert_eq!(text("etc/passwd"), "");
    }
}
