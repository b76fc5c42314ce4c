//! Image references: what users write, and the one normal form everything else works with.
//!
//! `busybox` means `docker.io/library/busybox:latest`. The grammar is the distribution project's. Nothing here asks a
//! registry or the disk.

use std::fmt;
use std::str::FromStr;

/// A normalised reference: registry, repository and a tag or digest or both.
///
/// Equality is equality of the normal form, so `busybox` and `docker.io/library/busybox:latest` are equal.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<String>,
}

impl Reference {
    /// Parses what a user wrote, filling in registry, `library/` and `latest` (R5.26 says how failure reads).
    pub fn parse(image: &str) -> Result<Self, InvalidImageName> {
        parts(image).map_err(|detail| InvalidImageName { image: image.to_owned(), detail })
    }

    /// The registry's host and port, `docker.io` for Docker Hub.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository inside the registry: `library/busybox`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Registry and repository: `docker.io/library/busybox`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The tag; `None` only if a digest was written without one.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, `sha256:…`, if one was written. It wins over the tag.
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// `name:tag`, the form kept in [`crate::Image::repo_tags`]; `None` for a reference by digest.
    pub fn tagged(&self) -> Option<String> {
        match (self.digest(), self.tag()) {
            (None, Some(tag)) => Some(format!("{}:{tag}", self.name())),
            _ => None,
        }
    }

    /// `name@digest`, the form kept in [`crate::Image::repo_digests`].
    pub fn with_digest(&self, digest: &str) -> String {
        format!("{}@{digest}", self.name())
    }
}

fn parts(image: &str) -> Result<Reference, Detail> {
    if image.is_empty() {
        return Err(Detail::Empty);
    }
    if is_bare_id(image) {
        // A name of 64 hex digits would be taken for an image id by everything that reads it back.
        return Err(Detail::Format);
    }
    let (rest, digest) = match image.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (image, None),
    };
    let last_part = rest.rfind('/').map_or(0, |at| at + 1);
    let (name, tag) = match rest[last_part..].split_once(':') {
        Some((last, tag)) => (&rest[..last_part + last.len()], Some(tag)),
        None => (rest, None),
    };
    let (registry, path) = match name.split_once('/') {
        Some((first, path)) if is_registry(first) => (first, path),
        _ => ("docker.io", name),
    };
    check_name(registry, path)?;
    if tag.is_some_and(|tag| !is_tag(tag)) {
        return Err(Detail::Format);
    }
    digest.map(check_digest).transpose()?;
    let registry = if registry == "index.docker.io" { "docker.io" } else { registry };
    let official = registry == "docker.io" && !path.contains('/');
    let repository = if official { format!("library/{path}") } else { path.to_owned() };
    if registry.len() + 1 + repository.len() > MAX_NAME_LEN {
        return Err(Detail::TooLong);
    }
    let tag = tag.or(digest.is_none().then_some("latest")).map(str::to_owned);
    Ok(Reference { registry: registry.to_owned(), repository, tag, digest: digest.map(str::to_owned) })
}

/// What comes before the first slash is a registry if it cannot be a user's name on Docker Hub.
fn is_registry(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':']) || first.bytes().any(|b| b.is_ascii_uppercase())
}

fn check_name(registry: &str, path: &str) -> Result<(), Detail> {
    if !is_host(registry) {
        return Err(Detail::Format);
    }
    if path.split('/').all(is_path_component) {
        return Ok(());
    }
    if path.split('/').all(|part| is_path_component(&part.to_ascii_lowercase())) {
        return Err(Detail::Uppercase(path.to_owned()));
    }
    Err(Detail::Format)
}

fn is_host(registry: &str) -> bool {
    let is_port =
        |port: &str| !port.is_empty() && port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit());
    if let Some(v6) = registry.strip_prefix('[') {
        let Some((address, port)) = v6.split_once(']') else { return false };
        return address.parse::<std::net::Ipv6Addr>().is_ok()
            && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
    }
    let (host, port) = registry.split_once(':').map_or((registry, None), |(host, port)| (host, Some(port)));
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    port.is_none_or(is_port) && host.split('.').all(is_label)
}

