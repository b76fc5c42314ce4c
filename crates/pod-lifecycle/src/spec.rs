//! The Pod's spec as decisions see it: every container with its role, its facts and nothing copied.

use k8s_openapi::api::core::v1::{Container, EphemeralContainer, Pod, Probe};

/// What kind of container an entry of the spec is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A plain init container: runs to completion (section 3).
    Init,
    /// An init entry with `restartPolicy: Always` (section 4).
    Sidecar,
    /// An entry of `spec.containers`.
    App,
    /// An entry of `spec.ephemeralContainers` (section 14A).
    Ephemeral,
}

impl Role {
    /// Whether it is an entry of `spec.initContainers`.
    pub const fn is_init_entry(self) -> bool {
        matches!(self, Self::Init | Self::Sidecar)
    }
}

/// The role of an entry of `spec.initContainers`: only `Always` makes a sidecar (R3.18).
pub fn init_role(container: &Container) -> Role {
    if container.restart_policy.as_deref() == Some("Always") { Role::Sidecar } else { Role::Init }
}

/// `spec.containers{a}`: where in the Pod an event is about (R10.2).
pub fn field_path(role: Role, container: &str) -> String {
    match role {
        Role::Init | Role::Sidecar => format!("spec.initContainers{{{container}}}"),
        Role::App => format!("spec.containers{{{container}}}"),
        Role::Ephemeral => format!("spec.ephemeralContainers{{{container}}}"),
    }
}

/// What an instance was made from, as far as a change restarts it: name and image, nothing else (R2.20).
/// FNV-1a, because the value is kept as a label and must be the same in every later build.
pub fn definition_hash(name: &str, image: &str) -> String {
    let bytes = name.bytes().chain([0]).chain(image.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

/// `<name>_<namespace>(<uid>)`: how container messages name a Pod.
pub fn pod_words(pod: &Pod) -> String {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let meta = &pod.metadata;
    format!("{}_{}({})", text(&meta.name), text(&meta.namespace), text(&meta.uid))
}

/// One container of the spec. Ephemeral ones lack most of what the others have.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Definition<'a> {
    Full(&'a Container),
    Ephemeral(&'a EphemeralContainer),
}

impl<'a> Definition<'a> {
    pub(crate) fn name(self) -> &'a str {
        match self {
            Self::Full(container) => &container.name,
            Self::Ephemeral(container) => &container.name,
        }
    }

    pub(crate) fn image(self) -> &'a str {
        match self {
            Self::Full(container) => container.image.as_deref().unwrap_or_default(),
            Self::Ephemeral(container) => container.image.as_deref().unwrap_or_default(),
        }
    }

    /// The whole definition, if it is not ephemeral.
    pub(crate) fn full(self) -> Option<&'a Container> {
        match self {
            Self::Full(container) => Some(container),
            Self::Ephemeral(_) => None,
        }
    }

    pub(crate) fn has_post_start(self) -> bool {
        self.full().and_then(|c| c.lifecycle.as_ref()).is_some_and(|hooks| hooks.post_start.is_some())
    }

    pub(crate) fn has_pre_stop(self) -> bool {
        self.full().and_then(|c| c.lifecycle.as_ref()).is_some_and(|hooks| hooks.pre_stop.is_some())
    }

    pub(crate) fn startup_probe(self) -> Option<&'a Probe> {
        self.full().and_then(|c| c.startup_probe.as_ref())
    }

    pub(crate) fn liveness_probe(self) -> Option<&'a Probe> {
        self.full().and_then(|c| c.liveness_probe.as_ref())
    }

    pub(crate) fn readiness_probe(self) -> Option<&'a Probe> {
        self.full().and_then(|c| c.readiness_probe.as_ref())
    }
}
