//! The rows of F2m and the struct names of F2n.

use super::{ListType, MapType, MergeRule};

/// The rule of one field, by short definition name.
pub(super) fn field(definition: &str, field: &str) -> Option<MergeRule> {
    ROWS.iter().find(|(of, fields, _)| of.contains(&definition) && fields.contains(&field)).map(|row| row.2)
}

/// F2n.
pub(super) fn is_atomic_struct(definition: &str) -> bool {
    ATOMIC_STRUCTS.contains(&definition)
}

/// Fields whose struct is atomic elsewhere but granular here.
pub(super) fn is_granular(definition: &str, field: &str) -> bool {
    (definition, field) == ("PersistentVolumeSpec", "claimRef")
}

#[cfg(test)]
pub(super) fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    ROWS.iter().flat_map(|(definitions, fields, _)| {
        definitions.iter().flat_map(|definition| fields.iter().map(|field| (*definition, *field)))
    })
}

type Names = &'static [&'static str];

const fn list(key: &'static str) -> MergeRule {
    MergeRule { merge: true, merge_key: Some(key), ..MergeRule::DEFAULT }
}

const fn by(keys: Names) -> MergeRule {
    MergeRule { list_type: ListType::Map, list_map_keys: keys, ..MergeRule::DEFAULT }
}

const fn keyed(key: &'static str, keys: Names) -> MergeRule {
    MergeRule { merge: true, merge_key: Some(key), ..by(keys) }
}

const fn retain(rule: MergeRule) -> MergeRule {
    MergeRule { retain_keys: true, ..rule }
}

const SET: MergeRule = MergeRule { list_type: ListType::Set, ..MergeRule::DEFAULT };
const MERGING_SET: MergeRule = MergeRule { merge: true, ..SET };
const ATOMIC_MAP: MergeRule = MergeRule { map_type: MapType::Atomic, ..MergeRule::DEFAULT };
const BY_NAME: MergeRule = keyed("name", &["name"]);
const BY_TYPE: MergeRule = keyed("type", &["type"]);

