//! The whole program through unmodified kubectl: real containers, real images, a real registry. Needs root.

use std::sync::Arc;

use crate::suite::{Cluster, Images, Kubectl, kubectls};

const TOP: &str = "apiVersion: v1
kind: Pod
metadata:
  name: top-command-pod
spec:
  containers:
  - name: top-command
    image: busybox
    command: [\"top\"]
";

pub(crate) const THREE: &str = "apiVersion: v1
kind: Pod
metadata:
  name: three
spec:
  restartPolicy: Never
  initContainers:
  - name: prepare
    image: busybox
    command: [sh, -c, echo prepared > /work/file]
    volumeMounts: [{name: work, mountPath: /work}]
  - name: side
    image: busybox
    restartPolicy: Always
    command: [sh, -c, \"trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done\"]
  containers:
  - name: app
    image: busybox
    command: [sh, -c, cat /work/file]
    volumeMounts: [{name: work, mountPath: /work}]
  volumes: [{name: work, emptyDir: {}}]
";

/// One walk through what people type, with every kubectl there is.
#[tokio::test(flavor = "multi_thread")]
async fn kubectl_drives_it_unmodified() {
    let images = Arc::new(Images::start().await);
    let cluster = Cluster::up(images, "10.201.0.0/24").await;
    for program in kubectls() {
        let kubectl = cluster.kubectl(&program);
        walk(&kubectl).await;
        crate::verbs::walk(&kubectl).await;
        crate::port_forward::walk(&kubectl).await;
    }
    cluster.down().await;
}

pub(crate) async fn walk(kubectl: &Kubectl) {
    look_around(kubectl).await;
    top_command(kubectl).await;
    previous_logs(kubectl).await;
    init_sidecar_app(kubectl).await;
    mistakes(kubectl).await;
}

async fn look_around(kubectl: &Kubectl) {
    // A4, A10, G15
    assert!(kubectl.run("api-resources").await.contains("configmaps"));
    assert!(kubectl.run("get nodes -o wide").await.contains(" Ready "));
    // A32
    let text = kubectl.run("explain pod.spec.initContainers.restartPolicy").await;
    assert!(text.contains("restartPolicy"), "{text}");
    assert!(kubectl.run("version").await.contains("v1.36"));
}

async fn top_command(kubectl: &Kubectl) {
    assert_eq!(kubectl.apply(TOP).await.trim(), "pod/top-command-pod created");
    kubectl.run("wait --for=condition=Ready pod/top-command-pod --timeout=100s").await;
    // G14
    let row = kubectl.run("get pod top-command-pod --no-headers").await;
    assert_eq!(row.split_whitespace().take(3).collect::<Vec<_>>(), ["top-command-pod", "1/1", "Running"]);
    // H18-H26
    let text = kubectl.run("exec top-command-pod -- hostname").await;
    assert_eq!(text.trim(), "top-command-pod");
    assert_eq!(kubectl.run_with("exec -i top-command-pod -- cat", "hello").await, "hello");
    let failed = kubectl.try_run("exec top-command-pod -- false", "").await;
    assert_ne!(failed.code, 0);
    // F2, F1a, F1b
    kubectl.run("label pod top-command-pod tier=front").await;
    kubectl.run("annotate pod top-command-pod note=x").await;
    kubectl.run("patch pod top-command-pod -p {\"metadata\":{\"labels\":{\"a\":\"b\"}}}").await;
    kubectl.run("patch pod top-command-pod --type=merge -p {\"metadata\":{\"labels\":{\"a\":null}}}").await;
    let add = "[{\"op\":\"add\",\"path\":\"/metadata/labels/c\",\"value\":\"d\"}]";
    kubectl.run(&format!("patch pod top-command-pod --type=json -p {add}")).await;
    let labels = kubectl.run("get pod top-command-pod -o jsonpath={.metadata.labels}").await;
    assert_eq!(labels, "{\"c\":\"d\",\"tier\":\"front\"}");
    assert!(kubectl.run("get pods -l tier=front -o name").await.contains("pod/top-command-pod"));
    assert!(
        kubectl.run("get pods --field-selector status.phase=Running -o yaml").await.contains("kind: Pod")
    );
    let mut edit = kubectl.command("edit pod top-command-pod");
    edit.env("KUBE_EDITOR", "sed -i s/front/back/");
    assert!(edit.output().await.unwrap().status.success());
    assert_eq!(kubectl.run("get pods -l tier=back -o name").await.trim(), "pod/top-command-pod");
    attach(kubectl).await;
    // R10.10
    let text = kubectl.run("describe pod top-command-pod").await;
    for wanted in ["Scheduled", "Pulled", "Created", "Started", "Container ID:"] {
        assert!(text.contains(wanted), "{wanted}\n{text}");
    }
    // H14
    assert_eq!(kubectl.run("logs top-command-pod --tail=1").await.lines().count(), 1);
    crate::terminal::walk(kubectl).await;
    let copied = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(copied.path(), "copied").unwrap();
    kubectl.run(&format!("cp {} top-command-pod:/tmp/copy", copied.path().display())).await;
    assert_eq!(kubectl.run("exec top-command-pod -- cat /tmp/copy").await, "copied");
    // D24
    kubectl.run("delete pod top-command-pod --grace-period=1").await;
    assert_eq!(kubectl.try_run("get pod top-command-pod", "").await.code, 1);
    // R8.5
    kubectl.apply(TOP).await;
    kubectl.run("delete pod top-command-pod --force --grace-period=0").await;
}

/// H34: what the container prints from now on.
async fn attach(kubectl: &Kubectl) {
    use tokio::io::AsyncReadExt as _;
    let mut command = kubectl.command("attach top-command-pod");
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut output = child.stdout.take().unwrap();
    let mut seen = [0; 16];
    let read = tokio::time::timeout(crate::suite::PATIENCE, output.read_exact(&mut seen)).await;
    read.expect("top prints every few seconds").unwrap();
    child.kill().await.unwrap();
}

/// R2.17, H16: the instance before the current one, and what is recent enough.
async fn previous_logs(kubectl: &Kubectl) {
    let script = "[\"sh\", \"-c\", \"echo ran; exit 1\"]";
    let pod = TOP.replace("[\"top\"]", script).replace("spec:", "spec:\n  restartPolicy: OnFailure");
    kubectl.apply(&pod).await;
    let count = "{.status.containerStatuses[0].restartCount}";
    kubectl.run(&format!("wait --for=jsonpath={count}=1 pod/top-command-pod --timeout=100s")).await;
    assert_eq!(kubectl.run("logs top-command-pod -p").await, "ran\n");
    assert_eq!(kubectl.run("logs top-command-pod --since=1h").await, "ran\n");
    kubectl.run("delete pod top-command-pod").await;
}

pub(crate) async fn init_sidecar_app(kubectl: &Kubectl) {
    kubectl.apply(THREE).await;
    kubectl.run("wait --for=jsonpath={.status.phase}=Succeeded pod/three --timeout=100s").await;
    // R3.1, R4.16: the app saw what the init container wrote, the sidecar left after it, by TERM.
    assert_eq!(kubectl.run("logs three -c app").await, "prepared\n");
    assert_eq!(kubectl.run("logs three -c side").await, "up\nbye\n");
    let row = kubectl.run("get pod three --no-headers").await;
    assert_eq!(row.split_whitespace().nth(2), Some("Completed"), "{row}");
    kubectl.run("delete pod three").await;
}

async fn mistakes(kubectl: &Kubectl) {
    // D12, D16
    let said = kubectl.try_run("create -f -", &TOP.replace("image:", "imagee:")).await;
    assert!(said.err.contains("unknown field \"spec.containers[0].imagee\""), "{}", said.err);
    // R5.24, R5.25
    kubectl.apply(&TOP.replace("image: busybox", "image: nosuch/image")).await;
    let reason = "{.status.containerStatuses[0].state.waiting.reason}";
    kubectl
        .run(&format!("wait --for=jsonpath={reason}=ImagePullBackOff pod/top-command-pod --timeout=100s"))
        .await;
    let message = "{.status.containerStatuses[0].state.waiting.message}";
    let message = kubectl.run(&format!("get pod top-command-pod -o jsonpath={message}")).await;
    let told = "Back-off pulling image \"nosuch/image\": ErrImagePull: failed to pull and unpack image";
    assert!(message.starts_with(told) && message.contains(" answered: "), "{message}");
    kubectl.run("delete pod top-command-pod").await;
    // R5.32
    let missing = TOP.replace("\"top\"", "\"/no/such\"").replace("spec:", "spec:\n  restartPolicy: Never");
    kubectl.apply(&missing).await;
    kubectl.run("wait --for=jsonpath={.status.phase}=Failed pod/top-command-pod --timeout=100s").await;
    let state = kubectl
        .run("get pod top-command-pod -o jsonpath={.status.containerStatuses[0].state.terminated}")
        .await;
    assert!(state.contains("\"exitCode\":128") && state.contains("/no/such"), "{state}");
    kubectl.run("delete pod top-command-pod").await;
}

/// The agent is killed and comes back: nothing restarted, no log line lost (decision 6).
#[tokio::test(flavor = "multi_thread")]
async fn containers_survive_the_death_of_the_agent() {
    let rounds: u32 =
        std::env::var("OUTRIGGER_CRASH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(100);
    let images = Arc::new(Images::start().await);
    let mut cluster = Cluster::up(images, "10.202.0.0/24").await;
    let kubectl = cluster.kubectl(&kubectls()[0]);
    let count = "n=0; while :; do echo $n; n=$((n+1)); usleep 20000; done";
    let pod = TOP.replace("[\"top\"]", &format!("[sh, -c, {count:?}]"));
    kubectl.apply(&pod).await;
    kubectl.run("wait --for=condition=Ready pod/top-command-pod --timeout=100s").await;
    let id = "get pod top-command-pod -o jsonpath={.status.containerStatuses[0].containerID},{.status.containerStatuses[0].restartCount}";
    let before = kubectl.run(id).await;
    for _ in 0..rounds {
        cluster.kill().await;
        cluster.start().await;
        let kubectl = cluster.kubectl(&kubectls()[0]);
        assert_eq!(kubectl.run(id).await, before);
    }
    let kubectl = cluster.kubectl(&kubectls()[0]);
    let log = kubectl.run("logs top-command-pod").await;
    for (index, line) in log.lines().enumerate() {
        assert_eq!(line, index.to_string(), "a line is lost or doubled");
    }
    assert!(log.lines().count() > 10);
    kubectl.run("delete pod top-command-pod --grace-period=1").await;
    cluster.down().await;
}
