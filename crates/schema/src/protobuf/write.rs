//! From trees to messages.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};
use serde_json::{Map, Value};

use super::read::SCHEMA_PROPS;
use crate::table::{AnyForm, Definition, Shape, Type};

/// A message being written.
#[derive(Debug)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    pub(super) fn finish(self) -> Bytes {
        self.0.into()
    }

    pub(super) fn into_vec(self) -> Vec<u8> {
        self.0
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn bytes(&mut self, number: u32, bytes: &[u8]) {
        encode_key(number, WireType::LengthDelimited, &mut self.0);
        encode_varint(bytes.len() as u64, &mut self.0);
        self.raw(bytes);
    }

    pub(super) fn text(&mut self, number: u32, text: &str) {
        self.bytes(number, text.as_bytes());
    }

    #[expect(clippy::cast_sign_loss, reason = "the wire form of negative numbers")]
    fn integer(&mut self, number: u32, value: i64) {
        encode_key(number, WireType::Varint, &mut self.0);
        encode_varint(value as u64, &mut self.0);
    }

    /// A message inside this one. Its length comes before it, so it is moved up once it is known.
    pub(super) fn message(&mut self, number: u32, content: impl FnOnce(&mut Self)) {
        encode_key(number, WireType::LengthDelimited, &mut self.0);
        let start = self.0.len();
        content(self);
        let length = (self.0.len() - start) as u64;
        let head = encoded_len_varint(length);
        let end = self.0.len();
        self.0.resize(end + head, 0);
        self.0.copy_within(start..end, start + head);
        encode_varint(length, &mut &mut self.0[start..start + head]);
    }

    /// The fields of a struct, or of the struct embedded at `outer` that JSON spells out in place.
    pub(super) fn fields(&mut self, definition: Definition, outer: &[u8], tree: &Map<String, Value>) {
        let mut embedded = Vec::new();
        for field in definition.fields() {
            let Some(&[number, ref more @ ..]) = field.place.steps().strip_prefix(outer) else { continue };
            let Some(value) = tree.get(field.name) else { continue };
            if more.is_empty() {
                self.field(u32::from(number), field.ty, value);
            } else if !embedded.contains(&number) {
                embedded.push(number);
            }
        }
        for number in embedded {
            let place = [outer, &[number]].concat();
            self.message(u32::from(number), |inner| inner.fields(definition, &place, tree));
        }
    }

    fn field(&mut self, number: u32, ty: Type, value: &Value) {
        match (ty.shape(), value) {
            (Shape::List(item), Value::Array(list)) => {
                for value in list {
                    self.field(number, item, value);
                }
            }
            (Shape::Map(item), Value::Object(map)) => {
                for (key, value) in map {
                    self.message(number, |entry| {
                        entry.text(1, key);
                        match (item.shape(), value) {
                            // Lists inside maps are messages of one repeated field.
                            (Shape::List(_), _) => entry.message(2, |list| list.field(1, item, value)),
                            _ => entry.field(2, item, value),
                        }
                    });
                }
            }
            (Shape::Struct(inner), Value::Object(tree)) => {
                self.message(number, |message| message.fields(inner, &[], tree));
            }
            (Shape::String, Value::String(text)) => self.text(number, text),
            (Shape::Bytes, Value::String(text)) => {
                self.bytes(number, &STANDARD.decode(text).unwrap_or_default());
            }
            (Shape::Int32 | Shape::Int64, Value::Number(value)) => {
                self.integer(number, value.as_i64().unwrap_or_default());
            }
            (Shape::Number, Value::Number(value)) => {
                encode_key(number, WireType::SixtyFourBit, &mut self.0);
                self.raw(&value.as_f64().unwrap_or_default().to_le_bytes());
            }
            (Shape::Boolean, Value::Bool(value)) => self.integer(number, i64::from(*value)),
            (Shape::Time | Shape::MicroTime, Value::String(text)) => self.time(number, text),
            (Shape::Quantity, Value::String(text)) => self.message(number, |inner| inner.text(1, text)),
            (Shape::IntOrString, value) => self.int_or_string(number, value),
            (Shape::Any(form), value) => self.any(number, form, value),
            _ => {}
        }
    }

    fn time(&mut self, number: u32, text: &str) {
        let Ok(stamp) = text.parse::<jiff::Timestamp>() else { return };
        self.message(number, |inner| {
            inner.integer(1, stamp.as_second());
            inner.integer(2, i64::from(stamp.subsec_nanosecond()));
        });
    }

    fn int_or_string(&mut self, number: u32, value: &Value) {
        self.message(number, |inner| {
            let text = value.as_str();
            inner.integer(1, i64::from(text.is_some()));
            inner.integer(2, value.as_i64().unwrap_or_default());
            inner.text(3, text.unwrap_or_default());
        });
    }

    fn any(&mut self, number: u32, form: AnyForm, value: &Value) {
        let props =
            Definition::named(SCHEMA_PROPS).filter(|_| !matches!(form, AnyForm::Encoded | AnyForm::Free));
        let Some(props) = props else {
            let bytes = serde_json::to_vec(value).expect("JSON trees with text keys always encode");
            self.message(number, |inner| inner.bytes(1, &bytes));
            return;
        };
        let schema_number = if form == AnyForm::SchemaOrBoolean { 2 } else { 1 };
        self.message(number, |inner| match value {
            Value::Bool(allows) => inner.integer(1, i64::from(*allows)),
            Value::Object(schema) => {
                if form == AnyForm::SchemaOrBoolean {
                    inner.integer(1, 1);
                }
                inner.message(schema_number, |message| message.fields(props, &[], schema));
            }
            Value::Array(list) => {
                for item in list {
                    match item {
                        Value::Object(schema) => inner.message(2, |it| it.fields(props, &[], schema)),
                        other => inner.text(2, other.as_str().unwrap_or_default()),
                    }
                }
            }
            _ => {}
        });
    }
}
