//! What a Pod is called (R11.15-R11.17).

use k8s_openapi::api::core::v1::Pod;

/// A Pod's names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PodHostname {
    /// The short name.
    pub hostname: String,
    /// `<hostname>.<subdomain>.<ns>.svc.<clusterDomain>` if the Pod has a subdomain.
    pub fqdn: Option<String>,
    /// What the kernel is told; [`PodHostname::hostname`] unless `setHostnameAsFQDN`.
    pub kernel: String,
}

/// Why a Pod cannot be called as asked; the sandbox fails with it (R11.16).
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HostnameError {
    /// The kernel takes 64 characters.
    #[error(
        "failed to construct FQDN from pod hostname and cluster domain, FQDN {fqdn} is too long (64 characters is \
         the max, {length} characters requested)"
    )]
    TooLong {
        /// The name asked for.
        fqdn: String,
        /// Its length.
        length: usize,
    },
}

/// The names of a Pod that has its own network; host-network Pods use the node's host name.
///
/// # Errors
/// If `setHostnameAsFQDN` asks for more than 64 characters.
pub(crate) fn pod_hostname(pod: &Pod, cluster_domain: &str) -> Result<PodHostname, HostnameError> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let Some(spec) = &pod.spec else { return Ok(PodHostname::default()) };
    if let Some(name) = spec.hostname_override.as_deref().filter(|name| !name.is_empty()) {
        let hostname = cut(name, 64);
        return Ok(PodHostname { kernel: hostname.clone(), hostname, fqdn: None });
    }
    let hostname = cut(spec.hostname.as_deref().filter(|name| !name.is_empty()).unwrap_or(name), 63);
    let subdomain = spec.subdomain.as_deref().filter(|name| !name.is_empty());
    let fqdn = subdomain.map(|subdomain| format!("{hostname}.{subdomain}.{namespace}.svc.{cluster_domain}"));
    let kernel = match &fqdn {
        Some(fqdn) if spec.set_hostname_as_fqdn == Some(true) => {
            if fqdn.len() > 64 {
                return Err(HostnameError::TooLong { fqdn: fqdn.clone(), length: fqdn.len() });
            }
            fqdn.clone()
        }
        _ => hostname.clone(),
    };
    Ok(PodHostname { hostname, fqdn, kernel })
}

fn cut(name: &str, longest: usize) -> String {
    let end = name.char_indices().map(|(at, _)| at).nth(longest).unwrap_or(name.len());
    name[..end].trim_end_matches(['-', '.']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn names(name: &str, spec: Value) -> Result<PodHostname, HostnameError> {
        let pod = json!({"metadata": {"name": name, "namespace": "n"}, "spec": spec});
        let mut pod: Value = pod;
        pod["spec"]["containers"] = json!([]);
        pod_hostname(&serde_json::from_value(pod).unwrap(), "cluster.local")
    }

    /// R11.15
    #[test]
    fn override_then_hostname_then_pod_name() {
        assert_eq!(names("p", json!({})).unwrap().hostname, "p");
        assert_eq!(names("p", json!({"hostname": "h"})).unwrap().hostname, "h");
        let overridden =
            names("p", json!({"hostname": "h", "subdomain": "s", "hostnameOverride": "o.example"})).unwrap();
        assert_eq!((overridden.hostname.as_str(), overridden.fqdn), ("o.example", None));
        let long = format!("{}-{}", "a".repeat(62), "b".repeat(20));
        assert_eq!(names(&long, json!({})).unwrap().hostname, "a".repeat(62));
    }

    /// R11.16
    #[test]
    fn a_subdomain_makes_a_full_name() {
        let with = names("p", json!({"subdomain": "s"})).unwrap();
        assert_eq!(with.fqdn.as_deref(), Some("p.s.n.svc.cluster.local"));
        assert_eq!(with.kernel, "p");
        let kernel = names("p", json!({"subdomain": "s", "setHostnameAsFQDN": true})).unwrap().kernel;
        assert_eq!(kernel, "p.s.n.svc.cluster.local");
        let error = names(&"p".repeat(60), json!({"subdomain": "s", "setHostnameAsFQDN": true})).unwrap_err();
        assert!(
            error.to_string().ends_with("is too long (64 characters is the max, 82 characters requested)"),
            "{error}"
        );
    }
}
