//! The table of definitions, and small copyable handles into it.
//!
//! The table is parsed once, on first use, from text the build script wrote (its header has the grammar). Names are
//! slices of that text; types are interned, so a field costs 24 bytes.

use std::collections::HashMap;
use std::io::Read;
use std::sync::OnceLock;

use flate2::read::GzDecoder;

/// A definition: a struct of the API, or one of the types with a wire form of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Definition(u16);

/// A field of a [`Definition`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its JSON name.
    pub name: &'static str,
    /// What it holds.
    pub ty: Type,
    /// Whether the published schema requires it.
    pub required: bool,
    pub(crate) place: WirePlace,
    description: u16,
}

/// Where a field lies in its protobuf message (B4): its number behind those of the embedded structs that JSON spells
/// out in place, padded with 0. All 0 for `apiVersion` and `kind`, which travel in the envelope, and for fields newer
/// than the messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WirePlace([u8; 3]);

impl WirePlace {
    fn parse(text: &str) -> Self {
        text.split('/').fold(Self::default(), |place, number| place.inside(number.parse().expect("grammar")))
    }

    /// The place of field `number` of the struct here.
    pub(crate) fn inside(mut self, number: u8) -> Self {
        let free = self.0.iter_mut().find(|step| **step == 0).expect("structs nest at most twice");
        *free = number;
        self
    }

    /// The numbers, outermost first.
    pub(crate) fn steps(&self) -> &[u8] {
        let depth = self.0.iter().position(|step| *step == 0).unwrap_or(self.0.len());
        &self.0[..depth]
    }
}

/// A type; see [`Type::shape`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Type(u16);

/// What a type looks like on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// Text.
    String,
    /// Base64 text.
    Bytes,
    /// A number that fits 32 bits.
    Int32,
    /// A number that fits 64 bits.
    Int64,
    /// Any number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// RFC 3339 text.
    Time,
    /// RFC 3339 text with exactly six decimals (B24a).
    MicroTime,
    /// A quantity as text or number (K24).
    Quantity,
    /// A 32-bit number or text.
    IntOrString,
    /// Anything, kept as it is.
    Any(AnyForm),
    /// A list.
    List(Type),
    /// A map with text keys.
    Map(Type),
    /// A struct.
    Struct(Definition),
}

/// What [`Shape::Any`] stands for in the published API; JSON takes them all as they are, protobuf does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AnyForm {
    /// `RawExtension`, `FieldsV1` or `JSON`: encoded bytes inside a message of one field.
    Encoded,
    /// A schema, or a list of schemas.
    SchemaOrList,
    /// A schema, or a boolean.
    SchemaOrBoolean,
    /// A schema, or a list of names.
    SchemaOrNames,
    /// An object the schema says nothing about.
    Free,
}

impl Definition {
    /// The definition of an API kind.
    pub fn of_kind(group: &str, version: &str, kind: &str) -> Option<Self> {
        let of_name = table().kinds.get(kind)?;
        of_name.iter().find(|row| row.group == group && row.version == version).map(|row| row.definition)
    }

    /// The definition with this full name (`io.k8s.api.core.v1.PodSpec`).
    pub fn named(name: &str) -> Option<Self> {
        let index = table().definitions.binary_search_by(|row| row.name.cmp(name)).ok()?;
        Some(Self(small(index)))
    }

    /// `io.k8s.api.core.v1.PodSpec`.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// `PodSpec`.
    pub fn short_name(self) -> &'static str {
        self.name().rsplit('.').next().unwrap_or_default()
    }

    /// `v1.PodSpec`: how Go writes the type in messages (B18).
    pub fn go_name(self) -> &'static str {
        let name = self.name();
        name.rmatch_indices('.').nth(1).map_or(name, |(at, _)| &name[at + 1..])
    }

    /// All fields, sorted by name.
    pub fn fields(self) -> &'static [Field] {
        let row = self.row();
        &table().fields[row.first_field as usize..row.end_field as usize]
    }

    /// The field of that name; names are case-sensitive (D12).
    pub fn field(self, name: &str) -> Option<&'static Field> {
        let fields = self.fields();
        fields.binary_search_by(|field| field.name.cmp(name)).ok().map(|index| &fields[index])
    }

    /// The group, version and kind of every API kind this is the definition of.
    pub fn kinds(self) -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
        let all = table().kinds.values().flatten();
        all.filter(move |row| row.definition == self).map(|row| (row.group, row.version, row.kind))
    }

    pub(crate) fn description(self) -> DescriptionId {
        DescriptionId(self.row().description)
    }

    fn row(self) -> &'static DefinitionRow {
        &table().definitions[self.0 as usize]
    }
}

