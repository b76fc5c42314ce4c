//! Where a proxied request goes. Pure.

use std::net::IpAddr;

use outrigger_api::status::Reason;
use outrigger_api::{Object, StatusError};
use serde_json::Value;

use super::list;

/// `[https:]<name>[:<port>]`, the name part of a proxy path (H48).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) secure: bool,
    pub(super) name: String,
    /// Empty if none was given.
    pub(super) port: String,
}

/// An address to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) secure: bool,
    pub(super) address: IpAddr,
    pub(super) port: u16,
}

impl Named {
    pub(super) fn parse(resource: &str, text: &str) -> Result<Self, StatusError> {
        let bad = || {
            let kind = resource.trim_end_matches('s');
            StatusError::bad_request(format!("invalid {kind} request {text:?}"))
        };
        let (scheme, name, port) = match text.split(':').collect::<Vec<_>>().as_slice() {
            [name] => ("", *name, ""),
            [name, port] => ("", *name, *port),
            [scheme, name, port] => (*scheme, *name, *port),
            _ => return Err(bad()),
        };
        if name.is_empty() || !matches!(scheme, "" | "http" | "https") {
            return Err(bad());
        }
        Ok(Self { secure: scheme == "https", name: name.to_owned(), port: port.to_owned() })
    }
}

impl Place {
    /// H49, N6: nothing on the way to this machine's own services.
    pub(super) fn at(secure: bool, address: IpAddr, port: u16) -> Result<Self, StatusError> {
        let local = match address {
            IpAddr::V4(ip) => {
                ip.is_loopback() || ip.is_link_local() || ip.is_unspecified() || ip.is_multicast()
            }
            IpAddr::V6(ip) => {
                let mapped = ip.to_ipv4_mapped();
                let bad = mapped.is_some_and(|ip| ip.is_loopback() || ip.is_link_local());
                bad || ip.is_loopback()
                    || ip.is_unicast_link_local()
                    || ip.is_unspecified()
                    || ip.is_multicast()
            }
        };
        if local { Err(not_allowed()) } else { Ok(Self { secure, address, port }) }
    }
}

fn not_allowed() -> StatusError {
    StatusError::bad_request("address not allowed")
}

