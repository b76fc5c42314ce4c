//! What keeps Pods running, through kubectl and with real containers.

use std::sync::Arc;

use crate::features::eventually;
use crate::suite::{Cluster, Images, Kubectl, kubectls};

/// The Job of a recorded scenario: a sidecar that ends badly when told to end.
const JOB: &str = "apiVersion: batch/v1
kind: Job
metadata: {name: j}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: 4
      initContainers:
      - name: s0
        image: busybox
        command: [sh, -c, \"trap 'echo TERM; exit 9' TERM; while :; do sleep 0.05; done\"]
        restartPolicy: Always
      containers:
      - {name: a, image: busybox, command: [sh, -c, \"echo START; exit 0\"]}
";

/// One cluster for all of it.
#[tokio::test(flavor = "multi_thread")]
async fn workloads_run() {
    let images = Arc::new(Images::start().await);
    let cluster = Cluster::up(images, "10.226.0.0/24").await;
    let kubectl = cluster.kubectl(&kubectls()[0]);
    jobs(&kubectl).await;
    deployments(&kubectl).await;
    cascades(&kubectl).await;
    cluster.down().await;
}

/// R16.1-R16.3, N6, G16: a sidecar keeps no Job alive, and its exit code does not matter.
async fn jobs(kubectl: &Kubectl) {
    kubectl.apply(JOB).await;
    kubectl.run("wait --for=condition=Complete job/j --timeout=100s").await;
    let get = async |path: &str| kubectl.run(&format!("get job j -o jsonpath={{.status{path}}}")).await;
    assert_eq!(get("['active','ready','succeeded','failed','terminating']").await, "0 1 0");
    let ends = "SuccessCriteriaMet CompletionsReached Complete CompletionsReached ";
    let conditions = "go-template={{range .status.conditions}}{{.type}} {{.reason}} {{end}}";
    let mut command = kubectl.command("get job j -o");
    let output = command.arg(conditions).output().await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), ends);
    let row = kubectl.run("get job j --no-headers").await;
    assert_eq!(row.split_whitespace().take(3).collect::<Vec<_>>(), ["j", "Complete", "1/1"]);
    let pod = kubectl.run("get pods -l job-name=j -o jsonpath={.items[*].status.phase}").await;
    assert_eq!(pod, "Succeeded");
    let text = kubectl.run("describe job j").await;
    assert!(text.contains("Created pod: j-") && text.contains("Job completed"), "{text}");
    kubectl.run("create job once --image=busybox -- true").await;
    kubectl.run("wait --for=condition=Complete job/once --timeout=100s").await;
    // D28: kubectl asks for background deletion.
    kubectl.run("delete job j once").await;
    eventually(async || kubectl.run("get pods -o name").await.is_empty()).await;
}

/// N2, N3, H2: rolled out, scaled, updated, rolled back, restarted, paused.
async fn deployments(kubectl: &Kubectl) {
    kubectl.run("create deployment web --image=busybox --replicas=2 -- sleep 1000").await;
    kubectl.run("rollout status deployment/web --timeout=100s").await;
    let row = kubectl.run("get deployment web --no-headers").await;
    assert_eq!(row.split_whitespace().take(4).collect::<Vec<_>>(), ["web", "2/2", "2", "2"]);
    kubectl.run("scale deployment/web --replicas=3").await;
    kubectl.run("rollout status deployment/web --timeout=100s").await;
    kubectl.run("patch deployment web -p {\"spec\":{\"template\":{\"spec\":{\"terminationGracePeriodSeconds\":0}}}}").await;
    kubectl.run("annotate deployment web kubernetes.io/change-cause=quick").await;
    kubectl.run("rollout status deployment/web --timeout=100s").await;
    eventually(async || kubectl.run("rollout history deployment/web").await.contains("2         quick"))
        .await;
    kubectl.run("rollout undo deployment/web").await;
    kubectl.run("rollout status deployment/web --timeout=100s").await;
    let grace = "{.spec.template.spec.terminationGracePeriodSeconds}";
    assert_eq!(kubectl.run(&format!("get deployment web -o jsonpath={grace}")).await, "30");
    let revision = "{.metadata.annotations.deployment\\.kubernetes\\.io/revision}";
    assert_eq!(kubectl.run(&format!("get deployment web -o jsonpath={revision}")).await, "3");
    kubectl.run("rollout pause deployment/web").await;
    kubectl.run("set env deployment/web A=b").await;
    kubectl.run("scale deployment/web --replicas=1").await;
    kubectl.run("wait --for=jsonpath={.status.availableReplicas}=1 deployment/web --timeout=100s").await;
    assert_eq!(kubectl.run("get rs -o name").await.lines().count(), 2);
    kubectl.run("rollout resume deployment/web").await;
    kubectl.run("rollout restart deployment/web").await;
    kubectl.run("rollout status deployment/web --timeout=100s").await;
    let text = kubectl.run("describe deployment web").await;
    for wanted in ["NewReplicaSetAvailable", "MinimumReplicasAvailable", "Scaled up replica set web-"] {
        assert!(text.contains(wanted), "{wanted}\n{text}");
    }
    kubectl.run("expose deployment web --port=80").await;
    kubectl.run("delete service web").await;
}

/// D28, D29: what kubectl's ways of deleting leave behind.
async fn cascades(kubectl: &Kubectl) {
    kubectl.run("delete deployment web --cascade=orphan").await;
    eventually(async || {
        kubectl.run("get rs -o jsonpath={.items[*].metadata.ownerReferences}").await.is_empty()
    })
    .await;
    assert!(!kubectl.run("get pods -o name").await.is_empty());
    kubectl.run("delete rs --all --cascade=foreground --timeout=100s").await;
    eventually(async || kubectl.run("get pods,rs -o name").await.is_empty()).await;
}
