//! Scopes: quotas that count only some Pods, or only some claims.

use outrigger_api::{KindInfo, Object};
use serde_json::Value;

use crate::strategy::qos_class;
use crate::tree;
use crate::validation::ABSENT;

/// Whether all scopes of a quota hold. A quota with scopes counts nothing but Pods and claims.
pub(super) fn matches(quota: &Object, kind: &KindInfo, object: &Object) -> bool {
    let spec = quota.0.get("spec").unwrap_or(ABSENT);
    let selector = spec.get("scopeSelector").unwrap_or(ABSENT);
    let plain =
        tree::list(spec, "scopes").iter().filter_map(Value::as_str).map(|scope| (scope, "Exists", &[][..]));
    let demands = tree::list(selector, "matchExpressions").iter();
    let demands =
        demands.map(|it| (tree::text(it, "scopeName"), tree::text(it, "operator"), tree::list(it, "values")));
    plain.chain(demands).all(|(scope, operator, values)| match (&*kind.group, &*kind.plural) {
        ("", "pods") => pod(object, scope, operator, values),
        ("", "persistentvolumeclaims") => {
            let class = object.str_at(&["spec", "volumeAttributesClassName"]);
            scope == "VolumeAttributesClass" && holds(class, operator, values)
        }
        _ => false,
    })
}

fn pod(pod: &Object, scope: &str, operator: &str, values: &[Value]) -> bool {
    let ends = pod
        .at(&["spec", "activeDeadlineSeconds"])
        .and_then(Value::as_i64)
        .is_some_and(|seconds| seconds >= 0);
    let best_effort = qos_class(pod) == "BestEffort";
    match scope {
        "Terminating" => ends,
        "NotTerminating" => !ends,
        "BestEffort" => best_effort,
        "NotBestEffort" => !best_effort,
        "PriorityClass" => holds(pod.str_at(&["spec", "priorityClassName"]), operator, values),
        "CrossNamespacePodAffinity" => looks_beyond(pod),
        _ => false,
    }
}

fn holds(name: &str, operator: &str, values: &[Value]) -> bool {
    let listed = values.iter().any(|value| value == name);
    match operator {
        "In" => !name.is_empty() && listed,
        "NotIn" => name.is_empty() || !listed,
        "Exists" => !name.is_empty(),
        "DoesNotExist" => name.is_empty(),
        _ => false,
    }
}

/// Whether affinities of a Pod are about Pods of other namespaces.
fn looks_beyond(pod: &Object) -> bool {
    const LISTS: [(&str, bool); 2] = [
        ("requiredDuringSchedulingIgnoredDuringExecution", false),
        ("preferredDuringSchedulingIgnoredDuringExecution", true),
    ];
    let affinity = pod.at(&["spec", "affinity"]).unwrap_or(ABSENT);
    ["podAffinity", "podAntiAffinity"].iter().filter_map(|kind| affinity.get(*kind)).any(|kind| {
        LISTS.iter().any(|(list, weighted)| {
            tree::list(kind, list).iter().any(|item| {
                let term = if *weighted { item.get("podAffinityTerm").unwrap_or(ABSENT) } else { item };
                !tree::list(term, "namespaces").is_empty()
                    || term.get("namespaceSelector").is_some_and(Value::is_object)
            })
        })
    })
}
