//! Builds the sandbox process and hands its bytes to the library, so that one program file is enough.
//!
//! It is built by a cargo of its own: it has another profile (small, static) than the program around it, and another
//! target folder, because the outer cargo holds this one's lock.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    let manifest = PathBuf::from(env("CARGO_MANIFEST_DIR"));
    let crates = manifest.parent().expect("a crate lies in a folder");
    for watched in ["shim/src", "shim/Cargo.toml", "shim-protocol/src"] {
        println!("cargo::rerun-if-changed={}", crates.join(watched).display());
    }
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(env("OUT_DIR"));
    let target = env("TARGET");
    let built = build(&crates.join("shim/Cargo.toml"), &out.join("shim"), &target);
    std::fs::copy(&built, out.join("outrigger-shim")).expect("OUT_DIR is writable");
}

fn build(manifest: &Path, folder: &Path, target: &str) -> PathBuf {
    let status = Command::new(env("CARGO"))
        .args(["build", "--quiet", "--profile", "shim", "--target", target, "--manifest-path"])
        .arg(manifest)
        .arg("--target-dir")
        .arg(folder)
        // The outer build's flags and wrappers (clippy is one) are not for this program.
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env("RUSTFLAGS", "-C target-feature=+crt-static -C relocation-model=static -C panic=abort")
        .status()
        .expect("cargo can be run");
    assert!(status.success(), "building the sandbox process failed");
    folder.join(target).join("shim/outrigger-shim")
}

fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"))
}
