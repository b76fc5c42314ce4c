//! What unpacking makes of good layers, and that hostile ones are refused without a trace outside their folder.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use outrigger_testkit::{Compression, FixtureLayer};

use super::*;

struct Case {
    dir: tempfile::TempDir,
}

impl Case {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("layer")).unwrap();
        Self { dir }
    }

    fn root(&self) -> std::path::PathBuf {
        self.dir.path().join("layer")
    }

    fn unpack(&self, layer: &FixtureLayer) -> Result<Unpacked, LayerError> {
        self.unpack_within(layer, &Limits::default())
    }

    fn unpack_within(&self, layer: &FixtureLayer, limits: &Limits) -> Result<Unpacked, LayerError> {
        let (bytes, _) = layer.packed();
        crate::layer::unpack_blob(bytes.as_slice(), &crate::layer::Claims::default(), &self.root(), limits)
    }

    /// Nothing but the layer's folder is in the place around it.
    fn assert_alone(&self) {
        let names: Vec<_> = fs::read_dir(self.dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["layer"]);
    }
}

fn refusal(result: Result<Unpacked, LayerError>) -> Refusal {
    match result {
        Err(LayerError::Hostile { why, .. }) => why,
        other => panic!("not refused as hostile: {other:?}"),
    }
}

#[test]
fn files_keep_owner_mode_time_links_and_attributes() {
    let case = Case::new();
    let layer = FixtureLayer::new()
        .file_of("a/deep/file", 0o4755, (7, 8), 1_000_000, b"text")
        .symlink("a/link", "/deep/file")
        .hard_link("a/same", "a/deep/file")
        .dir("tmp", 0o1777)
        .file_with_xattr("attr", "user.note", b"hi");
    let unpacked = case.unpack(&layer).unwrap();
    assert_eq!(unpacked.diff_id, crate::manifest::digest_of(&layer.tar()));
    let meta = fs::metadata(case.root().join("a/deep/file")).unwrap();
    assert_eq!((meta.uid(), meta.gid(), meta.mtime(), meta.nlink()), (7, 8, 1_000_000, 2));
    assert_eq!(meta.permissions().mode() & 0o7777, 0o4755);
    assert_eq!(fs::read_link(case.root().join("a/link")).unwrap(), Path::new("/deep/file"));
    assert_eq!(fs::metadata(case.root().join("tmp")).unwrap().permissions().mode() & 0o7777, 0o1777);
    assert_eq!(fs::read(case.root().join("attr")).unwrap(), b"x");
}

#[test]
fn all_packings_give_the_same_layer() {
    let layer = FixtureLayer::new().file("x", 0o644, vec![b'x'; 100_000]);
    let ids: Vec<String> = [Compression::Gzip, Compression::Zstd, Compression::None]
        .into_iter()
        .map(|packing| Case::new().unpack(&layer.clone().compression(packing)).unwrap().diff_id)
        .collect();
    assert!(ids.iter().all(|id| *id == ids[0]));
}

#[test]
fn whiteouts_become_what_overlayfs_expects() {
    let case = Case::new();
    case.unpack(
        &FixtureLayer::new()
            .whiteout("etc/gone")
            .dir("var", 0o755)
            .opaque("var")
            .whiteout("own")
            .dir("own", 0o755),
    )
    .unwrap();
    let meta = fs::symlink_metadata(case.root().join("etc/gone")).unwrap();
    assert!(meta.file_type().is_char_device() && meta.rdev() == 0);
    let opaque = |dir: &str| {
        let mut value = [0_u8; 4];
        OPAQUE_XATTRS
            .iter()
            .any(|name| rustix::fs::getxattr(case.root().join(dir), *name, &mut value) == Ok(1))
    };
    assert!(opaque("var"));
    assert!(opaque("own"), "deleted and made anew hides what was below");
    assert!(!opaque("etc"));
}

#[test]
fn paths_that_leave_the_layer_are_refused() {
    for (path, why) in [
        ("../out", Refusal::ParentDir),
        ("a/../../out", Refusal::ParentDir),
        ("/out", Refusal::Absolute),
        ("..", Refusal::ParentDir),
        ("dir/.wh...", Refusal::BadName),
    ] {
        let case = Case::new();
        assert_eq!(refusal(case.unpack(&FixtureLayer::new().file(path, 0o644, "x"))), why, "{path}");
        case.assert_alone();
    }
    let case = Case::new();
    let long = format!("{}/x", "a".repeat(256));
    assert_eq!(refusal(case.unpack(&FixtureLayer::new().file(&long, 0o644, "x"))), Refusal::NameTooLong);
    let deep = "d/".repeat(1000) + "x";
    assert_eq!(refusal(case.unpack(&FixtureLayer::new().file(&deep, 0o644, "x"))), Refusal::NameTooLong);
}

