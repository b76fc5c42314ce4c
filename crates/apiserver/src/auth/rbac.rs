//! RBAC: may this caller do that (I17-I22)?
//!
//! Roles and bindings are read from the store on every question. That is the newest truth at the price of a scan of
//! two to four short ranges; callers in `system:masters`, which includes every component of this program, never pay it.

use outrigger_api::status::Reason;
use outrigger_api::{Object, StatusError};
use serde_json::Value;

use super::identity::{Identity, MASTERS};
use crate::server::Api;
use crate::storage::ListRequest;

const GROUP: &str = "rbac.authorization.k8s.io";

/// What somebody wants to do (I17).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) verb: String,
    pub(crate) group: String,
    pub(crate) resource: String,
    pub(crate) subresource: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// Set for requests that are about no resource; the other members but `verb` are then empty.
    pub(crate) path: Option<String>,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The text says why (I28).
    Allowed(String),
    /// The text may be empty.
    Denied(String),
}

/// Refuses what is not allowed.
///
/// # Errors
/// 403 in the words of D31.
pub(crate) async fn authorize(
    api: &Api,
    identity: &Identity,
    wanted: &Attributes,
) -> Result<(), StatusError> {
    match verdict(api, identity, wanted).await? {
        Verdict::Allowed(_) => Ok(()),
        Verdict::Denied(why) => Err(forbidden(identity, wanted, &why)),
    }
}

/// Answers the question itself (I18-I22).
pub(crate) async fn verdict(
    api: &Api,
    identity: &Identity,
    wanted: &Attributes,
) -> Result<Verdict, StatusError> {
    if identity.is_in(MASTERS) {
        return Ok(Verdict::Allowed(String::new()));
    }
    let mut missing = Vec::new();
    for binding in bindings(api, "clusterrolebindings", "").await? {
        if let Some(why) = grants(api, &binding, "", identity, wanted, &mut missing).await? {
            return Ok(Verdict::Allowed(why));
        }
    }
    if !wanted.namespace.is_empty() && wanted.path.is_none() {
        for binding in bindings(api, "rolebindings", &wanted.namespace).await? {
            if let Some(why) =
                grants(api, &binding, &wanted.namespace, identity, wanted, &mut missing).await?
            {
                return Ok(Verdict::Allowed(why));
            }
        }
    }
    Ok(Verdict::Denied(if missing.is_empty() {
        String::new()
    } else {
        format!("RBAC: {}", missing.join(", "))
    }))
}

async fn bindings(api: &Api, plural: &str, namespace: &str) -> Result<Vec<Object>, StatusError> {
    let Some(kind) = api.registry.find(GROUP, "v1", plural) else { return Ok(Vec::new()) };
    let request = ListRequest { namespace: namespace.to_owned(), ..ListRequest::default() };
    let page = api.storage.list(&kind, &request).await?;
    page.items.iter().map(crate::storage::Stored::object).collect()
}

/// Why a binding allows it, if it does.
async fn grants(
    api: &Api,
    binding: &Object,
    namespace: &str,
    identity: &Identity,
    wanted: &Attributes,
    missing: &mut Vec<String>,
) -> Result<Option<String>, StatusError> {
    let subjects = binding.at(&["subjects"]).and_then(Value::as_array);
    let Some(subject) =
        subjects.into_iter().flatten().find(|subject| is_subject(subject, namespace, identity))
    else {
        return Ok(None);
    };
    let role_kind = binding.str_at(&["roleRef", "kind"]);
    let role_name = binding.str_at(&["roleRef", "name"]);
    let (plural, role_namespace) =
        if role_kind == "Role" { ("roles", namespace) } else { ("clusterroles", "") };
    let Some(kind) = api.registry.find(GROUP, "v1", plural) else { return Ok(None) };
    let Some(role) = api.storage.find(&kind, role_namespace, role_name).await? else {
        missing.push(format!("{}.{GROUP} \"{role_name}\" not found", kind.singular));
        return Ok(None);
    };
    let role = role.object()?;
    let rules = role.at(&["rules"]).and_then(Value::as_array);
    if !rules.into_iter().flatten().any(|rule| covers(rule, wanted)) {
        return Ok(None);
    }
    let kind_text = |key: &str| subject.get(key).and_then(Value::as_str).unwrap_or_default();
    let whom = if kind_text("kind") == "ServiceAccount" {
        format!("ServiceAccount \"{}/{}\"", kind_text("name"), kind_text("namespace"))
    } else {
        format!("{} \"{}\"", kind_text("kind"), kind_text("name"))
    };
    let (kind, name) = (binding.kind(), binding.name());
    let name = if namespace.is_empty() { name.to_owned() } else { format!("{name}/{namespace}") };
    Ok(Some(format!("RBAC: allowed by {kind} \"{name}\" of {role_kind} \"{role_name}\" to {whom}")))
}

/// I21.
fn is_subject(subject: &Value, namespace: &str, identity: &Identity) -> bool {
    let text = |key: &str| subject.get(key).and_then(Value::as_str).unwrap_or_default();
    match text("kind") {
        "User" => text("name") == identity.user,
        "Group" => identity.is_in(text("name")),
        "ServiceAccount" => {
            let of = if text("namespace").is_empty() { namespace } else { text("namespace") };
            !of.is_empty() && identity.user == format!("system:serviceaccount:{of}:{}", text("name"))
        }
        _ => false,
    }
}

