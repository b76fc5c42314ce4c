//! What a kubelet is told at its start.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::core::v1::Taint;
use outrigger_pod_lifecycle::{Decision, Input};

use crate::eviction::EvictionConfig;
use crate::image_gc::ImageGcConfig;
use crate::shutdown::ShutdownGrace;

/// The pure decision, as a value, so that tests can put another one in.
pub type Decide = fn(&Input<'_>) -> Decision;

/// A kubelet's settings.
#[derive(Clone, Debug)]
pub struct KubeletConfig {
    /// `metadata.name` of the Node.
    pub node_name: String,
    /// Where Pods' volumes, files and memory live.
    pub data_dir: PathBuf,
    /// `/var/log/pods` (N30).
    pub log_root: PathBuf,
    /// `/var/log/containers`; `None` makes no links there.
    pub log_links: Option<PathBuf>,
    /// The node's internal addresses, primary first, at most two.
    pub node_ips: Vec<IpAddr>,
    /// Addresses of the cluster's name service; none if there is none (R11.31).
    pub cluster_dns: Vec<IpAddr>,
    /// `cluster.local`.
    pub cluster_domain: String,
    /// The node's resolver file; `None` is taken for empty (R11.30).
    pub resolv_conf: Option<PathBuf>,
    /// Labels beside the standard ones (N10).
    pub labels: BTreeMap<String, String>,
    /// Taints a new Node is created with.
    pub taints: Vec<Taint>,
    /// How many Pods the node takes; 110 by default (N11).
    pub max_pods: u32,
    /// The longest wait before a container that failed again is started again, 1 s to 300 s (R5.10); 300 s.
    pub max_crash_back_off: Duration,
    /// Whether the node's API has a port of its own (N1); without one it is reached through the agent only.
    pub serve: bool,
    /// Where the HTTPS API listens: all addresses.
    pub address: IpAddr,
    /// Port of the HTTPS API, shown in the Node's status; 10250.
    pub port: u16,
    /// Where health is told in plain HTTP (N5); `None` for nowhere.
    pub health: Option<SocketAddr>,
    /// How long an orderly shutdown of the node may take (N32); zero for none.
    pub shutdown: ShutdownGrace,
    /// Bytes beyond which a container's log is rotated (R14.9).
    pub log_max_size: u64,
    /// Log files kept for a container, the current one among them; at least 2.
    pub log_max_files: usize,
    /// The cgroup under which Pods' cgroups are made: `kubepods`.
    pub cgroup_root: String,
    /// Kernel settings Pods may make beside the safe ones (R13.25a); a trailing `*` stands for anything.
    pub allowed_sysctls: Vec<String>,
    /// Where `localhostProfile` files live (R13.24).
    pub seccomp_root: PathBuf,
    /// `v1.36.0+outrigger`, the Node's kubeletVersion (N13).
    pub version: String,
    /// `outrigger://<version>` (N13).
    pub runtime_version: String,
    /// How many images are pulled at once; at least 1.
    pub parallel_pulls: usize,
    /// Keep secret and projected volumes in memory (R12.20). Needs the right to mount.
    pub volumes_in_memory: bool,
    /// The folder of the image store, for measuring its disk; `None` if images lie with everything else.
    pub image_root: Option<PathBuf>,
    /// Kept from Pods for the system and for this program, by resource (N11).
    pub system_reserved: BTreeMap<String, outrigger_api::Quantity>,
    /// See `system_reserved`; the two are added.
    pub kube_reserved: BTreeMap<String, outrigger_api::Quantity>,
    /// When Pods are evicted (R8.27).
    pub eviction: EvictionConfig,
    /// When unused images are removed.
    pub image_gc: ImageGcConfig,
    /// A folder, or one file, with Pods of the node's own (N31).
    pub static_pod_path: Option<PathBuf>,
}

impl KubeletConfig {
    /// Defaults for a node called `node_name` with everything below `data_dir`.
    pub fn new(node_name: impl Into<String>, data_dir: impl Into<PathBuf>) -> Self {
        let data_dir = data_dir.into();
        Self {
            node_name: node_name.into(),
            log_root: data_dir.join("logs"),
            log_links: None,
            node_ips: Vec::new(),
            cluster_dns: Vec::new(),
            cluster_domain: "cluster.local".into(),
            resolv_conf: Some(PathBuf::from("/etc/resolv.conf")),
            labels: BTreeMap::new(),
            taints: Vec::new(),
            max_pods: 110,
            max_crash_back_off: Duration::from_secs(300),
            serve: true,
            address: IpAddr::from([0, 0, 0, 0]),
            port: 10250,
            health: Some(SocketAddr::from(([127, 0, 0, 1], 10248))),
            shutdown: ShutdownGrace::default(),
            log_max_size: 10 * 1024 * 1024,
            log_max_files: 5,
            cgroup_root: "kubepods".into(),
            allowed_sysctls: Vec::new(),
            seccomp_root: data_dir.join("seccomp"),
            version: "v1.36.0+outrigger".into(),
            runtime_version: concat!("outrigger://", env!("CARGO_PKG_VERSION")).into(),
            parallel_pulls: 4,
            volumes_in_memory: true,
            image_root: None,
            system_reserved: BTreeMap::new(),
            kube_reserved: BTreeMap::new(),
            eviction: EvictionConfig::default(),
            image_gc: ImageGcConfig::default(),
            static_pod_path: None,
            data_dir,
        }
    }
}
