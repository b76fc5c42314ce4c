//! From what there should be to as few writes as possible: slices keep their endpoints, full ones stay as they are.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::Group;

/// How many endpoints one slice holds.
const FULL: usize = 100;
/// When a change that is behind a slice's state happened.
const TRIGGER: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// What all slices of an owner have in common.
#[derive(Clone, Debug)]
pub struct Owned {
    /// The prefix of their names.
    pub prefix: String,
    /// Their namespace.
    pub namespace: String,
    /// Their labels.
    pub labels: BTreeMap<String, String>,
    /// Their owner.
    pub owner: OwnerReference,
    /// When the latest change happened, as text.
    pub trigger: Option<String>,
}

/// Slices to write.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// New ones; their names are generated.
    pub create: Vec<EndpointSlice>,
    /// Others as they should be.
    pub update: Vec<EndpointSlice>,
    /// Those that nothing is left for.
    pub delete: Vec<Arc<EndpointSlice>>,
}

/// Compares the groups with the slices that exist.
pub fn reconcile(owned: &Owned, groups: &[Group], existing: &[Arc<EndpointSlice>]) -> Changes {
    let mut changes = Changes::default();
    let mut rest: Vec<&Arc<EndpointSlice>> = existing.iter().collect();
    for group in groups {
        let fits = |slice: &EndpointSlice| {
            slice.address_type == group.address_type
                && slice.ports.as_deref().unwrap_or_default() == group.ports.as_slice()
        };
        let mine: Vec<&Arc<EndpointSlice>> = rest.iter().copied().filter(|slice| fits(slice)).collect();
        rest.retain(|slice| !fits(slice));
        fill(owned, group, &mine, &mut changes);
    }
    changes.delete.extend(rest.into_iter().cloned());
    changes
}

fn fill(owned: &Owned, group: &Group, mine: &[&Arc<EndpointSlice>], changes: &mut Changes) {
    let mut missing: BTreeMap<&Vec<String>, &Endpoint> =
        group.endpoints.iter().map(|endpoint| (&endpoint.addresses, endpoint)).collect();
    // Who stands somewhere stays there, in its present state.
    let mut kept: Vec<(&Arc<EndpointSlice>, Vec<Endpoint>)> = mine
        .iter()
        .map(|slice| {
            let here = of(slice).iter().filter_map(|old| missing.remove(&old.addresses));
            (*slice, here.cloned().collect())
        })
        .collect();
    // The others go where there is room, first into slices that change anyway.
    kept.sort_by_key(|(slice, endpoints)| {
        (of(slice) == endpoints.as_slice(), std::cmp::Reverse(endpoints.len()))
    });
    let mut missing = missing.into_values().cloned().peekable();
    for (_, endpoints) in &mut kept {
        while endpoints.len() < FULL && missing.peek().is_some() {
            endpoints.extend(missing.next());
        }
    }
    let mut empty = Vec::new();
    let mut used = 0;
    for (slice, endpoints) in kept {
        if endpoints.is_empty() {
            empty.push(slice);
            continue;
        }
        used += 1;
        changed(owned, slice, endpoints, changes);
    }
    let rest: Vec<Endpoint> = missing.collect();
    for part in rest.chunks(FULL) {
        used += 1;
        changes.create.push(make(owned, group, part.to_vec()));
    }
    // One slice always says what there is, even if there is nothing.
    if used == 0 {
        match empty.pop() {
            Some(slice) => changed(owned, slice, Vec::new(), changes),
            None => changes.create.push(make(owned, group, Vec::new())),
        }
    }
    changes.delete.extend(empty.into_iter().cloned());
}

fn changed(owned: &Owned, slice: &Arc<EndpointSlice>, endpoints: Vec<Endpoint>, changes: &mut Changes) {
    let owners = slice.metadata.owner_references.iter().flatten().any(|owner| *owner == owned.owner);
    if of(slice) == endpoints.as_slice() && slice.metadata.labels.as_ref() == Some(&owned.labels) && owners {
        return;
    }
    let mut slice = (**slice).clone();
    slice.endpoints = Some(endpoints);
    slice.metadata.labels = Some(owned.labels.clone());
    slice.metadata.owner_references = Some(vec![owned.owner.clone()]);
    slice.metadata.annotations = annotations(owned).or(slice.metadata.annotations);
    changes.update.push(slice);
}

fn make(owned: &Owned, group: &Group, endpoints: Vec<Endpoint>) -> EndpointSlice {
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", owned.prefix)),
            namespace: Some(owned.namespace.clone()),
            labels: Some(owned.labels.clone()),
            annotations: annotations(owned),
            owner_references: Some(vec![owned.owner.clone()]),
            ..ObjectMeta::default()
        },
        address_type: group.address_type.clone(),
        endpoints: Some(endpoints),
        ports: (!group.ports.is_empty()).then(|| group.ports.clone()),
    }
}

fn annotations(owned: &Owned) -> Option<BTreeMap<String, String>> {
    owned.trigger.clone().map(|at| BTreeMap::from([(TRIGGER.to_owned(), at)]))
}

/// A slice's endpoints.
pub fn of(slice: &EndpointSlice) -> &[Endpoint] {
    slice.endpoints.as_deref().unwrap_or_default()
}
