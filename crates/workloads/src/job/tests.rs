//! A Job's world in memory: the test plays the API server and the kubelet, the decision plays itself.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::batch::v1::{Job, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use outrigger_api::WallTime;
use serde_json::{Value, json};

use super::*;

mod crashes;
mod failures;
mod indexed;

struct World {
    job: Job,
    pods: Vec<Arc<Pod>>,
    now: WallTime,
    backoff: Option<Backoff>,
    made: usize,
    told: Vec<String>,
}

/// One write that a decision asks for.
#[derive(Clone, Debug)]
enum Step {
    Untrack(Arc<Pod>),
    Delete(Arc<Pod>),
    Create(Box<Pod>),
    Status(JobStatus),
}

impl World {
    fn new(spec: Value) -> Self {
        let mut whole = json!({"parallelism": 1, "backoffLimit": 6, "completionMode": "NonIndexed",
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"restartPolicy": "Never",
                "containers": [{"name": "c"}]}}});
        for (key, value) in spec.as_object().unwrap() {
            whole[key] = value.clone();
        }
        let job = json!({"metadata": {"name": "j", "namespace": "ns", "uid": "job"}, "spec": whole});
        Self {
            job: serde_json::from_value(job).unwrap(),
            pods: Vec::new(),
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            backoff: None,
            made: 0,
            told: Vec::new(),
        }
    }

    fn decide(&self) -> Decision {
        decide(&Input { job: &self.job, pods: &self.pods, backoff: self.backoff, now: self.now })
    }

    /// Takes turns until nothing is left to write.
    fn settle(&mut self) -> Option<Duration> {
        for _ in 0..100 {
            let decision = self.decide();
            let steps = steps(&decision);
            if steps.is_empty() {
                return decision.again;
            }
            for step in steps {
                self.take(step);
            }
            self.told.extend(decision.notes.iter().map(|note| note.reason.clone()));
            self.backoff = Some(decision.backoff);
        }
        panic!("it never settles: {:?}", self.decide());
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Untrack(pod) => {
                self.change(pods::uid(&pod).to_owned().as_str(), |pod| pod.metadata.finalizers = None);
                self.collect();
            }
            Step::Delete(pod) => {
                let now = self.now;
                self.change(pods::uid(&pod).to_owned().as_str(), |pod| {
                    pod.metadata.deletion_timestamp.get_or_insert(Time(now));
                });
                self.collect();
            }
            Step::Create(mut pod) => {
                self.made += 1;
                let prefix = pod.metadata.generate_name.take().unwrap();
                pod.metadata.name = Some(format!("{prefix}{}", self.made));
                pod.metadata.uid = Some(format!("u{}", self.made));
                pod.metadata.creation_timestamp = Some(Time(self.now));
                self.pods.push(Arc::new(*pod));
                self.phase(self.made, "Running");
            }
            Step::Status(status) => self.job.status = Some(status),
        }
    }

    fn change(&mut self, uid: &str, change: impl FnOnce(&mut Pod)) {
        if let Some(pod) = self.pods.iter_mut().find(|pod| pods::uid(pod) == uid) {
            change(Arc::make_mut(pod));
        }
    }

    /// A Pod whose containers have ended goes once nobody holds it.
    fn collect(&mut self) {
        self.pods.retain(|pod| {
            !(pods::is_deleting(pod) && pods::is_finished(pod) && pod.metadata.finalizers.is_none())
        });
    }

    /// The nth Pod made reaches a phase.
    fn phase(&mut self, number: usize, phase: &str) {
        self.end(number, phase, i32::from(phase == "Failed"));
    }

    fn end(&mut self, number: usize, phase: &str, exit_code: i32) {
        let ended = matches!(phase, "Succeeded" | "Failed");
        let state = if ended {
            json!({"terminated": {"exitCode": exit_code, "finishedAt": self.now.to_string()}})
        } else {
            json!({"running": {}})
        };
        let status = json!({"phase": phase, "conditions": [{"type": "Ready", "status": if ended { "False" } else { "True" }}],
            "containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": !ended, "restartCount": 0, "state": state}]});
        let status = serde_json::from_value(status).unwrap();
        self.change(&format!("u{number}"), |pod| pod.status = Some(status));
        self.collect();
    }

    fn wait(&mut self, seconds: i64) {
        self.now += jiff::SignedDuration::from_secs(seconds);
    }

    fn status(&self) -> Value {
        serde_json::to_value(self.job.status.as_ref().unwrap()).unwrap()
    }

    /// `Type=Status Reason` of every condition.
    fn conditions(&self) -> Vec<String> {
        let all = self.job.status.iter().flat_map(|status| status.conditions.iter().flatten());
        all.map(|one| format!("{}={} {}", one.type_, one.status, one.reason.clone().unwrap_or_default()))
            .collect()
    }

    fn message(&self) -> String {
        finish(&self.job).unwrap().message.clone().unwrap()
    }

    fn names(&self) -> Vec<&str> {
        self.pods.iter().filter(|pod| pods::is_active(pod)).map(|pod| pods::name(pod)).collect()
    }

    fn edit(&mut self, path: &str, value: Value) {
        let mut job = serde_json::to_value(&self.job).unwrap();
        job["spec"][path] = value;
        self.job = serde_json::from_value(job).unwrap();
    }
}

