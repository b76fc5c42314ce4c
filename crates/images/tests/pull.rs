//! Pulling from a registry that answers as told: what works, what fails how, and what is left behind.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use common::{on_disk, open, two_layers};
use outrigger_images::{Auth, FailureKind, Keyring, Phase, StoreOptions};
use outrigger_testkit::{
    Blob, Compression, Fault, FaultRegistry, FixtureImage, FixtureLayer, Login, PackedImage,
};
use tokio::sync::{Semaphore, mpsc};

fn basic(user: &str, password: &str) -> Auth {
    Auth::Basic { username: user.to_owned(), password: password.to_owned() }
}

#[tokio::test]
async fn a_pulled_image_is_described_and_its_layers_are_there() {
    let (registry, dir) = (FaultRegistry::start().await.unwrap(), tempfile::tempdir().unwrap());
    let packed = two_layers("app:1");
    registry.add(&packed);
    let store = open(dir.path(), StoreOptions::default());
    let name = registry.name(&packed);
    let (sender, mut events) = mpsc::channel(1000);
    let image = store.pull(&name, &Keyring::empty(), Some(sender)).await.unwrap();

    assert_eq!(image.id, packed.config.digest);
    assert_eq!(image.repo_tags, std::slice::from_ref(&name));
    let by_digest = format!("{}/library/app@{}", registry.address(), packed.manifest.digest);
    // R9.24: what status reports.
    assert_eq!((image.image_id(&name), image.image_name(&name)), (by_digest.as_str(), name.as_str()));
    assert_eq!(image.config.cmd, ["app"]);
    let blobs = packed.layers.iter().chain([&packed.config]).map(|b| b.bytes.len() as u64).sum::<u64>();
    assert_eq!((image.size, image.pulled), (blobs, true));
    assert_eq!(std::fs::read_to_string(image.layers[0].join("bin/app")).unwrap(), "app:1");
    assert!(image.layers[1].join("etc/passwd").is_file(), "the topmost layer comes first");
    let user = store.lookup_user(&image, "web").unwrap();
    assert_eq!((user.uid, user.gid, user.home.as_deref()), (33, 34, Some("/srv")));

    for known in [name.as_str(), &by_digest, &image.id, &image.id[7..]] {
        assert_eq!(store.resolve(known).as_ref(), Some(&image), "{known}");
    }
    assert!(store.resolve("app:1").is_none(), "docker.io has its own");
    assert_eq!(on_disk(dir.path()).1, 0);
    let mut phases: BTreeMap<String, Vec<Phase>> = BTreeMap::new();
    while let Ok(event) = events.try_recv() {
        phases.entry(event.layer).or_default().push(event.phase);
    }
    assert_eq!(phases[&name], [Phase::Resolving, Phase::Done]);
    assert_eq!(phases[&packed.layers[0].digest].last(), Some(&Phase::Complete));
}

#[tokio::test]
async fn shared_layers_are_fetched_once_and_other_packings_are_read() {
    let (registry, dir) = (FaultRegistry::start().await.unwrap(), tempfile::tempdir().unwrap());
    let base = FixtureLayer::new().file("base", 0o644, vec![b'b'; 100_000]).compression(Compression::Zstd);
    let one = FixtureImage::new("one").layer(base.clone()).pack();
    let top = FixtureLayer::new().file("top", 0o644, "t").compression(Compression::None);
    let two = FixtureImage::new("two").layer(base.clone()).layer(top).layer(base).pack();
    registry.add(&one);
    registry.add(&two);
    let store = open(dir.path(), StoreOptions::default());
    store.pull(&registry.name(&one), &Keyring::empty(), None).await.unwrap();
    let image = store.pull(&registry.name(&two), &Keyring::empty(), None).await.unwrap();
    assert_eq!((image.layers.len(), &image.layers[0]), (3, &image.layers[2]));
    assert_eq!(registry.count(&one.layers[0].digest), 1);
}

