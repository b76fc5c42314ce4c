//! `busybox:latest` from the machine's own static busybox.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{FixtureImage, FixtureLayer, TestkitError};

/// The image `busybox:latest`: the static busybox of this machine with a link for each of its applets, users `root`
/// and `nobody`, a writable `/tmp`, and `sh` as its command.
pub fn busybox() -> Result<FixtureImage, TestkitError> {
    busybox_as("busybox:latest")
}

/// The same image under another `repository:tag`.
pub fn busybox_as(name: &str) -> Result<FixtureImage, TestkitError> {
    Ok(FixtureImage::new(name).layer(busybox_layer()?).cmd(&["sh"]))
}

pub(crate) fn busybox_layer() -> Result<FixtureLayer, TestkitError> {
    let program = find()?;
    let bytes = std::fs::read(&program).map_err(TestkitError::io("read", &program))?;
    let listed = Command::new(&program).arg("--list").output().map_err(TestkitError::io("run", &program))?;
    let mut layer = FixtureLayer::new();
    for (dir, mode) in [
        ("bin", 0o755),
        ("dev", 0o755),
        ("etc", 0o755),
        ("home", 0o755),
        ("proc", 0o755),
        ("root", 0o700),
        ("sys", 0o755),
        ("tmp", 0o1777),
        ("usr", 0o755),
        ("usr/bin", 0o755),
        ("usr/sbin", 0o755),
        ("var", 0o755),
        ("var/tmp", 0o1777),
        ("var/www", 0o755),
    ] {
        layer = layer.dir(dir, mode);
    }
    layer = layer
        .file("etc/passwd", 0o644, PASSWD)
        .file("etc/group", 0o644, GROUP)
        .file("etc/shadow", 0o600, "root:*:::::::\nnobody:*:::::::\n")
        .file("etc/nsswitch.conf", 0o644, "passwd: files\ngroup: files\nhosts: files dns\n")
        .file("bin/busybox", 0o755, bytes)
        .symlink("sbin", "bin")
        .symlink("usr/bin/env", "/bin/busybox");
    let applets = String::from_utf8_lossy(&listed.stdout).into_owned();
    for applet in
        applets.lines().map(str::trim).filter(|a| !a.is_empty() && *a != "busybox" && !a.contains('/'))
    {
        layer = layer.symlink(&format!("bin/{applet}"), "busybox");
    }
    Ok(layer)
}

fn find() -> Result<PathBuf, TestkitError> {
    let fixed = ["/bin/busybox", "/usr/bin/busybox", "/bin/busybox.static"].map(PathBuf::from);
    let found = fixed.into_iter().find(|path| path.is_file() && is_static(path));
    found.ok_or(TestkitError::Missing { program: "a static busybox".to_owned(), package: "busybox-static" })
}

/// A dynamic program names its interpreter in a PT_INTERP header, near the beginning.
fn is_static(path: &Path) -> bool {
    let Ok(bytes) = std::fs::read(path) else { return false };
    let head = &bytes[..bytes.len().min(4096)];
    !head.windows(4).any(|w| w == b"ld-l" || w == b"/ld-" || w == b"ld-m")
}

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
                      daemon:x:1:1:daemon:/usr/sbin:/bin/false\n\
                      www-data:x:33:33:www-data:/var/www:/bin/false\n\
                      nobody:x:65534:65534:nobody:/home:/bin/false\n";
const GROUP: &str = "root:x:0:\ndaemon:x:1:\nwww-data:x:33:\nusers:x:100:\nnogroup:x:65534:\n";