fn steps(decision: &Decision) -> Vec<Step> {
    let untrack = decision.untrack.iter().cloned().map(Step::Untrack);
    let delete = decision.delete.iter().filter(|pod| !pods::is_deleting(pod)).cloned().map(Step::Delete);
    let create = decision.create.iter().cloned().map(Box::new).map(Step::Create);
    let status = decision.status.iter().cloned().map(Step::Status);
    untrack.chain(delete).chain(create).chain(status).collect()
}

/// N6, R16.2, R16.3: from nothing to Complete, as a real cluster shows it.
#[test]
fn one_pod_that_succeeds() {
    let mut world = World::new(json!({"completions": 1}));
    world.settle();
    let pod = &world.pods[0];
    assert_eq!(pods::name(pod), "j-1");
    assert!(is_tracked(pod));
    let owner = pods::controller_of(&pod.metadata).unwrap();
    assert_eq!(
        (owner.kind.as_str(), owner.uid.as_str(), owner.block_owner_deletion),
        ("Job", "job", Some(true))
    );
    let running = json!({"active": 1, "ready": 1, "terminating": 0, "uncountedTerminatedPods": {},
        "startTime": "2026-01-01T00:00:00Z"});
    assert_eq!(world.status(), running);
    world.wait(3);
    world.phase(1, "Succeeded");
    world.settle();
    assert_eq!(
        world.conditions(),
        ["SuccessCriteriaMet=True CompletionsReached", "Complete=True CompletionsReached"]
    );
    assert_eq!(world.message(), "Reached expected number of succeeded pods");
    let mut status = world.status();
    status.as_object_mut().unwrap().remove("conditions");
    let ended = json!({"ready": 0, "terminating": 0, "succeeded": 1, "uncountedTerminatedPods": {},
        "startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T00:00:03Z"});
    assert_eq!(status, ended);
    assert_eq!(world.told, ["Completed"]);
    assert!(!is_tracked(&world.pods[0]), "the Pod is free to go");
    assert_eq!(world.settle(), None);
}

/// N6: the uid is in the status before the finalizer goes, and leaves it only after.
#[test]
fn a_pod_is_counted_between_two_writes() {
    let mut world = World::new(json!({"completions": 2}));
    world.settle();
    world.phase(1, "Succeeded");
    let first = world.decide();
    assert!(first.untrack.is_empty());
    let lists = first.status.clone().unwrap();
    assert_eq!(lists.uncounted_terminated_pods.unwrap().succeeded.unwrap(), ["u1"]);
    assert_eq!(lists.succeeded, None);
    world.take(Step::Status(first.status.unwrap()));
    let second = world.decide();
    assert_eq!(second.untrack.len(), 1);
    assert_eq!(second.status.and_then(|status| status.succeeded), None);
    world.take(Step::Untrack(second.untrack[0].clone()));
    assert_eq!(world.decide().status.unwrap().succeeded, Some(1));
}

