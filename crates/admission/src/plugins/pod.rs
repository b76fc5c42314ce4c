//! What plug-ins add to a new Pod: service account and token, tolerations, priority, runtime class
//! (R1.9, R12.27, I36, I42, I43, I47).

use outrigger_api::{Object, StatusError};
use serde_json::{Value, json};

use super::Lookup;
use crate::pipeline::CreateContext;
use crate::tree;

const TOKEN_MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const MIRROR: &str = "kubernetes.io/config.mirror";
/// Seconds a Pod stays on a node that is not ready or unreachable (R1.9).
const TOLERATE_SECONDS: i64 = 300;

pub(super) fn admit(pod: &mut Object, context: &CreateContext<'_>) -> Result<(), StatusError> {
    service_account(pod, context)?;
    priority(pod, context.lookup)?;
    default_tolerations(pod);
    runtime_class(pod, context.lookup)
}

fn refuse(pod: &Object, why: &str) -> StatusError {
    StatusError::forbidden("pods", "", super::shown_name(pod), why)
}

/// I36.
fn service_account(pod: &mut Object, context: &CreateContext<'_>) -> Result<(), StatusError> {
    if pod.at(&["metadata", "annotations", MIRROR]).is_some() {
        if !pod.str_at(&["spec", "serviceAccountName"]).is_empty() {
            return Err(refuse(pod, "a mirror pod may not reference service accounts"));
        }
        return Ok(());
    }
    if pod.str_at(&["spec", "serviceAccountName"]).is_empty() {
        *pod.entry(&["spec", "serviceAccountName"]) = json!("default");
    }
    let name = pod.str_at(&["spec", "serviceAccountName"]).to_owned();
    *pod.entry(&["spec", "serviceAccount"]) = json!(name);
    let namespace = context.namespace;
    let Some(account) = context.lookup.service_account(namespace, &name) else {
        let why = format!(
            "error looking up service account {namespace}/{name}: serviceaccount \"{name}\" not found"
        );
        return Err(refuse(pod, &why));
    };
    let secrets =
        account.at(&["imagePullSecrets"]).filter(|list| list.as_array().is_some_and(|list| !list.is_empty()));
    let listed =
        pod.at(&["spec", "imagePullSecrets"]).and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    if let (false, Some(secrets)) = (listed, secrets) {
        *pod.entry(&["spec", "imagePullSecrets"]) = secrets.clone();
    }
    let of_pod = pod.at(&["spec", "automountServiceAccountToken"]).and_then(Value::as_bool);
    let of_account = account.at(&["automountServiceAccountToken"]).and_then(Value::as_bool);
    if of_pod.or(of_account).unwrap_or(true) {
        mount_token(pod.entry(&["spec"]), context.suffix);
    }
    Ok(())
}

/// R12.27.
fn mount_token(spec: &mut Value, suffix: &str) {
    let existing = tree::list(spec, "volumes").iter().map(|volume| tree::text(volume, "name"));
    let volume = existing
        .into_iter()
        .find(|name| name.starts_with("kube-api-access-"))
        .map_or_else(|| format!("kube-api-access-{suffix}"), str::to_owned);
    let mut mounted = false;
    for field in ["initContainers", "containers"] {
        for container in tree::list_mut(spec, field) {
            let taken = tree::list(container, "volumeMounts")
                .iter()
                .any(|mount| tree::text(mount, "mountPath") == TOKEN_MOUNT);
            if taken {
                continue;
            }
            mounted = true;
            push(
                container,
                "volumeMounts",
                json!({ "name": volume, "readOnly": true, "mountPath": TOKEN_MOUNT }),
            );
        }
    }
    let there = tree::list(spec, "volumes").iter().any(|item| tree::text(item, "name") == volume);
    if mounted && !there {
        push(
            spec,
            "volumes",
            json!({ "name": volume, "projected": { "defaultMode": 420, "sources": [
            { "serviceAccountToken": { "expirationSeconds": 3607, "path": "token" } },
            { "configMap": { "name": "kube-root-ca.crt", "items": [{ "key": "ca.crt", "path": "ca.crt" }] } },
            { "downwardAPI": { "items": [{
                "path": "namespace", "fieldRef": { "apiVersion": "v1", "fieldPath": "metadata.namespace" }
            }] } },
        ] } }),
        );
    }
}

