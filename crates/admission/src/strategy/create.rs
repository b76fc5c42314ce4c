//! The first write of an object: name, identity, and a status that the client did not choose (C3, C4, C8, D4).

use outrigger_api::{KindInfo, Object, StatusError, WallTime};
use serde_json::{Value, json};

use super::{generation, pod, seconds};

/// What the server contributes to a new object.
#[derive(Clone, Copy, Debug)]
pub struct CreateInput<'a> {
    /// The namespace of the request; empty for cluster-scoped kinds.
    pub namespace: &'a str,
    /// The creation time.
    pub now: WallTime,
    /// A fresh random v4 uid.
    pub uid: &'a str,
    /// Five random characters of `bcdfghjklmnpqrstvwxz2456789`, used if the name is to be generated (C3).
    pub name_suffix: &'a str,
    /// Whether nothing will be stored; waives the resourceVersion check (C4).
    pub dry_run: bool,
}

/// Longest prefix of a generated name (C3): 63 less the suffix.
const MAX_GENERATED_PREFIX: usize = 58;

/// Makes a decoded, defaulted object ready for admission as a new object. Rules C3, C4, C8, D4, R1.10.
///
/// # Errors
/// 500 without reason if the client sent a real `resourceVersion` (C4).
pub fn prepare_create(
    kind: &KindInfo,
    object: &mut Object,
    input: &CreateInput<'_>,
) -> Result<(), StatusError> {
    refuse_resource_version(object, input.dry_run)?;
    let metadata = object.metadata_mut();
    for server_owned in
        ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "resourceVersion", "clusterName"]
    {
        metadata.remove(server_owned);
    }
    metadata.insert("uid".to_owned(), json!(input.uid));
    metadata.insert("creationTimestamp".to_owned(), json!(seconds(input.now)));
    if kind.namespaced && !input.namespace.is_empty() {
        metadata.insert("namespace".to_owned(), json!(input.namespace));
    } else if !kind.namespaced {
        metadata.remove("namespace");
    }
    let given = |key: &str| metadata.get(key).and_then(Value::as_str).unwrap_or_default();
    if given("name").is_empty() && !given("generateName").is_empty() {
        let name = generated_name(given("generateName"), input.name_suffix);
        metadata.insert("name".to_owned(), json!(name));
    }
    if kind.strategy.generation {
        metadata.insert("generation".to_owned(), json!(1));
    }
    reset_status(kind, object);
    generation::prepare_kind_on_create(kind, object, input);
    Ok(())
}

/// The name for a `generateName` prefix: the prefix cut to 58 bytes, then the suffix (C3).
pub fn generated_name(prefix: &str, suffix: &str) -> String {
    let mut end = prefix.len().min(MAX_GENERATED_PREFIX);
    while !prefix.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{suffix}", &prefix[..end])
}

fn refuse_resource_version(object: &Object, dry_run: bool) -> Result<(), StatusError> {
    let positive = object.resource_version().parse::<u64>().is_ok_and(|version| version > 0);
    if positive && !dry_run {
        return Err(StatusError {
            code: 500,
            reason: None,
            message: "resourceVersion should not be set on objects to be created".to_owned(),
            details: None,
            continue_token: None,
        });
    }
    Ok(())
}

/// K39: a certificate request says who made it, whatever its body claims.
pub fn stamp_requester(kind: &KindInfo, object: &mut Object, user: &Value) {
    if (&*kind.group, &*kind.kind) != ("certificates.k8s.io", "CertificateSigningRequest") {
        return;
    }
    for member in ["username", "uid", "groups", "extra"] {
        match user.get(member) {
            Some(value) => *object.entry(&["spec", member]) = value.clone(),
            None => {
                if let Some(spec) = object.0.get_mut("spec").and_then(Value::as_object_mut) {
                    spec.remove(member);
                }
            }
        }
    }
}

/// D4: what a status is before anybody has observed anything.
fn reset_status(kind: &KindInfo, object: &mut Object) {
    if !kind.strategy.status {
        return;
    }
    let status = match (&*kind.group, &*kind.kind) {
        ("", "Pod") => pod::initial_status(object),
        ("", "Namespace") => json!({ "phase": "Active" }),
        ("", "PersistentVolume" | "PersistentVolumeClaim") => json!({ "phase": "Pending" }),
        ("", "Service") => json!({ "loadBalancer": {} }),
        // A node registers itself with the status it already knows.
        ("", "Node") => return,
        ("policy", "PodDisruptionBudget") => {
            json!({ "currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0 })
        }
        ("networking.k8s.io", "Ingress") => json!({ "loadBalancer": {} }),
        _ => json!({}),
    };
    object.0.insert("status".to_owned(), status);
}
