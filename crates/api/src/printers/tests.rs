mod columns;

use serde_json::json;

use super::*;
use crate::Registry;

fn print(group: &str, plural: &str, object: Value) -> Vec<String> {
    let kind = Registry::builtin().find(group, "v1", plural).unwrap();
    let now = "2026-01-01T01:00:00Z".parse().unwrap();
    let cells = cells(&kind, &object, now);
    assert_eq!(cells.len(), columns(&kind).len(), "G3: one cell for each column");
    cells.iter().map(|cell| cell.as_str().map_or_else(|| cell.to_string(), str::to_owned)).collect()
}

fn pod(status: Value) -> Vec<String> {
    print(
        "",
        "pods",
        json!({
            "metadata": {"name": "p", "creationTimestamp": "2026-01-01T00:59:00Z"},
            "spec": {
                "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}],
                "containers": [{"name": "a"}],
            },
            "status": status,
        }),
    )
}

/// G14, G14a
#[test]
fn a_pods_one_word_says_where_it_stands() {
    let waiting = |reason: &str| json!({"waiting": {"reason": reason}});
    let pending = json!({"phase": "Pending", "initContainerStatuses": [
        {"name": "i", "state": {"running": {}}}, {"name": "s", "state": waiting("PodInitializing")},
    ]});
    assert_eq!(pod(pending)[1..4], ["0/2", "Init:0/2", "0"]);
    let failed = json!({"phase": "Pending", "initContainerStatuses": [
        {"name": "i", "restartCount": 3, "state": waiting("CrashLoopBackOff"),
         "lastState": {"terminated": {"finishedAt": "2026-01-01T00:59:50Z"}}},
    ]});
    assert_eq!(pod(failed)[1..4], ["0/2", "Init:CrashLoopBackOff", "3 (10s ago)"]);
    let done = json!([
        {"name": "i", "state": {"terminated": {"exitCode": 0}}},
        {"name": "s", "started": true, "ready": true, "state": {"running": {}}},
    ]);
    let running = json!({
        "phase": "Running", "podIPs": [{"ip": "10.1.0.2"}], "initContainerStatuses": done,
        "containerStatuses": [{"name": "a", "ready": true, "state": {"running": {}}}],
    });
    assert_eq!(pod(running)[1..6], ["2/2", "Running", "0", "60s", "10.1.0.2"]);
    let crashed = json!({
        "phase": "Running", "initContainerStatuses": done,
        "containerStatuses": [{"name": "a", "restartCount": 1, "state": {"terminated": {"exitCode": 1, "reason": "Error"}}}],
    });
    assert_eq!(pod(crashed)[1..4], ["1/2", "Error", "1"]);
}

/// R15.13, R15.6: gates in the last column, and a Pod that is going says so until it is gone.
#[test]
fn gates_and_ends_of_a_pod() {
    let of = |gates: Value, conditions: Value, deleted: Option<&str>| {
        let pod = json!({
            "metadata": {"name": "p", "creationTimestamp": "2026-01-01T00:59:00Z", "deletionTimestamp": deleted},
            "spec": {"containers": [{"name": "a"}], "initContainers": [{"name": "i"}], "readinessGates": gates},
            "status": {"phase": "Pending", "conditions": conditions,
                "initContainerStatuses": [{"name": "i", "state": {"running": {}}}]},
        });
        let cells = print("", "pods", pod);
        (cells[2].clone(), cells[8].clone())
    };
    let gates = json!([{"conditionType": "x/y"}, {"conditionType": "x/z"}]);
    let one = json!([{"type": "x/y", "status": "True"}, {"type": "x/z", "status": "False"}]);
    assert_eq!(of(json!(null), json!([]), None), ("Init:0/1".to_owned(), "<none>".to_owned()));
    assert_eq!(of(gates.clone(), json!([]), None).1, "0/2");
    assert_eq!(of(gates, one, None).1, "1/2");
    assert_eq!(of(json!(null), json!([]), Some("2026-01-01T00:59:30Z")).0, "Terminating");
}

