//! What a store promises, whatever is behind it. Each function takes a fresh store and is run by every backend.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use outrigger_store::{Error, Event, Expect, Outcome, Range, Revision, Store, WatchItem, WatchStream};

pub(crate) type Shared = Arc<dyn Store>;

/// Longer than anything here takes; only a hang reaches it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

async fn put(store: &Shared, key: &str, value: &str, expect: Expect) -> Outcome {
    store.put(key, Bytes::copy_from_slice(value.as_bytes()), expect, None).await.unwrap()
}

pub(crate) async fn create(store: &Shared, key: &str, value: &str) -> Revision {
    match put(store, key, value, Expect::Absent).await {
        Outcome::Applied(revision) => revision,
        Outcome::Mismatch(found) => panic!("{key} is there already: {found:?}"),
    }
}

pub(crate) async fn update(store: &Shared, key: &str, value: &str, from: Revision) -> Revision {
    match put(store, key, value, Expect::Revision(from)).await {
        Outcome::Applied(revision) => revision,
        Outcome::Mismatch(found) => panic!("{key} is not at {from}: {found:?}"),
    }
}

pub(crate) fn everything(prefix: &str) -> Range<'_> {
    Range { prefix, start: "", revision: None, limit: 0 }
}

pub(crate) async fn next_event(watch: &mut WatchStream) -> Event {
    loop {
        let item = tokio::time::timeout(PATIENCE, watch.next()).await.expect("an event comes");
        match item.expect("the watch goes on").unwrap() {
            WatchItem::Event(event) => return event,
            WatchItem::Progress(_) => {}
        }
    }
}

/// D5, D6: every write is a compare-and-set, and a refused one shows what is there.
pub(crate) async fn writes_are_conditional(store: Shared) {
    let first = create(&store, "/registry/a", "1").await;
    let Outcome::Mismatch(Some(found)) = put(&store, "/registry/a", "2", Expect::Absent).await else {
        panic!("created twice")
    };
    assert_eq!((found.mod_revision, &found.value[..]), (first, &b"1"[..]));
    let second = update(&store, "/registry/a", "2", first).await;
    assert!(second > first);
    assert!(matches!(
        put(&store, "/registry/a", "3", Expect::Revision(first)).await,
        Outcome::Mismatch(Some(_))
    ));
    assert!(matches!(store.delete("/registry/a", first).await.unwrap(), Outcome::Mismatch(Some(_))));
    let Outcome::Applied(third) = store.delete("/registry/a", second).await.unwrap() else {
        panic!("not deleted")
    };
    assert!(third > second);
    assert_eq!(store.delete("/registry/a", third).await.unwrap(), Outcome::Mismatch(None));
    let again = create(&store, "/registry/a", "4").await;
    let kv = store.get("/registry/a").await.unwrap().0.unwrap();
    assert_eq!((kv.create_revision, kv.mod_revision), (again, again), "a new life");
}

/// E40, M16: a range can be read as of any revision that is kept, in pages.
pub(crate) async fn ranges_read_the_past_in_pages(store: Shared) {
    for name in ["a", "b", "c"] {
        create(&store, &format!("/registry/pods/{name}"), "old").await;
    }
    create(&store, "/registry/podsmore/x", "not asked for").await;
    let then = store.revision().await.unwrap();
    let (b, _) = store.get("/registry/pods/b").await.unwrap();
    update(&store, "/registry/pods/b", "new", b.unwrap().mod_revision).await;
    create(&store, "/registry/pods/d", "new").await;

    let page = Range { prefix: "/registry/pods/", start: "", revision: Some(then), limit: 2 };
    let page = store.range(page).await.unwrap();
    assert_eq!((page.kvs.len(), page.count, page.revision), (2, 3, then));
    assert!(page.kvs.iter().all(|kv| &kv.value[..] == b"old"));
    let rest =
        Range { prefix: "/registry/pods/", start: "/registry/pods/b\0", revision: Some(then), limit: 0 };
    let rest = store.range(rest).await.unwrap();
    assert_eq!(rest.kvs.iter().map(|kv| &*kv.key).collect::<Vec<_>>(), ["/registry/pods/c"]);
    assert_eq!(store.range(everything("/registry/pods/")).await.unwrap().kvs.len(), 4);
    let ahead = Range { revision: Some(then + 100), ..everything("/registry/") };
    assert!(matches!(store.range(ahead).await, Err(Error::Future { .. })));
}

