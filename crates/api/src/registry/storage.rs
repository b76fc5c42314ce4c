//! Storage classes and CSI.

use super::row::Row;

/// K1, the rows of `storage.k8s.io`.
pub(super) const STORAGE: &[Row] = &[
    Row::cluster("CSIDriver", "csidrivers").conditional_update_only().returns_deleted(),
    Row::cluster("CSINode", "csinodes").conditional_update_only().returns_deleted(),
    Row::namespaced("CSIStorageCapacity", "csistoragecapacities").conditional_update_only(),
    Row::cluster("StorageClass", "storageclasses").short(&["sc"]).returns_deleted(),
    Row::cluster("VolumeAttachment", "volumeattachments")
        .status()
        .conditional_update_only()
        .returns_deleted(),
    Row::cluster("VolumeAttributesClass", "volumeattributesclasses").short(&["vac"]).returns_deleted(),
];
