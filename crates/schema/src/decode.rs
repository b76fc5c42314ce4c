//! From request bytes to a tree, without losing sight of keys that were given twice (D12, D13, B18).

use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::Spanned;

/// How many duplicates are told: one message has to hold them all.
const TOLD: usize = 100;

/// A tree, and where it named a member more than once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parsed {
    /// The last of several equal keys wins.
    pub value: Value,
    /// In the order they were met, at most a hundred: `spec.containers[0].image` in JSON, the key alone in YAML.
    pub duplicates: Vec<String>,
    /// YAML only: the line that repeats the key, for each of `duplicates`.
    pub lines: Vec<u64>,
}

impl Parsed {
    /// The duplicates in the words of a warning (D12, D13); in Strict mode YAML puts `yaml: unmarshal errors:` and
    /// one line for each before them.
    pub fn findings(&self) -> Vec<String> {
        let mut lines = self.lines.iter();
        let finding = |name: &String| match lines.next() {
            Some(line) => format!("line {line}: key \"{name}\" already set in map"),
            None => format!("duplicate field \"{name}\""),
        };
        self.duplicates.iter().map(finding).collect()
    }
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
    let mut found = Duplicates::default();
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let seed = Tree { path: &mut String::new(), found: &mut found, yaml: false };
    let value = seed.deserialize(&mut reader).map_err(|error| ParseError(error.to_string()))?;
    reader.end().map_err(|error| ParseError(error.to_string()))?;
    Ok(Parsed { value, duplicates: found.names, lines: Vec::new() })
}

/// Reads one YAML document.
///
/// # Errors
/// With the parser's words, line and column included.
pub fn parse_yaml(bytes: &[u8]) -> Result<Parsed, ParseError> {
    let text = std::str::from_utf8(bytes).map_err(|error| ParseError(error.to_string()))?;
    let options =
        serde_saphyr::options! { duplicate_keys: serde_saphyr::options::DuplicateKeyPolicy::PassThrough };
    let Document(parsed) =
        serde_saphyr::from_str_with_options(text, options).map_err(|error| ParseError(error.to_string()))?;
    Ok(parsed)
}

/// A YAML document on its way to being [`Parsed`].
struct Document(Parsed);

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut found = Duplicates::default();
        let value =
            Tree { path: &mut String::new(), found: &mut found, yaml: true }.deserialize(deserializer)?;
        Ok(Self(Parsed { value, duplicates: found.names, lines: found.lines }))
    }
}

/// Members named more than once, each told once and at most [`TOLD`] of them.
#[derive(Default)]
struct Duplicates {
    names: Vec<String>,
    lines: Vec<u64>,
    seen: HashSet<String>,
}

impl Duplicates {
    /// `line` is where YAML repeats the key `name`; JSON tells the path once however often it is repeated.
    fn add(&mut self, path: &str, name: &str, line: Option<u64>) {
        if self.names.len() >= TOLD {
            return;
        }
        match line {
            Some(line) => {
                self.names.push(name.to_owned());
                self.lines.push(line);
            }
            None if self.seen.insert(path.to_owned()) => self.names.push(path.to_owned()),
            None => {}
        }
    }
}

/// Builds a [`Value`] and remembers repeated keys.
struct Tree<'a> {
    path: &'a mut String,
    found: &'a mut Duplicates,
    yaml: bool,
}

impl Tree<'_> {
    /// The next key, and in YAML the line it is on.
    fn next_key<'de, A: MapAccess<'de>>(
        &self,
        map: &mut A,
    ) -> Result<Option<(String, Option<u64>)>, A::Error> {
        if self.yaml {
            let key = map.next_key::<Spanned<String>>()?;
            return Ok(key.map(|key| (key.value, Some(key.defined.line()))));
        }
        Ok(map.next_key::<String>()?.map(|key| (key, None)))
    }
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
            let item = seq.next_element_seed(Tree { path: self.path, found: self.found, yaml: self.yaml })?;
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
        while let Some((key, line)) = self.next_key(&mut map)? {
            if length > 0 {
                self.path.push('.');
            }
            self.path.push_str(&key);
            if members.contains_key(&key) {
                self.found.add(self.path, &key, line);
            }
            let value = map.next_value_seed(Tree { path: self.path, found: self.found, yaml: self.yaml })?;
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
        let parsed = parse_yaml(b"a: 1\nb: {c: 1, c: 2}\na: 3\n").unwrap();
        assert_eq!(parsed.value, json!({"a": 3, "b": {"c": 2}}));
        assert_eq!(
            parsed.findings(),
            ["line 2: key \"c\" already set in map", "line 3: key \"a\" already set in map"]
        );
    }

    /// D13: a body made of nothing but repeated keys costs no more than its length.
    #[test]
    fn a_flood_of_repeated_keys_is_told_in_part() {
        let flood: Vec<String> = (0..20_000).map(|n| format!("\"k{n}\":1,\"k{n}\":2")).collect();
        let parsed = parse_json(format!("{{{}}}", flood.join(",")).as_bytes()).unwrap();
        assert_eq!(parsed.findings().len(), TOLD);
        assert_eq!(parsed.findings()[0], "duplicate field \"k0\"");
    }

    /// B7: YAML says what JSON does, numbers as keys and block texts included.
    #[test]
    fn yaml_reads_like_json() {
        let parsed =
            parse_yaml(b"data:\n  80: x\n  text: |\n    a\n    b\non: [1, 1.5, true, null, '1']\n").unwrap();
        let expected = json!({"data": {"80": "x", "text": "a\nb\n"}, "on": [1, 1.5, true, null, "1"]});
        assert_eq!(parsed, Parsed { value: expected, ..Parsed::default() });
    }

    #[test]
    fn what_follows_the_value_is_an_error() {
        assert!(parse_json(b"{} x").is_err());
    }
}
