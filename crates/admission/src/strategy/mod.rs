//! What the server itself does to an object around a write, per kind as the kind's row says: identity and time
//! stamps, status and spec kept apart, generation, deletion.
//!
//! Refuses to judge the object (that is [`crate::validation`]) and to fill in values a user could have given
//! (that is [`crate::defaults`]). Start at [`prepare_create`], [`prepare_update`] and [`before_delete`].

mod create;
mod delete;
mod generation;
pub(crate) mod pod;
mod update;

pub use create::{CreateInput, generated_name, prepare_create, stamp_requester};
pub use delete::{DeleteDecision, DeleteOptions, Propagation, before_delete};
pub use pod::qos_class;
pub use update::{check_preconditions, check_version, completes_deletion, is_no_op, prepare_update};

/// Which endpoint of an object a write goes to; they differ in what they may change (D3, H1-H3, H42, H43).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// The object itself.
    Main,
    /// `/status`: status only, plus what D3 lets through.
    Status,
    /// `/ephemeralcontainers` of a Pod.
    EphemeralContainers,
    /// `/resize` of a Pod.
    Resize,
    /// `/finalize` of a Namespace: `spec.finalizers` only.
    Finalize,
    /// `/approval` of a CertificateSigningRequest: conditions only.
    Approval,
}

impl Endpoint {
    /// The endpoint a URL names; `None` for subresources that are not writes of the object itself.
    pub fn from_subresource(name: &str) -> Option<Self> {
        Some(match name {
            "" => Self::Main,
            "status" => Self::Status,
            "ephemeralcontainers" => Self::EphemeralContainers,
            "resize" => Self::Resize,
            "finalize" => Self::Finalize,
            "approval" => Self::Approval,
            _ => return None,
        })
    }

    /// Its name in URLs and `managedFields`; empty for [`Endpoint::Main`].
    pub const fn subresource(self) -> &'static str {
        match self {
            Self::Main => "",
            Self::Status => "status",
            Self::EphemeralContainers => "ephemeralcontainers",
            Self::Resize => "resize",
            Self::Finalize => "finalize",
            Self::Approval => "approval",
        }
    }
}

/// RFC 3339 with whole seconds: how every `metav1.Time` is written.
pub(crate) fn seconds(time: outrigger_api::WallTime) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
