//! Reading an object for printing: absent members are empty, never errors.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::age::age;

/// A value and the steps into it.
#[derive(Clone, Copy)]
pub(super) struct Tree<'a>(pub(super) &'a Value);

static NULL: Value = Value::Null;

impl<'a> Tree<'a> {
    /// The member at a dotted path.
    pub(super) fn at(self, path: &str) -> Self {
        Self(path.split('.').fold(self.0, |value, step| value.get(step).unwrap_or(&NULL)))
    }

    /// One member whose name may hold dots.
    pub(super) fn member(self, name: &str) -> Self {
        Self(self.0.get(name).unwrap_or(&NULL))
    }

    pub(super) fn is_null(self) -> bool {
        self.0.is_null()
    }

    pub(super) fn text(self, path: &str) -> &'a str {
        self.at(path).0.as_str().unwrap_or_default()
    }

    /// The text, or a stand-in for none.
    pub(super) fn text_or(self, path: &str, none: &'a str) -> &'a str {
        Some(self.text(path)).filter(|text| !text.is_empty()).unwrap_or(none)
    }

    pub(super) fn int(self, path: &str) -> i64 {
        self.at(path).0.as_i64().unwrap_or(0)
    }

    pub(super) fn flag(self, path: &str) -> bool {
        self.at(path).0.as_bool().unwrap_or(false)
    }

    pub(super) fn list(self, path: &str) -> impl DoubleEndedIterator<Item = Tree<'a>> + use<'a> {
        self.at(path).0.as_array().map(Vec::as_slice).unwrap_or_default().iter().map(Tree)
    }

    pub(super) fn members(self, path: &str) -> impl Iterator<Item = (&'a str, Tree<'a>)> + use<'a> {
        self.at(path).0.as_object().into_iter().flatten().map(|(key, value)| (key.as_str(), Tree(value)))
    }

    pub(super) fn count(self, path: &str) -> usize {
        match self.at(path).0 {
            Value::Array(list) => list.len(),
            Value::Object(map) => map.len(),
            _ => 0,
        }
    }

    pub(super) fn time(self, path: &str) -> Option<Timestamp> {
        self.text(path).parse().ok()
    }

    /// Since its creation.
    pub(super) fn age(self, now: Timestamp) -> Value {
        json!(age(self.time("metadata.creationTimestamp"), now))
    }

    /// Text as it is, everything else as JSON: for int-or-string.
    pub(super) fn print_or(self, path: &str, none: &str) -> String {
        match self.at(path).0 {
            Value::Null => none.to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }

    /// Names and images of regular containers (G13).
    pub(super) fn containers(self, spec: &str) -> [Value; 2] {
        let join = |member: &str| {
            let list = self.at(spec).list("containers").map(|container| container.text(member));
            json!(list.collect::<Vec<_>>().join(","))
        };
        [join("name"), join("image")]
    }

    /// A set of labels (G12).
    pub(super) fn label_set(self, path: &str) -> String {
        let pairs: Vec<_> = self
            .members(path)
            .map(|(key, value)| format!("{key}={}", value.0.as_str().unwrap_or_default()))
            .collect();
        if pairs.is_empty() { "<none>".to_owned() } else { pairs.join(",") }
    }

    /// A LabelSelector in selector grammar (G12).
    pub(super) fn selector(self, path: &str, empty: &str) -> String {
        self.selector_or(path, empty, "<error>")
    }

    /// The same, with a word of its own for one that cannot be read. Keys are in order, whatever is asked of them.
    pub(super) fn selector_or(self, path: &str, empty: &str, unreadable: &str) -> String {
        let selector = self.at(path);
        let mut parts: Vec<(&str, String)> = selector
            .members("matchLabels")
            .map(|(key, value)| (key, format!("{key}={}", value.0.as_str().unwrap_or_default())))
            .collect();
        for requirement in selector.list("matchExpressions") {
            let key = requirement.text("key");
            let mut values: Vec<_> =
                requirement.list("values").filter_map(|value| value.0.as_str()).collect();
            values.sort_unstable();
            let values = values.join(",");
            let text = match requirement.text("operator") {
                "In" => format!("{key} in ({values})"),
                "NotIn" => format!("{key} notin ({values})"),
                "Exists" => key.to_owned(),
                "DoesNotExist" => format!("!{key}"),
                _ => return unreadable.to_owned(),
            };
            parts.push((key, text));
        }
        if parts.is_empty() {
            return empty.to_owned();
        }
        parts.sort_by_key(|(key, _)| *key);
        parts.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(",")
    }

    /// The status of a condition.
    pub(super) fn condition(self, ty: &str) -> Option<Tree<'a>> {
        self.list("status.conditions").find(|condition| condition.text("type") == ty)
    }
}

/// At most `limit` items, then how many more there are.
pub(super) fn shortened(items: &[String], limit: usize, separator: &str, more: &str) -> String {
    let shown = items[..items.len().min(limit)].join(separator);
    if items.len() > limit { format!("{shown} + {} {more}", items.len() - limit) } else { shown }
}
