//! Whether rules somebody holds cover rules somebody gives away (I23). Pure.

use std::collections::BTreeMap;

use serde_json::Value;

/// One thing a rule allows, with nothing left to multiply out.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Single {
    verb: String,
    target: Target,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    /// `name` is `None` where the rule names no objects and so means all of them.
    Resource {
        group: String,
        resource: String,
        name: Option<String>,
    },
    Path(String),
}

/// What of `given` no rule in `held` allows, one line a rule, as upstream writes rules. Verbs that are missing for
/// the same thing share a line.
pub(crate) fn uncovered(given: &[Value], held: &[Value]) -> Vec<String> {
    let mut missing: BTreeMap<Target, Vec<String>> = BTreeMap::new();
    for single in given.iter().flat_map(singles) {
        if !held.iter().any(|rule| covers(rule, &single)) {
            let verbs = missing.entry(single.target).or_default();
            if !verbs.contains(&single.verb) {
                verbs.push(single.verb);
            }
        }
    }
    let mut lines: Vec<String> = missing.iter().map(|(target, verbs)| line(target, verbs)).collect();
    lines.sort();
    lines
}

fn texts<'a>(rule: &'a Value, key: &str) -> Vec<&'a str> {
    let list = rule.get(key).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).collect()
}

fn singles(rule: &Value) -> Vec<Single> {
    let names = texts(rule, "resourceNames");
    let names: Vec<Option<&str>> =
        if names.is_empty() { vec![None] } else { names.into_iter().map(Some).collect() };
    let mut targets: Vec<Target> =
        texts(rule, "nonResourceURLs").into_iter().map(|path| Target::Path(path.to_owned())).collect();
    for group in texts(rule, "apiGroups") {
        for resource in texts(rule, "resources") {
            targets.extend(names.iter().map(|name| Target::Resource {
                group: group.to_owned(),
                resource: resource.to_owned(),
                name: name.map(str::to_owned),
            }));
        }
    }
    let verbs = texts(rule, "verbs");
    let each = |target: Target| {
        verbs.iter().map(move |verb| Single { verb: (*verb).to_owned(), target: target.clone() })
    };
    targets.into_iter().flat_map(each).collect()
}

fn covers(rule: &Value, single: &Single) -> bool {
    let has = |key: &str, word: &str| texts(rule, key).iter().any(|own| *own == "*" || *own == word);
    if !has("verbs", &single.verb) {
        return false;
    }
    match &single.target {
        Target::Path(path) => texts(rule, "nonResourceURLs").iter().any(|own| match own.strip_suffix('*') {
            Some(prefix) => path.starts_with(prefix),
            None => own == path,
        }),
        Target::Resource { group, resource, name } => {
            let names = texts(rule, "resourceNames");
            has("apiGroups", group)
                && texts(rule, "resources").iter().any(|own| holds(own, resource))
                && (names.is_empty() || name.as_deref().is_some_and(|name| names.contains(&name)))
        }
    }
}

/// Whether the entry `own` of a rule's resources stands for the entry `wanted`.
fn holds(own: &str, wanted: &str) -> bool {
    let any_of_kind = || own.strip_prefix("*/").zip(wanted.split_once('/')).is_some_and(|(a, (_, b))| a == b);
    own == "*" || own == wanted || any_of_kind()
}

fn line(target: &Target, verbs: &[String]) -> String {
    let verbs = quoted(verbs);
    match target {
        Target::Path(path) => format!("{{NonResourceURLs:[{path:?}], Verbs:{verbs}}}"),
        Target::Resource { group, resource, name } => {
            let names = name.as_ref().map_or(String::new(), |name| format!(", ResourceNames:[{name:?}]"));
            format!("{{APIGroups:[{group:?}], Resources:[{resource:?}]{names}, Verbs:{verbs}}}")
        }
    }
}

/// A list as Go quotes it.
pub(super) fn quoted(words: &[String]) -> String {
    format!("[{}]", words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rule(groups: &[&str], resources: &[&str], verbs: &[&str]) -> Value {
        json!({ "apiGroups": groups, "resources": resources, "verbs": verbs })
    }

    /// I23
    #[test]
    fn what_is_not_held_is_told_rule_by_rule() {
        let held = [rule(&[""], &["pods"], &["get", "list"])];
        assert!(uncovered(&held, &held).is_empty());
        let given = [
            rule(&["", "apps"], &["pods"], &["get", "delete"]),
            json!({"nonResourceURLs": ["/metrics"], "verbs": ["get"]}),
        ];
        assert_eq!(
            uncovered(&given, &held),
            [
                r#"{APIGroups:[""], Resources:["pods"], Verbs:["delete"]}"#,
                r#"{APIGroups:["apps"], Resources:["pods"], Verbs:["get" "delete"]}"#,
                r#"{NonResourceURLs:["/metrics"], Verbs:["get"]}"#,
            ]
        );
    }

    /// I23: a star is more than everything one can list, and all objects are more than those with names.
    #[test]
    fn wide_rules_cover_narrow_ones_and_not_the_other_way() {
        let all = [rule(&["*"], &["*"], &["*"])];
        let named =
            [json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get"], "resourceNames": ["a"]})];
        let pods = [rule(&[""], &["pods"], &["get"])];
        assert!(uncovered(&named, &pods).is_empty());
        assert!(uncovered(&pods, &all).is_empty());
        assert_eq!(uncovered(&pods, &named).len(), 1);
        assert_eq!(uncovered(&all, &pods).len(), 1);
        let logs = [rule(&[""], &["pods/log"], &["get"])];
        assert_eq!(uncovered(&logs, &pods).len(), 1);
        assert!(uncovered(&logs, &[rule(&[""], &["*/log"], &["get"])]).is_empty());
    }
}
