//! Defaults of what extends the API, scales or provides storage (J2, K31, K34, K38).

use serde_json::{Value, json};

use super::kinds::{absent, with_spec};
use crate::tree;

/// K31: the policies a scaler follows where it says how it behaves at all.
pub(super) fn autoscaler(object: &mut Value, version: &str) {
    with_spec(object, |spec| {
        absent(spec, "minReplicas", 1);
        if version != "v2" {
            return;
        }
        if tree::list(spec, "metrics").is_empty() {
            let target = json!({ "type": "Utilization", "averageUtilization": 80 });
            tree::set(
                spec,
                "metrics",
                json!([{ "type": "Resource", "resource": { "name": "cpu", "target": target } }]),
            );
        }
        let Some(behavior) = tree::existing_mut(spec, "behavior") else { return };
        let percent = json!({ "type": "Percent", "value": 100, "periodSeconds": 15 });
        let pods = json!({ "type": "Pods", "value": 4, "periodSeconds": 15 });
        if let Some(up) = tree::object_mut(behavior, "scaleUp") {
            absent(up, "stabilizationWindowSeconds", 0);
            tree::default_to(up, "selectPolicy", "Max");
            absent(up, "policies", json!([pods, percent]));
        }
        if let Some(down) = tree::object_mut(behavior, "scaleDown") {
            tree::default_to(down, "selectPolicy", "Max");
            absent(down, "policies", json!([percent]));
        }
    });
}

/// K34.
pub(super) fn csi_driver(object: &mut Value) {
    with_spec(object, |spec| {
        absent(spec, "attachRequired", true);
        for field in ["podInfoOnMount", "storageCapacity", "requiresRepublish", "seLinuxMount"] {
            absent(spec, field, false);
        }
        tree::default_to(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
        if tree::list(spec, "volumeLifecycleModes").is_empty() {
            tree::set(spec, "volumeLifecycleModes", json!(["Persistent"]));
        }
    });
}

/// K38.
pub(super) fn webhooks(object: &mut Value, mutating: bool) {
    for webhook in tree::list_mut(object, "webhooks") {
        tree::default_to(webhook, "failurePolicy", "Fail");
        absent(webhook, "timeoutSeconds", 10);
        if mutating {
            tree::default_to(webhook, "reinvocationPolicy", "Never");
        }
        matching(webhook, "rules");
        if let Some(service) = tree::existing_mut(webhook, "clientConfig")
            .and_then(|client| tree::existing_mut(client, "service"))
        {
            absent(service, "port", 443);
        }
    }
}

/// K38, of policies and their bindings: `member` of the spec says what is wanted.
pub(super) fn policy(object: &mut Value, member: &str) {
    with_spec(object, |spec| {
        if member == "matchConstraints" {
            tree::default_to(spec, "failurePolicy", "Fail");
        }
        if let Some(constraints) = tree::existing_mut(spec, member) {
            matching(constraints, "resourceRules");
            for rule in tree::list_mut(constraints, "excludeResourceRules") {
                tree::default_to(rule, "scope", "*");
            }
        }
    });
}

fn matching(holder: &mut Value, rules: &str) {
    tree::default_to(holder, "matchPolicy", "Equivalent");
    for selector in ["namespaceSelector", "objectSelector"] {
        absent(holder, selector, json!({}));
    }
    for rule in tree::list_mut(holder, rules) {
        tree::default_to(rule, "scope", "*");
    }
}

/// J2: the names that follow from the kind, and a conversion that changes apiVersion only.
pub(super) fn definition(object: &mut Value) {
    with_spec(object, |spec| {
        if let Some(names) = tree::existing_mut(spec, "names") {
            let kind = tree::text(names, "kind").to_owned();
            if !kind.is_empty() {
                tree::default_to(names, "singular", kind.to_lowercase());
                tree::default_to(names, "listKind", format!("{kind}List"));
            }
        }
        absent(spec, "conversion", json!({ "strategy": "None" }));
    });
}
