//! A node as full as it is meant to be, and growth.

use std::time::{Duration, Instant};

use super::pods::{all, gone};
use super::{megabytes, per_second};
use crate::Options;
use crate::budget::Row;
use crate::client::Client;
use crate::cluster::{Cluster, PODS};
use crate::error::Error;
use crate::manifest::{self, GRACE_SECONDS};
use crate::process::{self, Holdings};
use crate::watch::{Seen, Watch};

/// Pods on the node; Kubernetes' own default is 110 at most.
const PODS_ON_NODE: usize = 100;
/// How long the steady state is watched.
const STEADY: Duration = Duration::from_secs(15);
/// Pods of one round when looking for growth.
const ROUND: usize = 50;

pub(super) async fn run(options: &Options) -> Result<Vec<Row>, Error> {
    let cluster = Cluster::new(options, "sustained").await?;
    let client = cluster.client().await?;
    let mut watch = Watch::start(&client, PODS).await?;
    let mut rows = at_once(&client, &mut watch).await?;
    rows.push(steady(&cluster, &client, &mut watch).await?);
    rows.extend(growth(&cluster, &client, &mut watch, options.rounds).await?);
    cluster.remove().await?;
    Ok(rows)
}

/// Many of the three-container Pods at once, and their end.
async fn at_once(client: &Client, watch: &mut Watch) -> Result<Vec<Row>, Error> {
    let pods = (0..PODS_ON_NODE).map(|number| manifest::init_sidecar_server(&format!("full-{number}")));
    let took = all(client, watch, pods.collect(), Seen::is_ready).await?;
    let began = Instant::now();
    client.delete(PODS).await?;
    gone(watch, PODS_ON_NODE).await?;
    let ended = began.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "seconds")]
    let limit = GRACE_SECONDS as f64 + 1.0;
    Ok(vec![
        Row::new(
            format!("{PODS_ON_NODE} Pods (init + sidecar + app) at once: POST to Ready, p99"),
            took.p99() / 1e3,
            "s",
        )
        .at_most(3.0)
        .note(format!("p50 {:.2} s", took.p50() / 1e3)),
        Row::new(format!("deleting them: all gone, grace period {GRACE_SECONDS} s"), ended, "s")
            .at_most(limit)
            .note("promised: within the grace period and one second more"),
    ])
}

/// Processor time of the whole program while every Pod is probed each second.
async fn steady(cluster: &Cluster, client: &Client, watch: &mut Watch) -> Result<Row, Error> {
    let pods = (0..PODS_ON_NODE).map(|number| manifest::probed(&format!("probed-{number}")));
    all(client, watch, pods.collect(), Seen::is_ready).await?;
    let pid = cluster.pid()?;
    let (before, began) = (process::processor_time(pid)?, Instant::now());
    tokio::time::sleep(STEADY).await;
    let used = process::processor_time(pid)? - before;
    let share = 100.0 * used.as_secs_f64() / began.elapsed().as_secs_f64();
    let memory = process::memory(pid)?;
    client.delete(PODS).await?;
    gone(watch, PODS_ON_NODE).await?;
    Ok(Row::new(
        format!("{PODS_ON_NODE} Pods with an HTTP probe each second: whole program, of one core"),
        share,
        "%",
    )
    .at_most(3.0)
    .note(format!("resident then {:.1} MB", megabytes(memory.resident))))
}

/// Makes and deletes Pods; nothing may be left of them.
async fn growth(
    cluster: &Cluster,
    client: &Client,
    watch: &mut Watch,
    pods: usize,
) -> Result<Vec<Row>, Error> {
    let pid = cluster.pid()?;
    // What is made once and kept (caches, threads, the store's history) is made before the first look.
    rounds(client, watch, ROUND, "warm").await?;
    let (before, memory, began) = (settled(cluster, None).await?, process::memory(pid)?, Instant::now());
    rounds(client, watch, pods, "round").await?;
    let took = began.elapsed();
    let after = settled(cluster, Some(before)).await?;
    let grown = process::memory(pid)?.resident.saturating_sub(memory.resident);
    let left = |what: &str, count: fn(&Holdings) -> usize| {
        let (before, after) = (count(&before), count(&after));
        #[expect(clippy::cast_precision_loss, reason = "a handful")]
        let more = after.saturating_sub(before) as f64;
        Row::new(format!("{what} left of {pods} Pods"), more, "")
            .at_most(0.0)
            .note(format!("{before} before"))
    };
    Ok(vec![
        Row::new("Pods made and deleted", per_second(pods, took), "/s").note(format!("{ROUND} at a time")),
        left("file descriptors", |held| held.descriptors),
        left("mounts", |held| held.mounts),
        left("control groups", |held| held.control_groups),
        left("network namespaces", |held| held.network_namespaces),
        left("links", |held| held.links),
        Row::new(format!("resident memory grown over {pods} Pods"), megabytes(grown), "MB")
            .note("their Events live on for an hour, the store's history for five minutes"),
    ])
}

async fn rounds(client: &Client, watch: &mut Watch, pods: usize, name: &str) -> Result<(), Error> {
    for first in (0..pods).step_by(ROUND) {
        let count = ROUND.min(pods - first);
        let crowd = (0..count).map(|number| manifest::one_container(&format!("{name}-{}", first + number)));
        all(client, watch, crowd.collect(), |seen| seen.phase() == "Running").await?;
        client.delete(PODS).await?;
        gone(watch, count).await?;
    }
    Ok(())
}

/// What is held once the program rests: Pods are gone from the API a moment before the last folder is. Waits for
/// `wanted`, in vain if something is left.
async fn settled(cluster: &Cluster, wanted: Option<Holdings>) -> Result<Holdings, Error> {
    let pid = cluster.pid()?;
    let mut held = process::holdings(pid, &cluster.data);
    for _ in 0..30 {
        let before = held;
        tokio::time::sleep(Duration::from_millis(200)).await;
        held = process::holdings(pid, &cluster.data);
        let rests = match wanted {
            Some(wanted) => Holdings { threads: 0, ..held } == Holdings { threads: 0, ..wanted },
            None => held == before,
        };
        if rests {
            break;
        }
    }
    Ok(held)
}
