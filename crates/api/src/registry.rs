//! The table of served resources: the built-in kinds of rule book section K, plus rows added for CRDs.
//!
//! The built-in rows are data in the files below, one per area. A [`Registry`] is read on every request and changed
//! only when a CRD comes or goes, so readers take an immutable snapshot and writers replace it. It answers what is
//! served; it does not know how.
//!
//! Start at [`Registry`]; a new built-in kind is one more row in one of the files.

mod access;
mod core;
mod extension;
mod network;
mod row;
mod storage;
mod workloads;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::kind::KindInfo;
use row::Row;

/// The served resources. Clones share the table.
#[derive(Clone, Debug)]
pub struct Registry(Arc<RwLock<Arc<Snapshot>>>);

/// The table at one moment; cheap to keep.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Counts changes, so that documents made from the table can be cached.
    pub revision: u64,
    by_plural: HashMap<String, Vec<Arc<KindInfo>>>,
    by_kind: HashMap<String, Vec<Arc<KindInfo>>>,
    groups: Vec<Group>,
}

/// One API group with its versions, preferred first (A8).
#[derive(Clone, Debug)]
pub struct Group {
    /// Empty for core.
    pub name: String,
    /// Never empty (A17).
    pub versions: Vec<Version>,
}

/// One version of a group.
#[derive(Clone, Debug)]
pub struct Version {
    /// `v1`.
    pub name: String,
    /// Sorted by plural; never empty (A17).
    pub kinds: Vec<Arc<KindInfo>>,
}

impl Registry {
    /// The built-in kinds.
    pub fn builtin() -> Self {
        let kinds = BUILTIN.iter().flat_map(|(group, rows)| rows.iter().map(|row| Arc::new(row.info(group))));
        Self(Arc::new(RwLock::new(Arc::new(Snapshot::of(0, kinds.collect())))))
    }

    /// The table now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The resource a URL names.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<Arc<KindInfo>> {
        self.snapshot().find(group, version, plural).cloned()
    }

    /// The resource an object names.
    pub fn by_kind(&self, group: &str, version: &str, kind: &str) -> Option<Arc<KindInfo>> {
        self.snapshot().by_kind(group, version, kind).cloned()
    }

    /// Adds a row, or replaces the one with the same group, version and plural.
    pub fn add(&self, kind: KindInfo) {
        self.change(|kinds| {
            kinds.retain(|other| !same_resource(other, &kind.group, &kind.version, &kind.plural));
            kinds.push(Arc::new(kind));
        });
    }

    /// Takes a row away. Nothing happens if there is none.
    pub fn remove(&self, group: &str, version: &str, plural: &str) {
        self.change(|kinds| kinds.retain(|kind| !same_resource(kind, group, version, plural)));
    }

    fn change(&self, edit: impl FnOnce(&mut Vec<Arc<KindInfo>>)) {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let mut kinds: Vec<_> = current.kinds().cloned().collect();
        edit(&mut kinds);
        *current = Arc::new(Snapshot::of(current.revision + 1, kinds));
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::builtin()
    }
}

impl Snapshot {
    fn of(revision: u64, kinds: Vec<Arc<KindInfo>>) -> Self {
        let mut snapshot = Self { revision, ..Self::default() };
        for kind in kinds {
            snapshot.by_plural.entry(kind.plural.to_string()).or_default().push(Arc::clone(&kind));
            snapshot.by_kind.entry(kind.kind.to_string()).or_default().push(Arc::clone(&kind));
            snapshot.place(kind);
        }
        snapshot
            .groups
            .sort_by_cached_key(|group| (Reverse(group_priority(&group.name)), group.name.clone()));
        for group in &mut snapshot.groups {
            group.versions.sort_by_cached_key(|version| version_rank(&version.name));
            for version in &mut group.versions {
                version.kinds.sort_by(|a, b| a.plural.cmp(&b.plural));
            }
        }
        snapshot
    }

    fn place(&mut self, kind: Arc<KindInfo>) {
        let group = position_or_push(
            &mut self.groups,
            |group| group.name == kind.group,
            || Group { name: kind.group.to_string(), versions: Vec::new() },
        );
        let version = position_or_push(
            &mut group.versions,
            |version| version.name == kind.version,
            || Version { name: kind.version.to_string(), kinds: Vec::new() },
        );
        version.kinds.push(kind);
    }

