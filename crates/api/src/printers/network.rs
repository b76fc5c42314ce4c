//! Services and what carries traffic to Pods (G17, G18).

use std::collections::BTreeSet;

use serde_json::json;

use super::tree::{Tree, shortened};
use super::{AGE, NAME, Printer, SELECTOR, text};

pub(super) const SERVICE: Printer = Printer {
    columns: &[NAME, text("Type"), text("Cluster-IP"), text("External-IP"), text("Port(s)"), AGE, SELECTOR],
    cells: |service, now| {
        let cluster_ip = service.list("spec.clusterIPs").next().and_then(|first| first.0.as_str());
        let cluster_ip = cluster_ip.unwrap_or(service.text_or("spec.clusterIP", "<none>"));
        vec![
            json!(service.text("spec.type")),
            json!(cluster_ip),
            json!(external(service)),
            json!(ports(service)),
            service.age(now),
            json!(service.label_set("spec.selector")),
        ]
    },
};

/// G17.
fn external(service: Tree<'_>) -> String {
    let own: Vec<&str> = service.list("spec.externalIPs").filter_map(|one| one.0.as_str()).collect();
    match service.text("spec.type") {
        "ExternalName" => service.text("spec.externalName").to_owned(),
        "LoadBalancer" => {
            let ingress: BTreeSet<&str> = service
                .list("status.loadBalancer.ingress")
                .map(|one| one.text_or("ip", one.text("hostname")))
                .collect();
            let all: Vec<&str> = ingress.into_iter().chain(own).collect();
            if all.is_empty() { "<pending>".to_owned() } else { all.join(",") }
        }
        _ if own.is_empty() => "<none>".to_owned(),
        _ => own.join(","),
    }
}

fn ports(service: Tree<'_>) -> String {
    let port = |port: Tree<'_>| match port.int("nodePort") {
        0 => format!("{}/{}", port.int("port"), port.text("protocol")),
        node => format!("{}:{node}/{}", port.int("port"), port.text("protocol")),
    };
    let all: Vec<String> = service.list("spec.ports").map(port).collect();
    if all.is_empty() { "<none>".to_owned() } else { all.join(",") }
}

pub(super) const ENDPOINTS: Printer = Printer {
    columns: &[NAME, text("Endpoints"), AGE],
    cells: |endpoints, now| {
        let mut all = Vec::new();
        for subset in endpoints.list("subsets") {
            for address in subset.list("addresses") {
                let ip = address.text("ip");
                if subset.count("ports") == 0 {
                    all.push(ip.to_owned());
                }
                all.extend(subset.list("ports").map(|port| format!("{ip}:{}", port.int("port"))));
            }
        }
        let text = if all.is_empty() { "<none>".to_owned() } else { shortened(&all, 3, ",", "more...") };
        vec![json!(text), endpoints.age(now)]
    },
};

pub(super) const ENDPOINT_SLICE: Printer = Printer {
    columns: &[NAME, text("AddressType"), text("Ports"), text("Endpoints"), AGE],
    cells: |slice, now| {
        let port = |port: Tree<'_>| match (port.int("port"), port.text("name")) {
            (0, "") => "*".to_owned(),
            (0, name) => name.to_owned(),
            (number, _) => number.to_string(),
        };
        let ports: Vec<String> = slice.list("ports").map(port).collect();
        let addresses: Vec<String> = slice
            .list("endpoints")
            .flat_map(|endpoint| endpoint.list("addresses"))
            .filter_map(|address| address.0.as_str().map(str::to_owned))
            .collect();
        let print = |all: &[String]| {
            if all.is_empty() { "<unset>".to_owned() } else { shortened(all, 3, ",", "more...") }
        };
        vec![json!(slice.text("addressType")), json!(print(&ports)), json!(print(&addresses)), slice.age(now)]
    },
};

pub(super) const INGRESS: Printer = Printer {
    columns: &[NAME, text("Class"), text("Hosts"), text("Address"), text("Ports"), AGE],
    cells: |ingress, now| {
        let hosts: Vec<String> = ingress
            .list("spec.rules")
            .map(|rule| rule.text("host").to_owned())
            .filter(|host| !host.is_empty())
            .collect();
        let hosts = if hosts.is_empty() { "*".to_owned() } else { shortened(&hosts, 3, ",", "more...") };
        let addresses: BTreeSet<&str> = ingress
            .list("status.loadBalancer.ingress")
            .map(|one| one.text_or("ip", one.text("hostname")))
            .filter(|one| !one.is_empty())
            .collect();
        let addresses = addresses.into_iter().collect::<Vec<_>>().join(",");
        let ports = if ingress.count("spec.tls") > 0 { "80, 443" } else { "80" };
        let class = ingress.text_or("spec.ingressClassName", "<none>");
        vec![json!(class), json!(hosts), json!(addresses), json!(ports), ingress.age(now)]
    },
};

pub(super) const INGRESS_CLASS: Printer = Printer {
    columns: &[NAME, text("Controller"), text("Parameters"), AGE],
    cells: |class, now| {
        let parameters = class.at("spec.parameters");
        let text = match (parameters.text("kind"), parameters.text("apiGroup")) {
            ("", _) => "<none>".to_owned(),
            (kind, "") => format!("{kind}/{}", parameters.text("name")),
            (kind, group) => format!("{kind}.{group}/{}", parameters.text("name")),
        };
        vec![json!(class.text("spec.controller")), json!(text), class.age(now)]
    },
};

pub(super) const NETWORK_POLICY: Printer = Printer {
    columns: &[NAME, text("Pod-Selector"), AGE],
    cells: |policy, now| vec![json!(policy.selector("spec.podSelector", "<none>")), policy.age(now)],
};

pub(super) const SERVICE_CIDR: Printer = Printer {
    columns: &[NAME, text("CIDRs"), AGE],
    cells: |cidr, now| {
        let all: Vec<&str> = cidr.list("spec.cidrs").filter_map(|one| one.0.as_str()).collect();
        vec![json!(all.join(",")), cidr.age(now)]
    },
};

pub(super) const IP_ADDRESS: Printer = Printer {
    // Upstream adds an age to the cells without a column for it; G3 wants as many of one as of the other.
    columns: &[NAME, text("ParentRef")],
    cells: |address, _| {
        let parent = address.at("spec.parentRef");
        let resource = match parent.text("group") {
            "" => parent.text("resource").to_owned(),
            group => format!("{}.{group}", parent.text("resource")),
        };
        let text = [resource.as_str(), parent.text("namespace"), parent.text("name")]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join("/");
        vec![json!(text)]
    },
};
