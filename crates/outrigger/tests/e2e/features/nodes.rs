//! Pods and the taints and silence of their nodes.

use super::{delete, eventually, get, wait};
use crate::suite::Kubectl;

const SILENT: &str = "apiVersion: v1
kind: Node
metadata: {name: silent}
---
apiVersion: v1
kind: Pod
metadata: {name: lost}
spec:
  nodeName: silent
  tolerations: [{key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 2}]
  containers: [{name: a, image: busybox}]
";

/// A node that says once that it is well, with a Pod that is ready, and then nothing any more.
pub(super) async fn a_node_falls_silent(kubectl: &Kubectl) {
    kubectl.apply(SILENT).await;
    let ready = r#"{"status":{"conditions":[{"type":"Ready","status":"True"}]}}"#;
    kubectl.run(&format!("patch node silent --subresource status -p {ready}")).await;
    kubectl.run(&format!("patch pod lost --subresource status -p {ready}")).await;
}

/// N15: what became of it and of its Pod.
pub(super) async fn the_silent_node_is_given_up(kubectl: &Kubectl) {
    let reason = "{.status.conditions[?(@.type==\"Ready\")].reason}";
    kubectl.run(&format!("wait node/silent --for=jsonpath={reason}=NodeStatusUnknown --timeout=100s")).await;
    let tainted = async || {
        let taints = kubectl.run("get node silent -o jsonpath={.spec.taints}").await;
        taints.matches("node.kubernetes.io/unreachable").count() == 2 && taints.contains("NoExecute")
    };
    eventually(tainted).await;
    wait(kubectl, "lost", "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}=False").await;
    // Nobody confirms, so it stays.
    wait(kubectl, "lost", "jsonpath={.metadata.deletionGracePeriodSeconds}=30").await;
    let reason = "{.status.conditions[?(@.type==\"DisruptionTarget\")].reason}";
    assert_eq!(kubectl.run(&format!("get pod lost -o jsonpath={reason}")).await, "DeletionByTaintManager");
    kubectl.run("delete pod lost --grace-period=0 --force").await;
    kubectl.run("delete node silent").await;
}

fn pod(name: &str, tolerations: &str) -> String {
    format!(
        "---
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  terminationGracePeriodSeconds: 1
  tolerations: [{tolerations}]
  containers: [{{name: a, image: busybox, command: [sleep, \"1000\"]}}]
"
    )
}

/// N15, R8.30, R10.23: a NoExecute taint on a living node.
pub(super) async fn tainted_pods_leave(kubectl: &Kubectl) {
    let tolerates = |seconds: &str| format!("{{key: out, operator: Exists{seconds}}}");
    let pods = [
        pod("leaves", ""),
        pod("lingers", &tolerates(", effect: NoExecute, tolerationSeconds: 2")),
        pod("stays", &tolerates("")),
    ];
    kubectl.apply(&pods.concat()).await;
    for name in ["leaves", "lingers", "stays"] {
        wait(kubectl, name, "condition=Ready").await;
    }
    let node = kubectl.run("get pod stays -o jsonpath={.spec.nodeName}").await;
    kubectl.run(&format!("taint nodes {node} out=of-order:NoExecute")).await;
    kubectl.run("wait --for=delete pod/leaves pod/lingers --timeout=100s").await;
    assert_eq!(get(kubectl, "stays").await["status"]["phase"], "Running");
    let line = "get events --field-selector reason=TaintManagerEviction -o jsonpath={.items[*].message}";
    let events = kubectl.run(line).await;
    for name in ["leaves", "lingers"] {
        assert!(events.contains(&format!("Marking for deletion Pod default/{name}")), "{events}");
    }
    kubectl.run(&format!("taint nodes {node} out-")).await;
    delete(kubectl, "stays").await;
}
