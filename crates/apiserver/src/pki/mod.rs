//! The cluster's own certificate authority and keys, kept under `<data-dir>/pki` and made once.
//!
//! Files: `ca.crt`/`ca.key`, `apiserver.crt`/`apiserver.key`, `admin.crt`/`admin.key`, `sa.key` (PKCS#8, ES256).
//! Keys are readable by their owner only. The serving certificate is made anew when the names it must carry change;
//! everything else is reused, so kubeconfigs stay valid over restarts. Nothing here rotates keys.

mod certificates;
pub mod kubeconfig;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use outrigger_api::WallTime;

use crate::StartError;
use crate::config::ServiceRange;
use certificates::{Authority, Usage};

/// A certificate and its key, both PEM.
#[derive(Clone)]
pub struct CertificatePair {
    /// The certificate.
    pub certificate: String,
    /// The private key, PKCS#8.
    pub key: String,
}

impl std::fmt::Debug for CertificatePair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CertificatePair").finish_non_exhaustive()
    }
}

/// The cluster's keys.
#[derive(Clone, Debug)]
pub struct Pki {
    /// The authority's certificate; its key stays in [`Pki::issue`].
    pub ca: CertificatePair,
    /// What the server shows.
    pub serving: CertificatePair,
    /// `kubernetes-admin` in group `system:masters`.
    pub admin: CertificatePair,
    /// Signs service account tokens (I11).
    pub service_account_key: String,
}

/// What the serving certificate must be valid for.
#[derive(Clone, Debug)]
pub struct ServingNames<'a> {
    /// The node's name.
    pub node: &'a str,
    /// Addresses beyond loopback and the service address.
    pub addresses: Vec<IpAddr>,
    /// Its first usable address is the `kubernetes` Service.
    pub service_range: ServiceRange,
}

impl Pki {
    /// Reads `<data_dir>/pki`, making whatever is missing.
    ///
    /// # Errors
    /// If a file cannot be read, written or parsed. Existing files are never overwritten, except a serving
    /// certificate whose names no longer fit.
    pub fn open(data_dir: &Path, names: &ServingNames<'_>, now: WallTime) -> Result<Self, StartError> {
        let dir = Dir::create(data_dir.join("pki"))?;
        let ca_key = dir.key("ca.key")?;
        let authority = Authority::new(&ca_key, now).map_err(StartError::Certificate)?;
        let ca_certificate = dir.text_or("ca.crt", || authority.self_signed())?;
        let wanted = certificates::subject_alt_names(names);
        let serving = dir.pair(
            "apiserver",
            |certificate| certificates::carries(certificate, &wanted),
            |key| authority.issue("kube-apiserver", &[], &wanted, Usage::Server, key),
        )?;
        let admin = dir.pair(
            "admin",
            |_| true,
            |key| authority.issue("kubernetes-admin", &["system:masters"], &[], Usage::Client, key),
        )?;
        let service_account_key = dir.key("sa.key")?;
        let ca = CertificatePair { certificate: ca_certificate, key: ca_key };
        Ok(Self { ca, serving, admin, service_account_key })
    }

    /// A fresh client certificate for a component outside this process, valid for ten years.
    ///
    /// # Errors
    /// If the authority's key does not sign.
    pub fn issue(&self, user: &str, groups: &[&str], now: WallTime) -> Result<CertificatePair, StartError> {
        let authority = Authority::new(&self.ca.key, now).map_err(StartError::Certificate)?;
        let key = certificates::new_key().map_err(StartError::Certificate)?;
        let certificate =
            authority.issue(user, groups, &[], Usage::Client, &key).map_err(StartError::Certificate)?;
        Ok(CertificatePair { certificate, key })
    }

