//! LimitRanger: defaults and bounds a namespace sets for its Pods and claims (I35).

use outrigger_api::{Object, Quantity, StatusError};
use serde_json::{Map, Value, json};

use super::Lookup;
use crate::tree;

const NOTE: &str = "kubernetes.io/limit-ranger";
const CONTAINERS: [&str; 2] = ["containers", "initContainers"];

/// Fills in the default requests and limits of containers, and says so in an annotation.
pub(super) fn apply_defaults(pod: &mut Object, namespace: &str, lookup: &dyn Lookup) {
    let mut notes: Vec<String> = Vec::new();
    for range in lookup.limit_ranges(namespace) {
        let (requests, limits) = container_defaults(&range);
        if requests.is_empty() && limits.is_empty() {
            continue;
        }
        let Some(spec) = pod.0.get_mut("spec") else { continue };
        for (field, word) in [("containers", "container"), ("initContainers", "init container")] {
            for container in tree::list_mut(spec, field) {
                let name = tree::text(container, "name").to_owned();
                let added = fill(container, "requests", &requests)
                    .into_iter()
                    .map(|resource| format!("{resource} request for {word} {name}"));
                notes.extend(added.collect::<Vec<_>>());
                let added = fill(container, "limits", &limits)
                    .into_iter()
                    .map(|resource| format!("{resource} limit for {word} {name}"));
                notes.extend(added.collect::<Vec<_>>());
            }
        }
    }
    if !notes.is_empty() {
        *pod.entry(&["metadata", "annotations", NOTE]) =
            json!(format!("LimitRanger plugin set: {}", notes.join("; ")));
    }
}

fn items<'a>(range: &'a Object, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    let limits = range.at(&["spec", "limits"]).and_then(Value::as_array).into_iter().flatten();
    limits.filter(move |item| tree::text(item, "type") == kind)
}

fn container_defaults(range: &Object) -> (Map<String, Value>, Map<String, Value>) {
    let (mut requests, mut limits) = (Map::new(), Map::new());
    for item in items(range, "Container") {
        for (list, key) in [(&mut requests, "defaultRequest"), (&mut limits, "default")] {
            for (name, amount) in item.get(key).and_then(Value::as_object).into_iter().flatten() {
                list.insert(name.clone(), amount.clone());
            }
        }
    }
    (requests, limits)
}

/// Adds what is missing; names what it added.
fn fill(container: &mut Value, list: &str, defaults: &Map<String, Value>) -> Vec<String> {
    let mut added = Vec::new();
    if defaults.is_empty() {
        return added;
    }
    let amounts =
        tree::object_mut(container, "resources").and_then(|resources| tree::object_mut(resources, list));
    let Some(amounts) = amounts.and_then(Value::as_object_mut) else { return added };
    for (name, amount) in defaults {
        if !amounts.contains_key(name) {
            amounts.insert(name.clone(), amount.clone());
            added.push(name.clone());
        }
    }
    added
}

/// Refuses a Pod outside the bounds of its namespace.
pub(super) fn check_pod(pod: &Object, namespace: &str, lookup: &dyn Lookup) -> Result<(), StatusError> {
    let mut faults: Vec<String> = Vec::new();
    let empty = Value::Null;
    let spec = pod.0.get("spec").unwrap_or(&empty);
    for range in lookup.limit_ranges(namespace) {
        for item in items(&range, "Container") {
            for container in CONTAINERS.iter().flat_map(|field| tree::list(spec, field)) {
                let resources = container.get("resources").unwrap_or(&empty);
                let of = |list: &str, name: &str| Quantity::from_json(resources.get(list)?.get(name)?);
                check(item, "Container", of, &mut faults);
            }
        }
        for item in items(&range, "Pod") {
            check(item, "Pod", |list, name| total(spec, list, name), &mut faults);
        }
    }
    refuse("pods", pod, &faults)
}

/// Refuses a claim outside the bounds of its namespace: what it asks for is both request and limit.
pub(super) fn check_claim(claim: &Object, namespace: &str, lookup: &dyn Lookup) -> Result<(), StatusError> {
    let mut faults: Vec<String> = Vec::new();
    for range in lookup.limit_ranges(namespace) {
        for item in items(&range, "PersistentVolumeClaim") {
            let of = |_: &str, name: &str| {
                Quantity::from_json(claim.at(&["spec", "resources", "requests"])?.get(name)?)
            };
            check(item, "PersistentVolumeClaim", of, &mut faults);
        }
    }
    refuse("persistentvolumeclaims", claim, &faults)
}

fn refuse(plural: &str, object: &Object, faults: &[String]) -> Result<(), StatusError> {
    match faults {
        [] => Ok(()),
        [one] => Err(StatusError::forbidden(plural, "", object.name(), one)),
        many => {
            let all = format!("[{}]", many.join(", "));
            Err(StatusError::forbidden(plural, "", object.name(), &all))
        }
    }
}

/// Apps together, or the largest init container if that is more; `None` if nobody says.
fn total(spec: &Value, list: &str, name: &str) -> Option<Quantity> {
    let of = |container: &Value| Quantity::from_json(container.get("resources")?.get(list)?.get(name)?);
    let apps: Vec<Quantity> = tree::list(spec, "containers").iter().filter_map(of).collect();
    let largest = tree::list(spec, "initContainers").iter().filter_map(of).max();
    let sum = (!apps.is_empty()).then(|| apps.into_iter().sum::<Quantity>());
    sum.max(largest)
}

fn check(item: &Value, kind: &str, of: impl Fn(&str, &str) -> Option<Quantity>, faults: &mut Vec<String>) {
    let bounds = |key: &str| {
        let list = item.get(key).and_then(Value::as_object).into_iter().flatten();
        list.filter_map(|(name, value)| Some((name.clone(), Quantity::from_json(value)?, shown(value))))
            .collect::<Vec<_>>()
    };
    for (name, least, text) in bounds("min") {
        match (of("requests", &name), of("limits", &name)) {
            (Some(request), _) if request < least => {
                faults.push(format!("minimum {name} usage per {kind} is {text}, but request is {request}"));
            }
            (None, _) => {
                faults.push(format!("minimum {name} usage per {kind} is {text}.  No request is specified"));
            }
            (_, Some(limit)) if limit < least => {
                faults.push(format!("minimum {name} usage per {kind} is {text}, but limit is {limit}"));
            }
            _ => {}
        }
    }
    for (name, most, text) in bounds("max") {
        match of("limits", &name) {
            None => faults.push(format!("maximum {name} usage per {kind} is {text}.  No limit is specified")),
            Some(limit) if limit > most => {
                faults.push(format!("maximum {name} usage per {kind} is {text}, but limit is {limit}"));
            }
            Some(_) => {}
        }
    }
    for (name, most, text) in bounds("maxLimitRequestRatio") {
        let (Some(limit), Some(request)) = (of("limits", &name), of("requests", &name)) else { continue };
        let ratio = limit.ratio(request);
        if ratio > most.ratio(Quantity::units(1)) {
            faults.push(format!(
                "{name} max limit to request ratio per {kind} is {text}, but provided ratio is {ratio:.6}"
            ));
        }
    }
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
