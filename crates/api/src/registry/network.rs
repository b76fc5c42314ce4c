//! Networking and discovery.

use super::row::Row;

/// K1, the rows of `networking.k8s.io`.
pub(super) const NETWORKING: &[Row] = &[
    Row::cluster("IngressClass", "ingressclasses").generation(),
    Row::namespaced("Ingress", "ingresses").short(&["ing"]).status().generation().storage("ingress"),
    Row::cluster("IPAddress", "ipaddresses").short(&["ip"]),
    Row::namespaced("NetworkPolicy", "networkpolicies").short(&["netpol"]).generation(),
    Row::cluster("ServiceCIDR", "servicecidrs").status(),
];

/// K1, the rows of `discovery.k8s.io`.
pub(super) const DISCOVERY: &[Row] = &[Row::namespaced("EndpointSlice", "endpointslices").generation()];
