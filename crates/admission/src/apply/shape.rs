//! What apply needs to know of a value's type: is it one piece, and if not, what are its pieces (F2m, F2n).

use outrigger_api::KindInfo;
use outrigger_schema::merge::is_atomic;
use outrigger_schema::{Definition, ListType, MapType, MergeRule, Shape, merge_rule};

/// A type with the rule of the field that holds it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Typed {
    pub(super) form: Form,
    /// Owned as one value, whatever is inside.
    pub(super) atomic: bool,
    /// How a list is owned, and by which members its items are told apart.
    pub(super) list_type: ListType,
    pub(super) keys: &'static [&'static str],
}

/// What kind of value is expected.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    /// Members are those of the definition.
    Struct(Definition),
    /// Something the published schema has, other than a struct.
    Plain(Shape),
    /// No schema says anything: the value tells. Maps are granular, lists atomic (J18).
    Deduced,
}

impl Typed {
    /// The type of a kind's objects.
    pub(super) fn of_kind(kind: &KindInfo) -> Self {
        Self::of_version(&kind.group, &kind.version, &kind.kind)
    }

    /// The same for another version of the kind.
    pub(super) fn of_version(group: &str, version: &str, kind: &str) -> Self {
        match Definition::of_kind(group, version, kind) {
            Some(definition) => Self { form: Form::Struct(definition), ..Self::DEDUCED },
            None => Self::DEDUCED,
        }
    }

    const DEDUCED: Self = Self { form: Form::Deduced, atomic: false, list_type: ListType::Atomic, keys: &[] };

    fn held(shape: Shape, rule: &MergeRule, whole: bool) -> Self {
        let form = match shape {
            Shape::Struct(definition) => Form::Struct(definition),
            Shape::Any(_) => Form::Deduced,
            other => Form::Plain(other),
        };
        Self { form, atomic: whole, list_type: rule.list_type, keys: rule.list_map_keys }
    }

    /// The type of a member; `None` if the schema has no such member.
    pub(super) fn member(self, name: &str) -> Option<Self> {
        match self.form {
            Form::Struct(definition) => {
                let field = definition.field(name)?;
                let rule = merge_rule(definition, name);
                Some(Self::held(field.ty.shape(), &rule, rule.map_type == MapType::Atomic))
            }
            Form::Plain(Shape::Map(item)) => Some(Self::item_of(item.shape())),
            Form::Plain(_) => None,
            Form::Deduced => Some(Self::DEDUCED),
        }
    }

    /// The type of a list's items.
    pub(super) fn item(self) -> Self {
        match self.form {
            Form::Plain(Shape::List(item)) => Self::item_of(item.shape()),
            _ => Self::DEDUCED,
        }
    }

    fn item_of(shape: Shape) -> Self {
        let whole = matches!(shape, Shape::Struct(definition) if is_atomic(definition));
        Self::held(shape, &MergeRule::DEFAULT, whole)
    }

    /// Whether `name` is a member the type declares, as opposed to a free key.
    pub(super) fn declares(self, name: &str) -> bool {
        matches!(self.form, Form::Struct(definition) if definition.field(name).is_some())
    }

    /// Whether a list of this type is owned item by item.
    pub(super) fn is_associative(self) -> bool {
        !self.atomic && self.list_type != ListType::Atomic
    }

    /// What a key member has if an item leaves it out; `None` if it then is no part of the key (F5c).
    pub(super) fn key_default(self, name: &str) -> Option<serde_json::Value> {
        let Form::Struct(definition) = self.item().form else { return None };
        let field = definition.field(name)?;
        match (name, field.ty.shape()) {
            // The only key members with a default of their own: ports of containers and Services.
            ("protocol", Shape::String) => Some("TCP".into()),
            (_, Shape::String) if field.required => Some("".into()),
            (_, Shape::Int32 | Shape::Int64) if field.required => Some(0.into()),
            _ => None,
        }
    }
}