    /// The resource a URL names.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<KindInfo>> {
        self.by_plural.get(plural)?.iter().find(|kind| kind.group == group && kind.version == version)
    }

    /// The resource an object names.
    pub fn by_kind(&self, group: &str, version: &str, kind: &str) -> Option<&Arc<KindInfo>> {
        self.by_kind.get(kind)?.iter().find(|row| row.group == group && row.version == version)
    }

    /// All rows, by group, version and plural in discovery order.
    pub fn kinds(&self) -> impl Iterator<Item = &Arc<KindInfo>> {
        self.groups.iter().flat_map(|group| &group.versions).flat_map(|version| &version.kinds)
    }

    /// The groups in discovery order (A8); core is among them, with an empty name.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// One group.
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.name == name)
    }
}

impl Group {
    /// One version.
    pub fn version(&self, name: &str) -> Option<&Version> {
        self.versions.iter().find(|version| version.name == name)
    }
}

fn same_resource(kind: &KindInfo, group: &str, version: &str, plural: &str) -> bool {
    kind.group == group && kind.version == version && kind.plural == plural
}

fn position_or_push<T>(list: &mut Vec<T>, is: impl Fn(&T) -> bool, make: impl FnOnce() -> T) -> &mut T {
    let index = list.iter().position(is).unwrap_or_else(|| {
        list.push(make());
        list.len() - 1
    });
    &mut list[index]
}

/// Orders versions: GA before beta before alpha, then by number descending (A8); other names last, by text.
pub fn version_rank(version: &str) -> (u8, Reverse<u32>, Reverse<u32>, String) {
    let other = (3, Reverse(0), Reverse(0), version.to_owned());
    let Some(rest) = version.strip_prefix('v') else { return other };
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (major, stage) = rest.split_at(digits);
    let Ok(major) = major.parse() else { return other };
    let (stage, minor) = if stage.is_empty() {
        (0, "0")
    } else if let Some(minor) = stage.strip_prefix("beta") {
        (1, minor)
    } else if let Some(minor) = stage.strip_prefix("alpha") {
        (2, minor)
    } else {
        return other;
    };
    minor.parse().map_or(other, |minor| (stage, Reverse(major), Reverse(minor), String::new()))
}

/// Where a group stands in discovery (A8); groups of CRDs come after all built-in ones.
fn group_priority(group: &str) -> u32 {
    match group {
        "apiregistration.k8s.io" => 20_000,
        "" => 18_000,
        "apps" => 17_800,
        "events.k8s.io" => 17_750,
        "authentication.k8s.io" => 17_700,
        "authorization.k8s.io" => 17_600,
        "autoscaling" => 17_500,
        "batch" => 17_400,
        "certificates.k8s.io" => 17_300,
        "networking.k8s.io" => 17_200,
        "policy" => 17_100,
        "rbac.authorization.k8s.io" => 17_000,
        "storage.k8s.io" => 16_800,
        "apiextensions.k8s.io" | "admissionregistration.k8s.io" => 16_700,
        "scheduling.k8s.io" => 16_600,
        "coordination.k8s.io" => 16_500,
        "node.k8s.io" => 16_300,
        "discovery.k8s.io" | "resource.k8s.io" => 16_200,
        "flowcontrol.apiserver.k8s.io" => 16_100,
        _ => 1_000,
    }
}

const BUILTIN: &[(&str, &[Row])] = &[
    ("", core::ROWS),
    ("admissionregistration.k8s.io", extension::ADMISSION),
    ("apiextensions.k8s.io", extension::CRD),
    ("apiregistration.k8s.io", extension::API_SERVICE),
    ("apps", workloads::APPS),
    ("authentication.k8s.io", access::AUTHENTICATION),
    ("authorization.k8s.io", access::AUTHORIZATION),
    ("autoscaling", workloads::AUTOSCALING),
    ("batch", workloads::BATCH),
    ("certificates.k8s.io", access::CERTIFICATES),
    ("coordination.k8s.io", workloads::COORDINATION),
    ("discovery.k8s.io", network::DISCOVERY),
    ("events.k8s.io", core::EVENTS_GROUP),
    ("flowcontrol.apiserver.k8s.io", extension::FLOW),
    ("networking.k8s.io", network::NETWORKING),
    ("node.k8s.io", workloads::NODE),
    ("policy", workloads::POLICY),
    ("rbac.authorization.k8s.io", access::RBAC),
    ("resource.k8s.io", workloads::RESOURCE),
    ("scheduling.k8s.io", workloads::SCHEDULING),
    ("storage.k8s.io", storage::STORAGE),
];

#[cfg(test)]
mod tests;
