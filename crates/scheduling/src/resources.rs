//! Amounts of resources as integers, and what a Pod asks for (R13.1-R13.4, N19).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use outrigger_api::quantity;

/// Amounts by resource name: `cpu` in thousandths, everything else in whole units, both rounded up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources(BTreeMap<String, i64>);

type Quantities = BTreeMap<String, Quantity>;

impl Resources {
    /// Reads API quantities. Text the API server would have refused counts as nothing.
    pub fn from_quantities(quantities: &Quantities) -> Self {
        let amount = |name: &str, text: &str| {
            let parsed = text.parse::<quantity::Quantity>().ok()?;
            Some(if name == "cpu" { parsed.milli_value() } else { parsed.value() })
        };
        let pairs = quantities.iter().filter_map(|(name, q)| Some((name.clone(), amount(name, &q.0)?)));
        Self(pairs.collect())
    }

    /// The amount of `name`; zero if unset.
    pub fn get(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// All amounts that are set.
    pub fn iter(&self) -> impl Iterator<Item = (&str, i64)> {
        self.0.iter().map(|(name, amount)| (name.as_str(), *amount))
    }

    /// Adds amount by amount.
    pub fn add(&mut self, other: &Self) {
        for (name, amount) in other.iter() {
            let sum = self.0.entry(name.to_owned()).or_default();
            *sum = sum.saturating_add(amount);
        }
    }

    /// Takes away amount by amount.
    pub fn subtract(&mut self, other: &Self) {
        for (name, amount) in other.iter() {
            let rest = self.0.entry(name.to_owned()).or_default();
            *rest = rest.saturating_sub(amount);
        }
    }

    /// Raises each amount to at least the other's.
    pub fn max(&mut self, other: &Self) {
        for (name, amount) in other.iter() {
            let most = self.0.entry(name.to_owned()).or_default();
            *most = (*most).max(amount);
        }
    }

    /// Sets one amount.
    pub fn set(&mut self, name: &str, amount: i64) {
        self.0.insert(name.to_owned(), amount);
    }
}

/// What the scheduler reserves for a Pod: the larger of its steady state (app containers and all sidecars) and the
/// peak of its initialisation (each init container beside the sidecars started before it), pod-level requests in
/// place of the sum where given, plus overhead (R13.1, R13.2, R13.4).
pub fn pod_requests(spec: &PodSpec) -> Resources {
    let mut total = aggregate(spec, requests);
    let pod_level = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    replace(&mut total, pod_level);
    if let Some(overhead) = &spec.overhead {
        total.add(&Resources::from_quantities(overhead));
    }
    total
}

/// The same for limits; overhead is added only to limits there are (R13.4, R13.5).
pub fn pod_limits(spec: &PodSpec) -> Resources {
    let mut total = aggregate(spec, limits);
    let pod_level = spec.resources.as_ref().and_then(|resources| resources.limits.as_ref());
    replace(&mut total, pod_level);
    let overhead = spec.overhead.as_ref().map(Resources::from_quantities).unwrap_or_default();
    let limited: Vec<(String, i64)> =
        total.iter().filter(|(_, amount)| *amount > 0).map(|(name, n)| (name.to_owned(), n)).collect();
    for (name, amount) in limited {
        total.set(&name, amount.saturating_add(overhead.get(&name)));
    }
    total
}

/// What to reserve for a Pod whose resources may be changing: of each container the most of what is asked for, granted
/// and really applied; what can never be granted does not count (R13.6).
pub(crate) fn reserved(pod: &Pod, spec: &PodSpec) -> Resources {
    let Some(status) = &pod.status else { return pod_requests(spec) };
    let pending = status.conditions.iter().flatten().find(|it| it.type_ == "PodResizePending");
    let infeasible = pending.is_some_and(|it| it.reason.as_deref() == Some("Infeasible"));
    let known = status.container_statuses.iter().flatten();
    let known: Vec<&ContainerStatus> = known.chain(status.init_container_statuses.iter().flatten()).collect();
    let mut spec = spec.clone();
    for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
        let found = known.iter().find(|status| status.name == container.name);
        if let Some(granted) = found.and_then(|status| status.allocated_resources.as_ref()) {
            let actual = found.and_then(|status| status.resources.as_ref()?.requests.as_ref());
            let requests = container.resources.get_or_insert_default().requests.get_or_insert_default();
            for name in ["cpu", "memory"] {
                let asked = requests.get(name).filter(|_| !infeasible);
                let all = [asked, granted.get(name), actual.and_then(|actual| actual.get(name))];
                let most = all
                    .into_iter()
                    .flatten()
                    .max_by_key(|amount| amount.0.parse::<quantity::Quantity>().ok());
                if let Some(most) = most.cloned() {
                    requests.insert(name.to_owned(), most);
                }
            }
        }
    }
    pod_requests(&spec)
}

fn replace(total: &mut Resources, pod_level: Option<&Quantities>) {
    for (name, amount) in pod_level.map(Resources::from_quantities).unwrap_or_default().iter() {
        total.set(name, amount);
    }
}

/// The larger of the steady state and the peak of the initialisation (R13.1, R13.2).
fn aggregate(spec: &PodSpec, of: fn(&Container) -> Resources) -> Resources {
    let mut sidecars = Resources::default();
    let mut peak = Resources::default();
    for init in spec.init_containers.iter().flatten() {
        let mut beside = of(init);
        if init.restart_policy.as_deref() == Some("Always") {
            sidecars.add(&beside);
            peak.max(&sidecars);
        } else {
            beside.add(&sidecars);
            peak.max(&beside);
        }
    }
    let mut total = sidecars;
    for container in &spec.containers {
        total.add(&of(container));
    }
    total.max(&peak);
    total
}

fn requests(container: &Container) -> Resources {
    let requests =
        container.resources.as_ref().and_then(|ResourceRequirements { requests, .. }| requests.as_ref());
    requests.map(Resources::from_quantities).unwrap_or_default()
}

fn limits(container: &Container) -> Resources {
    let limits = container.resources.as_ref().and_then(|resources| resources.limits.as_ref());
    limits.map(Resources::from_quantities).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// R13.6: a Pod that shrinks keeps its place until it has shrunk; one that asks for the impossible gains none.
    #[test]
    fn a_resize_in_flight_reserves_the_most() {
        let cpu = |asked: &str, granted: &str, actual: &str, reason: &str| {
            let amount = |cpu: &str| json!({"cpu": cpu});
            let pod: Pod = serde_json::from_value(json!({
                "spec": {"containers": [{"name": "c", "resources": {"requests": amount(asked)}}]},
                "status": {
                    "conditions": [{"type": "PodResizePending", "status": "True", "reason": reason}],
                    "containerStatuses": [{
                        "name": "c", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                        "allocatedResources": amount(granted), "resources": {"requests": amount(actual)}}]}
            }))
            .unwrap();
            reserved(&pod, pod.spec.as_ref().unwrap()).get("cpu")
        };
        assert_eq!(cpu("1", "1", "3", ""), 3000);
        assert_eq!(cpu("4", "2", "1", "Deferred"), 4000);
        assert_eq!(cpu("4", "2", "1", "Infeasible"), 2000);
    }
}
