//! hostPath type checks (R12.14, R12.15).

use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use k8s_openapi::api::core::v1::HostPathVolumeSource;

use super::{MountError, ownership};

pub(super) fn check(source: &HostPathVolumeSource) -> Result<(), MountError> {
    let path = Path::new(&source.path);
    let kind = source.type_.as_deref().unwrap_or_default();
    let found = std::fs::metadata(path).ok().map(|meta| meta.file_type());
    match kind {
        "" if found.is_none() => return std::fs::create_dir_all(path).map_err(MountError::io("make", path)),
        "" => return Ok(()),
        "DirectoryOrCreate" if found.is_none() => {
            std::fs::create_dir_all(path).map_err(MountError::io("make", path))?;
            return ownership::set_mode(path, 0o755);
        }
        "FileOrCreate" if found.is_none() => {
            std::fs::File::create_new(path).map_err(MountError::io("make", path))?;
            return ownership::set_mode(path, 0o644);
        }
        _ => {}
    }
    let (fits, word) = match kind {
        "Directory" | "DirectoryOrCreate" => (found.is_some_and(|f| f.is_dir()), "directory"),
        "File" | "FileOrCreate" => (found.is_some_and(|f| f.is_file()), "file"),
        "Socket" => (found.is_some_and(|f| f.is_socket()), "socket file"),
        "CharDevice" => (found.is_some_and(|f| f.is_char_device()), "character device"),
        "BlockDevice" => (found.is_some_and(|f| f.is_block_device()), "block device"),
        other => return Err(MountError::Source(format!("{other} is an invalid volume type"))),
    };
    if fits {
        return Ok(());
    }
    Err(MountError::Source(format!("hostPath type check failed: {} is not a {word}", source.path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R12.14, R12.15
    #[test]
    fn types_are_checked_and_made() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str, kind: &str| {
            let path = folder.path().join(name).display().to_string();
            check(&HostPathVolumeSource { path, type_: Some(kind.into()) })
        };
        at("f", "FileOrCreate").unwrap();
        at("d/e", "DirectoryOrCreate").unwrap();
        assert!(at("f", "File").is_ok() && at("d", "Directory").is_ok());
        assert!(at("f", "Directory").unwrap_err().to_string().ends_with("f is not a directory"));
        assert!(at("none", "File").is_err() && at("no/parent", "FileOrCreate").is_err());
    }
}
