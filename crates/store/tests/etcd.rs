//! The etcd backend against a real etcd: the shared promises, and what only a server elsewhere can do to them.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod suite;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use outrigger_api::clock::{FakeClock, SystemClock};
use outrigger_store::{
    ConnectError, Error, EtcdConfig, EtcdStore, EtcdTls, Expect, Outcome, Range, Revision, Store, WatchItem,
};
use outrigger_testkit::{Etcd, EtcdTlsFiles};
use suite::{PATIENCE, Shared, create, everything, next_event, update};

fn config(urls: &str) -> EtcdConfig {
    EtcdConfig::new(urls.parse().unwrap())
}

async fn connect(etcd: &Etcd) -> Shared {
    Arc::new(EtcdStore::connect(config(etcd.url()), Arc::new(SystemClock)).await.unwrap())
}

async fn fresh() -> (Shared, (Etcd, tempfile::TempDir)) {
    let folder = tempfile::tempdir().unwrap();
    let etcd = Etcd::start(folder.path()).await.unwrap();
    (connect(&etcd).await, (etcd, folder))
}

suite::promises!(fresh);

/// Writes new keys until told to stop; what was answered. A write that got no answer may have happened.
async fn write(
    store: Shared,
    name: &str,
    stop: tokio_util::sync::CancellationToken,
) -> Vec<(String, Revision)> {
    let mut answered = Vec::new();
    for number in 0.. {
        if stop.is_cancelled() {
            break;
        }
        let key = format!("/registry/pods/{name}/{number}");
        if let Ok(Outcome::Applied(revision)) =
            store.put(&key, Bytes::from(key.clone()), Expect::Absent, None).await
        {
            answered.push((key, revision));
        }
    }
    answered
}

/// M13, M15, E27: etcd dies and comes back, again and again. Nothing answered is lost, and the watch that was open
/// all the time saw every change once, in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_killed_under_writes_and_a_watch() {
    let (store, (mut etcd, _folder)) = fresh().await;
    let mut watch = store.watch("/registry/pods/", store.revision().await.unwrap() + 1).await.unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let writers: Vec<_> =
        ["a", "b", "c", "d"].map(|name| tokio::spawn(write(Arc::clone(&store), name, stop.clone()))).into();
    let mut seen = Vec::new();
    for _ in 0..5 {
        for _ in 0..40 {
            seen.push(next_event(&mut watch).await);
        }
        etcd.restart().await.unwrap();
    }
    stop.cancel();
    let mut answered = Vec::new();
    for writer in writers {
        answered.extend(writer.await.unwrap());
    }
    let last = create(&store, "/registry/pods/last", "x").await;
    while seen.last().is_none_or(|event| event.revision < last) {
        seen.push(next_event(&mut watch).await);
    }
    for (key, revision) in &answered {
        let kv = store.get(key).await.unwrap().0.unwrap_or_else(|| panic!("{key} is lost"));
        assert_eq!(kv.mod_revision, *revision, "{key}");
    }
    let mut stored = store.range(everything("/registry/pods/")).await.unwrap().kvs;
    stored.sort_by_key(|kv| kv.mod_revision);
    let seen: Vec<_> = seen.into_iter().map(|event| event.current.unwrap()).collect();
    assert_eq!(seen, stored, "a change is missing, doubled or out of order");
    assert!(answered.len() > 100);
    store.close().await;
}

/// M15: while etcd is away a write is refused, not kept, and the store is whole again once etcd is.
#[tokio::test]
async fn etcd_away_is_an_error_with_its_url() {
    let (store, (mut etcd, _folder)) = fresh().await;
    let first = create(&store, "/registry/a", "1").await;
    etcd.kill();
    let refused = store.put("/registry/a", Bytes::new(), Expect::Revision(first), None).await.unwrap_err();
    assert!(matches!(refused, Error::Unavailable(_)), "{refused:?}");
    let refused = store.get("/registry/a").await.unwrap_err();
    assert!(matches!(refused, Error::Unavailable(_)), "{refused:?}");
    let text = refused.to_string();
    assert!(text.contains(etcd.url()) && text.contains("Connection refused"), "{text}");
    etcd.restart().await.unwrap();
    update(&store, "/registry/a", "2", first).await;
    store.close().await;
}

#[tokio::test]
async fn nobody_there_is_an_error_with_all_urls() {
    let mut config = config("http://127.0.0.1:1,http://127.0.0.1:2");
    config.patience = Duration::from_millis(50);
    let refused = EtcdStore::connect(config, Arc::new(SystemClock)).await.unwrap_err();
    assert!(matches!(refused, ConnectError::Unreachable { .. }), "{refused:?}");
    assert!(refused.to_string().contains("http://127.0.0.1:1,http://127.0.0.1:2"), "{refused}");
}