/// I19, I20.
fn covers(rule: &Value, wanted: &Attributes) -> bool {
    let list = |key: &str| {
        rule.get(key)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect::<Vec<_>>()
    };
    let has = |key: &str, word: &str| list(key).iter().any(|entry| *entry == "*" || *entry == word);
    if !has("verbs", &wanted.verb) {
        return false;
    }
    if let Some(path) = &wanted.path {
        return list("nonResourceURLs").iter().any(|url| match url.strip_suffix('*') {
            Some(prefix) => path.starts_with(prefix),
            None => url == path,
        });
    }
    let names = list("resourceNames");
    has("apiGroups", &wanted.group)
        && list("resources").iter().any(|entry| resource_matches(entry, wanted))
        && (names.is_empty() || names.contains(&wanted.name.as_str()))
}

fn resource_matches(entry: &str, wanted: &Attributes) -> bool {
    if entry == "*" {
        return true;
    }
    match entry.split_once('/') {
        None => wanted.subresource.is_empty() && entry == wanted.resource,
        Some((resource, subresource)) => {
            (resource == "*" || resource == wanted.resource) && subresource == wanted.subresource
        }
    }
}

/// D31, D38.
fn forbidden(identity: &Identity, wanted: &Attributes, why: &str) -> StatusError {
    let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let user = escape(&identity.user);
    if let Some(path) = &wanted.path {
        let message = format!("forbidden: User \"{user}\" cannot {} path \"{}\"", wanted.verb, escape(path));
        let mut error = StatusError::new(403, Reason::Forbidden, message);
        error.details = Some(outrigger_api::status::Details::default());
        return error;
    }
    let resource = if wanted.subresource.is_empty() {
        wanted.resource.clone()
    } else {
        format!("{}/{}", wanted.resource, wanted.subresource)
    };
    let scope = if wanted.namespace.is_empty() {
        "at the cluster scope".to_owned()
    } else {
        format!("in the namespace \"{}\"", escape(&wanted.namespace))
    };
    let reason = if why.is_empty() { String::new() } else { format!(": {why}") };
    let text = format!(
        "User \"{user}\" cannot {} resource \"{resource}\" in API group \"{}\" {scope}{reason}",
        wanted.verb, wanted.group
    );
    StatusError::forbidden(&wanted.resource, &wanted.group, &wanted.name, &text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn wanted(verb: &str, resource: &str, subresource: &str, name: &str) -> Attributes {
        let text = str::to_owned;
        Attributes {
            verb: text(verb),
            resource: text(resource),
            subresource: text(subresource),
            name: text(name),
            ..Attributes::default()
        }
    }

    /// I19
    #[test]
    fn rules_cover_what_they_name_and_nothing_else() {
        let rule = json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]});
        assert!(covers(&rule, &wanted("get", "pods", "", "a")));
        assert!(!covers(&rule, &wanted("get", "pods", "log", "a")));
        assert!(!covers(&rule, &wanted("list", "pods", "", "")));
        let logs = json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*/log"]});
        assert!(covers(&logs, &wanted("get", "pods", "log", "a")));
        let named = json!({"verbs": ["*"], "apiGroups": [""], "resources": ["*"], "resourceNames": ["a"]});
        assert!(covers(&named, &wanted("get", "pods", "log", "a")));
        assert!(!covers(&named, &wanted("create", "pods", "", "")));
    }

    /// I20
    #[test]
    fn paths_match_whole_or_by_prefix() {
        let rule = json!({"verbs": ["get"], "nonResourceURLs": ["/api/*", "/version"]});
        let path = |path: &str| Attributes {
            verb: "get".to_owned(),
            path: Some(path.to_owned()),
            ..Attributes::default()
        };
        assert!(covers(&rule, &path("/api/v1")) && covers(&rule, &path("/version")));
        assert!(!covers(&rule, &path("/version/")) && !covers(&rule, &path("/apis")));
    }

    /// I21
    #[test]
    fn a_service_account_is_a_subject_by_namespace_and_name() {
        let caller = Identity { user: "system:serviceaccount:a:b".to_owned(), ..Identity::default() };
        assert!(is_subject(&json!({"kind": "ServiceAccount", "name": "b", "namespace": "a"}), "", &caller));
        assert!(!is_subject(&json!({"kind": "ServiceAccount", "name": "b", "namespace": "c"}), "", &caller));
    }

    /// D31
    #[test]
    fn a_refusal_names_user_verb_resource_and_place() {
        let caller = Identity { user: "jane".to_owned(), ..Identity::default() };
        let asked = Attributes { namespace: "ns".to_owned(), ..wanted("list", "pods", "", "") };
        let text = "pods is forbidden: User \"jane\" cannot list resource \"pods\" in API group \"\" in the namespace \"ns\"";
        assert_eq!(forbidden(&caller, &asked, "").message, text);
    }
}
