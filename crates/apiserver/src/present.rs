//! Objects, lists and watch events in the shape a client asked for: plain, Table or metadata only (B10, B11, B25,
//! E25, E39, G1-G9).

use bytes::Bytes;
use http::Response;
use outrigger_api::printers::{self, Column};
use outrigger_api::{KindInfo, Object, StatusError, WallTime};
use serde_json::{Map, Value, json};

use crate::negotiate::{Accepted, MetaVersion, Shape};
use crate::protobuf;
use crate::respond::{self, Body, Layout};
use crate::storage::{Page, Stored, WatchEvent, to_version};

/// What a Table's rows carry besides cells (G2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum IncludeObject {
    #[default]
    Metadata,
    None,
    Object,
}

impl IncludeObject {
    /// # Errors
    /// 400 for an unknown word.
    pub(crate) fn parse(text: &str) -> Result<Self, StatusError> {
        match text {
            "" | "Metadata" => Ok(Self::Metadata),
            "None" => Ok(Self::None),
            "Object" => Ok(Self::Object),
            other => Err(StatusError::bad_request(format!("unrecognized includeObject value: \"{other}\""))),
        }
    }
}

/// How one request wants to see objects of one kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    pub(crate) kind: &'a KindInfo,
    pub(crate) accepted: Accepted,
    pub(crate) include: IncludeObject,
    pub(crate) now: WallTime,
}

