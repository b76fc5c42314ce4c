//! Writes the published schema of every kind we serve into two small files for the library to embed.
//!
//! `schema.txt.gz`: one line per thing, so that it can be read in a terminal and parsed in one pass:
//!
//! ```text
//! D <description> <name>                   a definition; its number is its position among the D lines
//! F <flags> <type> <number> <description> <name>    a field of the definition above; flags: r required, - none;
//!                                          the number is its protobuf field number, 0 where it has none,
//!                                          behind those of structs that JSON spells out in place (`2/5`)
//! K <definition> <kind> <version> <group>  the definition of an API kind; an empty group is core
//! ```
//!
//! A type is written prefix-wise: `s` string, `y` bytes, `t` date-time, `i` int32, `l` int64, `n` number, `b` boolean,
//! `o` anything, `[T` list, `{T` map, `@7` definition number 7. A description is a number: its position in
//! `descriptions.txt.gz`, where texts are separated by NUL; equal texts are stored once.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use k8s_openapi::Resource;
use k8s_openapi::schemars::{JsonSchema, SchemaGenerator};
use serde_json::Value;

#[path = "build/kinds.rs"]
mod kinds;
#[path = "build/wire.rs"]
mod wire;

use wire::{Path as MessagePath, Place};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build/kinds.rs");
    println!("cargo::rerun-if-changed=build/wire.rs");
    let out = std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR");
    let mut roots = Roots::default();
    kinds::add_all(&mut roots);
    let table = roots.table();
    write(&Path::new(&out).join("schema.txt.gz"), &table.structure);
    write(&Path::new(&out).join("descriptions.txt.gz"), &table.descriptions.join("\0"));
}

fn write(path: &Path, text: &str) {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(text.as_bytes()).expect("writing to memory");
    std::fs::write(path, encoder.finish().expect("writing to memory")).expect("OUT_DIR is writable");
}

/// Collects the types to publish; their references come along.
#[derive(Default)]
pub(crate) struct Roots {
    generator: SchemaGenerator,
    kinds: Vec<(String, &'static str, &'static str, &'static str)>,
    messages: Vec<(String, MessagePath)>,
}

impl Roots {
    /// An API kind.
    pub(crate) fn kind<T, M>(&mut self)
    where
        T: Resource + JsonSchema,
        M: prost::Message + Default + std::fmt::Debug,
    {
        self.sent::<T, M>();
        self.kinds.push((T::schema_name().into_owned(), T::KIND, T::VERSION, T::GROUP));
    }

    /// A type that has a protobuf form.
    pub(crate) fn sent<T, M>(&mut self)
    where
        T: JsonSchema,
        M: prost::Message + Default + std::fmt::Debug,
    {
        self.plain::<T>();
        self.messages.push((T::schema_name().into_owned(), MessagePath::root(wire::show::<M>)));
    }

    /// A type that is sent without being a kind of its own group.
    pub(crate) fn plain<T: JsonSchema>(&mut self) {
        self.generator.subschema_for::<T>();
    }

    fn table(mut self) -> Table {
        let definitions: BTreeMap<String, Value> =
            self.generator.take_definitions(true).into_iter().collect();
        let numbers = definitions.keys().enumerate().map(|(number, name)| (name.clone(), number)).collect();
        let wire = wire_numbers(self.messages, &definitions);
        let mut table = Table { numbers, wire, ..Table::default() };
        for (name, schema) in &definitions {
            table.definition(name, schema);
        }
        for (name, kind, version, group) in &self.kinds {
            writeln!(table.structure, "K {} {kind} {version} {group}", table.numbers[name]).expect("memory");
        }
        table
    }
}

#[derive(Default)]
struct Table {
    numbers: HashMap<String, usize>,
    /// Protobuf field numbers by definition and field.
    wire: WireNumbers,
    structure: String,
    descriptions: Vec<String>,
    seen: HashMap<String, usize>,
}

impl Table {
    fn definition(&mut self, name: &str, parent: &Value) {
        let about = self.description(parent);
        writeln!(self.structure, "D {about} {name}").expect("memory");
        let properties: BTreeMap<_, _> = parent["properties"].as_object().into_iter().flatten().collect();
        for (field, schema) in properties {
            let flags = if is_required(field, schema, parent) { "r" } else { "-" };
            let about = self.description(schema);
            let type_text = self.type_text(schema);
            let number = self.wire.get(name).and_then(|fields| fields.get(field.as_str()));
            let number = number.map_or("0", String::as_str);
            writeln!(self.structure, "F {flags} {type_text} {number} {about} {field}").expect("memory");
        }
    }

