//! What a Pod uses.

use std::collections::BTreeSet;

use outrigger_api::{Object, Quantity};
use serde_json::Value;

use super::Amounts;
use crate::tree;
use crate::validation::ABSENT;

/// What containers must say if a quota limits it.
const DEMANDED: [&str; 6] =
    ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];

/// A Pod that has ended uses nothing but its name.
pub(super) fn usage(pod: &Object) -> Amounts {
    let mut used = Amounts::new();
    if matches!(pod.str_at(&["status", "phase"]), "Succeeded" | "Failed") {
        return used;
    }
    used.insert("pods".to_owned(), Quantity::units(1));
    let spec = pod.0.get("spec").unwrap_or(ABSENT);
    for name in resources(spec, "requests") {
        let Some(amount) = total(spec, "requests", &name) else { continue };
        used.insert(format!("requests.{name}"), amount);
        let is_plain = matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage");
        if is_plain || name.starts_with("hugepages-") {
            used.insert(name, amount);
        }
    }
    for name in ["cpu", "memory", "ephemeral-storage"] {
        if let Some(amount) = total(spec, "limits", name) {
            used.insert(format!("limits.{name}"), amount);
        }
    }
    used
}

fn containers(spec: &Value) -> impl Iterator<Item = &Value> {
    ["initContainers", "containers"].into_iter().flat_map(|field| tree::list(spec, field))
}

fn amount(holder: &Value, list: &str, name: &str) -> Option<Quantity> {
    Quantity::from_json(holder.get("resources")?.get(list)?.get(name)?)
}

fn resources(spec: &Value, list: &str) -> BTreeSet<String> {
    let holders = containers(spec).chain(std::iter::once(spec));
    let named = holders.filter_map(|holder| holder.get("resources")?.get(list)?.as_object());
    let overhead = spec.get("overhead").and_then(Value::as_object);
    named.chain(overhead).flat_map(|map| map.keys().cloned()).collect()
}

/// R13.1-R13.4: what the Pod as a whole asks for or may use; `None` if nobody says.
fn total(spec: &Value, list: &str, name: &str) -> Option<Quantity> {
    let overhead = spec.get("overhead").and_then(|it| it.get(name)).and_then(Quantity::from_json);
    if let Some(own) = amount(spec, list, name) {
        return Some(own + overhead.unwrap_or_default());
    }
    let (mut sidecars, mut peak) = (Quantity::default(), Quantity::default());
    for init in tree::list(spec, "initContainers") {
        let own = amount(init, list, name).unwrap_or_default();
        peak = peak.max(sidecars + own);
        if tree::text(init, "restartPolicy") == "Always" {
            sidecars = sidecars + own;
        }
    }
    let apps: Quantity =
        tree::list(spec, "containers").iter().filter_map(|container| amount(container, list, name)).sum();
    let said = containers(spec).any(|container| amount(container, list, name).is_some());
    (said || overhead.is_some()).then(|| (sidecars + apps).max(peak) + overhead.unwrap_or_default())
}

/// What containers leave out that has to be known: `cpu for: a,b; memory for: b`.
pub(super) fn missing(pod: &Object, limited: &Amounts) -> Option<String> {
    let spec = pod.0.get("spec").unwrap_or(ABSENT);
    let mut parts = Vec::new();
    for name in limited.keys().filter(|name| DEMANDED.contains(&name.as_str())) {
        let (list, resource) = match name.split_once('.') {
            Some((list, resource)) => (list, resource),
            None => ("requests", name.as_str()),
        };
        if amount(spec, list, resource).is_some() {
            continue;
        }
        let silent: Vec<&str> = containers(spec)
            .filter(|container| amount(container, list, resource).is_none())
            .map(|container| tree::text(container, "name"))
            .collect();
        if !silent.is_empty() {
            parts.push(format!("{name} for: {}", silent.join(",")));
        }
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}
