//! DaemonSets in memory.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

struct World {
    set: DaemonSet,
    nodes: BTreeMap<String, Fit>,
    pods: Vec<Arc<Pod>>,
    failures: HashMap<String, Failures>,
    hash: String,
    made: usize,
    now: WallTime,
}

impl World {
    fn new(nodes: usize, more: Value) -> Self {
        let mut spec = json!({"selector": {"matchLabels": {"app": "d"}},
            "template": {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": []}},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}}});
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        let set =
            json!({"metadata": {"name": "d", "namespace": "ns", "uid": "u", "generation": 1}, "spec": spec});
        Self {
            set: serde_json::from_value(set).unwrap(),
            nodes: (0..nodes).map(|at| (format!("n{at}"), Fit::Runs)).collect(),
            pods: Vec::new(),
            failures: HashMap::new(),
            hash: "h1".to_owned(),
            made: 0,
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
        }
    }

    fn decide(&self) -> Decision {
        decide(&Input {
            set: &self.set,
            pods: &self.pods,
            nodes: &self.nodes,
            hash: &self.hash,
            failures: &self.failures,
            now: self.now,
        })
    }

    /// One turn, of which the first `writes` happen.
    fn turn(&mut self, writes: usize) {
        let decision = self.decide();
        let mut left = writes;
        for pod in decision.delete.into_iter().take(left) {
            left -= 1;
            let now = self.now;
            self.change(pods::uid(&pod).to_owned().as_str(), |pod| {
                pod.metadata.deletion_timestamp = Some(Time(now));
            });
        }
        for mut pod in decision.create.into_iter().take(left) {
            left -= 1;
            self.made += 1;
            pod.metadata.uid = Some(format!("u{}", self.made));
            pod.metadata.name = Some(format!("d-{}", self.made));
            self.pods.push(Arc::new(pod));
        }
        for node in decision.failed_on {
            let known = self.failures.get(&node).map_or(0, |known| known.count);
            self.failures.insert(node, Failures { count: known + 1, last: self.now });
        }
        if let Some(status) = decision.status.filter(|_| left > 0) {
            self.set.status = Some(status);
        }
    }

    fn change(&mut self, uid: &str, change: impl FnOnce(&mut Pod)) {
        if let Some(pod) = self.pods.iter_mut().find(|pod| pods::uid(pod) == uid) {
            change(Arc::make_mut(pod));
        }
    }

    fn is(&mut self, uid: &str, phase: &str, ready: bool) {
        let status = json!({"phase": phase, "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" },
            "lastTransitionTime": self.now.to_string()}]});
        self.change(uid, |pod| pod.status = Some(serde_json::from_value(status).unwrap()));
    }

