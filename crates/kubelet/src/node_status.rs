//! The Node object and its Lease (N10 to N16).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{
    ContainerImage, DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeFeatures,
    NodeSpec, NodeStatus, NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, OwnerReference, Time};
use kube::Api;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use outrigger_api::WallTime;
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::KubeletConfig;
use crate::context::Context;
use crate::env::NodeAllocatable;

/// N14.
const RENEW: Duration = Duration::from_secs(10);
const LEASE_SECONDS: i32 = 40;
/// N14: written at least this often.
const REFRESH_EVERY: u32 = 30;
/// The wait after a failed registration.
const RETRY: Duration = Duration::from_millis(500);
/// N11: the hard eviction threshold.
const EVICTION_MEMORY_KIB: u64 = 100 * 1024;

/// What the machine has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Machine {
    cpus: usize,
    memory_kib: u64,
    storage_kib: u64,
}

impl Machine {
    /// Looks at the machine.
    pub(crate) fn look(config: &KubeletConfig) -> Self {
        let meminfo = read("/proc/meminfo");
        let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
        let total = total.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        let storage = rustix::fs::statvfs(&config.data_dir).map_or(0, |fs| fs.f_blocks * fs.f_frsize / 1024);
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { cpus, memory_kib: total.unwrap_or(0), storage_kib: storage }
    }

    fn capacity(&self, config: &KubeletConfig) -> NodeAllocatable {
        BTreeMap::from([
            ("cpu".to_owned(), Quantity(self.cpus.to_string())),
            ("memory".to_owned(), Quantity(format!("{}Ki", self.memory_kib))),
            ("ephemeral-storage".to_owned(), Quantity(format!("{}Ki", self.storage_kib))),
            ("pods".to_owned(), Quantity(config.max_pods.to_string())),
        ])
    }

    /// N11.
    pub(crate) fn allocatable(&self, config: &KubeletConfig) -> NodeAllocatable {
        let mut all = self.capacity(config);
        let memory = self.memory_kib.saturating_sub(EVICTION_MEMORY_KIB);
        all.insert("memory".to_owned(), Quantity(format!("{memory}Ki")));
        let storage = u128::from(self.storage_kib) * 1024 * 9 / 10;
        all.insert("ephemeral-storage".to_owned(), Quantity(storage.to_string()));
        all
    }
}

