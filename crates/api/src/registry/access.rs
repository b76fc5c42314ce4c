//! Who may do what: authentication, authorization, RBAC and certificates.

use super::row::{Row, Sub};
use crate::kind::NameRule;

/// K1, the rows of `rbac.authorization.k8s.io`.
pub(super) const RBAC: &[Row] = &[
    Row::cluster("ClusterRoleBinding", "clusterrolebindings").create_on_update().named(NameRule::PathSegment),
    Row::cluster("ClusterRole", "clusterroles").create_on_update().named(NameRule::PathSegment),
    Row::namespaced("RoleBinding", "rolebindings").create_on_update().named(NameRule::PathSegment),
    Row::namespaced("Role", "roles").create_on_update().named(NameRule::PathSegment),
];

/// K1, the rows of `certificates.k8s.io`.
pub(super) const CERTIFICATES: &[Row] =
    &[Row::cluster("CertificateSigningRequest", "certificatesigningrequests")
        .short(&["csr"])
        .subresources(&[Sub::of_parent("approval", &["get", "patch", "update"])])
        .status()
        .fields(&["spec.signerName"])];

/// K1, the rows of `authentication.k8s.io`.
pub(super) const AUTHENTICATION: &[Row] = &[
    Row::cluster("SelfSubjectReview", "selfsubjectreviews").review(),
    Row::cluster("TokenReview", "tokenreviews").review(),
];

/// K1, the rows of `authorization.k8s.io`.
pub(super) const AUTHORIZATION: &[Row] = &[
    Row::namespaced("LocalSubjectAccessReview", "localsubjectaccessreviews").review(),
    Row::cluster("SelfSubjectAccessReview", "selfsubjectaccessreviews").review(),
    Row::cluster("SelfSubjectRulesReview", "selfsubjectrulesreviews").review(),
    Row::cluster("SubjectAccessReview", "subjectaccessreviews").review(),
];
