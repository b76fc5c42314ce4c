//! The published API schema as one compact table: decoding checks, protobuf, merge and list metadata, OpenAPI.
//!
//! The build script extracts names, types and descriptions of every kind we serve from the typed crate; what that
//! crate does not know (patch strategies, merge keys, list types) is the hand-written table in [`merge`]. Structure
//! stays in memory (well under half a megabyte); descriptions are inflated only while a document is being made.
//!
//! This crate knows shapes, not meaning: defaults and validation are in `admission`, and CRD schemas are not here.
//!
//! Start at [`Definition`] (what a kind looks like), then [`check()`], [`merge_rule`] and [`protobuf`].

pub mod check;
pub mod decode;
pub mod merge;
pub mod openapi;
pub mod protobuf;
mod table;

pub use check::{TypeMismatch, check};
pub use decode::{ParseError, Parsed, parse_json, parse_yaml};
pub use merge::{ListType, MapType, MergeRule, merge_rule};
pub use table::{AnyForm, Definition, Field, Shape, Type};
