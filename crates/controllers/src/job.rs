//! The Job controller's wiring (N6, N15): gathers Pods, asks the decision, carries it out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::{Stream, StreamExt as _};
use k8s_openapi::api::batch::v1::{Job, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Client, ResourceExt as _};
use outrigger_api::clock::SharedClock;
use outrigger_reconcile::{Cache, Error, Next, Reconciler};
use outrigger_workloads::{job, pods, selector};
use serde_json::json;

use crate::claims::Owner;
use crate::pod_control::{PodControl, is_conflict, is_gone};
use crate::status;
use crate::written::AGAIN;

/// The label that names the Job of a Pod.
const JOB_NAME: &str = "batch.kubernetes.io/job-name";
/// Records of failures in a row; when there are more, they are told from the Pods again.
const REMEMBERED: usize = 4096;

/// Runs Jobs.
pub(crate) struct Jobs {
    pub(crate) control: PodControl,
    pub(crate) clock: SharedClock,
    pub(crate) backoff: Mutex<HashMap<String, job::Backoff>>,
}

/// Which Jobs a changed Pod concerns.
pub(crate) fn touched(pods: &Cache<Pod>) -> impl Stream<Item = ObjectRef<Job>> + Send + use<> {
    pods.changes().filter_map(async |pod| {
        let namespace = pod.namespace()?;
        let name = match pods::controller_of(&pod.metadata) {
            Some(owner) if owner.kind == "Job" => Some(owner.name.clone()),
            Some(_) => None,
            None => pods::label(&pod.metadata, JOB_NAME).map(str::to_owned),
        };
        Some(ObjectRef::new(&name?).within(&namespace))
    })
}

#[async_trait]
impl Reconciler for Jobs {
    type Object = Job;

    const NAME: &'static str = "job";

    async fn reconcile(&self, job: Arc<Job>) -> Result<Next, Error> {
        if !self.control.is_current(&job.metadata) {
            return Ok(Next::After(AGAIN));
        }
        let owner = Owner::of(&*job);
        let uid = owner.reference.uid.clone();
        let selected = selector::of(job.spec.as_ref().and_then(|spec| spec.selector.as_ref()));
        let pods = self.control.claim(&owner, selected.as_ref(), Some(job::TRACKING)).await?;
        if !self.control.is_current(&job.metadata) {
            return Ok(Next::After(AGAIN));
        }
        let now = self.clock.now().wall;
        let input = job::Input { job: &job, pods: &pods, backoff: self.remembered(&uid), now };
        let decision = job::decide(&input);
        self.control.remove_finalizer(&owner, &decision.untrack, job::TRACKING).await?;
        self.control.delete(&owner, &decision.delete).await?;
        let wanted = decision.create.len();
        let (created, failure) = self.control.create(&owner, decision.create).await;
        if let Some(mut status) = decision.status {
            let missing = i32::try_from(wanted - created).unwrap_or(i32::MAX);
            status.active = status.active.map(|active| active - missing).filter(|active| *active > 0);
            if !self.write_status(&job, status).await? {
                return Ok(Next::After(AGAIN));
            }
            decision.notes.into_iter().for_each(|note| self.control.teller.tell(&owner.about, note));
        }
        self.remember(uid, decision.backoff);
        match failure {
            Some(failure) => Err(failure),
            None if job::finish(&job).is_some() => self.expire(&job).await,
            None => Ok(decision.again.map_or(Next::Change, Next::After)),
        }
    }
}

impl Jobs {
    /// Whether it was written; not if the Job has changed meanwhile.
    async fn write_status(&self, job: &Job, status: JobStatus) -> Result<bool, Error> {
        let body = Job { status: Some(status), ..job.clone() };
        let version = status::write(&self.control.client, &body).await?;
        if let Some(version) = &version {
            self.control.written.own(&job.uid().unwrap_or_default(), Some(version));
        }
        Ok(version.is_some())
    }

    /// N15: a finished Job goes when its time is up.
    async fn expire(&self, job: &Job) -> Result<Next, Error> {
        match job::ttl::remaining(job, self.clock.now().wall) {
            None => Ok(Next::Change),
            Some(wait) if wait > Duration::ZERO => Ok(Next::After(wait)),
            Some(_) => {
                let api: Api<Job> =
                    Api::namespaced(self.control.client.clone(), &job.namespace().unwrap_or_default());
                let only = Preconditions { uid: job.uid(), resource_version: job.resource_version() };
                let parameters = DeleteParams::foreground().preconditions(only);
                match api.delete(&job.name_any(), &parameters).await {
                    Err(error) if is_conflict(&error) && !is_gone(&error) => Ok(Next::After(AGAIN)),
                    Err(error) if !is_gone(&error) => {
                        Err(Error::doing(format!("deletion of job {}", job.name_any()))(error))
                    }
                    _ => Ok(Next::Change),
                }
            }
        }
    }

    fn remembered(&self, uid: &str) -> Option<job::Backoff> {
        self.backoff.lock().unwrap_or_else(PoisonError::into_inner).get(uid).copied()
    }

    fn remember(&self, uid: String, record: job::Backoff) {
        let mut all = self.backoff.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= REMEMBERED {
            all.clear();
        }
        all.insert(uid, record);
    }
}

/// Lets Pods go whose Job does not exist any more: nobody else would ever take the finalizer off.
pub(crate) struct LostPods {
    pub(crate) client: Client,
}

/// Pods of Jobs, for [`LostPods`].
pub(crate) const OF_JOBS: &str = "batch.kubernetes.io/controller-uid";

#[async_trait]
impl Reconciler for LostPods {
    type Object = Pod;

    const NAME: &'static str = "job-lost-pods";

    async fn reconcile(&self, pod: Arc<Pod>) -> Result<Next, Error> {
        if !job::is_tracked(&pod) || self.has_job(&pod).await? {
            return Ok(Next::Change);
        }
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default());
        let patch = json!({"metadata": {
            "uid": pod.uid(), "$deleteFromPrimitiveList/finalizers": [job::TRACKING],
        }});
        match api.patch(&pod.name_any(), &PatchParams::default(), &Patch::Strategic(patch)).await {
            Err(error) if !is_gone(&error) => {
                Err(Error::doing(format!("removal of a finalizer of pod {}", pod.name_any()))(error))
            }
            _ => Ok(Next::Change),
        }
    }
}

impl LostPods {
    /// Asks the server, not a picture: a Job that is merely not visible yet must not lose its Pods.
    async fn has_job(&self, pod: &Pod) -> Result<bool, Error> {
        let Some(owner) = pods::controller_of(&pod.metadata) else { return Ok(false) };
        if owner.kind != "Job" {
            return Ok(true);
        }
        let api: Api<Job> = Api::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default());
        let job = api.get_opt(&owner.name).await.map_err(Error::doing(format!("job {}", owner.name)))?;
        Ok(job.is_some_and(|job| job.uid().as_ref() == Some(&owner.uid)))
    }
}
