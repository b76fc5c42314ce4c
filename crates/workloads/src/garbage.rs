//! Garbage collection by owner references (D28, N9): what goes when its owners have gone.
//!
//! [`Graph`] knows who depends on whom and says what to do about one object. Graphs lag behind, so a decision to
//! delete is made by [`verdict`] on the object as the server has it now, with owners looked up there too.

use std::collections::{HashMap, HashSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

/// The finalizer of an owner whose dependents go first.
pub const FOREGROUND: &str = "foregroundDeletion";
/// The finalizer of an owner whose dependents stay.
pub const ORPHAN: &str = "orphan";

/// Which object: enough to ask the server for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Group and version.
    pub api_version: String,
    /// The kind.
    pub kind: String,
    /// Empty for cluster-scoped objects.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The uid.
    pub uid: String,
}

/// What is known of an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// It exists.
    Solid,
    /// It exists, and waits for its dependents to go.
    Waiting,
    /// There is no such object, or another one has its name.
    Absent,
}

/// What to do about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Make its dependents orphans, then let it go.
    Orphan(Vec<Identity>),
    /// Its dependents are gone: let it go.
    Finish,
    /// Look at those that hold it back.
    Prompt(Vec<String>),
    /// See whether it is still owned. Owners that are known, by uid; the others must be looked up.
    Check {
        /// What the graph knows.
        owners: HashMap<String, Owner>,
        /// What depends on the object.
        dependents: Dependents,
    },
}

/// What depends on an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dependents {
    /// Nothing.
    None,
    /// Something.
    Some,
    /// Something that itself waits for its dependents: perhaps for this one.
    Waiting,
}

/// What becomes of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It stays as it is.
    Keep,
    /// It stays without its references to these uids.
    Disown(Vec<String>),
    /// It is deleted.
    Delete {
        /// How: `Background`, `Foreground` or `Orphan`.
        propagation: &'static str,
        /// First it must stop holding its owners back: they wait for each other.
        unblock: bool,
    },
}

#[derive(Clone, Debug)]
struct Node {
    identity: Identity,
    owners: Vec<OwnerReference>,
    deleting: bool,
    foreground: bool,
    orphan: bool,
}

impl Node {
    fn is_waiting(&self) -> bool {
        self.deleting && self.foreground
    }
}

/// Who depends on whom.
#[derive(Debug, Default)]
pub struct Graph {
    nodes: HashMap<String, Node>,
    dependents: HashMap<String, HashSet<String>>,
}

impl Graph {
    /// An object exists in this form. The uids of those to look at.
    pub fn apply(&mut self, identity: Identity, metadata: &ObjectMeta) -> Vec<String> {
        let has = |name: &str| metadata.finalizers.iter().flatten().any(|one| one == name);
        let node = Node {
            owners: metadata.owner_references.clone().unwrap_or_default(),
            deleting: metadata.deletion_timestamp.is_some(),
            foreground: has(FOREGROUND),
            orphan: has(ORPHAN),
            identity,
        };
        let uid = node.identity.uid.clone();
        let before = self.nodes.get(&uid).map(|node| (node.owners.clone(), node.is_waiting()));
        let (owners, waited) = before.unwrap_or_default();
        let mut look = vec![uid.clone()];
        for owner in owners.iter().filter(|owner| !node.owners.contains(owner)) {
            self.unlink(&owner.uid, &uid);
            look.push(owner.uid.clone());
        }
        for owner in &node.owners {
            self.dependents.entry(owner.uid.clone()).or_default().insert(uid.clone());
        }
        if node.is_waiting() && !waited {
            look.extend(self.dependents.get(&uid).into_iter().flatten().cloned());
        }
        self.nodes.insert(uid, node);
        look
    }

    /// An object is gone. The uids of those to look at.
    pub fn gone(&mut self, uid: &str) -> Vec<String> {
        let Some(node) = self.nodes.remove(uid) else { return Vec::new() };
        let mut look: Vec<String> = self.dependents.get(uid).into_iter().flatten().cloned().collect();
        for owner in node.owners {
            self.unlink(&owner.uid, uid);
            look.push(owner.uid);
        }
        look
    }

    /// Every object of a kind, for comparison with a new list.
    pub fn of_kind(&self, api_version: &str, kind: &str) -> Vec<String> {
        let same = |node: &&Node| node.identity.api_version == api_version && node.identity.kind == kind;
        self.nodes.values().filter(same).map(|node| node.identity.uid.clone()).collect()
    }