#[tokio::test]
async fn the_manifest_for_this_platform_is_taken() {
    let (registry, dir) = (FaultRegistry::start().await.unwrap(), tempfile::tempdir().unwrap());
    let (own, other) = (two_layers("multi:own"), two_layers("multi:other"));
    registry.add(&own);
    registry.add(&other);
    let host = StoreOptions::default().architecture;
    let index = PackedImage::index_of(&[(&other, "s390x"), (&own, &host)]);
    registry.add_manifest("library/multi", "latest", &index);
    let store = open(dir.path(), StoreOptions::default());
    let name = format!("{}/library/multi", registry.address());
    let image = store.pull(&name, &Keyring::empty(), None).await.unwrap();
    assert_eq!(image.id, own.config.digest);
    assert_eq!(
        image.repo_digests,
        [format!("{name}@{}", index.digest)],
        "the index' digest, not the manifest's"
    );

    let foreign = PackedImage::index_of(&[(&other, "s390x")]);
    registry.add_manifest("library/multi", "foreign", &foreign);
    let error = store.pull(&format!("{name}:foreign"), &Keyring::empty(), None).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::NotFound);
    assert!(error.message().contains("no match for platform in manifest"), "{}", error.message());
    let lonely = FixtureImage::new("lonely").architecture("s390x").pack();
    registry.add(&lonely);
    let error = store.pull(&registry.name(&lonely), &Keyring::empty(), None).await.unwrap_err();
    assert!(error.message().ends_with("offered linux/s390x"), "{}", error.message());
}

// R5.24, R5.25: the text of ErrImagePull carries the registry's answer.
#[tokio::test]
async fn missing_images_and_bad_names_read_well() {
    let (registry, dir) = (FaultRegistry::start().await.unwrap(), tempfile::tempdir().unwrap());
    let store = open(dir.path(), StoreOptions::default());
    let name = format!("{}/no/such:1", registry.address());
    let error = store.pull(&name, &Keyring::empty(), None).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::NotFound);
    assert_eq!(
        error.message(),
        format!(
            "failed to pull and unpack image \"{name}\": failed to resolve reference \"{name}\": {name}: not found \
             (registry {} answered: 404 Not Found: MANIFEST_UNKNOWN: manifest unknown)",
            registry.address(),
        ),
    );
    // R5.26
    let error = store.pull("UPPER//x", &Keyring::empty(), None).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Invalid);
    assert!(error.message().starts_with("Failed to apply default image tag \"UPPER//x\""));
}

// R5.27: all credentials that fit are tried. R5.28: who pulled may use, others may not.
#[tokio::test]
async fn credentials_are_tried_and_remembered() {
    for login in [Login::Basic("u".into(), "right".into()), Login::Token("u".into(), "right".into())] {
        let (registry, dir) = (FaultRegistry::start().await.unwrap(), tempfile::tempdir().unwrap());
        let packed = two_layers("private");
        registry.add(&packed);
        registry.login(login);
        let (store, name) = (open(dir.path(), StoreOptions::default()), registry.name(&packed));
        let error = store.pull(&name, &Keyring::empty(), None).await.unwrap_err();
        assert_eq!(error.kind(), FailureKind::Unauthorized, "{error:?}");
        assert!(error.message().contains("401 Unauthorized"), "{}", error.message());

        let wrong = Keyring::single(&registry.address(), basic("u", "wrong"));
        assert_eq!(store.pull(&name, &wrong, None).await.unwrap_err().kind(), FailureKind::Unauthorized);
        let mut both = wrong.clone();
        both.extend(&Keyring::single(&registry.address(), basic("u", "right")));
        store.pull(&name, &both, None).await.unwrap();
        assert!(store.may_use(&name, &both));
        assert!(!store.may_use(&name, &wrong) && !store.may_use(&name, &Keyring::empty()));
    }
}

#[tokio::test]
async fn free_images_may_be_used_by_everybody() {
    for login in [Login::Free, Login::AnonymousToken] {
        let (registry, dir) = (FaultRegistry::start().await.unwrap(), tempfile::tempdir().unwrap());
        let packed = two_layers("free");
        registry.add(&packed);
        registry.login(login);
        let (store, name) = (open(dir.path(), StoreOptions::default()), registry.name(&packed));
        store.pull(&name, &Keyring::empty(), None).await.unwrap();
        assert!(store.may_use(&name, &Keyring::empty()));
    }
}

#[tokio::test]
async fn secrets_stay_with_their_host() {
    let (registry, dir) = (FaultRegistry::start().await.unwrap(), tempfile::tempdir().unwrap());
    let elsewhere = FaultRegistry::start().await.unwrap();
    let packed = two_layers("moved");
    registry.add(&packed);
    elsewhere.add(&packed);
    registry.login(Login::Basic("u".into(), "p".into()));
    let blob = &packed.layers[0].digest;
    let to = format!("http://{}/v2/library/moved/blobs/{blob}", elsewhere.address());
    // The first request for the layer already carries the login of the manifest's.
    registry.fault(blob, usize::MAX, Fault::Redirect(to));
    let store = open(dir.path(), StoreOptions::default());
    let keyring = Keyring::single(&registry.address(), basic("u", "p"));
    store.pull(&registry.name(&packed), &keyring, None).await.unwrap();
    assert_eq!(elsewhere.count(blob), 1);
    assert!(elsewhere.seen().iter().all(|seen| seen.authorization.is_none()));
}

