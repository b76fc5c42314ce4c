//! Jobs that number their Pods.

use super::*;

fn world(more: Value) -> World {
    let mut spec = json!({"completionMode": "Indexed", "completions": 3, "parallelism": 3});
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    World::new(spec)
}

/// N6: names, host names, and how a Pod learns its index.
#[test]
fn pods_know_their_index() {
    let mut world = world(json!({}));
    world.settle();
    assert_eq!(world.names(), ["j-0-1", "j-1-2", "j-2-3"]);
    let pod = serde_json::to_value(&*world.pods[1]).unwrap();
    assert_eq!(pod["spec"]["hostname"], "j-1");
    assert_eq!(pod["metadata"]["labels"][INDEX], "1");
    assert_eq!(pod["metadata"]["annotations"][INDEX], "1");
    let env = json!([{"name": "JOB_COMPLETION_INDEX", "valueFrom": {"fieldRef":
        {"fieldPath": "metadata.labels['batch.kubernetes.io/job-completion-index']"}}}]);
    assert_eq!(pod["spec"]["containers"][0]["env"], env);
}

/// N6: each index must succeed once; a failed one is tried again.
#[test]
fn every_index_succeeds_once() {
    let mut world = world(json!({}));
    world.settle();
    world.phase(3, "Succeeded");
    world.phase(1, "Failed");
    world.settle();
    assert_eq!(world.status()["completedIndexes"], "2");
    world.wait(10);
    world.settle();
    assert_eq!(world.names(), ["j-1-2", "j-0-4"]);
    world.phase(2, "Succeeded");
    world.phase(4, "Succeeded");
    world.settle();
    let status = world.status();
    assert_eq!(
        (&status["completedIndexes"], &status["succeeded"], &status["failed"]),
        (&json!("0-2"), &json!(3), &json!(1))
    );
    assert_eq!(world.conditions()[1], "Complete=True CompletionsReached");
}

/// N6: two Pods of one index are one too many.
#[test]
fn a_double_is_removed() {
    let mut world = world(json!({"parallelism": 2}));
    world.settle();
    let mut double = (*world.pods[0]).clone();
    double.metadata.generate_name = Some("j-0-".to_owned());
    world.take(Step::Create(Box::new(double)));
    world.settle();
    assert_eq!(world.names().len(), 2);
    let mut indexes: Vec<_> =
        world.pods.iter().filter(|pod| pods::is_active(pod)).filter_map(|pod| count::index_of(pod)).collect();
    indexes.sort_unstable();
    assert_eq!(indexes, [0, 1]);
}

/// N6: enough is enough, whatever still runs.
#[test]
fn success_policy() {
    let mut world = world(
        json!({"successPolicy": {"rules": [{"succeededIndexes": "0-1", "succeededCount": 2}, {"succeededIndexes": "2"}]}}),
    );
    world.settle();
    world.phase(1, "Succeeded");
    world.settle();
    assert!(world.conditions().is_empty());
    world.phase(3, "Succeeded");
    world.settle();
    assert_eq!(world.conditions(), ["SuccessCriteriaMet=True SuccessPolicy"]);
    world.phase(2, "Failed");
    world.settle();
    assert_eq!(world.conditions()[1], "Complete=True SuccessPolicy");
    assert_eq!(world.message(), "Matched rules at index 1");
}

/// N6: `backoffLimitPerIndex`: each index has failures of its own, and remembers them on its Pods.
#[test]
fn indexes_fail_alone() {
    let mut world = world(
        json!({"backoffLimitPerIndex": 1, "backoffLimit": i32::MAX, "completions": 2, "parallelism": 2}),
    );
    world.settle();
    assert_eq!(pods::annotation(&world.pods[0].metadata, FAILURE_COUNT), Some("0"));
    world.phase(1, "Failed");
    assert_eq!(world.settle(), Some(Duration::from_secs(10)));
    assert!(is_tracked(&world.pods[0]), "kept until its replacement knows of it");
    assert_eq!(world.names(), ["j-1-2"]);
    world.wait(10);
    world.settle();
    assert_eq!(pods::annotation(&world.pods[2].metadata, FAILURE_COUNT), Some("1"));
    assert_eq!(world.status()["failed"], 1);
    world.phase(3, "Failed");
    world.settle();
    assert_eq!(world.status()["failedIndexes"], "0");
    world.wait(1000);
    world.settle();
    assert_eq!(world.names(), ["j-1-2"], "a failed index is not tried again");
    world.phase(2, "Succeeded");
    world.settle();
    assert_eq!(world.conditions(), ["FailureTarget=True FailedIndexes", "Failed=True FailedIndexes"]);
    assert_eq!(world.message(), "Job has failed indexes");
    let status = world.status();
    assert_eq!((&status["failed"], &status["succeeded"]), (&json!(2), &json!(1)));
}

/// N6.
#[test]
fn too_many_failed_indexes() {
    let mut world =
        world(json!({"backoffLimitPerIndex": 0, "backoffLimit": i32::MAX, "maxFailedIndexes": 1}));
    world.settle();
    world.phase(1, "Failed");
    world.settle();
    assert!(world.conditions().is_empty());
    world.phase(2, "Failed");
    world.settle();
    assert_eq!(world.conditions(), ["FailureTarget=True MaxFailedIndexesExceeded"]);
}
