//! Cpu and memory: cgroup values, changes in place, what happens to those who use too much (section 13).

use super::{Shell, delete, get, wait};
use crate::suite::Kubectl;

const RESIZED: &str = "apiVersion: v1
kind: Pod
metadata: {name: resized}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: a
    image: busybox
    command: [sleep, \"1000\"]
    resources: {requests: {cpu: 100m, memory: 16Mi}, limits: {cpu: 200m, memory: 64Mi}}
  - name: b
    image: busybox
    command: [sleep, \"1000\"]
    resources: {requests: {cpu: 100m, memory: 16Mi}, limits: {cpu: 200m, memory: 64Mi}}
    resizePolicy: [{resourceName: memory, restartPolicy: RestartContainer}]
";

fn patch(container: &str, resources: &str) -> String {
    let spec = format!(r#"{{"spec":{{"containers":[{{"name":"{container}","resources":{resources}}}]}}}}"#);
    format!("patch pod resized --subresource resize -p {spec}")
}

/// R13.26-R13.30, R10.21.
pub(super) async fn resized_in_place(kubectl: &Kubectl) {
    kubectl.apply(RESIZED).await;
    wait(kubectl, "resized", "condition=Ready").await;
    let a = Shell { kubectl, pod: "resized", container: "a" };
    assert_eq!((a.cpu_quota().await, a.memory_limit().await), (20_000, 64 << 20));
    kubectl.run(&patch("a", r#"{"requests":{"cpu":"150m"},"limits":{"cpu":"300m","memory":"96Mi"}}"#)).await;
    shows(kubectl, 0, "resources.limits.cpu", "300m").await;
    assert_eq!((a.cpu_quota().await, a.memory_limit().await), (30_000, 96 << 20));
    let status = get(kubectl, "resized").await["status"].clone();
    assert_eq!(status["containerStatuses"][0]["allocatedResources"]["cpu"], "150m", "{status}");
    assert_eq!(status["containerStatuses"][0]["restartCount"], 0);
    // A resource that asks for a restart restarts its container alone.
    kubectl.run(&patch("b", r#"{"limits":{"memory":"80Mi"}}"#)).await;
    shows(kubectl, 1, "restartCount", "1").await;
    shows(kubectl, 1, "resources.limits.memory", "80Mi").await;
    wait(kubectl, "resized", "condition=Ready").await;
    let b = Shell { container: "b", ..a };
    assert_eq!(b.memory_limit().await, 80 << 20);
    assert_eq!(get(kubectl, "resized").await["status"]["containerStatuses"][0]["restartCount"], 0);
    let events = kubectl.run("get events --field-selector involvedObject.name=resized").await;
    for wanted in ["Pod resize started: {", "Pod resize completed: {", "Container b resize requires restart"]
    {
        assert!(events.contains(wanted), "{wanted}\n{events}");
    }
    refused(kubectl).await;
    in_use(kubectl, a).await;
    deferred(kubectl).await;
    delete(kubectl, "resized").await;
}

/// R13.26, R13.27: nothing is stored.
async fn refused(kubectl: &Kubectl) {
    let said = kubectl.try_run(&patch("a", r#"{"requests":{"cpu":"99"},"limits":{"cpu":"99"}}"#), "").await;
    let text = "node didn't have enough allocatable resources: cpu, requested: 99100, allocatable: ";
    assert!(said.code == 1 && said.err.contains(text), "{}", said.err);
    let said = kubectl.try_run(&patch("a", r#"{"limits":{"cpu":null}}"#), "").await;
    assert!(said.code == 1 && said.err.contains("resource limits cannot be removed"), "{}", said.err);
}

/// R13.29.
async fn in_use(kubectl: &Kubectl, a: Shell<'_>) {
    a.run("dd if=/dev/zero of=/dev/shm/held bs=1M count=30 2>/dev/null").await;
    kubectl.run(&patch("a", r#"{"limits":{"memory":"20Mi"}}"#)).await;
    let reason = "{.status.conditions[?(@.type==\"PodResizeInProgress\")].reason}";
    wait(kubectl, "resized", &format!("jsonpath={reason}=Error")).await;
    let status = get(kubectl, "resized").await["status"].to_string();
    assert!(status.contains("cannot decrease memory limits: "), "{status}");
    assert_eq!(a.memory_limit().await, 96 << 20);
    a.run("rm /dev/shm/held").await;
    shows(kubectl, 0, "resources.limits.memory", "20Mi").await;
    assert_eq!(a.memory_limit().await, 20 << 20);
}

/// R13.27: what does not fit now is granted when a neighbour leaves.
async fn deferred(kubectl: &Kubectl) {
    let cpus = kubectl.run("get nodes -o jsonpath={.items[0].status.allocatable.cpu}").await;
    let free = cpus.parse::<u64>().unwrap() * 1000 - 500;
    let neighbour = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: neighbour}}\nspec:\n  containers:\n  - name: a\n    \
         image: busybox\n    command: [sleep, \"1000\"]\n    resources: {{requests: {{cpu: {free}m}}}}\n"
    );
    kubectl.apply(&neighbour).await;
    wait(kubectl, "neighbour", "condition=Ready").await;
    kubectl.run(&patch("a", r#"{"requests":{"cpu":"600m"},"limits":{"cpu":"700m"}}"#)).await;
    let reason = "{.status.conditions[?(@.type==\"PodResizePending\")].reason}";
    wait(kubectl, "resized", &format!("jsonpath={reason}=Deferred")).await;
    delete(kubectl, "neighbour").await;
    shows(kubectl, 0, "resources.limits.cpu", "700m").await;
    let conditions = get(kubectl, "resized").await["status"]["conditions"].to_string();
    assert!(!conditions.contains("PodResize"), "{conditions}");
}

async fn shows(kubectl: &Kubectl, container: usize, field: &str, value: &str) {
    let path = format!("{{.status.containerStatuses[{container}].{field}}}");
    wait(kubectl, "resized", &format!("jsonpath={path}={value}")).await;
}

const LEVEL: &str = "apiVersion: v1
kind: Pod
metadata: {name: level}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  resources: {requests: {cpu: 100m, memory: 32Mi}, limits: {cpu: 400m, memory: 48Mi}}
  initContainers:
  - name: greedy
    image: busybox
    restartPolicy: OnFailure
    command: [sh, -c, \"test -e /work/again || { touch /work/again; exec tail /dev/zero; }\"]
    resources: {limits: {memory: 16Mi}}
    volumeMounts: [{name: work, mountPath: /work}]
  containers:
  - {name: a, image: busybox, command: [sleep, \"1000\"]}
  volumes: [{name: work, emptyDir: {}}]
";

/// R13.4, R13.7, R13.13, R9.30, R3.3: pod-level amounts, and an init container the kernel killed.
pub(super) async fn pod_level_and_out_of_memory(kubectl: &Kubectl) {
    kubectl.apply(LEVEL).await;
    wait(kubectl, "level", "condition=Ready").await;
    let a = Shell { kubectl, pod: "level", container: "a" };
    assert_eq!((a.cpu_quota().await, a.memory_limit().await), (40_000, 48 << 20));
    let status = get(kubectl, "level").await["status"].clone();
    assert_eq!(status["qosClass"], "Burstable");
    let killed = &status["initContainerStatuses"][0];
    assert_eq!(killed["restartCount"], 1, "{status}");
    assert_eq!(killed["lastState"]["terminated"]["reason"], "OOMKilled", "{status}");
    assert_eq!(killed["lastState"]["terminated"]["exitCode"], 137);
    let patch = r#"{"spec":{"resources":{"limits":{"cpu":"500m"}}}}"#;
    kubectl.run(&format!("patch pod level --subresource resize -p {patch}")).await;
    super::eventually(async || a.cpu_quota().await == 50_000).await;
    delete(kubectl, "level").await;
}

const INIT: &str = "apiVersion: v1
kind: Pod
metadata: {name: early}
spec:
  terminationGracePeriodSeconds: 1
  initContainers:
  - name: side
    image: busybox
    restartPolicy: Always
    command: [sh, -c, \"trap 'exit 0' TERM; sleep 1000 & wait\"]
    resources: {requests: {cpu: 50m, memory: 16Mi}, limits: {cpu: 100m, memory: 32Mi}}
  - name: init
    image: busybox
    command: [sh, -c, \"until test -e /go; do sleep 0.05; done\"]
    resources: {requests: {cpu: 50m, memory: 16Mi}, limits: {cpu: 100m, memory: 32Mi}}
  containers:
  - name: a
    image: busybox
    command: [sleep, \"1000\"]
    resources: {requests: {cpu: 50m, memory: 16Mi}, limits: {cpu: 100m, memory: 32Mi}}
";

/// R13.26, R13.28, R13.30: sidecars and running init containers are resized in place too.
pub(super) async fn init_containers_resized_in_place(kubectl: &Kubectl) {
    kubectl.apply(INIT).await;
    wait(kubectl, "early", "jsonpath={.status.initContainerStatuses[1].state.running.startedAt}").await;
    let side = Shell { kubectl, pod: "early", container: "side" };
    let init = Shell { container: "init", ..side };
    let resize = async |name: &str, resources: &str| {
        let spec =
            format!(r#"{{"spec":{{"initContainers":[{{"name":"{name}","resources":{resources}}}]}}}}"#);
        kubectl.run(&format!("patch pod early --subresource resize -p {spec}")).await;
    };
    resize("init", r#"{"requests":{"cpu":"60m"},"limits":{"cpu":"200m"}}"#).await;
    wait(kubectl, "early", "jsonpath={.status.initContainerStatuses[1].resources.limits.cpu}=200m").await;
    assert_eq!(init.cpu_quota().await, 20_000);
    resize("side", r#"{"limits":{"cpu":"150m","memory":"48Mi"}}"#).await;
    wait(kubectl, "early", "jsonpath={.status.initContainerStatuses[0].resources.limits.memory}=48Mi").await;
    assert_eq!((side.cpu_quota().await, side.memory_limit().await), (15_000, 48 << 20));
    init.run("touch /go").await;
    wait(kubectl, "early", "condition=Ready").await;
    resize("side", r#"{"limits":{"cpu":"120m"}}"#).await;
    wait(kubectl, "early", "jsonpath={.status.initContainerStatuses[0].resources.limits.cpu}=120m").await;
    assert_eq!(side.cpu_quota().await, 12_000);
    let status = get(kubectl, "early").await["status"].clone();
    for container in status["initContainerStatuses"].as_array().unwrap() {
        assert_eq!(container["restartCount"], 0, "{status}");
    }
    delete(kubectl, "early").await;
}
