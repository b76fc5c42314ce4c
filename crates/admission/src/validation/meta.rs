//! `metadata` of every kind (C1, C2, C6, C10, C11, C14, C15, C18).

use outrigger_api::kind::NameRule;
use outrigger_api::{KindInfo, Object};
use serde_json::{Map, Value};

use super::names;
use crate::field::Findings;
use crate::tree;

const MAX_ANNOTATIONS: usize = 262_144;

pub(super) fn create(kind: &KindInfo, object: &Object, findings: &mut Findings) {
    let prefix = object.str_at(&["metadata", "generateName"]);
    let check = |name: &str| match kind.strategy.name {
        NameRule::Subdomain => names::dns_subdomain(name),
        NameRule::Label => names::dns_label(name),
        NameRule::PathSegment => names::path_segment(name),
    };
    if !prefix.is_empty()
        && let Some(why) = check(&format!("{}a", prefix.trim_end_matches('-')))
    {
        findings.invalid("metadata.generateName", prefix, &why);
    }
    match object.name() {
        "" => findings.required("metadata.name", "name or generateName is required"),
        name => {
            if let Some(why) = check(name) {
                findings.invalid("metadata.name", name, &why);
            }
        }
    }
    if kind.namespaced {
        match object.namespace() {
            "" => findings.required("metadata.namespace", ""),
            namespace => {
                if let Some(why) = names::dns_label(namespace) {
                    findings.invalid("metadata.namespace", namespace, &why);
                }
            }
        }
    }
    common(kind, object, findings);
}

pub(super) fn update(kind: &KindInfo, new: &Object, old: &Object, findings: &mut Findings) {
    common(kind, new, findings);
    if old.is_deleting() {
        let found: Vec<String> = new
            .finalizers()
            .filter(|name| !old.finalizers().any(|other| other == *name))
            .map(|name| format!("{name:?}"))
            .collect();
        if !found.is_empty() {
            findings.forbidden("metadata.finalizers", &format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                found.join(", ")
            ));
        }
    }
    for key in
        ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"]
    {
        let (is, was) = (new.at(&["metadata", key]), old.at(&["metadata", key]));
        if is.unwrap_or(&Value::Null) != was.unwrap_or(&Value::Null) {
            findings.invalid(
                &format!("metadata.{key}"),
                is.cloned().unwrap_or_default(),
                "field is immutable",
            );
        }
    }
}

fn common(kind: &KindInfo, object: &Object, findings: &mut Findings) {
    let empty = Value::Null;
    let metadata = object.0.get("metadata").unwrap_or(&empty);
    labels(metadata, "metadata.labels", findings);
    annotations(metadata, "metadata.annotations", findings);
    owners(metadata, findings);
    finalizers(kind, metadata, findings);
}

/// C10: label keys and values below `holder.labels`; also used for templates.
pub(super) fn labels(holder: &Value, path: &str, findings: &mut Findings) {
    for (key, value) in holder.get("labels").and_then(Value::as_object).into_iter().flatten() {
        if let Some(why) = names::qualified(key) {
            findings.invalid(path, key.as_str(), &why);
        }
        let value = value.as_str().unwrap_or_default();
        if let Some(why) = names::label_value(value) {
            findings.invalid(path, value, &why);
        }
    }
}

/// C10; also used for templates.
pub(super) fn annotations(metadata: &Value, path: &str, findings: &mut Findings) {
    let empty = Map::new();
    let annotations = metadata.get("annotations").and_then(Value::as_object).unwrap_or(&empty);
    for key in annotations.keys() {
        if let Some(why) = names::qualified(&key.to_lowercase()) {
            findings.invalid(path, key.as_str(), &why);
        }
    }
    let total: usize =
        annotations.iter().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    if total > MAX_ANNOTATIONS {
        findings.too_long(path, MAX_ANNOTATIONS);
    }
}

/// C14.
fn owners(metadata: &Value, findings: &mut Findings) {
    let path = "metadata.ownerReferences";
    let mut controllers: Vec<String> = Vec::new();
    for owner in tree::list(metadata, "ownerReferences") {
        for key in ["apiVersion", "kind", "name", "uid"] {
            if tree::unset(owner, key) {
                let why = if key == "apiVersion" { "version must not be empty" } else { "must not be empty" };
                findings.invalid(&format!("{path}.{key}"), "", why);
            }
        }
        if tree::text(owner, "apiVersion") == "v1" && tree::text(owner, "kind") == "Event" {
            findings.invalid(path, owner.clone(), "/v1, Kind=Event is disallowed from being an owner");
        }
        if tree::truth(owner, "controller") {
            controllers.push(format!("{}/{}", tree::text(owner, "kind"), tree::text(owner, "name")));
        }
    }
    if let [first, second, ..] = controllers.as_slice() {
        let list = metadata.get("ownerReferences").cloned().unwrap_or_default();
        let why = format!(
            "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {second}"
        );
        findings.invalid(path, list, &why);
    }
}

/// C11.
fn finalizers(kind: &KindInfo, metadata: &Value, findings: &mut Findings) {
    let path = "metadata.finalizers";
    let list: Vec<&str> = tree::list(metadata, "finalizers").iter().filter_map(Value::as_str).collect();
    for name in &list {
        if let Some(why) = names::qualified(name) {
            findings.invalid(path, *name, &why);
        } else if !kind.custom
            && !name.contains('/')
            && !matches!(*name, "orphan" | "foregroundDeletion" | "kubernetes")
        {
            findings.invalid(
                path,
                *name,
                "name is neither a standard finalizer name nor is it fully qualified",
            );
        }
    }
    if list.contains(&"orphan") && list.contains(&"foregroundDeletion") {
        let value = metadata.get("finalizers").cloned().unwrap_or_default();
        findings.invalid(path, value, "finalizer orphan and foregroundDeletion cannot be both set");
    }
}
