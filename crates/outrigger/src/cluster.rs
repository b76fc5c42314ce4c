//! A whole cluster in this process: store, API server, scheduler, controllers and one node.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use outrigger_api::clock::{SharedClock, SystemClock};
use outrigger_apiserver::{ApiServer, Config as ApiConfig, Running, ServiceRange};
use outrigger_images::{ImageStore, Progress, RegistryConfig, StoreOptions};
use outrigger_kubelet::{Kubelet, KubeletConfig};
use outrigger_network::{NetworkConfig, NodeNetwork, PodNetworking};
use outrigger_runtime::{EmbeddedRuntime, Runtime, RuntimeConfig, features};
use outrigger_store::{EmbeddedStore, HistoryLimits, Store};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cli::NodeOptions;
use crate::failure::{Failure, MISSING_FEATURE, USAGE};
use crate::images::Images;
use crate::node::{self, Agents};

/// How a cluster is to be.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) data_dir: PathBuf,
    /// Holds images; shared by runs.
    pub(crate) image_dir: PathBuf,
    pub(crate) log_root: PathBuf,
    pub(crate) listen: SocketAddr,
    pub(crate) node: NodeOptions,
    /// Told of image pulls.
    pub(crate) progress: Option<Progress>,
}

/// A running cluster.
pub(crate) struct Cluster {
    pub(crate) server: Running,
    pub(crate) node_name: String,
    runtime: Arc<EmbeddedRuntime>,
    network: Arc<NodeNetwork>,
    store: Arc<EmbeddedStore>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Cluster {
    /// Starts everything. On return kubectl succeeds and the node is Ready.
    pub(crate) async fn start(options: Options) -> Result<Self, Failure> {
        require_features()?;
        let clock: SharedClock = Arc::new(SystemClock);
        std::fs::create_dir_all(&options.data_dir)
            .map_err(Failure::doing(format!("cannot make {}", options.data_dir.display())))?;
        let service_range = ServiceRange::parse(&options.node.service_cidr).ok_or_else(|| {
            let given = &options.node.service_cidr;
            Failure::new(USAGE, format!("--service-cidr {given}: not an IPv4 range between /8 and /30"))
        })?;
        let folder = options.data_dir.join("store");
        let store = EmbeddedStore::open(&folder, HistoryLimits::default(), Arc::clone(&clock));
        let store = Arc::new(store.map_err(Failure::doing("cannot open the store"))?);
        let (network, runtime) = node_parts(&options, &clock).await?;
        let node_name = options.node.node_name.clone().unwrap_or_else(node::host_name);
        let node_ip = node::address().unwrap_or_else(|| network.gateway());
        let agents = Agents::default();
        let server = ApiServer::start(ApiConfig {
            listen: options.listen,
            advertise: advertised(options.listen, network.gateway()),
            data_dir: options.data_dir.clone(),
            node_name: node_name.clone(),
            service_range,
            store: Arc::clone(&store) as Arc<dyn Store>,
            clock: Arc::clone(&clock),
            nodes: Arc::new(agents.clone()),
        })
        .await
        .map_err(Failure::doing("cannot start the API server"))?;
        let cluster = Self {
            server,
            node_name,
            runtime,
            network,
            store,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        cluster.start_components(&clock);
        cluster.start_kubelet(&options, node_ip, clock, &agents).await?;
        Ok(cluster)
    }

    fn start_components(&self, clock: &SharedClock) {
        let scheduler = outrigger_scheduler::Config {
            name: "default-scheduler".to_owned(),
            host: self.node_name.clone(),
            clock: Arc::clone(clock),
        };
        let client = self.server.client("system:kube-scheduler");
        self.tasks.spawn(outrigger_scheduler::run(client, scheduler, self.stop.clone()));
        let controllers =
            outrigger_controllers::Config { ca_certificate: self.server.pki().ca.certificate.clone() };
        let client = self.server.client("system:kube-controller-manager");
        self.tasks.spawn(outrigger_controllers::run(client, controllers, self.stop.clone()));
    }

    async fn start_kubelet(
        &self,
        options: &Options,
        node_ip: IpAddr,
        clock: SharedClock,
        agents: &Agents,
    ) -> Result<(), Failure> {
        let registries = RegistryConfig {
            certs_dirs: options.node.registry_config.iter().cloned().collect(),
            ..RegistryConfig::default()
        };
        let store = open_images(&options.image_dir, registries, &clock).await?;
        let images = Images::new(store, options.progress.clone());
        let mut config = KubeletConfig::new(&self.node_name, options.data_dir.join("kubelet"));
        config.log_root.clone_from(&options.log_root);
        config.node_ips = vec![node_ip];
        let kubelet = Kubelet::new(
            config,
            self.server.client(&format!("system:node:{}", self.node_name)),
            Arc::clone(&self.runtime) as Arc<dyn Runtime>,
            Arc::clone(&self.network) as Arc<dyn PodNetworking>,
            images,
            clock,
        );
        agents.add(&self.node_name, Arc::new(kubelet.agent()));
        let mut ready = kubelet.ready();
        let stop = self.stop.clone();
        self.tasks.spawn(kubelet.run(stop));
        let ended = |_| Failure::other("the kubelet ended before its node was ready");
        ready.wait_for(|ready| *ready).await.map(drop).map_err(ended)?;
        self.wait_until_schedulable().await
    }

    /// A new node carries a taint until the controllers have seen that it is ready.
    async fn wait_until_schedulable(&self) -> Result<(), Failure> {
        let nodes = kube::Api::<Node>::all(self.client());
        let free = |node: Option<&Node>| {
            let taints = node.and_then(|node| node.spec.as_ref()).map(|spec| spec.taints.as_ref());
            taints.is_some_and(|taints| {
                !taints.into_iter().flatten().any(|taint| taint.key == "node.kubernetes.io/not-ready")
            })
        };
        kube::runtime::wait::await_condition(nodes, &self.node_name, free)
            .await
            .map(drop)
            .map_err(Failure::doing("the node did not become schedulable"))
    }

    /// A client with every right.
    pub(crate) fn client(&self) -> kube::Client {
        self.server.client("kubernetes-admin")
    }

    /// Stops the components. Containers run on.
    pub(crate) async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.server.stop().await;
        self.store.close().await;
    }

    /// Ends every container and takes the network down. Call after [`Cluster::stop`].
    pub(crate) async fn remove_node(&self, data_dir: &Path) {
        remove_containers(&self.runtime).await;
        remove_network(&self.network).await;
        unmount_below(data_dir);
    }
}

/// Exit 69 if nothing can run here, naming what is missing and how to get it.
pub(crate) fn require_features() -> Result<(), Failure> {
    match features().into_iter().find(|feature| feature.required && !feature.present) {
        Some(missing) => Err(Failure::new(
            MISSING_FEATURE,
            format!("this machine lacks {}: {}; {}", missing.name, missing.detail, missing.fix),
        )),
        None => Ok(()),
    }
}

async fn node_parts(
    options: &Options,
    clock: &SharedClock,
) -> Result<(Arc<NodeNetwork>, Arc<EmbeddedRuntime>), Failure> {
    let network = open_network(&options.data_dir, options.node.pod_cidr).await?;
    let config = RuntimeConfig { root: options.data_dir.join("runtime"), clock: Arc::clone(clock) };
    let runtime = EmbeddedRuntime::open(config).await;
    let runtime = runtime.map_err(Failure::doing("cannot open the container runtime"))?;
    Ok((network, Arc::new(runtime)))
}

/// The network of a data folder; bridge and table are named after it, so that two clusters do not meet.
pub(crate) async fn open_network(
    data_dir: &Path,
    pod_cidr: ipnet::Ipv4Net,
) -> Result<Arc<NodeNetwork>, Failure> {
    let id = short_id(data_dir);
    let network = NodeNetwork::open(NetworkConfig {
        bridge: format!("or{id}"),
        table: format!("outrigger-{id}"),
        pod_cidr,
        state_dir: data_dir.join("network"),
        netns_dir: data_dir.join("netns"),
    });
    network.await.map(Arc::new).map_err(Failure::doing("cannot set up the Pod network"))
}

/// Eight hexadecimal digits of the folder's path (FNV-1a): the same at every start.
fn short_id(path: &Path) -> String {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let bytes = path.as_os_str().as_encoded_bytes();
    let hash =
        bytes.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    format!("{hash:08x}")
}

pub(crate) async fn open_images(
    folder: &Path,
    registries: RegistryConfig,
    clock: &SharedClock,
) -> Result<ImageStore, Failure> {
    let (folder, clock) = (folder.to_owned(), Arc::clone(clock));
    let options = StoreOptions { registries, ..StoreOptions::default() };
    let opened = tokio::task::spawn_blocking(move || ImageStore::open(&folder, options, clock)).await;
    let opened = opened.map_err(Failure::doing("cannot open the image store"))?;
    opened.map_err(Failure::doing("cannot open the image store"))
}

pub(crate) async fn remove_containers(runtime: &EmbeddedRuntime) {
    for sandbox in runtime.list().await.unwrap_or_default() {
        let stopped = runtime.stop_pod_sandbox(&sandbox.id).await;
        let removed = runtime.remove_pod_sandbox(&sandbox.id).await;
        if let Err(error) = stopped.and(removed) {
            tracing::warn!(%error, sandbox = sandbox.id, "a sandbox could not be removed");
        }
    }
}

/// Takes down what is still mounted below a folder (volumes in memory), innermost first.
pub(crate) fn unmount_below(folder: &Path) {
    let Ok(folder) = folder.canonicalize() else { return };
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut targets: Vec<PathBuf> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|target| PathBuf::from(target.replace("\\040", " ")))
        .filter(|target| target.starts_with(&folder) && *target != folder)
        .collect();
    targets.sort_by_key(|target| std::cmp::Reverse(target.components().count()));
    for target in targets {
        if let Err(error) = rustix::mount::unmount(&target, rustix::mount::UnmountFlags::DETACH) {
            tracing::warn!(%error, target = %target.display(), "a mount stays");
        }
    }
}

pub(crate) async fn remove_network(network: &NodeNetwork) {
    for (endpoint, _) in network.list().await.unwrap_or_default() {
        if let Err(error) = network.tear_down(&endpoint).await {
            tracing::warn!(%error, pod = endpoint.pod_uid, "a Pod's network could not be taken down");
        }
    }
    if let Err(error) = network.remove().await {
        tracing::warn!(%error, "the Pod network could not be removed");
    }
}

/// Pods reach the server at the bridge, unless it serves one other address only.
fn advertised(listen: SocketAddr, gateway: IpAddr) -> IpAddr {
    if listen.ip().is_loopback() || listen.ip().is_unspecified() { gateway } else { listen.ip() }
}
