//! Deployments in memory: the test plays the API server, the ReplicaSet controller and the Pods.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::replica_set;

struct World {
    deployment: Deployment,
    sets: Vec<Arc<ReplicaSet>>,
    now: WallTime,
    made: u32,
    told: Vec<String>,
}

impl World {
    fn new(replicas: i32, more: Value) -> Self {
        let mut spec = json!({"replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "v1"}]}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
            "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600});
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        let whole = json!({"metadata": {"name": "web", "namespace": "ns", "uid": "d", "generation": 1}, "spec": spec});
        let deployment = serde_json::from_value(whole).unwrap();
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        Self { deployment, sets: Vec::new(), now, made: 0, told: Vec::new() }
    }

    fn edit(&mut self, pointer: &str, value: Value) {
        let mut whole = serde_json::to_value(&self.deployment).unwrap();
        *whole.pointer_mut(pointer).unwrap() = value;
        let generation = whole["metadata"]["generation"].as_i64().unwrap();
        whole["metadata"]["generation"] = json!(generation + 1);
        self.deployment = serde_json::from_value(whole).unwrap();
    }

    fn image(&mut self, image: &str) {
        self.edit("/spec/template/spec/containers/0/image", json!(image));
    }

    /// The Pods of each set are there, and so many of them available.
    fn pods(&mut self, available: impl Fn(&ReplicaSet) -> i32) {
        for set in &mut self.sets {
            let (size, available) = (size(set), available(set));
            let set = Arc::make_mut(set);
            let status = set.status.get_or_insert_default();
            status.replicas = size;
            status.ready_replicas = Some(available.min(size));
            status.available_replicas = Some(available.min(size));
            status.observed_generation = set.metadata.generation;
        }
    }

    /// One turn, of which the first `writes` happen.
    fn turn(&mut self, writes: usize) -> Decision {
        let decision =
            decide(&Input { deployment: &self.deployment, sets: &self.sets, pods: &[], now: self.now });
        let mut left = writes;
        let mut may = || {
            let may = left > 0;
            left = left.saturating_sub(1);
            may
        };
        if let Some(set) = decision.create.clone().filter(|_| may()) {
            self.made += 1;
            let mut set = *set;
            set.metadata.uid = Some(format!("rs{}", self.made));
            set.metadata.creation_timestamp =
                Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(self.now));
            self.sets.push(Arc::new(set));
        }
        for set in &decision.update {
            if let Some(stored) =
                self.sets.iter_mut().find(|stored| stored.metadata.uid == set.metadata.uid && may())
            {
                *stored = Arc::new(set.clone());
            }
        }
        let gone: Vec<_> =
            decision.delete.iter().map(|set| set.metadata.uid.clone()).filter(|_| may()).collect();
        self.sets.retain(|set| !gone.contains(&set.metadata.uid));
        if let Some(status) = decision.status.clone().filter(|_| may()) {
            self.deployment.status = Some(status);
            if let Some(revision) = &decision.revision {
                let annotations = self.deployment.metadata.annotations.get_or_insert_default();
                annotations.insert(REVISION.to_owned(), revision.clone());
            }
        }
        self.told.extend(decision.notes.iter().map(|note| note.message.clone()));
        decision
    }

    /// Everything that is asked for comes up, until nothing changes.
    fn settle(&mut self) {
        for _ in 0..100 {
            self.pods(size);
            let decision = self.turn(usize::MAX);
            if decision == (Decision { again: decision.again, ..Decision::default() }) {
                return;
            }
            self.now += jiff::SignedDuration::from_secs(1);
        }
        panic!("it never settles");
    }

    fn condition(&self, kind: &str) -> String {
        let all = self.deployment.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let found = all.filter(|one| one.type_ == kind);
        found
            .map(|one| {
                format!("{} {}: {}", one.status, one.reason.clone().unwrap(), one.message.clone().unwrap())
            })
            .collect()
    }

    fn name(&self, at: usize) -> &str {
        self.sets[at].metadata.name.as_deref().unwrap()
    }

    fn sizes(&self) -> Vec<i32> {
        self.sets.iter().map(|set| size(set)).collect()
    }

    fn annotation(&self, at: usize, key: &str) -> Option<&str> {
        pods::annotation(&self.sets[at].metadata, key)
    }
}

/// N2: the first rollout: names, labels, annotations, events, conditions, status.
#[test]
fn first_rollout() {
    let mut world = World::new(4, json!({}));
    world.turn(usize::MAX);
    let set = &world.sets[0];
    let hash = pods::label(&set.metadata, HASH).unwrap().to_owned();
    assert_eq!(world.name(0), format!("web-{hash}"));
    let spec = set.spec.as_ref().unwrap();
    assert_eq!(spec.selector.match_labels.as_ref().unwrap()[HASH], hash);
    assert_eq!(
        pods::label(spec.template.as_ref().unwrap().metadata.as_ref().unwrap(), HASH),
        Some(hash.as_str())
    );
    let owner = pods::controller_of(&set.metadata).unwrap();
    assert_eq!((owner.kind.as_str(), owner.uid.as_str()), ("Deployment", "d"));
    let noted = [REVISION, DESIRED, MAX].map(|key| world.annotation(0, key).unwrap());
    assert_eq!(noted, ["1", "4", "5"]);
    assert_eq!(world.told, [format!("Scaled up replica set web-{hash} from 0 to 4")]);
    assert_eq!(
        world.condition("Progressing"),
        format!("True NewReplicaSetCreated: Created new replica set \"web-{hash}\"")
    );
    assert_eq!(
        world.condition("Available"),
        "False MinimumReplicasUnavailable: Deployment does not have minimum availability."
    );
    world.pods(|_| 2);
    world.turn(usize::MAX);
    assert_eq!(
        world.condition("Progressing"),
        format!("True ReplicaSetUpdated: ReplicaSet \"web-{hash}\" is progressing.")
    );
    world.settle();
    assert_eq!(
        world.condition("Progressing"),
        format!("True NewReplicaSetAvailable: ReplicaSet \"web-{hash}\" has successfully progressed.")
    );
    assert_eq!(
        world.condition("Available"),
        "True MinimumReplicasAvailable: Deployment has minimum availability."
    );
    let mut status = serde_json::to_value(&world.deployment.status).unwrap();
    status.as_object_mut().unwrap().remove("conditions");
    assert_eq!(
        status,
        json!({"observedGeneration": 1, "replicas": 4, "updatedReplicas": 4, "readyReplicas": 4,
        "availableReplicas": 4, "terminatingReplicas": 0})
    );
    assert_eq!(pods::annotation(&world.deployment.metadata, REVISION), Some("1"));
}

/// N2: steps of a rolling update, and rolling back to a set that is still there.
#[test]
fn rolls_forward_and_back() {
    let mut world = World::new(4, json!({}));
    world.settle();
    world.image("v2");
    world.turn(usize::MAX);
    assert_eq!(world.sizes(), [4, 1], "one more than asked for");
    world.pods(|set| if set.metadata.uid.as_deref() == Some("rs1") { 4 } else { 0 });
    world.turn(usize::MAX);
    assert_eq!(world.sizes(), [3, 1], "one may be missing");
    world.settle();
    assert_eq!(world.sizes(), [0, 4]);
    assert_eq!(world.annotation(1, REVISION), Some("2"));
    world.image("v1");
    world.settle();
    assert_eq!((world.sizes(), world.sets.len()), (vec![4, 0], 2));
    assert_eq!((world.annotation(0, REVISION), world.annotation(0, HISTORY)), (Some("3"), Some("1")));
    assert_eq!(pods::annotation(&world.deployment.metadata, REVISION), Some("3"));
}

/// N2: broken Pods of an old set go first, whatever is available.
#[test]
fn broken_old_pods_go_first() {
    let mut world = World::new(4, json!({}));
    world.settle();
    world.image("broken");
    world.turn(usize::MAX);
    world.pods(|set| if set.metadata.uid.as_deref() == Some("rs1") { 4 } else { 0 });
    world.turn(usize::MAX);
    world.pods(|set| if set.metadata.uid.as_deref() == Some("rs1") { 3 } else { 0 });
    world.turn(usize::MAX);
    world.image("v3");
    world.turn(usize::MAX);
    world.turn(usize::MAX);
    assert_eq!(world.sizes(), [3, 0, 0], "room is made before the third set grows");
    world.turn(usize::MAX);
    assert_eq!(world.sizes()[2], 2);
}

/// N2: Recreate.
#[test]
fn recreate_waits_for_old_pods() {
    let mut world = World::new(2, json!({"strategy": {"type": "Recreate"}}));
    world.settle();
    world.image("v2");
    world.turn(usize::MAX);
    assert_eq!(world.sizes(), [0]);
    let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p", "ownerReferences":
        [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "x", "uid": "rs1", "controller": true}]}}))
    .unwrap();
    let pods = [Arc::new(pod)];
    let waiting =
        decide(&Input { deployment: &world.deployment, sets: &world.sets, pods: &pods, now: world.now });
    assert_eq!(waiting.create, None);
    world.settle();
    assert_eq!(world.sizes(), [0, 2]);
}