    /// What to do about an object, and which it is; `None` if nothing.
    pub fn task(&self, uid: &str) -> Option<(Identity, Task)> {
        let node = self.nodes.get(uid)?;
        let dependents: Vec<&Node> =
            self.dependents.get(uid).into_iter().flatten().filter_map(|uid| self.nodes.get(uid)).collect();
        let task = if node.deleting && node.orphan {
            Task::Orphan(dependents.iter().map(|node| node.identity.clone()).collect())
        } else if node.is_waiting() {
            let blocks = |dependent: &&&Node| {
                let mut refs = dependent.owners.iter();
                refs.any(|owner| owner.uid == uid && owner.block_owner_deletion == Some(true))
            };
            let blocking: Vec<String> =
                dependents.iter().filter(blocks).map(|node| node.identity.uid.clone()).collect();
            if blocking.is_empty() { Task::Finish } else { Task::Prompt(blocking) }
        } else {
            self.check(node, &dependents)?
        };
        Some((node.identity.clone(), task))
    }

    /// Nothing is asked about an object all of whose owners are there.
    fn check(&self, node: &Node, dependents: &[&Node]) -> Option<Task> {
        if node.deleting || node.owners.is_empty() {
            return None;
        }
        let known: HashMap<String, Owner> = node
            .owners
            .iter()
            .filter_map(|owner| {
                let found =
                    self.nodes.get(&owner.uid).filter(|found| may_own(&found.identity, &node.identity))?;
                Some((owner.uid.clone(), if found.is_waiting() { Owner::Waiting } else { Owner::Solid }))
            })
            .collect();
        if node.owners.iter().all(|owner| known.get(&owner.uid) == Some(&Owner::Solid)) {
            return None;
        }
        let dependents = match dependents {
            [] => Dependents::None,
            all if all.iter().any(|node| node.is_waiting()) => Dependents::Waiting,
            _ => Dependents::Some,
        };
        Some(Task::Check { owners: known, dependents })
    }

    fn unlink(&mut self, owner: &str, dependent: &str) {
        if let Some(all) = self.dependents.get_mut(owner) {
            all.remove(dependent);
            if all.is_empty() {
                self.dependents.remove(owner);
            }
        }
    }
}

/// An owner is cluster-scoped or in the same namespace (C14).
fn may_own(owner: &Identity, dependent: &Identity) -> bool {
    owner.namespace.is_empty() || owner.namespace == dependent.namespace
}

