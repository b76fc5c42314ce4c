//! ControllerRevisions (N4, N5): the templates a StatefulSet or DaemonSet had, numbered, so that one can go back.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use serde_json::{Value, json};

use crate::{hash, pods};

/// The label of a revision with the hash of its template.
pub const HASH: &str = "controller.kubernetes.io/hash";
/// The label of Pods that names their revision.
pub const POD_HASH: &str = "controller-revision-hash";

/// The revision of the present template.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// As it should be.
    pub revision: ControllerRevision,
    /// What has to be done for that.
    pub step: Step,
}

/// What is to be done about the present revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is there, and the newest.
    None,
    /// It has to be made.
    Create,
    /// It is an old one that becomes the newest again.
    Renumber,
}

/// The name of a revision.
pub fn name(revision: &ControllerRevision) -> &str {
    revision.metadata.name.as_deref().unwrap_or_default()
}

/// Finds or makes the revision of a template among those that exist.
pub fn update(
    owner: &ObjectMeta,
    reference: &OwnerReference,
    template: &PodTemplateSpec,
    existing: &[Arc<ControllerRevision>],
    collisions: i32,
) -> Update {
    let data = data(template);
    let newest = existing.iter().map(|one| one.revision).max().unwrap_or(0);
    let known = existing.iter().filter(|one| one.data.as_ref().map(|data| &data.0) == Some(&data));
    if let Some(known) = known.max_by_key(|one| one.revision) {
        let mut revision = (**known).clone();
        if revision.revision == newest {
            return Update { revision, step: Step::None };
        }
        revision.revision = newest + 1;
        return Update { revision, step: Step::Renumber };
    }
    let hash = hash::of(&data.to_string(), collisions);
    let mut labels = template.metadata.clone().and_then(|metadata| metadata.labels).unwrap_or_default();
    labels.insert(HASH.to_owned(), hash.clone());
    labels.insert(POD_HASH.to_owned(), hash.clone());
    let revision = ControllerRevision {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", owner.name.as_deref().unwrap_or_default())),
            namespace: owner.namespace.clone(),
            labels: Some(labels),
            annotations: owner.annotations.clone().map(without_applied),
            owner_references: Some(vec![reference.clone()]),
            ..ObjectMeta::default()
        },
        data: Some(RawExtension(data)),
        revision: newest + 1,
    };
    Update { revision, step: Step::Create }
}

/// Whether `found` stands for the same template, under a name that was taken.
pub fn is_same(wanted: &ControllerRevision, found: &ControllerRevision) -> bool {
    wanted.data == found.data
        && pods::controller_of(&found.metadata).map(|owner| &owner.uid)
            == pods::controller_of(&wanted.metadata).map(|owner| &owner.uid)
}

/// The template of a revision; `None` if it has none.
pub fn template(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    let mut template = revision.data.as_ref()?.0.pointer("/spec/template")?.clone();
    template.as_object_mut()?.remove("$patch");
    serde_json::from_value(template).ok()
}

/// Revisions that nobody uses beyond the limit, oldest first.
pub fn surplus(
    existing: &[Arc<ControllerRevision>],
    used: &HashSet<String>,
    limit: i32,
) -> Vec<Arc<ControllerRevision>> {
    let mut idle: Vec<&Arc<ControllerRevision>> =
        existing.iter().filter(|one| !used.contains(name(one))).collect();
    idle.sort_by_key(|one| one.revision);
    let surplus = idle.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
    idle.into_iter().take(surplus).cloned().collect()
}

/// A patch that brings the template back, as kubectl's rollback applies it.
fn data(template: &PodTemplateSpec) -> Value {
    let mut template = serde_json::to_value(template).unwrap_or_default();
    template["$patch"] = json!("replace");
    json!({ "spec": { "template": template } })
}

fn without_applied(mut annotations: BTreeMap<String, String>) -> BTreeMap<String, String> {
    annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    annotations
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(image: &str) -> PodTemplateSpec {
        let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": image}]}});
        serde_json::from_value(template).unwrap()
    }

    /// N4: a template that comes back is the newest again; names come from the content.
    #[test]
    fn old_templates_are_found_again() {
        let owner =
            ObjectMeta { name: Some("web".to_owned()), uid: Some("u".to_owned()), ..ObjectMeta::default() };
        let reference = crate::claim::reference("apps/v1", "StatefulSet", &owner);
        let find = |image: &str, existing: &[Arc<ControllerRevision>]| {
            update(&owner, &reference, &template(image), existing, 0)
        };
        let first = find("v1", &[]);
        assert_eq!((first.step, first.revision.revision), (Step::Create, 1));
        assert!(name(&first.revision).starts_with("web-"));
        assert_eq!(super::template(&first.revision), Some(template("v1")));
        let first = Arc::new(first.revision);
        let second = find("v2", std::slice::from_ref(&first));
        assert_eq!((second.step, second.revision.revision), (Step::Create, 2));
        let both = [first, Arc::new(second.revision)];
        assert_eq!(find("v2", &both).step, Step::None);
        let back = find("v1", &both);
        assert_eq!(
            (back.step, back.revision.revision, name(&back.revision)),
            (Step::Renumber, 3, name(&both[0]))
        );
        let used = HashSet::from([name(&both[1]).to_owned()]);
        assert_eq!(surplus(&both, &used, 0), [both[0].clone()]);
        assert_eq!(surplus(&both, &used, 1), []);
    }
}
