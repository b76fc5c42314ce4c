//! The wiring of StatefulSets (N4).

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet, StatefulSetSpec, StatefulSetStatus};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, ResourceExt as _};
use outrigger_api::clock::SharedClock;
use outrigger_reconcile::{Error, Next, Reconciler};
use outrigger_workloads::{Note, pods, revisions, selector, stateful_set};
use serde_json::json;

use crate::claims::Owner;
use crate::pod_control::{PodControl, is_conflict, is_gone, is_namespace_ending, text};
use crate::revisions::{Present, Revisions};
use crate::status;
use crate::written::AGAIN;

/// Runs StatefulSets.
pub(crate) struct StatefulSets {
    pub(crate) control: PodControl,
    pub(crate) clock: SharedClock,
    pub(crate) revisions: Revisions,
}

#[async_trait]
impl Reconciler for StatefulSets {
    type Object = StatefulSet;

    const NAME: &'static str = "statefulset";

    async fn reconcile(&self, set: Arc<StatefulSet>) -> Result<Next, Error> {
        let Some(spec) = &set.spec else { return Ok(Next::Change) };
        let owner = Owner::of(&*set);
        let selected = selector::of(Some(&spec.selector));
        if !self.is_current(&owner) {
            return Ok(Next::After(AGAIN));
        }
        let pods = self.control.claim(&owner, selected.as_ref(), None).await?;
        let wrote = |metadata: &kube::core::ObjectMeta| {
            let mark = self.revisions.cache.mark(metadata.resource_version.as_deref());
            self.control.written.dependent(owner.uid(), mark);
        };
        let all = self.revisions.all(&owner, selected.as_ref(), wrote).await?;
        let collisions = set.status.as_ref().and_then(|status| status.collision_count).unwrap_or(0);
        let found = self.revisions.present(&owner, &spec.template, &all, collisions, wrote).await?;
        let Present::Known(update) = found else { return self.collided(&set).await };
        if !self.is_current(&owner) {
            return Ok(Next::After(AGAIN));
        }
        let current = current(&set, &all).cloned().unwrap_or_else(|| Arc::new((*update).clone()));
        let was = revisions::template(&current).unwrap_or_else(|| spec.template.clone());
        let input = stateful_set::Input {
            set: &set,
            pods: &pods,
            current: (revisions::name(&current), &was),
            update: (revisions::name(&update), &spec.template),
            now: self.clock.now().wall,
        };
        let decision = stateful_set::decide(&input);
        for pod in &decision.condemned {
            self.hand_over_claims(&set, spec, pod).await?;
        }
        for (claims, pod) in &decision.create {
            self.create(&owner, claims, pod).await?;
        }
        decision.notes.into_iter().for_each(|note| self.control.teller.tell(&owner.about, note));
        for pod in &decision.delete {
            self.delete(&owner, pod).await?;
        }
        if let Some(status) = decision.status
            && !self.write_status(&set, status).await?
        {
            return Ok(Next::After(AGAIN));
        }
        let labels = pods.iter().filter_map(|pod| pods::label(&pod.metadata, revisions::POD_HASH));
        let named = [revisions::name(&current), revisions::name(&update)];
        let used: HashSet<String> = labels.chain(named).map(str::to_owned).collect();
        self.revisions.clean_up(&owner, &all, &used, spec.revision_history_limit.unwrap_or(10)).await?;
        Ok(decision.again.map_or(Next::Change, Next::After))
    }
}

/// The revision Pods had before the present one.
fn current<'a>(set: &StatefulSet, all: &'a [Arc<ControllerRevision>]) -> Option<&'a Arc<ControllerRevision>> {
    let name = set.status.as_ref()?.current_revision.as_deref()?;
    all.iter().find(|one| revisions::name(one) == name)
}

impl StatefulSets {
    fn is_current(&self, owner: &Owner<'_>) -> bool {
        let version = owner.metadata.resource_version.as_deref();
        let shows = |mark| self.control.pods.shows(mark) && self.revisions.cache.shows(mark);
        self.control.written.shown(owner.uid(), version, shows)
    }

