//! The store on disk: what survives, what is cleared away, what removal leaves; imports and builds.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::HashSet;
use std::fs;

use common::{clock, mirrored, on_disk, open, two_layers};
use outrigger_images::{BuildOptions, ImageStore, ImportError, Keyring, Reference, StoreError, StoreOptions};
use outrigger_testkit::{FaultRegistry, FixtureImage, FixtureLayer, PackedImage};

async fn import(store: &ImageStore, bytes: &[u8]) -> Result<Vec<outrigger_images::Image>, ImportError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("archive.tar");
    fs::write(&path, bytes).unwrap();
    store.import(&path).await
}

#[tokio::test]
async fn a_store_is_opened_once_and_remembers() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), StoreOptions::default());
    let images = import(&store, &two_layers("kept").docker_archive()).await.unwrap();
    let second = ImageStore::open(dir.path(), StoreOptions::default(), clock());
    assert!(matches!(second, Err(StoreError::Locked { .. })));
    drop(store);
    let store = open(dir.path(), StoreOptions::default());
    assert_eq!(store.list(), images);
    assert_eq!(store.resolve("kept").unwrap(), images[0]);
}

#[tokio::test]
async fn what_a_crash_left_is_cleared_away() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), StoreOptions::default());
    let (whole, broken) =
        (two_layers("whole"), FixtureImage::new("broken").layer(FixtureLayer::new().file("b", 0o644, "b")));
    import(&store, &whole.docker_archive()).await.unwrap();
    let lost = import(&store, &broken.pack().docker_archive()).await.unwrap().remove(0);
    drop(store);
    let unnamed = "0".repeat(64);
    fs::create_dir_all(dir.path().join("layers").join(&unnamed).join("deep/er")).unwrap();
    fs::create_dir_all(dir.path().join("tmp/s-half/layer/etc")).unwrap();
    fs::remove_dir_all(&lost.layers[0]).unwrap();
    let store = open(dir.path(), StoreOptions::default());
    let (layers, unfinished) = on_disk(dir.path());
    assert_eq!((layers.len(), unfinished), (2, 0));
    assert!(!layers.contains(&unnamed));
    assert!(store.resolve("whole").is_some() && store.resolve("broken").is_none());
}

#[tokio::test]
async fn an_index_that_cannot_be_read_stops_the_opening() {
    let dir = tempfile::tempdir().unwrap();
    for text in ["{", r#"{"version":99,"images":{}}"#] {
        fs::write(dir.path().join("index.json"), text).unwrap();
        let opened = ImageStore::open(dir.path(), StoreOptions::default(), clock());
        assert!(matches!(opened, Err(StoreError::Index { .. })), "{text}");
    }
}

#[tokio::test]
async fn removal_keeps_what_others_need() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), StoreOptions::default());
    let base = FixtureLayer::new().file("base", 0o644, "b");
    let one = FixtureImage::new("one").layer(base.clone()).pack();
    let two = FixtureImage::new("two").layer(base).layer(FixtureLayer::new().file("t", 0o644, "t")).pack();
    for image in [&one, &two] {
        import(&store, &image.docker_archive()).await.unwrap();
    }
    let extra = Reference::parse("other:name").unwrap();
    store.tag("one", &extra).await.unwrap();
    let removed = store.remove("one").await.unwrap();
    assert_eq!(
        (removed.untagged, removed.deleted.len()),
        (vec!["docker.io/library/one:latest".to_owned()], 0)
    );
    assert!(store.resolve("one").is_none() && store.resolve("other:name").is_some());
    let removed = store.remove(&one.config.digest).await.unwrap();
    assert_eq!(removed.deleted, std::slice::from_ref(&one.config.digest));
    assert_eq!(on_disk(dir.path()).0.len(), 2, "the shared layer stays");
    assert!(matches!(store.remove("one").await, Err(StoreError::Unknown(_))));

    let third = two_layers("third");
    import(&store, &third.docker_archive()).await.unwrap();
    let removed = store.prune(&HashSet::from([third.config.digest.clone()])).await.unwrap();
    assert_eq!(removed.deleted, [two.config.digest]);
    assert!(removed.bytes > 0);
    assert_eq!(
        on_disk(dir.path()),
        (
            {
                let mut ids: Vec<String> = third.diff_ids.iter().map(|d| d[7..].to_owned()).collect();
                ids.sort();
                ids
            },
            0
        )
    );
}

#[tokio::test]
async fn archives_of_both_kinds_are_imported() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), StoreOptions::default());
    let (docker, oci) = (two_layers("docker:1"), two_layers("oci:1"));
    let images = import(&store, &docker.docker_archive()).await.unwrap();
    assert_eq!(
        (images[0].repo_tags.as_slice(), images[0].pulled),
        (["docker.io/library/docker:1".to_owned()].as_slice(), false)
    );
    let packed = outrigger_testkit::Compression::Gzip.pack(&oci.oci_archive());
    let images = import(&store, &packed).await.unwrap();
    assert_eq!(
        (&images[0].id, images[0].repo_tags[0].as_str()),
        (&oci.config.digest, "docker.io/library/oci:1")
    );
    assert_eq!(fs::read_to_string(images[0].layers[0].join("bin/app")).unwrap(), "oci:1");
    // R5.28: what the administrator brought is for everybody.
    assert!(store.may_use("oci:1", &Keyring::empty()));
}