/// Runs of lower case letters and digits, separated by one dot, one or two underscores, or any number of dashes.
fn is_path_component(part: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = part.as_bytes();
    let ends_well = bytes.first().is_some_and(|b| is_word(*b)) && bytes.last().is_some_and(|b| is_word(*b));
    ends_well
        && bytes
            .split(|b| is_word(*b))
            .all(|gap| matches!(gap, b"" | b"." | b"_" | b"__") || gap.iter().all(|b| *b == b'-'))
}

fn is_tag(tag: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= 128
        && tag.bytes().next().is_some_and(is_word)
        && tag.bytes().all(|b| is_word(b) || b == b'.' || b == b'-')
}

fn check_digest(digest: &str) -> Result<(), Detail> {
    let (algorithm, hex) = digest.split_once(':').ok_or(Detail::Format)?;
    // The grammar asks for 32 digits at least; below that it is not taken for a digest at all.
    if hex.len() < 32 {
        return Err(Detail::Format);
    }
    let length = match algorithm {
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        _ => return Err(Detail::DigestAlgorithm),
    };
    if hex.len() != length {
        return Err(Detail::DigestLength);
    }
    let is_hex = hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if is_hex { Ok(()) } else { Err(Detail::DigestFormat) }
}

const MAX_NAME_LEN: usize = 255;

/// Whether `text` is an image id (`sha256:<64 hex>` or the 64 hex digits) rather than a name.
pub(crate) fn as_image_id(text: &str) -> Option<&str> {
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    is_bare_id(hex).then_some(hex)
}

pub(crate) fn is_bare_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

impl FromStr for Reference {
    type Err = InvalidImageName;

    fn from_str(image: &str) -> Result<Self, InvalidImageName> {
        Self::parse(image)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

/// The waiting reason `InvalidImageName`; its text is the event's and the status message (R5.26).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Failed to apply default image tag \"{image}\": couldn't parse image name \"{image}\": {detail}")]
pub struct InvalidImageName {
    /// What the user wrote.
    pub image: String,
    detail: Detail,
}

/// The parser's verdict, in the words Kubernetes users know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Detail {
    #[error("invalid reference format")]
    Format,
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    Uppercase(String),
    #[error("repository name must have at least one component")]
    Empty,
    #[error("repository name must not be more than 255 characters")]
    TooLong,
    #[error("invalid checksum digest length")]
    DigestLength,
    #[error("invalid checksum digest format")]
    DigestFormat,
    #[error("unsupported digest algorithm")]
    DigestAlgorithm,
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";

    /// R9.24: the normal form is what status and the runtime report.
    #[test]
    fn short_names_are_filled_in() {
        for (written, normal) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("python:3.8", "docker.io/library/python:3.8"),
            ("library/busybox", "docker.io/library/busybox:latest"),
            ("index.docker.io/a/b:1", "docker.io/a/b:1"),
            ("localhost/x", "localhost/x:latest"),
            ("127.0.0.1:5000/x:y", "127.0.0.1:5000/x:y"),
            ("registry.k8s.io/pause:3.10", "registry.k8s.io/pause:3.10"),
        ] {
            assert_eq!(Reference::parse(written).unwrap().to_string(), normal, "{written}");
        }
    }

    /// R9.24: a digest is kept, and a tag beside it does not make a tagged name.
    #[test]
    fn digests_are_kept() {
        let by_digest = Reference::parse(&format!("busybox@{DIGEST}")).unwrap();
        assert_eq!(by_digest.to_string(), format!("docker.io/library/busybox@{DIGEST}"));
        assert_eq!((by_digest.tag(), by_digest.tagged()), (None, None));
        let both = Reference::parse(&format!("busybox:1@{DIGEST}")).unwrap();
        assert_eq!((both.tag(), both.digest(), both.tagged()), (Some("1"), Some(DIGEST), None));
    }

    /// R5.26: the text of InvalidImageName.
    #[test]
    fn bad_names_read_as_kubernetes_writes_them() {
        for image in ["UPPER//x", "a b", ":tag", "x:ta g", "@sha256:1", "-x"] {
            assert_eq!(
                Reference::parse(image).unwrap_err().to_string(),
                format!(
                    "Failed to apply default image tag \"{image}\": couldn't parse image name \"{image}\": \
                     invalid reference format"
                ),
            );
        }
        assert!(Reference::parse("").unwrap_err().to_string().ends_with("at least one component"));
        assert!(Reference::parse(&"a".repeat(64)).is_err(), "64 hex digits are an image id");
        assert!(Reference::parse(&format!("x@{}", &DIGEST[..20])).is_err());
    }
}
