//! What may change in a stored Pod, endpoint by endpoint.

use outrigger_api::Object;
use serde_json::{Value, json};

use super::{lines, pod};
use crate::field::Findings;

#[track_caller]
fn on_update(rule: &str, old: &str, new: &str, expected: &[&str]) {
    let mut findings = Findings::default();
    super::super::update(&pod(new), &pod(old), &mut findings);
    let lines = lines(&findings);
    assert_eq!(lines.len(), expected.len(), "{rule}: {lines:?}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(expected), "{rule}: {line}");
    }
}

/// R1.48, R1.49.
#[test]
fn updates() {
    const LIST: &str = "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n";
    for (rule, old, new, expected) in [
        ("R1.48", "{}", r#"{"containers": [{"name": "c", "image": "b:1"}]}"#, &[][..]),
        ("R1.48", "{}", r#"{"activeDeadlineSeconds": 0}"#, &[]),
        ("R1.48", "{}", r#"{"tolerations": [{"key": "a", "operator": "Exists"}]}"#, &[]),
        ("R1.48", r#"{"schedulingGates": [{"name": "g"}]}"#, r#"{"nodeSelector": {"a": "b"}}"#, &[]),
        ("R1.49", "{}", r#"{"nodeSelector": {"a": "b"}}"#, &[LIST]),
        (
            "R1.49",
            "{}",
            r#"{"containers": [{"name": "c", "image": "a:1"}, {"name": "d", "image": "a:1"}]}"#,
            &["spec.containers: Forbidden: pod updates may not add or remove containers"],
        ),
        (
            "R1.49",
            r#"{"activeDeadlineSeconds": 5}"#,
            r#"{"activeDeadlineSeconds": 6}"#,
            &["spec.activeDeadlineSeconds: Invalid value: 6: must be less than or equal to previous value"],
        ),
        (
            "R1.49",
            r#"{"activeDeadlineSeconds": 5}"#,
            "{}",
            &[
                "spec.activeDeadlineSeconds: Invalid value: null: must not update from a positive integer to nil value",
            ],
        ),
        (
            "R1.49",
            r#"{"tolerations": [{"key": "a", "operator": "Exists"}]}"#,
            "{}",
            &[
                "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds",
            ],
        ),
        (
            "K10",
            "{}",
            r#"{"schedulingGates": [{"name": "g"}]}"#,
            &["spec.schedulingGates: Forbidden: only deletion is allowed, but found new scheduling gate 'g'"],
        ),
    ] {
        on_update(rule, old, new, expected);
    }
}

/// R14.1, R14.3.
#[test]
fn ephemeral_containers() {
    let with = |list: &str| pod(&format!(r#"{{"ephemeralContainers": [{list}]}}"#));
    let check = |old: &Object, new: &Object, expected: &[&str]| {
        let mut findings = Findings::default();
        super::super::ephemeral_update(new, old, &mut findings);
        assert_eq!(lines(&findings), expected);
    };
    let plain = pod("{}");
    let one = with(r#"{"name": "e", "image": "a:1", "targetContainerName": "c"}"#);
    check(&plain, &one, &[]);
    check(
        &one,
        &plain,
        &["spec.ephemeralContainers: Forbidden: existing ephemeral containers \"e\" may not be removed\n"],
    );
    check(
        &plain,
        &with(
            r#"{"name": "e", "image": "a:1", "targetContainerName": "x", "ports": [{"containerPort": 1}]}"#,
        ),
        &[
            "spec.ephemeralContainers[0].ports: Forbidden: cannot be set for an Ephemeral Container",
            r#"spec.ephemeralContainers[0].targetContainerName: Not found: "x""#,
        ],
    );
}

/// R13.26.
#[test]
fn resizing() {
    let with = |resources: &str| {
        pod(&format!(r#"{{"containers": [{{"name": "c", "image": "a:1", "resources": {resources}}}]}}"#))
    };
    let old = with(r#"{"requests": {"cpu": "1"}}"#);
    for (new, expected) in [
        (with(r#"{"requests": {"cpu": "2"}}"#), &[][..]),
        (
            with("{}"),
            &[
                "spec: Invalid value: \"BestEffort\": Pod QOS Class may not change as a result of resizing",
                "spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed",
            ],
        ),
        (
            with(r#"{"requests": {"cpu": "1", "ephemeral-storage": "1Gi"}}"#),
            &["spec: Forbidden: only cpu and memory resources are mutable"],
        ),
    ] {
        let mut findings = Findings::default();
        super::super::resize_update(&new, &old, &mut findings);
        assert_eq!(lines(&findings), expected);
    }
}

/// R1.51.
#[test]
fn status_does_not_go_back() {
    let with = |policy: &str, state: &str| {
        let mut pod = pod(&format!(r#"{{"restartPolicy": "{policy}"}}"#));
        let state: Value = serde_json::from_str(state).unwrap();
        *pod.entry(&["status"]) =
            json!({"qosClass": "BestEffort", "containerStatuses": [{"name": "c", "state": state}]});
        pod
    };
    const REFUSED: &str =
        "status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state";
    for (policy, code, refused) in
        [("Never", 1, true), ("OnFailure", 0, true), ("OnFailure", 1, false), ("Always", 0, false)]
    {
        let old = with(policy, &format!(r#"{{"terminated": {{"exitCode": {code}}}}}"#));
        let mut findings = Findings::default();
        super::super::status_update(&with(policy, r#"{"running": {}}"#), &old, &mut findings);
        let expected: &[&str] = if refused { &[REFUSED] } else { &[] };
        assert_eq!(lines(&findings), expected, "{policy} {code}");
    }
    let old = with("Always", "{}");
    let mut new = old.clone();
    *new.entry(&["status", "qosClass"]) = json!("Burstable");
    let mut findings = Findings::default();
    super::super::status_update(&new, &old, &mut findings);
    assert_eq!(lines(&findings), [r#"status.qosClass: Invalid value: "Burstable": field is immutable"#]);
}
