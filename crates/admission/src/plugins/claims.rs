//! PersistentVolumeClaimResize: whether a claim's volume can grow (I46).

use outrigger_api::{Object, Quantity, StatusError};

use super::Lookup;

/// Refuses growth of a bound claim whose class does not know how.
pub(super) fn may_grow(new: &Object, old: &Object, lookup: &dyn Lookup) -> Result<(), StatusError> {
    let size = |claim: &Object| {
        claim
            .at(&["spec", "resources", "requests", "storage"])
            .and_then(Quantity::from_json)
            .unwrap_or_default()
    };
    if size(new) <= size(old) || old.str_at(&["status", "phase"]) != "Bound" {
        return Ok(());
    }
    let class = lookup.storage_class(old.str_at(&["spec", "storageClassName"]));
    let can = class.is_some_and(|class| class.at(&["allowVolumeExpansion"]) == Some(&true.into()));
    if can {
        return Ok(());
    }
    let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must \
               support resize";
    Err(StatusError::forbidden("persistentvolumeclaims", "", new.name(), why))
}
