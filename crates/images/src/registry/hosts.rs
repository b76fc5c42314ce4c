//! Which endpoints stand for a registry: the `certs.d` folder in containerd's form.
//!
//! `certs.d/<host>/hosts.toml` (or `certs.d/<host>_<port>_/`, or `certs.d/_default/`) lists mirrors in the order they
//! are asked; the registry itself comes last. Files are read for every pull, so a change needs no restart. A file
//! that cannot be read is an error, never ignored: going around a mirror is a decision of the administrator's.

use std::io;
use std::path::{Path, PathBuf};

use super::toml::{self, SyntaxError, Table, Value};

/// Where mirror files are, and which certificate authorities are trusted without them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistryConfig {
    /// Folders like `/etc/containerd/certs.d`, the first that knows a registry wins. Default none.
    pub certs_dirs: Vec<PathBuf>,
    /// A PEM bundle instead of the system's. Default the system's.
    pub ca_bundle: Option<PathBuf>,
}

/// One endpoint that may be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// `https://registry-1.docker.io/v2`, without a slash at the end.
    pub base: String,
    /// Host and port, for messages and credentials.
    pub authority: String,
    /// May fetch by digest.
    pub pull: bool,
    /// May say what a tag stands for.
    pub resolve: bool,
    /// Take any certificate.
    pub skip_verify: bool,
    /// More certificate authorities, PEM.
    pub ca: Vec<PathBuf>,
    /// Client certificate and key, PEM; the key may be in the first file.
    pub client: Option<(PathBuf, PathBuf)>,
    /// Sent with every request.
    pub headers: Vec<(String, String)>,
    /// The registry a mirror stands in for; `None` for the registry itself.
    pub mirror_of: Option<String>,
}

impl Host {
    /// Whether requests travel unencrypted.
    pub fn is_plain(&self) -> bool {
        self.base.starts_with("http://")
    }
}

/// A mirror file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HostsError {
    /// Not readable.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not TOML, or more TOML than is understood.
    #[error("{path}: {detail}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and what.
        detail: String,
    },
    /// A key with a value that means nothing.
    #[error("{path}: {key} {problem}")]
    Value {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Certificates or keys that cannot be used.
    #[error("{path}: {detail}")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
}

impl RegistryConfig {
    /// The endpoints for `registry` (`docker.io`, `127.0.0.1:5000`), in the order to ask them; never empty.
    pub fn hosts_for(&self, registry: &str) -> Result<Vec<Host>, HostsError> {
        for dir in self.certs_dirs.iter().flat_map(|certs| candidates(certs, registry)) {
            if !dir.is_dir() {
                continue;
            }
            let file = dir.join("hosts.toml");
            return match std::fs::read_to_string(&file) {
                Ok(text) => File { path: &file, registry }.hosts(&text),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let mut own = upstream(registry);
                    own.ca = loose_certificates(&dir)?;
                    Ok(vec![own])
                }
                Err(source) => Err(HostsError::Read { path: file, source }),
            };
        }
        Ok(vec![upstream(registry)])
    }
}

fn candidates(certs: &Path, registry: &str) -> Vec<PathBuf> {
    let mut names = Vec::new();
    if let Some((host, port)) = registry.rsplit_once(':') {
        names.push(format!("{host}_{port}_"));
    }
    names.push(registry.to_owned());
    names.push("_default".to_owned());
    // A registry's name has no slash, so it stays inside the folder; ".." is no host name either.
    names.iter().map(|name| certs.join(name)).collect()
}