impl View<'_> {
    /// One object as a response.
    pub(crate) fn object(&self, code: u16, stored: &Stored) -> Response<Body> {
        match self.accepted.shape {
            Shape::Plain if stored.speaks(self.kind) && self.accepted.layout != Layout::Protobuf => {
                respond::json_bytes(code, self.accepted.layout, stored.to_body())
            }
            Shape::Plain | Shape::Table(_) | Shape::Metadata(_) | Shape::MetadataList(_) => {
                match self.convert(stored) {
                    Ok(object) => self.tree(code, &object),
                    Err(error) => respond::status(&error, Layout::Compact),
                }
            }
        }
    }

    /// One object that is not, or no longer, in the store.
    pub(crate) fn tree(&self, code: u16, object: &Object) -> Response<Body> {
        let layout = self.accepted.layout;
        match self.accepted.shape {
            Shape::Plain => respond::value(code, layout, &object.0),
            Shape::Table(version) => {
                let metadata = json!({ "resourceVersion": object.resource_version() });
                respond::value(
                    code,
                    layout,
                    &self.table(version, metadata, std::slice::from_ref(object), true),
                )
            }
            Shape::Metadata(version) | Shape::MetadataList(version) => {
                respond::value(code, layout, &partial(version, object))
            }
        }
    }

    /// One page as a response.
    pub(crate) fn page(&self, page: &Page) -> Result<Response<Body>, StatusError> {
        let layout = self.accepted.layout;
        let spliced = self.accepted.shape == Shape::Plain && layout != Layout::Protobuf;
        if spliced && page.items.iter().all(|item| item.speaks(self.kind)) {
            return Ok(respond::json_bytes(200, layout, self.plain_page(page)));
        }
        let objects = page.items.iter().map(|item| self.convert(item)).collect::<Result<Vec<_>, _>>()?;
        let metadata = Value::Object(page_metadata(page));
        let body = match self.accepted.shape {
            Shape::Plain => {
                let items = objects.into_iter().map(|mut object| {
                    object.0.remove("apiVersion");
                    object.0.remove("kind");
                    object.into_value()
                });
                json!({
                    "kind": self.list_kind(), "apiVersion": self.kind.api_version(), "metadata": metadata,
                    "items": items.collect::<Vec<_>>(),
                })
            }
            Shape::Table(version) => self.table(version, metadata, &objects, true),
            Shape::Metadata(version) | Shape::MetadataList(version) => json!({
                "kind": "PartialObjectMetadataList", "apiVersion": version.api_version(), "metadata": metadata,
                "items": objects.iter().map(|object| partial(version, object)).collect::<Vec<_>>(),
            }),
        };
        Ok(respond::value(200, layout, &body))
    }

    /// B25, spliced together from stored bytes.
    fn plain_page(&self, page: &Page) -> Bytes {
        const INFALLIBLE: &str = "JSON trees with text keys always encode";
        let size: usize = page.items.iter().map(|item| item.raw().len() + 48).sum();
        let mut out = Vec::with_capacity(size + 256);
        out.extend_from_slice(b"{\"kind\":");
        serde_json::to_writer(&mut out, &self.list_kind()).expect(INFALLIBLE);
        out.extend_from_slice(b",\"apiVersion\":");
        serde_json::to_writer(&mut out, &self.kind.api_version()).expect(INFALLIBLE);
        out.extend_from_slice(b",\"metadata\":");
        serde_json::to_writer(&mut out, &page_metadata(page)).expect(INFALLIBLE);
        out.extend_from_slice(b",\"items\":[");
        for (index, item) in page.items.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            if self.kind.custom {
                item.write_to(&mut out);
            } else {
                item.write_item_to(&mut out);
            }
        }
        out.extend_from_slice(b"]}\n");
        out.into()
    }

    fn list_kind(&self) -> String {
        format!("{}List", self.kind.kind)
    }

    /// The object in this kind's version.
    pub(crate) fn convert(&self, stored: &Stored) -> Result<Object, StatusError> {
        let object = stored.object()?;
        Ok(to_version(object, &self.kind.kind, &self.kind.group, &self.kind.version))
    }

    /// G1.
    fn table(&self, version: MetaVersion, metadata: Value, objects: &[Object], columns: bool) -> Value {
        let rows: Vec<Value> = objects.iter().map(|object| self.row(version, object)).collect();
        let definitions =
            if columns { json!(definitions(printers::columns(self.kind))) } else { Value::Null };
        json!({
            "kind": "Table", "apiVersion": version.api_version(), "metadata": metadata,
            "columnDefinitions": definitions, "rows": rows,
        })
    }

    fn row(&self, version: MetaVersion, object: &Object) -> Value {
        let value = Value::Object(object.0.clone());
        let mut row = json!({ "cells": printers::cells(self.kind, &value, self.now) });
        // G9
        let phase = object.str_at(&["status", "phase"]);
        if self.kind.kind == "Pod" && matches!(phase, "Succeeded" | "Failed") {
            let message =
                if phase == "Succeeded" { "The pod has completed successfully." } else { "The pod failed." };
            row["conditions"] =
                json!([{ "type": "Completed", "status": "True", "reason": phase, "message": message }]);
        }
        row["object"] = match self.include {
            IncludeObject::Metadata => partial(version, object),
            IncludeObject::None => Value::Null,
            IncludeObject::Object => value,
        };
        row
    }

    /// One line of a watch (E25). `first` is whether no event with an object was sent before (E39).
    pub(crate) fn watch_line(&self, event: &WatchEvent, first: bool) -> Bytes {
        if self.accepted.layout == Layout::Protobuf {
            return self.watch_frame(event);
        }
        match event {
            WatchEvent::Object { event, object, change } => {
                if self.accepted.shape == Shape::Plain && object.speaks(self.kind) {
                    let shared = change.as_ref().and_then(|change| change.line(*event));
                    return shared.unwrap_or_else(|| crate::storage::line(event.word(), object));
                }
                match self.convert(object) {
                    Ok(object) => line(event.word(), &self.watch_object(&object, first)),
                    Err(error) => line("ERROR", &error.to_status()),
                }
            }
            WatchEvent::Bookmark { revision, initial_end } => {
                line("BOOKMARK", &self.bookmark(*revision, *initial_end, first))
            }
            WatchEvent::Error(error) => line("ERROR", &error.to_status()),
        }
    }

    /// One frame of a watch in protobuf, which has no conversions.
    fn watch_frame(&self, event: &WatchEvent) -> Bytes {
        match event {
            WatchEvent::Object { event, object, change } => {
                let make = || match self.convert(object) {
                    Ok(object) => frame(event.word(), &object.0),
                    Err(error) => error_frame(&error),
                };
                match change.as_ref().filter(|_| object.speaks(self.kind)) {
                    Some(change) => change.frame(*event, make),
                    None => make(),
                }
            }
            WatchEvent::Bookmark { revision, initial_end } => {
                let bookmark = self.bookmark(*revision, *initial_end, false);
                bookmark.as_object().map_or_else(Bytes::new, |bookmark| frame("BOOKMARK", bookmark))
            }
            WatchEvent::Error(error) => error_frame(error),
        }
    }

    fn watch_object(&self, object: &Object, first: bool) -> Value {
        match self.accepted.shape {
            Shape::Plain => Value::Object(object.0.clone()),
            Shape::Table(version) => {
                let metadata = json!({ "resourceVersion": object.resource_version() });
                self.table(version, metadata, std::slice::from_ref(object), first)
            }
            Shape::Metadata(version) | Shape::MetadataList(version) => partial(version, object),
        }
    }

    /// E30, E31.
    fn bookmark(&self, revision: u64, initial_end: bool, first: bool) -> Value {
        let mut metadata = json!({ "resourceVersion": revision.to_string(), "creationTimestamp": null });
        if initial_end {
            metadata["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
        }
        match self.accepted.shape {
            Shape::Plain => json!({
                "kind": self.kind.kind, "apiVersion": self.kind.api_version(), "metadata": metadata,
            }),
            Shape::Table(version) => {
                let object = json!({
                    "kind": "PartialObjectMetadata", "apiVersion": version.api_version(), "metadata": metadata,
                });
                let definitions =
                    if first { json!(definitions(printers::columns(self.kind))) } else { Value::Null };
                let cells = vec![Value::Null; printers::columns(self.kind).len()];
                json!({
                    "kind": "Table", "apiVersion": version.api_version(),
                    "metadata": { "resourceVersion": revision.to_string() },
                    "columnDefinitions": definitions, "rows": [{ "cells": cells, "object": object }],
                })
            }
            Shape::Metadata(version) | Shape::MetadataList(version) => json!({
                "kind": "PartialObjectMetadata", "apiVersion": version.api_version(), "metadata": metadata,
            }),
        }
    }
}

