//! The API over its stores when these misbehave, and two servers on one of them.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ListParams, PostParams, WatchEvent, WatchParams};
use kube::{Api, Error, ResourceExt};
use outrigger_api::clock::{SharedClock, SystemClock};
use outrigger_apiserver::{ApiServer, Config, NoNodes, Running, ServiceRange};
use outrigger_store::{EmbeddedStore, EtcdConfig, EtcdStore, HistoryLimits, Store};
use outrigger_testkit::{Etcd, SmallDisk};

/// Longer than anything here takes; only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(60);

async fn serve(folder: &Path, store: Arc<dyn Store>) -> Running {
    let clock: SharedClock = Arc::new(SystemClock);
    let config = Config {
        listen: ([127, 0, 0, 1], 0).into(),
        advertise: [127, 0, 0, 1].into(),
        data_dir: folder.to_owned(),
        node_name: "test".to_owned(),
        service_range: ServiceRange::DEFAULT,
        store,
        clock,
        nodes: Arc::new(NoNodes),
    };
    ApiServer::start(config).await.unwrap()
}

async fn on_etcd(etcd: &Etcd) -> Arc<dyn Store> {
    let config = EtcdConfig::new(etcd.url().parse().unwrap());
    Arc::new(EtcdStore::connect(config, Arc::new(SystemClock)).await.unwrap())
}

fn config_map(name: &str, value: &str) -> ConfigMap {
    let mut map =
        ConfigMap { data: Some(BTreeMap::from([("v".into(), value.into())])), ..ConfigMap::default() };
    map.metadata.name = Some(name.to_owned());
    map
}

fn value(map: &ConfigMap) -> &str {
    &map.data.as_ref().unwrap()["v"]
}

fn code(error: &Error) -> u16 {
    match error {
        Error::Api(status) => status.code,
        other => panic!("{other}"),
    }
}

async fn next<S>(watch: &mut S) -> WatchEvent<ConfigMap>
where
    S: futures::Stream<Item = Result<WatchEvent<ConfigMap>, Error>> + Unpin,
{
    let event = tokio::time::timeout(PATIENCE, watch.next()).await.expect("an event comes");
    event.expect("the watch goes on").unwrap()
}

/// M3, D5, E7, E27: two servers on one etcd show the same objects, refuse each other's stale writes, and each hears of the
/// other's changes, once each and in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_on_one_etcd() {
    let folder = tempfile::tempdir().unwrap();
    let etcd = Etcd::start(&folder.path().join("etcd")).await.unwrap();
    let (here, there) = (on_etcd(&etcd).await, on_etcd(&etcd).await);
    let first = serve(&folder.path().join("first"), Arc::clone(&here)).await;
    let second = serve(&folder.path().join("second"), Arc::clone(&there)).await;
    let ours: Api<ConfigMap> = Api::namespaced(first.client("test"), "default");
    let theirs: Api<ConfigMap> = Api::namespaced(second.client("test"), "default");

    let version = theirs.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    let params = WatchParams::default().disable_bookmarks();
    let mut watch = theirs.watch(&params, &version).await.unwrap().boxed();
    let made = ours.create(&PostParams::default(), &config_map("counter", "0")).await.unwrap();
    assert_eq!(theirs.get("counter").await.unwrap(), made);
    let WatchEvent::Added(seen) = next(&mut watch).await else { panic!("no ADDED") };
    assert_eq!(seen, made);

    let count = |api: Api<ConfigMap>| async move {
        let mut conflicts = 0;
        for _ in 0..10 {
            loop {
                let mut map = api.get("counter").await.unwrap();
                let number: u32 = value(&map).parse().unwrap();
                map.data = config_map("counter", &(number + 1).to_string()).data;
                match api.replace("counter", &PostParams::default(), &map).await {
                    Ok(_) => break,
                    Err(error) if code(&error) == 409 => conflicts += 1,
                    Err(error) => panic!("{error}"),
                }
            }
        }
        conflicts
    };
    let (one, two) = tokio::join!(tokio::spawn(count(ours.clone())), tokio::spawn(count(theirs.clone())));
    println!("{} conflicts", one.unwrap() + two.unwrap());
    for number in 1..=20 {
        let WatchEvent::Modified(seen) = next(&mut watch).await else { panic!("no MODIFIED") };
        assert_eq!(value(&seen), number.to_string());
    }
    let stale = theirs.replace("counter", &PostParams::default(), &made).await.unwrap_err();
    assert_eq!(code(&stale), 409);

    first.stop().await;
    here.close().await;
    theirs.create(&PostParams::default(), &config_map("alone", "")).await.unwrap();
    let WatchEvent::Added(seen) = next(&mut watch).await else { panic!("no ADDED") };
    assert_eq!(seen.name_any(), "alone");
    second.stop().await;
    there.close().await;
}

