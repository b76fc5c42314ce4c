//! A file's text as a Pod of this node (R14.5): defaults filled in, checked, named. Pure.

use std::path::Path;

use k8s_openapi::api::core::v1::Pod;
use outrigger_admission::{defaults, strategy, validation};
use outrigger_api::{Object, Registry, WallTime};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::pod_table::SOURCE;

pub(super) const HASH: &str = "kubernetes.io/config.hash";
const SEEN: &str = "kubernetes.io/config.seen";

/// The Pod in `text`, which is YAML or JSON. Its uid follows from its content: another content is another Pod.
pub(super) fn pod(text: &str, file: &Path, node: &str, now: WallTime) -> Result<Pod, String> {
    let value: Value = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    let Value::Object(map) = value else { return Err("not an object".to_owned()) };
    let mut object = Object(map);
    if object.str_at(&["kind"]) != "Pod" || object.str_at(&["apiVersion"]) != "v1" {
        return Err("not a Pod of apiVersion v1".to_owned());
    }
    let mut hash = Sha256::new();
    hash.update(serde_json::to_vec(&object.0).map_err(|error| error.to_string())?);
    hash.update(format!("host:{node}file:{}", file.display()));
    let uid = hex::encode(&hash.finalize()[..16]);
    let name = format!("{}-{node}", object.name());
    let namespace = Some(object.namespace()).filter(|it| !it.is_empty()).unwrap_or("default").to_owned();
    *object.entry(&["metadata", "name"]) = json!(name);
    *object.entry(&["metadata", "namespace"]) = json!(namespace);
    *object.entry(&["metadata", "uid"]) = json!(uid);
    *object.entry(&["metadata", "creationTimestamp"]) = json!(now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    *object.entry(&["metadata", "annotations", HASH]) = json!(uid);
    *object.entry(&["metadata", "annotations", SOURCE]) = json!("file");
    *object.entry(&["metadata", "annotations", SEEN]) = json!(now.to_string());
    *object.entry(&["spec", "nodeName"]) = json!(node);
    tolerate_everything(&mut object);
    let registry = Registry::builtin();
    let kind = registry.find("", "v1", "pods").ok_or("Pods are not known")?;
    defaults::apply(&kind, &mut object);
    refuse_references(&object)?;
    validation::create(&kind, &object).map_err(|error| error.message)?;
    let class = strategy::qos_class(&object);
    *object.entry(&["status"]) = json!({ "phase": "Pending", "qosClass": class });
    serde_json::from_value(Value::Object(object.0)).map_err(|error| error.to_string())
}

/// Static Pods stay on a node whatever its taints: nobody could put them elsewhere.
fn tolerate_everything(object: &mut Object) {
    let tolerations = object.entry(&["spec", "tolerations"]);
    if !tolerations.is_array() {
        *tolerations = json!([]);
    }
    if let Some(list) = tolerations.as_array_mut() {
        list.push(json!({ "operator": "Exists", "effect": "NoExecute" }));
    }
}

/// R14.6: what only the API knows cannot be had by a Pod that runs without it.
fn refuse_references(object: &Object) -> Result<(), String> {
    if !object.str_at(&["spec", "serviceAccountName"]).is_empty() {
        return Err("static pods may not reference serviceaccounts".to_owned());
    }
    let volumes = object.at(&["spec", "volumes"]).and_then(Value::as_array);
    for volume in volumes.into_iter().flatten() {
        for kind in ["secret", "configMap", "projected", "persistentVolumeClaim"] {
            if volume.get(kind).is_some_and(|it| !it.is_null()) {
                let name = volume.get("name").and_then(Value::as_str).unwrap_or_default();
                return Err(format!(
                    "static pods may not reference API objects: volume {name:?} is a {kind}"
                ));
            }
        }
    }
    let lists = ["initContainers", "containers"]
        .into_iter()
        .filter_map(|list| object.at(&["spec", list])?.as_array());
    for container in lists.flatten() {
        let env = container.get("env").and_then(Value::as_array).into_iter().flatten();
        let refers = env
            .filter_map(|it| it.get("valueFrom"))
            .any(|from| ["secretKeyRef", "configMapKeyRef"].into_iter().any(|kind| from.get(kind).is_some()));
        if refers || container.get("envFrom").and_then(Value::as_array).is_some_and(|it| !it.is_empty()) {
            let name = container.get("name").and_then(Value::as_str).unwrap_or_default();
            return Err(format!(
                "static pods may not reference API objects: environment of container {name:?}"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(spec: &str) -> Result<Pod, String> {
        let text = format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: web}}\nspec: {spec}\n");
        pod(&text, Path::new("/etc/web.yaml"), "n1", WallTime::UNIX_EPOCH)
    }

    /// R14.5
    #[test]
    fn a_file_becomes_a_pod_of_the_node() {
        let found = read("{containers: [{name: a, image: x}]}").unwrap();
        let meta = &found.metadata;
        assert_eq!((meta.name.as_deref(), meta.namespace.as_deref()), (Some("web-n1"), Some("default")));
        let annotations = meta.annotations.as_ref().unwrap();
        assert_eq!(annotations["kubernetes.io/config.source"], "file");
        assert_eq!(Some(&annotations["kubernetes.io/config.hash"]), meta.uid.as_ref());
        assert!(annotations.contains_key("kubernetes.io/config.seen"));
        let spec = found.spec.as_ref().unwrap();
        assert_eq!((spec.node_name.as_deref(), spec.restart_policy.as_deref()), (Some("n1"), Some("Always")));
        assert_eq!(found.status.as_ref().unwrap().qos_class.as_deref(), Some("BestEffort"));
        let other = read("{containers: [{name: a, image: other}]}").unwrap();
        assert_ne!(other.metadata.uid, meta.uid);
        assert!(crate::pod_table::is_static(&found) && crate::pod_table::is_critical(&found));
    }

    /// R14.6
    #[test]
    fn nothing_of_the_api_can_be_referred_to() {
        let refused = |spec: &str| read(spec).unwrap_err();
        let text = refused("{serviceAccountName: x, containers: [{name: a, image: x}]}");
        assert_eq!(text, "static pods may not reference serviceaccounts");
        let text =
            refused("{containers: [{name: a, image: x}], volumes: [{name: v, secret: {secretName: s}}]}");
        assert!(text.contains("volume \"v\""), "{text}");
        let text = refused(
            "{containers: [{name: a, image: x, env: [{name: E, valueFrom: {configMapKeyRef: {name: m, key: k}}}]}]}",
        );
        assert!(text.contains("container \"a\""), "{text}");
        assert!(refused("{containers: []}").contains("spec.containers: Required value"));
    }
}