#[tokio::test]
async fn archives_that_lie_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), StoreOptions::default());
    let good = two_layers("x");
    let mut forged = good.clone();
    forged.config.bytes.push(b' ');
    assert!(matches!(import(&store, &forged.oci_archive()).await, Err(ImportError::Layer { .. })));
    let mut swapped = good.clone();
    swapped.layers.swap(0, 1);
    assert!(matches!(import(&store, &swapped.docker_archive()).await, Err(ImportError::Layer { .. })));
    let missing = FixtureLayer::new().file(
        "manifest.json",
        0o644,
        r#"[{"Config":"../../../etc/passwd","RepoTags":["x:1"],"Layers":["/etc/shadow"]}]"#,
    );
    assert!(matches!(import(&store, &missing.tar()).await, Err(ImportError::Format(_))));
    assert!(matches!(import(&store, &FixtureLayer::new().tar()).await, Err(ImportError::Format(_))));
    let foreign = FixtureImage::new("far").architecture("s390x").pack();
    assert!(matches!(import(&store, &foreign.oci_archive()).await, Err(ImportError::Platform { .. })));
    assert!(store.list().is_empty());
    assert_eq!(on_disk(dir.path()).1, 0);
}

#[tokio::test]
async fn a_folder_becomes_an_image() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), StoreOptions::default());
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("srv/www")).unwrap();
    fs::write(folder.path().join("srv/www/index.html"), "hello").unwrap();
    std::os::unix::fs::symlink("www", folder.path().join("srv/link")).unwrap();
    import(&store, &two_layers("base").docker_archive()).await.unwrap();
    let options = BuildOptions {
        directory: folder.path().to_path_buf(),
        name: "site:2".to_owned(),
        base: Some("base".to_owned()),
        entrypoint: Some(vec!["serve".to_owned()]),
        env: vec![("MODE".to_owned(), "test".to_owned())],
        ..BuildOptions::default()
    };
    let image = store.build(options.clone()).await.unwrap();
    assert_eq!(store.resolve("site:2").as_ref(), Some(&image));
    assert_eq!(
        (image.layers.len(), image.config.entrypoint.as_slice()),
        (3, ["serve".to_owned()].as_slice())
    );
    assert!(image.config.cmd.is_empty(), "a new entrypoint drops the base's command");
    assert_eq!(fs::read_to_string(image.layers[0].join("srv/www/index.html")).unwrap(), "hello");
    assert_eq!(fs::read_link(image.layers[0].join("srv/link")).unwrap().to_str(), Some("www"));
    assert_eq!(
        store.build(options.clone()).await.unwrap().id,
        image.id,
        "the same folder gives the same image"
    );

    let socket = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap();
    let error = store.build(options.clone()).await.unwrap_err();
    assert!(error.to_string().ends_with("is a socket or device, which an image cannot hold"), "{error}");
    drop(socket);
    let no_base = BuildOptions { base: Some("nowhere".to_owned()), ..options };
    assert!(store.build(no_base).await.unwrap_err().to_string().contains("pull or import it first"));
    assert_eq!(on_disk(dir.path()).1, 0);
}

#[tokio::test]
async fn mirrors_stand_in_for_registries() {
    let (mirror, second) = (FaultRegistry::start().await.unwrap(), FaultRegistry::start().await.unwrap());
    let dir = tempfile::tempdir().unwrap();
    let packed: PackedImage = two_layers("busybox");
    second.add(&packed);
    let certs = second.mirror_config(dir.path()).unwrap();
    let text = format!(
        "server = \"http://{}\"\n[host.\"http://{}\"]\ncapabilities = [\"pull\", \"resolve\"]\n",
        second.address(),
        mirror.address(),
    );
    fs::write(certs.join("docker.io/hosts.toml"), text).unwrap();
    let store = open(&dir.path().join("store"), mirrored(&certs));
    let image = store.pull("busybox", &Keyring::empty(), None).await.unwrap();
    assert_eq!(image.repo_tags, ["docker.io/library/busybox:latest"]);
    assert!(mirror.seen()[0].target.ends_with("?ns=docker.io"), "{:?}", mirror.seen());
    second.add_manifest("team/app", "1", &packed.manifest);
    store.pull("quay.io/team/app:1", &Keyring::empty(), None).await.unwrap();

    fs::write(certs.join("docker.io/hosts.toml"), "server = 7\n").unwrap();
    let error = store.pull("busybox", &Keyring::empty(), None).await.unwrap_err();
    assert!(error.message().contains("\"server\" must be a string"), "{}", error.message());
}
