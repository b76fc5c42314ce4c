//! Kinds other than Pod: the rule, the object, and every finding in order.

use outrigger_api::{KindInfo, Object, Registry};
use serde_json::{Value, json};

use super::{on_create, on_update};
use crate::field::Findings;

fn template() -> Value {
    json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "a:1"}]}})
}

#[track_caller]
fn check(rule: &str, group: &str, kind: &str, new: Value, old: Option<Value>, expected: &[&str]) {
    let version = if group == "autoscaling" { "v2" } else { "v1" };
    let kind = Registry::builtin().by_kind(group, version, kind).expect("built in");
    let make = |value: Value| {
        let mut object = Object::from_value(value).expect("an object");
        crate::defaults::apply(&kind, &mut object);
        object
    };
    assert_eq!(found(&kind, &make(new), old.map(make).as_ref()), expected, "{rule}");
}

/// Every finding, in order, of a new object or of a change.
pub(super) fn found(kind: &KindInfo, new: &Object, old: Option<&Object>) -> Vec<String> {
    let mut findings = Findings::default();
    match old {
        None => on_create(kind, new, &mut findings),
        Some(old) => on_update(kind, new, old, &mut findings),
    }
    findings.causes().iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
}

/// K15, K16, R12.22.
#[test]
fn data() {
    check(
        "K15",
        "",
        "ConfigMap",
        json!({"data": {"a": "1"}, "binaryData": {"a": "AA=="}}),
        None,
        &[r#"data[a]: Invalid value: "a": duplicate of key present in binaryData"#],
    );
    check(
        "K15",
        "",
        "ConfigMap",
        json!({"data": {"a": "x".repeat(1_048_577)}}),
        None,
        &["[]: Too long: may not be more than 1048576 bytes"],
    );
    check(
        "K15",
        "",
        "ConfigMap",
        json!({"immutable": true, "data": {"a": "2"}}),
        Some(json!({"immutable": true, "data": {"a": "1"}})),
        &["data: Forbidden: field is immutable when `immutable` is set"],
    );
    check(
        "K16",
        "",
        "Secret",
        json!({"type": "kubernetes.io/tls", "stringData": {"tls.crt": "x"}}),
        None,
        &["data[tls.key]: Required value"],
    );
}

/// K13.
#[test]
fn services() {
    let port = json!([{"port": 80}]);
    check("K13", "", "Service", json!({"spec": {"ports": port}}), None, &[]);
    check("K13", "", "Service", json!({"spec": {}}), None, &["spec.ports: Required value"]);
    check("K13", "", "Service", json!({"spec": {"clusterIP": "None"}}), None, &[]);
    check(
        "K13",
        "",
        "Service",
        json!({"spec": {"ports": [{"port": 80, "nodePort": 30000}]}}),
        None,
        &["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"],
    );
    check(
        "K13",
        "",
        "Service",
        json!({"spec": {"ports": port, "clusterIP": "10.0.0.2"}}),
        Some(json!({"spec": {"ports": port, "clusterIP": "10.0.0.1"}})),
        &[r#"spec.clusterIPs[0]: Invalid value: ["10.0.0.2"]: may not change once set"#],
    );
}

/// R16.1, R16.7: how Pods of controllers may end.
#[test]
fn templates_and_how_their_pods_end() {
    let labels = json!({"matchLabels": {"a": "b"}});
    let with = |extra: serde_json::Value| {
        let mut template = template();
        for (key, value) in extra.as_object().expect("an object") {
            template["spec"][key] = value.clone();
        }
        template
    };
    // A Deployment's template is judged as that of the ReplicaSets it will have.
    for (kind, named) in [
        ("Deployment", "ReplicaSet"),
        ("ReplicaSet", "ReplicaSet"),
        ("StatefulSet", "StatefulSet"),
        ("DaemonSet", "DaemonSet"),
    ] {
        let template = with(json!({"restartPolicy": "Never", "activeDeadlineSeconds": 5}));
        let deadline = format!(
            "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in {named} is not Supported"
        );
        check(
            "R16.7",
            "apps",
            kind,
            json!({"spec": {"serviceName": "x", "selector": labels, "template": template}}),
            None,
            &[
                r#"spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always""#,
                &deadline,
            ],
        );
    }
    let sidecar = json!([{"name": "s", "image": "a:1", "restartPolicy": "Always"}]);
    let job = |policy: Option<&str>, more: serde_json::Value| {
        let mut spec = json!({"selector": labels, "template": with(json!({"restartPolicy": policy, "initContainers": sidecar}))});
        for (key, value) in more.as_object().expect("an object") {
            spec[key] = value.clone();
        }
        json!({"spec": spec})
    };
    let required = r#"spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never""#;
    let rules = json!({"podFailurePolicy": {"rules": [
        {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [1]}}]}});
    let never_only = r#"spec.template.spec.restartPolicy: Invalid value: "OnFailure": only "Never" is supported when podFailurePolicy is specified"#;
    check("R16.1", "batch", "Job", job(Some("Always"), json!({})), None, &[required]);
    check("R16.1", "batch", "Job", job(Some("OnFailure"), json!({})), None, &[]);
    check("R16.1", "batch", "Job", job(Some("Never"), rules.clone()), None, &[]);
    check("R16.1", "batch", "Job", job(Some("OnFailure"), rules), None, &[never_only]);
}

/// K25, K27-K30.
#[test]
fn workloads() {
    let labels = |value: &str| json!({"matchLabels": {"a": value}});
    check(
        "K25",
        "apps",
        "Deployment",
        json!({"spec": {"selector": labels("b"), "template": template()}}),
        None,
        &[],
    );
    check(
        "K25",
        "apps",
        "Deployment",
        json!({"spec": {"selector": labels("c"), "template": template()}}),
        None,
        &[
            r#"spec.template.metadata.labels: Invalid value: {"a":"b"}: `selector` does not match template `labels`"#,
        ],
    );
    check(
        "K25",
        "apps",
        "Deployment",
        json!({"spec": {"selector": labels("b"), "template": template(),
            "strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}}}),
        None,
        &["spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0"],
    );
    check(
        "K27",
        "apps",
        "StatefulSet",
        json!({"spec": {"serviceName": "x", "selector": labels("b"), "template": template()}}),
        Some(json!({"spec": {"serviceName": "y", "selector": labels("b"), "template": template()}})),
        &[
            "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
        ],
    );
    check(
        "K28",
        "apps",
        "DaemonSet",
        json!({"spec": {"selector": labels("b"), "template": template()}}),
        None,
        &[],
    );
    check(
        "K29",
        "batch",
        "Job",
        json!({"spec": {"selector": labels("b"), "template": template()}}),
        None,
        &[r#"spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never""#],
    );
    let mut never = template();
    never["spec"]["restartPolicy"] = json!("Never");
    check(
        "K30",
        "batch",
        "CronJob",
        json!({"spec": {"schedule": "foo", "jobTemplate": {"spec": {"template": never}}}}),
        None,
        &[r#"spec.schedule: Invalid value: "foo": expected exactly 5 fields, found 1: [foo]"#],
    );
}

/// K17, K32, K33, K36, K37.
#[test]
fn the_rest() {
    check(
        "K17",
        "",
        "PersistentVolumeClaim",
        json!({"spec": {}}),
        None,
        &[
            "spec.accessModes: Required value: at least 1 access mode is required",
            "spec.resources[storage]: Required value",
        ],
    );
    check(
        "K33",
        "networking.k8s.io",
        "Ingress",
        json!({"spec": {"rules": [{"http": {"paths": [{"path": "/", "backend": {"service": {"name": "s", "port": {"number": 80}}}}]}}]}}),
        None,
        &["spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified"],
    );
    check(
        "K36",
        "coordination.k8s.io",
        "Lease",
        json!({"spec": {"leaseDurationSeconds": 0}}),
        None,
        &["spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"],
    );
    check(
        "K37",
        "rbac.authorization.k8s.io",
        "Role",
        json!({"rules": [{"apiGroups": [""], "resources": ["pods"]}]}),
        None,
        &["rules[0].verbs: Required value: verbs must contain at least one value"],
    );
    let both = json!({"spec": {"minAvailable": 1, "maxUnavailable": 1}});
    let kind = Registry::builtin().by_kind("policy", "v1", "PodDisruptionBudget").expect("built in");
    let mut findings = Findings::default();
    on_create(&kind, &Object::from_value(both).expect("an object"), &mut findings);
    assert!(
        findings.causes()[0].message.ends_with("minAvailable and maxUnavailable cannot be both set"),
        "K32"
    );
}