/// E33, M5: what was compacted while a watcher was not looking is an end with a reason, never a gap.
#[tokio::test]
async fn compacted_under_a_watch() {
    let (store, (mut etcd, _folder)) = fresh().await;
    // Below a root of its own, so that nothing is kept for it but what etcd has.
    let first = create(&store, "/elsewhere/a", "1").await;
    let mut begun = store.watch("/elsewhere/", first).await.unwrap();
    assert_eq!(next_event(&mut begun).await.revision, first);
    let mut unread = store.watch("/elsewhere/", first).await.unwrap();
    etcd.restart().await.unwrap();
    let second = update(&store, "/elsewhere/a", "2", first).await;
    let third = update(&store, "/elsewhere/a", "3", second).await;
    store.compact(third + 1).await.unwrap_err();
    store.compact(third).await.unwrap();
    let fourth = update(&store, "/elsewhere/a", "4", third).await;
    store.compact(fourth).await.unwrap();
    let error = begun.next().await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Lagged), "{error:?}");
    let error = unread.next().await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Compacted { oldest, .. } if oldest == third), "{error:?}");
    // etcd still has the change it was compacted to, but no longer what that replaced.
    let mut edge = store.watch("/elsewhere/", third).await.unwrap();
    let error = edge.next().await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Compacted { .. }), "{error:?}");
    // E5, with the oldest revision named although etcd does not say it.
    let old = Range { revision: Some(first), ..everything("/elsewhere/") };
    let error = store.range(old).await.unwrap_err();
    assert!(matches!(error, Error::Compacted { oldest, .. } if oldest == third), "{error:?}");
    store.close().await;
}

/// M5, M11: history is forgotten by itself, one interval behind, in step with upstream's servers.
#[tokio::test]
async fn history_is_compacted_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let etcd = Etcd::start(folder.path()).await.unwrap();
    // Who watches must be there before anything is compacted, or its start may be gone.
    let observer = connect(&etcd).await;
    let first = create(&observer, "/registry/a", "1").await;
    update(&observer, "/registry/a", "2", first).await;
    let mut ticks = observer.watch("compact_rev_key", first + 1).await.unwrap();
    create(&observer, "compact_rev_key_seen", "").await;
    next_event(&mut ticks).await;
    let mut config = config(etcd.url());
    config.compaction_interval = Duration::from_millis(20);
    let store: Shared = Arc::new(EtcdStore::connect(config, Arc::new(SystemClock)).await.unwrap());
    let (mut ticked, mut mark) = (0, 0);
    // A round is over when the next one begins.
    while mark <= first + 1 || ticked < 3 {
        let event = next_event(&mut ticks).await;
        mark = std::str::from_utf8(&event.current.unwrap().value).unwrap().parse().unwrap();
        ticked += 1;
    }
    next_event(&mut ticks).await;
    let old = Range { revision: Some(first), ..everything("/registry/") };
    let error = store.range(old).await.unwrap_err();
    assert!(matches!(error, Error::Compacted { .. }), "{error:?}");
    store.close().await;
    observer.close().await;
}

/// M3, M6: two servers on one etcd agree on every write and hear of each other's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_stores_share_one_etcd() {
    let (ours, (etcd, _folder)) = fresh().await;
    let theirs = connect(&etcd).await;
    let start = create(&ours, "/registry/counter", "0").await;
    let mut watch = theirs.watch("/registry/", start).await.unwrap();
    let count = |store: Shared| async move {
        let mut won = Vec::new();
        while won.len() < 20 {
            let kv = store.get("/registry/counter").await.unwrap().0.unwrap();
            let number: u32 = std::str::from_utf8(&kv.value).unwrap().parse().unwrap();
            let next = Bytes::from((number + 1).to_string());
            let expect = Expect::Revision(kv.mod_revision);
            if let Outcome::Applied(revision) =
                store.put("/registry/counter", next, expect, None).await.unwrap()
            {
                won.push(revision);
            }
        }
        won
    };
    let (mut won, others) =
        tokio::join!(tokio::spawn(count(Arc::clone(&ours))), tokio::spawn(count(Arc::clone(&theirs))));
    let won = won.as_mut().unwrap();
    won.extend(others.unwrap());
    won.sort_unstable();
    for (number, revision) in std::iter::once(&start).chain(won.iter()).enumerate() {
        let event = next_event(&mut watch).await;
        assert_eq!(event.revision, *revision);
        assert_eq!(&event.current.unwrap().value[..], number.to_string().as_bytes());
    }
    // One going leaves the other alone.
    ours.close().await;
    let last = create(&theirs, "/registry/b", "1").await;
    assert_eq!(next_event(&mut watch).await.revision, last);
    theirs.close().await;
}

