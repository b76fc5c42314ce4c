//! `podFailurePolicy` and `successPolicy` (N6, R16.5).

use k8s_openapi::api::batch::v1::{Job, PodFailurePolicyRule};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use super::indexes::Indexes;
use crate::pods;

/// What the policy says about a failed Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It counts towards the limit.
    Count,
    /// It does not.
    Ignore,
    /// Its index has failed.
    FailIndex,
    /// The Job has failed, for this reason.
    FailJob(String),
}

/// The first rule that matches a failed Pod decides; without one it counts.
pub(super) fn verdict(job: &Job, pod: &Pod) -> Verdict {
    let policy = job.spec.as_ref().and_then(|spec| spec.pod_failure_policy.as_ref());
    let rules = policy.map(|policy| policy.rules.as_slice()).unwrap_or_default();
    for (at, rule) in rules.iter().enumerate() {
        let Some(why) = matches(rule, pod) else { continue };
        return match rule.action.as_str() {
            "Ignore" => Verdict::Ignore,
            "FailIndex" => Verdict::FailIndex,
            "FailJob" => Verdict::FailJob(format!("{why} matching FailJob rule at index {at}")),
            _ => Verdict::Count,
        };
    }
    Verdict::Count
}

/// The beginning of the message, if the rule matches.
fn matches(rule: &PodFailurePolicyRule, pod: &Pod) -> Option<String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let name = format!("{namespace}/{}", pods::name(pod));
    if let Some(codes) = &rule.on_exit_codes {
        // App containers come before sidecars and init containers (R16.5).
        let eligible = |status: &&ContainerStatus| {
            codes.container_name.as_ref().is_none_or(|wanted| *wanted == status.name)
        };
        return pods::container_statuses(pod).filter(eligible).find_map(|status| {
            let code = status.state.as_ref()?.terminated.as_ref()?.exit_code;
            let listed = codes.values.contains(&code);
            let hit = code != 0 && if codes.operator == "NotIn" { !listed } else { listed };
            hit.then(|| format!("Container {} for pod {name} failed with exit code {code}", status.name))
        });
    }
    rule.on_pod_conditions.iter().flatten().find_map(|pattern| {
        let condition = pods::condition(pod, &pattern.type_)?;
        let wanted = pattern.status.as_deref().unwrap_or("True");
        (condition.status == wanted).then(|| format!("Pod {name} has condition {}", pattern.type_))
    })
}

/// The position of the first rule of `successPolicy` that is met.
pub(super) fn success(job: &Job, succeeded: &Indexes, completions: i32) -> Option<usize> {
    let policy = job.spec.as_ref()?.success_policy.as_ref()?;
    policy.rules.iter().position(|rule| {
        let wanted = rule.succeeded_indexes.as_deref().map(|text| Indexes::parse(text, completions));
        let have = wanted.as_ref().map_or(succeeded.count(), |wanted| wanted.shared_with(succeeded));
        let need = rule.succeeded_count.or(wanted.as_ref().map(Indexes::count));
        need.is_some_and(|need| have >= need)
    })
}
