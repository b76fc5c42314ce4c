//! The roles every cluster has, as data (I25-I27).

use serde_json::{Value, json};

/// The label by which a role's rules become part of `admin`, `edit` or `view`.
const AGGREGATE: &str = "rbac.authorization.k8s.io/aggregate-to-";

/// One rule: its role, API groups (`core` is the one without a name), resources, verbs and, where there are any,
/// names of objects; words are apart by spaces.
type Line = (&'static str, &'static str, &'static str, &'static str, &'static str);

const READ: &str = "get list watch";
const WRITE: &str = "create delete deletecollection get list patch update watch";
const EVENTS: &str = "create patch update";
const CSR: &str = "certificatesigningrequests";
const CERTIFICATES: &str = "certificates.k8s.io";

/// Rules of components.
#[rustfmt::skip]
const COMPONENTS: &[Line] = &[
    ("cluster-admin", "*", "*", "*", ""),
    ("system:basic-user", "authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews", "create", ""),
    ("system:basic-user", "authentication.k8s.io", "selfsubjectreviews", "create", ""),
    ("system:auth-delegator", "authentication.k8s.io", "tokenreviews", "create", ""),
    ("system:auth-delegator", "authorization.k8s.io", "subjectaccessreviews", "create", ""),
    ("system:kube-aggregator", "core", "endpoints services", READ, ""),
    ("system:kube-aggregator", "discovery.k8s.io", "endpointslices", READ, ""),
    ("system:kube-controller-manager", "core events.k8s.io", "events", EVENTS, ""),
    ("system:kube-controller-manager", "coordination.k8s.io", "leases", "create", ""),
    ("system:kube-controller-manager", "coordination.k8s.io", "leases", "get update", "kube-controller-manager"),
    ("system:kube-controller-manager", "core", "secrets serviceaccounts", "create get update", ""),
    ("system:kube-controller-manager", "core", "secrets", "delete", ""),
    ("system:kube-controller-manager", "core", "configmaps namespaces", "get", ""),
    ("system:kube-controller-manager", "core", "serviceaccounts/token", "create", ""),
    ("system:kube-controller-manager", "authentication.k8s.io", "tokenreviews", "create", ""),
    ("system:kube-controller-manager", "authorization.k8s.io", "subjectaccessreviews", "create", ""),
    ("system:kube-controller-manager", "*", "*", "list watch", ""),
    ("system:kube-scheduler", "core events.k8s.io", "events", EVENTS, ""),
    ("system:kube-scheduler", "coordination.k8s.io", "leases", "create", ""),
    ("system:kube-scheduler", "coordination.k8s.io", "leases", "get list update watch", "kube-scheduler"),
    ("system:kube-scheduler", "core", "namespaces nodes replicationcontrollers services", READ, ""),
    ("system:kube-scheduler", "core", "pods", "delete get list watch", ""),
    ("system:kube-scheduler", "core", "bindings pods/binding", "create", ""),
    ("system:kube-scheduler", "core", "pods/status", "patch update", ""),
    ("system:kube-scheduler", "apps", "replicasets statefulsets", READ, ""),
    ("system:kube-scheduler", "policy", "poddisruptionbudgets", READ, ""),
    ("system:kube-scheduler", "core", "persistentvolumeclaims persistentvolumes", READ, ""),
    ("system:kube-scheduler", "storage.k8s.io", "csidrivers csinodes csistoragecapacities volumeattachments", READ, ""),
    ("system:kube-scheduler", "resource.k8s.io", "deviceclasses resourceclaims resourceslices", READ, ""),
    ("system:kube-scheduler", "resource.k8s.io", "resourceclaims resourceclaims/status", "patch update", ""),
    ("system:kube-scheduler", "authentication.k8s.io", "tokenreviews", "create", ""),
    ("system:kube-scheduler", "authorization.k8s.io", "subjectaccessreviews", "create", ""),
    ("system:volume-scheduler", "core", "persistentvolumes", "get list patch update watch", ""),
    ("system:volume-scheduler", "storage.k8s.io", "storageclasses", READ, ""),
    ("system:volume-scheduler", "core", "persistentvolumeclaims", "get list patch update watch", ""),
    ("system:kube-dns", "core", "endpoints services", "list watch", ""),
    ("system:node-proxier", "core", "endpoints services", "list watch", ""),
    ("system:node-proxier", "core", "nodes", READ, ""),
    ("system:node-proxier", "core events.k8s.io", "events", EVENTS, ""),
    ("system:node-proxier", "discovery.k8s.io", "endpointslices", "list watch", ""),
    ("system:node-proxier", "networking.k8s.io", "servicecidrs", "list watch", ""),
    ("system:node-bootstrapper", CERTIFICATES, CSR, "create get list watch", ""),
    ("system:node-problem-detector", "core", "nodes", "get", ""),
    ("system:node-problem-detector", "core", "nodes/status", "patch", ""),
    ("system:node-problem-detector", "core events.k8s.io", "events", EVENTS, ""),
    ("system:kubelet-api-admin", "core", "nodes", "get list watch proxy", ""),
    ("system:kubelet-api-admin", "core", "nodes/log nodes/metrics nodes/proxy nodes/stats nodes/configz nodes/healthz nodes/pods", "*", ""),
    ("system:persistent-volume-provisioner", "core", "persistentvolumes", "create delete get list watch", ""),
    ("system:persistent-volume-provisioner", "core", "persistentvolumeclaims", "get list update watch", ""),
    ("system:persistent-volume-provisioner", "storage.k8s.io", "storageclasses", READ, ""),
    ("system:persistent-volume-provisioner", "core", "events", "watch create update patch", ""),
    ("system:certificates.k8s.io:certificatesigningrequests:nodeclient", CERTIFICATES, "certificatesigningrequests/nodeclient", "create", ""),
    ("system:certificates.k8s.io:certificatesigningrequests:selfnodeclient", CERTIFICATES, "certificatesigningrequests/selfnodeclient", "create", ""),
    ("system:certificates.k8s.io:kube-apiserver-client-approver", CERTIFICATES, "signers", "approve", "kubernetes.io/kube-apiserver-client"),
    ("system:certificates.k8s.io:kube-apiserver-client-kubelet-approver", CERTIFICATES, "signers", "approve", "kubernetes.io/kube-apiserver-client-kubelet"),
    ("system:certificates.k8s.io:kubelet-serving-approver", CERTIFICATES, "signers", "approve", "kubernetes.io/kubelet-serving"),
    ("system:certificates.k8s.io:legacy-unknown-approver", CERTIFICATES, "signers", "approve", "kubernetes.io/legacy-unknown"),
];

const APPS: &str =
    "daemonsets deployments deployments/scale replicasets replicasets/scale statefulsets statefulsets/scale";
const CORE: &str = "configmaps endpoints persistentvolumeclaims pods replicationcontrollers replicationcontrollers/scale serviceaccounts services";
const STATES: &str =
    "persistentvolumeclaims/status pods/log pods/status replicationcontrollers/status services/status";

/// Rules of people; each is held by those above, too (I27).
#[rustfmt::skip]
const PEOPLE: &[Line] = &[
    ("view", "core", CORE, READ, ""),
    ("view", "core", STATES, READ, ""),
    ("view", "core", "bindings events limitranges namespaces namespaces/status resourcequotas resourcequotas/status", READ, ""),
    ("view", "apps", APPS, READ, ""),
    ("view", "apps", "controllerrevisions daemonsets/status deployments/status replicasets/status statefulsets/status", READ, ""),
    ("view", "autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status", READ, ""),
    ("view", "batch", "cronjobs cronjobs/status jobs jobs/status", READ, ""),
    ("view", "policy", "poddisruptionbudgets poddisruptionbudgets/status", READ, ""),
    ("view", "networking.k8s.io", "ingresses ingresses/status networkpolicies", READ, ""),
    ("view", "discovery.k8s.io", "endpointslices", READ, ""),
    ("edit", "core", CORE, WRITE, ""),
    ("edit", "core", "secrets", WRITE, ""),
    ("edit", "core", "pods/attach pods/exec pods/portforward pods/proxy services/proxy", WRITE, ""),
    ("edit", "core", "pods/eviction serviceaccounts/token", "create", ""),
    ("edit", "core", "serviceaccounts", "impersonate", ""),
    ("edit", "core", "events", WRITE, ""),
    ("edit", "apps", "deployments/rollback", WRITE, ""),
    ("edit", "apps", APPS, WRITE, ""),
    ("edit", "autoscaling", "horizontalpodautoscalers", WRITE, ""),
    ("edit", "batch", "cronjobs jobs", WRITE, ""),
    ("edit", "policy", "poddisruptionbudgets", WRITE, ""),
    ("edit", "networking.k8s.io", "ingresses networkpolicies", WRITE, ""),
    ("edit", "coordination.k8s.io", "leases", WRITE, ""),
    ("admin", "rbac.authorization.k8s.io", "rolebindings roles", WRITE, ""),
    ("admin", "authorization.k8s.io", "localsubjectaccessreviews", "create", ""),
];

/// What may be read of paths, by role.
const PATHS: &[(&str, &str, &str)] = &[
    ("cluster-admin", "*", "*"),
    (
        "system:discovery",
        "/api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/",
        "get",
    ),
    ("system:public-info-viewer", "/healthz /livez /readyz /version /version/", "get"),
    (
        "system:monitoring",
        "/healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/*",
        "get",
    ),
    (
        "system:service-account-issuer-discovery",
        "/.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks /openid/v1/jwks/",
        "get",
    ),
];

/// What every kubelet may do, whatever runs on its node (I30).
const NODE: &[Line] = &[
    ("system:node", "authentication.k8s.io", "tokenreviews", "create", ""),
    ("system:node", "authorization.k8s.io", "localsubjectaccessreviews subjectaccessreviews", "create", ""),
    ("system:node", "core", "services", READ, ""),
    ("system:node", "core", "nodes", "create get list watch", ""),
    ("system:node", "core", "nodes nodes/status", "patch update", ""),
    ("system:node", "core events.k8s.io", "events", EVENTS, ""),
    ("system:node", "core", "pods", "create delete get list watch", ""),
    ("system:node", "core", "pods/status", "patch update", ""),
    ("system:node", "core", "pods/eviction", "create", ""),
    ("system:node", "core", "configmaps secrets", READ, ""),
    ("system:node", "core", "endpoints persistentvolumeclaims persistentvolumes", "get", ""),
    ("system:node", "core", "persistentvolumeclaims/status", "get patch update", ""),
    ("system:node", "core", "serviceaccounts/token", "create", ""),
    ("system:node", CERTIFICATES, CSR, "create get list watch", ""),
    ("system:node", "coordination.k8s.io", "leases", "create delete get patch update", ""),
    ("system:node", "storage.k8s.io", "volumeattachments", "get", ""),
    ("system:node", "storage.k8s.io", "csidrivers", READ, ""),
    ("system:node", "storage.k8s.io", "csinodes", "create delete get patch update", ""),
    ("system:node", "node.k8s.io", "runtimeclasses", READ, ""),
    ("system:node", "resource.k8s.io", "resourceclaims", "get", ""),
    ("system:node", "resource.k8s.io", "resourceslices", WRITE, ""),
];

/// Who is bound to what in the whole cluster (I26). Subjects are apart by spaces, kind and name by `=`.
const BINDINGS: &[(&str, &str)] = &[
    ("cluster-admin", "Group=system:masters"),
    ("system:discovery", "Group=system:authenticated"),
    ("system:basic-user", "Group=system:authenticated"),
    ("system:public-info-viewer", "Group=system:authenticated Group=system:unauthenticated"),
    ("system:monitoring", "Group=system:monitoring"),
    ("system:kube-controller-manager", "User=system:kube-controller-manager"),
    ("system:kube-scheduler", "User=system:kube-scheduler"),
    ("system:volume-scheduler", "User=system:kube-scheduler"),
    ("system:node-proxier", "User=system:kube-proxy"),
    ("system:kube-dns", "ServiceAccount=kube-dns"),
    ("system:service-account-issuer-discovery", "Group=system:serviceaccounts"),
    ("system:node", ""),
];

/// Roles in `kube-system`, and who is bound to them.
const SYSTEM: &[(Line, &str)] = &[
    (
        (
            "extension-apiserver-authentication-reader",
            "core",
            "configmaps",
            READ,
            "extension-apiserver-authentication",
        ),
        "User=system:kube-controller-manager User=system:kube-scheduler",
    ),
    (
        (
            "system::leader-locking-kube-controller-manager",
            "core",
            "configmaps",
            "get watch update",
            "kube-controller-manager",
        ),
        "User=system:kube-controller-manager",
    ),
    (
        ("system::leader-locking-kube-scheduler", "core", "configmaps", "get watch update", "kube-scheduler"),
        "User=system:kube-scheduler",
    ),
];

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().map(|word| if word == "core" { "" } else { word }).collect()
}

