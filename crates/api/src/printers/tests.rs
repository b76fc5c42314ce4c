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
