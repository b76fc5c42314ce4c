//! The layers of ARCHITECTURE.md, checked: an arrow between crates may only point down.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use crate::Failure;
use crate::run::{capture, cargo};

/// Layers from the top; a crate may depend on crates of lower layers, and inside a layer only as `PEERS` allows.
const LAYERS: &[&[&str]] = &[
    &["outrigger"],
    &["outrigger-apiserver", "outrigger-kubelet", "outrigger-controllers", "outrigger-scheduler"],
    &["outrigger-store", "outrigger-runtime", "outrigger-images", "outrigger-network", "outrigger-streaming"],
    &["outrigger-reconcile"],
    &["outrigger-simulator", "outrigger-explain"],
    &["outrigger-pod-lifecycle", "outrigger-scheduling", "outrigger-admission", "outrigger-workloads"],
    &["outrigger-schema"],
    &["outrigger-api", "outrigger-shim-protocol"],
];

/// Programs of their own and helpers for tests: they may use anything, and nothing above tests may use them.
const SUPPORT: &[&str] = &["outrigger-bench", "outrigger-shim", "outrigger-testkit", "xtask"];

/// Crates that must stay free of I/O: none of these may be among their dependencies.
const PURE: &[&str] = &[
    "outrigger-api",
    "outrigger-schema",
    "outrigger-pod-lifecycle",
    "outrigger-scheduling",
    "outrigger-admission",
    "outrigger-workloads",
    "outrigger-simulator",
    "outrigger-explain",
];
const IO: &[&str] = &["tokio", "hyper", "kube", "reqwest", "redb", "tonic", "rtnetlink"];

/// Fails with every arrow that points up.
pub(crate) fn check() -> Result<(), Failure> {
    let wrong = wrong_arrows(&dependencies(&metadata()?));
    if wrong.is_empty() { Ok(()) } else { Err(format!("crate graph:\n  {}", wrong.join("\n  "))) }
}

/// The folders under `crates/` that are part of the workspace.
pub(crate) fn members() -> Result<BTreeSet<String>, Failure> {
    let metadata = metadata()?;
    let manifests = metadata["packages"].as_array().into_iter().flatten();
    let folders = manifests
        .filter_map(|package| Path::new(package["manifest_path"].as_str()?).parent()?.file_name()?.to_str());
    Ok(folders.map(str::to_owned).collect())
}

fn metadata() -> Result<Value, Failure> {
    let metadata = capture(&mut cargo(&["metadata", "--format-version", "1", "--no-deps"]))?;
    serde_json::from_str(&metadata).map_err(|error| format!("cargo metadata: {error}"))
}

/// Each workspace crate with its normal dependencies.
fn dependencies(metadata: &Value) -> BTreeMap<String, Vec<String>> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let packages = metadata["packages"].as_array().into_iter().flatten();
    packages
        .map(|package| {
            let normal =
                package["dependencies"].as_array().into_iter().flatten().filter(|one| one["kind"].is_null());
            (text(&package["name"]), normal.map(|one| text(&one["name"])).collect())
        })
        .collect()
}

fn wrong_arrows(crates: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let layer = |name: &str| LAYERS.iter().position(|names| names.contains(&name));
    let mut wrong = Vec::new();
    for (name, needs) in crates.iter().filter(|(name, _)| !SUPPORT.contains(&name.as_str())) {
        let Some(from) = layer(name) else {
            wrong.push(format!("{name} stands in no layer; add it to xtask's table and to ARCHITECTURE.md"));
            continue;
        };
        for needed in needs {
            if SUPPORT.contains(&needed.as_str()) {
                wrong.push(format!("{name} depends on {needed}, which is for tests only"));
            } else if layer(needed).is_some_and(|to| to <= from) {
                wrong.push(format!("{name} depends on {needed}, which is not below it"));
            }
            if PURE.contains(&name.as_str()) && IO.contains(&needed.as_str()) {
                wrong.push(format!("{name} must stay pure but depends on {needed}"));
            }
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(&str, &[&str])]) -> BTreeMap<String, Vec<String>> {
        edges
            .iter()
            .map(|(name, needs)| ((*name).to_owned(), needs.iter().map(|n| (*n).to_owned()).collect()))
            .collect()
    }

    #[test]
    fn arrows_may_point_down() {
        let crates =
            graph(&[("outrigger-kubelet", &["outrigger-runtime", "tokio"]), ("outrigger-api", &["serde"])]);
        assert_eq!(wrong_arrows(&crates), Vec::<String>::new());
    }

    #[test]
    fn an_upward_arrow_is_named() {
        let wrong = wrong_arrows(&graph(&[("outrigger-runtime", &["outrigger-kubelet"])]));
        assert_eq!(wrong, ["outrigger-runtime depends on outrigger-kubelet, which is not below it"]);
    }

    #[test]
    fn a_pure_crate_may_not_do_io() {
        let wrong = wrong_arrows(&graph(&[("outrigger-pod-lifecycle", &["tokio"])]));
        assert_eq!(wrong, ["outrigger-pod-lifecycle must stay pure but depends on tokio"]);
    }

    #[test]
    fn an_unknown_crate_is_asked_to_choose_a_layer() {
        assert_eq!(wrong_arrows(&graph(&[("outrigger-new", &[])])).len(), 1);
    }
}
