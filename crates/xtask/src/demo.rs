//! `cargo xtask demo`: the examples for real, and what happened in them.

use std::process::Command;

use serde_json::Value;

use crate::cluster::{Cluster, Fixtures};
use crate::run::{capture, cargo, require_root, root, run as finish, target};
use crate::{Failure, tools};

/// Where the demo's images come from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Images {
    /// Built here and served from a loopback registry.
    Fixtures,
    /// Pulled from docker.io.
    Online,
}

/// What the demo runs, in order.
const EXAMPLES: [&str; 3] = ["init-sidecar-app", "time-printer-pod", "top-command-pod"];

/// Builds the program, runs the examples, shows their logs and timelines, and takes everything away again.
pub(crate) fn run(images: Images) -> Result<(), Failure> {
    require_root("demo")?;
    tools::for_demo()?;
    println!("== build");
    finish(&mut cargo(&["build", "--release", "-p", "outrigger"]))?;
    let folder = target().join("demo");
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let fixtures = match images {
        Images::Online => None,
        Images::Fixtures => {
            println!(
                "== images: busybox from busybox-static, python:3.8 from this machine's python, on a loopback registry"
            );
            Some(Fixtures::serve(&folder, &[])?)
        }
    };
    let program = target().join("release/outrigger");
    let options = ["--pod-cidr", "10.87.0.0/24"];
    let cluster = Cluster::up(program, &folder, &options, fixtures.as_ref().map(Fixtures::certs))?;
    let shown = EXAMPLES.iter().try_for_each(|example| show(&cluster, example));
    cluster.down()?;
    shown
}

/// Applies one example, waits for its outcome, shows its logs and its timeline.
fn show(cluster: &Cluster, example: &str) -> Result<(), Failure> {
    println!("\n== {example}");
    let file = root().join("examples").join(format!("{example}.yaml"));
    finish(cluster.kubectl(&["apply", "-f"]).arg(&file))?;
    let condition = match example {
        "init-sidecar-app" => "--for=jsonpath={.status.phase}=Succeeded",
        "time-printer-pod" => "--for=jsonpath={.status.containerStatuses[0].restartCount}=1",
        _ => "--for=condition=Ready",
    };
    finish(&mut cluster.kubectl(&["wait", condition, &format!("pod/{example}"), "--timeout=120s"]))?;
    finish(&mut cluster.kubectl(&["logs", example, "--all-containers", "--prefix", "--tail=5"]))?;
    finish(&mut cluster.kubectl(&["get", "pod", example, "-o", "wide"]))?;
    let pod = json(&mut cluster.kubectl(&["get", "pod", example, "-o", "json"]))?;
    let uid = pod["metadata"]["uid"].as_str().unwrap_or_default();
    let of_pod = format!("involvedObject.uid={uid}");
    let events = json(&mut cluster.kubectl(&["get", "events", "--field-selector", &of_pod, "-o", "json"]))?;
    timeline(&events);
    finish(&mut cluster.kubectl(&["delete", "pod", example, "--grace-period=1"]))
}

fn json(command: &mut Command) -> Result<Value, Failure> {
    serde_json::from_str(&capture(command)?).map_err(|error| format!("kubectl printed no JSON: {error}"))
}

/// What happened, in order; event names end with the moment in nanoseconds.
fn timeline(events: &Value) {
    let mut moments: Vec<(i128, &Value)> = events["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|event| {
            let stamp = event["metadata"]["name"].as_str()?.rsplit('.').next()?;
            Some((i128::from_str_radix(stamp, 16).ok()?, event))
        })
        .collect();
    moments.sort_by_key(|(at, _)| *at);
    let Some((start, _)) = moments.first().copied() else { return };
    println!("timeline:");
    for (at, event) in moments {
        let offset = (at - start) / 1_000_000;
        let path = event["involvedObject"]["fieldPath"].as_str().unwrap_or_default();
        let container = path.split(['{', '}']).nth(1).unwrap_or_default();
        let text = |key: &str| event[key].as_str().unwrap_or_default();
        println!("  {offset:>7} ms  {container:<14} {:<12} {}", text("reason"), text("message"));
    }
}
