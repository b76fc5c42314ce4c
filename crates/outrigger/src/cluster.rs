//! A whole cluster in this process: store, API server, scheduler, controllers and one node.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use outrigger_api::clock::{SharedClock, SystemClock};
use outrigger_apiserver::{ApiServer, Config as ApiConfig, Running, ServiceRange};
use outrigger_images::{ImageStore, Progress, RegistryConfig, StoreOptions};
use outrigger_kubelet::{
    ConfigurationError, Kubelet, KubeletConfig, KubeletConfiguration, ListenError, Listeners, NodeShutdown,
    ServingKeys, ShutdownGrace,
};
use outrigger_network::{NetworkConfig, NodeNetwork, PodNetworking};
use outrigger_runtime::{EmbeddedRuntime, Runtime, RuntimeConfig, features};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cli::NodeOptions;
use crate::failure::{Failure, MISSING_FEATURE, USAGE};
use crate::images::Images;
use crate::names::{NameService, Sockets};
use crate::node::{self, Agents};
use crate::store::{Opened, StoreChoice};

/// Bytes of a disk below which Pods are evicted, unless a configuration file names thresholds.
const DISK_FLOOR: u64 = 512 * 1024 * 1024;

/// The place of the name service in the range for Services, as most clusters have it.
const DNS: u32 = 10;

/// How a cluster is to be.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) data_dir: PathBuf,
    /// Holds images; shared by runs.
    pub(crate) image_dir: PathBuf,
    pub(crate) log_root: PathBuf,
    /// Where links to logs are made for log collectors (N30).
    pub(crate) log_links: Option<PathBuf>,
    /// The node's API has its usual ports (N1, N5), not just any.
    pub(crate) fixed_ports: bool,
    pub(crate) listen: SocketAddr,
    pub(crate) store: StoreChoice,
    pub(crate) node: NodeOptions,
    /// Addresses for Pods.
    pub(crate) pod_cidr: ipnet::Ipv4Net,
    /// Told of image pulls.
    pub(crate) progress: Option<Progress>,
}

/// A running cluster.
pub(crate) struct Cluster {
    pub(crate) server: Running,
    pub(crate) node_name: String,
    runtime: Arc<EmbeddedRuntime>,
    network: Arc<NodeNetwork>,
    /// Where names are answered.
    dns: Ipv4Addr,
    opened: Opened,
    /// How the node's Pods are stopped in an orderly way, and how long that may take.
    shutdown: OnceLock<(NodeShutdown, ShutdownGrace)>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Cluster {
    /// Starts everything. On return kubectl succeeds and the node is Ready.
    pub(crate) async fn start(options: Options) -> Result<Self, Failure> {
        require_features()?;
        crate::port::require_free(options.listen)?;
        let clock: SharedClock = Arc::new(SystemClock);
        let service_range = ServiceRange::parse(&options.node.service_cidr).ok_or_else(|| {
            let given = &options.node.service_cidr;
            Failure::new(USAGE, format!("--service-cidr {given}: not an IPv4 range between /8 and /30"))
        })?;
        let opened = options.store.open(&options.data_dir, &clock).await?;
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
            store: Arc::clone(&opened.store),
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
            dns: service_range.address(DNS.min(service_range.size() - 2)),
            opened,
            shutdown: OnceLock::new(),
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
            host: node::host_name(),
            clock: Arc::clone(clock),
        };
        let client = self.server.client("system:kube-scheduler");
        self.tasks.spawn(outrigger_scheduler::run(client, scheduler, self.stop.clone()));
        let controllers = outrigger_controllers::Config {
            ca_certificate: self.server.pki().ca.certificate.clone(),
            clock: Arc::clone(clock),
        };
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
        let mut config = kubelet_config(options, &self.node_name)?;
        config.node_ips = vec![node_ip];
        if config.cluster_dns.is_empty() {
            self.serve_names(&config.cluster_domain).await?;
            config.cluster_dns = vec![self.dns.into()];
        }
        let keys = self.serving_keys(&clock, node_ip)?;
        let listeners = node_ports(options, &mut config, &keys).await?;
        let grace = options.node.shutdown_grace.map_or(config.shutdown, shutdown_grace);
        let mut kubelet = Kubelet::new(
            config,
            self.server.client(&format!("system:node:{}", self.node_name)),
            Arc::clone(&self.runtime) as Arc<dyn Runtime>,
            Arc::clone(&self.network) as Arc<dyn PodNetworking>,
            images,
            clock,
        );
        kubelet.listen(listeners);
        // Nobody else sets it.
        let _ = self.shutdown.set((kubelet.shutdown(), grace));
        let (network, stop) = (Arc::clone(&self.network), self.stop.clone());
        self.tasks.spawn(async move { network.keep_ahead(stop).await });
        agents.add(&self.node_name, Arc::new(kubelet.agent()));
        let mut ready = kubelet.ready();
        let stop = self.stop.clone();
        self.tasks.spawn(kubelet.run(stop));
        let ended = |_| Failure::other("the kubelet ended before its node was ready");
        ready.wait_for(|ready| *ready).await.map(drop).map_err(ended)?;
        self.wait_until_schedulable().await
    }

