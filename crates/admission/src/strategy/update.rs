//! Writes to an object that exists: preconditions, the parts a client may not change, and no-ops
//! (C5-C9, C12, C15, C17, D3, D5, D6, D8).

use outrigger_api::{KindInfo, Object, StatusError};
use serde_json::{Map, Value, json};

use super::{Endpoint, generation, pod};

/// Checks `uid` and `resourceVersion` of a PUT body against the stored object (C15, D5, D6).
///
/// # Errors
/// 409 if either differs; 422 if the kind insists on a version and there is none; 500 without reason if the
/// version is no number.
pub fn check_preconditions(kind: &KindInfo, new: &Object, old: &Object) -> Result<(), StatusError> {
    if !new.uid().is_empty() && new.uid() != old.uid() {
        let (asked, stored) = (new.uid(), old.uid());
        let cause =
            format!("Precondition failed: UID in precondition: {asked}, UID in object meta: {stored}");
        return Err(StatusError::conflict(&kind.plural, &kind.group, old.name(), &cause));
    }
    check_version(kind, new, old)
}

/// Checks only the `resourceVersion`; for the result of a patch, where a foreign uid is left to validation
/// (C15, D5-D7).
///
/// # Errors
/// As [`check_preconditions`], without the uid.
pub fn check_version(kind: &KindInfo, new: &Object, old: &Object) -> Result<(), StatusError> {
    match new.resource_version() {
        "" | "0" if kind.strategy.conditional_update_only => Err(version_required(kind, old.name())),
        "" | "0" => Ok(()),
        version if version.parse::<u64>().is_err() => Err(StatusError {
            code: 500,
            reason: None,
            message: format!("strconv.ParseUint: parsing \"{version}\": invalid syntax"),
            details: None,
            continue_token: None,
        }),
        version if version != old.resource_version() => Err(modified(kind, old.name())),
        _ => Ok(()),
    }
}

/// Merges a decoded, defaulted update with what the endpoint may not change, and sets the generation.
///
/// `resourceVersion` becomes the stored one, so that the caller can compare the two objects and then let the
/// store assign the next. Rules C5-C9, C17, D3, R1.50, H3, H42, H43.
pub fn prepare_update(kind: &KindInfo, endpoint: Endpoint, new: &mut Object, old: &Object) {
    match endpoint {
        Endpoint::Main => {
            if kind.strategy.status {
                restore(&mut new.0, &old.0, "status");
            }
        }
        Endpoint::Status => {
            keep_only(new, old, "status");
            restore_metadata(kind, new, old);
            if (&*kind.group, &*kind.kind) == ("", "Pod") {
                pod::keep_qos_class(new, old);
            }
        }
        Endpoint::EphemeralContainers => {
            pod::keep_only_ephemeral_containers(new, old);
            restore_user_metadata(new, old);
        }
        Endpoint::Resize => {
            pod::keep_only_resources(new, old);
            restore_user_metadata(new, old);
        }
        Endpoint::Finalize => {
            let finalizers = new.at(&["spec", "finalizers"]).cloned().unwrap_or_else(|| json!([]));
            *new = old.clone();
            *new.entry(&["spec", "finalizers"]) = finalizers;
        }
        Endpoint::Approval => {
            let conditions = new.at(&["status", "conditions"]).cloned().unwrap_or_else(|| json!([]));
            *new = old.clone();
            *new.entry(&["status", "conditions"]) = conditions;
        }
    }
    fill_system_metadata(new, old);
    if (&*kind.group, &*kind.kind) == ("", "Pod") && endpoint != Endpoint::Status {
        pod::prepare_update(new, old);
    }
    generation::bump(kind, new, old);
}

/// D8: whether writing `new` would change nothing worth a new version. Times in `managedFields` do not count.
pub fn is_no_op(new: &Object, old: &Object) -> bool {
    comparable(new) == comparable(old)
}

/// C12: whether this update removes the last thing that kept a deleted object alive.
pub fn completes_deletion(kind: &KindInfo, new: &Object) -> bool {
    let grace = new.at(&["metadata", "deletionGracePeriodSeconds"]).and_then(Value::as_i64).unwrap_or(0);
    let namespace_content_remains = (&*kind.group, &*kind.kind) == ("", "Namespace")
        && new.at(&["spec", "finalizers"]).and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    new.is_deleting() && grace == 0 && new.finalizers().next().is_none() && !namespace_content_remains
}

fn modified(kind: &KindInfo, name: &str) -> StatusError {
    let cause = "the object has been modified; please apply your changes to the latest version and try again";
    StatusError::conflict(&kind.plural, &kind.group, name, cause)
}

