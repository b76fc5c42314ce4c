//! From messages to trees.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes};
use prost::encoding::{WireType, decode_key, decode_varint};
use serde_json::{Map, Number, Value, json};

use super::{Envelope, MAGIC, WireError, zero};
use crate::table::{AnyForm, Definition, Field, Shape, Type};

/// Objects of the API nest about twenty deep; schemas inside CRDs are what goes further.
const DEEPEST: u32 = 100;

pub(super) fn message(definition: Definition, bytes: Bytes) -> Result<Map<String, Value>, WireError> {
    let mut tree = Map::new();
    Reader { depth: 0 }.fields(definition, &[], bytes, &mut tree)?;
    Ok(tree)
}

/// The fields of one message, in the order they were sent.
pub(super) struct Message(Bytes);

/// One field's value as it lies on the wire.
#[derive(Debug)]
pub(super) enum WireValue {
    Varint(u64),
    Fixed64(u64),
    Bytes(Bytes),
    Fixed32,
}

impl WireValue {
    pub(super) fn bytes(self) -> Result<Bytes, WireError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            other => Err(unexpected("bytes", &other)),
        }
    }

    pub(super) fn text(self) -> Result<String, WireError> {
        let bytes = self.bytes()?;
        match std::str::from_utf8(&bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(error) => Err(WireError(format!("a text is not UTF-8: {error}"))),
        }
    }

    #[expect(clippy::cast_possible_wrap, reason = "the wire form of negative numbers")]
    fn integer(&self) -> Result<i64, WireError> {
        match self {
            Self::Varint(value) => Ok(*value as i64),
            other => Err(unexpected("a number", other)),
        }
    }
}

fn unexpected(wanted: &str, found: &WireValue) -> WireError {
    let found = match found {
        WireValue::Varint(_) => "a varint",
        WireValue::Fixed64(_) => "eight bytes",
        WireValue::Bytes(_) => "a length and bytes",
        WireValue::Fixed32 => "four bytes",
    };
    WireError(format!("wrong wire type: expected {wanted}, found {found}"))
}

impl Message {
    pub(super) const fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// Hands over each field with its number.
    pub(super) fn each(
        mut self,
        mut take: impl FnMut(u32, WireValue) -> Result<(), WireError>,
    ) -> Result<(), WireError> {
        while self.0.has_remaining() {
            let (number, wire) = decode_key(&mut self.0)?;
            let value = self.value(wire)?;
            take(number, value)?;
        }
        Ok(())
    }

    fn value(&mut self, wire: WireType) -> Result<WireValue, WireError> {
        match wire {
            WireType::Varint => Ok(WireValue::Varint(decode_varint(&mut self.0)?)),
            WireType::SixtyFourBit => self.take(8).map(|mut bytes| WireValue::Fixed64(bytes.get_u64_le())),
            WireType::ThirtyTwoBit => self.take(4).map(|_| WireValue::Fixed32),
            WireType::LengthDelimited => {
                let length = decode_varint(&mut self.0)?;
                let length = usize::try_from(length).map_err(|_| truncated())?;
                self.take(length).map(WireValue::Bytes)
            }
            WireType::StartGroup | WireType::EndGroup => {
                Err(WireError("groups are not supported".to_owned()))
            }
        }
    }

    fn take(&mut self, length: usize) -> Result<Bytes, WireError> {
        if length > self.0.len() { Err(truncated()) } else { Ok(self.0.split_to(length)) }
    }
}

fn truncated() -> WireError {
    WireError("unexpected EOF".to_owned())
}

#[derive(Clone, Copy)]
struct Reader {
    depth: u32,
}

impl Reader {
    fn deeper(self) -> Result<Self, WireError> {
        if self.depth == DEEPEST {
            return Err(WireError(format!("messages are nested more than {DEEPEST} deep")));
        }
        Ok(Self { depth: self.depth + 1 })
    }

    /// Reads a message into `tree`. `outer` are the numbers of the embedded structs around it that JSON spells out
    /// in place.
    fn fields(
        self,
        definition: Definition,
        outer: &[u8],
        bytes: Bytes,
        tree: &mut Map<String, Value>,
    ) -> Result<(), WireError> {
        Message::new(bytes).each(|number, value| {
            // What this version does not know is skipped, as protobuf has it.
            let Ok(number) = u8::try_from(number) else { return Ok(()) };
            let place = [outer, &[number]].concat();
            let fields = definition.fields();
            if let Some(field) = fields.iter().find(|field| field.place.steps() == place) {
                return self.field(definition, field, value, tree);
            }
            if fields.iter().any(|field| field.place.steps().starts_with(&place)) {
                return self.deeper()?.fields(definition, &place, value.bytes()?, tree);
            }
            Ok(())
        })
    }

