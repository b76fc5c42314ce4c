//! Kubernetes' protobuf, transcoded to and from JSON trees by the field numbers in the table (B4).
//!
//! Nothing here knows a kind: a message is read and written along its [`Definition`]. Go clients write every plain
//! field of a struct, zero or not, and leave out pointers that are nil; JSON leaves out what is zero. `zero` knows
//! which zeros mean something.
//!
//! ```text
//! "k8s\0" ─ Unknown { typeMeta { apiVersion, kind }, raw } ─ raw: the kind's own message
//! ```
//!
//! Start at [`Envelope`], then [`decode`] and [`encode`].

mod read;
mod write;
mod zero;

#[cfg(test)]
mod tests;

use bytes::{Buf, Bytes};
use serde_json::{Map, Value};

use crate::table::Definition;
use read::Message;
use write::Writer;

/// What every protobuf body begins with.
pub const MAGIC: [u8; 4] = *b"k8s\0";

/// The bytes are not the message they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WireError(String);

impl From<prost::DecodeError> for WireError {
    fn from(error: prost::DecodeError) -> Self {
        Self(error.to_string())
    }
}

/// The outer message of a body (`runtime.Unknown`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    /// Empty if the sender left it out.
    pub api_version: String,
    /// Empty if the sender left it out.
    pub kind: String,
    /// The kind's own message.
    pub raw: Bytes,
}

impl Envelope {
    /// Takes the envelope off a body.
    ///
    /// # Errors
    /// If the body does not begin with [`MAGIC`], is no protobuf, or its content is itself encoded.
    pub fn open(mut body: Bytes) -> Result<Self, WireError> {
        if !body.starts_with(&MAGIC) {
            return Err(WireError(
                "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
                    .to_owned(),
            ));
        }
        body.advance(MAGIC.len());
        let mut envelope = Self::default();
        Message::new(body).each(|number, value| {
            match number {
                1 => Message::new(value.bytes()?).each(|number, value| {
                    match number {
                        1 => envelope.api_version = value.text()?,
                        2 => envelope.kind = value.text()?,
                        _ => {}
                    }
                    Ok(())
                })?,
                2 => envelope.raw = value.bytes()?,
                3 if !value.bytes()?.is_empty() => {
                    return Err(WireError("the content of the message is encoded".to_owned()));
                }
                _ => {}
            }
            Ok(())
        })?;
        Ok(envelope)
    }

    /// The body that carries this envelope.
    pub fn seal(&self) -> Bytes {
        let mut out = Writer::with_capacity(self.raw.len() + 64);
        out.raw(&MAGIC);
        out.message(1, |meta| {
            meta.text(1, &self.api_version);
            meta.text(2, &self.kind);
        });
        out.bytes(2, &self.raw);
        out.bytes(3, b"");
        out.bytes(4, b"");
        out.finish()
    }
}

/// The tree a message stands for, as JSON would have it: what is zero and means nothing by it is left out.
///
/// # Errors
/// If the bytes are no such message, hold text that is not UTF-8, or nest deeper than any object of the API.
pub fn decode(definition: Definition, message: Bytes) -> Result<Map<String, Value>, WireError> {
    read::message(definition, message)
}

/// The message of a tree. Members the definition does not have, and values of another type than their field, are left
/// out: trees come from the store, where everything has been checked.
pub fn encode(definition: Definition, tree: &Map<String, Value>) -> Bytes {
    let mut out = Writer::with_capacity(1024);
    out.fields(definition, &[], tree);
    out.finish()
}

/// The message of a list: its metadata, and the [`encode`]d messages of its items.
pub fn encode_list<I: AsRef<[u8]>>(metadata: &Map<String, Value>, items: impl Iterator<Item = I>) -> Bytes {
    const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";
    let mut out = Writer::with_capacity(4096);
    if let Some(definition) = Definition::named(LIST_META) {
        out.message(1, |meta| meta.fields(definition, &[], metadata));
    }
    for item in items {
        out.bytes(2, item.as_ref());
    }
    out.finish()
}

/// One frame of a watch: its length in four bytes, then `WatchEvent { type, object }` without an envelope of its own.
/// `object` is a whole body.
pub fn watch_frame(event: &str, object: &[u8]) -> Bytes {
    let mut out = Writer::with_capacity(object.len() + event.len() + 32);
    out.raw(&[0; FRAME_HEAD]);
    out.text(1, event);
    out.message(2, |raw| raw.bytes(1, object));
    let mut frame = out.into_vec();
    let length = u32::try_from(frame.len() - FRAME_HEAD).expect("objects are a few MiB at most");
    frame[..FRAME_HEAD].copy_from_slice(&length.to_be_bytes());
    frame.into()
}

/// The length of a frame, before the frame.
const FRAME_HEAD: usize = 4;
