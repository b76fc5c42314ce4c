//! Values taken from the Pod itself: `fieldRef` (R11.8, R12.24) and `resourceFieldRef` (R11.9).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use k8s_openapi::api::core::v1::{Pod, ResourceFieldSelector};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::quantity;

/// Why a field has no value.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FieldError {
    /// No such field.
    #[error("unsupported fieldPath: {0}")]
    Path(String),
    /// No such resource.
    #[error("unsupported container resource : {0}")]
    Resource(String),
    /// No such container.
    #[error("container {0} not found")]
    Container(String),
    /// A quantity of the Pod cannot be read; the API server lets none through.
    #[error("invalid quantity \"{0}\"")]
    Quantity(String),
}

/// Addresses known when the container is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PodAddresses {
    /// The Pod's, primary first.
    pub pod: Vec<String>,
    /// The node's, primary first.
    pub host: Vec<String>,
}

/// What an unset limit reads as: the node's allocatable amounts by resource name.
pub(crate) type NodeAllocatable = BTreeMap<String, Quantity>;

/// The value of `path`. Whole maps (`metadata.labels`) are the volume form of R12.24; a missing subscripted key is
/// the empty string.
///
/// # Errors
/// If the path is none of R11.8 or R12.24.
pub(crate) fn field_value(pod: &Pod, addresses: &PodAddresses, path: &str) -> Result<String, FieldError> {
    let meta = &pod.metadata;
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let spec = pod.spec.as_ref();
    if let Some((map, key)) = subscript(path) {
        let entries = match map {
            "metadata.labels" => &meta.labels,
            "metadata.annotations" => &meta.annotations,
            _ => return Err(FieldError::Path(path.to_owned())),
        };
        return Ok(entries.as_ref().and_then(|all| all.get(key)).cloned().unwrap_or_default());
    }
    Ok(match path {
        "metadata.name" => text(&meta.name),
        "metadata.namespace" => text(&meta.namespace),
        "metadata.uid" => text(&meta.uid),
        "metadata.labels" => map_lines(meta.labels.as_ref()),
        "metadata.annotations" => map_lines(meta.annotations.as_ref()),
        "spec.nodeName" => spec.and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
        "spec.serviceAccountName" => {
            spec.and_then(|spec| spec.service_account_name.clone()).unwrap_or_default()
        }
        "status.hostIP" => addresses.host.first().cloned().unwrap_or_default(),
        "status.hostIPs" => addresses.host.join(","),
        "status.podIP" => addresses.pod.first().cloned().unwrap_or_default(),
        "status.podIPs" => addresses.pod.join(","),
        _ => return Err(FieldError::Path(path.to_owned())),
    })
}

/// `metadata.labels['k']` as (`metadata.labels`, `k`).
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (map, rest) = path.split_once("['")?;
    Some((map, rest.strip_suffix("']")?))
}

/// One `key="value"` per line, sorted, the value quoted as Go does (R12.24).
fn map_lines(map: Option<&BTreeMap<String, String>>) -> String {
    let lines: Vec<_> =
        map.into_iter().flatten().map(|(key, value)| format!("{key}={}", go_quote(value))).collect();
    lines.join("\n")
}

