//! The built-in admission plug-ins, in the order of I31. What they need to know of other objects comes through
//! [`Lookup`]; nothing is read or written here.

mod claims;
mod ingress;
mod limits;
mod pod;
mod resize;
#[cfg(test)]
mod tests;

use outrigger_api::status::{Cause, Details};
use outrigger_api::{KindInfo, Object, StatusError};
use serde_json::{Value, json};

use crate::pipeline::{CreateContext, Notes, UpdateContext};
use crate::pod_security;
use crate::strategy::Endpoint;

/// Stored objects the plug-ins ask for. Answers must be no older than the request (0.5).
pub trait Lookup: std::fmt::Debug + Sync {
    /// The Namespace of that name.
    fn namespace(&self, name: &str) -> Option<Object>;
    /// A ServiceAccount.
    fn service_account(&self, namespace: &str, name: &str) -> Option<Object>;
    /// The PriorityClass of that name. The two `system-` classes need not be there.
    fn priority_class(&self, name: &str) -> Option<Object>;
    /// The PriorityClass marked `globalDefault`, if there is one.
    fn default_priority_class(&self) -> Option<Object>;
    /// The StorageClass new claims get (I44).
    fn default_storage_class(&self) -> Option<Object> {
        None
    }
    /// The LimitRanges of a namespace (I35).
    fn limit_ranges(&self, _namespace: &str) -> Vec<Object> {
        Vec::new()
    }
    /// The Node of that name; asked only for a resize.
    fn node(&self, _name: &str) -> Option<Object> {
        None
    }
    /// The StorageClass of that name; asked only when a claim grows (I46).
    fn storage_class(&self, _name: &str) -> Option<Object> {
        None
    }
    /// The IngressClasses; asked only for an Ingress without one (I44).
    fn ingress_classes(&self) -> Vec<Object> {
        Vec::new()
    }
    /// The RuntimeClass of that name.
    fn runtime_class(&self, _name: &str) -> Option<Object> {
        None
    }
}

/// Knows nothing; for kinds and tests that ask nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoLookup;

impl Lookup for NoLookup {
    fn namespace(&self, _name: &str) -> Option<Object> {
        None
    }

    fn service_account(&self, _namespace: &str, _name: &str) -> Option<Object> {
        None
    }

    fn priority_class(&self, _name: &str) -> Option<Object> {
        None
    }

    fn default_priority_class(&self) -> Option<Object> {
        None
    }
}

/// The mutating phase of a create.
pub(crate) fn admit_create(
    kind: &KindInfo,
    object: &mut Object,
    context: &CreateContext<'_>,
) -> Result<(), StatusError> {
    namespace_lifecycle(kind, object, context)?;
    match (&*kind.group, &*kind.kind) {
        ("", "Pod") => {
            limits::apply_defaults(object, context.namespace, context.lookup);
            pod::admit(object, context)?;
        }
        ("", "Node") => taint_new_node(object),
        ("", "PersistentVolumeClaim") => {
            default_storage_class(object, context.lookup);
            protect(object, "kubernetes.io/pvc-protection");
        }
        ("networking.k8s.io", "Ingress") => ingress::default_class(object, context.lookup)?,
        ("", "PersistentVolume") => protect(object, "kubernetes.io/pv-protection"),
        ("storage.k8s.io", "VolumeAttributesClass") => protect(object, "kubernetes.io/vac-protection"),
        ("scheduling.k8s.io", "PriorityClass") => one_global_default(object, context.lookup)?,
        _ => {}
    }
    Ok(())
}

/// The validating phase of a create.
pub(crate) fn validate_create(
    kind: &KindInfo,
    object: &Object,
    context: &CreateContext<'_>,
    notes: &mut Notes,
) -> Result<(), StatusError> {
    match (&*kind.group, &*kind.kind) {
        ("", "Pod") => limits::check_pod(object, context.namespace, context.lookup)?,
        ("", "PersistentVolumeClaim") => limits::check_claim(object, context.namespace, context.lookup)?,
        ("", "Namespace") => pod_security::check_labels(kind, object, None)?,
        _ => {}
    }
    judge_security(kind, object, context.namespace, context.lookup, notes)
}

/// The validating phase of an update.
pub(crate) fn validate_update(
    kind: &KindInfo,
    endpoint: Endpoint,
    new: &Object,
    old: &Object,
    context: &UpdateContext<'_>,
    notes: &mut Notes,
) -> Result<(), StatusError> {
    let lookup = context.lookup;
    match (&*kind.group, &*kind.kind, endpoint) {
        ("", "Pod", Endpoint::Resize) => {
            resize::fits_node(new, lookup)?;
            limits::check_pod(new, new.namespace(), lookup)?;
        }
        ("", "PersistentVolumeClaim", Endpoint::Main) => {
            claims::may_grow(new, old, lookup)?;
            limits::check_claim(new, new.namespace(), lookup)?;
        }
        ("", "Namespace", Endpoint::Main) => pod_security::check_labels(kind, new, Some(old))?,
        _ => {}
    }
    let is_looked_at = match (&*kind.kind, endpoint) {
        ("Pod", Endpoint::Main | Endpoint::EphemeralContainers | Endpoint::Resize) => {
            pod_security::is_significant(new, old)
        }
        (_, Endpoint::Main) => kind.kind != "Pod",
        _ => false,
    };
    if is_looked_at { judge_security(kind, new, new.namespace(), lookup, notes) } else { Ok(()) }
}