/// Registers the Node, then keeps its Lease and status until `stop`. `ready` turns true with the first status.
pub(crate) async fn keep(
    context: Arc<Context>,
    machine: Machine,
    ready: watch::Sender<bool>,
    stop: CancellationToken,
) {
    let mut registered: Option<Node> = None;
    let mut round = 0;
    loop {
        let mut wait = RENEW;
        match &registered {
            None => match register(&context, &machine).await {
                Ok(node) => {
                    info!(node = context.config.node_name, "registered");
                    context.events.node(&node, "Starting", "Starting kubelet.");
                    let text = format!("Node {} status is now: NodeReady", context.config.node_name);
                    context.events.node(&node, "NodeReady", text);
                    ready.send_replace(true);
                    registered = Some(node);
                    continue;
                }
                Err(error) => {
                    warn!(%error, "the node is not registered yet");
                    wait = RETRY;
                }
            },
            Some(node) => {
                if let Err(error) = renew(&context, node).await {
                    warn!(%error, "lease not renewed");
                }
                round += 1;
                if round % REFRESH_EVERY == 0
                    && let Err(error) = write_status(&context, &machine).await
                {
                    warn!(%error, "node status not written");
                    let gone = matches!(&error, kube::Error::Api(status) if status.is_not_found());
                    if gone {
                        registered = None;
                    }
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

async fn register(context: &Context, machine: &Machine) -> kube::Result<Node> {
    let api: Api<Node> = Api::all(context.client.clone());
    let config = &context.config;
    let node = Node {
        metadata: ObjectMeta {
            name: Some(config.node_name.clone()),
            labels: Some(labels(config)),
            annotations: Some(BTreeMap::from([(
                "volumes.kubernetes.io/controller-managed-attach-detach".to_owned(),
                "true".to_owned(),
            )])),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec {
            taints: Some(config.taints.clone()).filter(|taints| !taints.is_empty()),
            ..NodeSpec::default()
        }),
        status: None,
    };
    match api.create(&PostParams::default(), &node).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.is_already_exists() || status.is_conflict() => {
            let patch = json!({"metadata": {"labels": labels(config)}});
            api.patch(&config.node_name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        }
        Err(error) => return Err(error),
    }
    write_status(context, machine).await
}

async fn write_status(context: &Context, machine: &Machine) -> kube::Result<Node> {
    let api: Api<Node> = Api::all(context.client.clone());
    let old = api.get(&context.config.node_name).await?;
    let before = old.status.and_then(|status| status.conditions).unwrap_or_default();
    let now = context.clock.now().wall;
    let status = NodeStatus {
        capacity: Some(machine.capacity(&context.config)),
        allocatable: Some(machine.allocatable(&context.config)),
        conditions: Some(conditions(&before, now)),
        addresses: Some(addresses(&context.config)),
        daemon_endpoints: Some(NodeDaemonEndpoints {
            kubelet_endpoint: Some(DaemonEndpoint { port: i32::from(context.config.port) }),
        }),
        node_info: Some(node_info(&context.config)),
        images: Some(Vec::<ContainerImage>::new()),
        features: Some(NodeFeatures { supplemental_groups_policy: Some(true) }),
        ..NodeStatus::default()
    };
    let patch = json!({"status": status});
    api.patch_status(&context.config.node_name, &PatchParams::default(), &Patch::Strategic(patch)).await
}

/// The labels this kubelet registers its Node with.
pub(crate) fn labels(config: &KubeletConfig) -> BTreeMap<String, String> {
    let mut labels = config.labels.clone();
    for prefix in ["kubernetes.io", "beta.kubernetes.io"] {
        labels.insert(format!("{prefix}/os"), "linux".to_owned());
        labels.insert(format!("{prefix}/arch"), arch().to_owned());
    }
    labels.insert("kubernetes.io/hostname".to_owned(), config.node_name.clone());
    labels
}

/// Whether the kernel enforces AppArmor profiles.
pub(crate) fn has_app_armor() -> bool {
    read("/sys/module/apparmor/parameters/enabled") == "Y"
}

fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// N12.
fn conditions(before: &[NodeCondition], now: WallTime) -> Vec<NodeCondition> {
    let wanted = [
        ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
    ];
    let condition = |(kind, status, reason, message): (&str, &str, &str, &str)| {
        let same = before.iter().find(|old| old.type_ == kind && old.status == status);
        let since = same.and_then(|old| old.last_transition_time.clone()).unwrap_or(Time(now));
        NodeCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_heartbeat_time: Some(Time(now)),
            last_transition_time: Some(since),
        }
    };
    wanted.into_iter().map(condition).collect()
}

/// N13.
fn addresses(config: &KubeletConfig) -> Vec<NodeAddress> {
    let internal =
        config.node_ips.iter().map(|ip| NodeAddress { type_: "InternalIP".into(), address: ip.to_string() });
    let name = NodeAddress { type_: "Hostname".into(), address: config.node_name.clone() };
    internal.chain([name]).collect()
}

/// N13.
fn node_info(config: &KubeletConfig) -> NodeSystemInfo {
    let release = read("/etc/os-release");
    let pretty = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    let uuid = read("/sys/class/dmi/id/product_uuid");
    let machine_id = read("/etc/machine-id");
    NodeSystemInfo {
        system_uuid: if uuid.is_empty() { machine_id.clone() } else { uuid },
        machine_id,
        boot_id: read("/proc/sys/kernel/random/boot_id"),
        kernel_version: rustix::system::uname().release().to_string_lossy().into_owned(),
        os_image: pretty.unwrap_or("Linux").trim_matches('"').to_owned(),
        container_runtime_version: config.runtime_version.clone(),
        kubelet_version: config.version.clone(),
        operating_system: "linux".into(),
        architecture: arch().into(),
        ..NodeSystemInfo::default()
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// N14.
async fn renew(context: &Context, node: &Node) -> kube::Result<()> {
    let api: Api<Lease> = Api::namespaced(context.client.clone(), "kube-node-lease");
    let name = &context.config.node_name;
    let now = MicroTime(context.clock.now().wall);
    let patch = json!({"spec": {
        "holderIdentity": name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": now}});
    match api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => {}
        other => return other.map(drop),
    }
    let lease = Lease {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: Some("kube-node-lease".into()),
            owner_references: Some(vec![OwnerReference {
                api_version: "v1".into(),
                kind: "Node".into(),
                name: name.clone(),
                uid: node.metadata.uid.clone().unwrap_or_default(),
                ..OwnerReference::default()
            }]),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(name.clone()),
            lease_duration_seconds: Some(LEASE_SECONDS),
            renew_time: Some(now),
            ..LeaseSpec::default()
        }),
    };
    api.create(&PostParams::default(), &lease).await.map(drop)
}
