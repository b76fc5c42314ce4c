//! What the API server asks of this node: logs, exec, attach, port-forward (R14.10 to R14.20).

use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{ContainerState as ShownState, ContainerStatus, Pod};
use kube::Api;
use outrigger_api::StatusError;
use outrigger_api::status::Reason;
use outrigger_runtime::{Container, ContainerState, IoOptions, ProcessIo, Runtime, RuntimeError, Sandbox};
use outrigger_streaming::agent::{
    ContainerTarget, Duplex, HttpBody, LogOptions, LogStream, NodeAgent, Session, SessionEnd, StreamOptions,
    TerminalSize,
};
use tokio::sync::mpsc;

use crate::container::{entries, find};
use crate::context::Context;
use crate::logs::{self, open};
use crate::pod_table::is_static;
use crate::runtime_words::exec_failed;
use crate::server::{Caller, NodeServer};

/// The kubelet's side of logs and sessions.
#[derive(Clone)]
pub struct KubeletAgent {
    context: Arc<Context>,
    runtime: Arc<dyn Runtime>,
    client: kube::Client,
}

impl std::fmt::Debug for KubeletAgent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KubeletAgent").finish_non_exhaustive()
    }
}

impl KubeletAgent {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Self { runtime: context.runtime.clone(), client: context.client.clone(), context }
    }

    async fn pod(&self, target: &ContainerTarget) -> Result<Pod, StatusError> {
        // Static Pods are known here under a uid the API does not have; their mirrors' uid means them too.
        let own = self.context.pods.pods().into_iter().find(|pod| {
            let meta = &pod.metadata;
            is_static(pod)
                && meta.name.as_deref() == Some(&target.pod)
                && meta.namespace.as_deref() == Some(&target.namespace)
        });
        if let Some(pod) = own {
            return Ok(Pod::clone(&pod));
        }
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &target.namespace);
        let pod = api.get_opt(&target.pod).await.map_err(StatusError::internal)?;
        let uid = |pod: &Pod| pod.metadata.uid.clone().unwrap_or_default();
        pod.filter(|pod| target.uid.is_empty() || target.uid == uid(pod))
            .ok_or_else(|| StatusError::not_found("pods", "", &target.pod))
    }

    async fn sandboxes(&self, pod: &Pod) -> Result<Vec<Sandbox>, StatusError> {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        self.runtime.list_pod(uid).await.map_err(StatusError::internal)
    }

    /// R14.18.
    async fn running(&self, pod: &Pod, container: &str) -> Result<Container, StatusError> {
        let sandboxes = self.sandboxes(pod).await?;
        let all = sandboxes.into_iter().flat_map(|sandbox| sandbox.containers);
        all.filter(|c| c.name == container && matches!(c.state, ContainerState::Running { .. }))
            .max_by_key(|container| container.attempt)
            .ok_or_else(|| {
                StatusError::new(404, Reason::NotFound, format!("container not found (\"{container}\")"))
            })
    }
}

#[async_trait]
impl NodeAgent for KubeletAgent {
    async fn logs(&self, target: &ContainerTarget, options: &LogOptions) -> Result<LogStream, StatusError> {
        let pod = self.pod(target).await?;
        let container = choose(&pod, &target.container)?;
        let sandboxes = self.sandboxes(&pod).await?;
        let mut instances: Vec<Container> = sandboxes
            .into_iter()
            .flat_map(|sandbox| sandbox.containers)
            .filter(|c| c.name == container && c.state != ContainerState::Created)
            .collect();
        instances.sort_by_key(|instance| instance.attempt);
        let instance = pick(&pod, &container, &instances, options.previous)?;
        let source = logs::Source {
            runtime: self.runtime.clone(),
            pod_uid: pod.metadata.uid.clone().unwrap_or_default(),
            instance: instance.id.clone(),
            path: instance.log_path.clone(),
        };
        match open(source, options.clone()).await {
            Ok(stream) => Ok(stream),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                // R14.12: the record is there and the file is not.
                let text = format!("unable to retrieve container logs for outrigger://{}", instance.id);
                Ok(Box::pin(futures::stream::once(async move { Ok(text.into()) })))
            }
            Err(error) => Err(StatusError::internal(error)),
        }
    }

    async fn exec(
        &self,
        target: &ContainerTarget,
        command: &[String],
        streams: StreamOptions,
    ) -> Result<Session, StatusError> {
        let pod = self.pod(target).await?;
        let name = choose(&pod, &target.container)?;
        let container = self.running(&pod, &name).await?;
        let io = options(streams);
        let process = self.runtime.exec(&container.id, command, io).await;
        Ok(session(process.map_err(|error| not_executed(&container.id, error))?))
    }

    async fn attach(&self, target: &ContainerTarget, streams: StreamOptions) -> Result<Session, StatusError> {
        let pod = self.pod(target).await?;
        let name = choose(&pod, &target.container)?;
        let container = self.running(&pod, &name).await?;
        // R14.19: the container's own tty counts.
        let tty = find(&pod, &name).is_some_and(|entry| entry.container.tty == Some(true));
        let io = options(StreamOptions { tty, stderr: streams.stderr && !tty, ..streams });
        Ok(session(self.runtime.attach(&container.id, io).await.map_err(refused)?))
    }

    async fn port_forward(
        &self,
        target: &ContainerTarget,
        port: u16,
    ) -> Result<Box<dyn Duplex>, StatusError> {
        let pod = self.pod(target).await?;
        let sandboxes = self.sandboxes(&pod).await?;
        let sandbox = sandboxes.iter().rev().find(|sandbox| sandbox.ready).ok_or_else(|| {
            StatusError::bad_request(format!("unable to forward port: pod {} is not running", target.pod))
        })?;
        Ok(Box::new(self.runtime.port_forward(&sandbox.id, port).await.map_err(refused)?))
    }

    async fn http(&self, request: http::Request<HttpBody>) -> http::Response<HttpBody> {
        NodeServer::new(self.context.clone()).handle(Caller::ApiServer, request).await
    }
}

