//! StatefulSets in memory: the test plays the API server and the node.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

struct World {
    set: StatefulSet,
    templates: BTreeMap<String, PodTemplateSpec>,
    current: String,
    update: String,
    pods: Vec<Arc<Pod>>,
    made: usize,
    now: WallTime,
}

impl World {
    fn new(replicas: i32, more: Value) -> Self {
        let mut spec = json!({"replicas": replicas, "serviceName": "svc", "podManagementPolicy": "OrderedReady",
            "selector": {"matchLabels": {"app": "db"}},
            "template": {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": []}},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}});
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        let set: StatefulSet = serde_json::from_value(
            json!({"metadata": {"name": "db", "namespace": "ns", "uid": "s", "generation": 1}, "spec": spec}),
        )
        .unwrap();
        let template = set.spec.as_ref().unwrap().template.clone();
        Self {
            set,
            templates: BTreeMap::from([("r1".to_owned(), template.clone()), ("r2".to_owned(), template)]),
            current: "r1".to_owned(),
            update: "r1".to_owned(),
            pods: Vec::new(),
            made: 0,
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
        }
    }

    fn decide(&self) -> Decision {
        decide(&Input {
            set: &self.set,
            pods: &self.pods,
            current: (&self.current, &self.templates[&self.current]),
            update: (&self.update, &self.templates[&self.update]),
            now: self.now,
        })
    }

    /// One turn, of which the first `writes` happen. What was created is returned.
    fn turn(&mut self, writes: usize) -> Vec<i32> {
        let decision = self.decide();
        let mut created = Vec::new();
        let mut left = writes;
        for (_, pod) in decision.create {
            // The API server refuses a name that is taken.
            if left == 0 || self.find(pods::name(&pod)).is_some() {
                break;
            }
            left -= 1;
            self.made += 1;
            let mut pod = pod;
            pod.metadata.uid = Some(format!("u{}", self.made));
            created.extend(ordinal(&self.set, &pod));
            self.pods.push(Arc::new(pod));
        }
        for pod in decision.delete.into_iter().take(left) {
            left -= 1;
            let now = self.now;
            self.change(pods::name(&pod), |pod| {
                pod.metadata.deletion_timestamp =
                    Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now));
            });
        }
        if let Some(status) = decision.status.filter(|_| left > 0) {
            self.current.clone_from(status.current_revision.as_ref().unwrap());
            self.set.status = Some(status);
        }
        created
    }

    fn find(&self, name: &str) -> Option<&Arc<Pod>> {
        self.pods.iter().find(|pod| pods::name(pod) == name)
    }

    fn change(&mut self, name: &str, change: impl FnOnce(&mut Pod)) {
        if let Some(pod) = self.pods.iter_mut().find(|pod| pods::name(pod) == name) {
            change(Arc::make_mut(pod));
        }
    }

    fn is(&mut self, name: &str, phase: &str, ready: bool) {
        let status = json!({"phase": phase, "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" },
            "lastTransitionTime": self.now.to_string()}]});
        self.change(name, |pod| pod.status = Some(serde_json::from_value(status).unwrap()));
    }

    /// The node lets go of Pods that are being deleted, and starts the others.
    fn node(&mut self) {
        self.pods.retain(|pod| !pods::is_deleting(pod));
        let names: Vec<String> = self
            .pods
            .iter()
            .filter(|pod| !pods::is_finished(pod))
            .map(|pod| pods::name(pod).to_owned())
            .collect();
        names.iter().for_each(|name| self.is(name, "Running", true));
    }

    fn settle(&mut self) {
        for _ in 0..100 {
            self.node();
            let decision = self.decide();
            if decision.create.is_empty() && decision.delete.is_empty() && decision.status.is_none() {
                return;
            }
            self.turn(usize::MAX);
        }
        panic!("it never settles");
    }

    fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.pods.iter().map(|pod| pods::name(pod)).collect();
        names.sort_unstable();
        names
    }

    fn spec(&mut self) -> &mut StatefulSetSpec {
        self.set.spec.as_mut().unwrap()
    }
}

/// N4: identity of Pods and claims.
#[test]
fn identity_of_a_pod() {
    let template = json!([{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}]);
    let world = World::new(
        1,
        json!({"ordinals": {"start": 3}, "volumeClaimTemplates": template,
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete", "whenScaled": "Delete"}}),
    );
    let (claims, pod) = world.decide().create.remove(0);
    let pod = serde_json::to_value(pod).unwrap();
    assert_eq!(pod["metadata"]["name"], "db-3");
    assert_eq!(
        pod["metadata"]["labels"],
        json!({"app": "db", "statefulset.kubernetes.io/pod-name": "db-3",
        "apps.kubernetes.io/pod-index": "3", "controller-revision-hash": "r1"})
    );
    assert_eq!((&pod["spec"]["hostname"], &pod["spec"]["subdomain"]), (&json!("db-3"), &json!("svc")));
    assert_eq!(
        pod["spec"]["volumes"],
        json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data-db-3"}}])
    );
    let claim = serde_json::to_value(&claims[0]).unwrap();
    assert_eq!(
        (&claim["metadata"]["name"], &claim["metadata"]["labels"]),
        (&json!("data-db-3"), &json!({"app": "db"}))
    );
    assert_eq!(
        claim["metadata"]["ownerReferences"],
        json!([{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "s"}])
    );
    let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "db-9", "uid": "p"}})).unwrap();
    let spec = world.set.spec.as_ref().unwrap();
    assert_eq!(claim_owners(&world.set, spec, Some(&pod))[0].kind, "Pod");
    assert_eq!(ordinal(&world.set, &pod), Some(9));
    for other in ["db-09", "db-x", "db", "other-1"] {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": other}})).unwrap();
        assert_eq!(ordinal(&world.set, &pod), None, "{other}");
    }
}

