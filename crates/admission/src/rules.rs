//! Which requests a webhook or an admission policy wants to see (I32, I51, I58).

use std::sync::Arc;

use outrigger_api::selector::LabelSelector;
use outrigger_api::{KindInfo, Object};
use serde_json::Value;

use crate::tree;

/// What a request does (I32). A patch or an apply is a create or an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// An object is made.
    Create,
    /// An object is changed.
    Update,
    /// An object goes.
    Delete,
    /// A connection to what the object stands for.
    Connect,
}

impl Operation {
    /// Its word in rules and reviews.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// A request as rules see it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The resource that was asked for.
    pub kind: &'a KindInfo,
    /// Empty for the object itself.
    pub subresource: &'a str,
    /// What it does.
    pub operation: Operation,
    /// Empty for cluster-scoped kinds.
    pub namespace: &'a str,
    /// Empty while a name is still to be generated.
    pub name: &'a str,
    /// What would be stored; none for a delete.
    pub object: Option<&'a Object>,
    /// What is stored; none for a create.
    pub old: Option<&'a Object>,
    /// The Namespace the request is in, if it is in one.
    pub surroundings: Option<&'a Object>,
    /// All views of the same stored objects, in discovery order; `kind` is among them.
    pub views: &'a [Arc<KindInfo>],
}

/// What a webhook or a policy says it wants to see.
#[derive(Clone, Debug, Default)]
pub struct Constraints {
    rules: Vec<Value>,
    exclude: Vec<Value>,
    exact: bool,
    namespaces: Selector,
    objects: Selector,
}

/// A selector that may be unreadable.
#[derive(Clone, Debug)]
enum Selector {
    Readable(LabelSelector),
    Unreadable(String),
}

impl Default for Selector {
    fn default() -> Self {
        Self::Readable(LabelSelector::default())
    }
}

impl Selector {
    fn of(holder: &Value, key: &str) -> Self {
        match LabelSelector::from_json(holder.get(key).unwrap_or(&Value::Null)) {
            Ok(selector) => Self::Readable(selector),
            Err(error) => Self::Unreadable(error.to_string()),
        }
    }

    /// # Errors
    /// If it cannot be read.
    fn read(&self) -> Result<&LabelSelector, String> {
        match self {
            Self::Readable(selector) => Ok(selector),
            Self::Unreadable(why) => Err(why.clone()),
        }
    }
}

impl Constraints {
    /// Of a webhook, whose rules are called `rules`.
    pub fn of_webhook(webhook: &Value) -> Self {
        Self::of(webhook, "rules")
    }

    /// `matchConstraints` of a policy or `matchResources` of a binding.
    pub fn of_policy(constraints: &Value) -> Self {
        Self::of(constraints, "resourceRules")
    }

    fn of(holder: &Value, rules: &str) -> Self {
        Self {
            rules: tree::list(holder, rules).to_vec(),
            exclude: tree::list(holder, "excludeResourceRules").to_vec(),
            exact: tree::text(holder, "matchPolicy") == "Exact",
            namespaces: Selector::of(holder, "namespaceSelector"),
            objects: Selector::of(holder, "objectSelector"),
        }
    }

    /// Whether there are no rules: a binding without any takes what its policy takes.
    pub fn is_unruled(&self) -> bool {
        self.rules.is_empty()
    }

    /// The view of the object that is wanted, or none.
    ///
    /// # Errors
    /// If a selector cannot be read.
    pub fn wants<'a>(&self, request: &Request<'a>) -> Result<Option<&'a KindInfo>, String> {
        let Some(view) = self.ruled(request) else { return Ok(None) };
        let near = self.namespaces.read()?;
        let objects = self.objects.read()?;
        Ok((in_namespace(near, request) && selects(objects, request)).then_some(view))
    }

    /// The same without rules.
    ///
    /// # Errors
    /// If a selector cannot be read.
    pub fn selects(&self, request: &Request<'_>) -> Result<bool, String> {
        Ok(in_namespace(self.namespaces.read()?, request) && selects(self.objects.read()?, request))
    }

    fn ruled<'a>(&self, request: &Request<'a>) -> Option<&'a KindInfo> {
        let any = |rules: &[Value], kind: &KindInfo| rules.iter().any(|rule| covers(rule, kind, request));
        let others = request.views.iter().map(|view| &**view);
        let views = || others.clone().filter(|view| !same_resource(view, request.kind));
        if any(&self.exclude, request.kind) || (!self.exact && views().any(|view| any(&self.exclude, view))) {
            return None;
        }
        if any(&self.rules, request.kind) {
            return Some(request.kind);
        }
        if self.exact {
            return None;
        }
        views().find(|view| any(&self.rules, view))
    }
}

