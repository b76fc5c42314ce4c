//! Defaults of everything that is neither Pod nor Service (K15-K41).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use outrigger_api::KindInfo;
use serde_json::{Map, Value, json};

use super::extension;
use super::pod::spec_defaults;
use crate::tree;

/// Applies the defaults of the kind, if it has any.
pub(super) fn apply(kind: &KindInfo, object: &mut Value) {
    match (&*kind.group, &*kind.kind) {
        ("", "Namespace") => namespace(object),
        ("", "Secret") => secret(object),
        ("", "Node") => node(object),
        ("", "PersistentVolume") => with_spec(object, |spec| {
            tree::default_to(spec, "persistentVolumeReclaimPolicy", "Retain");
            tree::default_to(spec, "volumeMode", "Filesystem");
        }),
        ("", "PersistentVolumeClaim") => {
            with_spec(object, |spec| tree::default_to(spec, "volumeMode", "Filesystem"));
        }
        ("", "Endpoints") => endpoints(object),
        ("", "LimitRange") => limit_range(object),
        ("", "ReplicationController") => replication_controller(object),
        ("", "PodTemplate") => template(object),
        ("apps", "Deployment") => deployment(object),
        ("apps", "ReplicaSet") => with_spec(object, |spec| {
            absent(spec, "replicas", 1);
            template(spec);
        }),
        ("apps", "StatefulSet") => stateful_set(object),
        ("apps", "DaemonSet") => daemon_set(object),
        ("batch", "Job") => with_spec(object, job_spec),
        ("batch", "CronJob") => cron_job(object),
        ("discovery.k8s.io", "EndpointSlice") => endpoint_ports(object),
        ("storage.k8s.io", "StorageClass") => {
            tree::default_to(object, "reclaimPolicy", "Delete");
            tree::default_to(object, "volumeBindingMode", "Immediate");
        }
        ("scheduling.k8s.io", "PriorityClass") => {
            tree::default_to(object, "preemptionPolicy", "PreemptLowerPriority");
        }
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => role_binding(object),
        ("networking.k8s.io", "NetworkPolicy") => with_spec(object, network_policy),
        ("autoscaling", "HorizontalPodAutoscaler") => extension::autoscaler(object, &kind.version),
        ("storage.k8s.io", "CSIDriver") => extension::csi_driver(object),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => extension::definition(object),
        ("admissionregistration.k8s.io", "MutatingWebhookConfiguration") => extension::webhooks(object, true),
        ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration") => {
            extension::webhooks(object, false);
        }
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy" | "MutatingAdmissionPolicy") => {
            extension::policy(object, "matchConstraints");
        }
        (
            "admissionregistration.k8s.io",
            "ValidatingAdmissionPolicyBinding" | "MutatingAdmissionPolicyBinding",
        ) => extension::policy(object, "matchResources"),
        _ => {}
    }
}

pub(super) fn with_spec(object: &mut Value, fill: impl FnOnce(&mut Value)) {
    if let Some(spec) = tree::object_mut(object, "spec") {
        fill(spec);
    }
}

/// Sets `key` if it is absent or null; an explicit zero stays.
pub(super) fn absent(value: &mut Value, key: &str, default: impl Into<Value>) {
    if value.get(key).is_none_or(Value::is_null) {
        tree::set(value, key, default);
    }
}

/// R1.1: template defaults, never those of R1.2.
fn template(holder: &mut Value) {
    if let Some(template) = tree::object_mut(holder, "template") {
        tree::object_mut(template, "metadata");
        if let Some(spec) = tree::object_mut(template, "spec") {
            spec_defaults(spec);
        }
    }
}

/// K23.
fn namespace(object: &mut Value) {
    let name =
        object.get("metadata").map(|metadata| tree::text(metadata, "name").to_owned()).unwrap_or_default();
    if name.is_empty() {
        return;
    }
    let labels =
        tree::object_mut(object, "metadata").and_then(|metadata| tree::object_mut(metadata, "labels"));
    if let Some(labels) = labels {
        tree::set(labels, "kubernetes.io/metadata.name", name);
    }
}