pub(super) fn rule((_, groups, resources, verbs, names): &Line) -> Value {
    let mut rule =
        json!({ "apiGroups": words(groups), "resources": words(resources), "verbs": words(verbs) });
    if !names.is_empty() {
        rule["resourceNames"] = json!(words(names));
    }
    rule
}

fn rules_of(name: &str, lines: &[Line]) -> Vec<Value> {
    lines.iter().filter(|line| line.0 == name).map(rule).collect()
}

/// The rules of `system:node`, which the Node authorizer goes by.
pub(crate) fn node_rules() -> Vec<Value> {
    NODE.iter().map(rule).collect()
}

/// What makes an object one of ours: it is brought up to date at every start.
pub(super) fn furniture(name: &str) -> Value {
    json!({
        "name": name,
        "labels": { "kubernetes.io/bootstrapping": "rbac-defaults" },
        "annotations": { "rbac.authorization.kubernetes.io/autoupdate": "true" },
    })
}

/// Every ClusterRole.
pub(super) fn cluster_roles() -> Vec<Value> {
    let mut names: Vec<&str> = COMPONENTS.iter().map(|line| line.0).collect();
    names.extend(PATHS.iter().map(|(name, ..)| *name));
    names.push("system:node");
    names.sort_unstable();
    names.dedup();
    let mut roles: Vec<Value> = names
        .into_iter()
        .map(|name| {
            let mut rules = rules_of(name, COMPONENTS);
            rules.extend(rules_of(name, NODE));
            let paths = PATHS.iter().filter(|(of, ..)| *of == name);
            rules
                .extend(paths.map(
                    |(_, urls, verbs)| json!({ "nonResourceURLs": words(urls), "verbs": words(verbs) }),
                ));
            json!({ "metadata": furniture(name), "rules": rules })
        })
        .collect();
    roles.extend(aggregated());
    roles
}

