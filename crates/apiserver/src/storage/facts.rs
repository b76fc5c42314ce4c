//! The few members selectors look at, read from an encoded object without building it.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// Reads the members at `paths` from an encoded JSON object; absent ones are `Value::Null`. Everything else is
/// skipped without allocating. Unreadable input yields what was found before the error.
pub(crate) fn pick(bytes: &[u8], paths: &[Vec<&str>]) -> Vec<Value> {
    let mut found = vec![Value::Null; paths.len()];
    let wanted = paths.iter().enumerate().map(|(index, path)| (index, path.as_slice())).collect();
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    // An error leaves the rest absent: a stored value is valid JSON, and what is absent matches no selector.
    let _ = Walk { wanted, found: &mut found }.deserialize(&mut reader);
    found
}

/// One level of the descent: which paths lead on from here.
struct Walk<'a, 'f> {
    wanted: Vec<(usize, &'a [&'a str])>,
    found: &'f mut [Value],
}

impl<'de> DeserializeSeed<'de> for Walk<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            let below: Vec<_> = self
                .wanted
                .iter()
                .filter_map(|(index, path)| match path {
                    [first, rest @ ..] if *first == key => Some((*index, rest)),
                    _ => None,
                })
                .collect();
            match below.iter().find(|(_, rest)| rest.is_empty()) {
                Some((index, _)) => self.found[*index] = map.next_value()?,
                None if below.is_empty() => drop(map.next_value::<IgnoredAny>()?),
                None => map.next_value_seed(Walk { wanted: below, found: self.found })?,
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn picks_members_and_skips_the_rest() {
        let text =
            br#"{"metadata":{"labels":{"a":"b"},"name":"n"},"spec":{"list":[{"x":1}],"nodeName":"m"}}"#;
        let paths = [
            vec!["metadata", "labels"],
            vec!["spec", "nodeName"],
            vec!["spec", "nodeName", "deeper"],
            vec!["status", "phase"],
        ];
        assert_eq!(pick(text, &paths[..2]), vec![json!({"a": "b"}), json!("m")]);
        assert_eq!(pick(text, &paths[3..]), vec![Value::Null]);
    }
}