    /// Answers for the cluster's domain, towards Pods and, if no other cluster does, towards the node itself.
    async fn serve_names(&self, domain: &str) -> Result<(), Failure> {
        let failed = Failure::doing("cannot serve the cluster's names");
        self.network.answer_at(self.dns).await.map_err(failed)?;
        let client = self.server.client("system:kube-dns");
        let service = Arc::new(NameService::new(client, domain, self.dns));
        let failed = Failure::doing("cannot serve the cluster's names");
        let sockets = Sockets::take(self.dns, self.network.bridge()).map_err(failed)?;
        self.tasks.spawn(Arc::clone(&service).serve(sockets, self.stop.clone()));
        match Sockets::take(self.dns, "lo") {
            Ok(sockets) => drop(self.tasks.spawn(service.serve(sockets, self.stop.clone()))),
            Err(error) => tracing::debug!(%error, "names are not answered on the node itself"),
        }
        Ok(())
    }

    /// A certificate of the cluster's authority for the node's own API (N1).
    fn serving_keys(&self, clock: &SharedClock, node_ip: IpAddr) -> Result<ServingKeys, Failure> {
        let pki = self.server.pki();
        let addresses = [node_ip, [127, 0, 0, 1].into()];
        let pair = pki.issue_serving(
            &format!("system:node:{}", self.node_name),
            &self.node_name,
            &addresses,
            clock.now().wall,
        );
        let pair = pair.map_err(Failure::doing("cannot make the kubelet's certificate"))?;
        let client_ca = pki.ca.certificate.clone();
        Ok(ServingKeys { certificate: pair.certificate, key: pair.key, client_ca })
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

    /// Stops the node's Pods, if a time for that was given (N32); else they run on.
    pub(crate) async fn shut_down_node(&self) {
        if let Some((node, grace)) = self.shutdown.get().filter(|(_, grace)| !grace.total.is_zero()) {
            node.shut_down(*grace).await;
        }
    }

    /// Stops the components. Containers run on.
    pub(crate) async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.server.stop().await;
        self.opened.store.close().await;
    }
}