/// `admin`, `edit` and `view`, and the roles they are made of (I24).
fn aggregated() -> Vec<Value> {
    let mut roles = Vec::new();
    let mut below = Vec::new();
    for (name, above) in [("view", "edit"), ("edit", "admin"), ("admin", "")] {
        let own = rules_of(name, PEOPLE);
        let part = format!("system:aggregate-to-{name}");
        let mut metadata = furniture(&part);
        metadata["labels"][format!("{AGGREGATE}{name}")] = json!("true");
        roles.push(json!({ "metadata": metadata, "rules": own }));
        // What the controller will find, so that nobody has to wait for it. Roles come by name, and so do their rules.
        below.extend(own);
        let mut metadata = furniture(name);
        if !above.is_empty() {
            metadata["labels"][format!("{AGGREGATE}{above}")] = json!("true");
        }
        roles.push(json!({
            "metadata": metadata, "rules": below,
            "aggregationRule": {
                "clusterRoleSelectors": [{ "matchLabels": { format!("{AGGREGATE}{name}"): "true" } }],
            },
        }));
    }
    roles
}

fn binding(kind: &str, role: &str, subjects: &str) -> Value {
    let subject = |text: &str| {
        let (kind, name) = text.split_once('=')?;
        Some(match kind {
            "ServiceAccount" => json!({ "kind": kind, "namespace": "kube-system", "name": name }),
            _ => json!({ "kind": kind, "apiGroup": super::RBAC, "name": name }),
        })
    };
    let subjects: Vec<Value> = subjects.split_whitespace().filter_map(subject).collect();
    json!({
        "metadata": furniture(role), "subjects": subjects,
        "roleRef": { "apiGroup": super::RBAC, "kind": kind, "name": role },
    })
}

/// Every ClusterRoleBinding (I26).
pub(super) fn cluster_role_bindings() -> Vec<Value> {
    BINDINGS.iter().map(|(role, subjects)| binding("ClusterRole", role, subjects)).collect()
}

/// The Roles of `kube-system`, each with its binding.
pub(super) fn system_roles() -> Vec<(Value, Value)> {
    let one = |(line, subjects): &(Line, &str)| {
        let role = json!({ "metadata": furniture(line.0), "rules": [rule(line)] });
        (role, binding("Role", line.0, subjects))
    };
    SYSTEM.iter().map(one).collect()
}