fn same_resource(one: &KindInfo, other: &KindInfo) -> bool {
    one.group == other.group && one.version == other.version && one.plural == other.plural
}

fn covers(rule: &Value, kind: &KindInfo, request: &Request<'_>) -> bool {
    let names = |key: &str| tree::list(rule, key).iter().filter_map(Value::as_str);
    let has = |key: &str, word: &str| names(key).any(|name| name == "*" || name == word);
    let scope = match tree::text(rule, "scope") {
        "Cluster" => !kind.namespaced,
        "Namespaced" => kind.namespaced,
        _ => true,
    };
    let mut resource_names = names("resourceNames").peekable();
    let named = resource_names.peek().is_none() || resource_names.any(|name| name == request.name);
    scope
        && named
        && has("apiGroups", &kind.group)
        && has("apiVersions", &kind.version)
        && has("operations", request.operation.word())
        && names("resources").any(|resource| covers_resource(resource, &kind.plural, request.subresource))
}

/// `pods`, `pods/status`, `pods/*`, `*/scale`; `*` is every object itself, `*/*` everything.
fn covers_resource(pattern: &str, plural: &str, subresource: &str) -> bool {
    let (resource, sub) = pattern.split_once('/').unwrap_or((pattern, ""));
    (resource == "*" || resource == plural) && (sub == "*" || sub == subresource)
}

/// I51: a Namespace counts by its own labels; what is in no namespace always matches.
fn in_namespace(selector: &LabelSelector, request: &Request<'_>) -> bool {
    if selector.is_empty() {
        return true;
    }
    let is_namespace = (&*request.kind.group, &*request.kind.kind) == ("", "Namespace");
    let holder = if is_namespace { request.object.or(request.old) } else { request.surroundings };
    match holder {
        Some(namespace) => has_labels(selector, namespace),
        None => request.namespace.is_empty(),
    }
}

/// I51: the object as it was or as it will be.
fn selects(selector: &LabelSelector, request: &Request<'_>) -> bool {
    let sides = [request.object, request.old];
    selector.is_empty() || sides.into_iter().flatten().any(|object| has_labels(selector, object))
}

fn has_labels(selector: &LabelSelector, object: &Object) -> bool {
    selector.matches(|key| object.labels().find_map(|(name, value)| (name == key).then_some(value)))
}

/// I51: what guards the API is not guarded by itself, or nobody could repair it.
pub fn is_exempt(kind: &KindInfo) -> bool {
    &*kind.group == "admissionregistration.k8s.io"
}

#[cfg(test)]
mod tests {
    use outrigger_api::Registry;
    use serde_json::json;

    use super::*;

    fn row(group: &str, version: &str, kind: &str) -> Arc<KindInfo> {
        Registry::builtin().by_kind(group, version, kind).expect("built in")
    }

    fn object(value: Value) -> Object {
        Object::from_value(value).expect("an object")
    }

    fn rule(groups: &str, versions: &str, operations: &str, resources: &[&str]) -> Value {
        json!({"apiGroups": [groups], "apiVersions": [versions], "operations": [operations], "resources": resources})
    }

    fn request<'a>(kind: &'a Arc<KindInfo>, views: &'a [Arc<KindInfo>]) -> Request<'a> {
        Request {
            kind,
            subresource: "",
            operation: Operation::Create,
            namespace: if kind.namespaced { "n" } else { "" },
            name: "x",
            object: None,
            old: None,
            surroundings: None,
            views,
        }
    }

