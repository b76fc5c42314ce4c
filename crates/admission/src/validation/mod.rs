//! Whether an object may be stored: names, metadata, and per kind its fields and what may change (C1, C2, C10-C14,
//! R1.11-R1.51, J1, J7, K9-K41). Values other objects decide about are the business of [`crate::plugins`].
//!
//! Each submodule holds the rules of related kinds. Custom resources answer to their own schema, so only their
//! metadata is looked at here.

mod access;
mod batch;
mod cron;
mod data;
mod definition;
#[cfg(test)]
mod definition_tests;
mod extension;
#[cfg(test)]
mod kinds_tests;
mod meta;
pub mod names;
mod network;
mod node;
mod pod;
mod policy;
mod selector;
mod service;
mod storage;
mod structural;
#[cfg(test)]
mod tests;
mod text;
mod workloads;

use outrigger_api::{KindInfo, Object, StatusError};
use serde_json::Value;

use crate::field::Findings;
use crate::strategy::Endpoint;

/// What an absent member reads as.
pub(crate) const ABSENT: &Value = &Value::Null;

/// Validates a new object.
///
/// # Errors
/// 422 with all findings (D31).
pub fn create(kind: &KindInfo, object: &Object) -> Result<(), StatusError> {
    let mut findings = Findings::default();
    meta::create(kind, object, &mut findings);
    if !kind.custom {
        on_create(kind, object, &mut findings);
    }
    findings.into_result(kind, object.name())
}

/// Validates an update; `new` is what would be stored.
///
/// # Errors
/// 422 with all findings (D31).
pub fn update(kind: &KindInfo, endpoint: Endpoint, new: &Object, old: &Object) -> Result<(), StatusError> {
    let mut findings = Findings::default();
    meta::update(kind, new, old, &mut findings);
    if !kind.custom {
        match endpoint {
            Endpoint::Main => on_update(kind, new, old, &mut findings),
            Endpoint::Status if is(kind, "", "Pod") => pod::status_update(new, old, &mut findings),
            Endpoint::EphemeralContainers => pod::ephemeral_update(new, old, &mut findings),
            Endpoint::Resize => pod::resize_update(new, old, &mut findings),
            Endpoint::Status | Endpoint::Finalize | Endpoint::Approval => {}
        }
    }
    findings.into_result(kind, new.name())
}

fn is(kind: &KindInfo, group: &str, name: &str) -> bool {
    (&*kind.group, &*kind.kind) == (group, name)
}

fn on_create(kind: &KindInfo, object: &Object, findings: &mut Findings) {
    match (&*kind.group, &*kind.kind) {
        ("", "Pod") => pod::create(object, findings),
        ("batch", _) => batch::create(kind, object, findings),
        ("", "Service") => service::spec(object, findings),
        _ => shape(kind, object, findings),
    }
}

fn on_update(kind: &KindInfo, new: &Object, old: &Object, findings: &mut Findings) {
    match (&*kind.group, &*kind.kind) {
        ("", "Pod") => pod::update(new, old, findings),
        ("batch", _) => batch::update(kind, new, old, findings),
        ("", "Service") => service::update(new, old, findings),
        _ => {
            shape(kind, new, findings);
            change(kind, new, old, findings);
        }
    }
}

/// What holds for every version of an object of the kind.
fn shape(kind: &KindInfo, object: &Object, findings: &mut Findings) {
    match (&*kind.group, &*kind.kind) {
        ("", "ConfigMap") => data::config_map(object, findings),
        ("", "Secret") => data::secret(object, findings),
        ("", "Node") => node::shape(object, findings),
        ("", "PersistentVolume") => storage::volume(object, findings),
        ("", "PersistentVolumeClaim") => storage::claim(object, findings),
        ("", "LimitRange") => policy::limit_range(object, findings),
        ("", "ResourceQuota") => policy::resource_quota(object, findings),
        ("", "ReplicationController" | "PodTemplate") | ("apps", _) => {
            workloads::shape(kind, object, findings);
        }
        ("policy", "PodDisruptionBudget") => policy::disruption_budget(object, findings),
        ("autoscaling", "HorizontalPodAutoscaler") => policy::autoscaler(object, findings),
        ("networking.k8s.io" | "discovery.k8s.io", _) => network::shape(kind, object, findings),
        ("rbac.authorization.k8s.io", _) => access::shape(kind, object, findings),
        ("coordination.k8s.io", "Lease") => policy::lease(object, findings),
        ("scheduling.k8s.io", "PriorityClass") => policy::priority_class(object, findings),
        ("storage.k8s.io", "StorageClass") => storage::class(object, findings),
        (
            "admissionregistration.k8s.io",
            "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration",
        ) => extension::webhooks(object, findings),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => definition::shape(object, findings),
        ("apiregistration.k8s.io", "APIService") => extension::api_service(object, findings),
        ("", "Event") => extension::event(object, "involvedObject", "message", findings),
        ("events.k8s.io", "Event") => extension::event(object, "regarding", "note", findings),
        _ => {}
    }
}

/// What may not change once stored.
fn change(kind: &KindInfo, new: &Object, old: &Object, findings: &mut Findings) {
    match (&*kind.group, &*kind.kind) {
        ("", "ConfigMap") => data::config_map_change(new, old, findings),
        ("", "Secret") => data::secret_change(new, old, findings),
        ("", "Node") => node::change(new, old, findings),
        ("", "PersistentVolume") => storage::volume_change(new, old, findings),
        ("", "PersistentVolumeClaim") => storage::claim_change(new, old, findings),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => definition::change(new, old, findings),
        ("apps", _) => workloads::change(kind, new, old, findings),
        ("rbac.authorization.k8s.io", _) => access::change(kind, new, old, findings),
        ("storage.k8s.io", "StorageClass") => {
            for field in ["provisioner", "parameters", "reclaimPolicy", "volumeBindingMode"] {
                immutable(new, old, &[field], findings);
            }
        }
        ("scheduling.k8s.io", "PriorityClass") => policy::priority_class_change(new, old, findings),
        ("node.k8s.io", "RuntimeClass") => immutable(new, old, &["handler"], findings),
        ("networking.k8s.io", "IngressClass") => immutable(new, old, &["spec", "controller"], findings),
        ("discovery.k8s.io", "EndpointSlice") => immutable(new, old, &["addressType"], findings),
        ("certificates.k8s.io", "CertificateSigningRequest") => immutable(new, old, &["spec"], findings),
        _ => {}
    }
}

/// A member that keeps its first value (D33).
fn immutable(new: &Object, old: &Object, path: &[&str], findings: &mut Findings) {
    let (is, was) = (new.at(path).unwrap_or(ABSENT), old.at(path).unwrap_or(ABSENT));
    if !crate::tree::same(is, was) {
        findings.invalid(&path.join("."), is.clone(), "field is immutable");
    }
}