/// What becomes of an object as the server has it now, whose owners are as `owner` says.
pub fn verdict(
    live: &ObjectMeta,
    owner: impl Fn(&OwnerReference) -> Owner,
    dependents: Dependents,
) -> Verdict {
    let references = live.owner_references.as_deref().unwrap_or_default();
    if live.deletion_timestamp.is_some() || references.is_empty() {
        return Verdict::Keep;
    }
    let of = |wanted: Owner| -> Vec<String> {
        references.iter().filter(|one| owner(one) == wanted).map(|one| one.uid.clone()).collect()
    };
    let (solid, waiting, absent) = (of(Owner::Solid), of(Owner::Waiting), of(Owner::Absent));
    if !solid.is_empty() {
        let dead: Vec<String> = absent.into_iter().chain(waiting).collect();
        return if dead.is_empty() { Verdict::Keep } else { Verdict::Disown(dead) };
    }
    if !waiting.is_empty() && dependents != Dependents::None {
        return Verdict::Delete { propagation: "Foreground", unblock: dependents == Dependents::Waiting };
    }
    let has = |name: &str| live.finalizers.iter().flatten().any(|one| one == name);
    let propagation = match (has(ORPHAN), has(FOREGROUND)) {
        (true, _) => "Orphan",
        (false, true) => "Foreground",
        (false, false) => "Background",
    };
    Verdict::Delete { propagation, unblock: false }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn meta(value: Value) -> ObjectMeta {
        serde_json::from_value(value).unwrap()
    }

    fn put(graph: &mut Graph, uid: &str, owners: &[&str], more: Value) -> Vec<String> {
        let identity = Identity {
            api_version: "v1".to_owned(),
            kind: "K".to_owned(),
            namespace: "ns".to_owned(),
            name: uid.to_owned(),
            uid: uid.to_owned(),
        };
        let owners: Vec<Value> = owners
            .iter()
            .map(|uid| json!({"apiVersion": "v1", "kind": "K", "name": uid, "uid": uid, "blockOwnerDeletion": true}))
            .collect();
        let mut whole = json!({"ownerReferences": owners});
        for (key, value) in more.as_object().unwrap() {
            whole[key] = value.clone();
        }
        let mut look = graph.apply(identity, &meta(whole));
        look.sort();
        look
    }

    fn task(graph: &Graph, uid: &str) -> Option<Task> {
        graph.task(uid).map(|(_, task)| task)
    }

    const DELETING: &str = "2026-01-01T00:00:00Z";

    /// D28: an object is looked at when an owner goes, and only then.
    #[test]
    fn owners_that_go() {
        let mut graph = Graph::default();
        put(&mut graph, "owner", &[], json!({}));
        assert_eq!(put(&mut graph, "pod", &["owner"], json!({})), ["pod"]);
        assert_eq!(task(&graph, "pod"), None);
        assert_eq!(graph.gone("owner"), ["pod"]);
        let unknown = Task::Check { owners: HashMap::new(), dependents: Dependents::None };
        assert_eq!(task(&graph, "pod"), Some(unknown));
        assert_eq!(graph.of_kind("v1", "K"), ["pod"]);
    }

    /// D28, D21: foreground waits for those that block, deepest first.
    #[test]
    fn foreground() {
        let mut graph = Graph::default();
        put(&mut graph, "a", &[], json!({}));
        put(&mut graph, "b", &["a"], json!({}));
        put(&mut graph, "c", &["b"], json!({}));
        let waiting = json!({"deletionTimestamp": DELETING, "finalizers": [FOREGROUND]});
        assert_eq!(put(&mut graph, "a", &[], waiting.clone()), ["a", "b"]);
        assert_eq!(task(&graph, "a"), Some(Task::Prompt(vec!["b".to_owned()])));
        let owners = HashMap::from([("a".to_owned(), Owner::Waiting)]);
        assert_eq!(task(&graph, "b"), Some(Task::Check { owners, dependents: Dependents::Some }));
        put(&mut graph, "b", &["a"], waiting);
        assert_eq!(graph.gone("c"), ["b"]);
        assert_eq!(task(&graph, "b"), Some(Task::Finish));
        assert_eq!(graph.gone("b"), ["a"]);
        assert_eq!(task(&graph, "a"), Some(Task::Finish));
    }

    /// D28, D21: orphans are named, and the owner hears when they are free.
    #[test]
    fn orphans() {
        let mut graph = Graph::default();
        put(&mut graph, "a", &[], json!({"deletionTimestamp": DELETING, "finalizers": [ORPHAN]}));
        put(&mut graph, "b", &["a"], json!({}));
        let Some(Task::Orphan(freed)) = task(&graph, "a") else { panic!("no orphans") };
        assert_eq!(freed[0].uid, "b");
        assert_eq!(put(&mut graph, "b", &[], json!({})), ["a", "b"]);
        assert_eq!(task(&graph, "a"), Some(Task::Orphan(Vec::new())));
    }

    /// D28: who stays, who loses a reference, who goes and how.
    #[test]
    fn verdicts() {
        let two = json!([{"apiVersion": "v1", "kind": "K", "name": "a", "uid": "a"},
            {"apiVersion": "v1", "kind": "K", "name": "b", "uid": "b"}]);
        let say = |more: Value, a: Owner, b: Owner, dependents: Dependents| {
            let mut whole = json!({"ownerReferences": two});
            for (key, value) in more.as_object().unwrap() {
                whole[key] = value.clone();
            }
            verdict(&meta(whole), |one| if one.uid == "a" { a } else { b }, dependents)
        };
        use Owner::{Absent, Solid, Waiting};
        let delete = |propagation, unblock| Verdict::Delete { propagation, unblock };
        assert_eq!(say(json!({}), Solid, Solid, Dependents::None), Verdict::Keep);
        assert_eq!(say(json!({}), Solid, Absent, Dependents::None), Verdict::Disown(vec!["b".to_owned()]));
        assert_eq!(say(json!({}), Absent, Absent, Dependents::Some), delete("Background", false));
        assert_eq!(say(json!({}), Waiting, Absent, Dependents::None), delete("Background", false));
        assert_eq!(say(json!({}), Waiting, Absent, Dependents::Some), delete("Foreground", false));
        assert_eq!(say(json!({}), Waiting, Absent, Dependents::Waiting), delete("Foreground", true));
        assert_eq!(
            say(json!({"finalizers": [ORPHAN]}), Absent, Absent, Dependents::None),
            delete("Orphan", false)
        );
        assert_eq!(
            say(json!({"deletionTimestamp": DELETING}), Absent, Absent, Dependents::None),
            Verdict::Keep
        );
        assert_eq!(say(json!({"ownerReferences": []}), Absent, Absent, Dependents::None), Verdict::Keep);
    }
}
