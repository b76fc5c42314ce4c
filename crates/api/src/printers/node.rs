//! Nodes (G15).

use jiff::Timestamp;
use serde_json::{Value, json};

use super::tree::Tree;
use super::{AGE, NAME, Printer, text};

pub(super) const NODE: Printer = Printer {
    columns: &[
        NAME,
        text("Status"),
        text("Roles"),
        AGE,
        text("Version"),
        text("Internal-IP").wide(),
        text("External-IP").wide(),
        text("OS-Image").wide(),
        text("Kernel-Version").wide(),
        text("Container-Runtime").wide(),
    ],
    cells,
};

fn cells(node: Tree<'_>, now: Timestamp) -> Vec<Value> {
    let mut status = match node.condition("Ready") {
        Some(ready) if ready.text("status") == "True" => "Ready".to_owned(),
        Some(_) => "NotReady".to_owned(),
        None => "Unknown".to_owned(),
    };
    if node.flag("spec.unschedulable") {
        status.push_str(",SchedulingDisabled");
    }
    let info = |member: &str| node.at("status.nodeInfo").text_or(member, "<unknown>").to_owned();
    let address = |ty: &str| {
        let found = node.list("status.addresses").find(|address| address.text("type") == ty);
        found.map_or("<none>", |address| address.text("address")).to_owned()
    };
    let kernel = match node.text("status.nodeInfo.architecture") {
        "" => info("kernelVersion"),
        architecture => format!("{} ({architecture})", info("kernelVersion")),
    };
    vec![
        json!(status),
        json!(roles(node)),
        node.age(now),
        json!(node.text("status.nodeInfo.kubeletVersion")),
        json!(address("InternalIP")),
        json!(address("ExternalIP")),
        json!(info("osImage")),
        json!(kernel),
        json!(info("containerRuntimeVersion")),
    ]
}

fn roles(node: Tree<'_>) -> String {
    let mut roles: Vec<&str> = node
        .members("metadata.labels")
        .filter_map(|(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => Some(role),
            None if key == "kubernetes.io/role" => value.0.as_str(),
            None => None,
        })
        .filter(|role| !role.is_empty())
        .collect();
    roles.sort_unstable();
    roles.dedup();
    if roles.is_empty() { "<none>".to_owned() } else { roles.join(",") }
}
