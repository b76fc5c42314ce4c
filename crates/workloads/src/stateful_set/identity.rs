//! What makes a Pod of a StatefulSet this one and no other: its name, its labels, its volumes (N4).

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec};
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, PodTemplateSpec, Volume,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::revisions::POD_HASH;
use crate::{claim, pods, template};

const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
const POD_INDEX: &str = "apps.kubernetes.io/pod-index";

/// The number of a Pod of this set; `None` if its name is not one of the set's.
pub fn ordinal(set: &StatefulSet, pod: &Pod) -> Option<i32> {
    let number = pods::name(pod).strip_prefix(set.metadata.name.as_deref()?)?.strip_prefix('-')?;
    let ordinal: i32 = number.parse().ok()?;
    (ordinal >= 0 && ordinal.to_string() == number).then_some(ordinal)
}

/// The Pod of an ordinal.
pub(super) fn pod(
    set: &StatefulSet,
    spec: &StatefulSetSpec,
    ordinal: i32,
    revision: &str,
    source: &PodTemplateSpec,
) -> Pod {
    let owner = claim::reference("apps/v1", "StatefulSet", &set.metadata);
    let mut pod = template::pod(source, set.metadata.namespace.as_ref(), owner);
    let name = format!("{}-{ordinal}", set.metadata.name.as_deref().unwrap_or_default());
    let labels = pod.metadata.labels.get_or_insert_with(BTreeMap::new);
    labels.insert(POD_NAME.to_owned(), name.clone());
    labels.insert(POD_INDEX.to_owned(), ordinal.to_string());
    labels.insert(POD_HASH.to_owned(), revision.to_owned());
    if let Some(inner) = &mut pod.spec {
        inner.hostname = Some(name.clone());
        inner.subdomain = spec.service_name.clone().filter(|name| !name.is_empty());
        let volumes = inner.volumes.get_or_insert_default();
        for claim in claims(set, spec, ordinal) {
            let source = PersistentVolumeClaimVolumeSource {
                claim_name: claim.metadata.name.unwrap_or_default(),
                read_only: None,
            };
            let name = template_name(&source.claim_name, &name);
            volumes.retain(|volume| volume.name != name);
            volumes.push(Volume { name, persistent_volume_claim: Some(source), ..Volume::default() });
        }
        if volumes.is_empty() {
            inner.volumes = None;
        }
    }
    pod.metadata.name = Some(name);
    pod
}

fn template_name(claim: &str, pod: &str) -> String {
    claim.strip_suffix(pod).and_then(|rest| rest.strip_suffix('-')).unwrap_or(claim).to_owned()
}

/// The claims of an ordinal, as they are made.
pub fn claims(set: &StatefulSet, spec: &StatefulSetSpec, ordinal: i32) -> Vec<PersistentVolumeClaim> {
    let name = set.metadata.name.as_deref().unwrap_or_default();
    let templates = spec.volume_claim_templates.iter().flatten();
    let made = templates.map(|template| {
        let from = template.metadata.clone();
        let mut labels = from.labels.unwrap_or_default();
        labels.extend(spec.selector.match_labels.clone().unwrap_or_default());
        let references = claim_owners(set, spec, None);
        PersistentVolumeClaim {
            metadata: ObjectMeta {
                name: Some(format!("{}-{name}-{ordinal}", from.name.unwrap_or_default())),
                namespace: set.metadata.namespace.clone(),
                labels: Some(labels),
                annotations: from.annotations,
                owner_references: (!references.is_empty()).then_some(references),
                ..ObjectMeta::default()
            },
            spec: template.spec.clone(),
            status: None,
        }
    });
    made.collect()
}

/// Who owns a claim, as `persistentVolumeClaimRetentionPolicy` says; `condemned` is its Pod if the set has shrunk.
pub fn claim_owners(
    set: &StatefulSet,
    spec: &StatefulSetSpec,
    condemned: Option<&Pod>,
) -> Vec<OwnerReference> {
    let policy = spec.persistent_volume_claim_retention_policy.as_ref();
    let deletes = |when: Option<&String>| when.is_some_and(|when| when == "Delete");
    let scaled = deletes(policy.and_then(|policy| policy.when_scaled.as_ref()));
    let deleted = deletes(policy.and_then(|policy| policy.when_deleted.as_ref()));
    // Such a reference does not make the claim anybody's dependent to be managed.
    let plain = |mut reference: OwnerReference| {
        reference.controller = None;
        reference.block_owner_deletion = None;
        reference
    };
    match condemned {
        Some(pod) if scaled => vec![plain(claim::reference("v1", "Pod", &pod.metadata))],
        _ if deleted => vec![plain(claim::reference("apps/v1", "StatefulSet", &set.metadata))],
        _ => Vec::new(),
    }
}
