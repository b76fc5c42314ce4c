//! What every cluster has (L1, L2, L9, I25, I26, I42): written at start if missing.

use std::sync::Arc;

use outrigger_admission::Endpoint;
use outrigger_api::{KindInfo, Object, StatusError};
use serde_json::{Value, json};

use crate::auth::Identity;
use crate::pipeline::{self, Write, WriteOptions};
use crate::server::Api;

/// Who the server is when it writes for its own sake.
const OWN_NAME: &str = "system:apiserver";
const RBAC: &str = "rbac.authorization.k8s.io";

/// Writes whatever is missing. Existing objects stay as they are.
pub(crate) async fn write(api: &Arc<Api>) -> Result<(), StatusError> {
    for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        ensure(api, "", "namespaces", "", json!({ "metadata": { "name": name } })).await?;
    }
    for (name, value, about) in [
        (
            "system-node-critical",
            2_000_001_000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
        (
            "system-cluster-critical",
            2_000_000_000,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
    ] {
        let class = json!({ "metadata": { "name": name }, "value": value, "description": about });
        ensure(api, "scheduling.k8s.io", "priorityclasses", "", class).await?;
    }
    for (name, rules) in roles() {
        ensure(api, RBAC, "clusterroles", "", labelled(name, json!({ "rules": rules }))).await?;
    }
    for (name, role, groups) in bindings() {
        let subjects: Vec<Value> =
            groups.iter().map(|group| json!({ "kind": "Group", "apiGroup": RBAC, "name": group })).collect();
        let role = json!({ "apiGroup": RBAC, "kind": "ClusterRole", "name": role });
        let binding = labelled(name, json!({ "roleRef": role, "subjects": subjects }));
        ensure(api, RBAC, "clusterrolebindings", "", binding).await?;
    }
    kubernetes_service(api).await
}

/// L2.
async fn kubernetes_service(api: &Arc<Api>) -> Result<(), StatusError> {
    let labels = json!({ "component": "apiserver", "provider": "kubernetes" });
    let address = api.config.service_range.address(1).to_string();
    let port = api.address().port();
    let service = json!({
        "metadata": { "name": "kubernetes", "labels": labels },
        "spec": {
            "type": "ClusterIP", "clusterIP": address, "sessionAffinity": "None",
            "ports": [{ "name": "https", "port": 443, "protocol": "TCP", "targetPort": port }],
        },
    });
    ensure(api, "", "services", "default", service).await?;
    let own = api.config.advertise.to_string();
    let slice = json!({
        "metadata": { "name": "kubernetes", "labels": { "kubernetes.io/service-name": "kubernetes" } },
        "addressType": if api.config.advertise.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": [{ "addresses": [own], "conditions": { "ready": true } }],
        "ports": [{ "name": "https", "port": port, "protocol": "TCP" }],
    });
    replace(api, "discovery.k8s.io", "endpointslices", "default", slice).await?;
    let endpoints = json!({
        // Its slice is written above; the mirror must not make another one.
        "metadata": {
            "name": "kubernetes", "labels": { "endpointslice.kubernetes.io/skip-mirror": "true" },
        },
        "subsets": [{
            "addresses": [{ "ip": own }], "ports": [{ "name": "https", "port": port, "protocol": "TCP" }],
        }],
    });
    replace(api, "", "endpoints", "default", endpoints).await
}

/// Creates an object unless there is one of its name.
async fn ensure(
    api: &Arc<Api>,
    group: &str,
    plural: &str,
    namespace: &str,
    body: Value,
) -> Result<(), StatusError> {
    let Some(kind) = api.registry.find(group, "v1", plural) else { return Ok(()) };
    let Some(mut object) = Object::from_value(body) else { return Ok(()) };
    if api.storage.find(&kind, namespace, object.name()).await?.is_some() {
        return Ok(());
    }
    object.0.insert("apiVersion".to_owned(), json!(kind.api_version()));
    object.0.insert("kind".to_owned(), json!(kind.kind));
    let own = Identity::component(OWN_NAME);
    let write = own_write(api, &kind, namespace, "", &own);
    match pipeline::create(&write, object).await {
        Err(error) if error.code != 409 => Err(error),
        _ => Ok(()),
    }
}

/// Creates an object, or brings an old one up to date: the address changes from start to start.
async fn replace(
    api: &Arc<Api>,
    group: &str,
    plural: &str,
    namespace: &str,
    body: Value,
) -> Result<(), StatusError> {
    ensure(api, group, plural, namespace, body.clone()).await?;
    let Some(kind) = api.registry.find(group, "v1", plural) else { return Ok(()) };
    let name = body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let own = Identity::component(OWN_NAME);
    let write = own_write(api, &kind, namespace, &name, &own);
    let edited = pipeline::edit(&write, |current| {
        let mut next = current.clone();
        for (member, value) in body.as_object().into_iter().flatten() {
            if member != "metadata" {
                next.0.insert(member.clone(), value.clone());
            }
        }
        Ok(next)
    });
    edited.await.map(drop)
}

/// A write of the server itself.
fn own_write<'a>(
    api: &'a Api,
    kind: &'a KindInfo,
    namespace: &'a str,
    name: &'a str,
    identity: &'a Identity,
) -> Write<'a> {
    Write {
        api,
        kind,
        namespace,
        name,
        endpoint: Endpoint::Main,
        manager: "kube-apiserver",
        subresource: "",
        identity,
        guarded: false,
        options: WriteOptions::default(),
    }
}