/// I39.
fn judge_security(
    kind: &KindInfo,
    object: &Object,
    namespace: &str,
    lookup: &dyn Lookup,
    notes: &mut Notes,
) -> Result<(), StatusError> {
    if kind.custom || !kind.namespaced {
        return Ok(());
    }
    let Some(namespace) = lookup.namespace(namespace) else { return Ok(()) };
    let judged = if (&*kind.group, &*kind.kind) == ("", "Pod") {
        pod_security::judge_pod(object, &namespace)?
    } else {
        pod_security::judge_template(kind, object, &namespace)
    };
    notes.warnings.extend(judged.warnings);
    notes.audit.extend(
        judged.audit.into_iter().map(|(key, text)| (format!("pod-security.kubernetes.io/{key}"), text)),
    );
    Ok(())
}

/// The mutating phase of an update.
pub(crate) fn admit_update(
    kind: &KindInfo,
    endpoint: Endpoint,
    new: &mut Object,
    old: &Object,
    context: &UpdateContext<'_>,
) -> Result<(), StatusError> {
    if (&*kind.group, &*kind.kind) == ("scheduling.k8s.io", "PriorityClass") {
        one_global_default(new, context.lookup)?;
    }
    if (&*kind.group, &*kind.kind) == ("", "Pod") && endpoint == Endpoint::Main {
        // I42: priority and its policy are resolved once and then stay; clients may leave them out.
        for field in ["priority", "preemptionPolicy"] {
            let absent = new.at(&["spec", field]).is_none_or(Value::is_null);
            if absent && let Some(stored) = old.at(&["spec", field]).cloned() {
                *new.entry(&["spec", field]) = stored;
            }
        }
    }
    Ok(())
}

/// I34: three namespaces stay.
pub(crate) fn admit_delete(kind: &KindInfo, object: &Object) -> Result<(), StatusError> {
    let immortal = matches!(object.name(), "default" | "kube-system" | "kube-public");
    if (&*kind.group, &*kind.kind) == ("", "Namespace") && immortal {
        return Err(StatusError::forbidden(
            &kind.plural,
            &kind.group,
            object.name(),
            "this namespace may not be deleted",
        ));
    }
    Ok(())
}

/// How a refusal names an object: one whose name is not generated yet by the front of its name.
fn shown_name(object: &Object) -> &str {
    match object.name() {
        "" => object.str_at(&["metadata", "generateName"]),
        name => name,
    }
}

/// I34. Access reviews are about a namespace, not in it.
fn namespace_lifecycle(
    kind: &KindInfo,
    object: &Object,
    context: &CreateContext<'_>,
) -> Result<(), StatusError> {
    if !kind.namespaced || context.namespace.is_empty() || &*kind.group == "authorization.k8s.io" {
        return Ok(());
    }
    let namespace = context.namespace;
    let Some(found) = context.lookup.namespace(namespace) else {
        return Err(StatusError::not_found("namespaces", "", namespace));
    };
    if !found.is_deleting() && found.str_at(&["status", "phase"]) != "Terminating" {
        return Ok(());
    }
    let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
    let mut error = StatusError::forbidden(&kind.plural, &kind.group, shown_name(object), &why);
    error.details.get_or_insert_with(Details::default).causes = vec![Cause {
        reason: "NamespaceTerminating".to_owned(),
        message: format!("namespace {namespace} is being terminated"),
        field: "metadata.namespace".to_owned(),
    }];
    Err(error)
}

/// I38.
fn taint_new_node(node: &mut Object) {
    let taint = json!({ "key": "node.kubernetes.io/not-ready", "effect": "NoSchedule" });
    let taints = node.entry(&["spec", "taints"]);
    if !taints.is_array() {
        *taints = json!([]);
    }
    let list = taints.as_array_mut().expect("just made");
    let there = list
        .iter()
        .any(|item| item.get("key") == taint.get("key") && item.get("effect") == taint.get("effect"));
    if !there {
        list.push(taint);
    }
}

/// I44: an empty name opts out.
fn default_storage_class(claim: &mut Object, lookup: &dyn Lookup) {
    if claim.at(&["spec", "storageClassName"]).is_none_or(Value::is_null)
        && let Some(class) = lookup.default_storage_class()
    {
        *claim.entry(&["spec", "storageClassName"]) = json!(class.name());
    }
}

/// I45.
fn protect(object: &mut Object, finalizer: &str) {
    if object.finalizers().any(|name| name == finalizer) {
        return;
    }
    let list = object.entry(&["metadata", "finalizers"]);
    if !list.is_array() {
        *list = json!([]);
    }
    list.as_array_mut().expect("just made").push(json!(finalizer));
}

/// I42.
fn one_global_default(class: &Object, lookup: &dyn Lookup) -> Result<(), StatusError> {
    let wants = class.at(&["globalDefault"]).and_then(Value::as_bool).unwrap_or_default();
    match lookup.default_priority_class() {
        Some(other) if wants && other.name() != class.name() => {
            let why = format!(
                "PriorityClass {} is already marked as default. Only one default can exist",
                other.name()
            );
            Err(StatusError::forbidden("priorityclasses", "scheduling.k8s.io", class.name(), &why))
        }
        Some(_) | None => Ok(()),
    }
}
