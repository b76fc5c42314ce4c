//! `cargo xtask traces`: the scenarios of `conformance/traces` with real containers, beside what a reference cluster
//! showed to clients.

use std::path::Path;
use std::process::Command;

use crate::cluster::{Cluster, Fixtures};
use crate::run::{cargo, require_root, root, run as finish, target};
use crate::{Failure, tools};

/// The repository and tag the scenarios' busybox is served and used under.
const BUSYBOX: &str = "e2e-test-images/busybox:1.37.0-1";

/// The registry of that name; the mirror answers for it.
const REGISTRY: &str = "registry.k8s.io";

/// Where the reference cluster had its Services, and its name service at the tenth address.
const SERVICES: &str = "10.97.0.0/16";

/// Scenarios that run at once. They wait far more than they work.
const PARALLEL: &str = "8";

/// Runs the scenarios with these ids, or all; fails if what clients see differs in a way that matters.
pub(crate) fn run(scenarios: &[&str]) -> Result<(), Failure> {
    require_root("traces")?;
    tools::for_traces()?;
    println!("== build");
    finish(&mut cargo(&["build", "--quiet", "-p", "outrigger"]))?;
    let folder = target().join("traces");
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    // A run that was killed may have left it.
    let _ = std::fs::remove_dir_all(folder.join("registry"));
    println!("== images: busybox from busybox-static, on a loopback registry");
    let fixtures = Fixtures::serve(&folder, &["--without-python", &format!("--busybox={BUSYBOX}")])?;
    // Other registries are to be as unreachable as they are named.
    let others = fixtures.certs().join("_default");
    std::fs::remove_dir_all(&others).map_err(|error| format!("{}: {error}", others.display()))?;
    std::fs::rename(fixtures.certs().join("docker.io"), fixtures.certs().join(REGISTRY))
        .map_err(|error| format!("{}: {error}", fixtures.certs().display()))?;
    let program = target().join("debug/outrigger");
    let options = ["--node-name", "traces", "--pod-cidr", "10.86.0.0/16", "--service-cidr", SERVICES];
    let cluster = Cluster::up(program, &folder, &options, Some(fixtures.certs()))?;
    let compared = present(&cluster).and_then(|()| compare(&cluster, &folder, scenarios));
    cluster.down()?;
    drop(fixtures);
    std::fs::remove_dir_all(folder.join("registry"))
        .map_err(|error| format!("{}: {error}", folder.display()))?;
    compared
}

/// Has the image on the node, as it was when the traces were recorded.
fn present(cluster: &Cluster) -> Result<(), Failure> {
    let image = format!("--image={REGISTRY}/{BUSYBOX}");
    finish(&mut cluster.kubectl(&["run", "warm", &image, "--restart=Never", "--", "true"]))?;
    let over = ["wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/warm", "--timeout=60s"];
    finish(&mut cluster.kubectl(&over))?;
    finish(&mut cluster.kubectl(&["delete", "pod", "warm"]))
}

fn compare(cluster: &Cluster, folder: &Path, scenarios: &[&str]) -> Result<(), Failure> {
    println!("== scenarios");
    let here = root().join("conformance/traces");
    let mut podtrace = Command::new("/usr/bin/python3");
    podtrace.arg(here.join("podtrace.py")).args(["compare", "--parallel", PARALLEL, "--busybox"]);
    podtrace.arg(format!("{REGISTRY}/{BUSYBOX}"));
    podtrace.arg("--kubeconfig").arg(cluster.kubeconfig());
    podtrace.arg("--kubectl").arg(tools::newest_kubectl());
    podtrace.arg("--out").arg(folder.join("seen")).args(scenarios);
    let seen = folder.join("seen");
    finish(&mut podtrace).map_err(|failure| format!("{failure}\nwhat was seen is in {}", seen.display()))
}
