//! A caller's name and groups, and how a client certificate becomes one (I5, I6).

use std::collections::BTreeMap;

use x509_parser::der_parser::{Oid, oid};
use x509_parser::prelude::{FromDer, X509Certificate};

/// A caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// `kubernetes-admin`, `system:serviceaccount:default:builder`.
    pub user: String,
    /// Stable over renames; empty if the authenticator knows none.
    pub uid: String,
    /// Groups in no particular order.
    pub groups: Vec<String>,
    /// What an authenticator adds, by key.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// The group that may do everything (I18).
pub(crate) const MASTERS: &str = "system:masters";
/// The attribute of a subject that carries a uid (I6).
const UID: Oid<'static> = oid!(1.3.6.1.4.1.57683.2);
const AUTHENTICATED: &str = "system:authenticated";

impl Identity {
    /// A component of this program, which may do everything: it runs with the server's own rights.
    pub fn component(user: &str) -> Self {
        let groups = vec![MASTERS.to_owned()];
        Self { user: user.to_owned(), groups, ..Self::default() }.authenticated()
    }

    /// Nobody in particular (I5).
    pub(crate) fn anonymous() -> Self {
        Self {
            user: "system:anonymous".to_owned(),
            groups: vec!["system:unauthenticated".to_owned()],
            ..Self::default()
        }
    }

    /// Adds the group every authenticated caller is in (I5).
    #[must_use]
    pub(crate) fn authenticated(mut self) -> Self {
        if !self.groups.iter().any(|group| group == AUTHENTICATED) {
            self.groups.push(AUTHENTICATED.to_owned());
        }
        self
    }

    /// Whether the caller is in a group.
    pub(crate) fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|member| member == group)
    }

    /// The identity in a certificate whose chain was verified; `None` without a common name (I6).
    pub(crate) fn of_certificate(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let subject = certificate.subject();
        let user = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
        let groups =
            subject.iter_organization().filter_map(|group| group.as_str().ok().map(str::to_owned)).collect();
        let uids = subject.iter_by_oid(&UID).filter_map(|uid| uid.as_str().ok());
        let uid = uids.last().unwrap_or_default().to_owned();
        (!user.is_empty()).then(|| Self { user, uid, groups, ..Self::default() }.authenticated())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ServiceRange;
    use crate::pki::{Pki, ServingNames};

    /// I5, I6
    #[test]
    fn a_certificates_subject_names_user_and_groups() {
        let dir = tempfile::tempdir().unwrap();
        let names = ServingNames { node: "n", addresses: vec![], service_range: ServiceRange::DEFAULT };
        let now = "2026-01-02T03:04:05Z".parse().unwrap();
        let pki = Pki::open(dir.path(), &names, now).unwrap();
        let (_, pem) = x509_parser::pem::parse_x509_pem(pki.admin.certificate.as_bytes()).unwrap();
        let admin = Identity::of_certificate(&pem.contents).unwrap();
        assert_eq!(admin.user, "kubernetes-admin");
        assert!(admin.is_in(MASTERS) && admin.is_in("system:authenticated"));
    }
}
