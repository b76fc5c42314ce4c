//! `kubectl apply --server-side`, and what users see of owners and conflicts (F6).

use crate::tools::{Server, Tool, fetched};

fn deployment(replicas: u8) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec: {{containers: [{{name: c, image: i, ports: [{{containerPort: 80}}]}}]}}
"
    )
}

fn map(value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: conf}}\ndata: {{a: '{value}', b: same}}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_applies_on_the_server() {
    for program in fetched("kubectl") {
        let server = Server::start().await;
        let kubectl = server.tool(&program);
        apply_and_conflict(&kubectl).await;
        migrate(&kubectl).await;
        server.stop().await;
    }
}

/// F6a, F4j, F5k, F6d, O8, O27: applied, fought over, forced.
async fn apply_and_conflict(kubectl: &Tool) {
    let apply = "apply --server-side -f -";
    for _ in 0..2 {
        assert_eq!(kubectl.run_with(apply, &deployment(1)).await, "deployment.apps/web serverside-applied\n");
    }
    kubectl.run("scale deployment web --replicas 4").await;
    let refused = kubectl.try_run(apply, &deployment(2)).await;
    assert_eq!(refused.code, 1);
    let message = "error: Apply failed with 1 conflict: conflict with \"kubectl\" with subresource \"scale\" using apps/v1: .spec.replicas\n";
    assert!(refused.err.starts_with(message), "{refused:?}");
    let differs = kubectl.try_run("diff --server-side --force-conflicts -f -", &deployment(2)).await;
    assert_eq!(differs.code, 1, "{differs:?}");
    assert!(differs.out.contains("-  replicas: 4\n+  replicas: 2\n"), "{differs:?}");
    kubectl.run_with("apply --server-side --force-conflicts -f -", &deployment(2)).await;
    let hidden = kubectl.run("get deployment web -o yaml").await;
    assert!(!hidden.contains("managedFields"), "{hidden}");
    let shown = kubectl.run("get deployment web -o yaml --show-managed-fields").await;
    let entry = "            f:containers:
              k:{\"name\":\"c\"}:
                .: {}
                f:image: {}
                f:name: {}
                f:ports:
                  k:{\"containerPort\":80,\"protocol\":\"TCP\"}:
                    .: {}
                    f:containerPort: {}
    manager: kubectl
    operation: Apply
";
    assert!(shown.contains(entry), "{shown}");
    assert!(!shown.contains("subresource: scale"), "{shown}");
}

/// F6b, F6c, F3a, O28: from client-side to server-side apply and back, without a conflict.
async fn migrate(kubectl: &Tool) {
    kubectl.run_with("apply -f -", &map("1")).await;
    kubectl.run_with("apply --server-side -f -", &map("2")).await;
    let managers = "get configmap conf -o jsonpath={.metadata.managedFields[*].manager}/{.metadata.managedFields[*].operation} --show-managed-fields";
    assert_eq!(kubectl.run(managers).await, "kubectl kubectl-last-applied/Apply Apply");
    let last = "get configmap conf -o jsonpath={.metadata.annotations}";
    assert!(kubectl.run(last).await.contains("\\\"a\\\":\\\"2\\\""), "the annotation follows");
    kubectl.run_with("apply -f -", &map("3")).await;
    kubectl.run_with("apply --server-side -f -", &map("4")).await;
    assert_eq!(kubectl.run("get configmap conf -o jsonpath={.data.a}").await, "4");
}