/// M8, E27: keys written close together share a lease, go in one revision, and a watch tears that not apart.
#[tokio::test]
async fn leases_are_shared() {
    let folder = tempfile::tempdir().unwrap();
    let etcd = Etcd::start(folder.path()).await.unwrap();
    let clock = FakeClock::at("2026-01-01T00:00:00Z".parse().unwrap());
    let store = EtcdStore::connect(config(etcd.url()), Arc::new(clock.clone())).await.unwrap();
    let mut watch = store.watch("/registry/events/", store.revision().await.unwrap() + 1).await.unwrap();
    let ttl = Some(Duration::from_secs(1));
    for name in ["a", "b", "c", "of another lease"] {
        if name == "of another lease" {
            clock.advance(Duration::from_secs(2));
        }
        let key = format!("/registry/events/{name}");
        store.put(&key, Bytes::new(), Expect::Absent, ttl).await.unwrap();
        next_event(&mut watch).await;
    }
    let mut gone = Vec::new();
    for _ in 0..4 {
        let event = next_event(&mut watch).await;
        assert!(event.current.is_none() && event.previous.is_some());
        gone.push(event.revision);
    }
    gone.sort_unstable();
    gone.dedup();
    assert_eq!(gone.len(), 2, "one revision for each lease");
    store.close().await;
}

/// Requests go to an endpoint that answers, whichever dies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_dies_and_the_others_serve() {
    let folder = tempfile::tempdir().unwrap();
    let mut members = Etcd::start_cluster(folder.path(), 3).await.unwrap();
    let urls: Vec<&str> =
        std::iter::once("http://127.0.0.1:1").chain(members.iter().map(Etcd::url)).collect();
    let mut config = config(&urls.join(","));
    config.patience = PATIENCE;
    let store: Shared = Arc::new(EtcdStore::connect(config, Arc::new(SystemClock)).await.unwrap());
    let mut watch = store.watch("/registry/", store.revision().await.unwrap() + 1).await.unwrap();
    for (number, member) in members.iter_mut().enumerate() {
        let key = format!("/registry/pods/{number}");
        let revision = create(&store, &key, "1").await;
        assert_eq!(next_event(&mut watch).await.revision, revision);
        member.kill();
        // Until a leader is elected a write may have gone to one that lost its place: then it may have happened.
        let updated = loop {
            match store.put(&key, Bytes::from_static(b"2"), Expect::Revision(revision), None).await {
                Ok(Outcome::Applied(updated)) => break updated,
                Ok(Outcome::Mismatch(Some(kv))) if &kv.value[..] == b"2" => break kv.mod_revision,
                Ok(other) => panic!("{other:?}"),
                Err(Error::Unavailable(_)) => {}
                Err(error) => panic!("{error}"),
            }
        };
        assert_eq!(next_event(&mut watch).await.revision, updated);
        member.restart().await.unwrap();
    }
    store.close().await;
}

/// A CA of our own, and certificates by it for a server on loopback and for a client.
fn certificates(folder: &Path) -> (EtcdTlsFiles, EtcdTls) {
    let write = |name: &str, text: String| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_file = write("ca.pem", ca.self_signed(&ca_key).unwrap().pem());
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let [server, client] = ["server", "client"].map(|name| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        // etcd is its own client too.
        params.extended_key_usages =
            vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth, rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        let cert = params.signed_by(&key, &issuer).unwrap();
        (write(&format!("{name}.pem"), cert.pem()), write(&format!("{name}.key"), key.serialize_pem()))
    });
    (
        EtcdTlsFiles { ca: ca_file.clone(), cert: server.0, key: server.1 },
        EtcdTls { ca_file: Some(ca_file), cert_file: Some(client.0), key_file: Some(client.1) },
    )
}

#[tokio::test]
async fn https_with_a_client_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let (server, client) = certificates(folder.path());
    let etcd = Etcd::start_tls(folder.path(), &server).await.unwrap();
    let mut config = config(etcd.url());
    config.tls = EtcdTls { cert_file: None, key_file: None, ..client.clone() };
    config.patience = Duration::from_millis(50);
    EtcdStore::connect(config.clone(), Arc::new(SystemClock)).await.expect_err("etcd asks for a certificate");
    config.tls = client;
    config.patience = PATIENCE;
    let store: Shared = Arc::new(EtcdStore::connect(config, Arc::new(SystemClock)).await.unwrap());
    create(&store, "/registry/a", "1").await;
    store.close().await;
}

/// M7: a watcher of a quiet prefix hears how far the store is, whoever writes elsewhere.
#[tokio::test]
async fn progress_reaches_quiet_watchers() {
    let (store, _kept) = fresh().await;
    let start = store.revision().await.unwrap();
    let mut quiet = store.watch("/registry/quiet/", start + 1).await.unwrap();
    let revision = create(&store, "/registry/busy/a", "1").await;
    let told = tokio::time::timeout(PATIENCE, async {
        loop {
            match quiet.next().await.unwrap().unwrap() {
                WatchItem::Progress(told) if told >= revision => break told,
                other => assert!(matches!(other, WatchItem::Progress(_)), "{other:?}"),
            }
        }
    });
    assert_eq!(told.await.expect("progress is told"), revision);
    store.close().await;
}
