//! Does a tree fit its kind (B18, D12, D13, K24)? Unknown members are found and dropped, values of the wrong type
//! refused in the words clients know, quantities brought to their canonical text.

use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use outrigger_api::quantity;
use serde_json::{Map, Value, json};

use crate::table::{Definition, Shape, Type};

/// How many unknown members are told; the rest are dropped without a word, as one message has to hold them all.
const TOLD: usize = 100;

/// A member has another type than its field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TypeMismatch(String);

/// Makes `object` fit `definition`: drops unknown members and `null`s, canonicalises quantities. Returns the paths of
/// the unknown members in the order they were met, at most a hundred.
///
/// # Errors
/// The first member whose value has the wrong type.
pub fn check(definition: Definition, object: &mut Map<String, Value>) -> Result<Vec<String>, TypeMismatch> {
    let mut walk = Walk {
        kind: definition.short_name(),
        unknown: Vec::new(),
        path: String::new(),
        go_path: String::new(),
    };
    walk.fields(definition, object, true)?;
    Ok(walk.unknown)
}

struct Walk {
    kind: &'static str,
    unknown: Vec<String>,
    /// `spec.containers[0].image`
    path: String,
    /// `spec.containers.image`
    go_path: String,
}

impl Walk {
    fn fields(
        &mut self,
        definition: Definition,
        object: &mut Map<String, Value>,
        top: bool,
    ) -> Result<(), TypeMismatch> {
        let names: Vec<String> = object.keys().cloned().collect();
        for name in names {
            let Some(field) = definition.field(&name) else {
                if !(top && matches!(name.as_str(), "apiVersion" | "kind")) {
                    if self.unknown.len() < TOLD {
                        self.unknown.push(joined(&self.path, &name));
                    }
                    object.remove(&name);
                }
                continue;
            };
            let Some(value) = object.get_mut(&name) else { continue };
            if value.is_null() {
                object.remove(&name);
                continue;
            }
            let (path, go_path) = (self.path.len(), self.go_path.len());
            self.path = joined(&self.path, &name);
            self.go_path = joined(&self.go_path, &name);
            self.value(field.ty, value)?;
            self.path.truncate(path);
            self.go_path.truncate(go_path);
        }
        Ok(())
    }

    fn value(&mut self, ty: Type, value: &mut Value) -> Result<(), TypeMismatch> {
        match (ty.shape(), &mut *value) {
            (Shape::Any(_), _)
            | (Shape::String, Value::String(_))
            | (Shape::Boolean, Value::Bool(_))
            | (Shape::Number, Value::Number(_)) => Ok(()),
            (Shape::Bytes, Value::String(text)) => bytes(text),
            (Shape::Int32, Value::Number(number)) => match number.as_i64() {
                Some(small) if i32::try_from(small).is_ok() => Ok(()),
                _ => Err(self.mismatch(&format!("number {number}"), ty)),
            },
            (Shape::Int64, Value::Number(number)) => match number.as_i64() {
                Some(_) => Ok(()),
                None => Err(self.mismatch(&format!("number {number}"), ty)),
            },
            (Shape::Time, Value::String(text)) => time(text),
            (Shape::MicroTime, Value::String(text)) => micro_time(text),
            (Shape::Quantity, found) => canonical_quantity(found),
            (Shape::IntOrString, Value::String(_)) => Ok(()),
            (Shape::IntOrString, Value::Number(number)) => match number.as_i64() {
                Some(small) if i32::try_from(small).is_ok() => Ok(()),
                _ => Err(self.mismatch(&format!("number {number}"), ty)),
            },
            (Shape::List(item), Value::Array(list)) => self.list(item, list),
            (Shape::Map(item), Value::Object(map)) => self.map(item, map),
            (Shape::Struct(definition), Value::Object(map)) => self.fields(definition, map, false),
            (_, found) => {
                let word = json_type(found);
                Err(self.mismatch(word, ty))
            }
        }
    }

    fn list(&mut self, item: Type, list: &mut [Value]) -> Result<(), TypeMismatch> {
        let length = self.path.len();
        for (index, value) in list.iter_mut().enumerate() {
            if value.is_null() {
                *value = zero(item);
                continue;
            }
            self.path.push_str(&format!("[{index}]"));
            self.value(item, value)?;
            self.path.truncate(length);
        }
        Ok(())
    }

    /// Keys are no part of the path a type error names (B18): that one is made of fields.
    fn map(&mut self, item: Type, map: &mut Map<String, Value>) -> Result<(), TypeMismatch> {
        let path = self.path.len();
        for (key, value) in map.iter_mut() {
            if value.is_null() {
                *value = zero(item);
                continue;
            }
            self.path = joined(&self.path, key);
            self.value(item, value)?;
            self.path.truncate(path);
        }
        Ok(())
    }

    /// B18.
    fn mismatch(&self, found: &str, ty: Type) -> TypeMismatch {
        let field = joined(self.kind, &self.go_path);
        TypeMismatch(format!(
            "json: cannot unmarshal {found} into Go struct field {field} of type {}",
            go_type(ty)
        ))
    }
}

