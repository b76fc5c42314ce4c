//! The columns of every kind, from the rule book's table. Columns in brackets have priority 1.

use super::*;

const COLUMNS: &[(&str, &str, &str)] = &[
    ("", "pods", "Name|Ready|Status|Restarts|Age|[IP]|[Node]|[Nominated Node]|[Readiness Gates]"),
    ("", "podtemplates", "Name|Containers|Images|Pod Labels"),
    ("", "replicationcontrollers", "Name|Desired|Current|Ready|Age|[Containers]|[Images]|[Selector]"),
    ("apps", "replicasets", "Name|Desired|Current|Ready|Age|[Containers]|[Images]|[Selector]"),
    ("apps", "deployments", "Name|Ready|Up-to-date|Available|Age|[Containers]|[Images]|[Selector]"),
    ("apps", "statefulsets", "Name|Ready|Age|[Containers]|[Images]"),
    (
        "apps",
        "daemonsets",
        "Name|Desired|Current|Ready|Up-to-date|Available|Node Selector|Age|[Containers]|[Images]|[Selector]",
    ),
    ("apps", "controllerrevisions", "Name|Controller|Revision|Age"),
    ("batch", "jobs", "Name|Status|Completions|Duration|Age|[Containers]|[Images]|[Selector]"),
    (
        "batch",
        "cronjobs",
        "Name|Schedule|Timezone|Suspend|Active|Last Schedule|Age|[Containers]|[Images]|[Selector]",
    ),
    ("", "services", "Name|Type|Cluster-IP|External-IP|Port(s)|Age|[Selector]"),
    ("", "endpoints", "Name|Endpoints|Age"),
    ("discovery.k8s.io", "endpointslices", "Name|AddressType|Ports|Endpoints|Age"),
    ("networking.k8s.io", "ingresses", "Name|Class|Hosts|Address|Ports|Age"),
    ("networking.k8s.io", "ingressclasses", "Name|Controller|Parameters|Age"),
    ("networking.k8s.io", "networkpolicies", "Name|Pod-Selector|Age"),
    ("networking.k8s.io", "ipaddresses", "Name|ParentRef"),
    ("networking.k8s.io", "servicecidrs", "Name|CIDRs|Age"),
    ("", "namespaces", "Name|Status|Age"),
    (
        "",
        "nodes",
        "Name|Status|Roles|Age|Version|[Internal-IP]|[External-IP]|[OS-Image]|[Kernel-Version]|[Container-Runtime]",
    ),
    (
        "",
        "persistentvolumes",
        "Name|Capacity|Access Modes|Reclaim Policy|Status|Claim|StorageClass|VolumeAttributesClass|Reason|Age|[VolumeMode]",
    ),
    (
        "",
        "persistentvolumeclaims",
        "Name|Status|Volume|Capacity|Access Modes|StorageClass|VolumeAttributesClass|Age|[VolumeMode]",
    ),
    (
        "storage.k8s.io",
        "storageclasses",
        "Name|Provisioner|ReclaimPolicy|VolumeBindingMode|AllowVolumeExpansion|Age",
    ),
    ("storage.k8s.io", "volumeattributesclasses", "Name|DriverName|Age"),
    ("storage.k8s.io", "volumeattachments", "Name|Attacher|PV|Node|Attached|Age"),
    (
        "storage.k8s.io",
        "csidrivers",
        "Name|AttachRequired|PodInfoOnMount|StorageCapacity|TokenRequests|RequiresRepublish|Modes|Age",
    ),
    ("storage.k8s.io", "csinodes", "Name|Drivers|Age"),
    ("storage.k8s.io", "csistoragecapacities", "Name|Created At"),
    ("", "configmaps", "Name|Data|Age"),
    ("", "secrets", "Name|Type|Data|Age"),
    ("", "serviceaccounts", "Name|Age"),
    ("", "resourcequotas", "Name|Request|Limit|Age"),
    ("", "limitranges", "Name|Created At"),
    ("", "events", "Last Seen|Type|Reason|Object|[Subobject]|[Source]|Message|[First Seen]|[Count]|[Name]"),
    ("rbac.authorization.k8s.io", "roles", "Name|Created At"),
    ("rbac.authorization.k8s.io", "clusterroles", "Name|Created At"),
    ("rbac.authorization.k8s.io", "rolebindings", "Name|Role|Age|[Users]|[Groups]|[ServiceAccounts]"),
    ("rbac.authorization.k8s.io", "clusterrolebindings", "Name|Role|Age|[Users]|[Groups]|[ServiceAccounts]"),
    ("autoscaling", "horizontalpodautoscalers", "Name|Reference|Targets|MinPods|MaxPods|Replicas|Age"),
    ("policy", "poddisruptionbudgets", "Name|Min Available|Max Unavailable|Allowed Disruptions|Age"),
    ("scheduling.k8s.io", "priorityclasses", "Name|Value|Global-Default|Age|PreemptionPolicy"),
    ("node.k8s.io", "runtimeclasses", "Name|Handler|Age"),
    ("coordination.k8s.io", "leases", "Name|Holder|Age"),
    (
        "certificates.k8s.io",
        "certificatesigningrequests",
        "Name|Age|SignerName|Requestor|RequestedDuration|Condition",
    ),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations", "Name|Webhooks|Age"),
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations", "Name|Webhooks|Age"),
    ("admissionregistration.k8s.io", "mutatingadmissionpolicies", "Name|Mutations|ParamKind|Age"),
    ("admissionregistration.k8s.io", "mutatingadmissionpolicybindings", "Name|PolicyName|ParamRef|Age"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicies", "Name|Validations|ParamKind|Age"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicybindings", "Name|PolicyName|ParamRef|Age"),
    (
        "flowcontrol.apiserver.k8s.io",
        "flowschemas",
        "Name|PriorityLevel|MatchingPrecedence|DistinguisherMethod|Age|MissingPL",
    ),
    (
        "flowcontrol.apiserver.k8s.io",
        "prioritylevelconfigurations",
        "Name|Type|NominalConcurrencyShares|Queues|HandSize|QueueLengthLimit|Age",
    ),
    ("", "componentstatuses", "Name|Status|Message|Error"),
    ("resource.k8s.io", "deviceclasses", "Name|Age"),
    ("resource.k8s.io", "resourceclaims", "Name|State|Age"),
    ("resource.k8s.io", "resourceclaimtemplates", "Name|Age"),
    ("resource.k8s.io", "resourceslices", "Name|Node|Driver|Pool|Age"),
    ("apiextensions.k8s.io", "customresourcedefinitions", "Name|Created At"),
    ("apiregistration.k8s.io", "apiservices", "Name|Service|Available|Age"),
];

