//! Slices for Services without a selector whose Endpoints somebody keeps by hand (N8).

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{EndpointAddress, Endpoints, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort};

use super::Group;
use crate::pods;

/// How many addresses of a subset are copied.
const MOST: usize = 1000;
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";

/// Whether an Endpoints object is to be mirrored: its Service is there and has no selector, and nobody says no.
pub fn is_mirrored(endpoints: &Endpoints, service: Option<&Service>) -> bool {
    let selector = service.and_then(|service| service.spec.as_ref()).map(|spec| spec.selector.clone());
    selector.is_some_and(|selector| selector.is_none_or(|labels| labels.is_empty()))
        && endpoints.metadata.deletion_timestamp.is_none()
        && pods::label(&endpoints.metadata, SKIP) != Some("true")
        && pods::annotation(&endpoints.metadata, LEADER).is_none()
}

/// The groups of an Endpoints object.
pub fn mirrored(endpoints: &Endpoints) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for subset in endpoints.subsets.iter().flatten() {
        let mut ports: Vec<EndpointPort> = subset
            .ports
            .iter()
            .flatten()
            .map(|port| EndpointPort {
                name: Some(port.name.clone().unwrap_or_default()),
                port: Some(port.port),
                protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
                app_protocol: port.app_protocol.clone(),
            })
            .collect();
        ports.sort_by(|a, b| (&a.name, a.port).cmp(&(&b.name, b.port)));
        let ready = subset.addresses.iter().flatten().map(|address| (address, true));
        let waiting = subset.not_ready_addresses.iter().flatten().map(|address| (address, false));
        for (address, ready) in ready.chain(waiting).take(MOST) {
            let Ok(ip) = address.ip.parse::<IpAddr>() else { continue };
            let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
            let found = groups.iter_mut().find(|group| group.address_type == family && group.ports == ports);
            let endpoint = endpoint(address, ready);
            match found {
                Some(group) => group.endpoints.push(endpoint),
                None => groups.push(Group {
                    address_type: family.to_owned(),
                    ports: ports.clone(),
                    endpoints: vec![endpoint],
                }),
            }
        }
    }
    groups
}

fn endpoint(address: &EndpointAddress, ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![address.ip.clone()],
        conditions: Some(EndpointConditions { ready: Some(ready), ..EndpointConditions::default() }),
        hostname: address.hostname.clone(),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Endpoint::default()
    }
}
