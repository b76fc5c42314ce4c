//! What fails a Job, and what does not.

use super::*;

/// N6: a replacement waits 10 s, then twice as long; beyond the limit the Job has failed.
#[test]
fn replacements_wait_and_end() {
    let mut world = World::new(json!({"completions": 1, "backoffLimit": 2}));
    world.settle();
    for (number, wait) in [(1, 10), (2, 20)] {
        world.phase(number, "Failed");
        assert_eq!(world.settle(), Some(Duration::from_secs(wait)));
        assert_eq!(world.names().len(), 0);
        world.wait(i64::try_from(wait).unwrap());
        world.settle();
        assert_eq!(world.names().len(), 1);
    }
    // A restarted controller knows from the Pods that are left.
    world.backoff = None;
    world.phase(3, "Failed");
    world.settle();
    assert_eq!(
        world.conditions(),
        ["FailureTarget=True BackoffLimitExceeded", "Failed=True BackoffLimitExceeded"]
    );
    assert_eq!(world.message(), "Job has reached the specified backoff limit");
    assert_eq!((world.status()["failed"].as_i64(), world.status().get("completionTime")), (Some(3), None));
    assert_eq!(world.told, ["BackoffLimitExceeded"]);
}

/// N6: others are stopped when the Job fails, and the last word waits for them.
#[test]
fn failing_stops_the_rest() {
    let mut world = World::new(json!({"completions": 3, "parallelism": 3, "backoffLimit": 0}));
    world.settle();
    world.phase(2, "Failed");
    world.settle();
    assert_eq!(world.conditions(), ["FailureTarget=True BackoffLimitExceeded"]);
    assert_eq!(world.status()["terminating"], 2);
    world.phase(1, "Failed");
    world.phase(3, "Failed");
    world.settle();
    assert_eq!(world.conditions().len(), 2);
    let status = world.status();
    assert_eq!((status["failed"].as_i64(), status["terminating"].as_i64()), (Some(3), Some(0)));
    assert_eq!(world.pods.len(), 1, "stopped Pods are gone: {:?}", world.pods);
}

#[test]
fn deadline() {
    let mut world = World::new(json!({"completions": 1, "activeDeadlineSeconds": 30}));
    assert_eq!(world.settle(), Some(Duration::from_secs(30)));
    world.wait(29);
    assert_eq!(world.settle(), Some(Duration::from_secs(1)));
    world.wait(1);
    world.settle();
    world.phase(1, "Failed");
    world.settle();
    assert_eq!(world.conditions()[1], "Failed=True DeadlineExceeded");
    assert_eq!(world.message(), "Job was active longer than specified deadline");
}

/// R16.4: restarts of every container of running Pods, sidecars included.
#[test]
fn restarts_count_with_on_failure() {
    let restarted = |limit: i32, app: i32, side: i32| {
        let mut world = World::new(json!({"completions": 1, "backoffLimit": limit}));
        world
            .edit("template", json!({"spec": {"restartPolicy": "OnFailure", "containers": [{"name": "c"}]}}));
        world.settle();
        let one = |name: &str, count: i32| json!({"name": name, "image": "", "imageID": "", "ready": true, "restartCount": count});
        let status = json!({"phase": "Running", "containerStatuses": [one("c", app)], "initContainerStatuses": [one("s", side)]});
        world.change("u1", |pod| pod.status = Some(serde_json::from_value(status).unwrap()));
        world.settle();
        !world.conditions().is_empty()
    };
    assert!(!restarted(0, 0, 0));
    assert!(restarted(0, 0, 1));
    assert!(!restarted(3, 1, 1));
    assert!(restarted(3, 1, 2));
}

/// R16.6: who is replaced while it is still leaving.
#[test]
fn deleted_pods_are_replaced_at_once_or_when_gone() {
    let made = |policy: &str| {
        let mut world = World::new(json!({"completions": 1, "podReplacementPolicy": policy}));
        world.settle();
        let pod = world.pods[0].clone();
        world.take(Step::Delete(pod));
        world.settle();
        world.wait(60);
        world.settle();
        let before = world.made;
        let status = world.status();
        assert_eq!(status["terminating"], 1);
        world.phase(1, "Failed");
        world.settle();
        world.wait(60);
        world.settle();
        (before, world.made, world.status()["failed"].as_i64(), world.pods.len())
    };
    assert_eq!(made("TerminatingOrFailed"), (2, 2, Some(1), 1));
    assert_eq!(made("Failed"), (1, 2, Some(1), 1));
}

/// N6, R16.5, R16.6: the first rule that matches decides.
#[test]
fn pod_failure_policy() {
    let rules = json!({"rules": [
        {"action": "FailJob", "onExitCodes": {"containerName": "c", "operator": "In", "values": [42]}},
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "Ignore", "onExitCodes": {"operator": "NotIn", "values": [1, 42]}},
    ]});
    let world = || {
        let mut world = World::new(json!({"completions": 1, "backoffLimit": 0, "podFailurePolicy": rules,
            "podReplacementPolicy": "Failed"}));
        world.settle();
        world
    };
    let mut failed = world();
    failed.end(1, "Failed", 42);
    failed.settle();
    assert_eq!(failed.conditions()[1], "Failed=True PodFailurePolicy");
    assert_eq!(
        failed.message(),
        "Container c for pod ns/j-1 failed with exit code 42 matching FailJob rule at index 0"
    );
    let mut ignored = world();
    ignored.end(1, "Failed", 7);
    ignored.settle();
    assert_eq!((ignored.conditions().len(), ignored.status().get("failed")), (0, None));
    let mut disrupted = world();
    disrupted.end(1, "Failed", 1);
    disrupted.change("u1", |pod| {
        let conditions = json!([{"type": "DisruptionTarget", "status": "True"}]);
        pod.status.as_mut().unwrap().conditions = serde_json::from_value(conditions).unwrap();
    });
    disrupted.settle();
    assert_eq!(disrupted.conditions().len(), 0);
    let mut counted = world();
    counted.end(1, "Failed", 1);
    counted.settle();
    assert_eq!(counted.conditions()[1], "Failed=True BackoffLimitExceeded");
}
