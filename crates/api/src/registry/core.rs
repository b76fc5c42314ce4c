//! The core group: Pods and what surrounds them.

use super::row::{Row, SCALE, Sub};
use crate::kind::{NameRule, Verbs};

const CONNECT: &[&str] = &["create", "get"];
const EVERY_METHOD: &[&str] = &["create", "delete", "get", "patch", "update"];
const READ_WRITE: &[&str] = &["get", "patch", "update"];

/// K1, the rows of `v1`.
pub(super) const ROWS: &[Row] = &[
    Row::namespaced("Binding", "bindings").review(),
    Row::cluster("ComponentStatus", "componentstatuses").short(&["cs"]).verbs(Verbs::GetList).not_stored(),
    Row::namespaced("ConfigMap", "configmaps").short(&["cm"]),
    Row::namespaced("Endpoints", "endpoints").short(&["ep"]).storage("services/endpoints").create_on_update(),
    EVENTS,
    Row::namespaced("LimitRange", "limitranges").short(&["limits"]).create_on_update(),
    Row::cluster("Namespace", "namespaces")
        .short(&["ns"])
        .verbs(Verbs::NoDeleteCollection)
        .subresources(&[Sub::of_parent("finalize", &["update"])])
        .status()
        .returns_deleted()
        .named(NameRule::Label)
        .fields(&["status.phase"]),
    Row::cluster("Node", "nodes")
        .short(&["no"])
        .subresources(&[Sub::new("proxy", "NodeProxyOptions", EVERY_METHOD)])
        .status()
        .storage("minions")
        .fields(&["spec.unschedulable"]),
    Row::namespaced("PersistentVolumeClaim", "persistentvolumeclaims")
        .short(&["pvc"])
        .status()
        .returns_deleted(),
    Row::cluster("PersistentVolume", "persistentvolumes").short(&["pv"]).status().returns_deleted(),
    PODS,
    Row::namespaced("PodTemplate", "podtemplates").generation().returns_deleted(),
    Row::namespaced("ReplicationController", "replicationcontrollers")
        .short(&["rc"])
        .in_all()
        .subresources(&[SCALE])
        .status()
        .generation()
        .orphan_by_default()
        .storage("controllers")
        .fields(&["status.replicas"]),
    Row::namespaced("ResourceQuota", "resourcequotas").short(&["quota"]).status().returns_deleted(),
    Row::namespaced("Secret", "secrets").fields(&["type"]),
    Row::namespaced("ServiceAccount", "serviceaccounts")
        .short(&["sa"])
        .subresources(&[Sub::new("token", "TokenRequest", &["create"]).from("authentication.k8s.io", "v1")])
        .returns_deleted(),
    Row::namespaced("Service", "services")
        .short(&["svc"])
        .in_all()
        .subresources(&[Sub::new("proxy", "ServiceProxyOptions", EVERY_METHOD)])
        .status()
        .create_on_update()
        .returns_deleted()
        .named(NameRule::Label)
        .storage("services/specs")
        .fields(&["spec.clusterIP", "spec.type"]),
];

const PODS: Row = Row::namespaced("Pod", "pods")
    .short(&["po"])
    .in_all()
    .subresources(&[
        Sub::new("attach", "PodAttachOptions", CONNECT),
        Sub::new("binding", "Binding", &["create"]),
        Sub::of_parent("ephemeralcontainers", READ_WRITE),
        Sub::new("eviction", "Eviction", &["create"]).from("policy", "v1"),
        Sub::new("exec", "PodExecOptions", CONNECT),
        Sub::of_parent("log", &["get"]),
        Sub::new("portforward", "PodPortForwardOptions", CONNECT),
        Sub::new("proxy", "PodProxyOptions", EVERY_METHOD),
        Sub::of_parent("resize", READ_WRITE),
    ])
    .status()
    .generation()
    .returns_deleted()
    .graceful_delete()
    .fields(&[
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.podIPs",
        "status.nominatedNodeName",
    ]);

const EVENTS: Row =
    Row::namespaced("Event", "events").short(&["ev"]).create_on_update().named(NameRule::PathSegment).fields(
        &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
    );

/// K1, the rows of `events.k8s.io`: the same objects as core events (K3).
pub(super) const EVENTS_GROUP: &[Row] = &[Row::namespaced("Event", "events")
    .short(&["ev"])
    .create_on_update()
    .named(NameRule::PathSegment)
    .stored_as("", "v1")
    .fields(&[
        "reason",
        "type",
        "reportingController",
        "regarding.kind",
        "regarding.namespace",
        "regarding.name",
        "regarding.uid",
        "regarding.apiVersion",
        "regarding.resourceVersion",
        "regarding.fieldPath",
    ])];
