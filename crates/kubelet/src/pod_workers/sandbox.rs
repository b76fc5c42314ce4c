//! Making and ending sandboxes with their network.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod};
use outrigger_network::{Endpoint, HostPort, Protocol};
use outrigger_runtime::{PidMode, PodRef, SandboxConfig};
use sha2::{Digest as _, Sha256};

use crate::container::{is_host_network, labels, pod_cgroup, pod_resources};
use crate::context::{Context, PodKey};
use crate::files::pod_hostname;
use crate::id_ranges::ID_RANGE;

/// Makes the network, then the sandbox in it (R2.13 to R2.16).
pub(super) async fn create(context: &Context, pod: &Pod, attempt: u32) -> Result<(), String> {
    let key = PodKey::of(pod);
    let host_network = is_host_network(pod);
    let endpoint = Endpoint { pod_uid: key.uid.clone(), attempt };
    let hostname = if host_network {
        String::new()
    } else {
        pod_hostname(pod, &context.config.cluster_domain).map_err(|error| error.to_string())?.kernel
    };
    let mut netns = None;
    let pod_level = pod.spec.as_ref().and_then(|spec| spec.resources.as_ref());
    let mut labels = BTreeMap::from([
        (labels::HOST_NETWORK.to_owned(), host_network.to_string()),
        (labels::RESOURCES.to_owned(), labels::resources(pod_level)),
    ]);
    if !host_network {
        let network = context.network.set_up(&endpoint, &host_ports(pod)).await.map_err(|e| e.to_string())?;
        let ips: Vec<String> = network.ips.iter().map(ToString::to_string).collect();
        labels.insert(labels::IPS.to_owned(), ips.join(","));
        netns = Some(network.netns);
    }
    let spec = pod.spec.as_ref();
    let flag = |value: Option<bool>| value == Some(true);
    let pid = match spec {
        Some(spec) if flag(spec.host_pid) => PidMode::Node,
        Some(spec) if flag(spec.share_process_namespace) => PidMode::Pod,
        _ => PidMode::Container,
    };
    let range = if spec.is_some_and(|spec| spec.host_users == Some(false)) {
        Some(context.id_ranges.take(&context.runtime, &key.uid).await?)
    } else {
        None
    };
    if let Some(range) = &range {
        labels.insert(labels::USERS.to_owned(), range.base.to_string());
    }
    let sysctls = spec.and_then(|spec| spec.security_context.as_ref()?.sysctls.as_ref());
    let sysctls = sysctls.into_iter().flatten().map(|s| (s.name.replace('/', "."), s.value.clone()));
    // Its root has no say over a network namespace that is the node's, so low ports are open to all in it.
    let ports = (range.is_some() && !host_network)
        .then(|| ("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned()));
    let config = SandboxConfig {
        id: sandbox_id(&key.uid, attempt),
        pod: PodRef { name: key.name.clone(), namespace: key.namespace.clone(), uid: key.uid.clone() },
        attempt,
        hostname,
        netns,
        host_ipc: spec.is_some_and(|spec| flag(spec.host_ipc)),
        pid,
        user_namespace: range.as_ref().map(|range| (range.base, ID_RANGE)),
        sysctls: ports.into_iter().chain(sysctls).collect(),
        cgroup: pod_cgroup(&context.config.cgroup_root, pod),
        resources: pod_resources(pod),
        log_directory: context.log_dir(&key),
        labels,
    };
    if let Err(error) = std::fs::create_dir_all(&config.log_directory) {
        return Err(format!("make {}: {error}", config.log_directory.display()));
    }
    if let Err(error) = context.runtime.run_pod_sandbox(config).await {
        if !host_network && let Err(left) = context.network.tear_down(&endpoint).await {
            tracing::warn!(pod = key.name, error = &left as &dyn std::error::Error, "network left behind");
        }
        return Err(error.to_string());
    }
    Ok(())
}

/// Kills what is left in it and takes its network down (R8.18).
pub(super) async fn stop(context: &Context, uid: &str, id: &str, attempt: Option<u32>) -> Result<(), String> {
    context.runtime.stop_pod_sandbox(&id.to_owned()).await.map_err(|error| error.to_string())?;
    if let Some(attempt) = attempt {
        let endpoint = Endpoint { pod_uid: uid.to_owned(), attempt };
        context.network.tear_down(&endpoint).await.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// The same for the same attempt, so that a repeated attempt finds what an interrupted one left.
fn sandbox_id(uid: &str, attempt: u32) -> String {
    let digest = Sha256::digest(format!("{uid}/{attempt}"));
    hex::encode(&digest[..16])
}

/// R2.16: app containers and, which is allowed, sidecars.
fn host_ports(pod: &Pod) -> Vec<HostPort> {
    let sidecar = |container: &&Container| container.restart_policy.as_deref() == Some("Always");
    let spec = pod.spec.iter();
    let containers = spec
        .flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten().filter(sidecar)));
    let ports = containers.flat_map(|container| container.ports.iter().flatten());
    let forward = |port: &k8s_openapi::api::core::v1::ContainerPort| {
        let host_port = u16::try_from(port.host_port?).ok().filter(|port| *port > 0)?;
        Some(HostPort {
            protocol: match port.protocol.as_deref() {
                Some("UDP") => Protocol::Udp,
                Some("SCTP") => Protocol::Sctp,
                _ => Protocol::Tcp,
            },
            host_ip: port.host_ip.as_deref().and_then(|ip| ip.parse().ok()),
            host_port,
            container_port: u16::try_from(port.container_port).ok()?,
        })
    };
    ports.filter_map(forward).collect()
}

/// Ends and removes a sandbox without a Pod.
pub(crate) async fn discard(context: &Context, sandbox: &outrigger_runtime::Sandbox) -> Result<(), String> {
    let attempt = sandbox.netns.is_some().then_some(sandbox.attempt);
    stop(context, &sandbox.pod.uid, &sandbox.id, attempt).await?;
    context.runtime.remove_pod_sandbox(&sandbox.id).await.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// R2.16: of app containers and sidecars, not of what is gone before they run.
    #[test]
    fn which_host_ports_are_forwarded() {
        let container = |name: &str, host: u16, policy: Option<&str>| {
            json!({"name": name, "restartPolicy": policy, "ports": [
                {"containerPort": 80, "hostPort": host, "protocol": "UDP", "hostIP": "127.0.0.1"}, {"containerPort": 81}]})
        };
        let spec = json!({
            "initContainers": [container("i", 1, None), container("s", 2, Some("Always")), container("j", 3, Some("Never"))],
            "containers": [container("a", 4, None)],
        });
        let ports = host_ports(&serde_json::from_value(json!({"spec": spec})).unwrap());
        assert_eq!(ports.iter().map(|port| port.host_port).collect::<Vec<_>>(), [4, 2]);
        let first = &ports[0];
        assert_eq!((first.container_port, first.protocol), (80, Protocol::Udp));
        assert_eq!(first.host_ip, Some("127.0.0.1".parse().unwrap()));
    }
}