fn labelled(name: &str, mut object: Value) -> Value {
    object["metadata"] = json!({
        "name": name,
        "labels": { "kubernetes.io/bootstrapping": "rbac-defaults" },
        "annotations": { "rbac.authorization.kubernetes.io/autoupdate": "true" },
    });
    object
}

fn rule(groups: &[&str], resources: &[&str], verbs: &[&str]) -> Value {
    json!({ "apiGroups": groups, "resources": resources, "verbs": verbs })
}

const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const WORKLOADS: &str =
    "deployments deployments/scale replicasets replicasets/scale statefulsets statefulsets/scale daemonsets";
const CORE: &str = "configmaps endpoints persistentvolumeclaims pods pods/status services services/status serviceaccounts replicationcontrollers replicationcontrollers/scale";
const SEEN: &str = "events limitranges resourcequotas namespaces pods/log bindings";
const CONNECTED: &str =
    "pods/exec pods/attach pods/portforward pods/proxy services/proxy pods/eviction serviceaccounts/token";

fn words(text: &str) -> Vec<&str> {
    text.split(' ').collect()
}

/// What is used inside a namespace, with these verbs.
fn namespaced(verbs: &[&str]) -> Vec<Value> {
    vec![
        rule(&[""], &words(CORE), verbs),
        rule(&["apps"], &words(WORKLOADS), verbs),
        rule(&["batch"], &["jobs", "cronjobs"], verbs),
        rule(&["autoscaling"], &["horizontalpodautoscalers"], verbs),
        rule(&["policy"], &["poddisruptionbudgets"], verbs),
        rule(&["networking.k8s.io"], &["ingresses", "networkpolicies"], verbs),
    ]
}

fn view() -> Vec<Value> {
    let mut rules = namespaced(READ);
    rules.push(rule(&[""], &words(SEEN), READ));
    rules.push(rule(&["discovery.k8s.io"], &["endpointslices"], READ));
    rules
}

fn edit() -> Vec<Value> {
    let mut rules = view();
    rules.extend(namespaced(WRITE));
    rules.push(rule(&[""], &["secrets"], WRITE));
    rules.push(rule(&[""], &words(CONNECTED), &["create", "get"]));
    rules.push(rule(&[""], &["serviceaccounts"], &["impersonate"]));
    rules.push(rule(&["coordination.k8s.io"], &["leases"], WRITE));
    rules
}

fn admin() -> Vec<Value> {
    let mut rules = edit();
    rules.push(rule(&[RBAC], &["roles", "rolebindings"], WRITE));
    rules.push(rule(&["authorization.k8s.io"], &["localsubjectaccessreviews"], &["create"]));
    rules
}