    /// I32, I51: groups, versions, operations, resources and scope.
    #[test]
    fn rules() {
        let (pods, nodes) = (row("", "v1", "Pod"), row("", "v1", "Node"));
        for (resources, kind, subresource, expected) in [
            (&["pods"][..], &pods, "", true),
            (&["pods"], &pods, "status", false),
            (&["pods"], &nodes, "", false),
            (&["pods/status"], &pods, "status", true),
            (&["pods/status"], &pods, "", false),
            (&["pods/*"], &pods, "exec", true),
            (&["*"], &pods, "", true),
            (&["*"], &pods, "status", false),
            (&["*/*"], &pods, "", true),
            (&["*/*"], &nodes, "status", true),
            (&["*/status"], &nodes, "status", true),
            (&["*/status"], &nodes, "", false),
            (&["x", "pods"], &pods, "", true),
        ] {
            let wanted = Constraints::of_webhook(&json!({"rules": [rule("", "v1", "*", resources)]}));
            let asked = Request { subresource, ..request(kind, &[]) };
            assert_eq!(
                wanted.wants(&asked).expect("readable").is_some(),
                expected,
                "{resources:?} {subresource}"
            );
        }
        for (with, expected) in [
            (rule("*", "*", "CREATE", &["*"]), true),
            (rule("*", "*", "UPDATE", &["*"]), false),
            (rule("apps", "*", "*", &["*"]), false),
            (rule("", "v2", "*", &["*"]), false),
            (
                json!({"scope": "Cluster", "apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"]}),
                false,
            ),
            (
                json!({"scope": "Namespaced", "apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"]}),
                true,
            ),
        ] {
            let wanted = Constraints::of_webhook(&json!({"rules": [with]}));
            assert_eq!(wanted.wants(&request(&pods, &[])).expect("readable").is_some(), expected, "{with}");
        }
        assert_eq!(Operation::Connect.word(), "CONNECT");
        assert_eq!(Operation::Delete.word(), "DELETE");
    }

    /// I51: another version of the same objects is converted to, unless only the exact one is wanted.
    #[test]
    fn equivalent_views() {
        let (v1, v2) = (
            row("autoscaling", "v1", "HorizontalPodAutoscaler"),
            row("autoscaling", "v2", "HorizontalPodAutoscaler"),
        );
        let views = [Arc::clone(&v2), Arc::clone(&v1)];
        let only_v1 = rule("autoscaling", "v1", "*", &["horizontalpodautoscalers"]);
        let wants = |policy: &str, kind: &Arc<KindInfo>| {
            let wanted = Constraints::of_webhook(&json!({"rules": [only_v1], "matchPolicy": policy}));
            let view = wanted.wants(&request(kind, &views)).expect("readable");
            view.map(|view| view.version.to_string())
        };
        assert_eq!(wants("Equivalent", &v1).as_deref(), Some("v1"));
        assert_eq!(wants("Equivalent", &v2).as_deref(), Some("v1"));
        assert_eq!(wants("", &v2).as_deref(), Some("v1"));
        assert_eq!(wants("Exact", &v2), None);
        // I58: what a policy excludes is excluded in every view, too.
        let all = rule("*", "*", "*", &["*"]);
        let policy =
            Constraints::of_policy(&json!({"resourceRules": [all], "excludeResourceRules": [only_v1]}));
        assert!(policy.wants(&request(&v2, &views)).expect("readable").is_none());
    }

    /// I51, I57: selectors of namespaces and objects.
    #[test]
    fn selectors() {
        let (pods, namespaces, nodes) =
            (row("", "v1", "Pod"), row("", "v1", "Namespace"), row("", "v1", "Node"));
        let near = object(json!({"metadata": {"labels": {"kubernetes.io/metadata.name": "n", "a": "b"}}}));
        let labelled = object(json!({"metadata": {"labels": {"x": "y"}}}));
        let bare = object(json!({"metadata": {}}));
        let all = rule("*", "*", "*", &["*"]);
        let wants = |selectors: Value, asked: &Request<'_>| {
            let mut webhook = json!({"rules": [all]});
            json_patch::merge(&mut webhook, &selectors);
            Constraints::of_webhook(&webhook).wants(asked).expect("readable").is_some()
        };
        let by_name = json!({"namespaceSelector": {"matchExpressions": [
            {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["n"]}]}});
        let by_label = json!({"namespaceSelector": {"matchLabels": {"a": "b"}}});
        let in_near = Request { surroundings: Some(&near), ..request(&pods, &[]) };
        assert!(!wants(by_name.clone(), &in_near));
        assert!(wants(by_label.clone(), &in_near));
        // A Namespace goes by its own labels, what is in none always matches.
        let created = Request { object: Some(&near), ..request(&namespaces, &[]) };
        assert!(wants(by_label.clone(), &created) && !wants(by_name, &created));
        assert!(wants(by_label, &request(&nodes, &[])));

        let of_object = json!({"objectSelector": {"matchLabels": {"x": "y"}}});
        for (object, old, expected) in [
            (Some(&labelled), None, true),
            (Some(&bare), Some(&labelled), true),
            (Some(&bare), Some(&bare), false),
            (None, Some(&labelled), true),
            (None, None, false),
        ] {
            assert_eq!(wants(of_object.clone(), &Request { object, old, ..request(&pods, &[]) }), expected);
        }
        let bad = Constraints::of_webhook(
            &json!({"rules": [all], "objectSelector": {"matchExpressions": [{"key": "a", "operator": "Is"}]}}),
        );
        assert!(bad.wants(&request(&pods, &[])).is_err());
    }

    /// I51: whoever guards the API can always be changed.
    #[test]
    fn guards_are_exempt() {
        assert!(is_exempt(&row("admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration")));
        assert!(is_exempt(&row("admissionregistration.k8s.io", "v1", "MutatingAdmissionPolicy")));
        assert!(!is_exempt(&row("", "v1", "Pod")));
    }
}
