//! `outrigger why` and `outrigger timeline` against a live Pod.

use std::path::Path;
use std::sync::Arc;

use outrigger_testkit::{Program, binary};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::suite::{Cluster, Images, Kubectl, PATIENCE, Said, kubectls};

/// Its sidecar listens only once it is told to.
const SLOW: &str = "apiVersion: v1
kind: Pod
metadata: {name: slow}
spec:
  terminationGracePeriodSeconds: 1
  initContainers:
  - name: db-proxy
    image: busybox
    restartPolicy: Always
    command: [sh, -c, \"until [ -f /tmp/go ]; do sleep 0.05; done; exec nc -ll -p 5432 -e true\"]
    startupProbe: {tcpSocket: {port: 5432}, periodSeconds: 1, failureThreshold: 100}
  containers:
  - {name: app, image: busybox, command: [top]}
";

/// Someone who may look at Pods and not at nodes.
const VIEWER: &str = "apiVersion: v1
kind: ServiceAccount
metadata: {name: viewer}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: viewer}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}
subjects: [{kind: ServiceAccount, name: viewer, namespace: default}]
";

#[tokio::test(flavor = "multi_thread")]
async fn a_live_pod_is_explained() {
    let images = Arc::new(Images::start().await);
    let cluster = Cluster::up(images, "10.222.0.0/24").await;
    let kubectl = cluster.kubectl(&kubectls()[0]);
    let config = cluster.data.join("kubeconfig");
    while_it_waits(&kubectl, &config).await;
    kubectl.run("exec slow -c db-proxy -- touch /tmp/go").await;
    kubectl.run("wait --for=condition=Ready pod/slow --timeout=100s").await;
    let why = ask(&config, "why pod/slow").await;
    assert!(
        why.out.starts_with("pod/slow is Running and Ready") && why.out.contains("Nothing blocks it."),
        "{}",
        why.out
    );
    what_happened(&config).await;
    with_fewer_rights(&kubectl, &config, &cluster.data).await;
    kubectl.run("delete pod slow --wait=true").await;
    let gone = ask(&config, "timeline pod/slow").await;
    assert!(
        gone.code == 0 && gone.out.contains("is let go: its object is removed"),
        "{}{}",
        gone.out,
        gone.err
    );
    cluster.down().await;
}

/// A verb of the program under test.
async fn ask(config: &Path, line: &str) -> Said {
    let mut command = Command::new(binary("outrigger").unwrap());
    command.args(line.split(' ')).arg("--kubeconfig").arg(config).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await;
    let output = output.unwrap_or_else(|_| panic!("{line} does not end")).unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { out: text(&output.stdout), err: text(&output.stderr), code: output.status.code().unwrap_or(-1) }
}

/// R4.2: the chain from what is seen to what is behind it, with counts and the next try.
async fn while_it_waits(kubectl: &Kubectl, config: &Path) {
    let mut events = Program::start(kubectl.command("get events -w")).unwrap();
    kubectl.apply(SLOW).await;
    events.wait_for(PATIENCE, |line| line.contains("Startup probe failed")).await.unwrap();
    events.kill().await.unwrap();
    let why = ask(config, "why pod/slow").await;
    assert_eq!(why.code, 0, "{}", why.err);
    let probe = "the startup probe of sidecar db-proxy fails: connection refused on 5432, ";
    for part in ["app waits for sidecar db-proxy to start", probe, " of 100 tries; next in 1s"] {
        let flat = why.out.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(flat.contains(part.trim()), "{part:?} is not in\n{}", why.out);
    }
    let missing = ask(config, "why pod/slaw").await;
    assert_eq!(
        (missing.code, missing.err.as_str()),
        (1, "outrigger: no pod/slaw in namespace default; there is slow\n")
    );
    let usage = ask(config, "why deployment/slow").await;
    assert_eq!(usage.code, 64, "{}", usage.err);
}

async fn what_happened(config: &Path) {
    let text = ask(config, "timeline pod/slow").await;
    for part in ["db-proxy  starts", "startup probe passes: it has started", "R4.2 ", "pod       is Ready"] {
        assert!(text.out.contains(part), "{part:?} is not in\n{}{}", text.out, text.err);
    }
    let svg = ask(config, "timeline pod/slow -o svg").await;
    assert!(svg.out.starts_with("<svg ") && !svg.out.contains("<script"), "{}", svg.err);
    let trace = ask(config, "timeline pod/slow -o trace").await;
    let trace: Value = serde_json::from_str(&trace.out).unwrap();
    let bars = trace["traceEvents"].as_array().unwrap().iter().filter(|event| event["ph"] == "X");
    assert!(bars.count() >= 4, "{trace}");
}

/// Without `nodes/proxy` the answer comes from status and events, and the record stays closed.
async fn with_fewer_rights(kubectl: &Kubectl, config: &Path, folder: &Path) {
    kubectl.apply(VIEWER).await;
    let token = kubectl.run("create token viewer").await.trim().to_owned();
    let mut viewer: Value = serde_json::from_slice(&std::fs::read(config).unwrap()).unwrap();
    viewer["users"][0]["user"] = json!({ "token": token });
    let file = folder.join("viewer");
    std::fs::write(&file, viewer.to_string()).unwrap();
    let why = ask(&file, "why pod/slow").await;
    assert!(
        why.out.contains("Nothing blocks it.") && why.err.contains("nodes/proxy"),
        "{}{}",
        why.out,
        why.err
    );
    let timeline = ask(&file, "timeline pod/slow").await;
    assert!(timeline.code == 1 && timeline.err.contains("the right to get nodes/proxy"), "{}", timeline.err);
}