    fn field(
        self,
        definition: Definition,
        field: &Field,
        value: WireValue,
        tree: &mut Map<String, Value>,
    ) -> Result<(), WireError> {
        match field.ty.shape() {
            Shape::List(item) => {
                let list = tree.entry(field.name).or_insert_with(|| json!([]));
                if let Value::Array(list) = list {
                    self.items(item, value, list)?;
                }
            }
            Shape::Map(item) => {
                let map = tree.entry(field.name).or_insert_with(|| json!({}));
                if let Value::Object(map) = map {
                    self.entry(item, value.bytes()?, map)?;
                }
            }
            Shape::Struct(inner) => {
                let object = tree.entry(field.name).or_insert_with(|| json!({}));
                if let Value::Object(object) = object {
                    self.deeper()?.fields(inner, &[], value.bytes()?, object)?;
                }
            }
            _ => {
                let value = self.value(field.ty, value)?;
                if zero::is_told(definition, field, &value) {
                    tree.insert(field.name.to_owned(), value);
                } else {
                    // The last one sent counts.
                    tree.remove(field.name);
                }
            }
        }
        Ok(())
    }

    /// One item, or several numbers packed into one value.
    fn items(self, item: Type, value: WireValue, list: &mut Vec<Value>) -> Result<(), WireError> {
        let number = matches!(item.shape(), Shape::Int32 | Shape::Int64 | Shape::Boolean);
        match value {
            WireValue::Bytes(mut packed) if number => {
                while packed.has_remaining() {
                    let one = WireValue::Varint(decode_varint(&mut packed)?);
                    list.push(self.value(item, one)?);
                }
            }
            one => list.push(self.value(item, one)?),
        }
        Ok(())
    }

    fn entry(self, item: Type, entry: Bytes, map: &mut Map<String, Value>) -> Result<(), WireError> {
        let (mut key, mut found) = (String::new(), None);
        Message::new(entry).each(|number, value| {
            match number {
                1 => key = value.text()?,
                2 => found = Some(self.map_value(item, value)?),
                _ => {}
            }
            Ok(())
        })?;
        let found = match found {
            Some(found) => found,
            None => self.map_value(item, WireValue::Bytes(Bytes::new()))?,
        };
        map.insert(key, found);
        Ok(())
    }

    /// Lists inside maps are messages of one repeated field.
    fn map_value(self, item: Type, value: WireValue) -> Result<Value, WireError> {
        let Shape::List(inner) = item.shape() else { return self.value(item, value) };
        let mut list = Vec::new();
        Message::new(value.bytes()?).each(|number, value| match number {
            1 => self.items(inner, value, &mut list),
            _ => Ok(()),
        })?;
        Ok(Value::Array(list))
    }

    fn value(self, ty: Type, value: WireValue) -> Result<Value, WireError> {
        Ok(match ty.shape() {
            Shape::String => Value::String(value.text()?),
            Shape::Bytes => Value::String(STANDARD.encode(value.bytes()?)),
            Shape::Int32 | Shape::Int64 => json!(value.integer()?),
            Shape::Number => match value {
                WireValue::Fixed64(bits) => Number::from_f64(f64::from_bits(bits)).into(),
                other => return Err(unexpected("eight bytes", &other)),
            },
            Shape::Boolean => json!(value.integer()? != 0),
            Shape::Time => time(value.bytes()?, "%Y-%m-%dT%H:%M:%SZ")?,
            Shape::MicroTime => time(value.bytes()?, "%Y-%m-%dT%H:%M:%S.%6fZ")?,
            Shape::Quantity => quantity(value.bytes()?)?,
            Shape::IntOrString => int_or_string(value.bytes()?)?,
            Shape::Any(form) => self.any(form, value.bytes()?)?,
            Shape::Struct(definition) => {
                let mut tree = Map::new();
                self.deeper()?.fields(definition, &[], value.bytes()?, &mut tree)?;
                Value::Object(tree)
            }
            Shape::List(_) | Shape::Map(_) => {
                return Err(WireError("lists do not nest in messages".to_owned()));
            }
        })
    }