/// K16: `stringData` wins over `data` and is never stored.
fn secret(object: &mut Value) {
    tree::default_to(object, "type", "Opaque");
    let plain = object.as_object_mut().and_then(|map| map.remove("stringData"));
    if let Some(Value::Object(plain)) = plain
        && !plain.is_empty()
        && let Some(data) = tree::object_mut(object, "data")
    {
        for (key, value) in plain {
            tree::set(data, &key, STANDARD.encode(value.as_str().unwrap_or_default()));
        }
    }
}

/// K18.
fn node(object: &mut Value) {
    tree::object_mut(object, "spec");
    let Some(status) = tree::existing_mut(object, "status") else { return };
    let Some(capacity) = status.get("capacity").and_then(Value::as_object).cloned() else { return };
    if let Some(allocatable) = tree::object_mut(status, "allocatable").and_then(Value::as_object_mut) {
        for (name, amount) in capacity {
            allocatable.entry(name).or_insert(amount);
        }
    }
}

fn endpoints(object: &mut Value) {
    for subset in tree::list_mut(object, "subsets") {
        for port in tree::list_mut(subset, "ports") {
            tree::default_to(port, "protocol", "TCP");
        }
    }
}

/// K21.
fn endpoint_ports(object: &mut Value) {
    for port in tree::list_mut(object, "ports") {
        absent(port, "name", "");
        tree::default_to(port, "protocol", "TCP");
    }
}

/// K19: a container's default limit is its maximum, its default request its default limit, then its minimum.
fn limit_range(object: &mut Value) {
    let Some(spec) = tree::existing_mut(object, "spec") else { return };
    for item in tree::list_mut(spec, "limits") {
        if tree::text(item, "type") != "Container" {
            continue;
        }
        for (target, source) in [("default", "max"), ("defaultRequest", "default"), ("defaultRequest", "min")]
        {
            let values: Map<String, Value> =
                item.get(source).and_then(Value::as_object).cloned().unwrap_or_default();
            if values.is_empty() {
                continue;
            }
            if let Some(target) = tree::object_mut(item, target).and_then(Value::as_object_mut) {
                for (name, amount) in values {
                    target.entry(name).or_insert(amount);
                }
            }
        }
    }
}

/// K26.
fn replication_controller(object: &mut Value) {
    let labels = object.pointer("/spec/template/metadata/labels").cloned();
    with_spec(object, |spec| {
        absent(spec, "replicas", 1);
        template(spec);
        if let Some(labels) = &labels
            && spec.get("selector").and_then(Value::as_object).is_none_or(Map::is_empty)
        {
            tree::set(spec, "selector", labels.clone());
        }
    });
    label_from_template(object, labels);
}

fn label_from_template(object: &mut Value, labels: Option<Value>) {
    let none = object.pointer("/metadata/labels").and_then(Value::as_object).is_none_or(Map::is_empty);
    if let Some(labels) = labels.filter(|_| none)
        && let Some(metadata) = tree::object_mut(object, "metadata")
    {
        tree::set(metadata, "labels", labels);
    }
}

/// K25.
fn deployment(object: &mut Value) {
    with_spec(object, |spec| {
        absent(spec, "replicas", 1);
        absent(spec, "revisionHistoryLimit", 10);
        absent(spec, "progressDeadlineSeconds", 600);
        template(spec);
        if let Some(strategy) = tree::object_mut(spec, "strategy") {
            tree::default_to(strategy, "type", "RollingUpdate");
            if tree::text(strategy, "type") == "RollingUpdate"
                && let Some(rolling) = tree::object_mut(strategy, "rollingUpdate")
            {
                absent(rolling, "maxUnavailable", "25%");
                absent(rolling, "maxSurge", "25%");
            }
        }
    });
}