/// G15
#[test]
fn a_cordoned_node_says_so() {
    let cells = print(
        "",
        "nodes",
        json!({
            "metadata": {"name": "n", "labels": {"node-role.kubernetes.io/control-plane": ""}},
            "spec": {"unschedulable": true},
            "status": {"conditions": [{"type": "Ready", "status": "True"}], "nodeInfo": {"kubeletVersion": "v1.36.2"}},
        }),
    );
    assert_eq!(cells[1..5], ["Ready,SchedulingDisabled", "control-plane", "<unknown>", "v1.36.2"]);
}

/// G17
#[test]
fn a_service_shows_its_ports() {
    let cells = print(
        "",
        "services",
        json!({
            "metadata": {"name": "s"},
            "spec": {"type": "NodePort", "clusterIPs": ["10.0.0.7"], "selector": {"b": "2", "a": "1"},
                     "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}]},
        }),
    );
    assert_eq!(cells[1..5], ["NodePort", "10.0.0.7", "<none>", "80:30080/TCP"]);
    assert_eq!(cells[6], "a=1,b=2");
}

/// G6
#[test]
fn kinds_without_a_printer_show_their_creation() {
    let cells = print(
        "rbac.authorization.k8s.io",
        "roles",
        json!({
            "metadata": {"name": "r", "creationTimestamp": "2026-01-01T00:00:00Z"},
        }),
    );
    assert_eq!(cells, ["r", "2026-01-01T00:00:00Z"]);
}

/// G3
#[test]
fn every_kind_prints_an_empty_object_with_all_its_columns() {
    let table = Registry::builtin().snapshot();
    let now = jiff::Timestamp::UNIX_EPOCH;
    for kind in table.kinds() {
        assert_eq!(cells(kind, &json!({}), now).len(), columns(kind).len(), "{}", kind.kind);
    }
}

/// G3: only the kinds the rules name have no columns of their own.
#[test]
fn few_kinds_are_left_to_the_default_printer() {
    let table = Registry::builtin().snapshot();
    let mut left: Vec<_> = table
        .kinds()
        .filter(|kind| kind.is_stored() && columns(kind) == DEFAULT.columns)
        .map(|kind| kind.kind.to_string())
        .collect();
    left.sort();
    left.dedup();
    assert_eq!(left, ["CSIStorageCapacity", "ClusterRole", "CustomResourceDefinition", "LimitRange", "Role"]);
}

/// G12
#[test]
fn selectors_are_written_in_the_order_of_their_keys() {
    let policy = |selector: Value| {
        print("networking.k8s.io", "networkpolicies", json!({"spec": {"podSelector": selector}}))
    };
    let selector = json!({
        "matchLabels": {"a": "b"},
        "matchExpressions": [
            {"key": "f", "operator": "DoesNotExist"},
            {"key": "c", "operator": "In", "values": ["e", "d"]},
        ],
    });
    assert_eq!(policy(selector)[1], "a=b,c in (d,e),!f");
    assert_eq!(policy(json!({}))[1], "<none>");
    let unreadable = json!({"matchExpressions": [{"key": "a", "operator": "Near"}]});
    assert_eq!(policy(unreadable.clone())[1], "<error>");
    let deployment = |selector: Value| print("apps", "deployments", json!({"spec": {"selector": selector}}));
    assert_eq!(deployment(unreadable)[7], "<invalid>");
    assert_eq!(deployment(json!({}))[7], "");
}

/// G14b
#[test]
fn a_pod_on_its_way_out_is_terminating_unless_it_has_ended() {
    let word = |status: Value| {
        let metadata = json!({"deletionTimestamp": "2026-01-01T00:59:00Z"});
        print("", "pods", json!({"metadata": metadata, "status": status}))[2].clone()
    };
    assert_eq!(word(json!({"phase": "Running"})), "Terminating");
    assert_eq!(word(json!({"phase": "Succeeded"})), "Succeeded");
    assert_eq!(word(json!({"phase": "Running", "reason": "NodeLost"})), "Unknown");
}

/// G14, G14a, G14d
#[test]
fn a_pod_shows_gates_signals_and_half_finished_work() {
    let gated = pod(
        json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "reason": "SchedulingGated"}]}),
    );
    assert_eq!(
        (gated[2].as_str(), gated[5].as_str(), gated[8].as_str()),
        ("SchedulingGated", "<none>", "<none>")
    );
    let killed = json!({"terminated": {"exitCode": 137, "signal": 9}});
    let init = pod(json!({"phase": "Pending", "initContainerStatuses": [{"name": "i", "state": killed}]}));
    assert_eq!(init[2], "Init:Signal:9");
    let two = |second: Value, ready: &str| {
        print(
            "",
            "pods",
            json!({
                "spec": {"containers": [{"name": "a"}, {"name": "b"}], "readinessGates": [{"conditionType": "Ready"}]},
                "status": {
                    "phase": "Running", "conditions": [{"type": "Ready", "status": ready}],
                    "containerStatuses": [
                        {"name": "a", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}},
                        {"name": "b", "ready": true, "state": second},
                    ],
                },
            }),
        )
    };
    let running = two(json!({"running": {}}), "False");
    assert_eq!((running[1].as_str(), running[2].as_str(), running[8].as_str()), ("1/2", "NotReady", "0/1"));
    assert_eq!(two(json!({"running": {}}), "True")[2], "Running");
    assert_eq!(two(killed, "False")[2], "Signal:9");
}

