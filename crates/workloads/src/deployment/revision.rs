//! Which ReplicaSet is the current one, what it is called, and the numbers of revisions.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{DESIRED, HASH, HISTORY, MAX, REVISION, Work, bounds, is_recreate, progress, replicas_of, size};
use crate::note::Note;
use crate::{claim, hash, pods};

/// Annotations of a Deployment that its sets do not get.
const NOT_COPIED: &[&str] = &[
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    HISTORY,
    DESIRED,
    MAX,
    "deprecated.deployment.rollback.to",
];
/// Bytes of earlier revisions that are remembered.
const MAX_HISTORY: usize = 2000;

/// The set of the current template, and the others, oldest first.
pub(super) fn divide(
    deployment: &Deployment,
    sets: &[Arc<ReplicaSet>],
) -> (Option<Arc<ReplicaSet>>, Vec<Arc<ReplicaSet>>) {
    let mut sorted = sets.to_vec();
    sorted.sort_by_key(|set| {
        (set.metadata.creation_timestamp.as_ref().map(|time| time.0), set.metadata.name.clone())
    });
    let new = sorted.iter().position(|set| has_template_of(set, deployment));
    let new = new.map(|at| sorted.remove(at));
    (new, sorted)
}

/// Whether a set stands for the current template of this Deployment.
pub fn is_ours(deployment: &Deployment, set: &ReplicaSet) -> bool {
    let owner = pods::controller_of(&set.metadata).map(|owner| owner.uid.as_str());
    owner.is_some() && owner == deployment.metadata.uid.as_deref() && has_template_of(set, deployment)
}

fn has_template_of(set: &ReplicaSet, deployment: &Deployment) -> bool {
    let Some(spec) = &deployment.spec else { return false };
    let template = set.spec.as_ref().and_then(|spec| spec.template.as_ref());
    template.is_some_and(|template| text(template) == text(&spec.template))
}

/// The template without the label that it gets from its hash.
fn text(template: &PodTemplateSpec) -> String {
    let mut template = template.clone();
    if let Some(metadata) = &mut template.metadata {
        if let Some(labels) = &mut metadata.labels {
            labels.remove(HASH);
        }
        metadata.labels = metadata.labels.take().filter(|labels| !labels.is_empty());
        metadata.creation_timestamp = None;
    }
    // A typed object can always be written as JSON; were it not so, nothing would match.
    serde_json::to_string(&template).unwrap_or_default()
}

/// The revision of a set; 0 if it has none.
pub(super) fn of(set: &ReplicaSet) -> i64 {
    pods::annotation(&set.metadata, REVISION).and_then(|revision| revision.parse().ok()).unwrap_or(0)
}

/// Brings the current set's annotations up to date, if there is one.
pub(super) fn refresh(work: &mut Work<'_>) {
    let next = work.old.iter().map(of).max().unwrap_or(0) + 1;
    let Some(mut set) = work.new.take() else { return };
    annotate(&mut set, work.input.deployment, next);
    let spec = set.spec.get_or_insert_default();
    if spec.min_ready_seconds.unwrap_or(0) != work.spec.min_ready_seconds.unwrap_or(0) {
        spec.min_ready_seconds = work.spec.min_ready_seconds;
    }
    note_revision(work, &set);
    work.new = Some(set);
}

/// As [`refresh`]; makes the set if there is none. The new set is part of the decision at once, so that what follows
/// counts its replicas.
pub(super) fn ensure(work: &mut Work<'_>) {
    if let Some(set) = &work.new {
        let name = set.metadata.name.clone().unwrap_or_default();
        progress::found(work, &name);
        refresh(work);
        return;
    }
    let mut set = make(work.input.deployment, work.spec, work.status.collision_count.unwrap_or(0));
    let total: i32 = work.old.iter().map(size).sum();
    let wanted = replicas_of(work.spec);
    let room = if is_recreate(work.spec) { wanted } else { (wanted + bounds(work.spec).0 - total).max(0) };
    let replicas = room.min(wanted);
    set.spec.get_or_insert_default().replicas = Some(replicas);
    note_size(&mut set, work.spec);
    annotate(&mut set, work.input.deployment, work.old.iter().map(of).max().unwrap_or(0) + 1);
    note_revision(work, &set);
    let name = set.metadata.name.clone().unwrap_or_default();
    progress::created(work, &name);
    if replicas > 0 {
        let text = format!("Scaled up replica set {name} from 0 to {replicas}");
        work.decision.notes.push(Note::normal("ScalingReplicaSet", text));
    }
    work.decision.create = Some(Box::new(set.clone()));
    work.new = Some(set);
}

fn make(deployment: &Deployment, spec: &DeploymentSpec, collisions: i32) -> ReplicaSet {
    let hash = hash::of(&text(&spec.template), collisions);
    let mut template = spec.template.clone();
    let metadata = template.metadata.get_or_insert_default();
    let labels = metadata.labels.get_or_insert_with(BTreeMap::new);
    labels.insert(HASH.to_owned(), hash.clone());
    let labels = labels.clone();
    let mut selector = spec.selector.clone();
    selector.match_labels.get_or_insert_with(BTreeMap::new).insert(HASH.to_owned(), hash.clone());
    let name = deployment.metadata.name.as_deref().unwrap_or_default();
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{name}-{hash}")),
            namespace: deployment.metadata.namespace.clone(),
            labels: Some(labels),
            owner_references: Some(vec![claim::reference("apps/v1", "Deployment", &deployment.metadata)]),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            min_ready_seconds: spec.min_ready_seconds,
            selector,
            template: Some(template),
            replicas: None,
        }),
        status: None,
    }
}

/// The Deployment's annotations, and the revision if it is newer; earlier ones are remembered.
fn annotate(set: &mut ReplicaSet, deployment: &Deployment, revision: i64) {
    let annotations = set.metadata.annotations.get_or_insert_with(BTreeMap::new);
    for (key, value) in deployment.metadata.annotations.iter().flatten() {
        if !NOT_COPIED.contains(&key.as_str()) {
            annotations.insert(key.clone(), value.clone());
        }
    }
    let known = annotations.get(REVISION).cloned();
    if known.as_ref().and_then(|known| known.parse().ok()).unwrap_or(0_i64) >= revision {
        return;
    }
    annotations.insert(REVISION.to_owned(), revision.to_string());
    let Some(known) = known else { return };
    let history = match annotations.get(HISTORY) {
        Some(history) if !history.is_empty() => format!("{history},{known}"),
        _ => known,
    };
    let start = history.len().saturating_sub(MAX_HISTORY);
    let start = history[start..].find(',').filter(|_| start > 0).map_or(start, |comma| start + comma + 1);
    annotations.insert(HISTORY.to_owned(), history[start..].to_owned());
}

/// What the Deployment's size was when this set was given its own.
pub(super) fn note_size(set: &mut ReplicaSet, spec: &DeploymentSpec) {
    let annotations = set.metadata.annotations.get_or_insert_with(BTreeMap::new);
    let wanted = replicas_of(spec);
    annotations.insert(DESIRED.to_owned(), wanted.to_string());
    annotations.insert(MAX.to_owned(), (wanted + bounds(spec).0).to_string());
}

fn note_revision(work: &mut Work<'_>, set: &ReplicaSet) {
    let revision = pods::annotation(&set.metadata, REVISION);
    if revision != pods::annotation(&work.input.deployment.metadata, REVISION) {
        work.decision.revision = revision.map(str::to_owned);
    }
}
