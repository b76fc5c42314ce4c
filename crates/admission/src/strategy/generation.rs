//! `metadata.generation`: which kinds count, and what counts as a change (C8, C9, R1.50), with the few steps a
//! kind's own strategy adds on create and update.

use outrigger_api::{KindInfo, Object};
use serde_json::{Value, json};

use super::{CreateInput, pod};
use crate::tree;

/// Sets `metadata.generation` of an update from the stored object (C8, C9).
pub(super) fn bump(kind: &KindInfo, new: &mut Object, old: &Object) {
    let stored = old.at(&["metadata", "generation"]).and_then(Value::as_i64);
    let next = match stored {
        Some(generation) if kind.strategy.generation && desired_state_differs(kind, new, old) => {
            Some(generation + 1)
        }
        None if kind.strategy.generation => Some(1),
        unchanged => unchanged,
    };
    match next {
        Some(generation) => new.metadata_mut().insert("generation".to_owned(), json!(generation)),
        None => new.metadata_mut().remove("generation"),
    };
}

/// Whether anything but metadata and status changed; EndpointSlice also counts labels and annotations (C9).
fn desired_state_differs(kind: &KindInfo, new: &Object, old: &Object) -> bool {
    let counts = |key: &str| {
        !matches!(key, "metadata" | "apiVersion" | "kind") && (key != "status" || !kind.strategy.status)
    };
    let keys = new.0.keys().chain(old.0.keys().filter(|key| !new.0.contains_key(*key)));
    let differs = |key: &String| {
        !tree::same(new.0.get(key).unwrap_or(&Value::Null), old.0.get(key).unwrap_or(&Value::Null))
    };
    keys.filter(|key| counts(key)).any(differs) || (&*kind.kind == "EndpointSlice" && labels_differ(new, old))
}

fn labels_differ(new: &Object, old: &Object) -> bool {
    ["labels", "annotations"].iter().any(|member| {
        let at = |object: &Object| object.at(&["metadata", member]).cloned().unwrap_or_else(|| json!({}));
        at(new) != at(old)
    })
}

/// What single kinds do on create beyond the common steps.
pub(super) fn prepare_kind_on_create(kind: &KindInfo, object: &mut Object, input: &CreateInput<'_>) {
    match (&*kind.group, &*kind.kind) {
        ("", "Pod") => pod::drop_disabled_fields(object),
        ("", "Namespace") => add_namespace_finalizer(object),
        ("batch", "Job") => label_job(object, input.uid),
        ("", "PersistentVolumeClaim" | "PersistentVolume") | (_, _) => {}
    }
}

/// K23: content is removed before the namespace is, and this token is what waits for it.
fn add_namespace_finalizer(object: &mut Object) {
    let finalizers = object.entry(&["spec", "finalizers"]);
    if !finalizers.is_array() {
        *finalizers = json!([]);
    }
    let list = finalizers.as_array_mut().expect("just made");
    if !list.iter().any(|name| name == "kubernetes") {
        list.push(json!("kubernetes"));
    }
}

/// K29: unless the user manages the selector, a Job selects its pods by its own uid.
fn label_job(object: &mut Object, uid: &str) {
    let manual = object.at(&["spec", "manualSelector"]).and_then(Value::as_bool).unwrap_or_default();
    if manual {
        return;
    }
    let name = object.name().to_owned();
    let labels = object.entry(&["spec", "template", "metadata", "labels"]);
    if !labels.is_object() {
        *labels = json!({});
    }
    for (key, value) in [
        ("batch.kubernetes.io/controller-uid", uid),
        ("batch.kubernetes.io/job-name", &name),
        ("controller-uid", uid),
        ("job-name", &name),
    ] {
        tree::set(labels, key, value);
    }
    let selector = object.entry(&["spec", "selector"]);
    if !selector.is_object() {
        *selector = json!({});
    }
    if let Some(labels) = tree::object_mut(selector, "matchLabels") {
        tree::set(labels, "batch.kubernetes.io/controller-uid", uid);
    }
}
