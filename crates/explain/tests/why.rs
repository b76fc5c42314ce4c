//! What `outrigger why` says of Pods as an API server shows them, without a node's record: the answers of last resort.

use k8s_openapi::api::core::v1::{Event, Node, Pod};
use outrigger_explain::render::text::Style;
use outrigger_explain::why::{Answer, Reference, Situation, Standing, explain, references, text};

const NOW: &str = "2026-05-01T00:10:00Z";

/// A Pod of two containers, whose spec and status each case adds to.
fn pod(spec: &str, status: &str) -> Pod {
    let text = format!(
        "metadata: {{name: web, namespace: shop, uid: u1, creationTimestamp: '2026-05-01T00:08:00Z'}}
spec:
  restartPolicy: Always
  containers:
  - {{name: app, image: shop/app:2}}
{spec}
status:
{status}
"
    );
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn event(reason: &str, container: &str, message: &str, count: i32) -> Event {
    let path = if container.is_empty() { String::new() } else { format!("spec.containers{{{container}}}") };
    let event = serde_json::json!({
        "metadata": {"name": "e", "namespace": "shop"}, "reason": reason, "message": message, "count": count,
        "involvedObject": {"kind": "Pod", "name": "web", "uid": "u1", "fieldPath": path},
        "lastTimestamp": "2026-05-01T00:09:30Z",
    });
    serde_json::from_value(event).expect("an event")
}

fn ask(pod: &Pod, events: &[Event], absent: &[&str]) -> Answer {
    let absent: Vec<String> = absent.iter().map(|name| (*name).to_owned()).collect();
    let now = NOW.parse().expect("a time");
    explain(&Situation { pod, events, report: None, node: None, absent: &absent, now })
}

/// All links of all chains.
fn chain(answer: &Answer) -> Vec<&str> {
    answer.causes.iter().flat_map(|cause| &cause.chain).map(String::as_str).collect()
}

fn help(answer: &Answer) -> &str {
    answer.causes.first().and_then(|cause| cause.help.as_deref()).unwrap_or_default()
}

const SCHEDULED: &str = "  nodeName: n1";

#[test]
fn no_node_fits() {
    let status = "  conditions: [{type: PodScheduled, status: 'False', reason: Unschedulable, message: '0/2 nodes are \
                  available: 2 Insufficient cpu.'}]";
    let answer = ask(&pod("", status), &[], &[]);
    assert_eq!((answer.standing, answer.summary.as_str()), (Standing::Blocked, "is Pending, for 2m"));
    assert_eq!(chain(&answer), ["it has no node: 0/2 nodes are available: 2 Insufficient cpu."]);
    assert_eq!(help(&answer), "it needs a node with more cpu free, or smaller requests for cpu");
    let told = [event(
        "FailedScheduling",
        "",
        "0/1 nodes are available: 1 node(s) had untolerated taint {a: b}.",
        3,
    )];
    let answer = ask(&pod("", "  phase: Pending"), &told, &[]);
    assert_eq!(help(&answer), "it needs a toleration of the taint, or the taint taken off");
}

#[test]
fn gates_and_schedulers() {
    let gated = ask(&pod("  schedulingGates: [{name: quota}, {name: review}]", "  phase: Pending"), &[], &[]);
    assert_eq!(chain(&gated), ["it has no node: scheduling gates quota and review are set"]);
    let other = ask(&pod("  schedulerName: mine", "  phase: Pending"), &[], &[]);
    assert_eq!(chain(&other), ["it has no node: mine has not looked at it yet"]);
}

#[test]
fn a_node_that_does_not_answer() {
    let node: Node = serde_json::from_value(serde_json::json!({
        "metadata": {"name": "n1"},
        "status": {"conditions": [{"type": "Ready", "status": "Unknown", "message": "Kubelet stopped posting node status."}]},
    }))
    .expect("a node");
    let pod = pod(SCHEDULED, "  phase: Pending");
    let now = NOW.parse().expect("a time");
    let answer =
        explain(&Situation { pod: &pod, events: &[], report: None, node: Some(&node), absent: &[], now });
    let want = "node n1 has not taken it: it is not Ready: Kubelet stopped posting node status.";
    assert_eq!(chain(&answer), [want]);
}

/// A Pod its node has taken, with the state of `app`.
fn taken(spec: &str, app: &str) -> Pod {
    let status = format!(
        "  phase: Pending
  startTime: '2026-05-01T00:09:00Z'
  containerStatuses:
  - {{name: app, image: x, imageID: '', ready: false, restartCount: 3, {app}}}"
    );
    pod(&format!("{SCHEDULED}\n{spec}"), &status)
}

#[test]
fn images() {
    let state = "state: {waiting: {reason: ImagePullBackOff, message: 'Back-off pulling image \"shop/app:2\": \
                 ErrImagePull: not found'}}";
    let answer = ask(&taken("", state), &[], &[]);
    let want = "image shop/app:2 of container app cannot be pulled: Back-off pulling image \"shop/app:2\": \
                ErrImagePull: not found";
    assert_eq!(chain(&answer), [want]);
    let also = ask(&taken("", state), &[], &["secret/login"]);
    assert_eq!(chain(&also)[1], "secret/login does not exist, and a container needs it");
    let never = ask(&taken("", "state: {waiting: {reason: ErrImageNeverPull}}"), &[], &[]);
    assert!(chain(&never)[0].contains("is not on the node, and its imagePullPolicy is Never"));
}

#[test]
fn what_is_not_there() {
    let state =
        "state: {waiting: {reason: CreateContainerConfigError, message: 'configmap \"settings\" not found'}}";
    let answer = ask(&taken("", state), &[], &["configmap/settings"]);
    assert_eq!(chain(&answer), ["container app cannot be configured: configmap \"settings\" not found"]);
    assert_eq!(help(&answer), "create configmap/settings in namespace shop; the node tries again by itself");
    let pod = taken("", "state: {waiting: {reason: ContainerCreating}}");
    let mut pod = pod;
    let condition = serde_json::json!([{"type": "PodReadyToStartContainers", "status": "False"}]);
    pod.status.as_mut().expect("a status").conditions = serde_json::from_value(condition).ok();
    let message = "MountVolume.SetUp failed for volume \"keys\" : secret \"keys\" not found";
    let answer = ask(&pod, &[event("FailedMount", "", message, 2)], &["secret/keys"]);
    let first = format!("no container can start, because a volume is not there: {message}");
    assert_eq!(chain(&answer), [first.as_str(), "secret/keys does not exist"]);
    assert_eq!(help(&answer), "create secret/keys in namespace shop; the node tries again by itself");
}

/// R11.5, R11.6, R12.19: what is optional is not asked for.
#[test]
fn references_that_count() {
    let spec = "  volumes:
  - {name: a, configMap: {name: settings}}
  - {name: b, secret: {secretName: keys, optional: true}}
  - {name: c, persistentVolumeClaim: {claimName: data}}
  initContainers:
  - name: first
    image: x
    envFrom: [{secretRef: {name: login}}]
    env: [{name: A, valueFrom: {configMapKeyRef: {name: settings, key: a}}}]";
    let found = references(&pod(spec, "  phase: Pending"));
    let names: Vec<String> =
        found.iter().map(|Reference { kind, name, .. }| format!("{kind} {name}")).collect();
    assert_eq!(names, ["ConfigMap settings", "PersistentVolumeClaim data", "Secret login"]);
}

const WITH_INITS: &str = "  initContainers:
  - {name: prepare, image: x}
  - name: proxy
    image: x
    restartPolicy: Always
    startupProbe: {tcpSocket: {port: 5432}, failureThreshold: 30, periodSeconds: 2}";

fn initialising(prepare: &str, proxy: &str) -> Pod {
    let status = format!(
        "  phase: Pending
  startTime: '2026-05-01T00:09:00Z'
  initContainerStatuses:
  - {{name: prepare, image: x, imageID: '', restartCount: 2, {prepare}}}
  - {{name: proxy, image: x, imageID: '', restartCount: 0, ready: false, {proxy}}}
  containerStatuses:
  - {{name: app, image: x, imageID: '', ready: false, restartCount: 0, state: {{waiting: {{reason: PodInitializing}}}}}}"
    );
    pod(&format!("{SCHEDULED}\n{WITH_INITS}"), &status)
}

#[test]
fn init_containers() {
    let waits = "state: {waiting: {reason: PodInitializing}}";
    let running = "ready: false, state: {running: {startedAt: '2026-05-01T00:09:20Z'}}";
    let answer = ask(&initialising(running, waits), &[], &[]);
    let first = "proxy and app wait for init container prepare to exit with 0";
    assert_eq!(chain(&answer), [first, "init container prepare runs, for 40s, attempt 3"]);
    let crashed = "ready: false, state: {waiting: {reason: CrashLoopBackOff, message: 'back-off 20s restarting failed \
                   container=prepare pod=web_shop(u1)'}}, lastState: {terminated: {exitCode: 1, reason: Error, message: \
                   'no table', finishedAt: '2026-05-01T00:09:55Z'}}";
    let answer = ask(&initialising(crashed, waits), &[], &[]);
    let second = "init container prepare exited with 1 (5s ago, after 2 restarts): no table";
    assert_eq!(chain(&answer), [first, second, "it starts again soon (back-off 20s)"]);
}

#[test]
fn a_sidecar_that_has_not_started() {
    let done = "ready: true, state: {terminated: {exitCode: 0, reason: Completed}}";
    let runs = "started: false, state: {running: {startedAt: '2026-05-01T00:09:20Z'}}";
    let mut failing = event(
        "Unhealthy",
        "",
        "Startup probe failed: dial tcp 10.1.0.2:5432: connect: connection refused",
        7,
    );
    failing.involved_object.field_path = Some("spec.initContainers{proxy}".into());
    let answer = ask(&initialising(done, runs), &[failing], &[]);
    let second = "the startup probe of sidecar proxy fails: connection refused on 5432, 7 times so far";
    assert_eq!(chain(&answer), ["app waits for sidecar proxy to start", second]);
    assert!(help(&answer).starts_with("once something listens on port 5432, proxy counts as started"));
}

fn running(spec: &str, ready: &str, app: &str) -> Pod {
    let status = format!(
        "  phase: Running
  startTime: '2026-05-01T00:05:00Z'
  conditions:
  - {{type: Ready, status: '{ready}', lastTransitionTime: '2026-05-01T00:07:00Z'}}
  - {{type: ContainersReady, status: 'True'}}
  containerStatuses:
  - {{name: app, image: x, imageID: '', containerID: 'o://1', restartCount: 0, {app}}}"
    );
    pod(&format!("{SCHEDULED}\n{spec}"), &status)
}

#[test]
fn readiness() {
    let up = "ready: true, started: true, state: {running: {startedAt: '2026-05-01T00:05:00Z'}}";
    let fine = ask(&running("", "True", up), &[], &[]);
    assert_eq!((fine.standing, fine.summary.as_str()), (Standing::Fine, "is Running and Ready, for 3m"));
    assert!(fine.causes.is_empty());
    let gate = ask(&running("  readinessGates: [{conditionType: lb.io/attached}]", "False", up), &[], &[]);
    let want = "all containers are ready, and condition lb.io/attached of a readiness gate does not exist";
    assert_eq!(chain(&gate), [want]);
    let mut pod = running("", "False", &up.replace("ready: true", "ready: false"));
    let probe = serde_json::json!({"httpGet": {"path": "/ready", "port": 80}});
    pod.spec.as_mut().expect("a spec").containers[0].readiness_probe = serde_json::from_value(probe).ok();
    let failing =
        event("Unhealthy", "app", "Readiness probe failed: HTTP probe failed with statuscode: 503", 1);
    let answer = ask(&pod, &[failing], &[]);
    let second = "its readiness probe fails: HTTP probe failed with statuscode: 503, once so far";
    assert_eq!(chain(&answer), ["container app runs and is not ready", second]);
    assert_eq!(help(&answer), "once GET /ready on port 80 answers well, app is ready");
}

#[test]
fn deletion() {
    let up = "ready: true, state: {running: {startedAt: '2026-05-01T00:05:00Z'}}";
    let mut pod = running("", "True", up);
    let deleting = serde_json::json!({
        "name": "web", "namespace": "shop", "uid": "u1", "deletionTimestamp": "2026-05-01T00:10:20Z",
        "deletionGracePeriodSeconds": 30, "finalizers": ["shop.io/backup"],
    });
    pod.metadata = serde_json::from_value(deleting).expect("metadata");
    let answer = ask(&pod, &[], &[]);
    assert_eq!(answer.summary, "is being deleted; 20s of 30s grace are left");
    assert_eq!(chain(&answer), ["app still runs", "finalizer shop.io/backup keeps the object"]);
}

#[test]
fn how_it_ended() {
    let end = |status: &str| ask(&pod(&format!("{SCHEDULED}\n{WITH_INITS}"), status), &[], &[]);
    let refused = end("  phase: Failed\n  reason: OutOfcpu\n  message: 'Pod was rejected: too little cpu'");
    assert_eq!(chain(&refused), ["node n1 refused it, OutOfcpu: too little cpu"]);
    let evicted =
        end("  phase: Failed\n  reason: Evicted\n  message: 'The node was low on resource: memory. '");
    assert_eq!(chain(&evicted), ["its node was short of resources: The node was low on resource: memory."]);
    let container = "containerStatuses:
  - {name: app, image: x, imageID: '', ready: false, restartCount: 0, state: {terminated: {exitCode: 3, reason: Error, \
                     finishedAt: '2026-05-01T00:09:00Z'}}}";
    let failed = end(&format!("  phase: Failed\n  {container}"));
    assert_eq!(failed.summary, "has ended: Failed, 1m ago");
    assert_eq!(chain(&failed), ["container app exited with 3"]);
    assert!(help(&failed).starts_with("`kubectl logs web -c app -n shop` shows what it printed"));
    let done = end(&format!(
        "  phase: Succeeded\n  {}",
        container.replace("exitCode: 3, reason: Error", "exitCode: 0")
    ));
    assert_eq!((done.standing, chain(&done)), (Standing::Ended, vec!["its container exited with 0"]));
}

#[test]
fn the_text_has_the_chain_and_the_way_out() {
    let gated = ask(&pod("  schedulingGates: [{name: quota}]", "  phase: Pending"), &[], &[]);
    let told = text::render(&gated, Style { width: 80, colour: false });
    let want = "pod/web is Pending, for 2m
What blocks it:

  it has no node: scheduling gate quota is set
  → whoever set them takes them out of spec.schedulingGates; then the scheduler
    looks at the Pod
";
    assert_eq!(told, want);
}
