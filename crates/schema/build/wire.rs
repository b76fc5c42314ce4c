//! Protobuf field numbers, asked of the generated messages themselves.
//!
//! `k8s-pb` has every message of the API, but tells nobody its field numbers. Its decoders and `Debug` texts do: a
//! message made of one field shows which field that is. Each definition is reached through a kind that contains it,
//! and asked for every number there may be.

use std::collections::{BTreeMap, BTreeSet};

/// Decodes bytes as some kind and shows the message; `None` if they do not decode.
pub(crate) type Shower = fn(&[u8]) -> Option<String>;

/// The [`Shower`] of a message.
pub(crate) fn show<M: prost::Message + Default + std::fmt::Debug>(bytes: &[u8]) -> Option<String> {
    M::decode(bytes).ok().map(|message| format!("{message:?}"))
}

/// How one message lies in another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// As the value of a field, or as one of a list.
    Value,
    /// As a value of a map, whose entries are messages too: the key is 1, the value 2.
    MapValue,
}

/// The way from a kind's message to one inside it.
#[derive(Clone, Debug)]
pub(crate) struct Path {
    show: Shower,
    steps: Vec<(u32, String, Place)>,
}

impl Path {
    pub(crate) fn root(show: Shower) -> Self {
        Self { show, steps: Vec::new() }
    }

    /// On into the message in a field.
    pub(crate) fn step(&self, field: &MessageField, place: Place) -> Self {
        let mut steps = self.steps.clone();
        steps.extend(field.inside.iter().map(|(number, name)| (*number, name.clone(), Place::Value)));
        steps.push((field.number, field.name.clone(), place));
        Self { show: self.show, steps }
    }

    /// The fields of the message here, by the [`plain`] form of their names, for a schema that knows the fields
    /// `wanted`. A field of which the schema knows nothing is a struct that JSON spells out in place: what is
    /// inside counts as being here.
    pub(crate) fn message_fields(&self, wanted: &BTreeSet<String>) -> BTreeMap<String, MessageField> {
        let mut all = BTreeMap::new();
        for (name, number) in self.numbers() {
            let field = MessageField { number, name, inside: Vec::new() };
            if wanted.contains(&plain(&field.name)) {
                all.insert(plain(&field.name), field);
                continue;
            }
            let outer = (field.number, field.name.clone());
            for (name, mut inner) in self.step(&field, Place::Value).message_fields(wanted) {
                inner.inside.insert(0, outer.clone());
                all.insert(name, inner);
            }
        }
        all
    }

    /// The numbers of the fields of the message here.
    fn numbers(&self) -> BTreeMap<String, u32> {
        let Some(empty) = self.fields(&[]) else { return BTreeMap::new() };
        let mut numbers = BTreeMap::new();
        for number in 1..=HIGHEST {
            let shown = [VARINT, LENGTH, EIGHT_BYTES].into_iter().filter_map(|wire| {
                let mut payload = varint(key(number, wire));
                payload.extend_from_slice(wire.value);
                self.fields(&payload)
            });
            let changed = shown.flatten().find(|(name, text)| empty.get(name) != Some(text));
            if let Some((name, _)) = changed {
                numbers.insert(name, number);
            }
        }
        numbers
    }

    /// What the message here shows of each of its fields when it has this content.
    fn fields(&self, content: &[u8]) -> Option<BTreeMap<String, String>> {
        let mut bytes = content.to_vec();
        for (number, _, place) in self.steps.iter().rev() {
            if *place == Place::MapValue {
                bytes = embedded(2, &bytes);
            }
            bytes = embedded(*number, &bytes);
        }
        let mut shown = (self.show)(&bytes)?;
        for (_, name, _) in &self.steps {
            shown = fields_of(&shown).remove(name)?;
        }
        Some(fields_of(&shown))
    }
}

/// A field of a message.
#[derive(Clone, Debug)]
pub(crate) struct MessageField {
    pub(crate) number: u32,
    name: String,
    /// The fields around it, outermost first, of structs that JSON spells out in place.
    inside: Vec<(u32, String)>,
}

impl MessageField {
    /// All numbers on the way to it, joined by `/`.
    pub(crate) fn text(&self) -> String {
        let outer = self.inside.iter().map(|(number, _)| format!("{number}/"));
        outer.chain([self.number.to_string()]).collect()
    }
}

/// A field's name as both sides spell it: JSON has `apiGroup` and `$ref` where a message has `a_pi_group` and `ref`.
pub(crate) fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect()
}

/// The highest field number of any message; a field beyond it would be reported as missing.
const HIGHEST: u32 = 127;

/// What comes before a value.
fn key(number: u32, wire: Wire) -> u64 {
    u64::from(number) << 3 | wire.kind
}

/// A value of one wire type that differs from an absent one.
#[derive(Clone, Copy)]
struct Wire {
    kind: u64,
    value: &'static [u8],
}

const VARINT: Wire = Wire { kind: 0, value: &[1] };
const EIGHT_BYTES: Wire = Wire { kind: 1, value: &[0; 8] };
const LENGTH: Wire = Wire { kind: 2, value: &[0] };

fn varint(value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::encode_varint(value, &mut bytes);
    bytes
}

fn embedded(number: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = varint(key(number, LENGTH));
    bytes.extend(varint(content.len() as u64));
    bytes.extend_from_slice(content);
    bytes
}

/// Splits what `Debug` shows of a message, perhaps inside `Some`, a list or a map, into its fields.
fn fields_of(shown: &str) -> BTreeMap<String, String> {
    let open = shown.find(" { ").map_or(shown.len(), |at| at + 3);
    let mut fields = BTreeMap::new();
    let (mut depth, mut quoted, mut start) = (0_i32, false, open);
    for (at, letter) in shown.char_indices().skip_while(|(at, _)| *at < open) {
        match letter {
            '"' => quoted = !quoted,
            _ if quoted => {}
            '{' | '[' | '(' => depth += 1,
            '}' | ']' | ')' => depth -= 1,
            _ => {}
        }
        if depth < 0 || (depth == 0 && letter == ',' && !quoted) {
            if let Some((name, value)) = shown[start..at].trim().split_once(": ") {
                fields.insert(name.trim_start_matches("r#").to_owned(), value.to_owned());
            }
            start = at + 1;
        }
        if depth < 0 {
            break;
        }
    }
    fields
}