/// Certificates beside no `hosts.toml`, as the Docker engine reads them.
fn loose_certificates(dir: &Path) -> Result<Vec<PathBuf>, HostsError> {
    let failed = |source| HostsError::Read { path: dir.to_path_buf(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|e| e == "crt") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The registry itself, without any file. Loopback registries are plain HTTP, as everywhere.
fn upstream(registry: &str) -> Host {
    let scheme = if is_loopback(registry) { "http" } else { "https" };
    let address = if registry == "docker.io" { "registry-1.docker.io" } else { registry };
    Host {
        base: format!("{scheme}://{address}/v2"),
        authority: address.to_owned(),
        pull: true,
        resolve: true,
        skip_verify: false,
        ca: Vec::new(),
        client: None,
        headers: Vec::new(),
        mirror_of: None,
    }
}

pub(crate) fn is_loopback(authority: &str) -> bool {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// A mirror file being read for one registry.
struct File<'a> {
    path: &'a Path,
    registry: &'a str,
}

impl File<'_> {
    fn hosts(&self, text: &str) -> Result<Vec<Host>, HostsError> {
        let table = toml::parse(text).map_err(|error: SyntaxError| HostsError::Syntax {
            path: self.path.to_path_buf(),
            detail: error.to_string(),
        })?;
        let mut hosts = Vec::new();
        match table.get("host") {
            None => {}
            Some(Value::Table(all)) => {
                for (url, options) in all.iter() {
                    let Value::Table(options) = options else {
                        return Err(self.wrong(url, "must be a table"));
                    };
                    let mut host = self.endpoint(url, options)?;
                    host.mirror_of = Some(self.registry.to_owned());
                    hosts.push(host);
                }
            }
            Some(_) => return Err(self.wrong("host", "must be a table")),
        }
        let own = match self.string(&table, "server")? {
            Some(url) => {
                let mut own = self.endpoint(&url, &table)?;
                let same = own.authority == upstream(self.registry).authority;
                own.mirror_of = (!same).then(|| self.registry.to_owned());
                own
            }
            None => self.apply(upstream(self.registry), &table)?,
        };
        // The registry may be listed as a host of its own, to set its options.
        if !hosts.iter().any(|host| host.base == own.base) {
            hosts.push(own);
        }
        Ok(hosts)
    }

    fn endpoint(&self, url: &str, options: &Table) -> Result<Host, HostsError> {
        let (scheme, rest) = match url.split_once("://") {
            Some((scheme @ ("http" | "https"), rest)) => (scheme, rest),
            Some(_) => return Err(self.wrong(url, "must be an http or https address")),
            None if is_loopback(url.split('/').next().unwrap_or(url)) => ("http", url),
            None => ("https", url),
        };
        let rest = rest.trim_end_matches('/');
        let (authority, path) = rest.split_once('/').map_or((rest, ""), |(a, p)| (a, p));
        if authority.is_empty()
            || authority.contains('@')
            || authority.parse::<http::uri::Authority>().is_err()
        {
            return Err(self.wrong(url, "must name a host"));
        }
        let mut base = format!("{scheme}://{authority}");
        if !path.is_empty() {
            base = format!("{base}/{path}");
        }
        if !self.flag(options, "override_path")? && !base.ends_with("/v2") {
            base.push_str("/v2");
        }
        self.apply(Host { base, authority: authority.to_owned(), ..upstream(authority) }, options)
    }

    fn apply(&self, mut host: Host, options: &Table) -> Result<Host, HostsError> {
        if let Some(capabilities) = self.strings(options, "capabilities")? {
            host.pull = capabilities.iter().any(|c| c == "pull");
            host.resolve = capabilities.iter().any(|c| c == "resolve");
        }
        host.skip_verify = self.flag(options, "skip_verify")?;
        host.ca = self.strings(options, "ca")?.unwrap_or_default().iter().map(|p| self.beside(p)).collect();
        host.client = self.client(options)?;
        if let Some(Value::Table(headers)) = options.get("header") {
            for (name, _) in headers.iter() {
                for value in self.strings(headers, name)?.unwrap_or_default() {
                    host.headers.push((name.to_ascii_lowercase(), value));
                }
            }
        }
        Ok(host)
    }

    /// `client = "both.pem"` or `client = ["cert", "key"]` or `client = [["cert", "key"]]`; the first pair counts.
    fn client(&self, options: &Table) -> Result<Option<(PathBuf, PathBuf)>, HostsError> {
        let wrong = || self.wrong("client", "must be a file or a pair of files");
        let pair = |values: &[Value]| match values {
            [Value::String(cert), Value::String(key)] => Ok((self.beside(cert), self.beside(key))),
            [Value::String(both)] => Ok((self.beside(both), self.beside(both))),
            _ => Err(wrong()),
        };
        match options.get("client") {
            None => Ok(None),
            Some(Value::String(both)) => Ok(Some((self.beside(both), self.beside(both)))),
            Some(Value::Array(values)) => match values.as_slice() {
                [] => Ok(None),
                [Value::Array(first), ..] => pair(first).map(Some),
                flat => pair(flat).map(Some),
            },
            Some(_) => Err(wrong()),
        }
    }

    fn beside(&self, path: &str) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("/")).join(path)
    }

    fn string(&self, table: &Table, key: &str) -> Result<Option<String>, HostsError> {
        match table.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(self.wrong(key, "must be a string")),
        }
    }

    fn flag(&self, table: &Table, key: &str) -> Result<bool, HostsError> {
        match table.get(key) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(self.wrong(key, "must be true or false")),
        }
    }

    fn strings(&self, table: &Table, key: &str) -> Result<Option<Vec<String>>, HostsError> {
        let wrong = || self.wrong(key, "must be a string or a list of strings");
        match table.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(vec![text.clone()])),
            Some(Value::Array(values)) => {
                let text = |value: &Value| match value {
                    Value::String(text) => Ok(text.clone()),
                    _ => Err(wrong()),
                };
                values.iter().map(text).collect::<Result<_, _>>().map(Some)
            }
            Some(_) => Err(wrong()),
        }
    }

    fn wrong(&self, key: &str, problem: &'static str) -> HostsError {
        HostsError::Value { path: self.path.to_path_buf(), key: format!("\"{key}\""), problem }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(files: &[(&str, &str)]) -> (tempfile::TempDir, RegistryConfig) {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::create_dir_all(dir.path().join(name)).unwrap();
            std::fs::write(dir.path().join(name).join("hosts.toml"), text).unwrap();
        }
        let config = RegistryConfig { certs_dirs: vec![dir.path().to_path_buf()], ca_bundle: None };
        (dir, config)
    }

    fn bases(config: &RegistryConfig, registry: &str) -> Vec<String> {
        config.hosts_for(registry).unwrap().into_iter().map(|h| h.base).collect()
    }

    #[test]
    fn without_files_the_registry_itself_is_asked() {
        let config = RegistryConfig::default();
        assert_eq!(bases(&config, "docker.io"), ["https://registry-1.docker.io/v2"]);
        assert_eq!(bases(&config, "quay.io:8443"), ["https://quay.io:8443/v2"]);
        for local in ["localhost:5000", "127.0.0.1:5000", "[::1]:5000", "localhost"] {
            assert_eq!(bases(&config, local), [format!("http://{local}/v2")]);
        }
        assert_eq!(bases(&config, "localhost.example"), ["https://localhost.example/v2"]);
    }

    #[test]
    fn mirrors_come_first_and_the_default_file_is_for_the_rest() {
        let (_dir, config) = config(&[
            (
                "docker.io",
                "[host.\"http://m.example:5000\"]\ncapabilities=[\"pull\"]\n[host.\"https://n.example/sub\"]\n",
            ),
            ("_default", "server = \"http://all.example/x\"\noverride_path = true\n"),
            ("r.example_5000_", "[host.\"https://p.example\"]\n"),
        ]);
        let hosts = config.hosts_for("docker.io").unwrap();
        assert_eq!(
            hosts.iter().map(|h| h.base.as_str()).collect::<Vec<_>>(),
            ["http://m.example:5000/v2", "https://n.example/sub/v2", "https://registry-1.docker.io/v2"],
        );
        assert_eq!((hosts[0].pull, hosts[0].resolve), (true, false));
        assert_eq!(hosts[0].mirror_of.as_deref(), Some("docker.io"));
        assert_eq!(hosts[2].mirror_of, None);
        assert_eq!(bases(&config, "quay.io"), ["http://all.example/x"]);
        assert_eq!(bases(&config, "r.example:5000"), ["https://p.example/v2", "https://r.example:5000/v2"]);
    }

    #[test]
    fn options_are_read_and_nonsense_is_refused() {
        let (dir, good) = config(&[(
            "a.example",
            "ca = \"ca.pem\"\n[host.\"https://b.example\"]\nskip_verify = true\nclient = [[\"c.pem\", \"/k.pem\"]]\n\
             [host.\"https://b.example\".header]\nX-Team = \"blue\"\n",
        )]);
        let hosts = good.hosts_for("a.example").unwrap();
        assert!(hosts[0].skip_verify);
        assert_eq!(hosts[0].client, Some((dir.path().join("a.example/c.pem"), PathBuf::from("/k.pem"))));
        assert_eq!(hosts[0].headers, [("x-team".to_owned(), "blue".to_owned())]);
        assert_eq!(hosts[1].ca, [dir.path().join("a.example/ca.pem")]);
        for bad in [
            "server = 1",
            "[host.\"ftp://x\"]\n",
            "[host.\"https://x\"]\nskip_verify = \"yes\"",
            "server = \"x",
        ] {
            let (_dir, config) = config(&[("a.example", bad)]);
            config.hosts_for("a.example").unwrap_err();
        }
    }
}
