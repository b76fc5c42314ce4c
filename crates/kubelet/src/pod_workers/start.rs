//! Starting one container: image, configuration, create, start (R5.29, R5.30).

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::Pod;
use outrigger_pod_lifecycle::{FailureReason, Operation, field_path};
use tokio_util::sync::CancellationToken;

use crate::container::{Entry, StartRequest, prepare};
use crate::context::{Context, PodKey};

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
    pub(super) entry: Entry,
    pub(super) attempt: u32,
    pub(super) sandbox: String,
    pub(super) pod_ips: Vec<String>,
    pub(super) target: Option<String>,
    pub(super) operation: Arc<Mutex<Operation>>,
    pub(super) cancel: CancellationToken,
}

impl Start {
    pub(super) async fn run(self) -> Result<(), StartFailure> {
        let (context, pod) = (&*self.context, &*self.pod);
        let path = field_path(self.entry.role, &self.entry.container.name);
        let failed = |reason, message: String| StartFailure::Failed { reason, message };
        let image = tokio::select! {
            () = self.cancel.cancelled() => return Err(StartFailure::Cancelled),
            image = context.images.ensure(context, pod, &path, &self.entry.container) => image,
        };
        let image = image.map_err(|failure| failed(failure.reason, failure.message))?;
        *self.operation.lock().unwrap_or_else(PoisonError::into_inner) = Operation::Starting;
        let request = StartRequest {
            context,
            pod,
            entry: &self.entry,
            attempt: self.attempt,
            image: &image,
            pod_ips: &self.pod_ips,
            target: self.target.clone(),
        };
        let config = tokio::select! {
            () = self.cancel.cancelled() => return Err(StartFailure::Cancelled),
            config = prepare(&request) => config,
        };
        let config =
            config.map_err(|error| failed(FailureReason::CreateContainerConfigError, error.to_string()))?;
        let (id, log_path) = (config.id.clone(), config.log_path.clone());
        context
            .runtime
            .create_container(&self.sandbox, config)
            .await
            .map_err(|error| failed(FailureReason::CreateContainerError, error.to_string()))?;
        context.events.normal(pod, &path, "Created", "Container created");
        link_log(context, pod, &self.entry.container.name, &id, &log_path);
        context
            .runtime
            .start_container(&id)
            .await
            .map_err(|error| failed(FailureReason::RunContainerError, error.to_string()))?;
        context.events.normal(pod, &path, "Started", "Container started");
        Ok(())
    }
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
