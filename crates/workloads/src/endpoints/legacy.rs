//! The Endpoints object of a Service (N8), for those who still read it.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{HEADLESS, address, families, hostname, is_headless, ports, target};
use crate::pods;

/// How many addresses it holds; more are left out.
const FULL: usize = 1000;
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";

/// The object as it should be; `before` keeps its place and what others wrote on it.
pub fn legacy(service: &Service, all: &[Arc<Pod>], before: Option<&Endpoints>) -> Endpoints {
    let spec = service.spec.clone().unwrap_or_default();
    let unready = spec.publish_not_ready_addresses == Some(true);
    let family = families(&spec).into_iter().next().unwrap_or_default();
    let mut subsets: Vec<EndpointSubset> = Vec::new();
    let mut left = FULL;
    let mut over = false;
    let mut sorted: Vec<(String, &Arc<Pod>)> = all
        .iter()
        .filter(|pod| !pods::is_finished(pod) && (unready || !pods::is_deleting(pod)))
        .filter_map(|pod| Some((address(pod, &family)?, pod)))
        .collect();
    // If some have to be left out, those that are not ready are.
    sorted.sort_by_cached_key(|(ip, pod)| (!(unready || pods::is_ready(pod)), ip.clone()));
    for (ip, pod) in sorted {
        if left == 0 {
            over = true;
            break;
        }
        left -= 1;
        let ports = legacy_ports(&spec, pod);
        let at =
            subsets.iter().position(|subset| subset.ports.as_ref() == Some(&ports)).unwrap_or_else(|| {
                subsets.push(EndpointSubset { ports: Some(ports), ..EndpointSubset::default() });
                subsets.len() - 1
            });
        let address = EndpointAddress {
            hostname: hostname(service, pod),
            ip,
            node_name: Some(pods::node(pod).to_owned()).filter(|name| !name.is_empty()),
            target_ref: Some(target(pod)),
        };
        let ready = unready || pods::is_ready(pod);
        let list = if ready { &mut subsets[at].addresses } else { &mut subsets[at].not_ready_addresses };
        list.get_or_insert_default().push(address);
    }
    let mut metadata = before.map(|before| before.metadata.clone()).unwrap_or_else(|| ObjectMeta {
        name: service.metadata.name.clone(),
        namespace: service.metadata.namespace.clone(),
        ..ObjectMeta::default()
    });
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(MANAGED_BY.to_owned(), "endpoint-controller".to_owned());
    if is_headless(service) {
        labels.insert(HEADLESS.to_owned(), String::new());
    } else {
        labels.remove(HEADLESS);
    }
    metadata.labels = Some(labels);
    let annotations = metadata.annotations.get_or_insert_with(BTreeMap::new);
    annotations.remove(OVER_CAPACITY);
    if over {
        annotations.insert(OVER_CAPACITY.to_owned(), "truncated".to_owned());
    }
    metadata.annotations = metadata.annotations.filter(|annotations| !annotations.is_empty());
    Endpoints { metadata, subsets: (!subsets.is_empty()).then_some(subsets) }
}

fn legacy_ports(spec: &k8s_openapi::api::core::v1::ServiceSpec, pod: &Pod) -> Vec<EndpointPort> {
    let of = |port: k8s_openapi::api::discovery::v1::EndpointPort| EndpointPort {
        name: port.name.filter(|name| !name.is_empty()),
        port: port.port.unwrap_or(0),
        protocol: port.protocol,
        app_protocol: port.app_protocol,
    };
    ports(spec, pod).into_iter().map(of).collect()
}
