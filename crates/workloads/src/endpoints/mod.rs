//! What stands behind a Service (N8, R16.10): EndpointSlices, and the older Endpoints.
//!
//! [`slices`] and [`legacy`] say what there should be; [`reconcile`] turns that into as few writes as it can.

mod legacy;
mod mirror;
mod reconcile;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod, Service, ServiceSpec};
use k8s_openapi::api::discovery::v1::{
    Endpoint, EndpointConditions, EndpointHints, EndpointPort, ForNode, ForZone,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

pub use legacy::legacy;
pub use mirror::{is_mirrored, mirrored};
pub use reconcile::{Changes, Owned, of, reconcile};

use crate::pods;

/// The label with the Service's name.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// The label with the controller's name.
pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// This controller.
pub const CONTROLLER: &str = "endpointslice-controller.k8s.io";
/// The controller that copies Endpoints.
pub const MIRRORING: &str = "endpointslicemirroring-controller.k8s.io";
/// The label of slices of a headless Service.
pub const HEADLESS: &str = "service.kubernetes.io/headless";
const ZONE: &str = "topology.kubernetes.io/zone";

/// Endpoints that share their ports and kind of address: they may stand in one slice.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Group {
    /// `IPv4` or `IPv6`.
    pub address_type: String,
    /// By name.
    pub ports: Vec<EndpointPort>,
    /// In the order of their addresses.
    pub endpoints: Vec<Endpoint>,
}

/// The groups of a Service with a selector. A family without endpoints has one empty group, so that there is always a
/// slice that says so.
pub fn slices(service: &Service, all: &[Arc<Pod>], nodes: &[Arc<Node>]) -> Vec<Group> {
    let spec = service.spec.clone().unwrap_or_default();
    let mut groups: Vec<Group> = Vec::new();
    for family in families(&spec) {
        let first = groups.len();
        for pod in all.iter().filter(|pod| !pods::is_finished(pod)) {
            let Some(address) = address(pod, &family) else { continue };
            let ports = ports(&spec, pod);
            let endpoint = endpoint(service, &spec, pod, address, nodes);
            match groups[first..].iter_mut().find(|group| group.ports == ports) {
                Some(group) => group.endpoints.push(endpoint),
                None => groups.push(Group { address_type: family.clone(), ports, endpoints: vec![endpoint] }),
            }
        }
        if groups.len() == first {
            groups.push(Group { address_type: family, ..Group::default() });
        }
    }
    groups.iter_mut().for_each(|group| group.endpoints.sort_by(|a, b| a.addresses.cmp(&b.addresses)));
    groups
}

fn families(spec: &ServiceSpec) -> Vec<String> {
    spec.ip_families.clone().filter(|all| !all.is_empty()).unwrap_or_else(|| vec!["IPv4".to_owned()])
}

/// The Pod's address of a family.
fn address(pod: &Pod, family: &str) -> Option<String> {
    let status = pod.status.as_ref()?;
    let all = status.pod_ips.iter().flatten().map(|one| one.ip.clone()).chain(status.pod_ip.clone());
    all.into_iter().find(|ip| !ip.is_empty() && ip.contains(':') == (family == "IPv6"))
}

/// Target ports as this Pod has them; one whose name it does not know is left out.
fn ports(spec: &ServiceSpec, pod: &Pod) -> Vec<EndpointPort> {
    let of = |port: &k8s_openapi::api::core::v1::ServicePort| {
        let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
        let number = match &port.target_port {
            Some(IntOrString::String(name)) => named(pod, name, &protocol)?,
            Some(IntOrString::Int(number)) if *number > 0 => *number,
            Some(IntOrString::Int(_)) | None => port.port,
        };
        Some(EndpointPort {
            name: Some(port.name.clone().unwrap_or_default()),
            port: Some(number),
            protocol: Some(protocol),
            app_protocol: port.app_protocol.clone(),
        })
    };
    let mut ports: Vec<EndpointPort> = spec.ports.iter().flatten().filter_map(of).collect();
    ports.sort_by(|a, b| (&a.name, a.port, &a.protocol).cmp(&(&b.name, b.port, &b.protocol)));
    ports
}

/// R16.10: app containers and sidecars.
fn named(pod: &Pod, name: &str, protocol: &str) -> Option<i32> {
    let spec = pod.spec.as_ref()?;
    let sidecar =
        |init: &&k8s_openapi::api::core::v1::Container| init.restart_policy.as_deref() == Some("Always");
    let sidecars = spec.init_containers.iter().flatten().filter(sidecar);
    let mut ports = spec.containers.iter().chain(sidecars).flat_map(|one| one.ports.iter().flatten());
    let same = |port: &&k8s_openapi::api::core::v1::ContainerPort| {
        port.name.as_deref() == Some(name) && port.protocol.as_deref().unwrap_or("TCP") == protocol
    };
    ports.find(same).map(|port| port.container_port)
}

fn endpoint(
    service: &Service,
    spec: &ServiceSpec,
    pod: &Pod,
    address: String,
    nodes: &[Arc<Node>],
) -> Endpoint {
    let serving = pods::is_ready(pod);
    let terminating = pods::is_deleting(pod);
    let unready = spec.publish_not_ready_addresses == Some(true);
    let name = Some(pods::node(pod)).filter(|name| !name.is_empty()).map(str::to_owned);
    let node = nodes.iter().find(|node| node.metadata.name == name);
    let zone = node.and_then(|node| pods::label(&node.metadata, ZONE)).map(str::to_owned);
    Endpoint {
        addresses: vec![address],
        conditions: Some(EndpointConditions {
            ready: Some(unready || (serving && !terminating)),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: hostname(service, pod),
        hints: hints(spec, name.as_ref(), zone.as_ref()),
        target_ref: Some(target(pod)),
        node_name: name,
        zone,
        ..Endpoint::default()
    }
}

/// A Pod has a name under its Service if it says so.
fn hostname(service: &Service, pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let ours = spec.subdomain.is_some() && spec.subdomain == service.metadata.name;
    spec.hostname.clone().filter(|name| ours && !name.is_empty())
}

/// Whom an endpoint is nearest to, if the Service asks for that.
fn hints(spec: &ServiceSpec, node: Option<&String>, zone: Option<&String>) -> Option<EndpointHints> {
    let same_node = match spec.traffic_distribution.as_deref() {
        Some("PreferSameNode") => true,
        Some("PreferClose" | "PreferSameZone") => false,
        _ => return None,
    };
    let zones = zone.map(|name| vec![ForZone { name: name.clone() }]);
    let nodes = node.filter(|_| same_node).map(|name| vec![ForNode { name: name.clone() }]);
    (zones.is_some() || nodes.is_some()).then_some(EndpointHints { for_zones: zones, for_nodes: nodes })
}

fn target(pod: &Pod) -> ObjectReference {
    ObjectReference {
        kind: Some("Pod".to_owned()),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
        ..ObjectReference::default()
    }
}

/// Labels of a Service's slices: its own, and those that say what they are.
pub fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(HEADLESS);
    labels.insert(SERVICE_NAME.to_owned(), service.metadata.name.clone().unwrap_or_default());
    labels.insert(MANAGED_BY.to_owned(), CONTROLLER.to_owned());
    if is_headless(service) {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels
}

fn is_headless(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None")
}