/// Defaults, then the file, then flags (N33).
fn kubelet_config(options: &Options, node_name: &str) -> Result<KubeletConfig, Failure> {
    let mut config = KubeletConfig::new(node_name, options.data_dir.join("kubelet"));
    config.log_root.clone_from(&options.log_root);
    config.log_links.clone_from(&options.log_links);
    config.image_root = Some(options.image_dir.clone());
    let folder = &config.data_dir;
    std::fs::create_dir_all(folder).map_err(Failure::doing(format!("cannot make {}", folder.display())))?;
    // This machine is hardly there for Pods alone: its disk may be nearly full for other reasons.
    (config.eviction.disk_floor, config.image_gc.floor) = (Some(DISK_FLOOR), Some(DISK_FLOOR));
    if !options.fixed_ports {
        (config.port, config.health) = (0, None);
    }
    if let Some(file) = &options.node.kubelet_config {
        let found = read_configuration(file)?;
        let refused = |error: ConfigurationError| Failure::new(USAGE, error.to_string());
        found.apply(&mut config).map_err(refused)?;
        for field in found.unimplemented() {
            tracing::warn!(field, file = %file.display(), "this field has no effect here");
        }
    }
    config.static_pod_path = options.node.pod_manifest_path.clone().or(config.static_pod_path);
    if let Some(port) = options.node.kubelet_port {
        config.port = port;
    }
    Ok(config)
}

/// A third at the end is for critical Pods, as KubeletConfiguration's example divides it.
fn shutdown_grace(total: Duration) -> ShutdownGrace {
    ShutdownGrace { total, critical: Duration::from_secs(total.as_secs() / 3) }
}

/// Reads a KubeletConfiguration.
pub(crate) fn read_configuration(file: &Path) -> Result<KubeletConfiguration, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::new(USAGE, format!("--kubelet-config {}: {error}", file.display())))?;
    KubeletConfiguration::parse(&text, file).map_err(|error| Failure::new(USAGE, error.to_string()))
}

/// Takes the node's ports. One nobody asked for by number moves out of the way of another cluster's.
async fn node_ports(
    options: &Options,
    config: &mut KubeletConfig,
    keys: &ServingKeys,
) -> Result<Listeners, Failure> {
    let mut listeners = Listeners::default();
    let chosen = options.node.kubelet_port.is_some() || options.node.kubelet_config.is_some();
    if config.serve {
        let address = SocketAddr::new(config.address, config.port);
        let taken = match listeners.take_https(address, keys).await {
            Err(ListenError::Bind { .. }) if !chosen => {
                tracing::warn!(%address, "the kubelet's port is taken; another one is used");
                listeners.take_https(SocketAddr::new(config.address, 0), keys).await
            }
            taken => taken,
        };
        let failed = "cannot serve the kubelet's API; choose another port with --kubelet-port";
        config.port = taken.map_err(Failure::doing(failed))?.port();
    }
    if let Some(address) = config.health {
        match listeners.take_health(address).await {
            Ok(_) => {}
            Err(error) if options.node.kubelet_config.is_none() => {
                tracing::warn!(%error, "no port for health");
                config.health = None;
            }
            Err(error) => return Err(Failure::doing("cannot serve the kubelet's health")(error)),
        }
    }
    Ok(listeners)
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
    let network = open_network(&options.data_dir, options.pod_cidr).await?;
    let config = RuntimeConfig { root: options.data_dir.join("runtime"), clock: Arc::clone(clock) };
    let runtime = EmbeddedRuntime::open(config).await;
    let runtime = runtime.map_err(Failure::doing("cannot open the container runtime"))?;
    Ok((network, Arc::new(runtime)))
}

/// The bridge and the table of a data folder, named after it, so that two clusters do not meet.
pub(crate) fn network_names(data_dir: &Path) -> (String, String) {
    let id = short_id(data_dir);
    (format!("or{id}"), format!("outrigger-{id}"))
}

async fn open_network(data_dir: &Path, pod_cidr: ipnet::Ipv4Net) -> Result<Arc<NodeNetwork>, Failure> {
    let (bridge, table) = network_names(data_dir);
    let network = NodeNetwork::open(NetworkConfig {
        bridge,
        table,
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

/// Pods reach the server at the bridge, unless it serves one other address only.
fn advertised(listen: SocketAddr, gateway: IpAddr) -> IpAddr {
    if listen.ip().is_loopback() || listen.ip().is_unspecified() { gateway } else { listen.ip() }
}
