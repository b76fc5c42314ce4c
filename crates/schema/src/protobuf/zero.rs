//! Which zeros mean something.
//!
//! Go writes a plain field whether it is zero or not, and a pointer only if it is set. Both look alike on the wire, so
//! a zero is kept where the field is required or is a pointer in Go; elsewhere it says nothing, and JSON would not
//! have it.

use serde_json::Value;

use crate::table::{Definition, Field, Shape};

/// Whether a value read from a message belongs in the tree.
pub(super) fn is_told(definition: Definition, field: &Field, value: &Value) -> bool {
    if matches!(field.ty.shape(), Shape::Any(_)) {
        return !value.is_null();
    }
    let zero = match value {
        Value::Null => return false,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(_) | Value::Object(_) => false,
    };
    !zero || field.required || is_pointer(definition.short_name(), field.name)
}

fn is_pointer(definition: &str, field: &str) -> bool {
    ANYWHERE.contains(&field)
        || SOMEWHERE.iter().any(|(of, fields)| *of == definition && fields.contains(&field))
}

/// Pointers, or fields that are written even if zero, in whatever struct they occur.
#[rustfmt::skip]
const ANYWHERE: &[&str] = &[
    "activeDeadlineSeconds", "adminAccess", "allocateLoadBalancerNodePorts", "allowMultipleAllocations",
    "allowPrivilegeEscalation", "allowVolumeExpansion", "attachRequired", "automountServiceAccountToken",
    "availableReplicas", "averageUtilization", "backoffLimit", "backoffLimitPerIndex", "bindsToNode",
    "blockOwnerDeletion", "borrowingLimitPercent", "collisionCount", "completions", "controller",
    "currentCPUUtilizationPercentage", "defaultMode", "deletionGracePeriodSeconds", "enableServiceLinks", "endPort",
    "errorCode", "expirationSeconds", "failedJobsHistoryLimit", "fsGroup", "gracePeriodSeconds", "holderIdentity",
    "hostProcess", "hostUsers", "ignoreStoreReadErrorWithClusterBreakingPotential", "immutable",
    "leaseDurationSeconds", "leaseTransitions", "lendablePercent", "manualSelector", "maxExpirationSeconds",
    "maxFailedIndexes", "maxItems", "maxLength", "maxProperties", "maxSurge", "maxUnavailable", "maximum", "minAvailable", "minDomains", "minItems", "minLength",
    "minProperties", "minReplicas", "minimum", "mode", "multipleOf", "nodeAllocatableUpdatePeriodSeconds",
    "nominalConcurrencyShares", "optional", "optionalOldSelf", "orphanDependents", "parallelism", "partition",
    "podInfoOnMount", "priority", "privileged", "progressDeadlineSeconds", "readOnlyRootFilesystem",
    "recursiveReadOnlyMounts", "remainingItemCount", "requiresRepublish", "revisionHistoryLimit", "runAsGroup",
    "runAsNonRoot", "runAsUser", "seLinuxMount", "serviceAccountTokenInSecrets", "serving",
    "setHostnameAsFQDN", "shareProcessNamespace", "stabilizationWindowSeconds", "started",
    "startingDeadlineSeconds", "storageCapacity", "storageClassName", "successfulJobsHistoryLimit",
    "succeededCount", "supplementalGroupsPolicy", "suspend", "targetCPUUtilizationPercentage",
    "terminatingReplicas", "terminationGracePeriodSeconds", "tolerationSeconds", "ttlSecondsAfterFinished",
    "userNamespaces", "volumeAttributesClassName", "x-kubernetes-preserve-unknown-fields",
];

/// Pointers whose name is a plain field elsewhere.
const SOMEWHERE: &[(&str, &[&str])] = &[
    ("AzureDiskVolumeSource", &["readOnly"]),
    ("CSIVolumeSource", &["readOnly"]),
    ("ClientIPConfig", &["timeoutSeconds"]),
    ("DeploymentSpec", &["replicas"]),
    ("Device", &["allNodes"]),
    ("EndpointConditions", &["ready", "terminating"]),
    ("EndpointPort", &["name", "port"]),
    ("FCVolumeSource", &["lun"]),
    ("HorizontalPodAutoscalerStatus", &["observedGeneration"]),
    ("JobStatus", &["ready", "terminating"]),
    ("MutatingWebhook", &["timeoutSeconds"]),
    ("NodeSwapStatus", &["capacity"]),
    ("ReplicaSetSpec", &["replicas"]),
    ("ReplicationControllerSpec", &["replicas"]),
    ("ResourceSliceSpec", &["allNodes", "perDeviceNodeSelection"]),
    ("ScaleSpec", &["replicas"]),
    ("ServiceReference", &["port"]),
    ("StatefulSetSpec", &["replicas"]),
    ("ValidatingWebhook", &["timeoutSeconds"]),
    ("VolumeNodeResources", &["count"]),
];