    /// Nodes let go of Pods and start others.
    fn node(&mut self) {
        self.pods.retain(|pod| !pods::is_deleting(pod));
        let uids: Vec<String> = self
            .pods
            .iter()
            .filter(|pod| !pods::is_finished(pod))
            .map(|pod| pods::uid(pod).to_owned())
            .collect();
        uids.iter().for_each(|uid| self.is(uid, "Running", true));
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

    fn on(&self, node: &str) -> Vec<&str> {
        self.pods.iter().filter(|pod| target(pod) == Some(node)).map(|pod| pods::uid(pod)).collect()
    }
}

/// N5: one Pod on each node, meant for it and putting up with what nodes go through.
#[test]
fn one_on_each_node() {
    let mut world = World::new(2, json!({}));
    world.nodes.insert("away".to_owned(), Fit::No);
    world.settle();
    assert_eq!((world.on("n0").len(), world.on("n1").len(), world.on("away").len()), (1, 1, 0));
    let pod = serde_json::to_value(&*world.pods[0]).unwrap();
    let term = &pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
        [0];
    assert_eq!(*term, json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n0"]}]}));
    let tolerations = pod["spec"]["tolerations"].as_array().unwrap();
    assert_eq!(tolerations.len(), 6);
    assert!(tolerations.contains(
        &json!({"key": "node.kubernetes.io/unschedulable", "operator": "Exists", "effect": "NoSchedule"})
    ));
    assert_eq!(
        pod["metadata"]["labels"],
        json!({"app": "d", "controller-revision-hash": "h1", "pod-template-generation": "1"})
    );
    assert_eq!(automatic(true).len(), 7);
    let status = serde_json::to_value(&world.set.status).unwrap();
    assert_eq!(
        status,
        json!({"desiredNumberScheduled": 2, "currentNumberScheduled": 2, "numberReady": 2,
        "numberAvailable": 2, "numberMisscheduled": 0, "updatedNumberScheduled": 2, "observedGeneration": 1})
    );
    world.nodes.insert("n0".to_owned(), Fit::Stays);
    world.nodes.insert("n1".to_owned(), Fit::No);
    world.turn(usize::MAX);
    assert!(!pods::is_deleting(&world.pods[0]) && pods::is_deleting(&world.pods[1]));
    assert_eq!(world.set.status.as_ref().unwrap().number_misscheduled, 2);
}

/// R16.9: what ended is removed and comes back, later each time.
#[test]
fn failed_pods_come_back_later_each_time() {
    let mut world = World::new(1, json!({}));
    world.settle();
    world.is("u1", "Failed", false);
    let note =
        Note::warning("FailedDaemonPod", "Found failed daemon pod ns/d-1 on node n0, will try to kill it");
    assert_eq!(world.decide().notes, [note]);
    world.settle();
    assert_eq!(world.on("n0"), ["u2"]);
    world.is("u2", "Failed", false);
    assert_eq!((world.decide().delete.len(), world.decide().again), (0, Some(Duration::from_secs(1))));
    world.now += SignedDuration::from_secs(1);
    world.settle();
    world.is("u3", "Failed", false);
    assert_eq!(world.decide().again, Some(Duration::from_secs(2)));
    world.is("u3", "Succeeded", false);
    let note = Note::normal(
        "SucceededDaemonPod",
        "Found succeeded daemon pod ns/d-3 on node n0, will try to kill it",
    );
    assert_eq!(world.decide().notes, [note]);
}

/// N5: with a surge the new one is there before the old one goes.
#[test]
fn surge() {
    let mut world = World::new(
        2,
        json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}}),
    );
    world.settle();
    world.hash = "h2".to_owned();
    world.turn(usize::MAX);
    assert_eq!(world.on("n0"), ["u1", "u3"]);
    assert_eq!(world.decide().delete.len(), 0);
    world.is("u3", "Running", true);
    assert_eq!(pods::uid(&world.decide().delete[0]), "u1");
    world.settle();
    assert!(world.pods.iter().all(|pod| revision(pod) == "h2") && world.pods.len() == 2);
}

/// N5: OnDelete waits to be asked.
#[test]
fn on_delete() {
    let mut world = World::new(1, json!({"updateStrategy": {"type": "OnDelete"}}));
    world.settle();
    world.hash = "h2".to_owned();
    world.settle();
    assert_eq!(revision(&world.pods[0]), "h1");
}

proptest! {
    /// N5: through crashes and failures no node has two Pods, no more are missing than may, and all end up new.
    #[test]
    fn updates_keep_their_bounds(
        nodes in 1..6_usize,
        unavailable in 1..3_i32,
        steps in proptest::collection::vec((0..5_usize, 0..4_usize), 1..30),
    ) {
        let mut world = World::new(nodes, json!({"updateStrategy": {"type": "RollingUpdate",
            "rollingUpdate": {"maxUnavailable": unavailable, "maxSurge": 0}}}));
        world.settle();
        world.hash = "h2".to_owned();
        for (writes, what) in steps {
            world.turn(writes);
            if what == 0 {
                world.node();
            }
            let available = world.pods.iter().filter(|pod| pods::is_ready(pod) && !pods::is_deleting(pod)).count();
            prop_assert!(available + usize::try_from(unavailable).unwrap() >= nodes, "{available} of {nodes}");
            for node in world.nodes.keys() {
                prop_assert!(world.on(node).len() <= 1, "two on {node}");
            }
        }
        world.settle();
        prop_assert!(world.pods.len() == nodes && world.pods.iter().all(|pod| revision(pod) == "h2"));
    }
}
