//! One step of a path to a field, and how it is written in `fieldsV1` and in messages (F4j, F5c).

use std::fmt;

use serde_json::Value;

/// A step from a value to one inside it. Keys and values are kept as compact JSON, so that equal ones are equal text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// A member of a struct or map.
    Field(String),
    /// An item of a keyed list: a JSON object of its key members.
    Key(String),
    /// An item of a set: the JSON scalar itself.
    Value(String),
    /// An item by its place; only lists without a type have these.
    Index(usize),
}

impl Step {
    /// The step to a member.
    pub fn field(name: &str) -> Self {
        Self::Field(name.to_owned())
    }

    /// How `fieldsV1` writes it.
    pub fn encode(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Key(json) => format!("k:{json}"),
            Self::Value(json) => format!("v:{json}"),
            Self::Index(index) => format!("i:{index}"),
        }
    }

    /// Reads what [`Step::encode`] wrote; `Ok(None)` for steps of a kind nobody knows yet, which are skipped.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn decode(text: &str) -> Result<Option<Self>, String> {
        let Some((prefix, rest)) = text.split_once(':') else {
            return Err(format!("missing colon: {text:?}"));
        };
        let json = || serde_json::from_str::<Value>(rest).map_err(|error| error.to_string());
        Ok(Some(match prefix {
            "f" => Self::Field(rest.to_owned()),
            "k" => match json()? {
                key @ Value::Object(_) => Self::Key(key.to_string()),
                other => return Err(format!("a key is no object: {other}")),
            },
            "v" => Self::Value(json()?.to_string()),
            "i" => Self::Index(rest.parse().map_err(|_| format!("no index: {rest:?}"))?),
            _ => return Ok(None),
        }))
    }
}

/// As in `.spec.ports[port=80,protocol="TCP"]` (F4j).
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Key(json) => {
                let members = serde_json::from_str::<serde_json::Map<String, Value>>(json);
                let pairs: Vec<String> =
                    members.iter().flatten().map(|(name, value)| format!("{name}={value}")).collect();
                write!(f, "[{}]", pairs.join(","))
            }
            Self::Value(json) => write!(f, "[{json}]"),
            Self::Index(index) => write!(f, "[{index}]"),
        }
    }
}
