use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};

use crate::{PodInfo, Snapshot, pod_requests, schedule};

fn node(name: &str, spec: Value) -> Node {
    let mut node = json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "status": {"allocatable": {"cpu": "2", "memory": "4Gi", "pods": "3"}},
    });
    node["spec"] = spec;
    serde_json::from_value(node).expect("a node")
}

fn pod(uid: &str, spec: Value) -> PodInfo {
    let pod: Pod = serde_json::from_value(json!({"metadata": {"uid": uid}, "spec": spec})).expect("a pod");
    PodInfo::new(&pod)
}

fn wants(cpu: &str) -> Value {
    json!({"containers": [{"name": "a", "resources": {"requests": {"cpu": cpu}}}]})
}

fn two_nodes() -> Snapshot {
    let mut snapshot = Snapshot::default();
    snapshot.set_node(&node("n1", json!({})));
    snapshot.set_node(&node("n2", json!({})));
    snapshot
}

fn refusal(pod: &PodInfo, snapshot: &Snapshot) -> String {
    schedule(pod, snapshot, 0).expect_err("no node passes").to_string()
}

/// N20 LeastAllocated: the emptier node wins.
#[test]
fn the_emptier_node_wins() {
    let mut snapshot = two_nodes();
    let mut placed = pod("u1", wants("1"));
    placed.node_name = "n1".to_owned();
    snapshot.place(placed);
    assert_eq!(schedule(&pod("u2", wants("500m")), &snapshot, 7), Ok("n2".to_owned()));
}

/// N18 NodeResourcesFit, N24, R10.6: reasons are counted and the tail says that nobody could be evicted.
#[test]
fn a_pod_that_fits_nowhere_is_told_why() {
    let text = refusal(&pod("u", wants("3")), &two_nodes());
    assert_eq!(
        text,
        "0/2 nodes are available: 2 Insufficient cpu. no new claims to deallocate, preemption: 0/2 nodes are \
         available: 2 No preemption victims found for incoming pod."
    );
}

/// N24: no nodes at all.
#[test]
fn without_nodes_the_text_says_so() {
    assert_eq!(refusal(&pod("u", wants("1")), &Snapshot::default()), "no nodes available to schedule pods");
}

/// N18 TaintToleration, NodeUnschedulable; N24: eviction cannot help against either.
#[test]
fn taints_and_cordons_refuse() {
    let mut snapshot = Snapshot::default();
    snapshot.set_node(&node("n1", json!({"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]})));
    snapshot.set_node(&node("n2", json!({"unschedulable": true})));
    assert_eq!(
        refusal(&pod("u", wants("1")), &snapshot),
        "0/2 nodes are available: 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable. no new claims \
         to deallocate, preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
    );
    let mut spec = wants("1");
    spec["tolerations"] = json!([{"key": "k", "operator": "Equal", "value": "v"}]);
    assert_eq!(schedule(&pod("u", spec), &snapshot, 0), Ok("n1".to_owned()));
}

/// N18 NodeAffinity and nodeSelector.
#[test]
fn selectors_choose_the_node() {
    let snapshot = two_nodes();
    let mut spec = wants("1");
    spec["nodeSelector"] = json!({"kubernetes.io/hostname": "n2"});
    assert_eq!(schedule(&pod("u", spec), &snapshot, 0), Ok("n2".to_owned()));
    let term = json!({"matchFields": [{"key": "metadata.name", "operator": "NotIn", "values": ["n2"]}]});
    let mut spec = wants("1");
    spec["affinity"] = json!({"nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}});
    assert_eq!(schedule(&pod("u", spec), &snapshot, 1), Ok("n1".to_owned()));
}

/// N18 NodePorts, R16.11: ports of app containers and sidecars clash, those of plain init containers do not.
#[test]
fn host_ports_clash() {
    let mut snapshot = Snapshot::default();
    snapshot.set_node(&node("n1", json!({})));
    let ports = json!([{"containerPort": 80, "hostPort": 8080}]);
    let mut placed = pod("u1", json!({"containers": [{"name": "a", "ports": ports}]}));
    placed.node_name = "n1".to_owned();
    snapshot.place(placed);
    let with = |init: Value| pod("u2", json!({"initContainers": [init], "containers": [{"name": "a"}]}));
    let sidecar = with(json!({"name": "s", "restartPolicy": "Always", "ports": ports}));
    assert!(
        refusal(&sidecar, &snapshot).contains("1 node(s) didn't have free ports for the requested pod ports")
    );
    assert!(schedule(&with(json!({"name": "i", "ports": ports})), &snapshot, 0).is_ok());
}

/// N18 NodeResourcesFit: the node's pod limit.
#[test]
fn too_many_pods() {
    let mut snapshot = Snapshot::default();
    snapshot.set_node(&node("n1", json!({})));
    for uid in ["a", "b", "c"] {
        let mut placed = pod(uid, wants("0"));
        placed.node_name = "n1".to_owned();
        snapshot.place(placed);
    }
    assert!(refusal(&pod("d", wants("0")), &snapshot).contains("1 Too many pods"));
    snapshot.remove_pod("b");
    assert!(schedule(&pod("d", wants("0")), &snapshot, 0).is_ok());
}

/// R13.1, R13.2, R13.5, R4.23: what counts of each entry, of requests and limits alike.
#[test]
fn what_a_pod_asks_for() {
    let container = |cpu: &str, policy: Option<&str>| {
        json!({"name": "x", "restartPolicy": policy,
            "resources": {"requests": {"cpu": cpu}, "limits": {"cpu": cpu}}})
    };
    let (init, sidecar) = (|cpu| container(cpu, None), |cpu| container(cpu, Some("Always")));
    for (inits, apps, expected) in [
        (vec![], vec!["1", "2"], 3000),
        (vec![init("1")], vec!["2"], 2000),
        (vec![init("5"), init("4")], vec!["2"], 5000),
        (vec![sidecar("1")], vec!["2"], 3000),
        (vec![init("5"), sidecar("1")], vec!["2"], 5000),
        (vec![sidecar("1"), init("5")], vec!["2"], 6000),
        (vec![sidecar("1"), init("2"), sidecar("3")], vec!["1"], 5000),
        (vec![sidecar("1"), sidecar("1"), init("1")], vec![], 3000),
    ] {
        let apps: Vec<Value> = apps.into_iter().map(|cpu| container(cpu, None)).collect();
        let spec = json!({"initContainers": inits, "containers": apps});
        let typed = serde_json::from_value(spec.clone()).expect("a spec");
        assert_eq!(pod_requests(&typed).get("cpu"), expected, "{spec}");
        assert_eq!(crate::pod_limits(&typed).get("cpu"), expected, "{spec}");
    }
}

/// R13.3: init A 2 cpu, sidecar B 1, init C 3, app D 1 → 4.
#[test]
fn init_containers_run_beside_earlier_sidecars() {
    let container = |name: &str, cpu: &str| json!({"name": name, "resources": {"requests": {"cpu": cpu}}});
    let mut sidecar = container("b", "1");
    sidecar["restartPolicy"] = json!("Always");
    let spec = json!({
        "initContainers": [container("a", "2"), sidecar, container("c", "3")],
        "containers": [container("d", "1")],
    });
    let spec = serde_json::from_value(spec).expect("a spec");
    assert_eq!(pod_requests(&spec).get("cpu"), 4000);
}