fn push(value: &mut Value, key: &str, item: Value) {
    match value.get_mut(key).and_then(Value::as_array_mut) {
        Some(list) => list.push(item),
        None => tree::set(value, key, json!([item])),
    }
}

/// I42. The two system classes are known even before they are stored.
fn priority(pod: &mut Object, lookup: &dyn Lookup) -> Result<(), StatusError> {
    let name = pod.str_at(&["spec", "priorityClassName"]).to_owned();
    let class = if name.is_empty() { lookup.default_priority_class() } else { lookup.priority_class(&name) };
    let value = match (&class, name.as_str()) {
        (Some(class), _) => class.at(&["value"]).and_then(Value::as_i64).unwrap_or(0),
        (None, "") => 0,
        (None, "system-node-critical") => 2_000_001_000,
        (None, "system-cluster-critical") => 2_000_000_000,
        (None, _) => return Err(refuse(pod, &format!("no PriorityClass with name {name} was found"))),
    };
    if let (true, Some(class)) = (name.is_empty(), &class) {
        *pod.entry(&["spec", "priorityClassName"]) = json!(class.name());
    }
    match pod.at(&["spec", "priority"]).and_then(Value::as_i64) {
        Some(given) if given != value => {
            let why = format!(
                "the integer value of priority ({given}) must not be provided in pod spec; \
                 priority admission controller computed {value} from the given PriorityClass name"
            );
            return Err(refuse(pod, &why));
        }
        Some(_) | None => {}
    }
    let policy =
        class.as_ref().map(|class| class.str_at(&["preemptionPolicy"])).filter(|policy| !policy.is_empty());
    let policy = policy.unwrap_or("PreemptLowerPriority").to_owned();
    let given = pod.str_at(&["spec", "preemptionPolicy"]);
    if !given.is_empty() && given != policy {
        let why = format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; \
             priority admission controller computed {policy} from the given PriorityClass name"
        );
        return Err(refuse(pod, &why));
    }
    *pod.entry(&["spec", "priority"]) = json!(value);
    *pod.entry(&["spec", "preemptionPolicy"]) = json!(policy);
    Ok(())
}

/// I43.
fn default_tolerations(pod: &mut Object) {
    let Some(spec) = pod.0.get_mut("spec") else { return };
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let tolerated = tree::list(spec, "tolerations").iter().any(|toleration| {
            let (on, effect) = (tree::text(toleration, "key"), tree::text(toleration, "effect"));
            (on == key || on.is_empty()) && (effect == "NoExecute" || effect.is_empty())
        });
        if !tolerated {
            push(
                spec,
                "tolerations",
                json!({
                    "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": TOLERATE_SECONDS,
                }),
            );
        }
    }
}

/// I47.
fn runtime_class(pod: &mut Object, lookup: &dyn Lookup) -> Result<(), StatusError> {
    let name = pod.str_at(&["spec", "runtimeClassName"]).to_owned();
    if name.is_empty() {
        return Ok(());
    }
    let Some(class) = lookup.runtime_class(&name) else {
        return Err(refuse(pod, &format!("pod rejected: RuntimeClass \"{name}\" not found")));
    };
    if let Some(overhead) = class.at(&["overhead", "podFixed"]).filter(|overhead| !overhead.is_null()) {
        *pod.entry(&["spec", "overhead"]) = overhead.clone();
    }
    for (key, value) in
        class.at(&["scheduling", "nodeSelector"]).and_then(Value::as_object).into_iter().flatten()
    {
        *pod.entry(&["spec", "nodeSelector", key]) = value.clone();
    }
    for toleration in class.at(&["scheduling", "tolerations"]).and_then(Value::as_array).into_iter().flatten()
    {
        let spec = pod.entry(&["spec"]);
        if !tree::list(spec, "tolerations").contains(toleration) {
            push(spec, "tolerations", toleration.clone());
        }
    }
    Ok(())
}