impl Field {
    pub(crate) fn description(&self) -> DescriptionId {
        DescriptionId(self.description)
    }
}

impl Type {
    /// What the type looks like on the wire; definitions with a form of their own are told apart here.
    pub fn shape(self) -> Shape {
        table().types[self.0 as usize]
    }

    /// The struct the type is, or a list or map of; what a path step through it enters.
    pub fn element(self) -> Option<Definition> {
        match self.shape() {
            Shape::Struct(definition) => Some(definition),
            Shape::List(item) | Shape::Map(item) => item.element(),
            _ => None,
        }
    }
}

/// The bytes everything here is made from, to tell one build's schema from another's.
pub(crate) fn structure() -> &'static [u8] {
    include_bytes!(concat!(env!("OUT_DIR"), "/schema.txt.gz"))
}

/// The number of a description.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DescriptionId(u16);

/// All descriptions, inflated; half a megabyte, so not kept.
#[derive(Debug)]
pub(crate) struct Descriptions {
    text: String,
    starts: Vec<u32>,
}

impl Descriptions {
    pub(crate) fn load() -> Self {
        let text = inflate(include_bytes!(concat!(env!("OUT_DIR"), "/descriptions.txt.gz")));
        let ends = text.match_indices('\0').map(|(at, _)| at + 1);
        let starts = std::iter::once(0).chain(ends).map(|at| u32::try_from(at).expect("half a megabyte"));
        Self { starts: starts.collect(), text }
    }

    pub(crate) fn get(&self, id: DescriptionId) -> &str {
        let rest = &self.text[self.starts[id.0 as usize] as usize..];
        rest.split('\0').next().unwrap_or_default()
    }
}

#[derive(Debug, Default)]
struct Table {
    definitions: Vec<DefinitionRow>,
    fields: Vec<Field>,
    types: Vec<Shape>,
    kinds: HashMap<&'static str, Vec<KindRow>>,
}

#[derive(Debug)]
struct DefinitionRow {
    name: &'static str,
    description: u16,
    first_field: u32,
    end_field: u32,
}

#[derive(Debug)]
struct KindRow {
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    definition: Definition,
}

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| {
        let text = inflate(include_bytes!(concat!(env!("OUT_DIR"), "/schema.txt.gz")));
        // One leak of a known size for the life of the program, so that names can be plain slices.
        Table::parse(Box::leak(text.into_boxed_str()))
    })
}

fn inflate(packed: &[u8]) -> String {
    let mut text = String::new();
    GzDecoder::new(packed).read_to_string(&mut text).expect("the build script wrote it");
    text
}

fn small(index: usize) -> u16 {
    u16::try_from(index).expect("a few thousand entries")
}

impl Table {
    /// Parses what the build script wrote; its own output, so a line that does not parse is a bug.
    fn parse(text: &'static str) -> Self {
        let names: Vec<_> = text.lines().filter(|line| line.starts_with('D')).map(last_word).collect();
        let mut table = Self::default();
        let mut interned = HashMap::new();
        for line in text.lines() {
            let mut words = line.split(' ');
            match words.next().expect("split yields at least one") {
                "D" => table.definition(words),
                "F" => table.field(words, &names, &mut interned),
                _ => table.kind(words),
            }
        }
        table.fields.shrink_to_fit();
        table
    }

    fn definition(&mut self, mut words: std::str::Split<'static, char>) {
        let first_field = u32::try_from(self.fields.len()).expect("a few thousand entries");
        let description = number(words.next());
        let name = words.next().expect("grammar");
        self.definitions.push(DefinitionRow { name, description, first_field, end_field: first_field });
    }