/// F2m: which definitions, which fields of theirs, how they merge.
const ROWS: &[(Names, Names, MergeRule)] = &[
    (&["ObjectMeta"], &["ownerReferences"], keyed("uid", &["uid"])),
    (&["ObjectMeta"], &["finalizers"], MERGING_SET),
    (
        &["PodSpec"],
        &["containers", "initContainers", "ephemeralContainers", "imagePullSecrets", "schedulingGates"],
        BY_NAME,
    ),
    (&["PodSpec"], &["volumes", "resourceClaims"], retain(BY_NAME)),
    (&["PodSpec"], &["hostAliases"], keyed("ip", &["ip"])),
    (
        &["PodSpec"],
        &["topologySpreadConstraints"],
        keyed("topologyKey", &["topologyKey", "whenUnsatisfiable"]),
    ),
    (&["PodSpec"], &["nodeSelector"], ATOMIC_MAP),
    (&["PodStatus"], &["podIPs"], keyed("ip", &["ip"])),
    (&["PodStatus"], &["hostIPs"], list("ip")),
    (&["PodStatus"], &["resourceClaimStatuses"], retain(BY_NAME)),
    (&["ContainerStatus"], &["allocatedResourcesStatus"], BY_NAME),
    (&["ResourceStatus"], &["resources"], by(&["resourceID"])),
    (&["Container", "EphemeralContainer"], &["env"], BY_NAME),
    (
        &["Container", "EphemeralContainer"],
        &["ports"],
        keyed("containerPort", &["containerPort", "protocol"]),
    ),
    (
        &["Container", "EphemeralContainer", "ContainerStatus"],
        &["volumeMounts"],
        keyed("mountPath", &["mountPath"]),
    ),
    (&["Container", "EphemeralContainer"], &["volumeDevices"], keyed("devicePath", &["devicePath"])),
    (&["ResourceRequirements"], &["claims"], by(&["name"])),
    (&["ServiceSpec"], &["ports"], keyed("port", &["port", "protocol"])),
    (&["ServiceSpec", "ReplicationControllerSpec"], &["selector"], ATOMIC_MAP),
    (&["ServiceAccount"], &["secrets"], BY_NAME),
    (&["NodeSpec"], &["podCIDRs"], MERGING_SET),
    (&["NodeStatus"], &["addresses"], BY_TYPE),
    (
        &[
            "PodStatus",
            "ServiceStatus",
            "NodeStatus",
            "NamespaceStatus",
            "PersistentVolumeClaimStatus",
            "ReplicationControllerStatus",
            "DeploymentStatus",
            "ReplicaSetStatus",
            "DaemonSetStatus",
            "StatefulSetStatus",
            "HorizontalPodAutoscalerStatus",
            "PodDisruptionBudgetStatus",
            "ServiceCIDRStatus",
            "ComponentStatus",
            "FlowSchemaStatus",
            "PriorityLevelConfigurationStatus",
            "APIServiceStatus",
        ],
        &["conditions"],
        BY_TYPE,
    ),
    (&["JobStatus"], &["conditions"], list("type")),
    (
        &[
            "AllocatedDeviceStatus",
            "CertificateSigningRequestStatus",
            "CustomResourceDefinitionStatus",
            "ValidatingAdmissionPolicyStatus",
        ],
        &["conditions"],
        by(&["type"]),
    ),
    (&["DeploymentSpec"], &["strategy"], retain(MergeRule::DEFAULT)),
    (&["PodDisruptionBudgetSpec"], &["selector"], MergeRule { replace: true, ..MergeRule::DEFAULT }),
    (&["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"], &["webhooks"], BY_NAME),
    (
        &[
            "MutatingWebhook",
            "ValidatingWebhook",
            "MutatingAdmissionPolicySpec",
            "ValidatingAdmissionPolicySpec",
        ],
        &["matchConditions"],
        BY_NAME,
    ),
    (&["ValidatingAdmissionPolicySpec"], &["variables"], BY_NAME),
    (&["CSINodeSpec"], &["drivers"], BY_NAME),
    (&["JSONSchemaProps"], &["x-kubernetes-validations"], keyed("rule", &["rule"])),
    (&["ResourceClaimStatus"], &["reservedFor"], keyed("uid", &["uid"])),
    (&["ResourceClaimStatus"], &["devices"], by(&["driver", "device", "pool", "shareID"])),
    (&["Scheduling"], &["nodeSelector"], ATOMIC_MAP),
    (&["CSIDriverSpec"], &["volumeLifecycleModes"], SET),
    (&["ValidatingAdmissionPolicyBindingSpec"], &["validationActions"], SET),
    (&["PodFailurePolicyOnExitCodesRequirement", "ContainerRestartRuleOnExitCodes"], &["values"], SET),
    (&["UncountedTerminatedPods"], &["succeeded", "failed"], SET),
    (&["Endpoint"], &["addresses"], SET),
    (&["ResourcePolicyRule"], &["verbs", "apiGroups", "resources", "namespaces"], SET),
    (&["NonResourcePolicyRule"], &["verbs", "nonResourceURLs"], SET),
];

/// F2n: structs that apply owns as one value.
const ATOMIC_STRUCTS: Names = &[
    "LabelSelector",
    "NodeSelector",
    "NodeSelectorTerm",
    "LocalObjectReference",
    "ObjectReference",
    "TypedLocalObjectReference",
    "CrossVersionObjectReference",
    "SecretReference",
    "ConfigMapKeySelector",
    "SecretKeySelector",
    "FileKeySelector",
    "ObjectFieldSelector",
    "ResourceFieldSelector",
    "OwnerReference",
    "EndpointPort",
    "EndpointAddress",
    "NamedRuleWithOperations",
    "Variable",
    "RoleRef",
    "Subject",
    "ServiceBackendPort",
    "TopologySelectorTerm",
    "ScopeSelector",
    "MatchResources",
    "ParamRef",
    "ParamKind",
];
