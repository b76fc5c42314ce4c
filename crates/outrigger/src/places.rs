//! Where in a YAML file a field stands.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

/// Line and column, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) line: u64,
    pub(crate) column: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

impl From<Location> for Place {
    fn from(location: Location) -> Self {
        Self { line: location.line(), column: location.column() }
    }
}

/// The places of one document, by path: `spec.containers[0].image`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places(BTreeMap<String, Place>);

impl Places {
    /// One for each document of a text that can be read; none if it cannot.
    pub(crate) fn of(text: &str) -> Vec<Self> {
        let documents: Vec<Spanned<Node>> = serde_saphyr::from_multiple(text).unwrap_or_default();
        let places = |document: Spanned<Node>| {
            let mut places = Self::default();
            places.add(String::new(), document);
            places
        };
        documents.into_iter().map(places).collect()
    }

    fn add(&mut self, path: String, node: Spanned<Node>) {
        match node.value {
            Node::Scalar => {}
            Node::Map(members) => {
                for (key, value) in members {
                    let name = if path.is_empty() { key.value } else { format!("{path}.{}", key.value) };
                    // A member stands where its key does.
                    self.0.insert(name.clone(), key.referenced.into());
                    self.add(name, value);
                }
            }
            Node::List(items) => {
                for (index, item) in items.into_iter().enumerate() {
                    let name = format!("{path}[{index}]");
                    self.0.insert(name.clone(), item.referenced.into());
                    self.add(name, item);
                }
            }
        }
        self.0.entry(path).or_insert_with(|| node.referenced.into());
    }

    /// The place of a field, or of the nearest thing around it that is there.
    pub(crate) fn find(&self, path: &str) -> Option<Place> {
        let mut path = path.to_owned();
        loop {
            if let Some(place) = self.0.get(&path).or_else(|| self.0.get(&dotted(&path))) {
                return Some(*place);
            }
            let shorter = path.rfind(['.', '['])?;
            path.truncate(shorter);
        }
    }

    /// The place of a path in which list indexes are missing: `Pod.spec.containers.image`, without the kind.
    pub(crate) fn find_bare(&self, path: &str) -> Option<Place> {
        let bare = |full: &str| {
            let mut depth = 0;
            full.chars()
                .filter(|letter| {
                    depth += usize::from(*letter == '[');
                    let outside = depth == 0;
                    depth -= usize::from(*letter == ']');
                    outside
                })
                .collect::<String>()
        };
        self.0.iter().find(|(full, _)| bare(full) == path).map(|(_, place)| *place)
    }
}

/// `limits[cpu]` as `limits.cpu`.
fn dotted(path: &str) -> String {
    match path.strip_suffix(']').and_then(|rest| rest.rsplit_once('[')) {
        Some((before, key)) if key.parse::<usize>().is_err() => format!("{before}.{key}"),
        _ => path.to_owned(),
    }
}

/// A document as far as places go.
#[derive(Debug)]
enum Node {
    Scalar,
    Map(Vec<(Spanned<String>, Spanned<Node>)>),
    List(Vec<Spanned<Node>>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Node::Map(members))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_str<E>(self, _: &str) -> Result<Node, E> {
        Ok(Node::Scalar)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_places() {
        let text = "a: 1\n---\nspec:\n  containers:\n  - name: x\n    resources: {limits: {cpu: 1}}\n";
        let all = Places::of(text);
        let find = |path: &str| all[1].find(path).map(|place| place.to_string());
        assert_eq!(find("spec.containers[0].name").as_deref(), Some("5:5"));
        assert_eq!(find("spec.containers[0].resources.limits[cpu]").as_deref(), Some("6:26"));
        assert_eq!(find("spec.containers[0].image").as_deref(), Some("5:5"), "what is missing: the item");
        assert_eq!(find("spec.volumes[3].name").as_deref(), Some("3:1"), "or what is around it");
        let bare = all[1].find_bare("spec.containers.name").map(|place| place.to_string());
        assert_eq!(bare.as_deref(), Some("5:5"));
    }
}
