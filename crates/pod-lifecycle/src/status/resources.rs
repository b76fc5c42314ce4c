//! What the Pod as a whole has been granted and has (R9.38).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PodStatus, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use outrigger_api::quantity;

use crate::spec::Role;
use crate::turn::Turn;

type Quantities = BTreeMap<String, Quantity>;

impl Turn<'_> {
    /// R9.38: the aggregates, and of a Pod that runs what its cgroup is known to have.
    pub(super) fn pod_resources(&self, status: &mut PodStatus) {
        let requests = self.aggregate(|resources| resources.requests.as_ref());
        let limits = self.aggregate(|resources| resources.limits.as_ref());
        status.allocated_resources = (!requests.is_empty()).then(|| requests.clone());
        let some = |list: Quantities| (!list.is_empty()).then_some(list);
        let mut whole = ResourceRequirements { requests: some(requests), limits: some(limits), claims: None };
        let actual = self.input.resize.pod.as_ref().filter(|_| status.phase.as_deref() == Some("Running"));
        if let Some(actual) = actual {
            overlay(&mut whole.requests, actual.requests.as_ref());
            overlay(&mut whole.limits, actual.limits.as_ref());
        }
        status.resources = Some(whole);
    }

    /// R13.1-R13.5 for one of the two lists: the larger of steady state and initialisation, pod-level amounts in place
    /// of the sum, overhead on requests and on limits there are.
    fn aggregate(&self, list: impl Fn(&ResourceRequirements) -> Option<&Quantities>) -> Quantities {
        let (mut sidecars, mut peak, mut steady) = (Quantities::new(), Quantities::new(), Quantities::new());
        for entry in &self.entries {
            let Some(own) = entry.full().and_then(|container| container.resources.as_ref()).and_then(&list)
            else {
                continue;
            };
            match entry.role {
                Role::App => add(&mut steady, own),
                Role::Sidecar => {
                    add(&mut sidecars, own);
                    raise(&mut peak, &sidecars);
                }
                Role::Init => {
                    let mut beside = sidecars.clone();
                    add(&mut beside, own);
                    raise(&mut peak, &beside);
                }
                Role::Ephemeral => {}
            }
        }
        add(&mut steady, &sidecars);
        raise(&mut steady, &peak);
        let spec = self.pod().spec.as_ref();
        let pod_level = spec.and_then(|spec| spec.resources.as_ref());
        if let Some(amounts) = pod_level.and_then(&list) {
            steady.extend(amounts.clone());
        }
        if let Some(overhead) = spec.and_then(|spec| spec.overhead.as_ref()) {
            let probe = ResourceRequirements { requests: Some(overhead.clone()), ..Default::default() };
            let is_requests = list(&probe).is_some();
            let counted = overhead.iter().filter(|(name, _)| is_requests || steady.contains_key(*name));
            let counted: Quantities = counted.map(|(name, amount)| (name.clone(), amount.clone())).collect();
            add(&mut steady, &counted);
        }
        steady
    }
}

fn amount(text: &Quantity) -> quantity::Quantity {
    text.0.parse().unwrap_or_default()
}

/// Sums keep the format of what was there first.
fn add(to: &mut Quantities, more: &Quantities) {
    for (name, more) in more {
        match to.get_mut(name) {
            None => drop(to.insert(name.clone(), more.clone())),
            Some(sum) => sum.0 = quantity::in_format_of(amount(sum) + amount(more), &sum.0),
        }
    }
}

fn raise(to: &mut Quantities, least: &Quantities) {
    for (name, least) in least {
        if to.get(name).is_none_or(|now| amount(now) < amount(least)) {
            to.insert(name.clone(), least.clone());
        }
    }
}

fn overlay(whole: &mut Option<Quantities>, actual: Option<&Quantities>) {
    if let Some(actual) = actual.filter(|actual| !actual.is_empty()) {
        whole.get_or_insert_default().extend(actual.clone());
    }
}
