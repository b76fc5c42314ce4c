//! A runtime that counts what it is asked and how long that takes (N22), under the operation names of CRI.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use outrigger_api::clock::SharedClock;
use outrigger_runtime::{
    ContainerConfig, ContainerId, IoOptions, ProcessIo, Resources, Runtime, RuntimeError, RuntimeEvent,
    Sandbox, SandboxConfig, SandboxId, SandboxStats,
};
use tokio::sync::broadcast;

use super::Metrics;

/// Any runtime, measured.
#[derive(Debug)]
pub(crate) struct MeasuredRuntime {
    pub(crate) inner: Arc<dyn Runtime>,
    pub(crate) metrics: Metrics,
    pub(crate) clock: SharedClock,
}

impl MeasuredRuntime {
    async fn measure<T>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T, RuntimeError>>,
    ) -> Result<T, RuntimeError> {
        let began = self.clock.now().mono;
        let result = work.await;
        self.metrics.runtime_operation(operation, self.clock.now().mono.since(began), result.is_err());
        result
    }
}

#[async_trait]
impl Runtime for MeasuredRuntime {
    async fn run_pod_sandbox(&self, config: SandboxConfig) -> Result<(), RuntimeError> {
        self.measure("run_podsandbox", self.inner.run_pod_sandbox(config)).await
    }

    async fn stop_pod_sandbox(&self, id: &SandboxId) -> Result<(), RuntimeError> {
        self.measure("stop_podsandbox", self.inner.stop_pod_sandbox(id)).await
    }

    async fn remove_pod_sandbox(&self, id: &SandboxId) -> Result<(), RuntimeError> {
        self.measure("remove_podsandbox", self.inner.remove_pod_sandbox(id)).await
    }

    async fn create_container(
        &self,
        sandbox: &SandboxId,
        config: ContainerConfig,
    ) -> Result<(), RuntimeError> {
        self.measure("create_container", self.inner.create_container(sandbox, config)).await
    }

    async fn start_container(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        self.measure("start_container", self.inner.start_container(id)).await
    }

    async fn signal_container(&self, id: &ContainerId, signal: i32) -> Result<(), RuntimeError> {
        self.measure("stop_container", self.inner.signal_container(id, signal)).await
    }

    async fn remove_container(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        self.measure("remove_container", self.inner.remove_container(id)).await
    }

    async fn update_resources(
        &self,
        id: &ContainerId,
        resources: &Resources,
        labels: &BTreeMap<String, String>,
    ) -> Result<(), RuntimeError> {
        self.measure("update_container", self.inner.update_resources(id, resources, labels)).await
    }

    async fn update_pod_resources(
        &self,
        id: &SandboxId,
        resources: &Resources,
        labels: &BTreeMap<String, String>,
    ) -> Result<(), RuntimeError> {
        self.measure("update_podsandbox_resources", self.inner.update_pod_resources(id, resources, labels))
            .await
    }

    async fn exec(
        &self,
        id: &ContainerId,
        command: &[String],
        io: IoOptions,
    ) -> Result<ProcessIo, RuntimeError> {
        self.measure("exec", self.inner.exec(id, command, io)).await
    }

    async fn attach(&self, id: &ContainerId, io: IoOptions) -> Result<ProcessIo, RuntimeError> {
        self.measure("attach", self.inner.attach(id, io)).await
    }

    async fn port_forward(
        &self,
        sandbox: &SandboxId,
        port: u16,
    ) -> Result<tokio::net::TcpStream, RuntimeError> {
        self.measure("port_forward", self.inner.port_forward(sandbox, port)).await
    }

    async fn reopen_log(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        self.measure("reopen_container_log", self.inner.reopen_log(id)).await
    }

    async fn list(&self) -> Result<Vec<Sandbox>, RuntimeError> {
        self.measure("list_podsandbox", self.inner.list()).await
    }

    async fn list_pod(&self, pod_uid: &str) -> Result<Vec<Sandbox>, RuntimeError> {
        self.measure("list_podsandbox", self.inner.list_pod(pod_uid)).await
    }

    async fn stats(&self) -> Result<Vec<SandboxStats>, RuntimeError> {
        self.measure("list_pod_sandbox_stats", self.inner.stats()).await
    }

    async fn limit_pods(&self, cgroup: &str, resources: &Resources) -> Result<(), RuntimeError> {
        self.inner.limit_pods(cgroup, resources).await
    }

    fn events(&self) -> broadcast::Receiver<RuntimeEvent> {
        self.inner.events()
    }
}
