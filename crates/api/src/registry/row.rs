//! One line of the built-in table, in a form that can be written down as a constant.
//!
//! [`Row`] holds only borrowed text, so a table of rows lives in the program image; [`Row::info`] makes the owned
//! [`KindInfo`] the rest of the program speaks.

use std::borrow::Cow;

use crate::kind::{KindInfo, NameRule, Strategy, Subresource, Verbs};

/// A built-in resource. The constructors give what most kinds have; the methods name what is special.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
    namespaced: bool,
    short_names: &'static [&'static str],
    categories: &'static [&'static str],
    verbs: Verbs,
    subresources: &'static [Sub],
    storage: Option<&'static str>,
    stored_as: Option<(&'static str, &'static str)>,
    strategy: Strategy,
    selectable_fields: &'static [&'static str],
}

/// A subresource of a built-in kind; `kind: None` speaks its parent's kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sub {
    name: &'static str,
    kind: Option<&'static str>,
    foreign: Option<(&'static str, &'static str)>,
    verbs: &'static [&'static str],
}

pub(super) const STATUS: Sub = Sub::of_parent("status", &["get", "patch", "update"]);
pub(super) const SCALE: Sub =
    Sub { foreign: Some(("autoscaling", "v1")), ..Sub::new("scale", "Scale", &["get", "patch", "update"]) };

impl Sub {
    pub(super) const fn new(name: &'static str, kind: &'static str, verbs: &'static [&'static str]) -> Self {
        Self { name, kind: Some(kind), foreign: None, verbs }
    }

    pub(super) const fn of_parent(name: &'static str, verbs: &'static [&'static str]) -> Self {
        Self { name, kind: None, foreign: None, verbs }
    }

    /// The kind lives in another group version (A5).
    pub(super) const fn from(mut self, group: &'static str, version: &'static str) -> Self {
        self.foreign = Some((group, version));
        self
    }

    fn info(&self, parent: &'static str) -> Subresource {
        Subresource {
            name: Cow::Borrowed(self.name),
            kind: Cow::Borrowed(self.kind.unwrap_or(parent)),
            foreign: self.foreign.map(|(group, version)| (Cow::Borrowed(group), Cow::Borrowed(version))),
            verbs: words(self.verbs),
        }
    }
}

impl Row {
    /// A namespaced kind with all verbs, stored under its plural.
    pub(super) const fn namespaced(kind: &'static str, plural: &'static str) -> Self {
        Self {
            version: "v1",
            kind,
            plural,
            namespaced: true,
            short_names: &[],
            categories: &[],
            verbs: Verbs::Standard,
            subresources: &[],
            storage: Some(plural),
            stored_as: None,
            strategy: Strategy::MOST,
            selectable_fields: &[],
        }
    }

    /// The same for a cluster-scoped kind.
    pub(super) const fn cluster(kind: &'static str, plural: &'static str) -> Self {
        Self { namespaced: false, ..Self::namespaced(kind, plural) }
    }

    /// A kind that is answered and forgotten: create only.
    pub(super) const fn review(mut self) -> Self {
        self.verbs = Verbs::Create;
        self.storage = None;
        self
    }

    pub(super) const fn version(mut self, version: &'static str) -> Self {
        self.version = version;
        self
    }

    pub(super) const fn short(mut self, names: &'static [&'static str]) -> Self {
        self.short_names = names;
        self
    }

    /// Shown by `kubectl get all` (K2).
    pub(super) const fn in_all(mut self) -> Self {
        self.categories = &["all"];
        self
    }

    pub(super) const fn in_api_extensions(mut self) -> Self {
        self.categories = &["api-extensions"];
        self
    }

    pub(super) const fn verbs(mut self, verbs: Verbs) -> Self {
        self.verbs = verbs;
        self
    }

    /// Subresources besides `status`, in any order.
    pub(super) const fn subresources(mut self, subresources: &'static [Sub]) -> Self {
        self.subresources = subresources;
        self
    }

    /// Has `/status` (D3, D4).
    pub(super) const fn status(mut self) -> Self {
        self.strategy.status = true;
        self
    }

    /// Maintains `metadata.generation` (C8).
    pub(super) const fn generation(mut self) -> Self {
        self.strategy.generation = true;
        self
    }

    /// PUT creates (D2).
    pub(super) const fn create_on_update(mut self) -> Self {
        self.strategy.create_on_update = true;
        self
    }

    /// PUT needs a resourceVersion (D5).
    pub(super) const fn conditional_update_only(mut self) -> Self {
        self.strategy.conditional_update_only = true;
        self
    }

    /// A delete answers with the object (D22).
    pub(super) const fn returns_deleted(mut self) -> Self {
        self.strategy.returns_deleted = true;
        self
    }

    /// A delete waits for the node (D24).
    pub(super) const fn graceful_delete(mut self) -> Self {
        self.strategy.graceful_delete = true;
        self
    }

    /// A delete without a policy orphans (D20).
    pub(super) const fn orphan_by_default(mut self) -> Self {
        self.strategy.orphan_by_default = true;
        self
    }

    /// How names look (C1).
    pub(super) const fn named(mut self, rule: NameRule) -> Self {
        self.strategy.name = rule;
        self
    }

    /// Stored elsewhere than under the plural (M9).
    pub(super) const fn storage(mut self, path: &'static str) -> Self {
        self.storage = Some(path);
        self
    }

    /// Served, not stored.
    pub(super) const fn not_stored(mut self) -> Self {
        self.storage = None;
        self
    }

    /// Another view of objects stored in this group version (K3, M19).
    pub(super) const fn stored_as(mut self, group: &'static str, version: &'static str) -> Self {
        self.stored_as = Some((group, version));
        self
    }

    /// Field selectors beyond name and namespace (E19).
    pub(super) const fn fields(mut self, fields: &'static [&'static str]) -> Self {
        self.selectable_fields = fields;
        self
    }

    /// The row as the rest of the program knows it.
    pub(super) fn info(&self, group: &'static str) -> KindInfo {
        let status = self.strategy.status.then_some(&STATUS);
        let mut subresources: Vec<_> =
            self.subresources.iter().chain(status).map(|sub| sub.info(self.kind)).collect();
        subresources.sort_by(|a, b| a.name.cmp(&b.name));
        KindInfo {
            group: Cow::Borrowed(group),
            version: Cow::Borrowed(self.version),
            kind: Cow::Borrowed(self.kind),
            plural: Cow::Borrowed(self.plural),
            singular: Cow::Owned(self.kind.to_ascii_lowercase()),
            namespaced: self.namespaced,
            short_names: words(self.short_names),
            categories: words(self.categories),
            verbs: self.verbs,
            subresources: Cow::Owned(subresources),
            storage: Cow::Borrowed(self.storage.unwrap_or_default()),
            stored_as: self.stored_as.map(|(group, version)| (Cow::Borrowed(group), Cow::Borrowed(version))),
            custom: false,
            strategy: self.strategy,
            selectable_fields: words(self.selectable_fields),
        }
    }
}

fn words(list: &[&'static str]) -> Cow<'static, [Cow<'static, str>]> {
    Cow::Owned(list.iter().map(|word| Cow::Borrowed(*word)).collect())
}