    /// A fresh serving certificate for a kubelet, valid for ten years, carrying its node's name and addresses.
    ///
    /// # Errors
    /// If the authority's key does not sign.
    pub fn issue_serving(
        &self,
        user: &str,
        node: &str,
        addresses: &[IpAddr],
        now: WallTime,
    ) -> Result<CertificatePair, StartError> {
        let authority = Authority::new(&self.ca.key, now).map_err(StartError::Certificate)?;
        let key = certificates::new_key().map_err(StartError::Certificate)?;
        let names = certificates::node_alt_names(node, addresses);
        let issued = authority.issue(user, &["system:nodes"], &names, Usage::Server, &key);
        Ok(CertificatePair { certificate: issued.map_err(StartError::Certificate)?, key })
    }
}

/// The directory `pki/`.
struct Dir(PathBuf);

impl Dir {
    fn create(path: PathBuf) -> Result<Self, StartError> {
        use std::os::unix::fs::DirBuilderExt;
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.map_err(|source| StartError::File { path: path.clone(), source })?;
        Ok(Self(path))
    }

    fn key(&self, name: &str) -> Result<String, StartError> {
        let key = self.text_or(name, certificates::new_key)?;
        certificates::check_key(&key)
            .map_err(|error| StartError::BadFile { path: self.0.join(name), cause: error.to_string() })?;
        Ok(key)
    }

    fn pair(
        &self,
        name: &str,
        fits: impl FnOnce(&str) -> bool,
        make: impl Fn(&str) -> Result<String, rcgen::Error>,
    ) -> Result<CertificatePair, StartError> {
        let key = self.key(&format!("{name}.key"))?;
        let file = format!("{name}.crt");
        let mut certificate = self.text_or(&file, || make(&key))?;
        if !fits(&certificate) {
            certificate = make(&key).map_err(StartError::Certificate)?;
            self.write(&file, &certificate)?;
        }
        Ok(CertificatePair { certificate, key })
    }

    fn text_or(
        &self,
        name: &str,
        make: impl FnOnce() -> Result<String, rcgen::Error>,
    ) -> Result<String, StartError> {
        let path = self.0.join(name);
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let text = make().map_err(StartError::Certificate)?;
                self.write(name, &text)?;
                Ok(text)
            }
            Err(source) => Err(StartError::File { path, source }),
        }
    }

    /// Writes beside the target and renames, so that a crash leaves the old file or the new, never half of one.
    fn write(&self, name: &str, text: &str) -> Result<(), StartError> {
        use std::io::Write;
        use std::os::unix::fs::OpenOptionsExt;
        let path = self.0.join(name);
        let temporary = self.0.join(format!(".{name}.new"));
        let write = || -> std::io::Result<()> {
            let mut file = std::fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&temporary)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&temporary, &path)
        };
        write().map_err(|source| StartError::File { path: path.clone(), source })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn open(dir: &Path, node: &str) -> Pki {
        let names = ServingNames { node, addresses: vec![], service_range: ServiceRange::DEFAULT };
        Pki::open(dir, &names, "2026-01-02T03:04:05Z".parse().unwrap()).unwrap()
    }

    #[test]
    fn a_second_start_reuses_every_key_and_certificate() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (open(dir.path(), "n"), open(dir.path(), "n"));
        assert_eq!(first.ca.certificate, second.ca.certificate);
        assert_eq!(first.serving.certificate, second.serving.certificate);
        assert_eq!(first.admin.key, second.admin.key);
        assert_eq!(first.service_account_key, second.service_account_key);
    }

    #[test]
    fn a_new_node_name_changes_only_the_serving_certificate() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (open(dir.path(), "n"), open(dir.path(), "m"));
        assert_eq!(first.ca.certificate, second.ca.certificate);
        assert_ne!(first.serving.certificate, second.serving.certificate);
    }

    #[test]
    fn keys_are_readable_by_their_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path(), "n");
        for file in std::fs::read_dir(dir.path().join("pki")).unwrap() {
            assert_eq!(file.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn a_damaged_key_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path(), "n");
        std::fs::write(dir.path().join("pki/sa.key"), "not a key").unwrap();
        let names = ServingNames { node: "n", addresses: vec![], service_range: ServiceRange::DEFAULT };
        let error = Pki::open(dir.path(), &names, WallTime::UNIX_EPOCH).unwrap_err();
        assert!(error.to_string().contains("sa.key"), "{error}");
    }
}
