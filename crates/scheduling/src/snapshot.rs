//! What the decision looks at: nodes with what is already on them.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Affinity, Node, Pod, PodSpec, Taint, Toleration};

use crate::resources::{Resources, reserved};

/// A port a Pod takes on its node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// The address; `0.0.0.0` is every address.
    pub ip: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// The port on the node.
    pub port: i32,
}

impl HostPort {
    /// Whether both cannot be on one node.
    pub fn clashes(&self, other: &Self) -> bool {
        const EVERY: &str = "0.0.0.0";
        let same_ip = self.ip == other.ip || self.ip == EVERY || other.ip == EVERY;
        same_ip && self.protocol == other.protocol && self.port == other.port
    }
}

/// What the scheduler needs to know of a Pod, taken out of the object once.
#[derive(Clone, Debug, Default)]
pub struct PodInfo {
    /// `metadata.uid`.
    pub uid: String,
    /// Reserved amounts.
    pub requests: Resources,
    /// Ports on the node: of app containers and sidecars, not of plain init containers (R16.11).
    pub host_ports: BTreeSet<HostPort>,
    /// Containers' images, for the image locality score.
    pub images: Vec<String>,
    /// `spec.nodeName`, empty if unassigned.
    pub node_name: String,
    /// `spec.nodeSelector`.
    pub node_selector: BTreeMap<String, String>,
    /// `spec.affinity`.
    pub affinity: Option<Affinity>,
    /// `spec.tolerations`.
    pub tolerations: Vec<Toleration>,
}

impl PodInfo {
    /// Takes out of a Pod what scheduling needs.
    pub fn new(pod: &Pod) -> Self {
        let Some(spec) = &pod.spec else { return Self::default() };
        Self {
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            requests: reserved(pod, spec),
            host_ports: host_ports(spec),
            images: spec.containers.iter().filter_map(|container| container.image.clone()).collect(),
            node_name: spec.node_name.clone().unwrap_or_default(),
            node_selector: spec.node_selector.clone().unwrap_or_default(),
            affinity: spec.affinity.clone(),
            tolerations: spec.tolerations.clone().unwrap_or_default(),
        }
    }
}

fn host_ports(spec: &PodSpec) -> BTreeSet<HostPort> {
    let sidecars =
        spec.init_containers.iter().flatten().filter(|init| init.restart_policy.as_deref() == Some("Always"));
    let ports = spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
    ports
        .filter_map(|port| {
            let number = port.host_port.filter(|number| *number > 0)?;
            let text = |value: &Option<String>, default: &str| {
                value.clone().filter(|text| !text.is_empty()).unwrap_or_else(|| default.to_owned())
            };
            Some(HostPort {
                ip: text(&port.host_ip, "0.0.0.0"),
                protocol: text(&port.protocol, "TCP"),
                port: number,
            })
        })
        .collect()
}

/// A node and what is on it.
#[derive(Clone, Debug, Default)]
pub struct NodeInfo {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `spec.taints`.
    pub taints: Vec<Taint>,
    /// `spec.unschedulable`.
    pub unschedulable: bool,
    /// `status.allocatable`.
    pub allocatable: Resources,
    /// Sizes of the images it has, by every name.
    pub images: BTreeMap<String, i64>,
    pods: BTreeMap<String, PodInfo>,
    requested: Resources,
}

impl NodeInfo {
    fn refresh(&mut self, node: &Node) {
        let spec = node.spec.as_ref();
        self.name = node.metadata.name.clone().unwrap_or_default();
        self.labels = node.metadata.labels.clone().unwrap_or_default();
        self.taints = spec.and_then(|spec| spec.taints.clone()).unwrap_or_default();
        self.unschedulable = spec.and_then(|spec| spec.unschedulable).unwrap_or_default();
        let status = node.status.as_ref();
        self.allocatable = status
            .and_then(|status| status.allocatable.as_ref())
            .map(Resources::from_quantities)
            .unwrap_or_default();
        let images = status.and_then(|status| status.images.as_ref()).into_iter().flatten();
        self.images = images
            .flat_map(|image| {
                let size = image.size_bytes.unwrap_or_default();
                image.names.iter().flatten().map(move |name| (name.clone(), size))
            })
            .collect();
    }

    /// Sum of what its Pods reserve.
    pub fn requested(&self) -> &Resources {
        &self.requested
    }

    /// How many Pods count against it.
    pub fn pod_count(&self) -> usize {
        self.pods.len()
    }

    /// Its Pods.
    pub fn pods(&self) -> impl Iterator<Item = &PodInfo> {
        self.pods.values()
    }
}

/// All nodes with what is on them, kept up change by change, so that its cost follows what changed.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    nodes: BTreeMap<String, NodeInfo>,
    /// Which node each assigned Pod is counted on.
    placed: BTreeMap<String, String>,
}

impl Snapshot {
    /// The nodes that exist, by name.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeInfo> {
        // A node known only because a Pod names it has no allocatable yet and takes nothing.
        self.nodes.values().filter(|node| !node.name.is_empty())
    }

    /// One node.
    pub fn node(&self, name: &str) -> Option<&NodeInfo> {
        self.nodes.get(name).filter(|node| !node.name.is_empty())
    }

    /// Adds or refreshes a node; its Pods stay.
    pub fn set_node(&mut self, node: &Node) {
        let name = node.metadata.name.clone().unwrap_or_default();
        self.nodes.entry(name).or_default().refresh(node);
    }

    /// Forgets a node; Pods placed on it stay counted should it come back.
    pub fn remove_node(&mut self, name: &str) {
        if let Some(node) = self.nodes.get_mut(name) {
            node.name.clear();
            if node.pods.is_empty() {
                self.nodes.remove(name);
            }
        }
    }

    /// Counts a Pod on its node (again: the newest form counts).
    pub fn place(&mut self, pod: PodInfo) {
        self.remove_pod(&pod.uid);
        self.placed.insert(pod.uid.clone(), pod.node_name.clone());
        let node = self.nodes.entry(pod.node_name.clone()).or_default();
        node.requested.add(&pod.requests);
        node.pods.insert(pod.uid.clone(), pod);
    }

    /// Stops counting a Pod: it ended, was deleted or could not be bound.
    pub fn remove_pod(&mut self, uid: &str) {
        let Some(name) = self.placed.remove(uid) else { return };
        let Some(node) = self.nodes.get_mut(&name) else { return };
        if let Some(pod) = node.pods.remove(uid) {
            node.requested.subtract(&pod.requests);
        }
        if node.pods.is_empty() && node.name.is_empty() {
            self.nodes.remove(&name);
        }
    }

    /// Whether the Pod is counted on some node.
    pub fn is_placed(&self, uid: &str) -> bool {
        self.placed.contains_key(uid)
    }
}
