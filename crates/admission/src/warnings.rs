//! What is accepted but worth a `Warning` header (C16, D15, K4).

use outrigger_api::{KindInfo, Object};
use serde_json::Value;

use crate::strategy::DeleteOptions;
use crate::tree;

/// What a CustomResourceDefinition is told while none is served.
const UNSERVED: &str = "this server stores CustomResourceDefinitions but does not serve custom resources yet: no condition will become true, no object of this kind can be created, and none of its schemas and x-kubernetes-validations will be checked";

/// The text of one `Warning` header.
pub type Warning = String;

/// Removes exact duplicates among owner references, and says so (C14).
pub(crate) fn normalise(object: &mut Object) -> Vec<Warning> {
    let Some(owners) = object.metadata_mut().get_mut("ownerReferences").and_then(Value::as_array_mut) else {
        return Vec::new();
    };
    let before = owners.len();
    let mut kept: Vec<Value> = Vec::with_capacity(before);
    for owner in owners.drain(..) {
        if !kept.contains(&owner) {
            kept.push(owner);
        }
    }
    *owners = kept;
    if owners.len() == before {
        return Vec::new();
    }
    vec!["metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24".to_owned()]
}

/// What the written object deserves.
pub(crate) fn of_object(kind: &KindInfo, object: &Object) -> Vec<Warning> {
    let mut found = Vec::new();
    match (&*kind.group, &*kind.kind) {
        ("", "Pod") => {
            if object.name().contains('.') {
                found.push("metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]".to_owned());
            }
            of_pod_spec(object.0.get("spec").unwrap_or(&Value::Null), "spec", &mut found);
        }
        ("", "ReplicationController")
        | ("apps", "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet")
        | ("batch", "Job") => {
            if let Some(spec) = object.at(&["spec", "template", "spec"]) {
                of_pod_spec(spec, "spec.template.spec", &mut found);
            }
        }
        // Clients would otherwise learn it from the 404 of their first object.
        ("apiextensions.k8s.io", "CustomResourceDefinition") => found.push(UNSERVED.to_owned()),
        ("", "Endpoints") => found.extend(deprecated_read(kind).map(str::to_owned)),
        _ => {}
    }
    if kind.custom {
        let loose = object
            .finalizers()
            .filter(|name| !name.contains('/') && !matches!(*name, "orphan" | "foregroundDeletion"));
        found.extend(loose.map(|name| format!("metadata.finalizers: \"{name}\": prefer a domain-qualified finalizer name to avoid accidental conflicts with other finalizer writers")));
    }
    found
}

/// What whoever looks at a kind should know (K4).
pub fn deprecated_read(kind: &KindInfo) -> Option<&'static str> {
    match (&*kind.group, &*kind.kind) {
        ("", "Endpoints") => {
            Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice")
        }
        ("", "ComponentStatus") => Some("v1 ComponentStatus is deprecated in v1.19+"),
        _ => None,
    }
}

/// What a delete request deserves: a bare delete of a Job leaves its pods.
pub(crate) fn of_delete(kind: &KindInfo, options: &DeleteOptions) -> Vec<Warning> {
    if (&*kind.group, &*kind.kind) == ("batch", "Job") && options.propagation.is_none() {
        return vec!["child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning".to_owned()];
    }
    Vec::new()
}

fn of_pod_spec(spec: &Value, path: &str, found: &mut Vec<Warning>) {
    for field in ["initContainers", "containers"] {
        for (index, container) in tree::list(spec, field).iter().enumerate() {
            let at = format!("{path}.{field}[{index}]");
            let env = tree::list(container, "env");
            for (place, variable) in env.iter().enumerate() {
                let name = tree::text(variable, "name");
                if env[..place].iter().any(|earlier| tree::text(earlier, "name") == name) {
                    found.push(format!("{at}.env[{place}]: hides previous definition of \"{name}\", which may be dropped when using apply"));
                }
            }
            let ports = tree::list(container, "ports");
            let identity = |port: &Value| {
                ["containerPort", "protocol", "hostPort", "hostIP"].map(|key| port.get(key).cloned())
            };
            for (place, port) in ports.iter().enumerate() {
                if let Some(first) =
                    ports[..place].iter().position(|earlier| identity(earlier) == identity(port))
                {
                    found.push(format!(
                        "{at}.ports[{place}]: duplicate port definition with {at}.ports[{first}]"
                    ));
                }
            }
        }
    }
}