/// A string as Go prints it with `%q`.
pub(crate) fn go_quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            c if c.is_ascii_control() => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The value of a resource of `selector`'s container, or of `own_container` if it names none (R11.9).
///
/// # Errors
/// If the container or the resource does not exist.
pub(crate) fn resource_value(
    pod: &Pod,
    own_container: &str,
    allocatable: &NodeAllocatable,
    selector: &ResourceFieldSelector,
) -> Result<String, FieldError> {
    let container =
        selector.container_name.as_deref().filter(|name| !name.is_empty()).unwrap_or(own_container);
    let spec = pod.spec.as_ref().ok_or_else(|| FieldError::Container(container.to_owned()))?;
    let found = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten())
        .find(|c| c.name == container)
        .ok_or_else(|| FieldError::Container(container.to_owned()))?;
    let unknown = || FieldError::Resource(selector.resource.clone());
    let (side, resource) = selector.resource.split_once('.').ok_or_else(unknown)?;
    let of_node = matches!(resource, "cpu" | "memory" | "ephemeral-storage");
    if !of_node && !resource.starts_with("hugepages-") {
        return Err(unknown());
    }
    let own = found.resources.as_ref();
    let own_limit = own.and_then(|r| r.limits.as_ref()?.get(resource));
    let of_pod = || spec.resources.as_ref()?.limits.as_ref()?.get(resource);
    let value = match side {
        "limits" => own_limit
            .filter(|limit| !quantity::is_zero(limit))
            .or_else(|| of_pod().or_else(|| allocatable.get(resource)).filter(|_| of_node)),
        "requests" => own.and_then(|r| r.requests.as_ref()?.get(resource)),
        _ => return Err(unknown()),
    };
    let Some(value) = value else { return Ok("0".to_owned()) };
    let one = Quantity("1".to_owned());
    let divisor = selector.divisor.as_ref().filter(|divisor| !quantity::is_zero(divisor)).unwrap_or(&one);
    let ceil = quantity::divide_up(value, divisor).ok_or_else(|| FieldError::Quantity(value.0.clone()))?;
    Ok(ceil.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u", "labels": {"b": "2", "a": "x \"y\"\n"}},
            "spec": {"nodeName": "node", "serviceAccountName": "sa", "containers": [
                {"name": "c", "resources": {"limits": {"cpu": "1500m", "memory": "64Mi"}, "requests": {"cpu": "100m"}}},
                {"name": "bare"}]},
        }))
        .unwrap()
    }

    fn field(path: &str) -> Result<String, FieldError> {
        let addresses =
            PodAddresses { pod: vec!["10.0.0.5".into(), "fd00::5".into()], host: vec!["192.0.2.1".into()] };
        field_value(&pod(), &addresses, path)
    }

    /// R11.8
    #[test]
    fn fields_of_the_pod() {
        for (path, want) in [
            ("metadata.name", "p"),
            ("metadata.namespace", "n"),
            ("metadata.uid", "u"),
            ("metadata.labels['b']", "2"),
            ("metadata.labels['missing']", ""),
            ("metadata.annotations['missing']", ""),
            ("spec.nodeName", "node"),
            ("spec.serviceAccountName", "sa"),
            ("status.hostIP", "192.0.2.1"),
            ("status.hostIPs", "192.0.2.1"),
            ("status.podIP", "10.0.0.5"),
            ("status.podIPs", "10.0.0.5,fd00::5"),
        ] {
            assert_eq!(field(path).as_deref(), Ok(want), "{path}");
        }
        assert_eq!(field("spec.hostname"), Err(FieldError::Path("spec.hostname".into())));
    }

    /// R12.24: sorted, one per line, quoted as Go quotes.
    #[test]
    fn whole_maps_are_lines() {
        assert_eq!(field("metadata.labels").unwrap(), "a=\"x \\\"y\\\"\\n\"\nb=\"2\"");
        assert_eq!(field("metadata.annotations").unwrap(), "");
    }

    /// R11.9
    #[test]
    fn resources_are_divided_and_rounded_up() {
        let allocatable =
            BTreeMap::from([("cpu".into(), Quantity("4".into())), ("memory".into(), Quantity("1Gi".into()))]);
        let get = |container: &str, resource: &str, divisor: &str| {
            let selector = ResourceFieldSelector {
                container_name: None,
                divisor: (!divisor.is_empty()).then(|| Quantity(divisor.into())),
                resource: resource.into(),
            };
            resource_value(&pod(), container, &allocatable, &selector)
        };
        for (container, resource, divisor, want) in [
            ("c", "limits.cpu", "", "2"),
            ("c", "limits.cpu", "1m", "1500"),
            ("c", "limits.cpu", "0", "2"),
            ("c", "requests.cpu", "", "1"),
            ("c", "limits.memory", "", "67108864"),
            ("c", "limits.memory", "1Mi", "64"),
            ("c", "limits.memory", "1M", "68"),
            ("c", "requests.memory", "", "0"),
            ("bare", "limits.cpu", "", "4"),
            ("bare", "limits.memory", "1Mi", "1024"),
            ("bare", "limits.ephemeral-storage", "", "0"),
            ("bare", "limits.hugepages-2Mi", "", "0"),
        ] {
            assert_eq!(
                get(container, resource, divisor).as_deref(),
                Ok(want),
                "{container} {resource} / {divisor}"
            );
        }
        assert!(get("c", "limits.gpu", "").is_err());
        assert!(get("nobody", "limits.cpu", "").is_err());
    }
}
