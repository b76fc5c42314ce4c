//! Images from layers, and the blobs they become.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::layer::FixtureLayer;

/// An image in the making.
#[derive(Clone, Debug)]
pub struct FixtureImage {
    repository: String,
    tag: String,
    layers: Vec<FixtureLayer>,
    config: Value,
    architecture: String,
}

/// Bytes with their digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// `sha256:…`.
    pub digest: String,
    /// What it is.
    pub media_type: String,
    /// The content.
    pub bytes: Vec<u8>,
}

/// An image as registries store it.
#[derive(Clone, Debug)]
pub struct PackedImage {
    /// `library/busybox`.
    pub repository: String,
    /// `latest`.
    pub tag: String,
    /// The manifest.
    pub manifest: Blob,
    /// The config.
    pub config: Blob,
    /// The layers, lowest first.
    pub layers: Vec<Blob>,
    /// Digests of the uncompressed layers, lowest first.
    pub diff_ids: Vec<String>,
}

impl FixtureImage {
    /// An image without layers. `name` is `repository[:tag]`; `busybox` means `library/busybox:latest`.
    pub fn new(name: &str) -> Self {
        let (repository, tag) = name.split_once(':').unwrap_or((name, "latest"));
        let repository =
            if repository.contains('/') { repository.to_owned() } else { format!("library/{repository}") };
        Self {
            repository,
            tag: tag.to_owned(),
            layers: Vec::new(),
            config: json!({ "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"] }),
            architecture: architecture().to_owned(),
        }
    }

    /// Puts a layer on top.
    #[must_use]
    pub fn layer(mut self, layer: FixtureLayer) -> Self {
        self.layers.push(layer);
        self
    }

    /// CMD.
    #[must_use]
    pub fn cmd(self, words: &[&str]) -> Self {
        self.set("Cmd", json!(words))
    }

    /// ENTRYPOINT.
    #[must_use]
    pub fn entrypoint(self, words: &[&str]) -> Self {
        self.set("Entrypoint", json!(words))
    }

    /// USER.
    #[must_use]
    pub fn user(self, user: &str) -> Self {
        self.set("User", json!(user))
    }

    /// Any key of the config's `config` object, in Docker's spelling.
    #[must_use]
    pub fn set(mut self, key: &str, value: Value) -> Self {
        self.config[key] = value;
        self
    }

    /// Pretends to be for another processor.
    #[must_use]
    pub fn architecture(mut self, architecture: &str) -> Self {
        architecture.clone_into(&mut self.architecture);
        self
    }

    /// Makes the blobs.
    pub fn pack(&self) -> PackedImage {
        let diff_ids: Vec<String> = self.layers.iter().map(|layer| digest(&layer.tar())).collect();
        let layers = self.layers.iter().map(|layer| {
            let (bytes, media_type) = layer.packed();
            Blob::new(media_type, bytes)
        });
        let config = json!({
            "architecture": self.architecture,
            "os": "linux",
            "config": self.config,
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let config = Blob::new("application/vnd.oci.image.config.v1+json", config.to_string().into_bytes());
        let layers: Vec<Blob> = layers.collect();
        let manifest = PackedImage::manifest_of(&config, &layers);
        PackedImage {
            repository: self.repository.clone(),
            tag: self.tag.clone(),
            manifest,
            config,
            layers,
            diff_ids,
        }
    }
}

impl Blob {
    /// A blob with its true digest.
    pub fn new(media_type: &str, bytes: Vec<u8>) -> Self {
        Self { digest: digest(&bytes), media_type: media_type.to_owned(), bytes }
    }

    /// The descriptor others point to it with.
    pub fn descriptor(&self) -> Value {
        json!({ "mediaType": self.media_type, "digest": self.digest, "size": self.bytes.len() })
    }
}

impl PackedImage {
    /// The manifest for these blobs.
    pub fn manifest_of(config: &Blob, layers: &[Blob]) -> Blob {
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": config.descriptor(),
            "layers": layers.iter().map(Blob::descriptor).collect::<Vec<_>>(),
        });
        Blob::new(media_type, manifest.to_string().into_bytes())
    }

    /// `docker.io/library/busybox:latest`.
    pub fn name(&self) -> String {
        format!("docker.io/{}:{}", self.repository, self.tag)
    }

    /// The image for other processors beside this one: an index over all of them.
    pub fn index_of(images: &[(&PackedImage, &str)]) -> Blob {
        let media_type = "application/vnd.oci.image.index.v1+json";
        let one = |(image, architecture): &(&PackedImage, &str)| {
            let mut descriptor = image.manifest.descriptor();
            descriptor["platform"] = json!({ "os": "linux", "architecture": architecture });
            descriptor
        };
        let manifests: Vec<Value> = images.iter().map(one).collect();
        let index = json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": manifests });
        Blob::new(media_type, index.to_string().into_bytes())
    }

    /// As a tar of an OCI layout.
    pub fn oci_archive(&self) -> Vec<u8> {
        let mut top = self.manifest.descriptor();
        top["annotations"] = json!({ "io.containerd.image.name": self.name() });
        let index = json!({ "schemaVersion": 2, "manifests": [top] });
        let mut tar = FixtureLayer::new()
            .file("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)
            .file("index.json", 0o644, index.to_string());
        for blob in self.layers.iter().chain([&self.config, &self.manifest]) {
            tar = tar.file(&format!("blobs/{}", blob.digest.replace(':', "/")), 0o644, &blob.bytes);
        }
        tar.tar()
    }

    /// As `docker save` wrote it before it knew OCI.
    pub fn docker_archive(&self) -> Vec<u8> {
        let config = format!("{}.json", self.config.digest.trim_start_matches("sha256:"));
        let names: Vec<String> = (0..self.layers.len()).map(|at| format!("{at}/layer.tar")).collect();
        let tag = format!("{}:{}", self.repository.trim_start_matches("library/"), self.tag);
        let manifest = json!([{ "Config": config, "RepoTags": [tag], "Layers": names }]);
        let mut tar = FixtureLayer::new();
        for (layer, name) in self.layers.iter().zip(&names) {
            tar = tar.file(name, 0o644, &layer.bytes);
        }
        tar.file(&config, 0o644, &self.config.bytes).file("manifest.json", 0o644, manifest.to_string()).tar()
    }
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
