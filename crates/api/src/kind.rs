//! What a resource is, as data: one [`KindInfo`] row per served resource, and nothing per kind anywhere else
//! unless the row names a hook for it (rule book section K).

use std::borrow::Cow;

/// One served resource. Built-in kinds are rows of the table in this crate; CRDs add rows at run time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KindInfo {
    /// API group; empty for core.
    pub group: Cow<'static, str>,
    /// The version this row serves.
    pub version: Cow<'static, str>,
    /// `Pod`.
    pub kind: Cow<'static, str>,
    /// `pods`: the resource in URLs.
    pub plural: Cow<'static, str>,
    /// `pod`.
    pub singular: Cow<'static, str>,
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// `po`.
    pub short_names: Cow<'static, [Cow<'static, str>]>,
    /// `all`.
    pub categories: Cow<'static, [Cow<'static, str>]>,
    /// What may be done with it, sorted (A6).
    pub verbs: Verbs,
    /// Subresources in alphabetical order.
    pub subresources: Cow<'static, [Subresource]>,
    /// The part of the storage key between `/registry/` and `/<namespace>/<name>` (M9); empty for kinds that
    /// are never stored (reviews, bindings, component statuses).
    pub storage: Cow<'static, str>,
    /// Group and version the objects are stored in, where they differ from this row's (M19): two rows with one
    /// `storage` are two views of the same objects.
    pub stored_as: Option<(Cow<'static, str>, Cow<'static, str>)>,
    /// Whether the row comes from a CRD (A14, B5, F2a).
    pub custom: bool,
    /// The switches of the write pipeline.
    pub strategy: Strategy,
    /// Field selectors beyond `metadata.name` and `metadata.namespace` (E19).
    pub selectable_fields: Cow<'static, [Cow<'static, str>]>,
}

/// The verb sets that occur.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbs {
    /// create, delete, deletecollection, get, list, patch, update, watch.
    Standard,
    /// [`Verbs::Standard`] without deletecollection (namespaces).
    NoDeleteCollection,
    /// create only (reviews, bindings).
    Create,
    /// get and list only (componentstatuses).
    GetList,
}

impl Verbs {
    /// The words, sorted as discovery lists them.
    pub const fn words(self) -> &'static [&'static str] {
        match self {
            Self::Standard => {
                &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
            }
            Self::NoDeleteCollection => &["create", "delete", "get", "list", "patch", "update", "watch"],
            Self::Create => &["create"],
            Self::GetList => &["get", "list"],
        }
    }
}

/// A subresource of a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subresource {
    /// `status`.
    pub name: Cow<'static, str>,
    /// The kind it speaks, with group and version where they differ from the parent's (A5).
    pub kind: Cow<'static, str>,
    /// Group and version of that kind if it lives elsewhere.
    pub foreign: Option<(Cow<'static, str>, Cow<'static, str>)>,
    /// Verbs, sorted.
    pub verbs: Cow<'static, [Cow<'static, str>]>,
}

/// How the write pipeline treats a kind; the defaults are what most kinds have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Strategy {
    /// Has a `/status` subresource: status is zeroed on create and kept on update (D3, D4).
    pub status: bool,
    /// Maintains `metadata.generation` (C8).
    pub generation: bool,
    /// PUT of an absent object creates it (D2).
    pub create_on_update: bool,
    /// PUT without a resourceVersion is refused (D5).
    pub conditional_update_only: bool,
    /// A completed delete answers with the object instead of a Status (D22).
    pub returns_deleted: bool,
    /// Deleted in two steps with a grace period: Pods (D24).
    pub graceful_delete: bool,
    /// Deleting without a policy orphans dependents (D20).
    pub orphan_by_default: bool,
    /// How a name must look (C1).
    pub name: NameRule,
}

impl Strategy {
    /// [`Strategy::default`] as a constant.
    pub const MOST: Self = Self {
        status: false,
        generation: false,
        create_on_update: false,
        conditional_update_only: false,
        returns_deleted: false,
        graceful_delete: false,
        orphan_by_default: false,
        name: NameRule::Subdomain,
    };
}

/// How `metadata.name` must look (C1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NameRule {
    /// DNS-1123 subdomain, at most 253 characters.
    #[default]
    Subdomain,
    /// DNS-1123 label, at most 63 characters.
    Label,
    /// Anything that can be one segment of a path (RBAC, events).
    PathSegment,
}

impl KindInfo {
    /// The subresource of that name.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|sub| sub.name == name)
    }

    /// Whether objects of the kind are kept at all.
    pub fn is_stored(&self) -> bool {
        !self.storage.is_empty()
    }

    /// Group and version objects are stored in.
    pub fn storage_version(&self) -> (&str, &str) {
        match &self.stored_as {
            Some((group, version)) => (group, version),
            None => (&self.group, &self.version),
        }
    }

    /// `v1`, `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_string()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// `pods`, `deployments.apps`: how messages name the resource.
    pub fn qualified(&self) -> String {
        crate::status::qualified(&self.plural, &self.group)
    }

    /// The storage key prefix of all objects, with a trailing slash: `/registry/pods/`.
    pub fn prefix(&self) -> String {
        format!("/registry/{}/", self.storage)
    }

    /// The storage key of one object. `namespace` is ignored for cluster-scoped kinds.
    pub fn key(&self, namespace: &str, name: &str) -> String {
        if self.namespaced {
            format!("{}{namespace}/{name}", self.prefix())
        } else {
            format!("{}{name}", self.prefix())
        }
    }
}
