//! Image references: what users write, and the one normal form everything else works with.
//!
//! `busybox` means `docker.io/library/busybox:latest`. The grammar is the distribution project's, by way of the OCI
//! crates; only what that parser lets through although Kubernetes refuses it is checked here.

use std::fmt;
use std::str::FromStr;

/// A normalised reference: registry, repository and a tag or digest or both.
///
/// Equality is equality of the normal form, so `busybox` and `docker.io/library/busybox:latest` are equal.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Reference(oci_client::Reference);

impl Reference {
    /// Parses what a user wrote, filling in registry, `library/` and `latest` (R5.26 says how failure reads).
    pub fn parse(image: &str) -> Result<Self, InvalidImageName> {
        let invalid = |detail| InvalidImageName { image: image.to_owned(), detail };
        let parsed = oci_client::Reference::from_str(image).map_err(|error| invalid(Detail::from(&error)))?;
        if is_bare_id(image) {
            // A name of 64 hex digits would be taken for an image id by everything that reads it back.
            return Err(invalid(Detail::Format));
        }
        Ok(Self(parsed))
    }

    /// The registry's host and port, `docker.io` for Docker Hub.
    pub fn registry(&self) -> &str {
        self.0.registry()
    }

    /// The repository inside the registry: `library/busybox`.
    pub fn repository(&self) -> &str {
        self.0.repository()
    }

    /// Registry and repository: `docker.io/library/busybox`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry(), self.repository())
    }

    /// The tag; `None` only if a digest was written without one.
    pub fn tag(&self) -> Option<&str> {
        self.0.tag()
    }

    /// The digest, `sha256:…`, if one was written. It wins over the tag.
    pub fn digest(&self) -> Option<&str> {
        self.0.digest()
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

    /// The OCI crates' own type.
    pub(crate) fn oci(&self) -> &oci_client::Reference {
        &self.0
    }
}

/// Whether `text` is an image id (`sha256:<64 hex>` or the 64 hex digits) rather than a name.
pub(crate) fn as_image_id(text: &str) -> Option<&str> {
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    is_bare_id(hex).then_some(hex)
}

fn is_bare_id(text: &str) -> bool {
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
        self.0.fmt(f)
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Detail {
    #[error("invalid reference format")]
    Format,
    #[error("invalid reference format: repository name must be lowercase")]
    Uppercase,
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

impl From<&oci_client::ParseError> for Detail {
    fn from(error: &oci_client::ParseError) -> Self {
        use oci_client::ParseError as E;
        match error {
            E::NameEmpty => Self::Empty,
            E::NameContainsUppercase => Self::Uppercase,
            E::NameTooLong => Self::TooLong,
            E::DigestInvalidLength => Self::DigestLength,
            E::DigestInvalidFormat => Self::DigestFormat,
            E::DigestUnsupported => Self::DigestAlgorithm,
            _ => Self::Format,
        }
    }
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