/// N4, R16.8: up in order, each ready before the next; down in reverse.
#[test]
fn ordered_up_and_down() {
    let mut world = World::new(3, json!({}));
    assert_eq!(world.turn(usize::MAX), [0]);
    assert!(world.turn(usize::MAX).is_empty());
    world.is("db-0", "Running", false);
    assert!(world.turn(usize::MAX).is_empty());
    world.is("db-0", "Running", true);
    assert_eq!(world.turn(usize::MAX), [1]);
    world.settle();
    let status = serde_json::to_value(&world.set.status).unwrap();
    assert_eq!(
        status,
        json!({"replicas": 3, "readyReplicas": 3, "availableReplicas": 3, "currentReplicas": 3,
        "updatedReplicas": 3, "currentRevision": "r1", "updateRevision": "r1", "collisionCount": 0, "observedGeneration": 1})
    );
    world.spec().replicas = Some(1);
    world.turn(usize::MAX);
    assert_eq!(
        world.pods.iter().filter(|pod| pods::is_deleting(pod)).map(|pod| pods::name(pod)).collect::<Vec<_>>(),
        ["db-2"]
    );
    assert!(world.decide().delete.is_empty(), "one at a time");
    world.settle();
    assert_eq!(world.names(), ["db-0"]);
}

/// N4: Parallel waits for nobody.
#[test]
fn parallel() {
    let mut world = World::new(3, json!({"podManagementPolicy": "Parallel"}));
    assert_eq!(world.turn(usize::MAX), [0, 1, 2]);
    world.spec().replicas = Some(0);
    assert_eq!(world.decide().delete.len(), 3);
}

/// N4: a Pod that ended is removed and comes back under its name.
#[test]
fn failed_pods_come_back() {
    let mut world = World::new(2, json!({}));
    world.settle();
    world.is("db-0", "Failed", false);
    let decision = world.decide();
    assert_eq!(
        decision.notes,
        [Note::warning("RecreatingFailedPod", "StatefulSet ns/db is recreating failed Pod db-0")]
    );
    world.turn(usize::MAX);
    assert!(world.turn(usize::MAX).is_empty(), "not before it is gone");
    world.settle();
    assert_eq!(world.names(), ["db-0", "db-1"]);
}

/// N4: from the highest ordinal down to the partition, each ready before the next.
#[test]
fn rolling_update_and_partition() {
    let mut world = World::new(
        3,
        json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}}),
    );
    world.settle();
    world.update = "r2".to_owned();
    world.turn(usize::MAX);
    let leaving = |world: &World| {
        world
            .pods
            .iter()
            .filter(|pod| pods::is_deleting(pod))
            .map(|pod| pods::name(pod).to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(leaving(&world), ["db-2"]);
    world.node();
    assert_eq!(world.turn(usize::MAX), [2]);
    assert_eq!(leaving(&world), Vec::<String>::new());
    world.settle();
    let revisions: Vec<&str> =
        ["db-0", "db-1", "db-2"].iter().map(|name| revision(world.find(name).unwrap())).collect();
    assert_eq!(revisions, ["r1", "r2", "r2"]);
    assert_eq!(world.current, "r1");
    world.change("db-0", |pod| pod.status.as_mut().unwrap().phase = Some("Failed".to_owned()));
    world.settle();
    assert_eq!(revision(world.find("db-0").unwrap()), "r1", "below the partition it stays what it was");
    world.spec().update_strategy = serde_json::from_value(json!({"type": "OnDelete"})).unwrap();
    world.settle();
    assert_eq!(revision(world.find("db-0").unwrap()), "r1");
    world.spec().update_strategy = serde_json::from_value(json!({"type": "RollingUpdate"})).unwrap();
    world.settle();
    assert_eq!((revision(world.find("db-0").unwrap()), world.current.as_str()), ("r2", "r2"));
}

proptest! {
    /// N4: whenever the controller dies and whatever the Pods do, none is made before the ones below it are ready,
    /// a name is never used twice at a time, and in the end all are there.
    #[test]
    fn order_holds_through_crashes(
        replicas in 1..5_i32,
        steps in proptest::collection::vec((0..4_usize, 0..6_usize, 0..5_i32), 1..50),
    ) {
        let mut world = World::new(replicas, json!({}));
        for (writes, what, who) in steps {
            let before: Vec<Arc<Pod>> = world.pods.clone();
            for made in world.turn(writes) {
                for below in 0..made {
                    let pod = before.iter().find(|pod| pods::name(pod) == format!("db-{below}"));
                    prop_assert!(pod.is_some_and(|pod| pods::is_ready(pod) && !pods::is_deleting(pod)), "{made} before {below}");
                }
            }
            let mut names = world.names();
            names.dedup();
            prop_assert_eq!(names.len(), world.pods.len());
            let name = format!("db-{who}");
            match what {
                0 => world.is(&name, "Running", true),
                1 => world.is(&name, "Running", false),
                2 => world.is(&name, "Failed", false),
                3 => world.spec().replicas = Some(who),
                4 => world.pods.retain(|pod| pods::name(pod) != name || !pods::is_deleting(pod)),
                _ => world.update = if world.update == "r1" { "r2".to_owned() } else { "r1".to_owned() },
            }
        }
        world.spec().replicas = Some(replicas);
        world.settle();
        prop_assert_eq!(world.pods.len(), usize::try_from(replicas).unwrap());
        prop_assert!(world.pods.iter().all(|pod| revision(pod) == world.update));
    }
}
