//! What is filled in: the rule, the kind, what a client sends, and members of what is stored.

use outrigger_api::{Object, Registry};
use serde_json::{Value, json};

use super::apply;

#[track_caller]
fn check(rule: &str, group: &str, kind: &str, sent: Value, expected: &[(&str, Value)]) {
    let version = if group == "autoscaling" { "v2" } else { "v1" };
    let kind = Registry::builtin().by_kind(group, version, kind).expect("built in");
    let mut object = Object::from_value(sent).expect("an object");
    apply(&kind, &mut object);
    let tree = Value::Object(object.0.clone());
    for (path, value) in expected {
        assert_eq!(tree.pointer(path).unwrap_or(&Value::Null), value, "{rule} {path}");
    }
    apply(&kind, &mut object);
    assert_eq!(Value::Object(object.0), tree, "{rule}: once is enough");
}

/// K5, K6, K7.
#[test]
fn pods() {
    let spec = json!({"serviceAccountName": "sa", "hostNetwork": true,
        "volumes": [{"name": "e"}, {"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}],
        "initContainers": [{"name": "i", "image": "a:1", "resources": {"limits": {"cpu": "1"}}}],
        "containers": [{"name": "c", "image": "a@sha256:0", "ports": [{"containerPort": 80}],
            "livenessProbe": {"grpc": {"port": 1}}}]});
    check(
        "K5",
        "",
        "Pod",
        json!({"spec": spec}),
        &[
            ("/spec/restartPolicy", json!("Always")),
            ("/spec/dnsPolicy", json!("ClusterFirst")),
            ("/spec/terminationGracePeriodSeconds", json!(30)),
            ("/spec/schedulerName", json!("default-scheduler")),
            ("/spec/securityContext", json!({})),
            ("/spec/enableServiceLinks", json!(true)),
            ("/spec/serviceAccount", json!("sa")),
            ("/spec/containers/0/ports/0/hostPort", json!(80)),
        ],
    );
    check(
        "K6",
        "",
        "Pod",
        json!({"spec": spec}),
        &[
            ("/spec/containers/0/imagePullPolicy", json!("IfNotPresent")),
            ("/spec/containers/0/terminationMessagePath", json!("/dev/termination-log")),
            ("/spec/containers/0/terminationMessagePolicy", json!("File")),
            ("/spec/containers/0/ports/0/protocol", json!("TCP")),
            (
                "/spec/containers/0/livenessProbe",
                json!({"grpc": {"port": 1, "service": ""}, "timeoutSeconds": 1,
            "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}),
            ),
            ("/spec/initContainers/0/resources/requests/cpu", json!("1")),
        ],
    );
    check(
        "K7",
        "",
        "Pod",
        json!({"spec": spec}),
        &[
            ("/spec/volumes/0/emptyDir", json!({})),
            ("/spec/volumes/1/projected/defaultMode", json!(420)),
            ("/spec/volumes/1/projected/sources/0/serviceAccountToken/expirationSeconds", json!(3600)),
        ],
    );
}

/// K12.
#[test]
fn services() {
    let ports = json!([{"port": 80}]);
    check(
        "K12",
        "",
        "Service",
        json!({"spec": {"ports": ports, "sessionAffinity": "ClientIP"}}),
        &[
            ("/spec/type", json!("ClusterIP")),
            ("/spec/internalTrafficPolicy", json!("Cluster")),
            ("/spec/externalTrafficPolicy", Value::Null),
            ("/spec/ipFamilyPolicy", json!("SingleStack")),
            ("/spec/ipFamilies", json!(["IPv4"])),
            ("/spec/ports/0", json!({"port": 80, "protocol": "TCP", "targetPort": 80})),
            ("/spec/sessionAffinityConfig/clientIP/timeoutSeconds", json!(10_800)),
        ],
    );
    check(
        "K12",
        "",
        "Service",
        json!({"spec": {"type": "LoadBalancer", "ports": ports}}),
        &[
            ("/spec/sessionAffinity", json!("None")),
            ("/spec/externalTrafficPolicy", json!("Cluster")),
            ("/spec/allocateLoadBalancerNodePorts", json!(true)),
        ],
    );
    check(
        "K12",
        "",
        "Service",
        json!({"spec": {"type": "ExternalName", "externalName": "a.b"}}),
        &[
            ("/spec/internalTrafficPolicy", Value::Null),
            ("/spec/ipFamilies", Value::Null),
            ("/spec/ipFamilyPolicy", Value::Null),
        ],
    );
}

/// K18, K19, K21, K23, K26.
#[test]
fn core_kinds() {
    check(
        "K18",
        "",
        "Node",
        json!({"status": {"capacity": {"cpu": "4", "pods": "9"}, "allocatable": {"cpu": "3"}}}),
        &[("/status/allocatable", json!({"cpu": "3", "pods": "9"}))],
    );
    let limits = json!([
        {"type": "Container", "max": {"cpu": "2"}, "min": {"memory": "1"}},
        {"type": "Container", "default": {"cpu": "1"}, "min": {"cpu": "500m"}},
        {"type": "Pod", "max": {"cpu": "2"}}]);
    check(
        "K19",
        "",
        "LimitRange",
        json!({"spec": {"limits": limits}}),
        &[
            ("/spec/limits/0/default", json!({"cpu": "2"})),
            ("/spec/limits/0/defaultRequest", json!({"cpu": "2", "memory": "1"})),
            ("/spec/limits/1/defaultRequest", json!({"cpu": "1"})),
            ("/spec/limits/2/default", Value::Null),
        ],
    );
    check(
        "K21",
        "discovery.k8s.io",
        "EndpointSlice",
        json!({"ports": [{"port": 80}]}),
        &[("/ports/0", json!({"port": 80, "name": "", "protocol": "TCP"}))],
    );
    check(
        "K23",
        "",
        "Namespace",
        json!({"metadata": {"name": "n", "labels": {"kubernetes.io/metadata.name": "x"}}}),
        &[("/metadata/labels", json!({"kubernetes.io/metadata.name": "n"}))],
    );
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": []}});
    check(
        "K26",
        "",
        "ReplicationController",
        json!({"spec": {"template": template}}),
        &[
            ("/spec/replicas", json!(1)),
            ("/spec/selector", json!({"a": "b"})),
            ("/metadata/labels", json!({"a": "b"})),
        ],
    );
    check(
        "K26",
        "apps",
        "ReplicaSet",
        json!({"spec": {"template": template}}),
        &[("/spec/replicas", json!(1))],
    );
}

/// K31.
#[test]
fn scalers() {
    let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
    check(
        "K31",
        "autoscaling",
        "HorizontalPodAutoscaler",
        json!({"spec": {"maxReplicas": 3}}),
        &[
            ("/spec/minReplicas", json!(1)),
            (
                "/spec/metrics/0/resource",
                json!({"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}),
            ),
            ("/spec/behavior", Value::Null),
        ],
    );
    let behavior = json!({"scaleDown": {"stabilizationWindowSeconds": 60}});
    check(
        "K31",
        "autoscaling",
        "HorizontalPodAutoscaler",
        json!({"spec": {"maxReplicas": 3, "behavior": behavior}}),
        &[
            (
                "/spec/behavior/scaleUp",
                json!({"stabilizationWindowSeconds": 0, "selectPolicy": "Max",
            "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}, percent]}),
            ),
            (
                "/spec/behavior/scaleDown",
                json!({"stabilizationWindowSeconds": 60, "selectPolicy": "Max", "policies": [percent]}),
            ),
        ],
    );
}

/// K34, K35, K38.
#[test]
fn cluster_kinds() {
    check(
        "K34",
        "storage.k8s.io",
        "StorageClass",
        json!({"provisioner": "a"}),
        &[("/reclaimPolicy", json!("Delete")), ("/volumeBindingMode", json!("Immediate"))],
    );
    check(
        "K34",
        "storage.k8s.io",
        "CSIDriver",
        json!({"spec": {}}),
        &[(
            "/spec",
            json!({
        "attachRequired": true, "podInfoOnMount": false, "storageCapacity": false, "requiresRepublish": false,
        "seLinuxMount": false, "fsGroupPolicy": "ReadWriteOnceWithFSType", "volumeLifecycleModes": ["Persistent"]}),
        )],
    );
    check(
        "K35",
        "scheduling.k8s.io",
        "PriorityClass",
        json!({"value": 1}),
        &[("/preemptionPolicy", json!("PreemptLowerPriority"))],
    );
    let webhook = json!({"rules": [{}], "clientConfig": {"service": {"name": "s"}}});
    let group = "admissionregistration.k8s.io";
    check(
        "K38",
        group,
        "MutatingWebhookConfiguration",
        json!({"webhooks": [webhook]}),
        &[(
            "/webhooks/0",
            json!({
        "rules": [{"scope": "*"}], "clientConfig": {"service": {"name": "s", "port": 443}}, "failurePolicy": "Fail",
        "matchPolicy": "Equivalent", "timeoutSeconds": 10, "reinvocationPolicy": "Never",
        "namespaceSelector": {}, "objectSelector": {}}),
        )],
    );
    check(
        "K38",
        group,
        "ValidatingWebhookConfiguration",
        json!({"webhooks": [webhook]}),
        &[("/webhooks/0/failurePolicy", json!("Fail")), ("/webhooks/0/reinvocationPolicy", Value::Null)],
    );
}

/// J2: names that follow from the kind, and no conversion.
#[test]
fn definitions() {
    check(
        "J2",
        "apiextensions.k8s.io",
        "CustomResourceDefinition",
        json!({"spec": {"names": {"kind": "Widget"}}}),
        &[
            ("/spec/names/singular", json!("widget")),
            ("/spec/names/listKind", json!("WidgetList")),
            ("/spec/conversion/strategy", json!("None")),
        ],
    );
    check(
        "J2",
        "apiextensions.k8s.io",
        "CustomResourceDefinition",
        json!({"spec": {"names": {"kind": "Widget", "singular": "w", "listKind": "Widgets"}}}),
        &[("/spec/names/singular", json!("w")), ("/spec/names/listKind", json!("Widgets"))],
    );
}
