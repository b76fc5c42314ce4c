//! Sets of fields: the tree a manager owns (F5c).

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::step::Step;

/// The mark of an owned node that has owned nodes below it.
const SELF: &str = ".";

/// A set of paths from one value to values inside it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet(BTreeMap<Step, Branch>);

/// What a set says of one value: whether it is a member itself, and which values inside it are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Branch {
    /// The value itself is a member.
    pub owned: bool,
    /// The members inside it.
    pub below: FieldSet,
}

impl Branch {
    /// The value itself, and nothing inside it.
    pub const LEAF: Self = Self { owned: true, below: FieldSet::EMPTY };

    /// Whether nothing is a member.
    pub fn is_empty(&self) -> bool {
        !self.owned && self.below.is_empty()
    }
}

impl FieldSet {
    /// No field.
    pub const EMPTY: Self = Self(BTreeMap::new());

    /// Whether the set has no member.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The branches in order.
    pub fn branches(&self) -> impl Iterator<Item = (&Step, &Branch)> {
        self.0.iter()
    }

    /// What the set says of the value one step away.
    pub fn branch(&self, step: &Step) -> Option<&Branch> {
        self.0.get(step)
    }

    /// Joins a branch to what is there; an empty one leaves no trace.
    pub fn join(&mut self, step: Step, branch: Branch) {
        if branch.is_empty() {
            return;
        }
        let there = self.0.entry(step).or_default();
        there.owned |= branch.owned;
        there.below.extend(branch.below);
    }

    /// Makes the value at `path` a member.
    pub fn insert(&mut self, path: &[Step]) {
        let Some((first, rest)) = path.split_first() else { return };
        let branch = self.0.entry(first.clone()).or_default();
        if rest.is_empty() {
            branch.owned = true;
        } else {
            branch.below.insert(rest);
        }
    }

    /// Adds all members of `other`.
    pub fn extend(&mut self, other: Self) {
        if self.is_empty() {
            *self = other;
            return;
        }
        for (step, branch) in other.0 {
            self.join(step, branch);
        }
    }

    /// The members of both.
    pub fn intersection(&self, other: &Self) -> Self {
        self.filtered(|step, branch| {
            let theirs = other.0.get(step)?;
            Some(Branch {
                owned: branch.owned && theirs.owned,
                below: branch.below.intersection(&theirs.below),
            })
        })
    }

    /// The members that are not in `other`.
    pub fn difference(&self, other: &Self) -> Self {
        if other.is_empty() {
            return self.clone();
        }
        self.filtered(|step, branch| match other.0.get(step) {
            None => Some(branch.clone()),
            Some(theirs) => Some(Branch {
                owned: branch.owned && !theirs.owned,
                below: branch.below.difference(&theirs.below),
            }),
        })
    }

    /// The members that are neither in `other` nor inside one of its members.
    pub fn outside(&self, other: &Self) -> Self {
        self.filtered(|step, branch| match other.0.get(step) {
            None => Some(branch.clone()),
            Some(theirs) if theirs.owned => None,
            Some(theirs) => Some(Branch { owned: branch.owned, below: branch.below.outside(&theirs.below) }),
        })
    }

    /// The paths of all members with no member inside them, in order.
    pub fn leaves(&self) -> Vec<Vec<Step>> {
        let mut paths = Vec::new();
        self.collect_leaves(&mut Vec::new(), &mut paths);
        paths
    }

    fn collect_leaves(&self, path: &mut Vec<Step>, paths: &mut Vec<Vec<Step>>) {
        for (step, branch) in &self.0 {
            path.push(step.clone());
            if branch.below.is_empty() {
                paths.push(path.clone());
            } else {
                branch.below.collect_leaves(path, paths);
            }
            path.pop();
        }
    }

    fn filtered(&self, keep: impl Fn(&Step, &Branch) -> Option<Branch>) -> Self {
        let kept = self.0.iter().filter_map(|(step, branch)| {
            let branch = keep(step, branch)?;
            (!branch.is_empty()).then(|| (step.clone(), branch))
        });
        Self(kept.collect())
    }

    /// The set as `fieldsV1`.
    pub fn encode(&self) -> Value {
        Value::Object(self.encode_members().collect())
    }

    fn encode_members(&self) -> impl Iterator<Item = (String, Value)> {
        self.0.iter().map(|(step, branch)| {
            let mut members: Map<String, Value> = branch.below.encode_members().collect();
            if branch.owned && !members.is_empty() {
                members.insert(SELF.to_owned(), Value::Object(Map::new()));
            }
            (step.encode(), Value::Object(members))
        })
    }

    /// Reads `fieldsV1`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(value: &Value) -> Result<Self, String> {
        let Value::Object(members) = value else { return Err(format!("not an object: {value}")) };
        let mut set = Self::default();
        for (text, inside) in members {
            if text == SELF {
                continue;
            }
            let Some(step) = Step::decode(text)? else { continue };
            let below = Self::decode(inside)?;
            let owned = below.is_empty() || inside.get(SELF).is_some();
            set.join(step, Branch { owned, below });
        }
        Ok(set)
    }
}
