//! What the tests of the store share.

// Each test program uses its own part of this.
#![allow(dead_code, clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use outrigger_api::clock::{FakeClock, SharedClock, WallTime};
use outrigger_images::{ImageStore, RegistryConfig, StoreOptions};
use outrigger_testkit::{FixtureImage, FixtureLayer, PackedImage};

pub(crate) fn clock() -> SharedClock {
    Arc::new(FakeClock::at(WallTime::from_second(1_700_000_000).unwrap()))
}

pub(crate) fn open(root: &Path, options: StoreOptions) -> ImageStore {
    ImageStore::open(root, options, clock()).unwrap()
}

/// Asks only the mirrors in `certs`.
pub(crate) fn mirrored(certs: &Path) -> StoreOptions {
    let registries = RegistryConfig { certs_dirs: vec![certs.to_path_buf()], ca_bundle: None };
    StoreOptions { registries, ..StoreOptions::default() }
}

/// Two layers, the upper of which changes and deletes files of the lower.
pub(crate) fn two_layers(name: &str) -> PackedImage {
    FixtureImage::new(name)
        .layer(
            FixtureLayer::new()
                .file("etc/passwd", 0o644, "web:x:33:34::/srv:/bin/sh\n")
                .file("gone", 0o644, "x"),
        )
        .layer(FixtureLayer::new().file("bin/app", 0o755, name).whiteout("gone"))
        .cmd(&["app"])
        .pack()
}

/// The names below `layers/` and `tmp/` of a store.
pub(crate) fn on_disk(root: &Path) -> (Vec<String>, usize) {
    let names = |folder: &str| {
        let entries = std::fs::read_dir(root.join(folder)).unwrap();
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    (names("layers"), names("tmp").len())
}