fn joined(path: &str, step: &str) -> String {
    if path.is_empty() { step.to_owned() } else { format!("{path}.{step}") }
}

fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// How Go names a type.
fn go_type(ty: Type) -> String {
    match ty.shape() {
        Shape::String | Shape::Quantity | Shape::Any(_) | Shape::Time | Shape::MicroTime => {
            "string".to_owned()
        }
        Shape::Bytes => "[]uint8".to_owned(),
        Shape::Int32 | Shape::IntOrString => "int32".to_owned(),
        Shape::Int64 => "int64".to_owned(),
        Shape::Number => "float64".to_owned(),
        Shape::Boolean => "bool".to_owned(),
        Shape::List(item) => format!("[]{}", go_type(item)),
        Shape::Map(item) => format!("map[string]{}", go_type(item)),
        Shape::Struct(definition) => definition.go_name().to_owned(),
    }
}

/// What Go makes of a `null` in a list or map.
fn zero(ty: Type) -> Value {
    match ty.shape() {
        Shape::String | Shape::Bytes => json!(""),
        Shape::Int32 | Shape::Int64 | Shape::Number | Shape::IntOrString => json!(0),
        Shape::Quantity => json!("0"),
        Shape::Boolean => json!(false),
        Shape::Time | Shape::MicroTime | Shape::Any(_) => Value::Null,
        Shape::List(_) => json!([]),
        Shape::Map(_) | Shape::Struct(_) => json!({}),
    }
}

/// Standard base64 (B24) that does not mind bits beyond the last byte.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

/// Line breaks may stand anywhere, as YAML block texts end with one; what is kept is the canonical text (B24).
fn bytes(text: &mut String) -> Result<(), TypeMismatch> {
    let lines_joined: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    let decoded = LENIENT.decode(&lines_joined).map_err(|error| {
        let at = match error {
            base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => at,
            base64::DecodeError::InvalidLength(_) | base64::DecodeError::InvalidPadding => {
                lines_joined.len() / 4 * 4
            }
        };
        TypeMismatch(format!("illegal base64 data at input byte {at}"))
    })?;
    *text = STANDARD.encode(decoded);
    Ok(())
}

fn time(text: &mut String) -> Result<(), TypeMismatch> {
    const LAYOUT: &str = "2006-01-02T15:04:05Z07:00";
    let parsed: jiff::Timestamp = text.parse().map_err(|_| {
        TypeMismatch(format!("parsing time \"{text}\" as \"{LAYOUT}\": cannot parse \"{text}\" as \"2006\""))
    })?;
    *text = parsed.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    Ok(())
}

/// B24a; kept in UTC, as everything is (B24).
fn micro_time(text: &mut String) -> Result<(), TypeMismatch> {
    const LAYOUT: &str = "2006-01-02T15:04:05.000000Z07:00";
    let whole = "2006-01-02T15:04:05".len();
    let fraction = text.get(whole..whole + 7).unwrap_or_default();
    let more = text.as_bytes().get(whole + 7).is_some_and(u8::is_ascii_digit);
    let six = fraction.starts_with('.') && fraction[1..].bytes().all(|byte| byte.is_ascii_digit()) && !more;
    if let (true, Ok(parsed)) = (six, text.parse::<jiff::Timestamp>()) {
        *text = parsed.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string();
        return Ok(());
    }
    let rest = text.get(whole..).unwrap_or(text.as_str());
    Err(TypeMismatch(format!(
        "parsing time \"{text}\" as \"{LAYOUT}\": cannot parse \"{rest}\" as \".000000\""
    )))
}

