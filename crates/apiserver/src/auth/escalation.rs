//! Nobody gives away more than they have (I23): writes of roles and of bindings to them.

use outrigger_api::{Object, StatusError};
use serde_json::{Value, json};

use super::covering::{quoted, uncovered};
use super::identity::{Identity, MASTERS};
use super::rbac::{Attributes, GROUP, Verdict, held, role_rules, verdict};
use crate::server::Api;

/// Refuses a write that would give the caller, or somebody else, what the caller does not have.
///
/// # Errors
/// 403 with what is missing; 404 if a binding is to a role that is not there.
pub(crate) async fn check(
    api: &Api,
    identity: &Identity,
    plural: &str,
    new: &Object,
    old: Option<&Object>,
) -> Result<(), StatusError> {
    if identity.is_in(MASTERS) || old.is_some_and(|old| core_of(old) == core_of(new)) {
        return Ok(());
    }
    match plural {
        "roles" | "clusterroles" => role(api, identity, plural, new, old).await,
        "rolebindings" | "clusterrolebindings" => binding(api, identity, plural, new).await,
        _ => Ok(()),
    }
}

/// The object without what others than its author write: the collector must be able to do its work.
fn core_of(object: &Object) -> Object {
    let mut core = object.clone();
    for member in ["ownerReferences", "finalizers", "managedFields", "resourceVersion"] {
        core.metadata_mut().remove(member);
    }
    core
}

async fn role(
    api: &Api,
    identity: &Identity,
    plural: &str,
    new: &Object,
    old: Option<&Object>,
) -> Result<(), StatusError> {
    let wanted = asked("escalate", plural, new.namespace(), new.name());
    if matches!(verdict(api, identity, &wanted).await?, Verdict::Allowed(_)) {
        return Ok(());
    }
    let collects = |object: &Object| object.at(&["aggregationRule"]).is_some_and(|rule| !rule.is_null());
    if collects(new) || old.is_some_and(collects) {
        // It may come to hold anything.
        let everything = [
            json!({ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] }),
            json!({ "nonResourceURLs": ["*"], "verbs": ["*"] }),
        ];
        if !uncovered(&everything, &held(api, identity, "").await?.rules).is_empty() {
            let why = "must have cluster-admin privileges to use the aggregationRule";
            return Err(StatusError::forbidden(plural, GROUP, new.name(), why));
        }
    }
    let given = new.at(&["rules"]).and_then(Value::as_array).cloned().unwrap_or_default();
    covered(api, identity, plural, new, &given).await
}

async fn binding(api: &Api, identity: &Identity, plural: &str, new: &Object) -> Result<(), StatusError> {
    let role_plural = match new.str_at(&["roleRef", "kind"]) {
        "Role" => "roles",
        _ => "clusterroles",
    };
    let name = new.str_at(&["roleRef", "name"]);
    let wanted = asked("bind", role_plural, new.namespace(), name);
    if matches!(verdict(api, identity, &wanted).await?, Verdict::Allowed(_)) {
        return Ok(());
    }
    let Some(given) = role_rules(api, role_plural, new.namespace(), name).await? else {
        return Err(StatusError::not_found(role_plural, GROUP, name));
    };
    covered(api, identity, plural, new, &given).await
}

async fn covered(
    api: &Api,
    identity: &Identity,
    plural: &str,
    new: &Object,
    given: &[Value],
) -> Result<(), StatusError> {
    let missing = uncovered(given, &held(api, identity, new.namespace()).await?.rules);
    if missing.is_empty() {
        return Ok(());
    }
    let why = format!(
        "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
        identity.user,
        quoted(&identity.groups),
        missing.join("\n")
    );
    Err(StatusError::forbidden(plural, GROUP, new.name(), &why))
}

fn asked(verb: &str, resource: &str, namespace: &str, name: &str) -> Attributes {
    Attributes {
        verb: verb.to_owned(),
        group: GROUP.to_owned(),
        resource: resource.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        ..Attributes::default()
    }
}
