//! A resize that could never fit its node is not stored (R13.27).

use outrigger_api::quantity::Quantity;
use outrigger_api::{Object, StatusError};
use serde_json::Value;

use super::Lookup;
use crate::tree;

pub(super) fn fits_node(pod: &Object, lookup: &dyn Lookup) -> Result<(), StatusError> {
    let name = pod.str_at(&["spec", "nodeName"]);
    let Some(node) = Some(name).filter(|name| !name.is_empty()).and_then(|name| lookup.node(name)) else {
        return Ok(());
    };
    let mut problems = Vec::new();
    for resource in ["cpu", "memory"] {
        let allocatable = node.at(&["status", "allocatable", resource]).and_then(Quantity::from_json);
        let (wanted, allocatable) = (requests(pod, resource), allocatable.unwrap_or_default());
        if wanted > allocatable {
            let print =
                |amount: Quantity| if resource == "cpu" { amount.milli_value() } else { amount.value() };
            let (wanted, allocatable) = (print(wanted), print(allocatable));
            problems.push(format!("{resource}, requested: {wanted}, allocatable: {allocatable}"));
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    let why = format!("node didn't have enough allocatable resources: {}", problems.join("; "));
    Err(StatusError::forbidden("pods", "", pod.name(), &why))
}

/// R13.1-R13.4.
fn requests(pod: &Object, resource: &str) -> Quantity {
    let spec = pod.0.get("spec").unwrap_or(&Value::Null);
    let own = |holder: &Value| {
        holder.get("resources").and_then(|it| it.get("requests")?.get(resource)).and_then(Quantity::from_json)
    };
    let overhead = spec.get("overhead").and_then(|it| it.get(resource)).and_then(Quantity::from_json);
    let overhead = overhead.unwrap_or_default();
    if let Some(pod_level) = own(spec) {
        return pod_level + overhead;
    }
    let (mut sidecars, mut peak) = (Quantity::default(), Quantity::default());
    for init in tree::list(spec, "initContainers") {
        let amount = own(init).unwrap_or_default();
        if tree::text(init, "restartPolicy") == "Always" {
            sidecars = sidecars + amount;
            peak = peak.max(sidecars);
        } else {
            peak = peak.max(sidecars + amount);
        }
    }
    let apps: Quantity = tree::list(spec, "containers").iter().filter_map(own).sum();
    (sidecars + apps).max(peak) + overhead
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Debug)]
    struct Node;

    impl Lookup for Node {
        fn namespace(&self, _: &str) -> Option<Object> {
            None
        }

        fn service_account(&self, _: &str, _: &str) -> Option<Object> {
            None
        }

        fn priority_class(&self, _: &str) -> Option<Object> {
            None
        }

        fn default_priority_class(&self) -> Option<Object> {
            None
        }

        fn node(&self, name: &str) -> Option<Object> {
            let allocatable = json!({"cpu": "4", "memory": "1Ki"});
            Object::from_value(json!({"metadata": {"name": name}, "status": {"allocatable": allocatable}}))
        }
    }

    fn answer(requests: Value) -> Result<(), String> {
        let containers = json!([{"name": "c", "resources": {"requests": requests}}]);
        let spec = json!({"nodeName": "n", "containers": containers});
        let pod = Object::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).unwrap();
        fits_node(&pod, &Node).map_err(|error| error.message)
    }

    /// R13.27
    #[test]
    fn more_than_the_node_has_is_refused() {
        assert_eq!(answer(json!({"cpu": "4"})), Ok(()));
        let text = "pods \"p\" is forbidden: node didn't have enough allocatable resources: cpu, requested: 4500, \
                    allocatable: 4000; memory, requested: 2000, allocatable: 1024";
        assert_eq!(answer(json!({"cpu": "4500m", "memory": "2k"})), Err(text.to_owned()));
    }
}