/// M15: while etcd is away reads and writes are refused with a Status that says to come again, and watches stay open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_restarted_under_the_api() {
    let folder = tempfile::tempdir().unwrap();
    let mut etcd = Etcd::start(&folder.path().join("etcd")).await.unwrap();
    let store = on_etcd(&etcd).await;
    let server = serve(folder.path(), Arc::clone(&store)).await;
    let api: Api<ConfigMap> = Api::namespaced(server.client("test"), "default");
    let made = api.create(&PostParams::default(), &config_map("a", "1")).await.unwrap();
    let params = WatchParams::default().disable_bookmarks();
    let version = made.resource_version().unwrap();
    let mut watch = api.watch(&params, &version).await.unwrap().boxed();

    etcd.kill();
    let refused = api.create(&PostParams::default(), &config_map("b", "1")).await.unwrap_err();
    let Error::Api(status) = &refused else { panic!("{refused}") };
    assert_eq!((status.code, &*status.reason), (500, "ServerTimeout"), "{status:?}");
    assert_eq!(code(&api.get("a").await.unwrap_err()), 500);

    etcd.restart().await.unwrap();
    assert_eq!(api.get("a").await.unwrap(), made);
    api.create(&PostParams::default(), &config_map("c", "1")).await.unwrap();
    let WatchEvent::Added(seen) = next(&mut watch).await else { panic!("no ADDED") };
    assert_eq!(seen.name_any(), "c");
    server.stop().await;
    store.close().await;
}

/// E5, E12, E33: what etcd has compacted is 410 for exact lists and watches, and a list in pages says how to go on.
#[tokio::test]
async fn compacted_under_the_api() {
    let folder = tempfile::tempdir().unwrap();
    let etcd = Etcd::start(&folder.path().join("etcd")).await.unwrap();
    let store = on_etcd(&etcd).await;
    let server = serve(folder.path(), Arc::clone(&store)).await;
    let api: Api<ConfigMap> = Api::namespaced(server.client("test"), "default");
    for name in ["a", "b", "c"] {
        api.create(&PostParams::default(), &config_map(name, "1")).await.unwrap();
    }
    let page = api.list(&ListParams::default().limit(1)).await.unwrap();
    let old = page.metadata.resource_version.unwrap();
    let token = page.metadata.continue_.unwrap();
    for number in 0..3 {
        let mut map = api.get("a").await.unwrap();
        map.data = config_map("a", &format!("again {number}")).data;
        api.replace("a", &PostParams::default(), &map).await.unwrap();
    }
    store.compact(store.revision().await.unwrap()).await.unwrap();
    // A server that has just come, so that nothing of the past is in its memory.
    server.stop().await;
    let server = serve(folder.path(), Arc::clone(&store)).await;
    let api: Api<ConfigMap> = Api::namespaced(server.client("test"), "default");

    let exact = ListParams::default().at(&old).matching(kube::api::VersionMatch::Exact);
    assert_eq!(code(&api.list(&exact).await.unwrap_err()), 410);
    let expired = api.list(&ListParams::default().limit(1).continue_token(&token)).await.unwrap_err();
    let Error::Api(status) = &expired else { panic!("{expired}") };
    assert_eq!((status.code, &*status.reason), (410, "Expired"));
    let mut watch = api.watch(&WatchParams::default(), &old).await.unwrap().boxed();
    let WatchEvent::Error(status) = next(&mut watch).await else { panic!("no ERROR") };
    assert_eq!((status.code, &*status.reason), (410, "Expired"));
    assert!(watch.try_next().await.unwrap().is_none(), "the watch is over");
    server.stop().await;
    store.close().await;
}

/// M13, M15: a full disk is a 5xx for who writes; everything before it is there, and readable meanwhile.
#[tokio::test]
async fn a_full_disk_is_a_server_error() {
    let folder = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(folder.path(), 8 << 20).unwrap();
    let clock: SharedClock = Arc::new(SystemClock);
    let store = EmbeddedStore::open(&disk.path().join("store"), HistoryLimits::default(), clock).unwrap();
    let store: Arc<dyn Store> = Arc::new(store);
    let server = serve(disk.path(), Arc::clone(&store)).await;
    let api: Api<ConfigMap> = Api::namespaced(server.client("test"), "default");
    let large = "x".repeat(200_000);
    let mut made = Vec::new();
    let refused = loop {
        let name = format!("map-{}", made.len());
        match api.create(&PostParams::default(), &config_map(&name, &large)).await {
            Ok(map) => made.push(map),
            Err(error) => break error,
        }
    };
    assert_eq!(code(&refused), 500, "{refused}");
    assert!(!made.is_empty());
    for map in &made {
        assert_eq!(api.get(&map.name_any()).await.unwrap(), *map);
    }
    assert_eq!(api.list(&ListParams::default()).await.unwrap().items.len(), made.len());
    disk.grow(64 << 20).unwrap();
    api.create(&PostParams::default(), &config_map("after", "")).await.unwrap();
    server.stop().await;
    store.close().await;
}
