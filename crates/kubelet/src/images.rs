//! Images for containers: the pull policies (R5.23 to R5.28), with a bound on parallel pulls.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Container, Pod};
use outrigger_images::{Image, Reference};
use outrigger_pod_lifecycle::FailureReason;
use tokio::sync::Semaphore;

use crate::container::User;
use crate::context::Context;
use crate::reference_text::duration;

/// Why an image could not be pulled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PullFailure {
    /// `ErrImagePull`, `InvalidImageName`, `RegistryUnavailable`, …
    pub reason: FailureReason,
    /// For the status and the event.
    pub message: String,
}

/// What the kubelet asks of an image store.
#[async_trait]
pub trait ImageService: Send + Sync + std::fmt::Debug {
    /// The image, if it is on this machine.
    async fn resolve(&self, reference: &str) -> Option<Image>;

    /// R5.28: whether a Pod with these secrets may use the image that is here without asking its registry. What nobody
    /// needed a credential for, or what somebody brought, everybody may.
    async fn may_use(&self, reference: &str, secrets: Vec<Vec<u8>>) -> bool {
        let _ = (reference, secrets);
        true
    }

    /// Pulls it. `secrets` are values of type `kubernetes.io/dockerconfigjson`. Dropping the future gives up.
    async fn pull(&self, reference: &str, secrets: Vec<Vec<u8>>) -> Result<Image, PullFailure>;

    /// A user of the image by name or number; `None` if the image does not know it.
    async fn lookup_user(&self, image: &Image, user: &str) -> Option<(u32, u32, Vec<u32>)>;

    /// All images on this machine (N13); a store that cannot say has none to show and none to remove.
    async fn list(&self) -> Vec<Image> {
        Vec::new()
    }

    /// Removes an image with all its names. That no container uses it is the caller's to know.
    ///
    /// # Errors
    /// Why it stays.
    async fn remove(&self, id: &str) -> Result<(), String> {
        Err(format!("image {id} cannot be removed"))
    }
}

/// The policies around an [`ImageService`].
#[derive(Debug)]
pub(crate) struct ImageManager {
    service: Arc<dyn ImageService>,
    pulls: Semaphore,
}

impl ImageManager {
    pub(crate) fn new(service: Arc<dyn ImageService>, parallel: usize) -> Self {
        Self { service, pulls: Semaphore::new(parallel.max(1)) }
    }

    /// Makes sure a container's image is there, telling events on the way.
    pub(crate) async fn ensure(
        &self,
        context: &Context,
        pod: &Pod,
        field_path: &str,
        container: &Container,
    ) -> Result<Image, PullFailure> {
        let reference = container.image.as_deref().unwrap_or_default();
        if let Err(invalid) = Reference::parse(reference) {
            // R5.26: nothing is pulled that has no name.
            return Err(PullFailure {
                reason: FailureReason::InvalidImageName,
                message: invalid.to_string(),
            });
        }
        let policy = container.image_pull_policy.as_deref().unwrap_or("IfNotPresent");
        let found = if policy == "Always" { None } else { self.service.resolve(reference).await };
        let allowed = match &found {
            None => false,
            // Most Pods need no secret for what is here, so none is fetched at first.
            Some(_) if self.service.may_use(reference, Vec::new()).await => true,
            Some(_) => self.service.may_use(reference, pull_secrets(context, pod).await).await,
        };
        match (source(policy, allowed), found) {
            (Source::Machine, Some(image)) => {
                context.events.normal(pod, field_path, "Pulled", already_present(reference));
                Ok(image)
            }
            (Source::Nowhere, _) => {
                let message =
                    format!("Container image \"{reference}\" is not present with pull policy of Never");
                Err(PullFailure { reason: FailureReason::ErrImageNeverPull, message })
            }
            (Source::Registry | Source::Machine, _) => self.pull(context, pod, field_path, reference).await,
        }
    }