/// G3, G4, G6, G12, G13: name, order and priority of every column; the name is marked as one.
#[test]
fn every_kind_has_its_columns() {
    let registry = Registry::builtin();
    let mut wrong = Vec::new();
    for (group, plural, expected) in COLUMNS {
        let Some(kind) = registry.find(group, "v1", plural) else { continue };
        let columns = columns(&kind);
        let found: Vec<String> = columns
            .iter()
            .map(
                |column| {
                    if column.priority > 0 { format!("[{}]", column.name) } else { column.name.to_owned() }
                },
            )
            .collect();
        if found.join("|") != *expected {
            wrong.push(format!("{plural}: {}", found.join("|")));
        }
        for column in columns {
            assert!(
                matches!(column.kind, "string" | "integer" | "number" | "boolean" | "date"),
                "{plural}: {}",
                column.kind
            );
            assert_eq!(column.format == "name", column.name == "Name", "{plural}: {}", column.name);
        }
        let bare = json!({"metadata": {"name": "x"}});
        assert_eq!(
            cells(&kind, &bare, "2026-01-01T01:00:00Z".parse().unwrap()).len(),
            found.len(),
            "{plural}"
        );
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let listed = |group: &str, plural: &str| COLUMNS.iter().any(|row| (row.0, row.1) == (group, plural));
    let snapshot = registry.snapshot();
    let stored = snapshot
        .kinds()
        .filter(|kind| kind.is_stored() && &*kind.version == "v1" && kind.group != "events.k8s.io");
    let missing: Vec<String> =
        stored.filter(|kind| !listed(&kind.group, &kind.plural)).map(|kind| kind.qualified()).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