#[test]
fn writing_through_symlinks_never_leaves_the_layer() {
    let outside = tempfile::tempdir().unwrap();
    let outside_path = outside.path().to_str().unwrap();
    for target in [outside_path, "../..", "/proc/self/cwd", "/proc/self/root"] {
        let case = Case::new();
        let layer = FixtureLayer::new().symlink("way", target).file("way/out", 0o644, "x");
        let result = case.unpack(&layer);
        // A link up ends at the layer's own root, so it may also be harmless.
        if let Err(error) = result {
            assert_eq!(error.kind(), FailureKind::Hostile, "{target}: {error}");
        }
        case.assert_alone();
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0, "{target}");
    }
    // Replacing a link writes to the layer, not through it.
    let victim = outside.path().join("victim");
    fs::write(&victim, "old").unwrap();
    let case = Case::new();
    let layer = FixtureLayer::new().symlink("name", victim.to_str().unwrap()).file("name", 0o644, "new");
    case.unpack(&layer).unwrap();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "old");
    // A link inside the layer is a fine way to one of its own folders.
    let case = Case::new();
    case.unpack(
        &FixtureLayer::new().dir("usr/lib", 0o755).symlink("lib", "usr/lib").file("lib/x", 0o644, "x"),
    )
    .unwrap();
    assert!(case.root().join("usr/lib/x").is_file());
}

#[test]
fn hard_links_out_of_the_layer_are_refused() {
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("secret");
    fs::write(&secret, "s").unwrap();
    let case = Case::new();
    let direct = case.unpack(&FixtureLayer::new().hard_link("x", secret.to_str().unwrap()));
    assert_eq!(refusal(direct), Refusal::Absolute);
    assert_eq!(refusal(case.unpack(&FixtureLayer::new().hard_link("x", "../secret"))), Refusal::ParentDir);
    let missing = case.unpack(&FixtureLayer::new().hard_link("x", "not/here"));
    assert_eq!(refusal(missing), Refusal::LinkTarget("not/here".to_owned()));
    let through =
        FixtureLayer::new().symlink("way", outside.path().to_str().unwrap()).hard_link("x", "way/secret");
    assert_eq!(refusal(case.unpack(&through)), Refusal::LinkTarget("way/secret".to_owned()));
    assert_eq!(fs::metadata(&secret).unwrap().nlink(), 1);
}

#[test]
fn device_nodes_are_refused_outside_dev_and_ignored_in_it() {
    let case = Case::new();
    assert_eq!(refusal(case.unpack(&FixtureLayer::new().device("etc/disk", 8, 0))), Refusal::Device);
    let case = Case::new();
    case.unpack(&FixtureLayer::new().dir("dev", 0o755).device("dev/null", 1, 3)).unwrap();
    assert!(!case.root().join("dev/null").exists());
}

#[test]
fn attributes_that_steer_overlayfs_are_refused() {
    for name in ["trusted.overlay.redirect", "user.overlay.metacopy"] {
        let case = Case::new();
        let layer = FixtureLayer::new().file_with_xattr("x", name, b"/etc");
        assert_eq!(refusal(case.unpack(&layer)), Refusal::Xattr(name.to_owned()));
    }
    let case = Case::new();
    case.unpack(&FixtureLayer::new().file_with_xattr("x", "security.selinux", b"label")).unwrap();
}

#[test]
fn bombs_are_stopped_at_the_limits() {
    let zeros = FixtureLayer::new().file("zeros", 0o644, vec![0; 300 << 20]);
    let case = Case::new();
    let result = case.unpack(&zeros.clone().compression(Compression::Zstd));
    assert!(matches!(result, Err(LayerError::TooBig(Excess::Ratio(400)))), "{result:?}");
    let limits = Limits { unpacked_bytes: 1 << 20, ..Limits::default() };
    let case = Case::new();
    let result = case.unpack_within(&zeros, &limits);
    assert!(matches!(result, Err(LayerError::TooBig(Excess::Bytes(_)))), "{result:?}");
    let case = Case::new();
    let result = case.unpack_within(&FixtureLayer::new().lying_file("big", 1 << 40), &limits);
    assert!(matches!(result, Err(LayerError::TooBig(Excess::Bytes(_)))), "{result:?}");
}

#[test]
fn too_many_entries_and_too_long_headers_are_refused() {
    let mut layer = FixtureLayer::new();
    for at in 0..20 {
        layer = layer.dir(&format!("d{at}"), 0o755);
    }
    let limits = Limits { entries: 10, ..Limits::default() };
    let result = Case::new().unpack_within(&layer, &limits);
    assert!(matches!(result, Err(LayerError::TooBig(Excess::Entries(10)))), "{result:?}");
    let wordy = FixtureLayer::new().file_with_xattr("x", "user.big", &vec![b'a'; 3 << 20]);
    let result = Case::new().unpack(&wordy);
    assert!(matches!(result, Err(LayerError::TooBig(Excess::Header(_)))), "{result:?}");
}

#[test]
fn damaged_and_foreign_archives_are_corrupt() {
    let case = Case::new();
    let (mut bytes, _) = FixtureLayer::new().file("x", 0o644, vec![7; 10_000]).packed();
    bytes.truncate(bytes.len() / 2);
    let claims = crate::layer::Claims::default();
    let unpack = |bytes: &[u8]| crate::layer::unpack_blob(bytes, &claims, &case.root(), &Limits::default());
    assert_eq!(unpack(&bytes).unwrap_err().kind(), FailureKind::Corrupt);
    assert_eq!(unpack(b"BZh91AY&SY").unwrap_err().kind(), FailureKind::Corrupt);
    assert_eq!(unpack(&[b'x'; 2048]).unwrap_err().kind(), FailureKind::Corrupt);
    let short = FixtureLayer::new().lying_file("x", 4096).tar();
    assert_eq!(unpack(&short[..512]).unwrap_err().kind(), FailureKind::Corrupt);
}
