//! `cargo xtask demo`: the examples for real, and what happened in them.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

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
    finish(&mut cargo(&["build", "--release", "--quiet", "-p", "outrigger"]))?;
    let folder = target().join("demo");
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let registry = match images {
        Images::Online => None,
        Images::Fixtures => Some(registry(&folder)?),
    };
    let certs = registry.as_ref().map(|(_, certs)| certs.as_path());
    let shown = cluster(&folder, certs);
    if let Some((mut fixtures, _)) = registry {
        // Its end takes the registry along.
        let _ = finish(Command::new("kill").arg(fixtures.id().to_string()));
        let _ = fixtures.wait();
    }
    shown
}

/// Serves fixture images; the process, and the mirror configuration that leads to it.
fn registry(folder: &Path) -> Result<(Child, PathBuf), Failure> {
    println!(
        "== images: busybox from busybox-static, python:3.8 from this machine's python, on a loopback registry"
    );
    finish(&mut cargo(&["build", "--quiet", "-p", "outrigger-testkit", "--bin", "fixtures"]))?;
    let mut child = Command::new(target().join("debug/fixtures"))
        .arg(folder.join("registry"))
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot run the fixture registry: {error}"))?;
    let output = child.stdout.take().ok_or("the fixture registry has no output")?;
    let mut certs = None;
    for line in BufReader::new(output).lines() {
        let line = line.map_err(|error| format!("the fixture registry: {error}"))?;
        if let Some(path) = line.strip_prefix("certs-dir ") {
            certs = Some(PathBuf::from(path));
        }
        if line == "ready" {
            break;
        }
    }
    let certs = certs.ok_or("the fixture registry ended before it was ready")?;
    Ok((child, certs))
}

/// Starts a cluster, shows the examples, stops it.
fn cluster(folder: &Path, certs: Option<&Path>) -> Result<(), Failure> {
    let data = folder.join("data");
    let program = target().join("release/outrigger");
    println!("== outrigger up");
    let mut up = Command::new(&program);
    up.args(["up", "--detach", "--listen", "127.0.0.1:0", "--pod-cidr", "10.87.0.0/24", "--data-dir"])
        .arg(&data);
    if let Some(certs) = certs {
        up.arg("--registry-config").arg(certs);
    }
    finish(&mut up)?;
    let shown = EXAMPLES.iter().try_for_each(|example| show(&data, example));
    println!("== outrigger down");
    finish(Command::new(&program).arg("down").arg("--data-dir").arg(&data))?;
    std::fs::remove_dir_all(&data).map_err(|error| format!("{}: {error}", data.display()))?;
    shown
}

fn kubectl(data: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(tools::newest_kubectl());
    command.arg("--kubeconfig").arg(data.join("kubeconfig")).args(arguments);
    command
}

/// Applies one example, waits for its outcome, shows its logs and its timeline.
fn show(data: &Path, example: &str) -> Result<(), Failure> {
    println!("\n== {example}");
    let file = root().join("examples").join(format!("{example}.yaml"));
    finish(kubectl(data, &["apply", "-f"]).arg(&file))?;
    let condition = match example {
        "init-sidecar-app" => "--for=jsonpath={.status.phase}=Succeeded",
        "time-printer-pod" => "--for=jsonpath={.status.containerStatuses[0].restartCount}=1",
        _ => "--for=condition=Ready",
    };
    finish(&mut kubectl(data, &["wait", condition, &format!("pod/{example}"), "--timeout=120s"]))?;
    finish(&mut kubectl(data, &["logs", example, "--all-containers", "--prefix", "--tail=5"]))?;
    finish(&mut kubectl(data, &["get", "pod", example, "-o", "wide"]))?;
    let pod = json(&mut kubectl(data, &["get", "pod", example, "-o", "json"]))?;
    let uid = pod["metadata"]["uid"].as_str().unwrap_or_default();
    let of_pod = format!("involvedObject.uid={uid}");
    let events = json(&mut kubectl(data, &["get", "events", "--field-selector", &of_pod, "-o", "json"]))?;
    timeline(&events);
    finish(&mut kubectl(data, &["delete", "pod", example, "--grace-period=1"]))
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
