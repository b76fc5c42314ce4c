//! What extends or guards the API itself.

use super::row::Row;

/// K1, the rows of `admissionregistration.k8s.io`.
pub(super) const ADMISSION: &[Row] = &[
    admission("MutatingAdmissionPolicy", "mutatingadmissionpolicies"),
    admission("MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings"),
    admission("MutatingWebhookConfiguration", "mutatingwebhookconfigurations"),
    admission("ValidatingAdmissionPolicy", "validatingadmissionpolicies").status(),
    admission("ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings"),
    admission("ValidatingWebhookConfiguration", "validatingwebhookconfigurations"),
];

const fn admission(kind: &'static str, plural: &'static str) -> Row {
    Row::cluster(kind, plural).in_api_extensions().generation().conditional_update_only()
}

/// K1, the rows of `apiextensions.k8s.io`.
pub(super) const CRD: &[Row] = &[Row::cluster("CustomResourceDefinition", "customresourcedefinitions")
    .short(&["crd", "crds"])
    .in_api_extensions()
    .status()
    .generation()
    .conditional_update_only()
    .storage("apiextensions.k8s.io/customresourcedefinitions")];

/// K1, the rows of `apiregistration.k8s.io`.
pub(super) const API_SERVICE: &[Row] = &[Row::cluster("APIService", "apiservices")
    .in_api_extensions()
    .status()
    .conditional_update_only()
    .storage("apiregistration.k8s.io/apiservices")];

/// K1, the rows of `flowcontrol.apiserver.k8s.io`.
pub(super) const FLOW: &[Row] = &[
    Row::cluster("FlowSchema", "flowschemas").status().generation(),
    Row::cluster("PriorityLevelConfiguration", "prioritylevelconfigurations").status().generation(),
];
