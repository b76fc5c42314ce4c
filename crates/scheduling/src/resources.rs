//! Amounts of resources as integers, and what a Pod asks for (R13.1-R13.4, N19).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodSpec, ResourceRequirements};
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
