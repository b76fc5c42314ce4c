//! The Node authorizer (I30): a kubelet reads what the Pods bound to its node need, and its own objects. Deciding is
//! pure; the Pods of the node are read from the store for each question that is about them.

use outrigger_api::{Object, StatusError};
use serde_json::Value;

use super::identity::Identity;
use super::rbac::{Attributes, covers};
use crate::server::Api;
use crate::storage::ListRequest;

/// The group kubelets are in.
const NODES: &str = "system:nodes";

/// What the Node authorizer says; it never forbids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Opinion {
    Allowed,
    /// The text says why, where there is something to say.
    None(String),
}

/// The node an identity is the kubelet of.
pub(crate) fn node_of(identity: &Identity) -> Option<&str> {
    let node = identity.user.strip_prefix("system:node:").filter(|node| !node.is_empty());
    node.filter(|_| identity.is_in(NODES))
}

/// What one question needs to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    /// Answered already.
    Yes,
    No(&'static str),
    /// Whether a Pod of this node leads to the object.
    Related,
    /// Whatever `system:node` has.
    Rules,
}

pub(super) async fn opinion(
    api: &Api,
    identity: &Identity,
    wanted: &Attributes,
) -> Result<Opinion, StatusError> {
    let Some(node) = node_of(identity) else { return Ok(Opinion::None(String::new())) };
    Ok(match question(node, wanted) {
        Question::Yes => Opinion::Allowed,
        Question::No(why) => Opinion::None(why.to_owned()),
        Question::Rules if crate::bootstrap::node_rules().iter().any(|rule| covers(rule, wanted)) => {
            Opinion::Allowed
        }
        Question::Rules => Opinion::None(String::new()),
        Question::Related if related(api, node, wanted).await? => Opinion::Allowed,
        Question::Related => {
            Opinion::None(format!("no relationship found between node '{node}' and this object"))
        }
    })
}

fn question(node: &str, wanted: &Attributes) -> Question {
    const READ: [&str; 3] = ["get", "list", "watch"];
    let verb = wanted.verb.as_str();
    let own = |name: &str| if name == node { Question::Yes } else { Question::Related };
    match (wanted.group.as_str(), wanted.resource.as_str(), wanted.subresource.as_str()) {
        _ if wanted.path.is_some() => Question::Rules,
        ("", "secrets" | "configmaps", "")
        | ("storage.k8s.io", "volumeattachments", "")
        | ("resource.k8s.io", "resourceclaims", "" | "status") => {
            let writes_status = wanted.subresource == "status" && matches!(verb, "update" | "patch");
            if !READ.contains(&verb) && !writes_status {
                Question::No("can only read resource of this type")
            } else if wanted.name.is_empty() {
                Question::No("can only list/watch/get individual resources of this type")
            } else {
                Question::Related
            }
        }
        ("", "persistentvolumeclaims" | "persistentvolumes", sub) => match (verb, sub) {
            ("get", "") | ("get" | "update" | "patch", "status") if !wanted.name.is_empty() => {
                Question::Related
            }
            _ => Question::No("can only get individual resources of this type"),
        },
        ("", "serviceaccounts", "token") => match verb {
            "create" => Question::Related,
            _ => Question::No("can only create tokens for individual service accounts"),
        },
        ("", "pods", "") if verb == "get" => Question::Related,
        ("", "pods", "") if matches!(verb, "list" | "watch") => {
            if wanted.node_selector == node {
                Question::Yes
            } else {
                Question::No("can only list/watch pods with spec.nodeName field selector")
            }
        }
        ("", "nodes", "") if READ.contains(&verb) => match own(&wanted.name) {
            Question::Yes => Question::Yes,
            _ => Question::No("node may only read its own Node object"),
        },
        ("coordination.k8s.io", "leases", "") => {
            if wanted.namespace != "kube-node-lease" {
                Question::No("can only access leases in the \"kube-node-lease\" system namespace")
            } else if verb == "create" || (wanted.name == node && !matches!(verb, "list" | "watch")) {
                Question::Rules
            } else {
                Question::No("can only access node lease with the same name as the requesting node")
            }
        }
        ("storage.k8s.io", "csinodes", "") => {
            if verb == "create" || (wanted.name == node && !matches!(verb, "list" | "watch")) {
                Question::Rules
            } else {
                Question::No("can only access CSINode with the same name as the requesting node")
            }
        }
        ("resource.k8s.io", "resourceslices", "")
            if matches!(verb, "list" | "watch" | "deletecollection") =>
        {
            if wanted.node_selector == node {
                Question::Yes
            } else {
                Question::No(
                    "can only list/watch/deletecollection resourceslices with nodeName field selector",
                )
            }
        }
        _ => Question::Rules,
    }
}

