//! What is told of a Pod: events, logs, what `describe` makes of them.

use serde_json::Value;

use super::{delete, get, wait};
use crate::suite::Kubectl;

const TOLD: &str = "apiVersion: v1
kind: Pod
metadata: {name: told}
spec:
  initContainers:
  - {name: i, image: busybox, command: [sh, -c, echo from init]}
  - {name: s, image: busybox, restartPolicy: Always, command: [sh, -c, echo from side; exec sleep 1000]}
  containers:
  - {name: a, image: busybox, command: [sh, -c, echo out; echo err >&2; echo more; exec sleep 1000]}
";

pub(super) async fn events_logs_and_descriptions(kubectl: &Kubectl) {
    kubectl.apply(TOLD).await;
    wait(kubectl, "told", "condition=Ready").await;
    events(kubectl).await;
    logs(kubectl).await;
    ending(kubectl).await;
    delete(kubectl, "told").await;
}

/// R10.1, R10.2, R10.3, R10.5, R10.10: the form of events, of the scheduler and of the node.
async fn events(kubectl: &Kubectl) {
    let line = "get events --field-selector involvedObject.name=told -o json";
    let all: Value = serde_json::from_str(&kubectl.run(line).await).unwrap();
    let all = all["items"].as_array().unwrap();
    let pod = get(kubectl, "told").await;
    let node = pod["spec"]["nodeName"].as_str().unwrap();
    let of = |reason: &str| -> Vec<&Value> { all.iter().filter(|event| event["reason"] == reason).collect() };
    let scheduled = of("Scheduled");
    let [scheduled] = scheduled.as_slice() else { panic!("{all:?}") };
    assert_eq!(scheduled["message"], format!("Successfully assigned default/told to {node}"));
    assert_eq!((&scheduled["type"], &scheduled["action"]), (&"Normal".into(), &"Binding".into()));
    assert_eq!(scheduled["reportingComponent"], "default-scheduler");
    let instance = scheduled["reportingInstance"].as_str().unwrap();
    assert!(instance.starts_with("default-scheduler-"), "{instance}");
    assert!(scheduled["eventTime"].is_string() && scheduled["count"].is_null(), "{scheduled}");
    assert!(scheduled["source"].as_object().is_none_or(serde_json::Map::is_empty), "{scheduled}");
    for (reason, message) in [("Created", "Container created"), ("Started", "Container started")] {
        let mut paths: Vec<&str> = Vec::new();
        for event in of(reason) {
            assert_eq!((&event["message"], &event["type"]), (&message.into(), &"Normal".into()), "{event}");
            assert_eq!(
                (&event["source"]["component"], &event["source"]["host"]),
                (&"kubelet".into(), &node.into())
            );
            assert_eq!(
                (&event["reportingComponent"], &event["reportingInstance"]),
                (&"kubelet".into(), &node.into())
            );
            assert!(event["count"] == 1 && event["eventTime"].is_null(), "{event}");
            assert_eq!(event["involvedObject"]["uid"], pod["metadata"]["uid"]);
            let name = event["metadata"]["name"].as_str().unwrap().strip_prefix("told.").unwrap();
            assert!(u64::from_str_radix(name, 16).is_ok(), "{name}");
            paths.push(event["involvedObject"]["fieldPath"].as_str().unwrap());
        }
        paths.sort_unstable();
        assert_eq!(paths, ["spec.containers{a}", "spec.initContainers{i}", "spec.initContainers{s}"]);
    }
    let id = pod["status"]["containerStatuses"][0]["containerID"].as_str().unwrap();
    let id = id.split("//").last().unwrap();
    assert!(all.iter().all(|event| !event["message"].as_str().unwrap().contains(id)));
}

/// R14.11, R14.15, R14.16, R14.17, R14.19.
async fn logs(kubectl: &Kubectl) {
    let said = kubectl.try_run("logs told", "").await;
    let notice = "Defaulted container \"a\" out of: a, i (init), s (init)";
    assert!(said.err.contains(notice), "{}", said.err);
    // Both streams in one body; what is written in the same instant may change places.
    let mut lines: Vec<&str> = said.out.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["err", "more", "out"]);
    assert_eq!(kubectl.run("logs told -c s").await, "from side\n");
    // Of an instance that has ended, following ends at once.
    assert_eq!(kubectl.run("logs told -c i -f").await, "from init\n");
    kubectl.run("annotate pod told kubectl.kubernetes.io/default-container=s").await;
    assert_eq!(kubectl.run("logs told").await, "from side\n");
    assert_eq!(kubectl.try_run("exec told -c a -- sh -c exit${IFS}7", "").await.code, 7);
}

/// R15.14: what `describe` shows of a Pod that is being deleted.
async fn ending(kubectl: &Kubectl) {
    kubectl.run("delete pod told --grace-period=25 --wait=false").await;
    let text = kubectl.run("describe pod told").await;
    assert!(text.contains("Terminating (lasts "), "{text}");
    let grace = text.lines().find(|line| line.starts_with("Termination Grace Period:"));
    assert_eq!(grace.and_then(|line| line.split_whitespace().last()), Some("25s"), "{text}");
    let at = |wanted: &str| text.find(wanted).unwrap_or_else(|| panic!("{wanted}\n{text}"));
    assert!(at("\nInit Containers:") < at("\nContainers:"));
}
