//! How long Pods take to run and to end, beside the kernel's floor and crun.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::Value;

use super::megabytes;
use crate::Options;
use crate::budget::{Row, Samples};
use crate::client::Client;
use crate::cluster::{Cluster, PODS};
use crate::error::Error;
use crate::manifest;
use crate::peers::crun::Crun;
use crate::peers::floor::Floor;
use crate::process;
use crate::watch::{Seen, Watch};

/// Turns of each measurement, after [`WARM`] that do not count.
const TURNS: usize = 40;
const WARM: usize = 3;
/// Pods made at once.
const CROWD: usize = 50;

/// What one turn measures, in this order.
#[derive(Debug, Default)]
struct Turns {
    running: Samples,
    succeeded: Samples,
    floor_one: Samples,
    floor_three: Samples,
    crun_one: Samples,
    crun_three: Samples,
}

pub(super) async fn run(options: &Options) -> Result<Vec<Row>, Error> {
    let cluster = Cluster::new(options, "pods").await?;
    let client = cluster.client().await?;
    let peers = tempfile::tempdir_in(&options.data).map_err(Error::doing("make a folder for the peers"))?;
    let mut floor = Floor::new(peers.path().join("floor"))?;
    let mut crun = Crun::new(peers.path().join("crun"))?;
    let mut turns = Turns::default();
    for turn in 0..WARM + TURNS {
        let mut warm = Turns::default();
        let to = if turn < WARM { &mut warm } else { &mut turns };
        to.running.push(one(&client, manifest::one_container(&format!("one-{turn}")), "Running").await?);
        to.floor_one.push(floor.one_container()?);
        to.crun_one.push(crun.one_container().await?);
        to.succeeded
            .push(one(&client, manifest::init_sidecar_app(&format!("three-{turn}")), "Succeeded").await?);
        to.floor_three.push(floor.three_containers()?);
        to.crun_three.push(crun.three_containers().await?);
    }
    let (at_once, shims) = crowd(&cluster, &client).await?;
    cluster.remove().await?;
    let mut rows = latencies(&turns);
    rows.push(
        Row::new(format!("{CROWD} Pods at once: POST to Running, p50"), at_once.p50(), "ms").note(format!(
            "{}, the last {:.0} ms",
            at_once.note(),
            at_once.millis(1.0)
        )),
    );
    rows.push(
        Row::new("sandbox process of a Pod, proportional memory", megabytes(shims.proportional), "MB")
            .at_most(1.5)
            .note(format!("the largest of {CROWD}; resident {:.1} MB", megabytes(shims.resident))),
    );
    Ok(rows)
}

fn latencies(turns: &Turns) -> Vec<Row> {
    let ratio = |name: &str, ours: &Samples, peer: &Samples| {
        Row::new(format!("… as a ratio to {name}"), ours.p50() / peer.p50(), "×").note(format!(
            "{name}: p50 {:.2} ms, {}",
            peer.p50(),
            peer.note()
        ))
    };
    vec![
        Row::new("one container: POST to Running, p50", turns.running.p50(), "ms")
            .at_most(40.0)
            .note(turns.running.note()),
        ratio("the bare floor", &turns.running, &turns.floor_one),
        ratio("crun run", &turns.running, &turns.crun_one),
        Row::new("init + sidecar + app: POST to Succeeded, p50", turns.succeeded.p50(), "ms")
            .at_most(80.0)
            .aim(40.0)
            .note(format!("{}; upstream's stack: 4.0 s", turns.succeeded.note())),
        ratio("the bare floor, three times", &turns.succeeded, &turns.floor_three),
        ratio("crun run, three times", &turns.succeeded, &turns.crun_three),
    ]
}

/// One Pod from POST until it is in a phase; it is gone when this returns.
async fn one(client: &Client, pod: Value, phase: &str) -> Result<std::time::Duration, Error> {
    let name = pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let mut watch = Watch::start(client, PODS).await?;
    let began = Instant::now();
    client.create(PODS, &pod).await?;
    let reached = watch.until(|seen| seen.name() == name && seen.phase() == phase).await?;
    client.delete(&format!("{PODS}/{name}")).await?;
    watch.until(|seen| seen.name() == name && seen.is_gone()).await?;
    Ok(reached.at - began)
}

/// Many at once, each from its own POST, and the memory of the largest sandbox process.
async fn crowd(cluster: &Cluster, client: &Client) -> Result<(Samples, process::Memory), Error> {
    let pods = (0..CROWD).map(|number| manifest::one_container(&format!("crowd-{number}"))).collect();
    let mut watch = Watch::start(client, PODS).await?;
    let took = all(client, &mut watch, pods, |seen| seen.phase() == "Running").await?;
    let mut largest = process::Memory::default();
    for shim in process::children(cluster.pid()?) {
        let memory = process::memory(shim)?;
        if memory.proportional > largest.proportional {
            largest = memory;
        }
    }
    client.delete(PODS).await?;
    gone(&mut watch, CROWD).await?;
    Ok((took, largest))
}

/// Creates Pods at once and waits until `reached` has been true for each; the times are from each POST.
pub(super) async fn all(
    client: &Client,
    watch: &mut Watch,
    pods: Vec<Value>,
    reached: impl Fn(&Seen) -> bool,
) -> Result<Samples, Error> {
    let mut waiting = BTreeMap::new();
    let mut requests = tokio::task::JoinSet::new();
    for pod in pods {
        waiting.insert(pod["metadata"]["name"].as_str().unwrap_or_default().to_owned(), Instant::now());
        let client = client.clone();
        requests.spawn(async move { client.create(PODS, &pod).await });
    }
    let mut samples = Samples::default();
    while !waiting.is_empty() {
        let seen = watch.until(&reached).await?;
        if let Some(began) = waiting.remove(seen.name()) {
            samples.push(seen.at - began);
        }
    }
    for answer in requests.join_all().await {
        answer?;
    }
    Ok(samples)
}

/// Waits until so many Pods are gone.
pub(super) async fn gone(watch: &mut Watch, count: usize) -> Result<(), Error> {
    for _ in 0..count {
        watch.until(Seen::is_gone).await?;
    }
    Ok(())
}
