//! What a write through one endpoint cannot own, because the endpoint does not write it (F5f).

use outrigger_api::KindInfo;

use super::compare::Comparison;
use super::set::{Branch, FieldSet};
use super::step::Step;
use crate::strategy::Endpoint;

/// The fields an endpoint of a kind can own.
#[derive(Clone, Debug)]
pub(super) enum Scope {
    /// All but these and what is in them.
    AllBut(FieldSet),
    /// These and what is in them; `*` stands for any step.
    Only(&'static [&'static [&'static str]]),
}

impl Scope {
    /// The scope of an endpoint.
    pub(super) fn of(kind: &KindInfo, endpoint: Endpoint) -> Self {
        match endpoint {
            Endpoint::Main if kind.strategy.status => Self::all_but(&[&["status"]]),
            Endpoint::Main => Self::all_but(&[]),
            Endpoint::Status => Self::all_but(not_status(kind)),
            Endpoint::Approval => Self::all_but(&[&["spec"], &["status", "certificate"]]),
            Endpoint::Finalize => Self::all_but(&[&["status"]]),
            Endpoint::EphemeralContainers => Self::Only(&[&["spec", "ephemeralContainers"]]),
            Endpoint::Resize => Self::Only(&[
                &["spec", "containers", "*", "resources"],
                &["spec", "containers", "*", "resizePolicy"],
                &["spec", "initContainers", "*", "resources"],
                &["spec", "initContainers", "*", "resizePolicy"],
                &["spec", "resources"],
            ]),
        }
    }

    fn all_but(paths: &[&[&str]]) -> Self {
        let mut set = FieldSet::default();
        for path in paths {
            let steps: Vec<Step> = path.iter().map(|name| Step::field(name)).collect();
            set.insert(&steps);
        }
        Self::AllBut(set)
    }

    /// The part of a set that is in scope.
    pub(super) fn limit(&self, set: FieldSet) -> FieldSet {
        match self {
            Self::AllBut(outside) if outside.is_empty() => set,
            Self::AllBut(outside) => set.outside(outside),
            Self::Only(patterns) => only(&set, patterns),
        }
    }

    pub(super) fn limit_all(&self, comparison: Comparison) -> Comparison {
        comparison.map(|set| self.limit(set))
    }
}

fn only(set: &FieldSet, patterns: &[&[&str]]) -> FieldSet {
    let mut kept = FieldSet::default();
    for (step, branch) in set.branches() {
        let rests: Vec<&[&str]> = patterns
            .iter()
            .filter_map(|pattern| pattern.split_first())
            .filter(|(first, _)| **first == "*" || matches!(step, Step::Field(name) if name == *first))
            .map(|(_, rest)| rest)
            .collect();
        if rests.iter().any(|rest| rest.is_empty()) {
            kept.join(step.clone(), branch.clone());
        } else if !rests.is_empty() {
            kept.join(step.clone(), Branch { owned: false, below: only(&branch.below, &rests) });
        }
    }
    kept
}

/// What a write to `/status` does not change (D3).
fn not_status(kind: &KindInfo) -> &'static [&'static [&'static str]] {
    match (&*kind.group, &*kind.kind) {
        ("", "Pod") => &[&["spec"], &["metadata", "deletionTimestamp"], &["metadata", "ownerReferences"]],
        ("apps", "Deployment") => &[&["spec"], &["metadata", "labels"]],
        ("", _)
        | ("apps" | "batch" | "autoscaling" | "policy" | "certificates.k8s.io" | "apiextensions.k8s.io", _)
        | ("networking.k8s.io", "Ingress") => &[&["spec"]],
        _ => &[&["spec"], &["metadata"]],
    }
}

/// What nobody owns (F5f). Taken away member by member, so that labels and the like stay.
pub(super) fn never_owned() -> FieldSet {
    const METADATA: &[&str] = &[
        "clusterName",
        "creationTimestamp",
        "generation",
        "managedFields",
        "name",
        "namespace",
        "resourceVersion",
        "selfLink",
        "uid",
    ];
    let mut set = FieldSet::default();
    for name in ["apiVersion", "kind", "metadata"] {
        set.insert(&[Step::field(name)]);
    }
    for name in METADATA {
        set.insert(&[Step::field("metadata"), Step::field(name)]);
    }
    set
}