/// G16
#[test]
fn a_job_shows_how_far_it_is() {
    let job = |spec: Value, status: Value| print("batch", "jobs", json!({"spec": spec, "status": status}));
    let done = json!({
        "succeeded": 3, "startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T00:02:05Z",
        "conditions": [{"type": "Complete", "status": "True"}],
    });
    assert_eq!(job(json!({"completions": 3}), done)[1..4], ["Complete", "3/3", "2m5s"]);
    assert_eq!(job(json!({"parallelism": 2}), json!({"succeeded": 1}))[1..4], ["Running", "1/1 of 2", ""]);
    let suspended = json!({"conditions": [{"type": "Suspended", "status": "True"}]});
    assert_eq!(job(json!({}), suspended)[1..3], ["Suspended", "0/1"]);
}

/// G17
#[test]
fn a_service_says_how_it_is_reached_from_outside() {
    let outside = |spec: Value, ingress: Value| {
        print("", "services", json!({"spec": spec, "status": {"loadBalancer": {"ingress": ingress}}}))[3]
            .clone()
    };
    assert_eq!(outside(json!({"type": "LoadBalancer"}), json!([])), "<pending>");
    let addresses = json!([{"hostname": "b.example"}, {"ip": "192.0.2.1"}]);
    assert_eq!(
        outside(json!({"type": "LoadBalancer", "externalIPs": ["192.0.2.9"]}), addresses),
        "192.0.2.1,b.example,192.0.2.9"
    );
    assert_eq!(outside(json!({"type": "ExternalName", "externalName": "c.example"}), json!([])), "c.example");
}

/// G18
#[test]
fn an_ingress_shows_three_hosts_and_counts_the_rest() {
    let hosts: Vec<_> = ["a", "b", "c", "d"].iter().map(|host| json!({"host": host})).collect();
    let spec = json!({"rules": hosts, "tls": [{}], "ingressClassName": "x"});
    let cells = print("networking.k8s.io", "ingresses", json!({"spec": spec}));
    assert_eq!(cells[1..5], ["x", "a,b,c + 1 more...", "", "80, 443"]);
    assert_eq!(print("networking.k8s.io", "ingresses", json!({}))[1..5], ["<none>", "*", "", "80"]);
}