    async fn pull(
        &self,
        context: &Context,
        pod: &Pod,
        field_path: &str,
        reference: &str,
    ) -> Result<Image, PullFailure> {
        let asked = context.clock.now().mono;
        context.events.normal(pod, field_path, "Pulling", format!("Pulling image \"{reference}\""));
        let secrets = pull_secrets(context, pod).await;
        let _permit = self.pulls.acquire().await;
        let began = context.clock.now().mono;
        let image = self.service.pull(reference, secrets).await?;
        let now = context.clock.now().mono;
        context.start_latency.pulled(pod.metadata.uid.as_deref().unwrap_or_default(), now.since(asked));
        let text = pulled(reference, now.since(began), now.since(asked), image.size);
        context.events.normal(pod, field_path, "Pulled", text);
        Ok(image)
    }

    pub(crate) async fn list(&self) -> Vec<Image> {
        self.service.list().await
    }

    pub(crate) async fn remove(&self, id: &str) -> Result<(), String> {
        self.service.remove(id).await
    }

    /// Looks a user up in an image.
    pub(crate) async fn lookup_user(&self, image: &Image, user: &str) -> Option<User> {
        let (uid, gid, groups) = self.service.lookup_user(image, user).await?;
        Some(User { uid, gid, groups })
    }
}

/// Where an image comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Machine,
    Registry,
    Nowhere,
}

/// R5.23, R5.28. `usable`: it is here, and this Pod may use it as it is.
fn source(policy: &str, usable: bool) -> Source {
    match (policy, usable) {
        ("Always", _) => Source::Registry,
        (_, true) => Source::Machine,
        ("Never", false) => Source::Nowhere,
        (_, false) => Source::Registry,
    }
}

/// R5.23.
fn already_present(reference: &str) -> String {
    format!("Container image \"{reference}\" already present on machine and can be accessed by the pod")
}

/// R5.24.
fn pulled(reference: &str, took: Duration, with_waiting: Duration, bytes: u64) -> String {
    format!(
        "Successfully pulled image \"{reference}\" in {} ({} including waiting). Image size: {bytes} bytes.",
        duration(took),
        duration(with_waiting)
    )
}

/// R5.27: a missing secret is told and otherwise ignored.
async fn pull_secrets(context: &Context, pod: &Pod) -> Vec<Vec<u8>> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let references =
        pod.spec.as_ref().and_then(|spec| spec.image_pull_secrets.as_deref()).unwrap_or_default();
    let mut values = Vec::new();
    let mut missing = Vec::new();
    for reference in references {
        let secret = context.objects.secret(namespace, &reference.name).await.ok().flatten();
        let data =
            secret.and_then(|secret| secret.data).and_then(|mut data| data.remove(".dockerconfigjson"));
        match data {
            Some(data) => values.push(data.0),
            None => missing.push(reference.name.as_str()),
        }
    }
    if !missing.is_empty() {
        let text = format!(
            "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
            missing.join(", ")
        );
        context.events.warning(pod, "", "FailedToRetrieveImagePullSecret", text);
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R5.23, R5.28: each policy, with and without an image the Pod may use.
    #[test]
    fn policies() {
        for (policy, usable, from) in [
            ("Always", true, Source::Registry),
            ("Always", false, Source::Registry),
            ("IfNotPresent", true, Source::Machine),
            ("IfNotPresent", false, Source::Registry),
            ("Never", true, Source::Machine),
            ("Never", false, Source::Nowhere),
        ] {
            assert_eq!(source(policy, usable), from, "{policy} {usable}");
        }
    }

    /// R5.23, R5.24, R10.7
    #[test]
    fn texts() {
        let here = "Container image \"i\" already present on machine and can be accessed by the pod";
        assert_eq!(already_present("i"), here);
        let came = "Successfully pulled image \"i\" in 1.5s (2s including waiting). Image size: 7 bytes.";
        assert_eq!(pulled("i", Duration::from_millis(1500), Duration::from_secs(2), 7), came);
    }
}
