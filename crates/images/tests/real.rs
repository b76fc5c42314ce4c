//! Against the registry program everybody runs, with images that run.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::process::Command;

use common::{mirrored, open};
use outrigger_images::Keyring;
use outrigger_testkit::{LoopbackRegistry, busybox, python};

/// Runs a command in the image's files, as overlayfs shows them. Needs root.
fn run(image: &outrigger_images::Image, scratch: &Path, command: &str) -> String {
    let lower: Vec<String> = image.layers.iter().map(|layer| layer.display().to_string()).collect();
    for folder in ["upper", "work", "merged"] {
        std::fs::create_dir_all(scratch.join(folder)).unwrap();
    }
    let script = format!(
        "mount -t overlay overlay -o lowerdir={},upperdir={s}/upper,workdir={s}/work {s}/merged && \
         exec chroot {s}/merged /bin/sh -c '{command}'",
        lower.join(":"),
        s = scratch.display(),
    );
    // The mount lives in a namespace of its own and ends with the command.
    let output = Command::new("unshare").args(["--mount", "sh", "-c", &script]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn busybox_and_python_are_pulled_and_run() {
    // Overlay mounts need a file system that can carry an upper layer; the build folder's can.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let registry = LoopbackRegistry::start(&dir.path().join("registry")).await.unwrap();
    registry.push(&busybox().unwrap().pack()).await.unwrap();
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fixtures");
    registry.push(&python(&cache).unwrap()).await.unwrap();
    let certs = registry.mirror_config(dir.path()).unwrap();
    let store = open(&dir.path().join("store"), mirrored(&certs));

    let image = store.pull("busybox", &Keyring::empty(), None).await.unwrap();
    assert_eq!(image.config.cmd, ["sh"]);
    let said = run(&image, &dir.path().join("b"), "echo $(id -un) $(stat -c %a /tmp)");
    assert_eq!(said.trim(), "root 1777");
    let image = store.pull("python:3.8", &Keyring::empty(), None).await.unwrap();
    let said =
        run(&image, &dir.path().join("p"), "/usr/local/bin/python -c \"import http.server; print(6 * 7)\"");
    assert_eq!(said.trim(), "42");

    let missing = store.pull("registry.k8s.io/no-such:1", &Keyring::empty(), None).await.unwrap_err();
    assert!(
        missing.message().contains("404 Not Found: MANIFEST_UNKNOWN: manifest unknown"),
        "{}",
        missing.message()
    );
}
