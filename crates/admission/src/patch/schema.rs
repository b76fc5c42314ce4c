//! What strategic merge needs to know of a type, read from the published schema's merge table (F2m).

use outrigger_api::KindInfo;
use outrigger_schema::{Definition, merge_rule};

/// The type a subtree has; none for maps with free keys, scalars, and kinds without a published schema.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schema(Option<Definition>);

/// How one field merges.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    /// What the patch does to the list or map.
    pub(super) strategy: Strategy,
    /// Whether the table says `replace`, as opposed to saying nothing.
    pub(super) explicit: bool,
    /// The member that identifies the items of a list of objects.
    pub(super) merge_key: Option<&'static str>,
    /// The type of the member, or of its items.
    pub(super) schema: Schema,
}

/// What a patch does to a list or map that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strategy {
    /// It takes its place.
    Replace,
    /// It is merged into it.
    Merge,
}

impl Schema {
    /// The schema of a kind.
    pub(super) fn of(kind: &KindInfo) -> Self {
        Self(Definition::of_kind(&kind.group, &kind.version, &kind.kind))
    }

    /// How `field` merges; fields the schema does not know are replaced.
    pub(super) fn member(self, field: &str) -> Member {
        let Some(definition) = self.0 else {
            return Member {
                strategy: Strategy::Replace,
                explicit: false,
                merge_key: None,
                schema: Self(None),
            };
        };
        let rule = merge_rule(definition, field);
        let element = definition.field(field).and_then(|field| field.ty.element());
        Member {
            strategy: if rule.merge { Strategy::Merge } else { Strategy::Replace },
            explicit: rule.replace,
            merge_key: rule.merge_key,
            schema: Self(element),
        }
    }
}
