//! Starting one container: image, configuration, create, start (R5.29, R5.30).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::{Container, Pod};
use outrigger_images::Image;
use outrigger_pod_lifecycle::{FailureReason, Operation, field_path};
use tokio_util::sync::CancellationToken;

use crate::container::{Entry, StartRequest, prepare};
use crate::context::{Context, PodKey};
use crate::images::PullFailure;
use crate::runtime_words::start_failed;

/// Why a start ended without a running instance.
#[derive(Debug)]
pub(super) enum StartFailure {
    /// It was given up (R2.7); not a failure.
    Cancelled,
    /// A step failed.
    Failed { reason: FailureReason, message: String },
}

/// One start to be made.
pub(super) struct Start {
    pub(super) context: Arc<Context>,
    pub(super) pod: Arc<Pod>,
    pub(super) entry: Entry<'static>,
    pub(super) attempt: u32,
    pub(super) sandbox: String,
    pub(super) pod_ips: Vec<String>,
    pub(super) target: Option<String>,
    pub(super) operation: Arc<Mutex<Operation>>,
    pub(super) cancel: CancellationToken,
}

impl Start {
    /// Starts it and counts how that went (N22).
    pub(super) async fn run(self) -> Result<(), StartFailure> {
        let (context, role) = (self.context.clone(), self.entry.role);
        let result = self.attempt().await;
        match &result {
            Ok(()) => context.metrics.container_started(role, None),
            Err(StartFailure::Failed { reason, .. }) => {
                context.metrics.container_started(role, Some(reason.as_str()));
            }
            Err(StartFailure::Cancelled) => {}
        }
        result
    }

    async fn attempt(self) -> Result<(), StartFailure> {
        let (context, pod) = (&*self.context, &*self.pod);
        let path = field_path(self.entry.role, &self.entry.container.name);
        let failed = |reason, message: String| StartFailure::Failed { reason, message };
        let image = tokio::select! {
            () = self.cancel.cancelled() => return Err(StartFailure::Cancelled),
            image = context.images.ensure(context, pod, &path, &self.entry.container) => image,
        };
        let image = image.map_err(|failure| failed(failure.reason, failure.message))?;
        let image_volumes = tokio::select! {
            () = self.cancel.cancelled() => return Err(StartFailure::Cancelled),
            found = self.image_volumes(&path) => found?,
        };
        *self.operation.lock().unwrap_or_else(PoisonError::into_inner) = Operation::Starting;
        let request = StartRequest {
            context,
            pod,
            entry: &self.entry,
            attempt: self.attempt,
            image: &image,
            pod_ips: &self.pod_ips,
            image_volumes: &image_volumes,
            target: self.target.clone(),
        };
        let config = tokio::select! {
            () = self.cancel.cancelled() => return Err(StartFailure::Cancelled),
            config = prepare(&request) => config,
        };
        let config =
            config.map_err(|error| failed(FailureReason::CreateContainerConfigError, error.to_string()))?;
        let (id, log_path) = (config.id.clone(), config.log_path.clone());
        let name = self.entry.container.name.clone();
        let text = |error: outrigger_runtime::RuntimeError| named(&error.to_string(), &id, &name);
        context
            .runtime
            .create_container(&self.sandbox, config)
            .await
            .map_err(|error| failed(FailureReason::CreateContainerError, text(error)))?;
        context.events.normal(pod, &path, "Created", "Container created");
        link_log(context, pod, &self.entry.container.name, &id, &log_path);
        context.runtime.start_container(&id).await.map_err(|error| {
            failed(FailureReason::RunContainerError, named(&start_failed(error), &id, &name))
        })?;
        context.events.normal(pod, &path, "Started", "Container started");
        Ok(())
    }
}

impl Start {
    /// R12.28: the images of the image volumes this container mounts, pulled as their own policies say.
    async fn image_volumes(&self, path: &str) -> Result<BTreeMap<String, Image>, StartFailure> {
        let mut images = BTreeMap::new();
        let volumes = self.pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default();
        for mount in self.entry.container.volume_mounts.iter().flatten() {
            let volume = volumes.iter().find(|volume| volume.name == mount.name);
            let Some(source) = volume.and_then(|volume| volume.image.as_ref()) else { continue };
            let asked = Container {
                image: source.reference.clone(),
                image_pull_policy: source.pull_policy.clone(),
                ..Container::default()
            };
            let image = self.context.images.ensure(&self.context, &self.pod, path, &asked).await;
            let failed = |failure: PullFailure| StartFailure::Failed {
                reason: failure.reason,
                message: failure.message,
            };
            images.insert(mount.name.clone(), image.map_err(failed)?);
        }
        Ok(images)
    }
}

/// R10.3: people know a container by its name, and events of two instances are the same events.
fn named(text: &str, id: &str, name: &str) -> String {
    text.replace(id, name)
}

/// R14.7: the link log collectors look for.
fn link_log(context: &Context, pod: &Pod, container: &str, id: &str, log: &Path) {
    let Some(folder) = &context.config.log_links else { return };
    let key = PodKey::of(pod);
    let link = folder.join(format!("{}_{}_{container}-{id}.log", key.name, key.namespace));
    let made = std::fs::create_dir_all(folder).and_then(|()| std::os::unix::fs::symlink(log, &link));
    if let Err(error) = made {
        tracing::debug!(link = %link.display(), %error, "log link not made");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R10.3
    #[test]
    fn an_id_is_never_shown() {
        let id = "0123456789abcdef";
        let error = outrigger_runtime::RuntimeError::NotRunning(id.into()).to_string();
        assert_eq!(named(&error, id, "app"), "container app is not running");
    }
}