    async fn create(
        &self,
        owner: &Owner<'_>,
        claims: &[PersistentVolumeClaim],
        pod: &Pod,
    ) -> Result<(), Error> {
        let (name, set) = (pod.name_any(), &owner.reference.name);
        for claim in claims {
            self.create_claim(owner, claim, &name).await?;
        }
        let api: Api<Pod> = Api::namespaced(self.control.client.clone(), owner.namespace());
        match api.create(&PostParams::default(), pod).await {
            Ok(written) => {
                self.control.wrote(owner, &written.metadata);
                self.tell(
                    owner,
                    "SuccessfulCreate",
                    format!("create Pod {name} in StatefulSet {set} successful"),
                );
                Ok(())
            }
            // The old one is still there, or was made before a crash; its change will be seen.
            Err(error) if is_conflict(&error) => Ok(()),
            Err(error) => {
                if !is_namespace_ending(&error) {
                    let text =
                        format!("create Pod {name} in StatefulSet {set} failed error: {}", text(&error));
                    self.control.teller.tell(&owner.about, Note::warning("FailedCreate", text));
                }
                Err(Error::doing(format!("pod {name}"))(error))
            }
        }
    }

    async fn create_claim(
        &self,
        owner: &Owner<'_>,
        claim: &PersistentVolumeClaim,
        pod: &str,
    ) -> Result<(), Error> {
        let api: Api<PersistentVolumeClaim> = Api::namespaced(self.control.client.clone(), owner.namespace());
        let (name, set) = (claim.name_any(), &owner.reference.name);
        let doing = || Error::doing(format!("claim {name}"));
        if api.get_metadata_opt(&name).await.map_err(doing())?.is_some() {
            return Ok(());
        }
        match api.create(&PostParams::default(), claim).await {
            Ok(_) => {
                let text = format!("create Claim {name} Pod {pod} in StatefulSet {set} success");
                self.tell(owner, "SuccessfulCreate", text);
                Ok(())
            }
            Err(error) if is_conflict(&error) => Ok(()),
            Err(error) => {
                let text = format!(
                    "create Claim {name} Pod {pod} in StatefulSet {set} failed error: {}",
                    text(&error)
                );
                self.control.teller.tell(&owner.about, Note::warning("FailedCreate", text));
                Err(doing()(error))
            }
        }
    }

    /// Never by force: the name is free again when the node says so.
    async fn delete(&self, owner: &Owner<'_>, pod: &Pod) -> Result<(), Error> {
        let api: Api<Pod> = Api::namespaced(self.control.client.clone(), owner.namespace());
        let (name, set) = (pod.name_any(), &owner.reference.name);
        let only = Preconditions { uid: pod.uid(), resource_version: None };
        match api.delete(&name, &DeleteParams::default().preconditions(only)).await {
            Ok(answer) => {
                if let Some(pod) = answer.left() {
                    self.control.wrote(owner, &pod.metadata);
                }
                self.tell(
                    owner,
                    "SuccessfulDelete",
                    format!("delete Pod {name} in StatefulSet {set} successful"),
                );
                Ok(())
            }
            Err(error) if is_gone(&error) => Ok(()),
            Err(error) => Err(Error::doing(format!("deletion of pod {name}"))(error)),
        }
    }

    /// `persistentVolumeClaimRetentionPolicy`: claims of Pods that are not wanted any more go with them.
    async fn hand_over_claims(
        &self,
        set: &StatefulSet,
        spec: &StatefulSetSpec,
        pod: &Pod,
    ) -> Result<(), Error> {
        let Some(ordinal) = stateful_set::ordinal(set, pod) else { return Ok(()) };
        let owners = stateful_set::claim_owners(set, spec, Some(pod));
        if owners.first().is_none_or(|owner| owner.kind != "Pod") {
            return Ok(());
        }
        let namespace = set.namespace().unwrap_or_default();
        let api: Api<PersistentVolumeClaim> = Api::namespaced(self.control.client.clone(), &namespace);
        for claim in stateful_set::claims(set, spec, ordinal) {
            let name = claim.name_any();
            let patch = Patch::Merge(json!({"metadata": {"ownerReferences": owners}}));
            match api.patch_metadata(&name, &PatchParams::default(), &patch).await {
                Err(error) if !is_gone(&error) => return Err(Error::doing(format!("claim {name}"))(error)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Another revision has the name: the next hash is tried.
    async fn collided(&self, set: &StatefulSet) -> Result<Next, Error> {
        let mut status = set.status.clone().unwrap_or_default();
        status.collision_count = Some(status.collision_count.unwrap_or(0) + 1);
        self.write_status(set, status).await?;
        Ok(Next::After(AGAIN))
    }

    async fn write_status(&self, set: &StatefulSet, status: StatefulSetStatus) -> Result<bool, Error> {
        let changed = StatefulSet { status: Some(status), ..set.clone() };
        let version = status::write(&self.control.client, &changed).await?;
        if let Some(version) = &version {
            self.control.written.own(&set.uid().unwrap_or_default(), Some(version));
        }
        Ok(version.is_some())
    }

    fn tell(&self, owner: &Owner<'_>, reason: &str, text: String) {
        self.control.teller.tell(&owner.about, Note::normal(reason, text));
    }
}
