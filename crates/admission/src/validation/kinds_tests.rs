//! Small kinds: the rule, the object, and every finding in order.

use outrigger_api::{Object, Registry};
use serde_json::{Value, json};

use super::tests::found;

#[track_caller]
fn check(rule: &str, group: &str, kind: &str, new: Value, old: Option<Value>, expected: &[&str]) {
    let kind = Registry::builtin().by_kind(group, "v1", kind).expect("built in");
    let make = |value: Value| Object::from_value(value).expect("an object");
    assert_eq!(found(&kind, &make(new), old.map(make).as_ref()), expected, "{rule}");
}

/// K18.
#[test]
fn nodes() {
    let taint = |effect: &str| json!({"key": "a", "effect": effect});
    check(
        "K18",
        "",
        "Node",
        json!({"spec": {"taints": [taint("NoSchedule"), taint("NoExecute")]}}),
        None,
        &[],
    );
    check(
        "K18",
        "",
        "Node",
        json!({"spec": {"taints": [taint("NoSchedule"), taint("NoSchedule")]}}),
        None,
        &[r#"spec.taints[1]: Duplicate value: {"effect":"NoSchedule","key":"a"}"#],
    );
    check(
        "K18",
        "",
        "Node",
        json!({"spec": {"taints": [taint("Never")]}}),
        None,
        &[
            r#"spec.taints[0].effect: Unsupported value: "Never": supported values: "NoExecute", "NoSchedule", "PreferNoSchedule""#,
        ],
    );
    let node = |range: &str, id: &str| json!({"spec": {"podCIDR": range, "providerID": id}});
    check("K18", "", "Node", node("10.0.0.0/24", "a"), Some(node("", "")), &[]);
    check(
        "K18",
        "",
        "Node",
        node("10.0.1.0/24", "b"),
        Some(node("10.0.0.0/24", "a")),
        &[
            r#"spec.podCIDR: Forbidden: node updates may not change podCIDR except from "" to valid"#,
            r#"spec.providerID: Forbidden: node updates may not change providerID except from "" to valid"#,
        ],
    );
}

/// K20.
#[test]
fn events() {
    let event = |own: &str, about: &str| json!({"metadata": {"name": "e", "namespace": own}, "involvedObject": {"namespace": about}});
    check("K20", "", "Event", event("a", "a"), None, &[]);
    check("K20", "", "Event", event("default", ""), None, &[]);
    check("K20", "", "Event", event("kube-system", ""), None, &[]);
    for (own, about) in [("a", ""), ("a", "b"), ("default", "b")] {
        let finding =
            format!(r#"involvedObject.namespace: Invalid value: "{about}": does not match event.namespace"#);
        check("K20", "", "Event", event(own, about), None, &[&finding]);
    }
    let long = json!({"metadata": {"namespace": "default"}, "note": "x".repeat(1025)});
    check(
        "K20",
        "events.k8s.io",
        "Event",
        long,
        None,
        &["note: Invalid value: \"\": can have at most 1024 characters"],
    );
}

/// K34, K35, K41: what keeps its first value.
#[test]
fn what_never_changes() {
    let class = |provisioner: &str| json!({"provisioner": provisioner, "reclaimPolicy": "Delete", "volumeBindingMode": "Immediate"});
    check(
        "K34",
        "storage.k8s.io",
        "StorageClass",
        class("b"),
        Some(class("a")),
        &[r#"provisioner: Invalid value: "b": field is immutable"#],
    );
    let findings = |rule: &str, group: &str, kind: &str, new: Value, old: Value, expected: &str| {
        check(rule, group, kind, new, Some(old), &[expected]);
    };
    findings(
        "K35",
        "node.k8s.io",
        "RuntimeClass",
        json!({"handler": "b"}),
        json!({"handler": "a"}),
        r#"handler: Invalid value: "b": field is immutable"#,
    );
    findings(
        "K41",
        "apps",
        "ControllerRevision",
        json!({"data": {"a": 2}, "revision": 1}),
        json!({"data": {"a": 1}, "revision": 1}),
        r#"data: Invalid value: {"a":2}: field is immutable"#,
    );
}

/// K38.
#[test]
fn webhooks() {
    let good = json!({"name": "a.b.c", "admissionReviewVersions": ["v1"], "sideEffects": "None",
        "clientConfig": {"url": "https://a/"}});
    let with = |member: &str, value: Value| {
        let mut webhook = good.clone();
        webhook[member] = value;
        json!({"webhooks": [webhook]})
    };
    let group = "admissionregistration.k8s.io";
    let kind = "ValidatingWebhookConfiguration";
    check("K38", group, kind, json!({"webhooks": [good]}), None, &[]);
    for (object, expected) in [
        (json!({"webhooks": [good, good]}), r#"webhooks[1].name: Duplicate value: "a.b.c""#),
        (
            with("name", json!("a.b")),
            r#"webhooks[0].name: Invalid value: "a.b": should be a domain with at least three segments separated by dots"#,
        ),
        (
            with("sideEffects", json!("")),
            "webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun",
        ),
        (
            with("sideEffects", json!("Some")),
            r#"webhooks[0].sideEffects: Unsupported value: "Some": supported values: "None", "NoneOnDryRun""#,
        ),
        (
            with("admissionReviewVersions", json!([])),
            "webhooks[0].admissionReviewVersions: Required value: must specify one of v1, v1beta1",
        ),
        (
            with("timeoutSeconds", json!(31)),
            "webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds",
        ),
        (
            with("clientConfig", json!({})),
            "webhooks[0].clientConfig: Required value: exactly one of url or service is required",
        ),
        (
            with("clientConfig", json!({"url": "http://a/"})),
            r#"webhooks[0].clientConfig.url: Invalid value: "http://a/": 'https' is the only allowed URL scheme"#,
        ),
    ] {
        check("K38", group, kind, object, None, &[expected]);
    }
}

/// K40.
#[test]
fn api_services() {
    let service = |group: i64, version: i64, bundle: &str| {
        json!({"spec": {"groupPriorityMinimum": group, "versionPriority": version, "insecureSkipTLSVerify": true,
            "caBundle": bundle}})
    };
    check("K40", "apiregistration.k8s.io", "APIService", service(1, 1, ""), None, &[]);
    check(
        "K40",
        "apiregistration.k8s.io",
        "APIService",
        service(0, 0, "x"),
        None,
        &[
            "spec.groupPriorityMinimum: Invalid value: 0: must be positive and less than 20000",
            "spec.versionPriority: Invalid value: 0: must be positive and less than 1000",
            "spec.insecureSkipTLSVerify: Invalid value: true: may not be true if caBundle is present",
        ],
    );
}