#[tokio::test]
async fn passing_failures_are_retried_and_lasting_ones_reported() {
    let (registry, dir) = (FaultRegistry::start().await.unwrap(), tempfile::tempdir().unwrap());
    let packed = two_layers("shaky");
    registry.add(&packed);
    registry.fault("/manifests/", 2, Fault::Status(503, "try later".to_owned()));
    registry.fault(&packed.layers[1].digest, 1, Fault::Status(500, String::new()));
    let options = StoreOptions { retry_pause: Duration::from_millis(1), ..StoreOptions::default() };
    let store = open(dir.path(), options);
    store.pull(&registry.name(&packed), &Keyring::empty(), None).await.unwrap();

    registry.fault("/manifests/", usize::MAX, Fault::Status(503, "try later".to_owned()));
    let before = registry.count("/manifests/");
    let error = store.pull(&registry.name(&packed), &Keyring::empty(), None).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Unavailable);
    assert!(
        error.message().ends_with("is unavailable: 503 Service Unavailable: try later"),
        "{}",
        error.message()
    );
    assert_eq!(registry.count("/manifests/") - before, 3, "retries are bounded");
}

#[tokio::test]
async fn a_broken_connection_is_resumed_where_it_broke() {
    let (registry, dir) = (FaultRegistry::start().await.unwrap(), tempfile::tempdir().unwrap());
    let noise: Vec<u8> = (0..200_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let packed = FixtureImage::new("long")
        .layer(FixtureLayer::new().compression(Compression::None).file("noise", 0o644, noise))
        .pack();
    registry.add(&packed);
    let blob = &packed.layers[0].digest;
    registry.fault(blob, 1, Fault::Truncate(50_000));
    let store = open(dir.path(), StoreOptions::default());
    store.pull(&registry.name(&packed), &Keyring::empty(), None).await.unwrap();
    let ranges: Vec<_> =
        registry.seen().into_iter().filter(|s| s.target.contains(blob.as_str())).map(|s| s.range).collect();
    assert_eq!(ranges.len(), 2);
    assert!(ranges[1].as_deref().is_some_and(|range| range.starts_with("bytes=")), "{ranges:?}");

    registry.fault(blob, usize::MAX, Fault::Truncate(50_000));
    let other = open(&dir.path().join("other"), StoreOptions::default());
    let error = other.pull(&registry.name(&packed), &Keyring::empty(), None).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Unavailable, "{}", error.message());
    assert_eq!(on_disk(&dir.path().join("other")), (vec![], 0));
}

#[tokio::test]
async fn what_does_not_match_its_digest_is_refused() {
    let registry = FaultRegistry::start().await.unwrap();
    let packed = two_layers("forged");
    registry.add(&packed);
    let by_digest = format!("{}/library/forged@{}", registry.address(), packed.manifest.digest);
    for (part, name) in [
        (packed.layers[0].digest.as_str(), registry.name(&packed)),
        (packed.config.digest.as_str(), registry.name(&packed)),
        ("/manifests/", registry.name(&packed)),
        ("/manifests/", by_digest),
    ] {
        let dir = tempfile::tempdir().unwrap();
        registry.fault(part, 1, Fault::Corrupt);
        let store = open(dir.path(), StoreOptions::default());
        let error = store.pull(&name, &Keyring::empty(), None).await.unwrap_err();
        assert_eq!(error.kind(), FailureKind::Corrupt, "{part}: {}", error.message());
        assert_eq!(on_disk(dir.path()).1, 0);
        assert!(store.list().is_empty());
    }
}

#[tokio::test]
async fn a_layer_that_is_not_the_configs_is_refused() {
    let (registry, dir) = (FaultRegistry::start().await.unwrap(), tempfile::tempdir().unwrap());
    let (honest, other) = (two_layers("a:1"), two_layers("a:2"));
    let mut forged = honest.clone();
    forged.layers[1] = other.layers[1].clone();
    forged.manifest = PackedImage::manifest_of(&forged.config, &forged.layers);
    registry.add(&forged);
    let store = open(dir.path(), StoreOptions::default());
    let error = store.pull(&registry.name(&forged), &Keyring::empty(), None).await.unwrap_err();
    assert!(error.message().contains("layer digest mismatch"), "{}", error.message());
    assert!(store.list().is_empty());
    forged.layers.pop();
    forged.manifest = PackedImage::manifest_of(&forged.config, &forged.layers);
    registry.add(&forged);
    let error = store.pull(&registry.name(&forged), &Keyring::empty(), None).await.unwrap_err();
    assert!(error.message().contains("the manifest has 1 layers, the config 2"), "{}", error.message());
}