fn refused(error: RuntimeError) -> StatusError {
    match error {
        RuntimeError::NotFound(_) | RuntimeError::NotRunning(_) => {
            StatusError::new(404, Reason::NotFound, error.to_string())
        }
        RuntimeError::CannotExecute(_)
        | RuntimeError::Io { .. }
        | RuntimeError::InUse(_)
        | RuntimeError::SandboxGone(_) => StatusError::internal(error),
    }
}

/// R14.18.
fn not_executed(container: &str, error: RuntimeError) -> StatusError {
    if matches!(error, RuntimeError::CannotExecute(_)) {
        let text = format!("error executing command in container: {}", exec_failed(container, &error));
        return StatusError::internal(text);
    }
    refused(error)
}

fn options(streams: StreamOptions) -> IoOptions {
    IoOptions {
        stdin: streams.stdin,
        stdout: streams.stdout,
        stderr: streams.stderr && !streams.tty,
        tty: streams.tty,
    }
}

fn session(process: ProcessIo) -> Session {
    let resize = process.resize.map(|towards| {
        let (sender, mut sizes) = mpsc::channel::<TerminalSize>(4);
        // Ends when the session drops its end.
        tokio::spawn(async move {
            while let Some(size) = sizes.recv().await {
                if towards.send((size.width, size.height)).await.is_err() {
                    break;
                }
            }
        });
        sender
    });
    let exit = process.exit;
    let end = Box::pin(async move {
        match exit.await {
            Ok(Some(code)) => SessionEnd::Exited(code),
            Ok(None) => SessionEnd::Detached,
            Err(error) => SessionEnd::Failed(error.to_string()),
        }
    });
    Session { stdin: process.stdin, stdout: process.stdout, stderr: process.stderr, resize, end }
}

/// R14.10.
fn choose(pod: &Pod, wanted: &str) -> Result<String, StatusError> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    if !wanted.is_empty() {
        return match find(pod, wanted) {
            Some(_) => Ok(wanted.to_owned()),
            None => Err(StatusError::bad_request(format!("container {wanted} is not valid for pod {name}"))),
        };
    }
    let apps = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
    if let [only] = apps {
        return Ok(only.name.clone());
    }
    let all: Vec<String> = entries(pod).map(|entry| entry.container.name.clone()).collect();
    let all = all.join(" ");
    Err(StatusError::bad_request(format!(
        "a container name must be specified for pod {name}, choose one of: [{all}]"
    )))
}

/// R14.12: the instance that the Pod's status speaks of; it is what the client has seen.
fn named<'a>(
    pod: &Pod,
    container: &str,
    instances: &'a [Container],
    previous: bool,
) -> Option<&'a Container> {
    let status = status_of(pod, container)?;
    let ended = |state: &Option<ShownState>| {
        let state = state.as_ref()?;
        state.terminated.as_ref()?.container_id.clone()
    };
    let runs = status.state.as_ref().is_some_and(|state| state.running.is_some());
    let id = match previous {
        true => ended(&status.last_state)?,
        false if runs => status.container_id.clone()?,
        false => ended(&status.state).or_else(|| ended(&status.last_state))?,
    };
    let id = id.rsplit('/').next()?;
    instances.iter().find(|instance| instance.id == id)
}