/// E40, M16: however many keys there are, a range has all of them, of one moment.
pub(crate) async fn long_ranges_are_whole(store: Shared) {
    const KEYS: usize = 2100;
    let writes = futures::stream::iter(0..KEYS).map(|number| {
        let store = Arc::clone(&store);
        async move { create(&store, &format!("/registry/pods/{number:05}"), "x").await }
    });
    let newest =
        writes.buffer_unordered(64).fold(0, |newest, revision| async move { revision.max(newest) }).await;
    let all = store.range(everything("/registry/pods/")).await.unwrap();
    assert_eq!((all.kvs.len(), all.count, all.revision), (KEYS, KEYS, newest));
    assert!(all.kvs.windows(2).all(|pair| pair[0].key < pair[1].key), "in byte order");
    let most = Range { start: "/registry/pods/00050", limit: 2000, ..everything("/registry/pods/") };
    let most = store.range(most).await.unwrap();
    assert_eq!((most.kvs.len(), most.count), (2000, KEYS - 50));
    let beyond = Range { start: "/registry/pods0", ..everything("/registry/pods/") };
    let beyond = store.range(beyond).await.unwrap();
    assert_eq!((beyond.kvs.len(), beyond.count), (0, 0));
}

/// M8: a key with a time to live goes by itself, which is an event; writing it again without one keeps it.
pub(crate) async fn keys_can_expire(store: Shared) {
    let ttl = Some(Duration::from_secs(1));
    let mut watch = store.watch("/registry/events/", store.revision().await.unwrap() + 1).await.unwrap();
    for name in ["kept", "gone"] {
        let key = format!("/registry/events/{name}");
        store.put(&key, Bytes::from_static(b"x"), Expect::Absent, ttl).await.unwrap();
        next_event(&mut watch).await;
    }
    let (kept, _) = store.get("/registry/events/kept").await.unwrap();
    update(&store, "/registry/events/kept", "y", kept.unwrap().mod_revision).await;
    next_event(&mut watch).await;
    let event = next_event(&mut watch).await;
    assert_eq!((&*event.key, event.current), ("/registry/events/gone", None));
    assert_eq!(&event.previous.unwrap().value[..], b"x");
    assert_eq!(store.get("/registry/events/gone").await.unwrap().0, None);
    assert!(store.get("/registry/events/kept").await.unwrap().0.is_some());
}

/// E33a: a watch may begin in the future; what happens before is not for it.
pub(crate) async fn watches_can_begin_in_the_future(store: Shared) {
    let first = create(&store, "/registry/a", "1").await;
    let mut watch = store.watch("/registry/", first + 2).await.unwrap();
    let second = update(&store, "/registry/a", "2", first).await;
    let third = update(&store, "/registry/a", "3", second).await;
    assert_eq!(next_event(&mut watch).await.revision, third);
}

/// M6, M7: a watcher that reads nothing while much is written gets all of it later, in order, once.
pub(crate) async fn slow_watchers_catch_up(store: Shared) {
    const WRITES: usize = 5000;
    let start = store.revision().await.unwrap();
    let mut watch = store.watch("/registry/pods/", start + 1).await.unwrap();
    let writes = futures::stream::iter(0..WRITES).map(|number| {
        let store = Arc::clone(&store);
        async move { create(&store, &format!("/registry/pods/{number}"), "x").await }
    });
    let mut written: Vec<Revision> = writes.buffer_unordered(64).collect().await;
    written.sort_unstable();
    for revision in written {
        assert_eq!(next_event(&mut watch).await.revision, revision);
    }
    let last = create(&store, "/registry/pods/last", "x").await;
    assert_eq!(next_event(&mut watch).await.revision, last, "it is live again");
}

/// M6, E33a: a watch replays from its revision, in order, with previous values, and goes on live.
pub(crate) async fn watches_replay_and_go_on(store: Shared) {
    let first = create(&store, "/registry/pods/a", "1").await;
    let second = update(&store, "/registry/pods/a", "2", first).await;
    let mut watch = store.watch("/registry/pods/", second).await.unwrap();
    create(&store, "/registry/other/b", "not asked for").await;
    let third = match store.delete("/registry/pods/a", second).await.unwrap() {
        Outcome::Applied(revision) => revision,
        Outcome::Mismatch(found) => panic!("{found:?}"),
    };
    let event = next_event(&mut watch).await;
    assert_eq!(event.revision, second);
    assert_eq!(&event.previous.unwrap().value[..], b"1");
    assert_eq!(&event.current.unwrap().value[..], b"2");
    let event = next_event(&mut watch).await;
    assert_eq!((event.revision, event.current), (third, None));
    assert_eq!(event.previous.unwrap().mod_revision, second);
}