    fn any(self, form: AnyForm, bytes: Bytes) -> Result<Value, WireError> {
        if matches!(form, AnyForm::Encoded | AnyForm::Free) {
            return encoded(bytes);
        }
        let (mut schema, mut schemas, mut names, mut allows) = (None, Vec::new(), Vec::new(), false);
        let props =
            Definition::named(SCHEMA_PROPS).ok_or_else(|| WireError("no schema of schemas".to_owned()))?;
        let inner = self.deeper()?;
        let read = |bytes| -> Result<Value, WireError> {
            let mut tree = Map::new();
            inner.fields(props, &[], bytes, &mut tree)?;
            Ok(Value::Object(tree))
        };
        Message::new(bytes).each(|number, value| {
            match (number, form) {
                (1, AnyForm::SchemaOrBoolean) => allows = value.integer()? != 0,
                (2, AnyForm::SchemaOrBoolean) | (1, _) => schema = Some(read(value.bytes()?)?),
                (2, AnyForm::SchemaOrList) => schemas.push(read(value.bytes()?)?),
                (2, _) => names.push(Value::String(value.text()?)),
                _ => {}
            }
            Ok(())
        })?;
        Ok(match (schema, form) {
            (Some(schema), _) => schema,
            (None, AnyForm::SchemaOrBoolean) => Value::Bool(allows),
            (None, AnyForm::SchemaOrList) => Value::Array(schemas),
            (None, _) => Value::Array(names),
        })
    }
}

/// What schemas in CRDs are made of.
pub(super) const SCHEMA_PROPS: &str =
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";

/// `{1: seconds, 2: nanoseconds}`; an empty message is the zero time, which JSON writes as `null`.
fn time(bytes: Bytes, layout: &str) -> Result<Value, WireError> {
    let (mut seconds, mut nanos) = (None, 0);
    Message::new(bytes).each(|number, value| {
        match number {
            1 => seconds = Some(value.integer()?),
            2 => nanos = value.integer()?,
            _ => {}
        }
        Ok(())
    })?;
    let Some(seconds) = seconds else { return Ok(Value::Null) };
    let nanos = i32::try_from(nanos).map_err(|_| WireError(format!("{nanos} nanoseconds")))?;
    let stamp = jiff::Timestamp::new(seconds, nanos)
        .map_err(|error| WireError(format!("{seconds} s is no time: {error}")))?;
    Ok(Value::String(stamp.strftime(layout).to_string()))
}

fn quantity(bytes: Bytes) -> Result<Value, WireError> {
    let mut text = String::new();
    Message::new(bytes).each(|number, value| {
        if number == 1 {
            text = value.text()?;
        }
        Ok(())
    })?;
    Ok(Value::String(if text.is_empty() { "0".to_owned() } else { text }))
}

fn int_or_string(bytes: Bytes) -> Result<Value, WireError> {
    let (mut is_text, mut number_form, mut text_form) = (false, 0, String::new());
    Message::new(bytes).each(|number, value| {
        match number {
            1 => is_text = value.integer()? == 1,
            2 => number_form = value.integer()?,
            3 => text_form = value.text()?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(if is_text { Value::String(text_form) } else { json!(number_form) })
}

/// `{1: bytes}`: JSON, or a whole protobuf body of a kind of its own.
fn encoded(bytes: Bytes) -> Result<Value, WireError> {
    let mut raw = Bytes::new();
    Message::new(bytes).each(|number, value| {
        if number == 1 {
            raw = value.bytes()?;
        }
        Ok(())
    })?;
    if raw.is_empty() {
        return Ok(Value::Null);
    }
    if !raw.starts_with(&MAGIC) {
        return serde_json::from_slice(&raw).map_err(|error| WireError(format!("embedded JSON: {error}")));
    }
    let Envelope { api_version, kind, raw } = Envelope::open(raw)?;
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", &api_version));
    let definition = Definition::of_kind(group, version, &kind).ok_or_else(|| {
        WireError(format!("an embedded object is a {api_version} {kind}, which is not known"))
    })?;
    let mut tree = message(definition, raw)?;
    tree.insert("apiVersion".to_owned(), Value::String(api_version));
    tree.insert("kind".to_owned(), Value::String(kind));
    Ok(Value::Object(tree))
}