/// Whether a Pod bound to the node leads to the object.
async fn related(api: &Api, node: &str, wanted: &Attributes) -> Result<bool, StatusError> {
    let (group, resource, name) = (wanted.group.as_str(), wanted.resource.as_str(), wanted.name.as_str());
    if resource == "volumeattachments" {
        let object = found(api, group, resource, "", name).await?;
        return Ok(object.is_some_and(|object| object.str_at(&["spec", "nodeName"]) == node));
    }
    if resource == "pods" {
        let object = found(api, "", "pods", &wanted.namespace, name).await?;
        return Ok(object.is_some_and(|object| object.str_at(&["spec", "nodeName"]) == node));
    }
    let (resource, namespace, name) = if resource == "persistentvolumes" {
        // A volume is reached through the claim it is bound to.
        let Some(volume) = found(api, "", resource, "", name).await? else { return Ok(false) };
        let claim = |key: &str| volume.str_at(&["spec", "claimRef", key]).to_owned();
        ("persistentvolumeclaims", claim("namespace"), claim("name"))
    } else {
        (resource, wanted.namespace.clone(), name.to_owned())
    };
    if namespace.is_empty() || name.is_empty() {
        return Ok(false);
    }
    let Some(kind) = api.registry.find("", "v1", "pods") else { return Ok(false) };
    let page = api.storage.list(&kind, &ListRequest { namespace, ..ListRequest::default() }).await?;
    for stored in &page.items {
        let pod = stored.object()?;
        if pod.str_at(&["spec", "nodeName"]) == node && leads_to(&pod, resource, &name) {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn found(
    api: &Api,
    group: &str,
    resource: &str,
    namespace: &str,
    name: &str,
) -> Result<Option<Object>, StatusError> {
    let Some(kind) = api.registry.find(group, "v1", resource) else { return Ok(None) };
    api.storage.find(&kind, namespace, name).await?.map(|stored| stored.object()).transpose()
}

/// Members of a Pod's spec that name an object, by resource: the member, and the member in it that is the name.
const REFERENCES: &[(&str, &str, &str)] = &[
    ("secrets", "secret", "secretName"),
    ("secrets", "secret", "name"),
    ("secrets", "secretRef", "name"),
    ("secrets", "secretKeyRef", "name"),
    ("secrets", "nodePublishSecretRef", "name"),
    ("secrets", "imagePullSecrets", "name"),
    ("configmaps", "configMap", "name"),
    ("configmaps", "configMapRef", "name"),
    ("configmaps", "configMapKeyRef", "name"),
    ("persistentvolumeclaims", "persistentVolumeClaim", "claimName"),
    ("resourceclaims", "resourceClaims", "resourceClaimName"),
    ("resourceclaims", "resourceClaimStatuses", "resourceClaimName"),
];

/// Whether a Pod names an object of its namespace.
fn leads_to(pod: &Object, resource: &str, name: &str) -> bool {
    if resource == "serviceaccounts" {
        return pod.str_at(&["spec", "serviceAccountName"]) == name;
    }
    if resource == "persistentvolumeclaims" {
        let volumes = pod.at(&["spec", "volumes"]).and_then(Value::as_array);
        let made = volumes.into_iter().flatten().any(|volume| {
            let own = volume.get("name").and_then(Value::as_str).unwrap_or_default();
            volume.get("ephemeral").is_some() && name.strip_prefix(pod.name()) == Some(&format!("-{own}"))
        });
        if made {
            return true;
        }
    }
    ["spec", "status"].iter().filter_map(|part| pod.at(&[part])).any(|part| names(part, resource, name))
}

fn names(tree: &Value, resource: &str, name: &str) -> bool {
    match tree {
        Value::Array(items) => items.iter().any(|item| names(item, resource, name)),
        Value::Object(members) => members.iter().any(|(member, value)| {
            let hit = |item: &Value| {
                REFERENCES.iter().any(|(of, at, key)| {
                    *of == resource && at == member && item.get(key).and_then(Value::as_str) == Some(name)
                })
            };
            let here = match value {
                Value::Array(items) => items.iter().any(hit),
                value => hit(value),
            };
            here || names(value, resource, name)
        }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// I30: every way a Pod names an object leads to it, and to no other.
    #[test]
    fn a_pod_leads_to_what_it_names() {
        let pod = Object::from_value(json!({
            "metadata": {"name": "p", "namespace": "ns"},
            "spec": {
                "serviceAccountName": "sa", "imagePullSecrets": [{"name": "pull"}],
                "containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "env", "key": "k"}}}],
                    "envFrom": [{"configMapRef": {"name": "all"}}]}],
                "volumes": [
                    {"name": "a", "secret": {"secretName": "files"}},
                    {"name": "b", "projected": {"sources": [{"configMap": {"name": "part"}}]}},
                    {"name": "c", "persistentVolumeClaim": {"claimName": "disk"}},
                    {"name": "d", "ephemeral": {"volumeClaimTemplate": {}}},
                ],
            },
        }))
        .unwrap();
        for (resource, name) in [
            ("serviceaccounts", "sa"),
            ("secrets", "pull"),
            ("secrets", "env"),
            ("secrets", "files"),
            ("configmaps", "all"),
            ("configmaps", "part"),
            ("persistentvolumeclaims", "disk"),
            ("persistentvolumeclaims", "p-d"),
        ] {
            assert!(leads_to(&pod, resource, name), "{resource} {name}");
        }
        for (resource, name) in
            [("secrets", "all"), ("configmaps", "files"), ("secrets", "k"), ("persistentvolumeclaims", "p-a")]
        {
            assert!(!leads_to(&pod, resource, name), "{resource} {name}");
        }
    }

    /// I30
    #[test]
    fn a_kubelet_is_a_name_in_a_group() {
        let who = |user: &str, group: &str| Identity {
            user: user.to_owned(),
            groups: vec![group.to_owned()],
            ..Identity::default()
        };
        assert_eq!(node_of(&who("system:node:n", "system:nodes")), Some("n"));
        assert_eq!(node_of(&who("system:node:n", "others")), None);
        assert_eq!(node_of(&who("system:node:", "system:nodes")), None);
        assert_eq!(node_of(&who("jane", "system:nodes")), None);
    }
}
