//! Which objects are a controller's own (N1): those it controls, and orphans its selector matches. What it controls
//! but no longer selects is let go.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use outrigger_api::selector::LabelSelector;

use crate::pods;
use crate::selector;

/// What to do about one object that might be a controller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is the controller's own.
    Own,
    /// It becomes the controller's own.
    Adopt,
    /// It stops being the controller's own.
    Release,
    /// None of the controller's business.
    Foreign,
}

/// Decides about one object. `owner` is the controller's metadata. A controller that is being deleted adopts and
/// releases nothing.
pub fn claim(owner: &ObjectMeta, selector: Option<&LabelSelector>, object: &ObjectMeta) -> Claim {
    let selected = selector.is_some_and(|selector| selector::selects(selector, object));
    let settled = owner.deletion_timestamp.is_some() || object.deletion_timestamp.is_some();
    match pods::controller_of(object) {
        Some(controller) if Some(&controller.uid) != owner.uid.as_ref() => Claim::Foreign,
        Some(_) if selected => Claim::Own,
        // On its way out it is still counted by nobody else.
        Some(_) if settled => Claim::Foreign,
        Some(_) => Claim::Release,
        None if selected && !settled => Claim::Adopt,
        None => Claim::Foreign,
    }
}

/// The reference that makes an object a controller's own.
pub fn reference(api_version: &str, kind: &str, owner: &ObjectMeta) -> OwnerReference {
    OwnerReference {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        name: owner.name.clone().unwrap_or_default(),
        uid: owner.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn meta(value: Value) -> ObjectMeta {
        serde_json::from_value(value).unwrap()
    }

    /// N1.
    #[test]
    fn orphans_are_adopted_and_strangers_let_go() {
        let labels = std::collections::BTreeMap::from([("app".to_owned(), "web".to_owned())]);
        let web = selector::of_labels(&labels);
        let owner = meta(json!({"uid": "me"}));
        let owned = |by: &str, app: &str| {
            meta(json!({"labels": {"app": app}, "ownerReferences":
                [{"apiVersion": "v1", "kind": "K", "name": "n", "uid": by, "controller": true}]}))
        };
        let orphan = |app: &str| meta(json!({"labels": {"app": app}}));
        let said = |object: &ObjectMeta| claim(&owner, Some(&web), object);
        assert_eq!(said(&owned("me", "web")), Claim::Own);
        assert_eq!(said(&owned("me", "db")), Claim::Release);
        assert_eq!(said(&owned("other", "web")), Claim::Foreign);
        assert_eq!(said(&orphan("web")), Claim::Adopt);
        assert_eq!(said(&orphan("db")), Claim::Foreign);
        let mut leaving = orphan("web");
        leaving.deletion_timestamp =
            meta(json!({"deletionTimestamp": "2026-01-01T00:00:00Z"})).deletion_timestamp;
        assert_eq!(said(&leaving), Claim::Foreign);
        let mut dying = owner.clone();
        dying.deletion_timestamp = leaving.deletion_timestamp;
        assert_eq!(claim(&dying, Some(&web), &orphan("web")), Claim::Foreign);
        assert_eq!(claim(&dying, Some(&web), &owned("me", "web")), Claim::Own);
    }
}
