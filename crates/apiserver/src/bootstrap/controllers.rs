//! What each controller may do when it runs with credentials of its own (I25, Q8).
//!
//! The controller manager then asks for a token of the ServiceAccount with the controller's name in `kube-system`. The
//! controllers of this program run with the server's own rights and need none of this.

use serde_json::{Value, json};

use super::RBAC;
use super::roles::{furniture, rule};

const PREFIX: &str = "system:controller:";

/// ServiceAccount, API groups (`core` is the one without a name), resources and verbs, apart by spaces.
const RULES: &[(&str, &str, &str, &str)] = &[
    ("namespace-controller", "core", "namespaces", "delete get list watch"),
    ("namespace-controller", "core", "namespaces/finalize namespaces/status", "update"),
    ("namespace-controller", "*", "*", "delete deletecollection get list"),
    ("generic-garbage-collector", "*", "*", "delete get list patch update watch"),
    ("service-account-controller", "core", "serviceaccounts", "create"),
    ("root-ca-cert-publisher", "core", "configmaps", "create update"),
    (
        "clusterrole-aggregation-controller",
        "rbac.authorization.k8s.io",
        "clusterroles",
        "escalate get list patch update watch",
    ),
    ("node-controller", "core", "nodes", "delete get list patch update"),
    ("node-controller", "core", "nodes/status pods/status", "patch update"),
    ("node-controller", "core", "pods", "delete get list"),
    ("deployment-controller", "apps", "deployments", "get list update watch"),
    ("deployment-controller", "apps", "deployments/status deployments/finalizers", "update"),
    ("deployment-controller", "apps", "replicasets", "create delete get list patch update watch"),
    ("deployment-controller", "core", "pods", "get list update watch"),
    ("replicaset-controller", "apps", "replicasets", "get list update watch"),
    ("replicaset-controller", "apps", "replicasets/status replicasets/finalizers", "update"),
    ("replicaset-controller", "core", "pods", "create delete list patch watch"),
    ("replication-controller", "core", "replicationcontrollers", "get list update watch"),
    (
        "replication-controller",
        "core",
        "replicationcontrollers/status replicationcontrollers/finalizers",
        "update",
    ),
    ("replication-controller", "core", "pods", "create delete list patch watch"),
    ("statefulset-controller", "apps", "statefulsets", "get list watch"),
    ("statefulset-controller", "apps", "statefulsets/status statefulsets/finalizers", "update"),
    ("statefulset-controller", "core", "pods", "create delete get list patch update watch"),
    ("statefulset-controller", "core", "persistentvolumeclaims", "create delete get list update watch"),
    ("statefulset-controller", "apps", "controllerrevisions", "create delete get list patch update watch"),
    ("daemon-set-controller", "apps", "daemonsets", "get list watch"),
    ("daemon-set-controller", "apps", "daemonsets/status daemonsets/finalizers", "update"),
    ("daemon-set-controller", "core", "nodes", "list watch"),
    ("daemon-set-controller", "core", "pods", "create delete list patch watch"),
    ("daemon-set-controller", "core", "pods/binding", "create"),
    ("daemon-set-controller", "apps", "controllerrevisions", "create delete get list patch update watch"),
    ("job-controller", "batch", "jobs", "get list patch update watch"),
    ("job-controller", "batch", "jobs/status jobs/finalizers", "update"),
    ("job-controller", "core", "pods", "create delete list patch watch"),
    ("cronjob-controller", "batch", "cronjobs", "get list update watch"),
    ("cronjob-controller", "batch", "jobs", "create delete get list patch update watch"),
    ("cronjob-controller", "batch", "cronjobs/status cronjobs/finalizers", "update"),
    ("cronjob-controller", "core", "pods", "delete list"),
    ("ttl-after-finished-controller", "batch", "jobs", "delete get list watch"),
    ("disruption-controller", "apps", "deployments replicasets statefulsets", "list watch"),
    ("disruption-controller", "core", "pods replicationcontrollers", "list watch"),
    ("disruption-controller", "policy", "poddisruptionbudgets", "get list watch"),
    ("disruption-controller", "policy", "poddisruptionbudgets/status", "update"),
    ("disruption-controller", "core", "pods/status", "patch update"),
    ("disruption-controller", "*", "*/scale", "get"),
    ("endpoint-controller", "core", "pods services", "get list watch"),
    ("endpoint-controller", "core", "endpoints", "create delete get list update"),
    ("endpoint-controller", "core", "endpoints/restricted", "create"),
    ("endpointslice-controller", "core", "nodes pods services", "get list watch"),
    ("endpointslice-controller", "discovery.k8s.io", "endpointslices", "create delete get list update"),
    ("endpointslicemirroring-controller", "core", "endpoints services", "get list watch"),
    (
        "endpointslicemirroring-controller",
        "discovery.k8s.io",
        "endpointslices",
        "create delete get list update",
    ),
    ("pod-garbage-collector", "core", "pods", "delete list watch"),
    ("pod-garbage-collector", "core", "nodes", "get list"),
    ("pvc-protection-controller", "core", "persistentvolumeclaims pods", "get list update watch"),
];

/// The ClusterRole of each controller; all of them write events.
pub(super) fn cluster_roles() -> Vec<Value> {
    let role = |name: &'static str| {
        let own = RULES.iter().filter(|line| line.0 == name);
        let mut rules: Vec<Value> =
            own.map(|(name, groups, resources, verbs)| rule(&(name, groups, resources, verbs, ""))).collect();
        rules.push(rule(&(name, "core events.k8s.io", "events", "create patch update", "")));
        json!({ "metadata": furniture(&format!("{PREFIX}{name}")), "rules": rules })
    };
    names().into_iter().map(role).collect()
}

/// Each role is its ServiceAccount's.
pub(super) fn cluster_role_bindings() -> Vec<Value> {
    let binding = |name: &str| {
        let role = format!("{PREFIX}{name}");
        json!({
            "metadata": furniture(&role),
            "subjects": [{ "kind": "ServiceAccount", "namespace": "kube-system", "name": name }],
            "roleRef": { "apiGroup": RBAC, "kind": "ClusterRole", "name": role },
        })
    };
    names().into_iter().map(binding).collect()
}

fn names() -> Vec<&'static str> {
    let mut names: Vec<&'static str> = RULES.iter().map(|line| line.0).collect();
    names.dedup();
    names
}