    fn description(&mut self, schema: &Value) -> usize {
        let text = schema["description"].as_str().unwrap_or_default();
        if let Some(&number) = self.seen.get(text) {
            return number;
        }
        let number = self.descriptions.len();
        self.descriptions.push(text.to_owned());
        self.seen.insert(text.to_owned(), number);
        number
    }

    fn type_text(&self, schema: &Value) -> String {
        if let Some(target) = reference(schema) {
            return format!("@{}", self.numbers[target]);
        }
        let format = schema["format"].as_str().unwrap_or_default();
        match (schema["type"].as_str().unwrap_or_default(), format) {
            ("string", "byte") => "y".to_owned(),
            ("string", "date-time") => "t".to_owned(),
            ("string", _) => "s".to_owned(),
            ("integer", "int32") => "i".to_owned(),
            ("integer", _) => "l".to_owned(),
            ("number", _) => "n".to_owned(),
            ("boolean", _) => "b".to_owned(),
            ("array", _) => format!("[{}", self.type_text(&schema["items"])),
            ("object", _) if schema["additionalProperties"].is_object() => {
                format!("{{{}", self.type_text(&schema["additionalProperties"]))
            }
            _ => "o".to_owned(),
        }
    }
}

type WireNumbers = HashMap<String, HashMap<String, String>>;

/// The protobuf field numbers of everything that can be reached from the messages that are sent as a whole.
fn wire_numbers(roots: Vec<(String, MessagePath)>, definitions: &BTreeMap<String, Value>) -> WireNumbers {
    let mut found = WireNumbers::new();
    let mut open = VecDeque::from(roots);
    while let Some((name, path)) = open.pop_front() {
        if found.contains_key(&name) {
            continue;
        }
        let properties = definitions[&name]["properties"].as_object();
        let wanted = properties.into_iter().flatten().map(|(field, _)| wire::plain(field)).collect();
        let known = path.message_fields(&wanted);
        let mut numbers = HashMap::new();
        for (field, schema) in properties.into_iter().flatten() {
            let Some(message_field) = known.get(&wire::plain(field)) else {
                let excused = matches!(field.as_str(), "apiVersion" | "kind") || is_newer(&name, field);
                assert!(excused, "{name}.{field} has no protobuf field number");
                continue;
            };
            numbers.insert(field.clone(), message_field.text());
            if let Some((inner, place)) = inner_message(schema)
                && definitions[inner]["properties"].is_object()
            {
                open.push_back((inner.to_owned(), path.step(message_field, place)));
            }
        }
        found.insert(name, numbers);
    }
    found
}

/// Fields, all of features that are off by default, that came after the release `k8s-pb` was made from: they travel in
/// JSON only.
const NEWER: &[(&str, &[&str])] = &[
    ("CSIDriverSpec", &["preventPodSchedulingIfMissing"]),
    ("Device", &["nodeAllocatableResourceMappings"]),
    ("DeviceAttribute", &["bools", "ints", "strings", "versions"]),
    ("ListMeta", &["shardInfo"]),
    ("PodSpec", &["schedulingGroup"]),
    ("PodStatus", &["nodeAllocatableResourceClaimStatuses"]),
    ("ResourceHealth", &["message"]),
    ("VolumeMountStatus", &["volumeStatus"]),
];

fn is_newer(definition: &str, field: &str) -> bool {
    let short = definition.rsplit('.').next().unwrap_or_default();
    NEWER.iter().any(|(name, fields)| *name == short && fields.contains(&field))
}

/// The definition a field holds, directly, in a list or in a map.
fn inner_message(schema: &Value) -> Option<(&str, Place)> {
    if let Some(name) = reference(schema).or_else(|| reference(&schema["items"])) {
        return Some((name, Place::Value));
    }
    reference(&schema["additionalProperties"]).map(|name| (name, Place::MapValue))
}

/// Whether the published schema lists the field as required. The typed crate lists more: whatever its Rust type
/// cannot leave out, such as `metadata`, or names that may be empty for old clients' sake.
fn is_required(field: &str, schema: &Value, parent: &Value) -> bool {
    let listed = parent["required"].as_array().into_iter().flatten().any(|name| name == field);
    let description = schema["description"].as_str().unwrap_or_default();
    listed && field != "metadata" && !description.contains("is effectively required, but")
}

/// The definition a schema refers to, directly or through a single `allOf`.
fn reference(schema: &Value) -> Option<&str> {
    let direct = schema["$ref"].as_str();
    direct.or_else(|| schema["allOf"][0]["$ref"].as_str())?.rsplit('/').next()
}
