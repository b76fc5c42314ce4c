//! Workload controllers, autoscaling, disruption budgets and scheduling.

use super::row::{Row, SCALE};

/// K1, the rows of `apps`.
pub(super) const APPS: &[Row] = &[
    Row::namespaced("ControllerRevision", "controllerrevisions"),
    Row::namespaced("DaemonSet", "daemonsets").short(&["ds"]).in_all().status().generation(),
    Row::namespaced("Deployment", "deployments")
        .short(&["deploy"])
        .in_all()
        .subresources(&[SCALE])
        .status()
        .generation(),
    Row::namespaced("ReplicaSet", "replicasets")
        .short(&["rs"])
        .in_all()
        .subresources(&[SCALE])
        .status()
        .generation(),
    Row::namespaced("StatefulSet", "statefulsets")
        .short(&["sts"])
        .in_all()
        .subresources(&[SCALE])
        .status()
        .generation(),
];

/// K1, the rows of `batch`.
pub(super) const BATCH: &[Row] = &[
    Row::namespaced("CronJob", "cronjobs").short(&["cj"]).in_all().status().generation(),
    Row::namespaced("Job", "jobs")
        .in_all()
        .status()
        .generation()
        .orphan_by_default()
        .fields(&["status.successful"]),
];

/// K1, the rows of `autoscaling`: v2 and v1 of one storage.
pub(super) const AUTOSCALING: &[Row] = &[
    Row::namespaced("HorizontalPodAutoscaler", "horizontalpodautoscalers")
        .version("v2")
        .short(&["hpa"])
        .in_all()
        .status(),
    Row::namespaced("HorizontalPodAutoscaler", "horizontalpodautoscalers")
        .short(&["hpa"])
        .in_all()
        .status()
        .stored_as("autoscaling", "v2"),
];

/// K1, the rows of `policy`.
pub(super) const POLICY: &[Row] = &[Row::namespaced("PodDisruptionBudget", "poddisruptionbudgets")
    .short(&["pdb"])
    .status()
    .generation()
    .conditional_update_only()];

/// K1, the rows of `scheduling.k8s.io`.
pub(super) const SCHEDULING: &[Row] =
    &[Row::cluster("PriorityClass", "priorityclasses").short(&["pc"]).generation()];

/// K1, the rows of `coordination.k8s.io`.
pub(super) const COORDINATION: &[Row] =
    &[Row::namespaced("Lease", "leases").create_on_update().conditional_update_only()];

/// K1, the rows of `node.k8s.io`.
pub(super) const NODE: &[Row] =
    &[Row::cluster("RuntimeClass", "runtimeclasses").create_on_update().conditional_update_only()];

/// K1, the rows of `resource.k8s.io`.
pub(super) const RESOURCE: &[Row] = &[
    Row::cluster("DeviceClass", "deviceclasses").generation().returns_deleted(),
    Row::namespaced("ResourceClaim", "resourceclaims").status().returns_deleted(),
    Row::namespaced("ResourceClaimTemplate", "resourceclaimtemplates").returns_deleted(),
    Row::cluster("ResourceSlice", "resourceslices")
        .generation()
        .returns_deleted()
        .fields(&["spec.nodeName", "spec.driver"]),
];