/// What every kubelet may do, whatever runs on its node (I25, I30).
pub(crate) fn node_rules() -> Vec<Value> {
    const NODE: &str = "nodes nodes/status";
    const EVENTS: &[&str] = &["create", "patch", "update"];
    let own: &[&str] = &["get", "create", "update", "patch", "delete"];
    vec![
        rule(&["authentication.k8s.io"], &["tokenreviews"], &["create"]),
        rule(&["authorization.k8s.io"], &["subjectaccessreviews", "localsubjectaccessreviews"], &["create"]),
        rule(&[""], &["services"], READ),
        rule(&[""], &["nodes"], &["create", "get", "list", "watch"]),
        rule(&[""], &words(NODE), &["patch", "update"]),
        rule(&["", "events.k8s.io"], &["events"], EVENTS),
        rule(&[""], &["pods"], &["get", "list", "watch", "create", "delete"]),
        rule(&[""], &["pods/status"], &["patch", "update"]),
        rule(&[""], &["pods/eviction"], &["create"]),
        rule(&[""], &["configmaps", "secrets"], READ),
        rule(&[""], &["persistentvolumeclaims", "persistentvolumes", "endpoints"], &["get"]),
        rule(&[""], &["persistentvolumeclaims/status"], &["get", "patch", "update"]),
        rule(&[""], &["serviceaccounts/token"], &["create"]),
        rule(&["certificates.k8s.io"], &["certificatesigningrequests"], &["create", "get", "list", "watch"]),
        rule(&["coordination.k8s.io"], &["leases"], own),
        rule(&["storage.k8s.io"], &["volumeattachments"], &["get"]),
        rule(&["storage.k8s.io"], &["csidrivers"], READ),
        rule(&["storage.k8s.io"], &["csinodes"], own),
        rule(&["node.k8s.io"], &["runtimeclasses"], READ),
        rule(&["resource.k8s.io"], &["resourceclaims"], &["get"]),
        rule(&["resource.k8s.io"], &["resourceslices"], WRITE),
    ]
}

/// Rules for paths that are about no object.
fn paths(urls: &str) -> Value {
    json!([{ "nonResourceURLs": words(urls), "verbs": ["get"] }])
}

/// The roles everybody's first steps need (I25, I27); the rest of I25 is not here yet.
fn roles() -> Vec<(&'static str, Value)> {
    const HEALTH: &str = "/healthz /livez /readyz /version /version/";
    const CHECKS: &str = "/healthz /healthz/* /livez /livez/* /metrics /readyz /readyz/*";
    const DISCOVERY: &str =
        "/api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/";
    const ISSUER: &str = "/.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks /openid/v1/jwks/";
    vec![
        (
            "cluster-admin",
            json!([rule(&["*"], &["*"], &["*"]), { "nonResourceURLs": ["*"], "verbs": ["*"] }]),
        ),
        ("admin", json!(admin())),
        ("edit", json!(edit())),
        ("view", json!(view())),
        ("system:discovery", paths(DISCOVERY)),
        (
            "system:basic-user",
            json!([
                rule(
                    &["authorization.k8s.io"],
                    &["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
                    &["create"]
                ),
                rule(&["authentication.k8s.io"], &["selfsubjectreviews"], &["create"]),
            ]),
        ),
        ("system:node", json!(node_rules())),
        ("system:public-info-viewer", paths(HEALTH)),
        ("system:monitoring", paths(CHECKS)),
        ("system:service-account-issuer-discovery", paths(ISSUER)),
    ]
}

/// I26.
fn bindings() -> Vec<(&'static str, &'static str, &'static [&'static str])> {
    vec![
        ("cluster-admin", "cluster-admin", &["system:masters"]),
        ("system:discovery", "system:discovery", &["system:authenticated"]),
        ("system:basic-user", "system:basic-user", &["system:authenticated"]),
        (
            "system:public-info-viewer",
            "system:public-info-viewer",
            &["system:authenticated", "system:unauthenticated"],
        ),
        ("system:monitoring", "system:monitoring", &["system:monitoring"]),
        (
            "system:service-account-issuer-discovery",
            "system:service-account-issuer-discovery",
            &["system:serviceaccounts"],
        ),
    ]
}
