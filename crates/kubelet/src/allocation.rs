//! The resources a node has granted its Pods (section 13D). A Pod runs with what was granted; a change it asks for
//! is granted when it fits beside everybody else's. Pure.

use k8s_openapi::api::core::v1::{Container, Pod};
use outrigger_pod_lifecycle::{PendingResize, ResizeOutlook, ResizeSummary};
use outrigger_scheduling::Resources;

use crate::admission::{fits, requests};
use crate::env::NodeAllocatable;

/// `asked` with the resources of `granted`, container by container.
pub(crate) fn with_resources_of(asked: &Pod, granted: &Pod) -> Pod {
    let mut pod = asked.clone();
    let (Some(spec), Some(from)) = (&mut pod.spec, &granted.spec) else { return pod };
    spec.resources.clone_from(&from.resources);
    let lists = [
        (Some(&mut spec.containers), Some(&from.containers)),
        (spec.init_containers.as_mut(), from.init_containers.as_ref()),
    ];
    for (own, theirs) in lists {
        for container in own.into_iter().flatten() {
            let found = theirs.into_iter().flatten().find(|other| other.name == container.name);
            if let Some(found) = found {
                container.resources.clone_from(&found.resources);
            }
        }
    }
    pod
}

/// Whether both have the same resources.
pub(crate) fn same_resources(a: &Pod, b: &Pod) -> bool {
    let (Some(a), Some(b)) = (&a.spec, &b.spec) else { return true };
    let same = |a: &[Container], b: &[Container]| {
        a.iter().map(|container| &container.resources).eq(b.iter().map(|container| &container.resources))
    };
    fn inits(list: Option<&Vec<Container>>) -> &[Container] {
        list.map(Vec::as_slice).unwrap_or_default()
    }
    a.resources == b.resources
        && same(&a.containers, &b.containers)
        && same(inits(a.init_containers.as_ref()), inits(b.init_containers.as_ref()))
}

/// Whether `asked` can be granted beside `others`, who keep what they have.
///
/// # Errors
/// Why not, and whether it ever could.
pub(crate) fn grant(
    asked: &Pod,
    others: &[&Pod],
    allocatable: &NodeAllocatable,
) -> Result<(), PendingResize> {
    let refuse = |outlook, message| PendingResize { outlook, message, asked: ResizeSummary::of(asked) };
    let capacity = Resources::from_quantities(allocatable);
    for (name, wanted) in requests(asked).iter().filter(|(_, wanted)| *wanted > 0) {
        let capacity = capacity.get(name);
        if wanted > capacity {
            let message = format!(
                "Node didn't have enough capacity: {name}, requested: {wanted}, capacity: {capacity}"
            );
            return Err(refuse(ResizeOutlook::Infeasible, message));
        }
    }
    fits(asked, others, allocatable).map_err(|lack| refuse(ResizeOutlook::Deferred, lack.to_string()))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
    use serde_json::json;

    use super::*;

    fn pod(cpu: &str) -> Pod {
        let container = json!({"name": "c", "image": cpu, "resources": {"requests": {"cpu": cpu}}});
        let spec = json!({"containers": [container.clone()], "initContainers": [container]});
        serde_json::from_value(json!({"metadata": {"uid": "u"}, "spec": spec})).unwrap()
    }

    /// R13.27: granted, later, never.
    #[test]
    fn a_change_is_granted_when_it_fits() {
        let amounts = [("cpu", "2"), ("pods", "9")];
        let node = amounts.map(|(name, amount)| (name.to_owned(), Quantity(amount.to_owned()))).into();
        let neighbour = pod("1");
        assert_eq!(grant(&pod("1"), &[&neighbour], &node), Ok(()));
        let refusal = |cpu: &str, others: &[&Pod]| {
            let pending = grant(&pod(cpu), others, &node).unwrap_err();
            assert_eq!(pending.asked, ResizeSummary::of(&pod(cpu)));
            (pending.outlook, pending.message)
        };
        let message =
            "Node didn't have enough resource: cpu, requested: 1500, used: 1000, capacity: 2000".to_owned();
        assert_eq!(refusal("1500m", &[&neighbour]), (ResizeOutlook::Deferred, message));
        let message = "Node didn't have enough capacity: cpu, requested: 3000, capacity: 2000".to_owned();
        assert_eq!(refusal("3", &[]), (ResizeOutlook::Infeasible, message));
    }

    /// What is not granted changes nothing of the Pod but its resources.
    #[test]
    fn a_pod_runs_with_what_was_granted() {
        let (asked, granted) = (pod("2"), pod("1"));
        let runs = with_resources_of(&asked, &granted);
        assert!(same_resources(&runs, &granted) && !same_resources(&runs, &asked));
        assert_eq!(runs.spec.unwrap().containers[0].image.as_deref(), Some("2"));
    }
}
