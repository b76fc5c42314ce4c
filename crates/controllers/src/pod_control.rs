//! Creating, deleting, adopting and releasing Pods on behalf of an owner (N1): the effects that workload controllers
//! share.

use std::sync::Arc;

use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt as _};
use outrigger_api::selector::LabelSelector;
use outrigger_reconcile::{Cache, Error};
use outrigger_workloads::Note;
use serde_json::json;

use crate::claims::{Owner, claim_all};
use crate::events::Teller;
use crate::written::Written;

/// The effects of one controller on Pods.
pub(crate) struct PodControl {
    pub(crate) client: Client,
    pub(crate) pods: Cache<Pod>,
    pub(crate) teller: Teller,
    pub(crate) written: Written,
}

impl PodControl {
    /// Whether the pictures of the owner and of its Pods show all that was written for it.
    pub(crate) fn is_current(&self, owner: &ObjectMeta) -> bool {
        let uid = owner.uid.as_deref().unwrap_or_default();
        self.written.shown(uid, owner.resource_version.as_deref(), |mark| self.pods.shows(mark))
    }

    /// The owner's Pods. Orphans it selects are adopted, with `finalizer`; those it no longer selects are let go.
    pub(crate) async fn claim(
        &self,
        owner: &Owner<'_>,
        selector: Option<&LabelSelector>,
        finalizer: Option<&str>,
    ) -> Result<Vec<Arc<Pod>>, Error> {
        let candidates = self.pods.owned_or_orphaned(owner.namespace(), owner.uid());
        let wrote = |metadata: &ObjectMeta| self.wrote(owner, metadata);
        claim_all(&self.client, owner, selector, candidates, finalizer, wrote).await
    }

    /// Creates Pods in batches of 1, 2, 4 and so on, so that what cannot work fails few times (N3). How many were
    /// created, and the first failure.
    pub(crate) async fn create(&self, owner: &Owner<'_>, pods: Vec<Pod>) -> (usize, Option<Error>) {
        let api = self.api(owner.namespace());
        let (mut created, mut batch, mut rest) = (0, 1, pods.as_slice());
        while !rest.is_empty() {
            let (now, later) = rest.split_at(batch.min(rest.len()));
            let parameters = PostParams::default();
            let outcomes = join_all(now.iter().map(|pod| api.create(&parameters, pod))).await;
            let mut failure = None;
            for outcome in outcomes {
                match outcome {
                    Ok(pod) => {
                        created += 1;
                        self.wrote(owner, &pod.metadata);
                        let text = format!("Created pod: {}", pod.name_any());
                        self.teller.tell(&owner.about, Note::normal("SuccessfulCreate", text));
                    }
                    Err(error) => failure = Some(self.not_created(owner, error)),
                }
            }
            if failure.is_some() {
                return (created, failure);
            }
            (batch, rest) = (batch * 2, later);
        }
        (created, None)
    }

    fn not_created(&self, owner: &Owner<'_>, error: kube::Error) -> Error {
        if !is_namespace_ending(&error) {
            let text = format!("Error creating: {}", text(&error));
            self.teller.tell(&owner.about, Note::warning("FailedCreate", text));
        }
        Error::doing(format!("a Pod of {}", owner.reference.name))(error)
    }

    /// Deletes Pods; those that are gone are as good as deleted.
    pub(crate) async fn delete(&self, owner: &Owner<'_>, pods: &[Arc<Pod>]) -> Result<(), Error> {
        let api = self.api(owner.namespace());
        let outcomes = join_all(pods.iter().map(|pod| async {
            let parameters = DeleteParams::default()
                .preconditions(Preconditions { uid: pod.uid(), resource_version: None });
            (pod.name_any(), api.delete(&pod.name_any(), &parameters).await)
        }));
        let mut failure = None;
        for (name, outcome) in outcomes.await {
            match outcome {
                Ok(answer) => {
                    if let Some(pod) = answer.left() {
                        self.wrote(owner, &pod.metadata);
                    }
                    let text = format!("Deleted pod: {name}");
                    self.teller.tell(&owner.about, Note::normal("SuccessfulDelete", text));
                }
                Err(error) if is_gone(&error) => {}
                Err(error) => {
                    let note = Note::warning("FailedDelete", format!("Error deleting: {}", text(&error)));
                    self.teller.tell(&owner.about, note);
                    failure = Some(Error::doing(format!("deletion of pod {name}"))(error));
                }
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// Takes a finalizer off Pods.
    pub(crate) async fn remove_finalizer(
        &self,
        owner: &Owner<'_>,
        pods: &[Arc<Pod>],
        finalizer: &str,
    ) -> Result<(), Error> {
        let metadata = json!({ "$deleteFromPrimitiveList/finalizers": [finalizer] });
        let outcomes = join_all(
            pods.iter().map(|pod| self.patch(owner, pod, metadata.clone(), "removal of a finalizer")),
        );
        outcomes.await.into_iter().collect()
    }

    async fn patch(
        &self,
        owner: &Owner<'_>,
        pod: &Pod,
        mut metadata: serde_json::Value,
        doing: &str,
    ) -> Result<(), Error> {
        metadata["uid"] = json!(pod.metadata.uid);
        let patch = Patch::Strategic(json!({ "metadata": metadata }));
        let patched =
            self.api(owner.namespace()).patch(&pod.name_any(), &PatchParams::default(), &patch).await;
        match patched {
            Ok(pod) => {
                self.wrote(owner, &pod.metadata);
                Ok(())
            }
            Err(error) if is_gone(&error) => Ok(()),
            Err(error) => Err(Error::doing(format!("{doing} of pod {}", pod.name_any()))(error)),
        }
    }

    /// Remembers a dependent's new version.
    pub(crate) fn wrote(&self, owner: &Owner<'_>, pod: &ObjectMeta) {
        self.written.dependent(owner.uid(), self.pods.mark(pod.resource_version.as_deref()));
    }

    fn api(&self, namespace: &str) -> Api<Pod> {
        Api::namespaced(self.client.clone(), namespace)
    }
}

/// The object of this uid does not exist any more: not found, or another one has its name (C15, D19).
pub(crate) fn is_gone(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) if status.code == 404 => true,
        kube::Error::Api(status) => {
            (status.code == 422 && status.message.contains("metadata.uid"))
                || (status.code == 409 && status.message.contains("UID in"))
        }
        _ => false,
    }
}

/// Somebody else wrote meanwhile.
pub(crate) fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

/// Nothing can be created in a namespace that is going; that is nobody's mistake.
pub(crate) fn is_namespace_ending(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status)
        if status.code == 403 && status.message.contains("because it is being terminated"))
}

/// What the server said, without the client's words around it.
pub(crate) fn text(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}
