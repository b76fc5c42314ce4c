//! Variables that name the Services a Pod can reach (R11.10).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Service;

/// The variables of all Services visible to a Pod of `namespace`: those of its own namespace if `service_links`,
/// and `kubernetes` of namespace `default` always. Services without a cluster IP have none.
pub(crate) fn service_variables(
    services: &[Service],
    namespace: &str,
    service_links: bool,
) -> BTreeMap<String, String> {
    let mut chosen: BTreeMap<&str, &Service> = BTreeMap::new();
    for service in services {
        let name = service.metadata.name.as_deref().unwrap_or_default();
        let home = service.metadata.namespace.as_deref().unwrap_or_default();
        if cluster_ip(service).is_none() {
            continue;
        }
        if home == namespace && service_links {
            chosen.insert(name, service);
        } else if home == "default" && name == "kubernetes" {
            chosen.entry(name).or_insert(service);
        }
    }
    let mut variables = BTreeMap::new();
    for (name, service) in chosen {
        add(&mut variables, name, service);
    }
    variables
}

fn cluster_ip(service: &Service) -> Option<&str> {
    let ip = service.spec.as_ref()?.cluster_ip.as_deref()?;
    (!ip.is_empty() && ip != "None").then_some(ip)
}

fn add(variables: &mut BTreeMap<String, String>, name: &str, service: &Service) {
    let Some(ip) = cluster_ip(service) else { return };
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    let Some(first) = ports.first() else { return };
    let prefix = variable_name(name);
    variables.insert(format!("{prefix}_SERVICE_HOST"), ip.to_owned());
    variables.insert(format!("{prefix}_SERVICE_PORT"), first.port.to_string());
    let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
    for (index, port) in ports.iter().enumerate() {
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        let url = format!("{}://{host}:{}", protocol.to_ascii_lowercase(), port.port);
        if let Some(port_name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            variables
                .insert(format!("{prefix}_SERVICE_PORT_{}", variable_name(port_name)), port.port.to_string());
        }
        if index == 0 {
            variables.insert(format!("{prefix}_PORT"), url.clone());
        }
        let each = format!("{prefix}_PORT_{}_{}", port.port, protocol.to_ascii_uppercase());
        variables.insert(format!("{each}_PROTO"), protocol.to_ascii_lowercase());
        variables.insert(format!("{each}_PORT"), port.port.to_string());
        variables.insert(format!("{each}_ADDR"), ip.to_owned());
        variables.insert(each, url);
    }
}

fn variable_name(name: &str) -> String {
    name.to_ascii_uppercase().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service(namespace: &str, name: &str, ip: &str) -> Service {
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"clusterIP": ip, "ports": [
                {"name": "web-ui", "port": 80, "protocol": "TCP"}, {"name": "dns", "port": 53, "protocol": "UDP"}]},
        }))
        .unwrap()
    }

    /// R11.10
    #[test]
    fn each_port_has_its_variables() {
        let got = service_variables(&[service("shop", "my-db", "10.96.0.7")], "shop", true);
        let want = [
            ("MY_DB_PORT", "tcp://10.96.0.7:80"),
            ("MY_DB_PORT_53_UDP", "udp://10.96.0.7:53"),
            ("MY_DB_PORT_53_UDP_ADDR", "10.96.0.7"),
            ("MY_DB_PORT_53_UDP_PORT", "53"),
            ("MY_DB_PORT_53_UDP_PROTO", "udp"),
            ("MY_DB_PORT_80_TCP", "tcp://10.96.0.7:80"),
            ("MY_DB_PORT_80_TCP_ADDR", "10.96.0.7"),
            ("MY_DB_PORT_80_TCP_PORT", "80"),
            ("MY_DB_PORT_80_TCP_PROTO", "tcp"),
            ("MY_DB_SERVICE_HOST", "10.96.0.7"),
            ("MY_DB_SERVICE_PORT", "80"),
            ("MY_DB_SERVICE_PORT_DNS", "53"),
            ("MY_DB_SERVICE_PORT_WEB_UI", "80"),
        ];
        let got: Vec<_> = got.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(got, want);
    }

    /// R11.10: only `kubernetes` without links, headless never, other namespaces never.
    #[test]
    fn without_links_only_the_api_server_is_named() {
        let services = [
            service("default", "kubernetes", "10.96.0.1"),
            service("default", "other", "10.96.0.2"),
            service("shop", "db", "10.96.0.3"),
            service("shop", "headless", "None"),
        ];
        let host = |links| -> Vec<String> {
            let all = service_variables(&services, "shop", links);
            all.into_keys().filter(|key| key.ends_with("_SERVICE_HOST")).collect()
        };
        assert_eq!(host(false), ["KUBERNETES_SERVICE_HOST"]);
        assert_eq!(host(true), ["DB_SERVICE_HOST", "KUBERNETES_SERVICE_HOST"]);
    }
}
