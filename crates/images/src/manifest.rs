//! Manifests, indexes and configs: the JSON that describes an image, in OCI's and Docker's dialect.
//!
//! Only what this crate uses is read; unknown fields are left alone. Nothing here fetches anything.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::ImageConfig;

/// What a registry is asked for.
pub(crate) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, */*;q=0.1";

/// A pointer to a blob.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) digest: String,
    pub(crate) size: u64,
    #[serde(default)]
    pub(crate) platform: Option<Platform>,
    #[serde(default)]
    pub(crate) annotations: BTreeMap<String, String>,
}

/// Whom a manifest is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Platform {
    pub(crate) os: String,
    pub(crate) architecture: String,
    pub(crate) variant: String,
}

impl Platform {
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{}/{}", self.os, self.architecture);
        if !self.variant.is_empty() {
            text = format!("{text}/{}", self.variant);
        }
        text
    }
}

/// One image for one platform.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
}

/// Manifests for several platforms.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Index {
    pub(crate) manifests: Vec<Descriptor>,
}

/// Either.
#[derive(Clone, Debug)]
pub(crate) enum Document {
    Manifest(Manifest),
    Index(Index),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Probe {
    #[serde(default)]
    schema_version: u64,
    config: Option<serde::de::IgnoredAny>,
    manifests: Option<serde::de::IgnoredAny>,
}

/// Reads a manifest or index; the error says in one line what is wrong with it.
pub(crate) fn parse(bytes: &[u8]) -> Result<Document, String> {
    let probe: Probe = serde_json::from_slice(bytes).map_err(|e| format!("the manifest is not JSON: {e}"))?;
    if probe.schema_version == 1 {
        return Err("the manifest has schema version 1, which is no longer supported".to_owned());
    }
    let document = match (probe.config.is_some(), probe.manifests.is_some()) {
        // A document that can be read both ways would mean different things to different readers.
        (true, true) => return Err("the manifest is an index as well".to_owned()),
        (false, true) => serde_json::from_slice(bytes).map(Document::Index),
        _ => serde_json::from_slice(bytes).map(Document::Manifest),
    };
    let document = document.map_err(|e| format!("the manifest cannot be read: {e}"))?;
    check(&document)?;
    Ok(document)
}

fn check(document: &Document) -> Result<(), String> {
    let all: Vec<&Descriptor> = match document {
        Document::Index(index) => index.manifests.iter().collect(),
        Document::Manifest(manifest) => std::iter::once(&manifest.config).chain(&manifest.layers).collect(),
    };
    if all.len() > MAX_DESCRIPTORS {
        return Err(format!("the manifest lists more than {MAX_DESCRIPTORS} blobs"));
    }
    match all.iter().find(|d| digest_hex(&d.digest).is_none()) {
        Some(bad) => Err(format!("the manifest names the digest \"{}\", which is not sha256", bad.digest)),
        None => Ok(()),
    }
}

impl Index {
    /// The manifest for `linux/<architecture>`. Of several variants the plain one wins, then the highest this
    /// machine is sure to run.
    pub(crate) fn pick(&self, architecture: &str) -> Option<&Descriptor> {
        let rank = |descriptor: &&Descriptor| {
            let platform = descriptor.platform.as_ref()?;
            if platform.os != "linux" || platform.architecture != architecture {
                return None;
            }
            match (architecture, platform.variant.as_str()) {
                (_, "") | ("arm64", "v8") | ("amd64", "v1") => Some(3),
                ("arm", "v7") => Some(2),
                ("arm", _) => Some(1),
                _ => None,
            }
        };
        let mut best: Option<(&Descriptor, u8)> = None;
        for descriptor in &self.manifests {
            if let Some(rank) = rank(&descriptor)
                && best.is_none_or(|(_, so_far)| rank > so_far)
            {
                best = Some((descriptor, rank));
            }
        }
        best.map(|(descriptor, _)| descriptor).or_else(|| self.only_one())
    }

    /// An index of one manifest that does not say for whom it is: its config will.
    fn only_one(&self) -> Option<&Descriptor> {
        match self.manifests.as_slice() {
            [one] if one.platform.is_none() => Some(one),
            _ => None,
        }
    }

    /// The platforms in it, for the message that none fits.
    pub(crate) fn offered(&self) -> String {
        let texts: Vec<String> =
            self.manifests.iter().filter_map(|m| m.platform.as_ref()).map(Platform::text).collect();
        texts.join(", ")
    }
}

/// The config blob.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ConfigFile {
    pub(crate) architecture: String,
    pub(crate) os: String,
    pub(crate) variant: String,
    config: Option<RawConfig>,
    pub(crate) rootfs: RootFs,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RootFs {
    /// Digests of the uncompressed layers, lowest first.
    pub(crate) diff_ids: Vec<String>,
}

/// Docker writes `null` for what is empty.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct RawConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    env: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entrypoint: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cmd: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    working_dir: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_signal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exposed_ports: Option<BTreeMap<String, serde_json::Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    volumes: Option<BTreeMap<String, serde_json::Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<BTreeMap<String, String>>,
}

impl ConfigFile {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let file: Self =
            serde_json::from_slice(bytes).map_err(|e| format!("the image config cannot be read: {e}"))?;
        match file.rootfs.diff_ids.iter().find(|id| digest_hex(id).is_none()) {
            Some(bad) => Err(format!("the image config names the layer \"{bad}\", which is not sha256")),
            None => Ok(file),
        }
    }

    /// Whether it is for this machine; a config that does not say is.
    pub(crate) fn fits(&self, architecture: &str) -> bool {
        matches!(self.os.as_str(), "" | "linux")
            && (self.architecture.is_empty() || self.architecture == architecture)
    }

    pub(crate) fn platform(&self) -> Platform {
        Platform {
            os: self.os.clone(),
            architecture: self.architecture.clone(),
            variant: self.variant.clone(),
        }
    }

    pub(crate) fn defaults(&self) -> ImageConfig {
        let raw = self.config.clone().unwrap_or_default();
        let variable = |text: String| match text.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => (text, String::new()),
        };
        ImageConfig {
            env: raw.env.unwrap_or_default().into_iter().map(variable).collect(),
            entrypoint: raw.entrypoint.unwrap_or_default(),
            cmd: raw.cmd.unwrap_or_default(),
            working_dir: raw.working_dir.unwrap_or_default(),
            user: raw.user.unwrap_or_default(),
            stop_signal: raw.stop_signal.filter(|s| !s.is_empty()),
            exposed_ports: raw.exposed_ports.unwrap_or_default().into_keys().collect(),
            volumes: raw.volumes.unwrap_or_default().into_keys().collect(),
            labels: raw.labels.unwrap_or_default(),
        }
    }
}

/// The config blob for an image made here.
pub(crate) fn write_config(architecture: &str, config: &ImageConfig, diff_ids: &[String]) -> Vec<u8> {
    let some = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let keys = |list: &[String]| {
        (!list.is_empty()).then(|| list.iter().map(|key| (key.clone(), serde_json::json!({}))).collect())
    };
    let env: Vec<String> = config.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let raw = RawConfig {
        env: some(&env),
        entrypoint: some(&config.entrypoint),
        cmd: some(&config.cmd),
        working_dir: text(&config.working_dir),
        user: text(&config.user),
        stop_signal: config.stop_signal.clone(),
        exposed_ports: keys(&config.exposed_ports),
        volumes: keys(&config.volumes),
        labels: (!config.labels.is_empty()).then(|| config.labels.clone()),
    };
    let file = serde_json::json!({
        "architecture": architecture,
        "os": "linux",
        "config": raw,
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    file.to_string().into_bytes()
}

/// Whether the blob is a layer of files at all, by its media type. The compression is seen in its first bytes.
pub(crate) fn is_layer(media_type: &str) -> bool {
    if media_type.ends_with("+encrypted") {
        return false;
    }
    media_type.is_empty()
        || media_type.starts_with("application/vnd.oci.image.layer.")
        || media_type.starts_with("application/vnd.docker.image.rootfs.")
}

/// The hex digits of a sha256 digest, if it is one.
pub(crate) fn digest_hex(digest: &str) -> Option<&str> {
    digest.strip_prefix("sha256:").filter(|hex| crate::reference::is_bare_id(hex))
}

/// `sha256:…` of `bytes`.
pub(crate) fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// What Go calls this machine's processor.
pub(crate) fn host_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

const MAX_DESCRIPTORS: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    fn index(platforms: &[(&str, &str, &str)]) -> Index {
        let one = |(at, (os, architecture, variant)): (usize, &(&str, &str, &str))| Descriptor {
            media_type: String::new(),
            digest: format!("sha256:{at:064}"),
            size: 1,
            platform: Some(Platform {
                os: (*os).to_owned(),
                architecture: (*architecture).to_owned(),
                variant: (*variant).to_owned(),
            }),
            annotations: BTreeMap::new(),
        };
        Index { manifests: platforms.iter().enumerate().map(one).collect() }
    }

    #[test]
    fn the_machines_platform_is_picked() {
        let index = index(&[
            ("windows", "amd64", ""),
            ("linux", "arm64", "v8"),
            ("linux", "amd64", "v3"),
            ("linux", "amd64", ""),
            ("unknown", "unknown", ""),
        ]);
        assert_eq!(index.pick("amd64").unwrap().digest, format!("sha256:{:064}", 3));
        assert_eq!(index.pick("arm64").unwrap().digest, format!("sha256:{:064}", 1));
        assert!(index.pick("s390x").is_none());
        assert!(index.offered().starts_with("windows/amd64, linux/arm64/v8"));
    }

    #[test]
    fn ambiguous_old_and_odd_manifests_are_refused() {
        let digest = format!("sha256:{:064}", 1);
        let config = format!(r#"{{"digest":"{digest}","size":1}}"#);
        for (text, part) in [
            (r#"{"schemaVersion":1}"#.to_owned(), "schema version 1"),
            (format!(r#"{{"config":{config},"layers":[],"manifests":[]}}"#), "an index as well"),
            (r#"{"config":{"digest":"md5:1","size":1},"layers":[]}"#.to_owned(), "not sha256"),
            ("{".to_owned(), "not JSON"),
            ("{}".to_owned(), "cannot be read"),
        ] {
            let error = parse(text.as_bytes()).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!(matches!(
            parse(format!(r#"{{"config":{config},"layers":[]}}"#).as_bytes()),
            Ok(Document::Manifest(_))
        ));
    }

    #[test]
    fn a_written_config_reads_back() {
        let config = ImageConfig {
            env: vec![("A".to_owned(), "b=c".to_owned())],
            cmd: vec!["sh".to_owned()],
            exposed_ports: vec!["80/tcp".to_owned()],
            ..ImageConfig::default()
        };
        let ids = vec![format!("sha256:{:064}", 7)];
        let file = ConfigFile::parse(&write_config("amd64", &config, &ids)).unwrap();
        assert_eq!((file.defaults(), file.rootfs.diff_ids.clone()), (config, ids));
        assert!(file.fits("amd64") && !file.fits("arm64"));
    }
}
