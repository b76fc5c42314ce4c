//! What the program is compared with, in the same run.
//!
//! * [`floor`]: the least the kernel asks for a container: one clone3 into new namespaces, one overlay, one exec.
//! * [`crun`]: the fastest container program in common use, run as an engine would run it.

pub(crate) mod crun;
pub(crate) mod floor;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use crate::error::Error;

/// What the lasting container runs, in both.
const SERVE: &str = "trap 'exit 0' TERM; sleep 3600 & wait";

/// A root folder with busybox.
pub(crate) fn root_folder(folder: &Path) -> Result<(), Error> {
    let doing = || Error::doing(format!("make {}", folder.display()));
    for name in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
        fs::create_dir_all(folder.join(name)).map_err(doing())?;
    }
    let program = folder.join("bin/busybox");
    fs::copy("/bin/busybox", &program).map_err(doing())?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).map_err(doing())?;
    // The shell gives a background process this as its input.
    fs::write(folder.join("dev/null"), "").map_err(doing())?;
    for name in ["sh", "sleep", "true"] {
        symlink("busybox", folder.join("bin").join(name)).map_err(doing())?;
    }
    Ok(())
}
