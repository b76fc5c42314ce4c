//! RBAC: may this caller do that (I17-I22)?
//!
//! Roles and bindings are read from the store on every question. That is the newest truth at the price of a scan of
//! two to four short ranges; callers in `system:masters`, which includes every component of this program, never pay it.

use outrigger_api::status::Reason;
use outrigger_api::{Object, StatusError};
use serde_json::Value;

use super::identity::{Identity, MASTERS};
use super::node::{self, Opinion};
use crate::server::Api;
use crate::storage::ListRequest;

pub(super) const GROUP: &str = "rbac.authorization.k8s.io";

/// What somebody wants to do (I17).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) verb: String,
    pub(crate) group: String,
    pub(crate) resource: String,
    pub(crate) subresource: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// The node a list or watch is limited to by its field selector (I30).
    pub(crate) node_selector: String,
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
    let of_node = match node::opinion(api, identity, wanted).await? {
        Opinion::Allowed => return Ok(Verdict::Allowed(String::new())),
        Opinion::None(why) => why,
    };
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
    let of_roles = if missing.is_empty() { String::new() } else { format!("RBAC: {}", missing.join(", ")) };
    let reasons: Vec<&str> =
        [of_node.as_str(), &of_roles].into_iter().filter(|reason| !reason.is_empty()).collect();
    Ok(Verdict::Denied(reasons.join("\n")))
}

/// Everything a caller may do in a namespace, or in the whole cluster where that is empty.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// Rules as roles have them.
    pub(crate) rules: Vec<Value>,
    /// What could not be looked at: roles that are bound and are not there.
    pub(crate) missing: Vec<String>,
}

/// The rules of every role the caller is bound to (I23, I29).
pub(crate) async fn held(api: &Api, identity: &Identity, namespace: &str) -> Result<Held, StatusError> {
    let mut held = Held::default();
    if identity.is_in(MASTERS) {
        held.rules = vec![
            serde_json::json!({ "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"] }),
            serde_json::json!({ "verbs": ["*"], "nonResourceURLs": ["*"] }),
        ];
        return Ok(held);
    }
    let mut all = vec![("", bindings(api, "clusterrolebindings", "").await?)];
    if !namespace.is_empty() {
        all.push((namespace, bindings(api, "rolebindings", namespace).await?));
    }
    for (namespace, bindings) in all {
        for binding in bindings.iter().filter(|binding| subject_of(binding, namespace, identity).is_some()) {
            let (plural, name) = role_of(binding);
            match role_rules(api, plural, namespace, name).await? {
                // Paths are granted through ClusterRoleBindings only (I20).
                Some(rules) => held.rules.extend(
                    rules
                        .into_iter()
                        .filter(|rule| namespace.is_empty() || rule.get("nonResourceURLs").is_none()),
                ),
                None => held.missing.push(not_found(plural, name)),
            }
        }
    }
    Ok(held)
}

/// The rules of one role; `None` if it is not there. The namespace says nothing for a ClusterRole.
pub(super) async fn role_rules(
    api: &Api,
    plural: &str,
    namespace: &str,
    name: &str,
) -> Result<Option<Vec<Value>>, StatusError> {
    let Some(kind) = api.registry.find(GROUP, "v1", plural) else { return Ok(None) };
    let namespace = if kind.namespaced { namespace } else { "" };
    let Some(role) = api.storage.find(&kind, namespace, name).await? else { return Ok(None) };
    let rules = role.object()?.at(&["rules"]).and_then(Value::as_array).cloned();
    Ok(Some(rules.unwrap_or_default()))
}

fn role_of(binding: &Object) -> (&'static str, &str) {
    let plural = if binding.str_at(&["roleRef", "kind"]) == "Role" { "roles" } else { "clusterroles" };
    (plural, binding.str_at(&["roleRef", "name"]))
}

fn subject_of<'a>(binding: &'a Object, namespace: &str, identity: &Identity) -> Option<&'a Value> {
    let subjects = binding.at(&["subjects"]).and_then(Value::as_array);
    subjects.into_iter().flatten().find(|subject| is_subject(subject, namespace, identity))
}

/// I22.
fn not_found(plural: &str, name: &str) -> String {
    format!("{}.{GROUP} \"{name}\" not found", plural.trim_end_matches('s'))
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
    let Some(subject) = subject_of(binding, namespace, identity) else { return Ok(None) };
    let (plural, role_name) = role_of(binding);
    let Some(rules) = role_rules(api, plural, namespace, role_name).await? else {
        missing.push(not_found(plural, role_name));
        return Ok(None);
    };
    if !rules.iter().any(|rule| covers(rule, wanted)) {
        return Ok(None);
    }
    let role_kind = binding.str_at(&["roleRef", "kind"]);
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
pub(super) fn covers(rule: &Value, wanted: &Attributes) -> bool {
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