    fn field(
        &mut self,
        mut words: std::str::Split<'static, char>,
        names: &[&'static str],
        interned: &mut HashMap<Shape, Type>,
    ) {
        let required = words.next() == Some("r");
        let ty = self.intern(words.next().expect("grammar"), names, interned);
        let place = WirePlace::parse(words.next().expect("grammar"));
        let description = number(words.next());
        let name = words.next().expect("grammar");
        self.fields.push(Field { name, ty, required, place, description });
        self.definitions.last_mut().expect("fields follow a definition").end_field += 1;
    }

    fn kind(&mut self, mut words: std::str::Split<'static, char>) {
        let definition = Definition(number(words.next()));
        let kind = words.next().expect("grammar");
        let version = words.next().expect("grammar");
        let group = words.next().unwrap_or_default();
        self.kinds.entry(kind).or_default().push(KindRow { group, version, kind, definition });
    }

    fn intern(&mut self, text: &str, names: &[&'static str], interned: &mut HashMap<Shape, Type>) -> Type {
        let (head, rest) = text.split_at(1);
        let shape = match head {
            "s" => Shape::String,
            "y" => Shape::Bytes,
            "t" => Shape::Time,
            "i" => Shape::Int32,
            "l" => Shape::Int64,
            "n" => Shape::Number,
            "b" => Shape::Boolean,
            "[" => Shape::List(self.intern(rest, names, interned)),
            "{" => Shape::Map(self.intern(rest, names, interned)),
            "@" => definition_shape(number(Some(rest)), names),
            _ => Shape::Any(AnyForm::Free),
        };
        *interned.entry(shape).or_insert_with(|| {
            self.types.push(shape);
            Type(small(self.types.len() - 1))
        })
    }
}

/// Definitions that are no structs on the wire.
fn definition_shape(number: u16, names: &[&'static str]) -> Shape {
    match last_segment(names[number as usize]) {
        "Quantity" => Shape::Quantity,
        "IntOrString" => Shape::IntOrString,
        "Time" => Shape::Time,
        "MicroTime" => Shape::MicroTime,
        "RawExtension" | "FieldsV1" | "JSON" => Shape::Any(AnyForm::Encoded),
        "JSONSchemaPropsOrArray" => Shape::Any(AnyForm::SchemaOrList),
        "JSONSchemaPropsOrBool" => Shape::Any(AnyForm::SchemaOrBoolean),
        "JSONSchemaPropsOrStringArray" => Shape::Any(AnyForm::SchemaOrNames),
        _ => Shape::Struct(Definition(number)),
    }
}

/// Whether any definition of that short name has the field.
#[cfg(test)]
pub(crate) fn any_definition(short_name: &str, field: &str) -> bool {
    let mut all = (0..table().definitions.len()).map(|index| Definition(small(index)));
    all.any(|definition| definition.short_name() == short_name && definition.field(field).is_some())
}

fn last_word(line: &'static str) -> &'static str {
    line.rsplit(' ').next().unwrap_or_default()
}

fn last_segment(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or_default()
}

fn number(word: Option<&str>) -> u16 {
    word.and_then(|word| word.parse().ok()).expect("grammar")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_found_by_kind_and_by_name() {
        let pod = Definition::of_kind("", "v1", "Pod").unwrap();
        assert_eq!(pod, Definition::named("io.k8s.api.core.v1.Pod").unwrap());
        assert_eq!(pod.go_name(), "v1.Pod");
        let containers = pod.field("spec").unwrap().ty.element().unwrap().field("containers").unwrap();
        assert!(containers.required);
        assert_eq!(containers.ty.element().unwrap().short_name(), "Container");
        assert!(pod.field("Spec").is_none());
    }

    /// A33: types with a wire form of their own are not structs.
    #[test]
    fn special_types_have_their_own_shape() {
        let shape = |definition: &str, field: &str| {
            let name = format!("io.k8s.api.{definition}");
            Definition::named(&name).unwrap().field(field).unwrap().ty.shape()
        };
        assert!(
            matches!(shape("core.v1.ResourceRequirements", "limits"), Shape::Map(q) if q.shape() == Shape::Quantity)
        );
        assert_eq!(shape("core.v1.HTTPGetAction", "port"), Shape::IntOrString);
        assert_eq!(shape("coordination.v1.LeaseSpec", "renewTime"), Shape::MicroTime);
        assert_eq!(shape("apps.v1.ControllerRevision", "data"), Shape::Any(AnyForm::Encoded));
        assert!(matches!(shape("core.v1.Secret", "data"), Shape::Map(b) if b.shape() == Shape::Bytes));
    }

    /// K1: every stored or reviewed kind of the registry has a definition.
    #[test]
    fn every_registered_kind_has_a_definition() {
        let snapshot = outrigger_api::Registry::builtin().snapshot();
        let missing: Vec<_> = snapshot
            .kinds()
            .filter(|row| Definition::of_kind(&row.group, &row.version, &row.kind).is_none())
            .map(|row| row.qualified())
            .collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn descriptions_are_those_of_their_field() {
        let descriptions = Descriptions::load();
        let pod = Definition::of_kind("", "v1", "Pod").unwrap();
        assert!(descriptions.get(pod.description()).starts_with("Pod is a collection of containers"));
        let spec = pod.field("spec").unwrap();
        assert!(descriptions.get(spec.description()).starts_with("Specification of the desired behavior"));
    }
}