/// N6: active = min(parallelism, what is left); too many are removed and not counted as failed.
#[test]
fn parallelism_grows_and_shrinks() {
    let mut world = World::new(json!({"completions": 5, "parallelism": 3}));
    world.settle();
    assert_eq!(world.names().len(), 3);
    world.edit("parallelism", json!(1));
    world.settle();
    assert_eq!(world.names().len(), 1);
    let (last, gone) = (world.status(), world.pods.len());
    assert_eq!((last["active"].as_i64(), last["terminating"].as_i64(), gone), (Some(1), Some(2), 3));
    assert_eq!(last.get("failed"), None);
    world.edit("parallelism", json!(9));
    world.settle();
    assert_eq!(world.names().len(), 5);
    world.edit("parallelism", json!(0));
    world.settle();
    assert_eq!(world.names().len(), 0);
}

/// N6: a work queue is done when one has succeeded and all have ended.
#[test]
fn without_completions_the_pods_decide() {
    let mut world = World::new(json!({"parallelism": 2}));
    world.settle();
    world.phase(1, "Succeeded");
    world.settle();
    assert_eq!((world.names(), finish(&world.job)), (vec!["j-2"], None));
    world.phase(2, "Succeeded");
    world.settle();
    assert_eq!(
        (finish(&world.job).unwrap().type_.as_str(), world.status()["succeeded"].as_i64()),
        ("Complete", Some(2))
    );
}

/// N6: Suspended, and what resuming does.
#[test]
fn suspended_and_resumed() {
    let mut world = World::new(json!({"completions": 2, "suspend": true}));
    world.settle();
    assert_eq!(
        (world.conditions(), world.names().len()),
        (vec!["Suspended=True JobSuspended".to_owned()], 0)
    );
    assert_eq!(world.status().get("startTime"), None);
    world.wait(5);
    world.edit("suspend", json!(false));
    world.settle();
    assert_eq!(world.conditions(), ["Suspended=False JobResumed"]);
    assert_eq!(world.status()["startTime"], "2026-01-01T00:00:05Z");
    assert_eq!(world.names(), ["j-1"]);
    world.edit("suspend", json!(true));
    world.settle();
    assert_eq!((world.names().len(), world.status().get("failed")), (0, None));
    assert_eq!(world.told, ["Suspended", "Resumed", "Suspended"]);
}

/// N6: somebody else's Job, and one on its way out.
#[test]
fn hands_off() {
    let mut world = World::new(json!({"completions": 1, "managedBy": "example.com/other"}));
    assert_eq!(world.decide(), Decision::default());
    world.edit("managedBy", json!(CONTROLLER));
    world.settle();
    world.job.metadata.deletion_timestamp = Some(Time(world.now));
    let pod = world.pods[0].clone();
    world.take(Step::Delete(pod));
    world.settle();
    assert!(!is_tracked(&world.pods[0]));
    assert_eq!(world.made, 1, "nothing new is made");
}

/// N15.
#[test]
fn time_to_live() {
    let mut world = World::new(json!({"completions": 1, "ttlSecondsAfterFinished": 10}));
    world.settle();
    assert_eq!(ttl::remaining(&world.job, world.now), None);
    world.phase(1, "Succeeded");
    world.settle();
    world.wait(4);
    assert_eq!(ttl::remaining(&world.job, world.now), Some(Duration::from_secs(6)));
    world.wait(60);
    assert_eq!(ttl::remaining(&world.job, world.now), Some(Duration::ZERO));
    world.edit("ttlSecondsAfterFinished", json!(null));
    assert_eq!(ttl::remaining(&world.job, world.now), None);
}