/// N2: scaling in the middle of a rollout is proportional; scaling alone keeps one set.
#[test]
fn scaling_is_proportional() {
    let mut world = World::new(
        10,
        json!({"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}}}),
    );
    world.settle();
    world.image("v2");
    world.turn(usize::MAX);
    world.pods(|set| if set.metadata.uid.as_deref() == Some("rs1") { 10 } else { 0 });
    world.turn(usize::MAX);
    world.pods(|set| if set.metadata.uid.as_deref() == Some("rs1") { 8 } else { 0 });
    world.turn(usize::MAX);
    assert_eq!(world.sizes(), [8, 5]);
    world.edit("/spec/replicas", json!(15));
    world.turn(usize::MAX);
    assert_eq!(world.sizes(), [11, 7]);
    let mut alone = World::new(2, json!({}));
    alone.settle();
    alone.edit("/spec/replicas", json!(5));
    alone.turn(usize::MAX);
    assert_eq!(
        (alone.sizes(), alone.annotation(0, DESIRED), alone.annotation(0, MAX)),
        (vec![5], Some("5"), Some("7"))
    );
    alone.edit("/spec/replicas", json!(0));
    alone.settle();
    assert_eq!(alone.sizes(), [0]);
}

/// N2: paused: no rollout, but scaling.
#[test]
fn paused_and_resumed() {
    let mut world = World::new(2, json!({"paused": false}));
    world.settle();
    world.edit("/spec/paused", json!(true));
    world.image("v2");
    world.settle();
    assert_eq!(
        (world.sizes(), world.condition("Progressing")),
        (vec![2], "Unknown DeploymentPaused: Deployment is paused".to_owned())
    );
    world.edit("/spec/replicas", json!(3));
    world.settle();
    assert_eq!(world.sizes(), [3]);
    world.edit("/spec/paused", json!(false));
    world.settle();
    assert_eq!(world.sizes(), [0, 3]);
}

/// N2: a rollout that stands still for too long.
#[test]
fn progress_deadline() {
    let mut world = World::new(1, json!({"progressDeadlineSeconds": 10}));
    world.turn(usize::MAX);
    world.pods(|_| 0);
    world.turn(usize::MAX);
    assert_eq!(world.turn(usize::MAX).again, Some(Duration::from_secs(11)));
    world.now += jiff::SignedDuration::from_secs(11);
    world.turn(usize::MAX);
    let text = format!(
        "False ProgressDeadlineExceeded: ReplicaSet \"{}\" has timed out progressing.",
        world.name(0)
    );
    assert_eq!(world.condition("Progressing"), text);
    world.settle();
    assert!(world.condition("Progressing").starts_with("True NewReplicaSetAvailable"));
}

/// N2: failures of a set are the Deployment's; old sets beyond the limit go.
#[test]
fn failures_and_history() {
    let mut world = World::new(1, json!({"revisionHistoryLimit": 1}));
    world.turn(usize::MAX);
    let failure = Some(("FailedCreate", "pods \"web-x-\" is forbidden: no".to_owned()));
    let (status, _) = replica_set::status(&world.sets[0], &[], failure, world.now);
    Arc::make_mut(&mut world.sets[0]).status = Some(status);
    world.turn(usize::MAX);
    assert_eq!(world.condition("ReplicaFailure"), "True FailedCreate: pods \"web-x-\" is forbidden: no");
    let (status, _) = replica_set::status(&world.sets[0], &[], None, world.now);
    Arc::make_mut(&mut world.sets[0]).status = Some(status);
    for image in ["v2", "v3", "v4"] {
        world.settle();
        world.image(image);
    }
    world.settle();
    assert_eq!(world.condition("ReplicaFailure"), "");
    let revisions: Vec<_> = (0..world.sets.len()).map(|at| world.annotation(at, REVISION).unwrap()).collect();
    assert_eq!(revisions, ["3", "4"]);
}

proptest! {
    /// N2: whatever is asked for and whenever the controller dies, the bounds hold and the end is reached.
    #[test]
    fn bounds_hold_through_crashes(
        replicas in 1..8_i32,
        surge in 0..4_i32,
        unavailable in 0..4_i32,
        steps in proptest::collection::vec((0..3_usize, 0..8_i32), 1..40),
    ) {
        let mut world = World::new(replicas, json!({"strategy": {"type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable.max(i32::from(surge == 0))}}}));
        world.settle();
        let (most, least) = (replicas + surge, replicas - unavailable.max(i32::from(surge == 0)));
        let mut version = 1;
        for (writes, lucky) in steps {
            if lucky == 7 {
                version += 1;
                world.image(&format!("v{version}"));
            }
            world.turn(writes);
            // Pods that were available stay so; new ones come up one by one.
            let before: Vec<i32> = world.sets.iter().map(|set| available(set)).collect();
            let sets = world.sets.clone();
            world.pods(|set| {
                let at = sets.iter().position(|one| one.metadata.uid == set.metadata.uid).unwrap();
                (before[at] + lucky % 3).min(size(set))
            });
            let (all, up): (i32, i32) = (world.sizes().iter().sum(), world.sets.iter().map(|set| available(set)).sum());
            prop_assert!(all <= most, "{all} of {most}");
            prop_assert!(up >= least.max(0), "{up} of {least}");
        }
        world.settle();
        let last = world.sets.iter().find(|set| is_ours(&world.deployment, set)).unwrap();
        prop_assert_eq!(size(last), replicas);
        prop_assert_eq!(world.sizes().iter().sum::<i32>(), replicas);
    }
}
