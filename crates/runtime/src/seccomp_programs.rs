//! Compiled seccomp programs, kept: an exec probe needs the same one every second.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::SystemTime;

use crate::{seccomp, seccomp_profile};

/// Programs kept; all are dropped when there are more.
const KEPT: usize = 64;

/// What a program was made from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Origin {
    /// The runtime's own profile for these capabilities.
    Default(u64),
    /// A file as it was then.
    File { path: PathBuf, modified: SystemTime, bytes: u64 },
}

/// The runtime's own profile, as the sandbox process reads it.
pub(crate) fn of_default(capabilities: u64) -> io::Result<Arc<[u8]>> {
    kept(Origin::Default(capabilities), || seccomp::runtime_default(capabilities))
}

/// The profile in a file.
///
/// # Errors
/// If it cannot be read or is none; the text names the file.
pub(crate) fn of_file(path: &Path) -> io::Result<Arc<[u8]>> {
    let named = |error: io::Error| {
        io::Error::new(error.kind(), format!("cannot load seccomp profile {}: {error}", path.display()))
    };
    let meta = std::fs::metadata(path).map_err(named)?;
    let modified = meta.modified().map_err(named)?;
    kept(Origin::File { path: path.to_owned(), modified, bytes: meta.len() }, || {
        let programs = std::fs::read(path).and_then(|text| seccomp_profile::compile(&text)).map_err(named)?;
        Ok(programs.iter().map(seccomp::encode).collect::<io::Result<Vec<_>>>()?.concat())
    })
}

fn kept(origin: Origin, compile: impl FnOnce() -> io::Result<Vec<u8>>) -> io::Result<Arc<[u8]>> {
    static PROGRAMS: LazyLock<Mutex<HashMap<Origin, Arc<[u8]>>>> = LazyLock::new(Mutex::default);
    let programs = || PROGRAMS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = programs().get(&origin) {
        return Ok(found.clone());
    }
    let made: Arc<[u8]> = compile()?.into();
    let mut all = programs();
    if all.len() >= KEPT {
        all.clear();
    }
    all.insert(origin, made.clone());
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R13.24: made once, and anew when the file is another one.
    #[test]
    fn a_program_is_made_once() {
        assert!(Arc::ptr_eq(&of_default(7).unwrap(), &of_default(7).unwrap()));
        assert!(!Arc::ptr_eq(&of_default(7).unwrap(), &of_default(0).unwrap()));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("profile.json");
        std::fs::write(&path, r#"{"defaultAction": "SCMP_ACT_ERRNO"}"#).unwrap();
        let first = of_file(&path).unwrap();
        assert!(Arc::ptr_eq(&first, &of_file(&path).unwrap()));
        let call = r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]}"#;
        std::fs::write(&path, call).unwrap();
        assert_ne!(first, of_file(&path).unwrap());
        std::fs::remove_file(&path).unwrap();
        let gone = of_file(&path).unwrap_err().to_string();
        assert!(gone.starts_with(&format!("cannot load seccomp profile {}", path.display())), "{gone}");
    }
}