/// K27.
fn stateful_set(object: &mut Value) {
    with_spec(object, |spec| {
        absent(spec, "replicas", 1);
        absent(spec, "revisionHistoryLimit", 10);
        tree::default_to(spec, "podManagementPolicy", "OrderedReady");
        template(spec);
        if let Some(strategy) = tree::object_mut(spec, "updateStrategy") {
            tree::default_to(strategy, "type", "RollingUpdate");
            if tree::text(strategy, "type") == "RollingUpdate"
                && let Some(rolling) = tree::object_mut(strategy, "rollingUpdate")
            {
                absent(rolling, "partition", 0);
            }
        }
        if let Some(retention) = tree::object_mut(spec, "persistentVolumeClaimRetentionPolicy") {
            tree::default_to(retention, "whenDeleted", "Retain");
            tree::default_to(retention, "whenScaled", "Retain");
        }
        for claim in tree::list_mut(spec, "volumeClaimTemplates") {
            tree::default_to(claim, "apiVersion", "v1");
            tree::default_to(claim, "kind", "PersistentVolumeClaim");
            with_spec(claim, |spec| tree::default_to(spec, "volumeMode", "Filesystem"));
            if let Some(status) = tree::object_mut(claim, "status") {
                tree::default_to(status, "phase", "Pending");
            }
        }
    });
}

/// K28.
fn daemon_set(object: &mut Value) {
    with_spec(object, |spec| {
        absent(spec, "revisionHistoryLimit", 10);
        template(spec);
        if let Some(strategy) = tree::object_mut(spec, "updateStrategy") {
            tree::default_to(strategy, "type", "RollingUpdate");
            if tree::text(strategy, "type") == "RollingUpdate"
                && let Some(rolling) = tree::object_mut(strategy, "rollingUpdate")
            {
                absent(rolling, "maxUnavailable", 1);
                absent(rolling, "maxSurge", 0);
            }
        }
    });
}

/// K29.
fn job_spec(spec: &mut Value) {
    let missing = |spec: &Value, key: &str| spec.get(key).is_none_or(Value::is_null);
    if missing(spec, "completions") && missing(spec, "parallelism") {
        tree::set(spec, "completions", 1);
    }
    absent(spec, "parallelism", 1);
    let per_index = !missing(spec, "backoffLimitPerIndex");
    absent(spec, "backoffLimit", if per_index { i32::MAX } else { 6 });
    tree::default_to(spec, "completionMode", "NonIndexed");
    absent(spec, "suspend", false);
    let replacement = if missing(spec, "podFailurePolicy") { "TerminatingOrFailed" } else { "Failed" };
    tree::default_to(spec, "podReplacementPolicy", replacement);
    absent(spec, "manualSelector", false);
    template(spec);
}

/// K30.
fn cron_job(object: &mut Value) {
    with_spec(object, |spec| {
        tree::default_to(spec, "concurrencyPolicy", "Allow");
        absent(spec, "suspend", false);
        absent(spec, "successfulJobsHistoryLimit", 3);
        absent(spec, "failedJobsHistoryLimit", 1);
        if let Some(job) = tree::object_mut(spec, "jobTemplate") {
            // A template is not a Job: only what its Pods need is filled in.
            tree::object_mut(job, "metadata");
            with_spec(job, template);
        }
    });
}

/// K37.
fn role_binding(object: &mut Value) {
    if let Some(role) = tree::existing_mut(object, "roleRef") {
        tree::default_to(role, "apiGroup", "rbac.authorization.k8s.io");
    }
    for subject in tree::list_mut(object, "subjects") {
        if matches!(tree::text(subject, "kind"), "User" | "Group") {
            tree::default_to(subject, "apiGroup", "rbac.authorization.k8s.io");
        }
    }
}

/// K33.
fn network_policy(spec: &mut Value) {
    if tree::list(spec, "policyTypes").is_empty() {
        let egress = !tree::list(spec, "egress").is_empty();
        tree::set(
            spec,
            "policyTypes",
            if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) },
        );
    }
    for direction in ["ingress", "egress"] {
        for rule in tree::list_mut(spec, direction) {
            for port in tree::list_mut(rule, "ports") {
                tree::default_to(port, "protocol", "TCP");
            }
        }
    }
}