/// M5: what is compacted cannot be read or watched, and everything after it can.
pub(crate) async fn compaction_forgets_the_past_only(store: Shared) {
    let first = create(&store, "/registry/a", "1").await;
    let second = update(&store, "/registry/a", "2", first).await;
    let third = update(&store, "/registry/a", "3", second).await;
    store.compact(third).await.unwrap();
    let old = Range { revision: Some(first), ..everything("/registry/") };
    assert!(matches!(store.range(old).await, Err(Error::Compacted { .. })));
    let begun = store.watch("/registry/", first).await;
    let refused = match begun {
        Err(error) => error,
        Ok(mut watch) => watch.next().await.expect("an answer").expect_err("the past is gone"),
    };
    assert!(matches!(refused, Error::Compacted { .. }), "{refused}");
    let mut watch = store.watch("/registry/", third).await.unwrap();
    assert_eq!(&next_event(&mut watch).await.previous.unwrap().value[..], b"2");
    assert!(matches!(store.compact(third + 100).await, Err(Error::Future { .. })));
}

/// M14.
pub(crate) async fn large_values_are_refused(store: Shared) {
    let large = Bytes::from(vec![0; outrigger_store::MAX_VALUE + 1]);
    let refused = store.put("/registry/a", large, Expect::Absent, None).await.unwrap_err();
    assert_eq!(refused.to_string(), "etcdserver: request is too large");
    assert_eq!(store.get("/registry/a").await.unwrap().0, None);
}

/// M13: of many writers that want the same key, one wins each round, and no revision is given twice.
pub(crate) async fn concurrent_writers_agree(store: Shared) {
    let start = create(&store, "/registry/counter", "0").await;
    let writers = (0..8).map(|_| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let mut won = Vec::new();
            while won.len() < 10 {
                let kv = store.get("/registry/counter").await.unwrap().0.unwrap();
                let count: u32 = String::from_utf8_lossy(&kv.value).parse().unwrap();
                let next = Bytes::from((count + 1).to_string());
                let wanted = Expect::Revision(kv.mod_revision);
                if let Outcome::Applied(revision) =
                    store.put("/registry/counter", next, wanted, None).await.unwrap()
                {
                    won.push(revision);
                }
            }
            won
        })
    });
    let mut revisions = vec![start];
    for writer in writers.collect::<Vec<_>>() {
        revisions.extend(writer.await.unwrap());
    }
    revisions.sort_unstable();
    assert!(revisions.windows(2).all(|pair| pair[0] < pair[1]));
    assert_eq!(&store.get("/registry/counter").await.unwrap().0.unwrap().value[..], b"80");
}

/// A closed store ends its watches without an error and takes no writes.
pub(crate) async fn closing_ends_watches(store: Shared) {
    create(&store, "/registry/a", "1").await;
    let mut watch = store.watch("/registry/", 2).await.unwrap();
    next_event(&mut watch).await;
    store.close().await;
    while let Some(item) = tokio::time::timeout(PATIENCE, watch.next()).await.expect("the watch ends") {
        assert!(matches!(item, Ok(WatchItem::Progress(_))), "{item:?}");
    }
    store.put("/registry/b", Bytes::new(), Expect::Absent, None).await.unwrap_err();
    store.close().await;
}

/// The shared promises as tests of one backend: `promises!(NEW)`, where `NEW` is a future that makes a fresh store and
/// whatever must live as long as it.
macro_rules! promises {
    ($new:path) => {
        suite::promises!($new:
            writes_are_conditional,
            ranges_read_the_past_in_pages,
            long_ranges_are_whole,
            watches_replay_and_go_on,
            watches_can_begin_in_the_future,
            slow_watchers_catch_up,
            compaction_forgets_the_past_only,
            keys_can_expire,
            large_values_are_refused,
            concurrent_writers_agree,
            closing_ends_watches,
        );
    };
    ($new:path: $($name:ident),* $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let (store, _kept) = $new().await;
            suite::$name(std::sync::Arc::clone(&store)).await;
            store.close().await;
        }
    )*};
}
pub(crate) use promises;
