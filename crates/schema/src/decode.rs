//! From request bytes to a tree, without losing sight of keys that were given twice (D12, D13, B18).

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// A tree, and where it named a member more than once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parsed {
    /// The last of several equal keys wins.
    pub value: Value,
    /// `spec.containers[0].image`, in the order they were met.
    pub duplicates: Vec<String>,
}

/// The bytes are no JSON, or no YAML.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseError(String);

/// Reads one JSON value.
///
/// # Errors
/// With the parser's words, line and column included.
pub fn parse_json(bytes: &[u8]) -> Result<Parsed, ParseError> {
    let mut parsed = Parsed::default();
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let seed = Tree { path: &mut String::new(), duplicates: &mut parsed.duplicates };
    parsed.value = seed.deserialize(&mut reader).map_err(|error| ParseError(error.to_string()))?;
    reader.end().map_err(|error| ParseError(error.to_string()))?;
    Ok(parsed)
}

/// Reads one YAML document. A key given twice is an error of its own kind, told by [`duplicate_of`].
///
/// # Errors
/// With the parser's words, line and column included.
pub fn parse_yaml(bytes: &[u8]) -> Result<Parsed, ParseError> {
    let text = std::str::from_utf8(bytes).map_err(|error| ParseError(error.to_string()))?;
    let options =
        serde_saphyr::options! { duplicate_keys: serde_saphyr::options::DuplicateKeyPolicy::LastWins };
    let value: Value =
        serde_saphyr::from_str_with_options(text, options).map_err(|error| ParseError(error.to_string()))?;
    let duplicates = match serde_saphyr::from_str::<IgnoreDuplicates>(text) {
        Ok(IgnoreDuplicates) => Vec::new(),
        Err(error) => duplicate_of(&error.to_string()).into_iter().collect(),
    };
    Ok(Parsed { value, duplicates })
}

/// Reads everything, keeps nothing: what is left is whether it could be read.
struct IgnoreDuplicates;

impl<'de> Deserialize<'de> for IgnoreDuplicates {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(|_| Self)
    }
}

/// The key a YAML parser complains about having met twice.
fn duplicate_of(message: &str) -> Option<String> {
    let rest = message.split_once("duplicate mapping key")?.1;
    let key = rest.trim_start_matches([':', ' ']);
    Some(key.lines().next().unwrap_or_default().trim_matches(['"', '\'', '`']).to_owned())
}

/// Builds a [`Value`] and remembers repeated keys.
struct Tree<'a> {
    path: &'a mut String,
    duplicates: &'a mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        let length = self.path.len();
        loop {
            self.path.push_str(&format!("[{}]", list.len()));
            let item = seq.next_element_seed(Tree { path: self.path, duplicates: self.duplicates })?;
            self.path.truncate(length);
            match item {
                Some(item) => list.push(item),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        let length = self.path.len();
        while let Some(key) = map.next_key::<String>()? {
            if length > 0 {
                self.path.push('.');
            }
            self.path.push_str(&key);
            if members.contains_key(&key) && !self.duplicates.contains(self.path) {
                self.duplicates.push(self.path.clone());
            }
            let value = map.next_value_seed(Tree { path: self.path, duplicates: self.duplicates })?;
            self.path.truncate(length);
            members.insert(key, value);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// D12, D13
    #[test]
    fn repeated_keys_are_named_by_path_and_the_last_wins() {
        let parsed = parse_json(br#"{"a":{"x":1,"x":2},"b":[{"c":1,"c":3}]}"#).unwrap();
        assert_eq!(parsed.duplicates, ["a.x", "b[0].c"]);
        assert_eq!(parsed.value, json!({"a": {"x": 2}, "b": [{"c": 3}]}));
    }

    /// D12
    #[test]
    fn repeated_keys_in_yaml_are_noticed() {
        let parsed = parse_yaml(b"a: 1\nb: 2\na: 3\n").unwrap();
        assert_eq!(parsed.value, json!({"a": 3, "b": 2}));
        assert_eq!(parsed.duplicates.len(), 1, "{:?}", parsed.duplicates);
    }

    #[test]
    fn what_follows_the_value_is_an_error() {
        assert!(parse_json(b"{} x").is_err());
    }
}