/// D5: the one validation error that names the resource instead of the Kind.
fn version_required(kind: &KindInfo, name: &str) -> StatusError {
    let finding = "Invalid value: 0: must be specified for an update";
    let resource = kind.qualified();
    let message = format!("{resource} \"{name}\" is invalid: metadata.resourceVersion: {finding}");
    let mut error = StatusError::new(422, outrigger_api::status::Reason::Invalid, message).about(
        &kind.plural,
        &kind.group,
        name,
    );
    if let Some(details) = &mut error.details {
        details.causes = vec![outrigger_api::status::Cause {
            reason: "FieldValueInvalid".to_owned(),
            message: finding.to_owned(),
            field: "metadata.resourceVersion".to_owned(),
        }];
    }
    error
}

/// Copies a member from `old`, or removes it if `old` has none.
fn restore(new: &mut Map<String, Value>, old: &Map<String, Value>, key: &str) {
    match old.get(key) {
        Some(value) => new.insert(key.to_owned(), value.clone()),
        None => new.remove(key),
    };
}

/// Takes `member` and the metadata from `new` and everything else from `old`.
fn keep_only(new: &mut Object, old: &Object, member: &str) {
    let mut merged = old.clone();
    for key in [member, "metadata"] {
        match new.0.remove(key) {
            Some(value) => merged.0.insert(key.to_owned(), value),
            None => merged.0.remove(key),
        };
    }
    *new = merged;
}

/// D3: which metadata a write to `/status` may bring along.
fn restore_metadata(kind: &KindInfo, new: &mut Object, old: &Object) {
    let empty = Map::new();
    let stored = old.0.get("metadata").and_then(Value::as_object).unwrap_or(&empty);
    match (&*kind.group, &*kind.kind) {
        ("", "Pod") => {
            for key in ["ownerReferences", "deletionTimestamp", "deletionGracePeriodSeconds"] {
                restore(new.metadata_mut(), stored, key);
            }
        }
        ("apps", "Deployment") => restore(new.metadata_mut(), stored, "labels"),
        ("", _)
        | ("apps" | "batch" | "autoscaling" | "policy" | "certificates.k8s.io" | "apiextensions.k8s.io", _)
        | ("networking.k8s.io", "Ingress") => {}
        _ => restore_user_metadata(new, old),
    }
}

fn restore_user_metadata(new: &mut Object, old: &Object) {
    let empty = Map::new();
    let stored = old.0.get("metadata").and_then(Value::as_object).unwrap_or(&empty);
    for key in ["labels", "annotations", "finalizers", "ownerReferences"] {
        restore(new.metadata_mut(), stored, key);
    }
}

/// C5-C7, C9, C17: what is filled in or silently put back.
fn fill_system_metadata(new: &mut Object, old: &Object) {
    let empty = Map::new();
    let stored = old.0.get("metadata").and_then(Value::as_object).unwrap_or(&empty).clone();
    let metadata = new.metadata_mut();
    for key in ["creationTimestamp", "resourceVersion", "generation"] {
        restore(metadata, &stored, key);
    }
    metadata.remove("selfLink");
    for key in ["uid", "name", "namespace", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        let absent = metadata.get(key).is_none_or(|value| value.is_null() || value == "");
        if absent {
            restore(metadata, &stored, key);
        }
    }
    match metadata.get("managedFields").and_then(Value::as_array) {
        None => restore(metadata, &stored, "managedFields"),
        Some(list) if list.iter().all(|entry| entry.as_object().is_some_and(Map::is_empty)) => {
            metadata.remove("managedFields");
        }
        Some(_) => {}
    }
}

/// The object without what changes on every write, empty containers read as absent ones where they mean the same.
fn comparable(object: &Object) -> Value {
    let mut object = object.clone();
    let metadata = object.metadata_mut();
    metadata.remove("resourceVersion");
    if let Some(entries) = metadata.get_mut("managedFields") {
        for entry in entries.as_array_mut().into_iter().flatten() {
            if let Some(entry) = entry.as_object_mut() {
                entry.remove("time");
            }
        }
    }
    for member in ["labels", "annotations", "finalizers", "ownerReferences", "managedFields"] {
        let empty = match metadata.get(member) {
            Some(Value::Object(map)) => map.is_empty(),
            Some(Value::Array(list)) => list.is_empty(),
            Some(Value::Null) => true,
            None | Some(Value::Bool(_) | Value::Number(_) | Value::String(_)) => false,
        };
        if empty {
            metadata.remove(member);
        }
    }
    object.into_value()
}