/// K24.
fn canonical_quantity(value: &mut Value) -> Result<(), TypeMismatch> {
    const PATTERN: &str = r"'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
    let text = match &*value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            return Err(TypeMismatch(format!("quantities must match the regular expression {PATTERN}")));
        }
    };
    let canonical = quantity::canonical(&text);
    *value = Value::String(canonical.map_err(|error| TypeMismatch(error.to_string()))?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(kind: &str, object: Value) -> Result<(Value, Vec<String>), TypeMismatch> {
        let groups = ["", "apps", "coordination.k8s.io"];
        let definition = groups.iter().find_map(|group| Definition::of_kind(group, "v1", kind)).unwrap();
        let Value::Object(mut map) = object else { panic!("an object") };
        let unknown = check(definition, &mut map)?;
        Ok((Value::Object(map), unknown))
    }

    /// D12, D13
    #[test]
    fn unknown_members_are_named_with_indexes_and_dropped() {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "spek": 1,
            "spec": {"containers": [{"name": "a", "imagee": "b"}]},
        });
        let (pod, unknown) = checked("Pod", pod).unwrap();
        assert_eq!(unknown, ["spec.containers[0].imagee", "spek"]);
        assert_eq!(pod["spec"]["containers"], json!([{"name": "a"}]));
    }

    /// B18
    #[test]
    fn a_wrong_type_is_refused_in_the_words_clients_know() {
        let pod = json!({"spec": {"containers": [{"name": 1}]}});
        assert_eq!(
            checked("Pod", pod).unwrap_err().to_string(),
            "json: cannot unmarshal number into Go struct field Pod.spec.containers.name of type string"
        );
        let deployment = json!({"spec": {"replicas": "x"}});
        assert_eq!(
            checked("Deployment", deployment).unwrap_err().to_string(),
            "json: cannot unmarshal string into Go struct field Deployment.spec.replicas of type int32"
        );
    }

    /// K24
    #[test]
    fn quantities_become_canonical_text() {
        let pod = json!({"spec": {"containers": [{"name": "a", "resources": {"limits": {"cpu": 0.5, "memory": "1024Ki"}}}]}});
        let (pod, _) = checked("Pod", pod).unwrap();
        let limits = &pod["spec"]["containers"][0]["resources"]["limits"];
        assert_eq!(limits, &json!({"cpu": "500m", "memory": "1Mi"}));
    }

    /// B24a
    #[test]
    fn micro_times_need_six_digits() {
        let lease = |time: &str| checked("Lease", json!({"spec": {"renewTime": time}}));
        assert!(lease("2026-01-01T00:00:00.000001Z").is_ok());
        assert!(
            lease("2026-01-01T00:00:00Z")
                .unwrap_err()
                .to_string()
                .ends_with("cannot parse \"Z\" as \".000000\"")
        );
    }

    /// B24
    #[test]
    fn times_are_kept_in_utc_with_the_precision_of_their_type() {
        let lease = json!({"metadata": {"creationTimestamp": "2026-01-01T02:00:00.9+02:00"},
            "spec": {"renewTime": "2026-01-01T02:00:00.000001+02:00"}});
        let (lease, _) = checked("Lease", lease).unwrap();
        assert_eq!(lease["metadata"]["creationTimestamp"], "2026-01-01T00:00:00Z");
        assert_eq!(lease["spec"]["renewTime"], "2026-01-01T00:00:00.000001Z");
        let error = checked("Lease", json!({"metadata": {"creationTimestamp": "soon"}})).unwrap_err();
        assert!(
            error.to_string().starts_with("parsing time \"soon\" as \"2006-01-02T15:04:05Z07:00\""),
            "{error}"
        );
    }

    /// B18: the path names fields, so a label's key is no part of it.
    #[test]
    fn map_keys_are_no_part_of_the_path() {
        assert_eq!(
            checked("Pod", json!({"metadata": {"labels": {"app": 1}}})).unwrap_err().to_string(),
            "json: cannot unmarshal number into Go struct field Pod.metadata.labels of type string"
        );
    }

    /// A33: a port is a number or a name, and nothing else.
    #[test]
    fn int_or_string_takes_both() {
        let service = |port: Value| checked("Service", json!({"spec": {"ports": [{"targetPort": port}]}}));
        assert!(service(json!(80)).is_ok() && service(json!("http")).is_ok());
        for (wrong, word) in
            [(json!(true), "bool"), (json!(1.5), "number 1.5"), (json!(1_i64 << 40), "number 1099511627776")]
        {
            let error = service(wrong).unwrap_err().to_string();
            assert_eq!(
                error,
                format!(
                    "json: cannot unmarshal {word} into Go struct field Service.spec.ports.targetPort of type int32"
                )
            );
        }
    }

    /// D13: what a client is told is bounded, what is dropped is not.
    #[test]
    fn a_flood_of_unknown_members_is_told_in_part() {
        let flood: Map<String, Value> = (0..1000).map(|n| (format!("x{n}"), json!(n))).collect();
        let (pod, unknown) = checked("Pod", Value::Object(flood)).unwrap();
        assert_eq!((pod, unknown.len()), (json!({}), TOLD));
    }

    /// B24
    #[test]
    fn base64_may_be_broken_into_lines_and_is_kept_canonical() {
        let secret = |text: &str| checked("Secret", json!({"data": {"a": text}}));
        for text in ["YWI=\n", "YW\r\nI=", "YWJ="] {
            assert_eq!(secret(text).unwrap().0["data"]["a"], "YWI=", "{text:?}");
        }
        for text in ["YQ", "YQ=", "====", "YQ======", "YQ==YQ=="] {
            assert!(secret(text).is_err(), "{text:?}");
        }
        assert_eq!(secret("YQ*=").unwrap_err().to_string(), "illegal base64 data at input byte 2");
    }

    #[test]
    fn nulls_are_absent_and_secret_data_must_be_base64() {
        let (pod, unknown) = checked("Pod", json!({"spec": null, "metadata": {"labels": null}})).unwrap();
        assert_eq!((pod, unknown), (json!({"metadata": {}}), vec![]));
        assert!(checked("Secret", json!({"data": {"a": "YQ=="}})).is_ok());
        assert!(checked("Secret", json!({"data": {"a": "*"}})).is_err());
    }
}
