//! CronJobs in memory.

use serde_json::{Value, json};

use super::*;

struct World {
    cron: CronJob,
    jobs: Vec<Arc<Job>>,
    told: Vec<String>,
}

impl World {
    fn new(more: Value) -> Self {
        let mut spec = json!({"schedule": "*/10 * * * *", "concurrencyPolicy": "Allow",
            "successfulJobsHistoryLimit": 3, "failedJobsHistoryLimit": 1,
            "jobTemplate": {"metadata": {"labels": {"a": "b"}}, "spec": {"template": {"spec": {"containers": []}}}}});
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        let cron = json!({"metadata": {"name": "c", "namespace": "ns", "uid": "cron",
            "creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": spec});
        Self { cron: serde_json::from_value(cron).unwrap(), jobs: Vec::new(), told: Vec::new() }
    }

    fn look(&self, at: &str) -> Decision {
        let zone =
            self.cron.spec.time_zone.as_deref().map_or(Some(TimeZone::UTC), |name| TimeZone::get(name).ok());
        decide(&Input { cron: &self.cron, jobs: &self.jobs, zone: zone.as_ref(), now: at.parse().unwrap() })
    }

    /// A whole turn; the name of what was started.
    fn at(&mut self, at: &str) -> Option<String> {
        let decision = self.look(at);
        self.told = decision.notes.iter().map(|note| format!("{}: {}", note.reason, note.message)).collect();
        self.jobs.retain(|job| !decision.delete.iter().any(|gone| gone.metadata.uid == job.metadata.uid));
        let mut status = decision.status;
        let started = decision.create.map(|mut job| {
            job.metadata.uid = job.metadata.name.clone();
            status.active.get_or_insert_default().push(reference(&job));
            self.jobs.push(Arc::new((*job).clone()));
            job.metadata.name.unwrap()
        });
        self.cron.status = Some(status);
        started
    }

    fn end(&mut self, name: &str, how: &str, at: &str) {
        let status =
            json!({"startTime": at, "completionTime": at, "conditions": [{"type": how, "status": "True"}]});
        let job = self.jobs.iter_mut().find(|job| super::name(job) == name).unwrap();
        Arc::make_mut(job).status = Some(serde_json::from_value(status).unwrap());
    }

    fn active(&self) -> usize {
        self.cron.status.as_ref().unwrap().active.as_ref().map_or(0, Vec::len)
    }
}

const TEN: &str = "c-29453770";
const TWENTY: &str = "c-29453780";

/// N7: names, annotation, owner, status, events.
#[test]
fn starts_on_time() {
    let mut world = World::new(json!({"timeZone": "Europe/Berlin"}));
    assert_eq!(world.at("2026-01-01T00:09:00Z"), None);
    assert_eq!(world.look("2026-01-01T00:09:00Z").again, Some(Duration::from_secs(60)));
    assert_eq!(world.at("2026-01-01T00:10:01Z").as_deref(), Some(TEN));
    assert_eq!(world.told, [format!("SuccessfulCreate: Created job {TEN}")]);
    let job = &world.jobs[0];
    assert_eq!(pods::annotation(&job.metadata, SCHEDULED), Some("2026-01-01T01:10:00+01:00"));
    assert_eq!(
        (pods::label(&job.metadata, "a"), pods::controller_of(&job.metadata).unwrap().uid.as_str()),
        (Some("b"), "cron")
    );
    assert_eq!(world.at("2026-01-01T00:10:02Z"), None, "once");
    world.end(TEN, "Complete", "2026-01-01T00:11:00Z");
    world.at("2026-01-01T00:11:00Z");
    assert_eq!(world.told, [format!("SawCompletedJob: Saw completed job: {TEN}, condition: Complete")]);
    let status = serde_json::to_value(&world.cron.status).unwrap();
    assert_eq!(
        status,
        json!({"lastScheduleTime": "2026-01-01T00:10:00Z", "lastSuccessfulTime": "2026-01-01T00:11:00Z"})
    );
}

/// N7: a start that was made but not written down is not made again.
#[test]
fn a_crash_after_the_start() {
    let mut world = World::new(json!({}));
    world.at("2026-01-01T00:10:00Z");
    world.cron.status = None;
    assert_eq!(world.at("2026-01-01T00:10:01Z"), None);
    assert_eq!((world.active(), world.told.len()), (1, 0));
    assert!(world.cron.status.as_ref().unwrap().last_schedule_time.is_some());
}

/// N7: what happens when the last Job still runs.
#[test]
fn concurrency() {
    let after_two = |policy: &str| {
        let mut world = World::new(json!({"concurrencyPolicy": policy}));
        world.at("2026-01-01T00:10:00Z");
        let second = world.at("2026-01-01T00:20:00Z");
        (second.is_some(), world.active(), world.told.join("; "))
    };
    let created = format!("SuccessfulCreate: Created job {TWENTY}");
    assert_eq!(after_two("Allow"), (true, 2, created.clone()));
    let text = "JobAlreadyActive: Not starting job because prior execution is running and concurrency policy is Forbid";
    assert_eq!(after_two("Forbid"), (false, 1, text.to_owned()));
    assert_eq!(after_two("Replace"), (true, 1, format!("SuccessfulDelete: Deleted job {TEN}; {created}")));
}

/// N7: missed starts: only the latest counts, and not after its deadline.
#[test]
fn missed_starts() {
    let mut world = World::new(json!({}));
    assert_eq!(world.at("2026-01-01T00:35:00Z"), Some("c-29453790".to_owned()));
    let mut long = World::new(json!({}));
    assert_eq!(long.at("2026-01-08T00:05:00Z"), Some("c-29463840".to_owned()));
    assert!(long.told[0].starts_with("TooManyMissedTimes: too many missed start times."), "{:?}", long.told);
    let mut strict = World::new(json!({"startingDeadlineSeconds": 60}));
    assert_eq!(strict.at("2026-01-01T00:12:00Z"), None);
    assert_eq!(strict.at("2026-01-01T00:20:59Z").as_deref(), Some(TWENTY));
}

/// N7: suspended, without a zone, and with Jobs that came or went unasked.
#[test]
fn reasons_not_to_start() {
    assert_eq!(World::new(json!({"suspend": true})).at("2026-01-01T00:10:00Z"), None);
    let mut lost = World::new(json!({"timeZone": "Nowhere/Land"}));
    assert_eq!(lost.at("2026-01-01T00:10:00Z"), None);
    assert_eq!(
        lost.told,
        ["UnknownTimeZone: invalid timeZone: \"Nowhere/Land\": unknown time zone Nowhere/Land"]
    );
    let mut world = World::new(json!({}));
    world.at("2026-01-01T00:10:00Z");
    let mut stranger = (*world.jobs.remove(0)).clone();
    stranger.metadata.name = Some("stranger".to_owned());
    stranger.metadata.uid = Some("stranger".to_owned());
    world.jobs.push(Arc::new(stranger));
    world.at("2026-01-01T00:11:00Z");
    assert_eq!(
        world.told,
        [
            "UnexpectedJob: Saw a job that the controller did not create or forgot: stranger",
            &format!("MissingJob: Active job went missing: {TEN}")
        ]
    );
}

/// N7: the oldest go.
#[test]
fn history() {
    let mut world = World::new(json!({"successfulJobsHistoryLimit": 1, "failedJobsHistoryLimit": 0}));
    for (minute, how) in [(10, "Complete"), (20, "Complete"), (30, "Failed")] {
        let at = format!("2026-01-01T00:{minute}:00Z");
        let name = world.at(&at).unwrap();
        world.end(&name, how, &at);
    }
    world.at("2026-01-01T00:31:00Z");
    assert_eq!(world.jobs.iter().map(|job| name(job)).collect::<Vec<_>>(), [TWENTY]);
    assert!(world.told.contains(&"SuccessfulDelete: Deleted job c-29453790".to_owned()), "{:?}", world.told);
}