fn page_metadata(page: &Page) -> Map<String, Value> {
    let mut metadata = Map::new();
    metadata.insert("resourceVersion".to_owned(), json!(page.revision.to_string()));
    if !page.continue_token.is_empty() {
        metadata.insert("continue".to_owned(), json!(page.continue_token));
    }
    if let Some(remaining) = page.remaining {
        metadata.insert("remainingItemCount".to_owned(), json!(remaining));
    }
    metadata
}

/// B11.
fn partial(version: MetaVersion, object: &Object) -> Value {
    let metadata = object.0.get("metadata").cloned().unwrap_or_default();
    json!({ "kind": "PartialObjectMetadata", "apiVersion": version.api_version(), "metadata": metadata })
}

fn definitions(columns: &[Column]) -> Vec<Value> {
    let definition = |column: &Column| {
        json!({
            "name": column.name, "type": column.kind, "format": column.format,
            "description": column.description, "priority": column.priority,
        })
    };
    columns.iter().map(definition).collect()
}

/// Only kinds that have a message are watched in protobuf.
fn frame(event: &str, object: &Map<String, Value>) -> Bytes {
    protobuf::frame(event, object).unwrap_or_default()
}

fn error_frame(error: &StatusError) -> Bytes {
    let status = serde_json::to_value(error.to_status()).expect("JSON trees with text keys always encode");
    status.as_object().map_or_else(Bytes::new, |status| frame("ERROR", status))
}

fn line(event: &str, object: &Value) -> Bytes {
    let mut out = serde_json::to_vec(&json!({ "type": event, "object": object }))
        .expect("JSON trees with text keys always encode");
    out.push(b'\n');
    out.into()
}
