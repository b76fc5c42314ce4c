//! What the names of the cluster stand for: Services, and Pods of headless ones (R11.17).

use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::Api;
use kube::api::ListParams;

use super::answer::Found;

/// Looks up the labels before the cluster's domain.
pub(crate) async fn look_up(client: &kube::Client, labels: &[&str]) -> Found {
    match labels {
        [] | ["svc" | "pod"] | [_, "svc" | "pod"] => Found::Addresses(Vec::new()),
        [name, namespace, "svc"] => service(client, namespace, name, None).await,
        [host, name, namespace, "svc"] => service(client, namespace, name, Some(host)).await,
        [address, _, "pod"] => address
            .replace('-', ".")
            .parse()
            .map_or(Found::Nothing, |address| Found::Addresses(vec![address])),
        _ => Found::Nothing,
    }
}

async fn service(client: &kube::Client, namespace: &str, name: &str, host: Option<&str>) -> Found {
    let found = match Api::<Service>::namespaced(client.clone(), namespace).get_opt(name).await {
        Ok(found) => found,
        Err(error) => {
            tracing::warn!(%error, namespace, name, "a Service could not be looked up");
            return Found::Failed;
        }
    };
    let Some(spec) = found.and_then(|service| service.spec) else { return Found::Nothing };
    if let (Some("ExternalName"), Some(name), None) = (spec.type_.as_deref(), &spec.external_name, host) {
        return Found::Alias(name.clone());
    }
    let address = spec.cluster_ip.as_deref().unwrap_or_default();
    if address != "None" {
        let own = address.parse().ok().filter(|_| host.is_none());
        return own.map_or(Found::Nothing, |address| Found::Addresses(vec![address]));
    }
    let selector: Vec<String> =
        spec.selector.iter().flatten().map(|(key, value)| format!("{key}={value}")).collect();
    if selector.is_empty() {
        return Found::Addresses(Vec::new());
    }
    let selected = ListParams::default().labels(&selector.join(","));
    let pods = match Api::<Pod>::namespaced(client.clone(), namespace).list(&selected).await {
        Ok(pods) => pods.items,
        Err(error) => {
            tracing::warn!(%error, namespace, name, "a Service's Pods could not be looked up");
            return Found::Failed;
        }
    };
    let all = spec.publish_not_ready_addresses.unwrap_or(false);
    let wanted = pods
        .iter()
        .filter(|pod| (all || is_ready(pod)) && host.is_none_or(|host| is_called(pod, host, name)));
    let addresses: Vec<Ipv4Addr> = wanted.filter_map(address_of).collect();
    if addresses.is_empty() && host.is_some() { Found::Nothing } else { Found::Addresses(addresses) }
}

/// R11.17.
fn is_called(pod: &Pod, host: &str, service: &str) -> bool {
    let Some(spec) = &pod.spec else { return false };
    spec.hostname.as_deref() == Some(host) && spec.subdomain.as_deref() == Some(service)
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions.into_iter().flatten().any(|it| it.type_ == "Ready" && it.status == "True");
    ready && pod.metadata.deletion_timestamp.is_none()
}

fn address_of(pod: &Pod) -> Option<Ipv4Addr> {
    pod.status.as_ref()?.pod_ip.as_deref()?.parse().ok()
}
