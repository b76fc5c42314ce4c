//! Making certificates with the cluster's authority.

use std::net::IpAddr;

use outrigger_api::WallTime;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

use super::ServingNames;

/// How long the authority and what it issues are valid.
const YEARS: i32 = 10;

/// What a certificate is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Usage {
    Server,
    Client,
}

/// The certificate authority. Its name and key never change, so issuing needs only the key.
pub(super) struct Authority {
    params: CertificateParams,
    key: KeyPair,
    now: WallTime,
}

impl Authority {
    pub(super) fn new(key: &str, now: WallTime) -> Result<Self, rcgen::Error> {
        let mut params = params(now);
        params.distinguished_name.push(DnType::CommonName, "kubernetes");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok(Self { params, key: KeyPair::from_pem(key)?, now })
    }

    pub(super) fn self_signed(&self) -> Result<String, rcgen::Error> {
        Ok(self.params.clone().self_signed(&self.key)?.pem())
    }

    pub(super) fn issue(
        &self,
        user: &str,
        groups: &[&str],
        names: &[SanType],
        usage: Usage,
        key: &str,
    ) -> Result<String, rcgen::Error> {
        let mut params = params(self.now);
        params.distinguished_name.push(DnType::CommonName, user);
        for group in groups {
            params.distinguished_name.push(DnType::OrganizationName, *group);
        }
        params.subject_alt_names = names.to_vec();
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match usage {
            Usage::Server => ExtendedKeyUsagePurpose::ServerAuth,
            Usage::Client => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        let issuer = Issuer::from_params(&self.params, &self.key);
        Ok(params.signed_by(&KeyPair::from_pem(key)?, &issuer)?.pem())
    }
}

/// A new P-256 key, PKCS#8 PEM.
pub(super) fn new_key() -> Result<String, rcgen::Error> {
    Ok(KeyPair::generate()?.serialize_pem())
}

/// Whether `key` is one we could have written.
pub(super) fn check_key(key: &str) -> Result<(), rcgen::Error> {
    KeyPair::from_pem(key).map(drop)
}

/// The names clients reach the server by: from the host, from Pods, and by the node's own name and addresses.
pub(super) fn subject_alt_names(names: &ServingNames<'_>) -> Vec<SanType> {
    let service = IpAddr::V4(names.service_range.address(1));
    let mut addresses = vec![IpAddr::from([127, 0, 0, 1]), service];
    addresses.extend(names.addresses.iter().filter(|address| !address.is_unspecified()));
    addresses.sort_unstable();
    addresses.dedup();
    let mut hosts = vec![
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    if !hosts.contains(&names.node) {
        hosts.push(names.node);
    }
    let hosts = hosts.into_iter().filter_map(|host| host.try_into().ok().map(SanType::DnsName));
    hosts.chain(addresses.into_iter().map(SanType::IpAddress)).collect()
}

/// The names a node's own API is reached by.
pub(super) fn node_alt_names(node: &str, addresses: &[IpAddr]) -> Vec<SanType> {
    let hosts = [node, "localhost"].into_iter().filter_map(|host| host.try_into().ok().map(SanType::DnsName));
    hosts.chain(addresses.iter().copied().map(SanType::IpAddress)).collect()
}

/// Whether a PEM certificate is valid for exactly these names.
pub(super) fn carries(certificate: &str, wanted: &[SanType]) -> bool {
    use x509_parser::extensions::GeneralName;
    let Ok((_, pem)) = x509_parser::pem::parse_x509_pem(certificate.as_bytes()) else { return false };
    let Ok(parsed) = pem.parse_x509() else { return false };
    let Ok(Some(found)) = parsed.subject_alternative_name() else { return false };
    let found = &found.value.general_names;
    let has = |name: &SanType| {
        found.iter().any(|present| match (present, name) {
            (GeneralName::DNSName(present), SanType::DnsName(name)) => *present == name.as_str(),
            (GeneralName::IPAddress(present), SanType::IpAddress(IpAddr::V4(ip))) => *present == ip.octets(),
            (GeneralName::IPAddress(present), SanType::IpAddress(IpAddr::V6(ip))) => *present == ip.octets(),
            _ => false,
        })
    };
    found.len() == wanted.len() && wanted.iter().all(has)
}

fn params(now: WallTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    // A day of slack: the clocks of two machines are never quite the same.
    let today = now.to_zoned(jiff::tz::TimeZone::UTC).date();
    let start = today.yesterday().unwrap_or(today);
    let year = i32::from(start.year());
    let (month, day) = (start.month().unsigned_abs(), start.day().unsigned_abs());
    params.not_before = rcgen::date_time_ymd(year, month, day);
    params.not_after = rcgen::date_time_ymd(year + YEARS, month, day.min(28));
    params
}