/// G19
#[test]
fn an_autoscaler_shows_what_it_measures() {
    let kind = Registry::builtin().find("autoscaling", "v2", "horizontalpodautoscalers").unwrap();
    let targets = |metrics: Value, current: Value| {
        let object = json!({"spec": {"metrics": metrics}, "status": {"currentMetrics": current}});
        cells(&kind, &object, jiff::Timestamp::UNIX_EPOCH)[2].as_str().unwrap().to_owned()
    };
    let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 80}}});
    let measured =
        json!({"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 7}}});
    assert_eq!(targets(json!([cpu]), json!([measured])), "cpu: 7%/80%");
    assert_eq!(targets(json!([cpu]), json!([])), "cpu: <unknown>/80%");
    let queue = json!({"type": "External", "external": {"target": {"averageValue": "5"}}});
    assert_eq!(targets(json!([queue]), json!([])), "<unknown>/5 (avg)");
    assert_eq!(
        targets(json!([cpu, queue, cpu]), json!([])),
        "cpu: <unknown>/80%, <unknown>/5 (avg) + 1 more..."
    );
    assert_eq!(targets(json!([]), json!([])), "<none>");
    let first = print(
        "autoscaling",
        "horizontalpodautoscalers",
        json!({
            "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "d"}, "targetCPUUtilizationPercentage": 50, "maxReplicas": 4},
            "status": {"currentReplicas": 2},
        }),
    );
    assert_eq!(first[1..6], ["Deployment/d", "cpu: <unknown>/50%", "<unset>", "4", "2"]);
}

/// G20
#[test]
fn a_claim_shows_its_volume_only_once_bound() {
    let claim = |volume: &str| {
        print(
            "",
            "persistentvolumeclaims",
            json!({
                "metadata": {"annotations": {"volume.beta.kubernetes.io/storage-class": "old"}},
                "spec": {"volumeName": volume},
                "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany", "ReadWriteOnce"]},
            }),
        )
    };
    assert_eq!(claim("v")[1..7], ["Bound", "v", "1Gi", "RWO,RWX", "old", "<unset>"]);
    assert_eq!(claim("")[2..5], ["", "", ""]);
}

/// G3: events put their age before their name, and a series counts for itself.
#[test]
fn an_event_shows_its_series() {
    let cells = print(
        "",
        "events",
        json!({
            "metadata": {"name": "e"}, "type": "Warning", "reason": "BackOff", "message": " again \n",
            "involvedObject": {"kind": "Pod", "name": "p", "fieldPath": "spec.containers{a}"},
            "source": {"component": "kubelet", "host": "n"},
            "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:30:00Z", "count": 2,
            "series": {"count": 9, "lastObservedTime": "2026-01-01T00:59:30.000000Z"},
        }),
    );
    let expected =
        ["30s", "Warning", "BackOff", "pod/p", "spec.containers{a}", "kubelet, n", "again", "60m", "9", "e"];
    assert_eq!(cells, expected);
}

/// G3: what the last of the rules' kinds print.
#[test]
fn certificates_policies_and_devices_have_their_columns() {
    let request = print(
        "certificates.k8s.io",
        "certificatesigningrequests",
        json!({
            "spec": {"signerName": "s", "username": "u", "expirationSeconds": 3600},
            "status": {"certificate": "YQ==", "conditions": [{"type": "Approved"}]},
        }),
    );
    assert_eq!(request[2..], ["s", "u", "60m", "Approved,Issued"]);
    let binding = print(
        "admissionregistration.k8s.io",
        "validatingadmissionpolicybindings",
        json!({
            "spec": {"policyName": "p", "paramRef": {"name": "r"}},
        }),
    );
    assert_eq!(binding[1..3], ["p", "*/r"]);
    let driver =
        print("storage.k8s.io", "csidrivers", json!({"spec": {"volumeLifecycleModes": ["Persistent"]}}));
    assert_eq!(driver[1..7], ["true", "false", "false", "<unset>", "false", "Persistent"]);
    let claim = print(
        "resource.k8s.io",
        "resourceclaims",
        json!({"status": {"allocation": {}, "reservedFor": [{}]}}),
    );
    assert_eq!(claim[1], "allocated,reserved");
}
