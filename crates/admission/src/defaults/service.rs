//! Defaults of Services (K12-K14). Addresses and node ports are allocated by the API server, not here.

use outrigger_api::Object;
use serde_json::{Value, json};

use crate::tree;

/// K12.
pub(super) fn service(service: &mut Value) {
    let Some(spec) = tree::object_mut(service, "spec") else { return };
    tree::default_to(spec, "type", "ClusterIP");
    tree::default_to(spec, "sessionAffinity", "None");
    if tree::text(spec, "sessionAffinity") == "ClientIP" {
        if let Some(client) =
            tree::object_mut(spec, "sessionAffinityConfig").and_then(|c| tree::object_mut(c, "clientIP"))
        {
            tree::default_nonzero(client, "timeoutSeconds", 10_800);
        }
    } else if let Some(spec) = spec.as_object_mut() {
        spec.remove("sessionAffinityConfig");
    }
    for port in tree::list_mut(spec, "ports") {
        tree::default_to(port, "protocol", "TCP");
        let same = port.get("port").cloned().unwrap_or_default();
        if tree::unset(port, "targetPort") || tree::int(port, "targetPort") == Some(0) {
            tree::set(port, "targetPort", same);
        }
    }
    let external = tree::text(spec, "type") == "ExternalName";
    if !external {
        tree::default_to(spec, "internalTrafficPolicy", "Cluster");
    }
    if matches!(tree::text(spec, "type"), "NodePort" | "LoadBalancer") {
        tree::default_to(spec, "externalTrafficPolicy", "Cluster");
    }
    if tree::text(spec, "type") == "LoadBalancer"
        && spec.get("allocateLoadBalancerNodePorts").is_none_or(Value::is_null)
    {
        tree::set(spec, "allocateLoadBalancerNodePorts", true);
    }
    if !external {
        tree::default_to(spec, "ipFamilyPolicy", "SingleStack");
        if tree::list(spec, "ipFamilies").is_empty() {
            tree::set(spec, "ipFamilies", json!(["IPv4"]));
        }
        let address = tree::text(spec, "clusterIP").to_owned();
        if !address.is_empty() && tree::list(spec, "clusterIPs").is_empty() {
            tree::set(spec, "clusterIPs", json!([address]));
        }
    }
}

/// K13, K14: addresses and node ports survive a PUT that leaves them out, unless the type no longer has them.
pub(super) fn carry_over(new: &mut Object, old: &Object) {
    let Some(before) = old.0.get("spec") else { return };
    let Some(spec) = new.0.get_mut("spec") else { return };
    let kind =
        if tree::unset(spec, "type") { "ClusterIP".to_owned() } else { tree::text(spec, "type").to_owned() };
    let was = tree::text(before, "type");
    if kind != "ExternalName" && was != "ExternalName" {
        if tree::unset(spec, "clusterIP") && tree::list(spec, "clusterIPs").is_empty() {
            for key in ["clusterIP", "clusterIPs"] {
                if let Some(value) = before.get(key) {
                    tree::set(spec, key, value.clone());
                }
            }
        }
        let unchanged_address = tree::same_at(spec, before, "clusterIP");
        if unchanged_address
            && tree::list(spec, "ipFamilies").is_empty()
            && let Some(families) = before.get("ipFamilies")
        {
            tree::set(spec, "ipFamilies", families.clone());
        }
    } else if kind == "ExternalName"
        && was != "ExternalName"
        && let Some(map) = spec.as_object_mut()
    {
        for key in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"] {
            if map.get(key) == before.get(key) {
                map.remove(key);
            }
        }
    }
    let has_node_ports = |kind: &str| matches!(kind, "NodePort" | "LoadBalancer");
    if has_node_ports(&kind) && has_node_ports(was) {
        for port in tree::list_mut(spec, "ports") {
            if tree::int(port, "nodePort").unwrap_or(0) != 0 {
                continue;
            }
            let same = |other: &&Value| {
                tree::same_at(port, other, "port")
                    && (tree::unset(port, "protocol") || tree::same_at(port, other, "protocol"))
            };
            if let Some(number) =
                tree::list(before, "ports").iter().find(same).and_then(|other| other.get("nodePort")).cloned()
            {
                tree::set(port, "nodePort", number);
            }
        }
    } else if !has_node_ports(&kind) && has_node_ports(was) {
        let numbers: Vec<&Value> =
            tree::list(before, "ports").iter().filter_map(|port| port.get("nodePort")).collect();
        for port in tree::list_mut(spec, "ports") {
            if let Some(map) = port.as_object_mut()
                && map.get("nodePort").is_some_and(|number| numbers.contains(&number))
            {
                map.remove("nodePort");
            }
        }
        if let Some(map) = spec.as_object_mut() {
            map.remove("externalTrafficPolicy");
        }
    }
    if was == "LoadBalancer"
        && kind != "LoadBalancer"
        && let Some(map) = spec.as_object_mut()
    {
        map.remove("allocateLoadBalancerNodePorts");
    }
}