/// R14.12.
fn pick<'a>(
    pod: &Pod,
    container: &str,
    instances: &'a [Container],
    previous: bool,
) -> Result<&'a Container, StatusError> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    if let Some(instance) = named(pod, container, instances, previous) {
        return Ok(instance);
    }
    if previous {
        let waiting = status_of(pod, container)
            .is_some_and(|s| s.state.as_ref().is_some_and(|state| state.waiting.is_some()));
        let newest_ended =
            instances.last().filter(|c| waiting && matches!(c.state, ContainerState::Exited(_)));
        let before = instances.len().checked_sub(2).and_then(|at| instances.get(at));
        return newest_ended.or(before).ok_or_else(|| {
            let text = format!("previous terminated container \"{container}\" in pod \"{name}\" not found");
            StatusError::bad_request(text)
        });
    }
    instances.last().ok_or_else(|| {
        let state = status_of(pod, container).and_then(|status| status.state.as_ref());
        let waiting = state.and_then(|state| state.waiting.as_ref()).and_then(|w| w.reason.as_deref());
        let text = match waiting {
            None => format!("container \"{container}\" in pod \"{name}\" is not available"),
            Some(reason) => {
                let reason = match reason {
                    "ErrImagePull" => "image can't be pulled",
                    "ImagePullBackOff" => "trying and failing to pull image",
                    other => other,
                };
                format!("container \"{container}\" in pod \"{name}\" is waiting to start: {reason}")
            }
        };
        StatusError::bad_request(text)
    })
}

fn status_of<'a>(pod: &'a Pod, container: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let lists =
        [&status.init_container_statuses, &status.container_statuses, &status.ephemeral_container_statuses];
    lists.into_iter().flatten().flatten().find(|status| status.name == container)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(status: serde_json::Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p"},
            "spec": {"initContainers": [{"name": "i"}], "containers": [{"name": "a"}, {"name": "b"}],
                "ephemeralContainers": [{"name": "d"}]},
            "status": {"containerStatuses": [status]},
        }))
        .unwrap()
    }

    /// R14.10: the same words as the API server's.
    #[test]
    fn which_container_is_meant() {
        let pod = pod(json!({"name": "a", "image": "", "imageID": "", "ready": false, "restartCount": 0}));
        let text = |wanted| choose(&pod, wanted).unwrap_err().message;
        assert_eq!(text(""), "a container name must be specified for pod p, choose one of: [i a b d]");
        assert_eq!(text("x"), "container x is not valid for pod p");
        assert_eq!(["i", "b", "d"].map(|name| choose(&pod, name).unwrap()), ["i", "b", "d"]);
    }

    /// R14.12: which instance, and what is said where there is none.
    #[test]
    fn which_instance_is_meant() {
        let epoch = outrigger_api::WallTime::UNIX_EPOCH;
        let instance = |id: &str, state| Container {
            id: id.into(),
            name: "a".into(),
            attempt: 0,
            state,
            created_at: epoch,
            log_path: "/log".into(),
            labels: Default::default(),
        };
        let ended = || {
            ContainerState::Exited(outrigger_runtime::Exit {
                code: 1,
                signal: None,
                started_at: None,
                finished_at: epoch,
                oom_killed: false,
                start_error: String::new(),
            })
        };
        let runs = || ContainerState::Running { started_at: epoch, pid: 1 };
        let waiting = |reason: &str| {
            json!({"name": "a", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": reason}}})
        };
        let up = json!({"name": "a", "image": "", "imageID": "", "ready": true, "restartCount": 1, "state": {"running": {}}});
        let id = |status: &serde_json::Value, instances: &[Container], previous| {
            pick(&pod(status.clone()), "a", instances, previous).map(|it| it.id.clone()).map_err(|error| {
                assert_eq!(error.code, 400);
                error.message
            })
        };
        let two = [instance("1", ended()), instance("2", runs())];
        assert_eq!(id(&up, &two, false), Ok("2".into()));
        assert_eq!(id(&up, &two, true), Ok("1".into()));
        // In a crash loop the newest is the one that ended, and the one before the next.
        let down = [instance("1", ended()), instance("2", ended())];
        assert_eq!(id(&waiting("CrashLoopBackOff"), &down, false), Ok("2".into()));
        assert_eq!(id(&waiting("CrashLoopBackOff"), &down, true), Ok("2".into()));
        let none = "previous terminated container \"a\" in pod \"p\" not found";
        assert_eq!(id(&up, &two[1..], true), Err(none.into()));
        for (reason, told) in [
            ("ErrImagePull", "image can't be pulled"),
            ("ImagePullBackOff", "trying and failing to pull image"),
            ("PodInitializing", "PodInitializing"),
            ("ErrImageNeverPull", "ErrImageNeverPull"),
        ] {
            let text = format!("container \"a\" in pod \"p\" is waiting to start: {told}");
            assert_eq!(id(&waiting(reason), &[], false), Err(text));
        }
        let other = json!({"name": "b", "image": "", "imageID": "", "ready": true, "restartCount": 0});
        assert_eq!(id(&other, &[], false), Err("container \"a\" in pod \"p\" is not available".into()));
    }
}
