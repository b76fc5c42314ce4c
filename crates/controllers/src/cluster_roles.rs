//! ClusterRoles made of others: their rules are what the selected roles have (I24).

use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use kube::api::{ListParams, Patch, PatchParams};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, Client, ResourceExt as _};
use outrigger_api::selector::LabelSelector;
use outrigger_reconcile::{Error, Next, Reconciler};
use serde_json::json;

/// Keeps rules of aggregated ClusterRoles.
pub(crate) struct Aggregation {
    pub(crate) client: Client,
}

/// Whom a change of any role may concern.
pub(crate) fn made_of_others(known: &Store<ClusterRole>) -> Vec<ObjectRef<ClusterRole>> {
    let roles = known.state();
    roles
        .iter()
        .filter(|role| role.aggregation_rule.is_some())
        .map(|role| ObjectRef::from_obj(&**role))
        .collect()
}

#[async_trait]
impl Reconciler for Aggregation {
    type Object = ClusterRole;

    const NAME: &'static str = "clusterrole-aggregation";

    async fn reconcile(&self, role: Arc<ClusterRole>) -> Result<Next, Error> {
        if role.aggregation_rule.is_none() {
            return Ok(Next::Change);
        }
        let name = role.name_any();
        let api = Api::<ClusterRole>::all(self.client.clone());
        let roles =
            api.list(&ListParams::default()).await.map_err(Error::doing("a list of cluster roles"))?.items;
        // The list is newer than what the watch said.
        let Some(role) = roles.iter().find(|one| one.name_any() == name) else { return Ok(Next::Change) };
        let Some(rules) = collected(role, &roles) else { return Ok(Next::Change) };
        if role.rules.as_deref().unwrap_or_default() == rules {
            return Ok(Next::Change);
        }
        let version = role.metadata.resource_version.clone();
        let patch = Patch::Merge(json!({ "metadata": { "resourceVersion": version }, "rules": rules }));
        match api.patch(&name, &PatchParams::default(), &patch).await {
            // Somebody else wrote it, which leads to another look.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(Next::Change),
            Err(error) => Err(Error::doing(format!("rules of cluster role {name}"))(error)),
            Ok(_) => Ok(Next::Change),
        }
    }
}

/// The rules a role should have, by the names of the roles they come from; `None` if it is not made of others.
fn collected(role: &ClusterRole, roles: &[ClusterRole]) -> Option<Vec<PolicyRule>> {
    let rule = role.aggregation_rule.as_ref()?;
    let selectors: Vec<LabelSelector> = rule
        .cluster_role_selectors
        .iter()
        .flatten()
        .filter_map(|selector| serde_json::to_value(selector).ok())
        .filter_map(|selector| LabelSelector::from_json(&selector).ok())
        .collect();
    let mut chosen: Vec<&ClusterRole> = roles
        .iter()
        .filter(|one| one.name_any() != role.name_any())
        .filter(|one| {
            selectors.iter().any(|selector| selector.matches(|key| one.labels().get(key).map(String::as_str)))
        })
        .collect();
    chosen.sort_by_key(|one| one.name_any());
    let mut rules: Vec<PolicyRule> = Vec::new();
    for rule in chosen.into_iter().flat_map(|one| one.rules.iter().flatten()) {
        if !rules.contains(rule) {
            rules.push(rule.clone());
        }
    }
    Some(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(value: serde_json::Value) -> ClusterRole {
        serde_json::from_value(value).unwrap()
    }

    /// I24
    #[test]
    fn a_role_made_of_others_has_their_rules_and_no_own() {
        let pods = json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]});
        let jobs = json!({"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["get"]});
        let roles = [
            role(json!({
                "metadata": {"name": "all", "labels": {"part": "yes"}},
                "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"part": "yes"}}]},
                "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}],
            })),
            role(json!({"metadata": {"name": "b", "labels": {"part": "yes"}}, "rules": [jobs, pods]})),
            role(json!({"metadata": {"name": "a", "labels": {"part": "yes"}}, "rules": [pods]})),
            role(json!({"metadata": {"name": "c"}, "rules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]})),
        ];
        let expected: Vec<PolicyRule> = serde_json::from_value(json!([pods, jobs])).unwrap();
        assert_eq!(collected(&roles[0], &roles), Some(expected));
        assert_eq!(collected(&roles[1], &roles), None);
    }
}
