//! The wiring of CronJobs (N7).

use std::sync::Arc;

use async_trait::async_trait;
use futures::{Stream, StreamExt as _};
use jiff::tz::TimeZone;
use k8s_openapi::api::batch::v1::{CronJob, CronJobStatus, Job};
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Client, ResourceExt as _};
use outrigger_api::clock::SharedClock;
use outrigger_reconcile::{Cache, Error, Next, Reconciler};
use outrigger_workloads::{Note, cron_job, pods};

use crate::claims::Owner;
use crate::events::Teller;
use crate::pod_control::{is_conflict, is_gone, is_namespace_ending, text};
use crate::status;
use crate::written::{AGAIN, Written};

/// Starts Jobs at their times.
pub(crate) struct CronJobs {
    pub(crate) client: Client,
    pub(crate) clock: SharedClock,
    pub(crate) jobs: Cache<Job>,
    pub(crate) teller: Teller,
    pub(crate) written: Written,
}

/// Which CronJobs a changed Job concerns.
pub(crate) fn touched(jobs: &Cache<Job>) -> impl Stream<Item = ObjectRef<CronJob>> + Send + use<> {
    jobs.changes().filter_map(async |job| {
        let owner = pods::controller_of(&job.metadata).filter(|owner| owner.kind == "CronJob")?;
        Some(ObjectRef::new(&owner.name).within(&job.namespace()?))
    })
}

#[async_trait]
impl Reconciler for CronJobs {
    type Object = CronJob;

    const NAME: &'static str = "cronjob";

    async fn reconcile(&self, cron: Arc<CronJob>) -> Result<Next, Error> {
        let owner = Owner::of(&*cron);
        if !self
            .written
            .shown(owner.uid(), cron.metadata.resource_version.as_deref(), |mark| self.jobs.shows(mark))
        {
            return Ok(Next::After(AGAIN));
        }
        let jobs = self.jobs.owned(owner.namespace(), owner.uid());
        let zone =
            cron.spec.time_zone.as_deref().map_or(Some(TimeZone::UTC), |name| TimeZone::get(name).ok());
        let now = self.clock.now().wall;
        let input = cron_job::Input { cron: &cron, jobs: &jobs, zone: zone.as_ref(), now };
        let mut decision = cron_job::decide(&input);
        let api: Api<Job> = Api::namespaced(self.client.clone(), owner.namespace());
        for job in &decision.delete {
            self.delete(&api, job).await?;
        }
        if let Some(job) = &decision.create {
            match api.create(&PostParams::default(), job).await {
                Ok(job) => {
                    self.wrote(&owner, &job);
                    decision.status.active.get_or_insert_default().push(cron_job::reference(&job));
                }
                Err(error) if is_conflict(&error) => return self.taken(&api, &owner, &job.name_any()).await,
                Err(error) => return Err(self.not_created(&owner, error)),
            }
        }
        decision.notes.into_iter().for_each(|note| self.teller.tell(&owner.about, note));
        if !self.write_status(&cron, decision.status).await? {
            return Ok(Next::After(AGAIN));
        }
        Ok(decision.again.map_or(Next::Change, Next::After))
    }
}

impl CronJobs {
    fn wrote(&self, owner: &Owner<'_>, job: &Job) {
        self.written.dependent(owner.uid(), self.jobs.mark(job.metadata.resource_version.as_deref()));
    }

    async fn delete(&self, api: &Api<Job>, job: &Job) -> Result<(), Error> {
        let only = Preconditions { uid: job.uid(), resource_version: None };
        let parameters = DeleteParams::background().preconditions(only);
        match api.delete(&job.name_any(), &parameters).await {
            Err(error) if !is_gone(&error) => {
                Err(Error::doing(format!("deletion of job {}", job.name_any()))(error))
            }
            _ => Ok(()),
        }
    }

    /// The name is taken: by this very start, made before a crash, or by somebody else's Job.
    async fn taken(&self, api: &Api<Job>, owner: &Owner<'_>, name: &str) -> Result<Next, Error> {
        let found = api.get_opt(name).await.map_err(Error::doing(format!("job {name}")))?;
        let Some(found) = found else { return Ok(Next::After(AGAIN)) };
        if pods::controller_of(&found.metadata).is_some_and(|by| by.uid == owner.uid()) {
            self.wrote(owner, &found);
            return Ok(Next::After(AGAIN));
        }
        Err(Error::Object(format!("job {name} is not of cron job {}", owner.reference.name)))
    }

    fn not_created(&self, owner: &Owner<'_>, error: kube::Error) -> Error {
        if !is_namespace_ending(&error) {
            let text = format!("Error creating job: {}", text(&error));
            self.teller.tell(&owner.about, Note::warning("FailedCreate", text));
        }
        Error::doing(format!("a job of cron job {}", owner.reference.name))(error)
    }

    async fn write_status(&self, cron: &CronJob, status: CronJobStatus) -> Result<bool, Error> {
        if cron.status.clone().unwrap_or_default() == status {
            return Ok(true);
        }
        let changed = CronJob { status: Some(status), ..cron.clone() };
        let version = status::write(&self.client, &changed).await?;
        if let Some(version) = &version {
            self.written.own(&cron.uid().unwrap_or_default(), Some(version));
        }
        Ok(version.is_some())
    }
}
