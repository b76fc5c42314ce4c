//! The API server under the load upstream's was measured with: 349 and 1,188 ConfigMaps/s, GET 1.2 ms, 2,250 Pods
//! in 194 ms, 200 watchers at 7.5 and 15 ms, 471 MB afterwards.

use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinSet;

use super::{megabytes, per_second};
use crate::Options;
use crate::budget::{Row, Samples};
use crate::client::{Client, Target};
use crate::cluster::{Cluster, PODS};
use crate::error::Error;
use crate::manifest;
use crate::process;
use crate::watch::Watch;

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const LISTED: usize = 2250;
const WATCHERS: usize = 200;
const UPDATES: usize = 200;
/// Watches on one connection, as many as client libraries put there.
const ON_CONNECTION: usize = 50;
/// Connections that concurrent writers share.
const CONNECTIONS: usize = 4;

pub(super) async fn run(options: &Options) -> Result<Vec<Row>, Error> {
    let cluster = Cluster::new(options, "api").await?;
    let target = cluster.target()?;
    let client = target.connect().await?;
    // The first requests pay for what is made once.
    creates(&target, "warm", 8, 25).await?;
    let one = creates(&target, "one", 1, 500).await?;
    let many = creates(&target, "many", 64, 150).await?;
    let mut gets = Samples::default();
    for _ in 0..1000 {
        let began = Instant::now();
        client.get(&format!("{CONFIG_MAPS}/one-0-0")).await?;
        gets.push(began.elapsed());
    }
    let mut rows = vec![
        Row::new("ConfigMap creates, one at a time", one, "/s").note("upstream: 349/s"),
        Row::new("ConfigMap creates, 64 at a time, each synced", many, "/s")
            .at_least(5.0 * 1188.0)
            .note(format!("{:.1} × upstream's 1188/s", many / 1188.0)),
        Row::new("GET, p50", gets.p50(), "ms").note(format!("{}; upstream: 1.2 ms", gets.note())),
    ];
    rows.extend(lists(&client).await?);
    rows.push(watches(&target).await?);
    let memory = process::memory(cluster.pid()?)?;
    rows.push(
        Row::new("whole program after this load, resident", megabytes(memory.resident), "MB")
            .at_most(150.0)
            .note("upstream: 471 MB"),
    );
    cluster.remove().await?;
    Ok(rows)
}

/// Writers that each create so many, one after the other.
async fn creates(target: &Target, name: &str, writers: usize, each: usize) -> Result<f64, Error> {
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS.min(writers) {
        clients.push(target.connect().await?);
    }
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for writer in 0..writers {
        let (client, name) = (clients[writer % clients.len()].clone(), name.to_owned());
        tasks.spawn(async move {
            for number in 0..each {
                let object = manifest::config_map(&format!("{name}-{writer}-{number}"));
                client.create(CONFIG_MAPS, &object).await?;
            }
            Ok::<_, Error>(())
        });
    }
    finished(tasks).await?;
    Ok(per_second(writers * each, began.elapsed()))
}

/// Lists of many Pods whole and by a label nothing has, and their deletion.
async fn lists(client: &Client) -> Result<Vec<Row>, Error> {
    let mut tasks = JoinSet::new();
    for writer in 0..50 {
        let client = client.clone();
        tasks.spawn(async move {
            for number in (writer..LISTED).step_by(50) {
                client.create(PODS, &manifest::gated(&format!("listed-{number}"))).await?;
            }
            Ok::<_, Error>(())
        });
    }
    let began = Instant::now();
    finished(tasks).await?;
    let created = per_second(LISTED, began.elapsed());
    let (mut whole, mut none, mut bytes) = (Samples::default(), Samples::default(), 0);
    for _ in 0..15 {
        let began = Instant::now();
        bytes = client.get(PODS).await?.len();
        whole.push(began.elapsed());
        let began = Instant::now();
        client.get(&format!("{PODS}?labelSelector=app%3Dnothing")).await?;
        none.push(began.elapsed());
    }
    let began = Instant::now();
    client.delete(PODS).await?;
    let deleted = began.elapsed().as_secs_f64();
    Ok(vec![
        Row::new("Pod creates, 50 at a time", created, "/s").note("upstream: 833/s at 64"),
        Row::new(format!("list of {LISTED} Pods, p50"), whole.p50(), "ms")
            .at_most(194.0 / 4.0)
            .note(format!("{:.1} MB, {}; upstream: 194 ms", megabytes(bytes as u64), whole.note())),
        Row::new("… by a label nothing has, p50", none.p50(), "ms")
            .at_most(66.0 / 4.0)
            .note(format!("{}; upstream: 66 ms", none.note())),
        Row::new(format!("deletecollection of {LISTED} Pods"), deleted, "s").note("upstream: 6.6 s"),
    ])
}

/// From before an update is sent until each of the watchers has its event.
async fn watches(target: &Target) -> Result<Row, Error> {
    let client = target.connect().await?;
    client.create(CONFIG_MAPS, &manifest::config_map("watched")).await?;
    let (sender, mut arrivals) = tokio::sync::mpsc::unbounded_channel();
    let sender = Arc::new(sender);
    let mut watchers = JoinSet::new();
    for number in 0..WATCHERS.div_ceil(ON_CONNECTION) {
        let connection = target.connect().await?;
        for _ in 0..ON_CONNECTION.min(WATCHERS - number * ON_CONNECTION) {
            let mut watch = Watch::start(&connection, CONFIG_MAPS).await?;
            let sender = Arc::clone(&sender);
            watchers.spawn(async move {
                while let Ok(seen) = watch.next().await {
                    if sender.send(seen.at).is_err() {
                        break;
                    }
                }
            });
        }
    }
    let mut samples = Samples::default();
    for number in 0..UPDATES {
        let mut object = manifest::config_map("watched");
        object["data"]["number"] = number.to_string().into();
        let began = Instant::now();
        client.ask(http::Method::PUT, &format!("{CONFIG_MAPS}/watched"), object.to_string().into()).await?;
        for _ in 0..WATCHERS {
            let at = arrivals.recv().await.ok_or_else(|| Error::Unexpected("the watches ended".into()))?;
            samples.push(at.saturating_duration_since(began));
        }
    }
    watchers.abort_all();
    Ok(Row::new(format!("{WATCHERS} watchers, {UPDATES} updates: PUT to event, p99"), samples.p99(), "ms")
        .at_most(5.0)
        .note(format!("p50 {:.1} ms, the sync included; upstream: 7.5 and 15 ms", samples.p50())))
}

async fn finished(tasks: JoinSet<Result<(), Error>>) -> Result<(), Error> {
    tasks.join_all().await.into_iter().collect()
}