#[tokio::test]
async fn hostile_and_foreign_layers_fail_the_pull_and_leave_nothing() {
    let (registry, dir) = (FaultRegistry::start().await.unwrap(), tempfile::tempdir().unwrap());
    let evil = FixtureImage::new("evil").layer(FixtureLayer::new().file("../../escape", 0o644, "x")).pack();
    let mut helm = two_layers("helm");
    helm.layers[0] = Blob::new("application/vnd.cncf.helm.chart.content.v1.tar+gzip", b"chart".to_vec());
    helm.manifest = PackedImage::manifest_of(&helm.config, &helm.layers);
    registry.add(&evil);
    registry.add(&helm);
    let store = open(dir.path(), StoreOptions::default());
    let error = store.pull(&registry.name(&evil), &Keyring::empty(), None).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Hostile);
    assert!(error.message().ends_with("layer refused: \"../../escape\" climbs out of the layer with \"..\""));
    let error = store.pull(&registry.name(&helm), &Keyring::empty(), None).await.unwrap_err();
    assert!(error.message().contains("is not supported"), "{}", error.message());
    assert!(store.list().is_empty());
    assert_eq!(on_disk(dir.path()).1, 0);
}

#[tokio::test]
async fn equal_pulls_are_one_and_survive_a_caller_who_leaves() {
    let (registry, dir) = (FaultRegistry::start().await.unwrap(), tempfile::tempdir().unwrap());
    let packed = two_layers("busy");
    registry.add(&packed);
    let gate = Arc::new(Semaphore::new(0));
    registry.fault("/manifests/", 1, Fault::Hold(Arc::clone(&gate)));
    let (store, name) = (open(dir.path(), StoreOptions::default()), registry.name(&packed));
    let empty = Keyring::empty();
    let mut leaver = Box::pin(store.pull(&name, &empty, None));
    assert!(futures::poll!(&mut leaver).is_pending());
    let stayers = async { tokio::join!(store.pull(&name, &empty, None), store.pull(&name, &empty, None)) };
    let mut stayers = Box::pin(stayers);
    assert!(futures::poll!(&mut stayers).is_pending());
    drop(leaver);
    gate.add_permits(1);
    let (first, second) = stayers.await;
    assert_eq!(first.unwrap(), second.unwrap());
    assert_eq!((registry.count("/manifests/"), registry.count(&packed.layers[0].digest)), (1, 1));
}

#[tokio::test]
async fn a_pull_nobody_waits_for_leaves_nothing_unfinished() {
    let (registry, dir) = (FaultRegistry::start().await.unwrap(), tempfile::tempdir().unwrap());
    let packed = two_layers("dropped");
    registry.add(&packed);
    let gate = Arc::new(Semaphore::new(0));
    registry.fault(&packed.layers[0].digest, 1, Fault::Hold(Arc::clone(&gate)));
    let (store, name) = (open(dir.path(), StoreOptions::default()), registry.name(&packed));
    let (sender, mut events) = mpsc::channel(100);
    let empty = Keyring::empty();
    let pull = store.pull(&name, &empty, Some(sender));
    let upper_done = async {
        while let Some(event) = events.recv().await {
            if event.layer == packed.layers[1].digest && event.phase == Phase::Complete {
                break;
            }
        }
    };
    tokio::select! {
        result = pull => panic!("it cannot end: {result:?}"),
        () = upper_done => {}
    }
    assert!(store.list().is_empty());
    // The next pull starts anew and finds the finished layer.
    store.pull(&name, &Keyring::empty(), None).await.unwrap();
    assert_eq!(registry.count(&packed.layers[1].digest), 1);
}

#[tokio::test]
async fn a_moved_tag_leaves_the_old_image_by_digest() {
    let (registry, dir) = (FaultRegistry::start().await.unwrap(), tempfile::tempdir().unwrap());
    let (old, mut new) = (two_layers("app:1"), two_layers("app:2"));
    registry.add(&old);
    let (store, name) = (open(dir.path(), StoreOptions::default()), registry.name(&old));
    let first = store.pull(&name, &Keyring::empty(), None).await.unwrap();
    new.tag = "1".to_owned();
    registry.add(&new);
    let second = store.pull(&name, &Keyring::empty(), None).await.unwrap();
    assert_ne!(first.id, second.id);
    assert_eq!(store.resolve(&name).unwrap().id, second.id);
    let kept = store.resolve(&first.id).unwrap();
    assert!(kept.repo_tags.is_empty());
    assert_eq!(store.resolve(&first.repo_digests[0]).unwrap().id, first.id);
}