fn number(value: &Value) -> Option<u16> {
    value.as_u64().and_then(|number| u16::try_from(number).ok()).filter(|number| *number > 0)
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// The Pod's address; its first declared port unless one is given.
pub(super) fn of_pod(pod: &Object, named: &Named) -> Result<Place, StatusError> {
    let ports: Vec<&Value> =
        list(pod.at(&["spec", "containers"])).flat_map(|container| list(container.get("ports"))).collect();
    let scheme_port = if named.secure { 443 } else { 80 };
    let port = if named.port.is_empty() {
        ports.first().and_then(|port| number(port.get("containerPort")?)).unwrap_or(scheme_port)
    } else {
        let by_name = ports.iter().find(|port| text(port, "name") == named.port);
        let by_name = by_name.and_then(|port| number(port.get("containerPort")?));
        let port = by_name.or_else(|| named.port.parse().ok().filter(|port| *port > 0));
        port.ok_or_else(|| StatusError::bad_request(format!("invalid port {:?}", named.port)))?
    };
    let address = pod.str_at(&["status", "podIP"]).parse().map_err(|_| not_allowed())?;
    Place::at(named.secure, address, port)
}

/// The kubelet's own port, or none: its API is meant.
pub(super) fn is_kubelet(node: &Object, named: &Named) -> bool {
    let own = node.at(&["status", "daemonEndpoints", "kubeletEndpoint", "Port"]).and_then(number);
    named.port.is_empty() || own.is_some_and(|own| named.port == own.to_string())
}

/// Another port of the machine, at its preferred address (N6).
pub(super) fn of_node(node: &Object, named: &Named) -> Result<Place, StatusError> {
    let port = named.port.parse().ok().filter(|port| *port > 0);
    let port = port.ok_or_else(|| StatusError::bad_request(format!("invalid port {:?}", named.port)))?;
    let addresses: Vec<&Value> = list(node.at(&["status", "addresses"])).collect();
    let preferred = ["Hostname", "InternalDNS", "InternalIP", "ExternalDNS", "ExternalIP"];
    // A node's own name need not lead to it from here; only addresses are looked at.
    let found = preferred.iter().find_map(|kind| {
        addresses
            .iter()
            .filter(|address| text(address, "type") == *kind)
            .find_map(|address| text(address, "address").parse().ok())
    });
    Place::at(named.secure, found.ok_or_else(not_allowed)?, port)
}

/// The name of the port that is meant: numbers are Service ports (H49).
pub(super) fn service_port(service: &Object, named: &Named) -> Result<String, StatusError> {
    let Ok(wanted) = named.port.parse::<u64>() else { return Ok(named.port.clone()) };
    let mut ports = list(service.at(&["spec", "ports"]));
    let port = ports.find(|port| port.get("port").and_then(Value::as_u64) == Some(wanted));
    port.map(|port| text(port, "name").to_owned()).ok_or_else(|| {
        let message = format!("no service port {wanted} found for service {:?}", named.name);
        StatusError::new(503, Reason::ServiceUnavailable, message)
    })
}

/// Ready endpoints of one EndpointSlice.
pub(super) fn ready_in_slice(slice: &Object, port: &str) -> Vec<(IpAddr, u16)> {
    let port =
        list(slice.at(&["ports"])).find(|it| text(it, "name") == port).and_then(|it| number(it.get("port")?));
    let Some(port) = port else { return Vec::new() };
    let ready = list(slice.at(&["endpoints"])).filter(|endpoint| {
        // Unknown is ready.
        endpoint.pointer("/conditions/ready").and_then(Value::as_bool) != Some(false)
    });
    let addresses =
        ready.filter_map(|endpoint| list(endpoint.get("addresses")).next()?.as_str()?.parse().ok());
    addresses.map(|address| (address, port)).collect()
}

/// Ready addresses of an Endpoints object.
pub(super) fn ready_in_endpoints(endpoints: &Object, port: &str) -> Vec<(IpAddr, u16)> {
    let mut ready = Vec::new();
    for subset in list(endpoints.at(&["subsets"])) {
        let port = list(subset.get("ports")).find(|it| text(it, "name") == port);
        let Some(port) = port.and_then(|port| number(port.get("port")?)) else { continue };
        let addresses = list(subset.get("addresses")).filter_map(|it| text(it, "ip").parse().ok());
        ready.extend(addresses.map(|address| (address, port)));
    }
    ready
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn named(text: &str) -> Named {
        Named::parse("pods", text).unwrap()
    }

    fn object(value: Value) -> Object {
        Object::from_value(value).unwrap()
    }

    fn place(secure: bool, address: &str, port: u16) -> Place {
        Place { secure, address: address.parse().unwrap(), port }
    }

    /// H48
    #[test]
    fn names() {
        let of = |secure, name: &str, port: &str| Named { secure, name: name.into(), port: port.into() };
        assert_eq!(named("p"), of(false, "p", ""));
        assert_eq!(named("p:80"), of(false, "p", "80"));
        assert_eq!(named("https:p:web"), of(true, "p", "web"));
        assert_eq!(named("http:p:"), of(false, "p", ""));
        for bad in ["", ":80", "ftp:p:1", "a:b:c:d"] {
            let error = Named::parse("services", bad).unwrap_err();
            assert_eq!((error.code, error.message), (400, format!("invalid service request {bad:?}")));
        }
    }

    /// H48, H49
    #[test]
    fn pods() {
        let pod = |ip: &str| {
            object(
                json!({"spec": {"containers": [{}, {"ports": [{"containerPort": 81}, {"name": "web", "containerPort": 82}]}]},
                "status": {"podIP": ip}}),
            )
        };
        let of = |name: &str, ip: &str| of_pod(&pod(ip), &named(name));
        assert_eq!(of("p", "10.0.0.1").unwrap(), place(false, "10.0.0.1", 81));
        assert_eq!(of("p:web", "10.0.0.1").unwrap(), place(false, "10.0.0.1", 82));
        assert_eq!(of("https:p:9", "fd00::1").unwrap(), place(true, "fd00::1", 9));
        for bad in ["127.0.0.1", "169.254.169.254", "::1", "fe80::1", "::ffff:127.0.0.1", "0.0.0.0", ""] {
            let error = of("p", bad).unwrap_err();
            assert_eq!((error.code, &*error.message), (400, "address not allowed"), "{bad}");
        }
        assert_eq!(of("p:none", "10.0.0.1").unwrap_err().code, 400);
        let bare = object(json!({"spec": {"containers": [{}]}, "status": {"podIP": "10.0.0.1"}}));
        assert_eq!(of_pod(&bare, &named("https:p:")).unwrap().port, 443);
    }

    /// H49
    #[test]
    fn services() {
        let service = object(json!({"spec": {"ports": [{"name": "web", "port": 80}]}}));
        assert_eq!(service_port(&service, &named("s:80")).unwrap(), "web");
        assert_eq!(service_port(&service, &named("s:web")).unwrap(), "web");
        let error = service_port(&service, &named("s:81")).unwrap_err();
        assert_eq!((error.code, &*error.message), (503, "no service port 81 found for service \"s\""));
        let slice = object(json!({"ports": [{"name": "web", "port": 8080}], "endpoints": [
            {"addresses": ["10.0.0.1"], "conditions": {"ready": true}},
            {"addresses": ["10.0.0.2"], "conditions": {"ready": false}},
            {"addresses": ["10.0.0.3"], "conditions": {}}]}));
        let ready = ready_in_slice(&slice, "web");
        assert_eq!(ready, [("10.0.0.1".parse().unwrap(), 8080), ("10.0.0.3".parse().unwrap(), 8080)]);
        assert!(ready_in_slice(&slice, "db").is_empty());
        let endpoints = object(json!({"subsets": [{"ports": [{"port": 8080}],
            "addresses": [{"ip": "10.0.0.1"}], "notReadyAddresses": [{"ip": "10.0.0.2"}]}]}));
        assert_eq!(ready_in_endpoints(&endpoints, ""), [("10.0.0.1".parse().unwrap(), 8080)]);
    }

    /// H48, N6
    #[test]
    fn nodes() {
        let node = object(
            json!({"status": {"daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}}, "addresses": [
            {"type": "ExternalIP", "address": "192.0.2.1"}, {"type": "InternalIP", "address": "10.0.0.7"}, {"type": "Hostname", "address": "n"}]}}),
        );
        assert!(is_kubelet(&node, &named("n")) && is_kubelet(&node, &named("https:n:10250")));
        assert!(!is_kubelet(&node, &named("n:9100")));
        assert_eq!(of_node(&node, &named("n:9100")).unwrap(), place(false, "10.0.0.7", 9100));
        assert_eq!(of_node(&node, &named("n:x")).unwrap_err().code, 400);
    }
}
