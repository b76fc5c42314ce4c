//! The embedded backend: the shared promises, and what only a file can break.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod suite;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use outrigger_api::clock::{FakeClock, SystemClock};
use outrigger_store::{
    EmbeddedStore, Error, Expect, HistoryLimits, OpenError, Outcome, Range, Store, WatchItem,
};
use outrigger_testkit::SmallDisk;
use suite::Shared;

fn open(folder: &Path) -> Result<EmbeddedStore, OpenError> {
    EmbeddedStore::open(folder, HistoryLimits::default(), Arc::new(SystemClock))
}

async fn fresh() -> (Shared, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (Arc::new(open(folder.path()).unwrap()), folder)
}

suite::promises!(fresh);

/// M13: contents and revisions survive; history does not, and says so.
#[tokio::test]
async fn a_restart_keeps_contents_and_revisions() {
    let folder = tempfile::tempdir().unwrap();
    let before = open(folder.path()).unwrap();
    before.put("/registry/a", Bytes::from("1"), Expect::Absent, None).await.unwrap();
    before.put("/registry/b", Bytes::from("2"), Expect::Absent, None).await.unwrap();
    let (kept, newest) = before.get("/registry/a").await.unwrap();
    before.close().await;

    let after = open(folder.path()).unwrap();
    assert_eq!(after.get("/registry/a").await.unwrap(), (kept, newest));
    let past = Range { prefix: "/", start: "", revision: Some(newest - 1), limit: 0 };
    assert!(matches!(after.range(past).await, Err(Error::Compacted { .. })));
    assert!(matches!(after.watch("/", newest).await, Err(Error::Compacted { .. })));
    after.close().await;
}

/// M8: a key with a time to live goes by itself, also after a restart, and its going is an event.
#[tokio::test]
async fn what_has_expired_is_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let clock = FakeClock::at("2026-01-01T00:00:00Z".parse().unwrap());
    let limits = HistoryLimits::default();
    let store = EmbeddedStore::open(folder.path(), limits, Arc::new(clock.clone())).unwrap();
    let ttl = Some(Duration::from_secs(3600));
    store.put("/registry/events/e", Bytes::from("x"), Expect::Absent, ttl).await.unwrap();
    store.close().await;

    let store = EmbeddedStore::open(folder.path(), limits, Arc::new(clock.clone())).unwrap();
    let newest = store.revision().await.unwrap();
    let mut watch = store.watch("/registry/events/", newest + 1).await.unwrap();
    clock.advance(Duration::from_secs(3601));
    // Any write makes the writer look at the time.
    store.put("/registry/a", Bytes::new(), Expect::Absent, None).await.unwrap();
    let gone = loop {
        match watch.next().await.unwrap().unwrap() {
            WatchItem::Event(event) => break event,
            WatchItem::Progress(_) => {}
        }
    };
    assert_eq!((&*gone.key, gone.current), ("/registry/events/e", None));
    store.close().await;
}

#[tokio::test]
async fn a_folder_in_use_names_its_holder() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path()).unwrap();
    let refused = open(folder.path()).unwrap_err().to_string();
    assert!(refused.contains(&format!("held by process {}", std::process::id())), "{refused}");
    first.close().await;
    open(folder.path()).unwrap().close().await;
}

#[tokio::test]
async fn a_damaged_file_is_named_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.redb");
    let damaged = vec![0x5a; 64 * 1024];
    std::fs::write(&file, &damaged).unwrap();
    let refused = open(folder.path()).unwrap_err();
    assert!(matches!(refused, OpenError::Store(Error::Corrupt { .. })), "{refused:?}");
    assert!(refused.to_string().starts_with(&file.display().to_string()), "{refused}");
    assert_eq!(std::fs::read(&file).unwrap(), damaged);
}

/// M13, M15: a full disk fails the write and nothing else. What was answered stays, also for the next process, and
/// once there is room writing goes on.
#[tokio::test]
async fn a_full_disk_fails_the_write_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(folder.path(), 8 << 20).unwrap();
    let store = open(disk.path()).unwrap();
    let value = Bytes::from(vec![7; 100_000]);
    let mut answered = Vec::new();
    let refused = loop {
        let key = format!("/registry/configmaps/default/{}", answered.len());
        match store.put(&key, value.clone(), Expect::Absent, None).await {
            Ok(outcome) => answered.push((key, outcome)),
            Err(error) => break error,
        }
    };
    assert!(matches!(&refused, Error::Unavailable(_)), "{refused:?}");
    assert!(refused.to_string().contains("No space left on device"), "{refused}");
    assert!(!answered.is_empty());
    let everything = Range { prefix: "/registry/", start: "", revision: None, limit: 0 };
    let before = store.range(everything.clone()).await.unwrap();
    assert_eq!(before.kvs.len(), answered.len(), "the refused write shows nowhere");
    disk.grow(64 << 20).unwrap();
    store.put("/registry/after", value.clone(), Expect::Absent, None).await.unwrap();
    store.close().await;

    let store = open(disk.path()).unwrap();
    for (key, outcome) in answered {
        let kv = store.get(&key).await.unwrap().0.unwrap_or_else(|| panic!("{key} is lost"));
        assert_eq!((Outcome::Applied(kv.mod_revision), kv.value), (outcome, value.clone()));
    }
    assert!(store.get("/registry/after").await.unwrap().0.is_some());
    store.close().await;
}

/// M13: what was answered is there after `kill -9` under load, round after round on one folder.
#[tokio::test]
async fn nothing_answered_is_lost_by_kill() {
    let rounds: u32 = std::env::var("OUTRIGGER_CRASH_ROUNDS").map_or(100, |rounds| rounds.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let mut newest = 0;
    for round in 0..rounds {
        let mut writer = Command::new(crash_writer())
            .arg(folder.path())
            .arg(round.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines();
        let enough = 20 + usize::try_from(round % 7).unwrap() * 15;
        let mut answered: Vec<String> = lines.by_ref().take(enough).map(Result::unwrap).collect();
        writer.kill().unwrap();
        // What it printed before it died counts as well; the last line may be cut.
        answered.extend(lines.map_while(Result::ok).filter(|line| line.ends_with(';')));
        writer.wait().unwrap();

        let store = open(folder.path()).unwrap();
        for line in &answered {
            let (key, revision) = line.trim_end_matches(';').split_once(' ').unwrap();
            let revision: u64 = revision.parse().unwrap();
            let kv = store.get(key).await.unwrap().0.unwrap_or_else(|| panic!("{key} is lost"));
            assert_eq!((kv.mod_revision, &kv.value[..]), (revision, key.as_bytes()));
            newest = newest.max(revision);
        }
        assert!(answered.len() >= enough && store.revision().await.unwrap() >= newest);
        store.close().await;
    }
}

/// The example `crash_writer`, which Cargo builds with the tests.
fn crash_writer() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    tests.parent().and_then(Path::parent).unwrap().join("examples/crash_writer")
}
