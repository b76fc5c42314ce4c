//! What every cluster has (L1, L2, L9, I25, I26, I42): written at start if missing. The roles are data, in `roles`.

mod controllers;
mod roles;

use std::sync::Arc;

use futures::TryStreamExt as _;
use outrigger_admission::Endpoint;
use outrigger_api::{KindInfo, Object, StatusError};
use serde_json::{Value, json};

use crate::auth::{Identity, uncovered};
use crate::pipeline::{self, Write, WriteOptions};
use crate::server::Api;

/// Who the server is when it writes for its own sake.
const OWN_NAME: &str = "system:apiserver";
pub(crate) use roles::node_rules;

const RBAC: &str = "rbac.authorization.k8s.io";

/// Writes whatever is missing. Existing objects stay as they are, but roles and bindings are given what they lack.
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
    access(api).await?;
    kubernetes_service(api).await
}

/// How many objects are looked at or written at once: the store writes together what waits together.
const AT_ONCE: usize = 32;

/// I25, I26: roles, and who is bound to them.
async fn access(api: &Arc<Api>) -> Result<(), StatusError> {
    let system = roles::system_roles();
    let all = [
        ("clusterroles", "", roles::cluster_roles()),
        ("clusterrolebindings", "", roles::cluster_role_bindings()),
        ("clusterroles", "", controllers::cluster_roles()),
        ("clusterrolebindings", "", controllers::cluster_role_bindings()),
    ]
    .into_iter()
    .chain(system.into_iter().flat_map(|(role, binding)| {
        [("roles", "kube-system", vec![role]), ("rolebindings", "kube-system", vec![binding])]
    }))
    .flat_map(|(plural, namespace, bodies)| bodies.into_iter().map(move |body| (plural, namespace, body)));
    futures::stream::iter(all.map(Ok))
        .try_for_each_concurrent(AT_ONCE, |(plural, namespace, body)| {
            access_object(api, plural, namespace, body)
        })
        .await
}

/// Writes a role or binding, or gives an old one what it lacks, unless somebody said that it is theirs.
async fn access_object(
    api: &Arc<Api>,
    plural: &str,
    namespace: &str,
    body: Value,
) -> Result<(), StatusError> {
    let Some(kind) = api.registry.find(RBAC, "v1", plural) else { return Ok(()) };
    let name = body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let Some(stored) = api.storage.find(&kind, namespace, &name).await? else {
        return ensure(api, RBAC, plural, namespace, body).await;
    };
    if completed(&stored.object()?, &body).is_none() {
        return Ok(());
    }
    let own = Identity::component(OWN_NAME);
    let write = own_write(api, &kind, namespace, &name, &own);
    let edited =
        pipeline::edit(&write, |current| Ok(completed(current, &body).unwrap_or_else(|| current.clone())));
    edited.await.map(drop)
}

/// An old role or binding with what it lacks; `None` if that is nothing.
fn completed(current: &Object, body: &Value) -> Option<Object> {
    const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
    // Rules of a role made of others are the controller's.
    let made = body.get("aggregationRule").is_some();
    if made || current.str_at(&["metadata", "annotations", AUTOUPDATE]) != "true" {
        return None;
    }
    let list = |of: &Value, key: &str| of.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut next = current.clone();
    let mut grown = false;
    for member in ["rules", "subjects"] {
        let mut entries = current.at(&[member]).and_then(Value::as_array).cloned().unwrap_or_default();
        for wanted in list(body, member) {
            let there = match member {
                "rules" => uncovered(std::slice::from_ref(&wanted), &entries).is_empty(),
                _ => entries.contains(&wanted),
            };
            if !there {
                entries.push(wanted);
                grown = true;
            }
        }
        if !entries.is_empty() {
            *next.entry(&[member]) = Value::Array(entries);
        }
    }
    grown.then_some(next)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// I25: what was taken away comes back, what was added stays, and what is somebody's own is left alone.
    #[test]
    fn an_old_role_is_given_what_it_lacks() {
        let body = json!({"rules": [
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]},
            {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]},
        ]});
        let old = |autoupdate: &str| {
            Object::from_value(json!({
                "metadata": {"annotations": {"rbac.authorization.kubernetes.io/autoupdate": autoupdate}},
                "rules": [{"apiGroups": ["*"], "resources": ["pods", "secrets"], "verbs": ["get"]}],
            }))
            .unwrap()
        };
        let grown = completed(&old("true"), &body).unwrap();
        assert_eq!(
            grown.at(&["rules"]),
            Some(&json!([
                {"apiGroups": ["*"], "resources": ["pods", "secrets"], "verbs": ["get"]},
                {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]},
            ]))
        );
        assert_eq!(completed(&grown, &body), None);
        assert_eq!(completed(&old("false"), &body), None);
    }
}
