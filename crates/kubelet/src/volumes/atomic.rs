//! Files that change all at once (R12.16, R12.17).
//!
//! ```text
//!   volume/key -> ..data/key      volume/..data -> ..<stamp>      volume/..<stamp>/key
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown, symlink};
use std::path::Path;

use super::{MountError, ownership};

/// One file of a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct File {
    pub(super) content: Vec<u8>,
    pub(super) mode: u32,
    /// Root if nobody.
    pub(super) owner: Option<u32>,
}

/// By path relative to the volume; no path is absolute or has `..` elements.
pub(super) type Files = BTreeMap<String, File>;

/// Makes the volume at `root` hold exactly `files`; nothing is touched if it does already. `stamp` begins with `..`
/// and is new each time.
pub(super) fn write(root: &Path, files: &Files, stamp: &str, group: Option<u32>) -> Result<(), MountError> {
    let data = root.join("..data");
    let old = fs::read_link(&data).ok();
    if old.is_some() && same(&data, files, group) {
        return links(root, files);
    }
    let fresh = root.join(stamp);
    fs::create_dir_all(&fresh).map_err(MountError::io("make", &fresh))?;
    ownership::set_mode(&fresh, 0o755)?;
    for (name, file) in files {
        let path = fresh.join(name);
        let parent = path.parent().unwrap_or(&fresh);
        fs::create_dir_all(parent).map_err(MountError::io("make", parent))?;
        fs::write(&path, &file.content).map_err(MountError::io("write", &path))?;
        if file.owner.is_some() {
            lchown(&path, file.owner, None).map_err(MountError::io("change owner of", &path))?;
        }
        ownership::set_mode(&path, file.mode)?;
    }
    ownership::give_to_readers(&fresh, group)?;
    let temporary = root.join("..data_tmp");
    // Left by an interrupted update, if it is there at all.
    let _ = fs::remove_file(&temporary);
    symlink(stamp, &temporary).map_err(MountError::io("link", &temporary))?;
    fs::rename(&temporary, &data).map_err(MountError::io("rename", &temporary))?;
    links(root, files)?;
    if let Some(old) = old.filter(|old| old.as_os_str() != stamp) {
        // Nothing leads there any more; an agent that stops here leaves it until the Pod is gone.
        let _ = fs::remove_dir_all(root.join(old));
    }
    Ok(())
}

/// User-visible names: the first element of each path.
fn links(root: &Path, files: &Files) -> Result<(), MountError> {
    let wanted: BTreeSet<&str> = files.keys().filter_map(|name| name.split('/').next()).collect();
    for name in &wanted {
        let link = root.join(name);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new("..data").join(name), &link).map_err(MountError::io("link", &link))?;
        }
    }
    for entry in fs::read_dir(root).map_err(MountError::io("read", root))? {
        let entry = entry.map_err(MountError::io("read", root))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with("..") && !wanted.contains(name.as_ref()) {
            fs::remove_file(entry.path()).map_err(MountError::io("remove", &entry.path()))?;
        }
    }
    Ok(())
}

fn same(data: &Path, files: &Files, group: Option<u32>) -> bool {
    // With an fsGroup the group's read bits are added on disk.
    let extra = if group.is_some() { 0o440 } else { 0 };
    count(data) == files.len()
        && files.iter().all(|(name, file)| {
            let path = data.join(name);
            let looks = |meta: fs::Metadata| {
                let mode = meta.permissions().mode() & 0o777;
                mode == (file.mode & 0o777) | extra && file.owner.is_none_or(|owner| owner == meta.uid())
            };
            fs::metadata(&path).is_ok_and(looks)
                && fs::read(&path).is_ok_and(|content| content == file.content)
        })
}

fn count(folder: &Path) -> usize {
    let each = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    each.map(|path| if path.is_dir() { count(&path) } else { 1 }).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(list: &[(&str, &str)]) -> Files {
        let file = |text: &str| File { content: text.into(), mode: 0o644, owner: None };
        list.iter().map(|(name, text)| ((*name).to_owned(), file(text))).collect()
    }

    /// R12.16, R12.17
    #[test]
    fn replaced_as_a_whole() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        write(root, &files(&[("a", "1"), ("d/e", "2")]), "..one", None).unwrap();
        assert_eq!(fs::read_to_string(root.join("d/e")).unwrap(), "2");
        assert_eq!(fs::read_link(root.join("d")).unwrap(), Path::new("..data/d"));
        write(root, &files(&[("a", "1"), ("d/e", "2")]), "..two", None).unwrap();
        assert_eq!(fs::read_link(root.join("..data")).unwrap(), Path::new("..one"));
        write(root, &files(&[("b", "3")]), "..three", None).unwrap();
        let entries = fs::read_dir(root).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, ["..data", "..three", "b"]);
    }
}
