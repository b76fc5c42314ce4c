//! How lists and maps of built-in kinds merge: strategic merge patch and server-side apply (F2m, F2n).
//!
//! The typed crate has none of this, so [`rows`] is a table written by hand from the rule book. A field that is not in
//! the table is what the API defaults to: lists are replaced and atomic, maps merge per key.

mod rows;

use crate::table::{Definition, Field, Shape};

/// How one field merges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MergeRule {
    /// The patch strategy contains `merge`: list items merge instead of the list being replaced (F2c).
    pub merge: bool,
    /// The patch strategy contains `retainKeys` (F2i).
    pub retain_keys: bool,
    /// The patch strategy is `replace`: a map is replaced instead of merged (F2b).
    pub replace: bool,
    /// The member that identifies items of a merging list of objects; `None` for lists of scalars.
    pub merge_key: Option<&'static str>,
    /// Server-side apply: how a list is owned.
    pub list_type: ListType,
    /// Server-side apply: the members that identify items of a [`ListType::Map`].
    pub list_map_keys: &'static [&'static str],
    /// Server-side apply: how a map or struct is owned.
    pub map_type: MapType,
}

/// How server-side apply owns a list (A31).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListType {
    /// As one value.
    #[default]
    Atomic,
    /// Each scalar by itself.
    Set,
    /// Each item by its key members.
    Map,
}

/// How server-side apply owns a map or struct (A31).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MapType {
    /// Each member by itself.
    #[default]
    Granular,
    /// As one value.
    Atomic,
}

impl MergeRule {
    /// What fields outside the table have.
    pub const DEFAULT: Self = Self {
        merge: false,
        retain_keys: false,
        replace: false,
        merge_key: None,
        list_type: ListType::Atomic,
        list_map_keys: &[],
        map_type: MapType::Granular,
    };

    /// The patch strategy as OpenAPI writes it (A30); `None` if there is none.
    pub fn strategy(&self) -> Option<&'static str> {
        match (self.merge, self.retain_keys, self.replace) {
            (true, true, _) => Some("merge,retainKeys"),
            (true, false, _) => Some("merge"),
            (false, true, _) => Some("retainKeys"),
            (false, false, true) => Some("replace"),
            (false, false, false) => None,
        }
    }
}

/// The rule for `field` of `definition`. Unknown fields get [`MergeRule::DEFAULT`].
///
/// `map_type` is also atomic where the field's own type is atomic wherever it is used (F2n).
pub fn merge_rule(definition: Definition, field: &str) -> MergeRule {
    let Some(field) = definition.field(field) else { return MergeRule::DEFAULT };
    let mut rule = rows::field(definition.short_name(), field.name).unwrap_or(MergeRule::DEFAULT);
    if has_atomic_type(field) && !rows::is_granular(definition.short_name(), field.name) {
        rule.map_type = MapType::Atomic;
    }
    rule
}

/// Whether apply owns values of this struct as a whole wherever they occur (F2n).
pub fn is_atomic(definition: Definition) -> bool {
    rows::is_atomic_struct(definition.short_name())
}

fn has_atomic_type(field: &Field) -> bool {
    matches!(field.ty.shape(), Shape::Struct(definition) if is_atomic(definition))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(kind: &str, path: &[&str]) -> MergeRule {
        let groups = ["", "apps", "batch", "policy", "discovery.k8s.io", "storage.k8s.io"];
        let mut definition = groups.iter().find_map(|group| Definition::of_kind(group, "v1", kind)).unwrap();
        let (last, steps) = path.split_last().unwrap();
        for step in steps {
            definition = definition.field(step).unwrap().ty.element().unwrap();
        }
        assert!(definition.field(last).is_some(), "{path:?}");
        merge_rule(definition, last)
    }

    /// F2m: merge keys and apply keys differ where a port number alone does not identify a port.
    #[test]
    fn ports_merge_by_number_and_apply_by_number_and_protocol() {
        let ports = rule("Pod", &["spec", "containers", "ports"]);
        assert_eq!((ports.merge, ports.merge_key), (true, Some("containerPort")));
        assert_eq!(
            (ports.list_type, ports.list_map_keys),
            (ListType::Map, ["containerPort", "protocol"].as_slice())
        );
    }

    /// F2m: volumes also retain keys, so switching the source drops the old one.
    #[test]
    fn volumes_retain_keys() {
        assert_eq!(rule("Pod", &["spec", "volumes"]).strategy(), Some("merge,retainKeys"));
        let strategy = rule("Deployment", &["spec", "strategy"]);
        assert_eq!((strategy.strategy(), strategy.merge_key), (Some("retainKeys"), None));
    }

    /// F2m: lists outside the table, and those the table marks so, are replaced.
    #[test]
    fn other_lists_are_replaced_whole() {
        for path in [["spec", "tolerations"], ["status", "containerStatuses"]] {
            assert_eq!(rule("Pod", &path), MergeRule::DEFAULT);
        }
        assert_eq!(rule("Node", &["spec", "taints"]), MergeRule::DEFAULT);
    }

    /// F2m: finalizers are a set of scalars.
    #[test]
    fn finalizers_merge_as_a_set() {
        let finalizers = rule("Pod", &["metadata", "finalizers"]);
        assert_eq!(
            (finalizers.merge, finalizers.merge_key, finalizers.list_type),
            (true, None, ListType::Set)
        );
    }

    /// F2n: some structs are owned whole.
    #[test]
    fn selectors_are_atomic_for_apply() {
        assert_eq!(rule("Deployment", &["spec", "selector"]).map_type, MapType::Atomic);
        assert_eq!(rule("Pod", &["spec", "nodeSelector"]).map_type, MapType::Atomic);
        assert_eq!(rule("PersistentVolume", &["spec", "claimRef"]).map_type, MapType::Granular);
        assert!(rule("PodDisruptionBudget", &["spec", "selector"]).replace);
    }

    /// F2m: every row names a field that exists, so that a typing mistake cannot silently change a merge.
    #[test]
    fn every_row_names_a_real_field() {
        let missing: Vec<_> = rows::all()
            .filter(|(definition, field)| !crate::table::any_definition(definition, field))
            .collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
